//! `--dry-run`: the plan as a shell script.

use anyhow::Result;

use crate::kernel::cgroups::Layout;
use crate::store::Home;
use crate::store::containers::Record;

/// The script that makes the container of `record`.
pub fn script(_home: &Home, _record: &Record, _layout: &Layout) -> Result<String> {
    Ok(String::new())
}
