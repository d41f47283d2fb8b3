//! Hostile layers: whatever an archive says, nothing outside its directory is read, written, changed or linked.

mod archives;
#[path = "../common/mod.rs"]
mod common;
mod metadata;
mod names;
mod whiteouts;

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::{Tar, Temp, listing, need_root};
use rootfs_fetch::Limits;
use rootfs_fetch::layer::{Layout, unpack};

type Outcome = anyhow::Result<Vec<String>>;

fn put(archive: &[u8], dir: &Path, layout: Layout, lowers: &[PathBuf]) -> Outcome {
    unpack(archive, dir, layout, Limits::DEFAULT, None)?.settle(lowers)
}

/// Unpacks layers on top of each other in `root/in`, with `root/out` beside it that must stay as it is.
fn merged(layers: &[Vec<u8>]) -> (Temp, Vec<Outcome>) {
    need_root();
    let temp = Temp::new();
    let (inside, outside) = (temp.dir("in"), temp.dir("out"));
    fs_err::write(outside.join("victim"), "untouched").unwrap();
    fs_err::create_dir(outside.join("d")).unwrap();
    let before = listing(&outside);
    let top_before = fs_err::read_dir(&temp.0).unwrap().count();
    let outcomes = layers
        .iter()
        .map(|l| put(l, &inside, Layout::Merged, &[]))
        .collect();
    assert_eq!(listing(&outside), before, "something outside changed");
    assert_eq!(
        fs_err::read_dir(&temp.0).unwrap().count(),
        top_before,
        "something was made outside"
    );
    (temp, outcomes)
}

/// Unpacks layers in overlay form, each in its own directory; returns them lowest first.
fn overlay(layers: &[Vec<u8>]) -> (Temp, Vec<PathBuf>, Vec<Outcome>) {
    need_root();
    let temp = Temp::new();
    let mut dirs: Vec<PathBuf> = Vec::new();
    let mut outcomes = Vec::new();
    for (n, layer) in layers.iter().enumerate() {
        let dir = temp.dir(&n.to_string());
        let lowers: Vec<PathBuf> = dirs.iter().rev().cloned().collect();
        outcomes.push(put(layer, &dir, Layout::Overlay, &lowers));
        dirs.push(dir);
    }
    (temp, dirs, outcomes)
}

fn succeeded(outcome: &Outcome) {
    outcome.as_ref().unwrap();
}

fn read(path: impl AsRef<Path>) -> String {
    fs_err::read_to_string(path.as_ref()).unwrap()
}
