//! Which capabilities a container gets: Docker's default set, and what `--cap-add` and `--cap-drop` make of it.
//! capabilities(7)

use std::collections::HashSet;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Capability;

use super::numbers::{ALL, number, sorted};
use crate::sys::capabilities as sys;

/// What a container's root may do when nothing was asked for: Docker's fourteen.
pub const DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// From which set `--cap-add` and `--cap-drop` start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// [`DEFAULT`].
    Default,
    /// All there are, whatever is added or dropped: `--privileged`.
    Privileged,
}

/// The set that `--privileged`, `--cap-add` and `--cap-drop` ask for, with Docker's rules: names in any
/// case, with or without `CAP_`, or `ALL`; an added ALL loses what is dropped; a dropped ALL leaves only
/// what is added. May hold more than this machine can give: see [`within_bounding`].
///
/// # Errors
/// An unknown name, in Docker's words.
pub fn choose(base: Base, add: &[String], drop: &[String]) -> Result<HashSet<Capability>> {
    let dropped = read_names(drop).context("invalid CapDrop")?;
    let added = read_names(add).context("invalid CapAdd")?;
    let all = || ALL.into_iter();
    if base == Base::Privileged {
        return Ok(all().collect());
    }
    Ok(match (added, dropped) {
        (Names::All, Names::All) => all().collect(),
        (Names::All, Names::Some(dropped)) => all().filter(|c| !dropped.contains(c)).collect(),
        (Names::Some(added), Names::All) => added,
        (Names::Some(added), Names::Some(dropped)) => {
            let kept = DEFAULT.into_iter().filter(|c| !dropped.contains(c));
            kept.chain(added).collect()
        }
    })
}

/// Splits `wanted` into what this process can hand on, and what it cannot since its own bounding set
/// lacks it, in the order of their numbers, for a warning.
pub fn within_bounding(wanted: &HashSet<Capability>) -> (HashSet<Capability>, Vec<Capability>) {
    let (kept, left_out): (Vec<_>, Vec<_>) = sorted(wanted)
        .into_iter()
        .partition(|c| sys::in_bounding(number(*c)));
    (kept.into_iter().collect(), left_out)
}

/// The name as Docker and capabilities(7) write it: `CAP_NET_RAW`.
pub fn name(capability: Capability) -> String {
    format!("CAP_{capability}")
}

/// The names of all capabilities.
pub fn all_names() -> Vec<String> {
    ALL.into_iter().map(name).collect()
}

enum Names {
    All,
    Some(HashSet<Capability>),
}

fn read_names(words: &[String]) -> Result<Names> {
    let mut set = HashSet::new();
    let mut all = false;
    for word in words {
        let upper = word.to_ascii_uppercase();
        if upper == "ALL" {
            all = true;
            continue;
        }
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        match bare.parse() {
            Ok(capability) => _ = set.insert(capability),
            Err(_) => bail!("unknown capability: \"CAP_{bare}\""),
        }
    }
    Ok(if all { Names::All } else { Names::Some(set) })
}
