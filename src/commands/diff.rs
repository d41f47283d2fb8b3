//! `diff`: what a container has changed in the files of its image.

use anyhow::Result;

use crate::cli::files::DiffArgs;
use crate::files::{changes, worker};
use crate::out;
use crate::out::stream::outln;
use crate::store::Home;
use crate::store::containers;

/// `rmac diff`.
pub fn diff(home: &Home, args: &DiffArgs) -> Result<u8> {
    let record = containers::find(home, &args.container)?;
    let mut worker = worker::start(&[], |speaker| {
        let changes = changes::of(home, &record)?.into_iter();
        let lines = changes.map(|(kind, path)| {
            format!(
                "{} {}",
                kind.letter(),
                out::escape(&String::from_utf8_lossy(&path))
            )
        });
        speaker.head(lines.collect::<Vec<_>>())
    })?;
    let lines: Vec<String> = worker.head()?;
    worker.end()?;
    lines.iter().for_each(|line| outln!("{line}"));
    Ok(0)
}
