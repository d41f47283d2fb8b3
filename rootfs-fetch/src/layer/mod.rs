//! Layers: tar archives that say what changed against the layer below.
//!
//! A layer comes as a compressed tar archive and goes either into a directory of its own in the form overlayfs wants
//! ([`Layout::Overlay`]; the kernel puts the layers together at mount time) or on top of the lower layers in one tree
//! ([`Layout::Merged`]). The archive is hostile until proven otherwise. Its way: `stream` decompresses and hashes,
//! `entry` reads headers, `apply` makes files, `whiteout` deletes, `settle` does what needs the lower layers.
//! OCI image-spec, layer.md.

mod apply;
pub mod content;
pub mod entry;
pub mod meta;
mod settle;
mod stream;
mod whiteout;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

pub use self::apply::Applier;
pub use self::stream::decoder;
use crate::digest::Digest;
use crate::root::Root;
use crate::text::escape;

/// The form in which a layer is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A directory for this layer alone, with overlayfs's whiteouts and opaque directories.
    Overlay,
    /// Into the tree that holds the lower layers already.
    Merged,
}

/// How much a layer may unpack to, against compression bombs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes one layer may unpack to; `None` means 4 GiB or a hundred times its compressed size, whichever
    /// is more. Real layers grow three- to fivefold.
    pub unpacked_bytes: Option<u64>,
}

impl Limits {
    /// The defaults.
    pub const DEFAULT: Limits = Limits {
        unpacked_bytes: None,
    };

    fn of(self, compressed: Option<u64>) -> u64 {
        let grown = compressed
            .unwrap_or(1 << 34)
            .saturating_mul(100)
            .max(4 << 30);
        self.unpacked_bytes.unwrap_or(grown)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}

/// A layer whose files are made but which is not yet settled on the lower ones.
pub struct Unpacked {
    /// Digest of the plain archive.
    pub diff_id: Digest,
    /// Bytes in all its regular files.
    pub size: u64,
    applier: Applier,
}

impl Unpacked {
    /// Finishes the layer on top of the unpacked directories `lowers`, nearest first. Returns what was left out.
    pub fn settle(self, lowers: &[PathBuf]) -> Result<Vec<String>> {
        let lowers = lowers
            .iter()
            .map(|dir| Root::open(dir))
            .collect::<Result<Vec<_>>>()?;
        self.applier.settle(&lowers)
    }
}

/// Unpacks the archive `blob` (compressed or not) into the directory `dir`, which must exist.
///
/// `compressed` is the blob's size if known, for the default limit. The caller compares `diff_id`, then settles.
pub fn unpack(
    blob: impl Read + Send,
    dir: &Path,
    layout: Layout,
    limits: Limits,
    compressed: Option<u64>,
) -> Result<Unpacked> {
    let limit = limits.of(compressed);
    let mut applier = Applier::new(Root::open(dir)?, layout, limit);
    // Headers and padding come on top of the files' bytes.
    let stream_limit = limit.saturating_add(limit / 2).saturating_add(64 << 20);
    let ((), diff_id) = stream::decompressed(blob, stream_limit, |tar| {
        apply_all(tar, &mut applier).map_err(printable)
    })?;
    Ok(Unpacked {
        diff_id,
        size: applier.written(),
        applier,
    })
}

fn apply_all(tar: &mut stream::Chunks, applier: &mut Applier) -> Result<()> {
    let (tar, left) = entry::Allowance::new(tar);
    let mut archive = tar::Archive::new(tar);
    let mut entries = archive.entries()?;
    loop {
        left.set(HEADER_ALLOWANCE);
        let Some(raw) = entries.next() else {
            return Ok(());
        };
        left.set(u64::MAX);
        let mut raw = raw.context("the layer is no valid tar archive")?;
        let entry = entry::read(&mut raw)?;
        applier.apply(entry, &mut raw)?;
        // The rest of the entry is read here, so that looking for the next one only reads headers.
        io::copy(&mut raw, &mut io::sink())?;
    }
}

/// The tar crate quotes what it cannot read as it came, control characters and all.
fn printable(error: anyhow::Error) -> anyhow::Error {
    let text = format!("{error:#}");
    match text.contains(char::is_control) {
        true => anyhow!(escape(&text)),
        false => error,
    }
}

const HEADER_ALLOWANCE: u64 = entry::Allowance::<()>::HEADERS;
