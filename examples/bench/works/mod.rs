//! The works, one function each; a target stands where its figures come from.

pub mod many;
pub mod one;
pub mod pull;

use anyhow::Result;

use crate::Bench;

/// A work.
pub type Work = fn(&mut Bench) -> Result<()>;

/// All works, in order, by the names that BENCH_ONLY knows.
pub const ALL: &[(&str, Work)] = &[
    ("run", one::run),
    ("exec", one::exec),
    ("stop", one::stop),
    ("lists", many::lists),
    ("detached", many::detached),
    ("thousand", many::thousand),
    ("pull", pull::small),
    ("layers", pull::large),
];
