//! The device list as a BPF program, which version 2 asks at each open(2) and mknod(2) of a device.  bpf(2)

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};

use super::{ALL, Base, DeviceList, Kind, Rule};
use crate::sys::bpf::{self, Instruction};

/// The registers of the program.
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

impl DeviceList {
    /// The same as a BPF program of type `BPF_PROG_TYPE_CGROUP_DEVICE`.
    ///
    /// Register 1 points to what is asked: kind and access in one word, major, minor. Register 0 is the
    /// answer. Each exception is a few comparisons that jump over the rest of it where they fail.
    pub fn program(&self) -> Vec<Instruction> {
        const ASKED: u8 = 1;
        let answer = |base: Base| {
            [
                Instruction::set(0, i32::from(base == Base::AllowAll)),
                Instruction::exit(),
            ]
        };
        let other = match self.base {
            Base::DenyAll => Base::AllowAll,
            Base::AllowAll => Base::DenyAll,
        };
        let mut program = vec![
            Instruction::load(KIND, ASKED, 0),
            Instruction::copy(ACCESS, KIND),
            Instruction::shift_right(ACCESS, 16),
            Instruction::and(KIND, 0xffff),
            Instruction::load(MAJOR, ASKED, 4),
            Instruction::load(MINOR, ASKED, 8),
        ];
        for rule in &self.exceptions {
            let tests = rule.tests(self.base);
            let count = tests.len();
            for (at, test) in tests.into_iter().enumerate() {
                // Over the tests that follow and the answer's two instructions.
                program.push(test.jumping((count - at - 1 + 2) as i16));
            }
            program.extend(answer(other));
        }
        program.extend(answer(self.base));
        program
    }

    /// Attaches the program to the v2 cgroup `dir`, for as long as that exists.
    ///
    /// # Errors
    /// Those of bpf(2).
    pub(in crate::kernel::cgroups) fn attach(&self, dir: &Path) -> Result<()> {
        let step = || format!("attach the device list to {}", dir.display());
        let cgroup = File::open(dir).with_context(step)?;
        let program = bpf::load_cgroup_device(&self.program())
            .with_context(|| format!("{}: does the kernel have CONFIG_CGROUP_BPF?", step()))?;
        bpf::attach_cgroup_device(cgroup.as_fd(), program.as_fd()).with_context(step)
    }
}

impl Rule {
    /// Comparisons that jump where the rule does not apply.
    fn tests(&self, base: Base) -> Vec<Instruction> {
        // BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR
        let kind = if self.kind == Kind::Block { 1 } else { 2 };
        let mut tests = vec![Instruction::if_not_equal(KIND, kind)];
        tests.extend(
            self.major
                .map(|major| Instruction::if_not_equal(MAJOR, major)),
        );
        tests.extend(
            self.minor
                .map(|minor| Instruction::if_not_equal(MINOR, minor)),
        );
        match base {
            // Allowed where nothing is asked that the rule does not give.
            Base::DenyAll if self.access == ALL => {}
            Base::DenyAll => tests.push(Instruction::if_any_bit(ACCESS, ALL & !self.access)),
            // Denied where anything is asked that the rule takes away: there is no "if no bit", so the
            // access is masked and compared. Register 6 is scratch.
            Base::AllowAll => {
                tests.push(Instruction::copy(6, ACCESS));
                tests.push(Instruction::and(6, self.access as i32));
                tests.push(Instruction::if_equal(6, 0));
            }
        }
        tests
    }
}
