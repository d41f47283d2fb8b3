//! `--env-file` and `--label-file`: a name and a value on each line.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// The lines of the file, `NAME=value` or `NAME`, without those that are empty or begin with `#`.
///
/// # Errors
/// Docker's words for a line without a name, or with a blank in it.
pub(super) fn lines(path: &Path) -> Result<Vec<String>> {
    let bytes = std::fs::read(path).with_context(|| format!("open {}", path.display()))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut all = vec![];
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = std::str::from_utf8(line).ok().with_context(|| {
            format!(
                "env file {} contains invalid utf8 bytes at line {}",
                path.display(),
                at + 1
            )
        })?;
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.is_empty() {
            bail!("poorly formatted environment: no variable name on line '{line}'");
        }
        if name.contains([' ', '\t']) {
            bail!("poorly formatted environment: variable '{name}' contains whitespaces");
        }
        all.push(line.to_owned());
    }
    Ok(all)
}
