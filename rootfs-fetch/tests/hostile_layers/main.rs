//! Hostile layers, in a world of their own: nothing outside of the store changes, memory and disk stay bounded.
//!
//! Each case is unpacked in both layouts; a digest of all the rest of the file system is compared before and after
//! (`common/world.rs`). What the unpacked tree looks like is the subject of `layers/`, of random layers `model.rs`.
//!
//! | what a layer may try | the answer | where |
//! |---|---|---|
//! | `..`, absolute, empty, `.`, the root itself; in ustar, PAX, global PAX, GNU L, the ustar prefix | clamped into the root | `names::paths`, `layers/` |
//! | NUL, parts over 255 bytes, paths over 4095 | refused | `names::paths`, `layers/` |
//! | 2,000 directories deep; bytes that are no UTF-8, newlines, escape codes, leading dashes | taken as they are | `names::paths`, `layers/` |
//! | anything through a symbolic link of this or a lower layer, to `..`, `/etc`, `/proc/self/root`, `/proc/self/fd` | stays inside | `names::links` |
//! | links in a circle | replaced or refused | `names::links` |
//! | hard links to outside, through a link, to a directory, to nothing | refused | `names::links`, `layers/` |
//! | something of one kind over something of another, in one layer and across two | the last one wins | `names::kinds_that_differ` |
//! | `.wh..`, `.wh...`, `.wh.`, aufs leftovers, whiteouts as directories and links | the base survives | `names::whiteouts`, `layers/` |
//! | device 0:0, `trusted.overlay.*` | never made | `layers/` |
//! | devices, FIFOs, unknown types, setuid, absurd owners and times | made and never opened, or skipped, or refused | `headers::special_files`, `layers/` |
//! | sizes that are negative, huge, base-256, no numbers, contradicted by PAX | refused | `headers::numbers` |
//! | PAX records with lying lengths, without `=`, without end | refused, or ignored by all | `headers::records` |
//! | thousands of extra headers, headers of many MiB | refused | `headers::records`, `layers/` |
//! | attributes: thousands, 64 KiB, without a name, with nonsense in them | left out if the kernel will not have them | `headers::records` |
//! | sparse files of 1 TiB, maps that overlap, lie, or have millions of pieces | a hole, or refused | `contents::sparse_files`, `layers/` |
//! | compression: cut, bad sum, nested, several members, bombs, windows of 2 GiB | refused, or read to the end | `contents::compression`, `stream.rs` |
//! | 100,000 files | fine | `contents::many_files` |

#[path = "../common/mod.rs"]
mod common;
mod contents;
mod headers;
mod names;

use std::io::Read;
use std::path::{Path, PathBuf};

use common::world::{STORE, World};
use common::{Tar, gzip};
use rootfs_fetch::Limits;
use rootfs_fetch::layer::{Layout, unpack};

/// How a case must end. Whatever it says, nothing outside of the store may have changed.
enum Answer {
    /// As an image without harm.
    Accepted,
    /// With an error that holds this.
    Refused(&'static str),
    /// Either way.
    Safe,
}

use Answer::{Accepted, Refused, Safe};

const LIMITS: Limits = Limits {
    unpacked_bytes: Some(64 << 20),
};

/// Unpacks layers (as they are sent) on top of each other and settles them.
fn put(layers: &[Vec<u8>], layout: Layout) -> anyhow::Result<()> {
    let mut lowers: Vec<PathBuf> = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let directory = match layout {
            Layout::Merged => Path::new(STORE).join("tree"),
            Layout::Overlay => Path::new(STORE).join(number.to_string()),
        };
        fs_err::create_dir_all(&directory)?;
        let below: &[PathBuf] = match layout {
            Layout::Merged => &[],
            Layout::Overlay => &lowers,
        };
        unpack(layer.as_slice(), &directory, layout, LIMITS, None)?.settle(below)?;
        lowers.insert(0, directory);
    }
    Ok(())
}

fn check(world: &World, name: &str, layers: &[Vec<u8>], answer: &Answer) {
    for layout in [Layout::Merged, Layout::Overlay] {
        let name = format!("{name} {layout:?}");
        let outcome = world.case(&name, || put(layers, layout));
        match (answer, outcome) {
            (Accepted, Err(error)) => panic!("{name}: refused: {error:#}"),
            (Refused(part), Ok(())) => panic!("{name}: accepted, not refused with {part:?}"),
            (Refused(part), Err(error)) => {
                let text = format!("{error:#}");
                assert!(text.contains(part), "{name}: {text}");
                assert!(!text.contains(char::is_control), "{name}: {text:?}");
            }
            (Safe, _) | (Accepted, Ok(())) => {}
        }
    }
}

fn all(test: &str, cases: impl FnOnce() -> Vec<(String, Vec<Vec<u8>>, Answer)>) {
    World::run(test, |world| {
        for (name, layers, answer) in cases() {
            check(world, &name, &layers, &answer);
        }
    });
}

fn one(name: &str, tar: Tar, answer: Answer) -> (String, Vec<Vec<u8>>, Answer) {
    (name.to_owned(), vec![tar.end()], answer)
}
