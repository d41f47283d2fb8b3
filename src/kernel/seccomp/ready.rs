//! The default filter, compiled: what nearly all containers get.  seccomp(2)
//!
//! Compiling Docker's list takes a third of a millisecond in a fresh process, and the result is always the
//! same. It lies here as the kernel reads it; a test compiles the list again and compares.

use std::collections::HashSet;

use oci_spec::runtime::Capability;

use super::bpf::{Instruction, Program};
use crate::kernel::capabilities::DEFAULT;

/// The filter of the default list for Docker's default capabilities; for others, or on another
/// architecture, there is none ready.
pub fn program(held: &HashSet<Capability>) -> Option<Program> {
    let usual = held.len() == DEFAULT.len() && DEFAULT.iter().all(|one| held.contains(one));
    if !usual || !cfg!(target_arch = "x86_64") {
        return None;
    }
    let (instructions, _) = BYTES.as_chunks::<8>();
    Some(Program {
        instructions: instructions
            .iter()
            .copied()
            .map(Instruction::from_bytes)
            .collect(),
        flags: 0,
    })
}

static BYTES: &[u8] = include_bytes!("default-x86_64.bpf");

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::kernel::seccomp::{NATIVE, compile, default_profile};

    /// After a change of the list: RMAC_UPDATE=1 cargo test, and look at the difference.
    #[test]
    fn what_is_ready_is_what_the_list_compiles_to() {
        let held = DEFAULT.into();
        let compiled = compile(&default_profile(&held), NATIVE).unwrap();
        if std::env::var_os("RMAC_UPDATE").is_some() {
            let bytes: Vec<u8> = compiled
                .instructions
                .iter()
                .flat_map(|i| i.to_bytes())
                .collect();
            let path = concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/src/kernel/seccomp/default-x86_64.bpf"
            );
            std::fs::write(path, bytes).unwrap();
        }
        assert_eq!(program(&held), Some(compiled));
    }

    #[test]
    fn other_capabilities_have_a_list_of_their_own() {
        let mut held: HashSet<Capability> = DEFAULT.into();
        held.insert(Capability::SysAdmin);
        assert_eq!(program(&held), None);
        held.remove(&Capability::SysAdmin);
        held.remove(&Capability::Chown);
        assert_eq!(program(&held), None);
    }
}
