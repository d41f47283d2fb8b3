//! Names for containers that were given none: an adjective and a pioneer of networks and computers.

use std::path::Path;

use anyhow::{Result, bail};

use crate::store::Home;
use crate::store::containers;

const ADJECTIVES: [&str; 32] = [
    "agile", "amber", "bold", "brave", "bright", "calm", "clever", "cosmic", "eager", "fair",
    "gentle", "glad", "golden", "happy", "jolly", "keen", "kind", "lively", "lucid", "merry",
    "mild", "modest", "nimble", "patient", "proud", "quick", "quiet", "serene", "silver", "steady",
    "sunny", "witty",
];

const PIONEERS: [&str; 32] = [
    "allen",
    "backus",
    "baran",
    "boole",
    "cerf",
    "clarke",
    "conway",
    "davies",
    "dijkstra",
    "engelbart",
    "feinler",
    "floyd",
    "goldberg",
    "hamilton",
    "hamming",
    "hopper",
    "kahn",
    "kay",
    "kleinrock",
    "knuth",
    "lamarr",
    "lamport",
    "liskov",
    "lovelace",
    "metcalfe",
    "perlman",
    "postel",
    "ritchie",
    "roberts",
    "shannon",
    "thompson",
    "turing",
];

/// Gives the container `id` a name that no other has; the name.
pub fn claim_any(home: &Home, id: &str) -> Result<String> {
    // The id is random already.
    let seed = u64::from_str_radix(&id[..16.min(id.len())], 16).unwrap_or_default();
    for attempt in 0..1000u64 {
        let pick = seed.wrapping_add(attempt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let adjective = ADJECTIVES[(pick >> 8) as usize % ADJECTIVES.len()];
        let pioneer = PIONEERS[(pick >> 20) as usize % PIONEERS.len()];
        let name = match attempt {
            0..5 => format!("{adjective}_{pioneer}"),
            _ => format!("{adjective}_{pioneer}{}", (pick >> 32) % 100_000),
        };
        if home.root.join("names").join(Path::new(&name)).is_symlink() {
            continue;
        }
        if containers::claim_name(home, id, &name).is_ok() {
            return Ok(name);
        }
    }
    bail!("found no free name for the container: give it one with --name")
}
