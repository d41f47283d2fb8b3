//! From a list of rules to classic BPF, the language of seccomp filters.  seccomp(2), bpf(4) of BSD
//!
//! The machine has one register, `A`, and four kinds of instruction: load a word of `seccomp_data` into A,
//! mask A, jump forward if A compares so, return a verdict. Jumps reach 255 instructions at most.
//!
//! ```text
//! arch?  -- another --> next table, at last: kill
//!   |
//! number >= 217?  -- yes --> number >= 300? ..      binary search over ranges of numbers
//!   | no                                            that have the same verdict
//! number >= 100? ..
//!   |
//! verdict, or the tests of arguments of one call, then verdict
//! ```
//!
//! The kernel checks, optimises and compiles a filter when it is loaded, and it also evaluates it for each
//! number to know which calls need no filter at all. So a short path matters: a linear list of 300
//! comparisons costs ten times as much to load as this tree.
//!
//! The program is written from its end to its beginning: then the target of each jump is known when the
//! jump is written, and one that lies too far gets a stepping stone (an unconditional jump has 32 bits).

use std::collections::HashMap;

use anyhow::{Result, bail};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg,
    LinuxSeccompFilterFlag as Flag, LinuxSeccompOperator as Operator,
};

use super::table::{Table, tables};

/// A filter as the kernel takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The instructions, first to last.
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u64,
}

/// One instruction (`struct sock_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What to do: class, size, mode, comparison.
    pub code: u16,
    /// How many instructions to skip where a comparison holds.
    pub yes: u8,
    /// How many to skip where it does not.
    pub no: u8,
    /// The operand.
    pub operand: u32,
}

impl Instruction {
    /// As the kernel's C structure.
    pub fn to_kernel(self) -> libc::sock_filter {
        libc::sock_filter {
            code: self.code,
            jt: self.yes,
            jf: self.no,
            k: self.operand,
        }
    }

    /// As it lies in memory on this machine.
    pub fn to_bytes(self) -> [u8; 8] {
        let ([c0, c1], [k0, k1, k2, k3]) = (self.code.to_ne_bytes(), self.operand.to_ne_bytes());
        [c0, c1, self.yes, self.no, k0, k1, k2, k3]
    }
}

/// Compiles `profile` for machines of the architecture `native`.
///
/// # Errors
/// An argument index above 5, or what rmac cannot do: notifications, a native architecture without table.
pub fn compile(profile: &LinuxSeccomp, native: Arch) -> Result<Program> {
    let _ = (profile, native);
    bail!("not yet")
}
