//! bpf(2): the two operations that a cgroup's device list needs, and the instructions that it is made of.
#![allow(unsafe_code)]

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One instruction of extended BPF (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u8,
    /// The register that is written or compared in the low half, the one that is read in the high half.
    pub registers: u8,
    /// How many instructions to skip, or where to load from.
    pub offset: i16,
    /// The operand.
    pub operand: i32,
}

/// The codes: class, operation and source of the operand (linux/bpf.h).
impl Instruction {
    /// `to = *(u32 *)(from + offset)`
    pub fn load(to: u8, from: u8, offset: i16) -> Self {
        Instruction {
            code: 0x61,
            registers: from << 4 | to,
            offset,
            operand: 0,
        }
    }

    /// `to = from`
    pub fn copy(to: u8, from: u8) -> Self {
        Instruction {
            code: 0xbf,
            registers: from << 4 | to,
            offset: 0,
            operand: 0,
        }
    }

    /// `to = value`
    pub fn set(to: u8, value: i32) -> Self {
        Instruction {
            code: 0xb7,
            registers: to,
            offset: 0,
            operand: value,
        }
    }

    /// `to &= value`
    pub fn and(to: u8, value: i32) -> Self {
        Instruction {
            code: 0x57,
            registers: to,
            offset: 0,
            operand: value,
        }
    }

    /// `to >>= bits`
    pub fn shift_right(to: u8, bits: i32) -> Self {
        Instruction {
            code: 0x77,
            registers: to,
            offset: 0,
            operand: bits,
        }
    }

    /// `if register != value`, to be completed by [`Instruction::jumping`]
    pub fn if_not_equal(register: u8, value: u32) -> Self {
        Instruction {
            code: 0x56,
            registers: register,
            offset: 0,
            operand: value as i32,
        }
    }

    /// `if register == value`, likewise
    pub fn if_equal(register: u8, value: u32) -> Self {
        Instruction {
            code: 0x16,
            registers: register,
            offset: 0,
            operand: value as i32,
        }
    }

    /// `if register & value`, likewise
    pub fn if_any_bit(register: u8, value: u32) -> Self {
        Instruction {
            code: 0x46,
            registers: register,
            offset: 0,
            operand: value as i32,
        }
    }

    /// The comparison, skipping `count` instructions where it holds; any other instruction as it is.
    pub fn jumping(self, count: i16) -> Self {
        const JUMP32: u8 = 6;
        if self.code & 7 == JUMP32 {
            Instruction {
                offset: count,
                ..self
            }
        } else {
            self
        }
    }

    /// `return`; the answer is in register 0
    pub fn exit() -> Self {
        Instruction {
            code: 0x95,
            registers: 0,
            offset: 0,
            operand: 0,
        }
    }
}

const PROG_LOAD: i64 = 5;
const PROG_ATTACH: i64 = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// Programs attached further up or down are asked, too; one "no" is enough.
const ALLOW_MULTI: u32 = 2;

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes what is missing as zero.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The same for `BPF_PROG_ATTACH`.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Hands a program of type `BPF_PROG_TYPE_CGROUP_DEVICE` to the kernel's checker.
///
/// # Errors
/// EINVAL or EACCES for a program that the checker refuses, EPERM without CAP_BPF.
pub fn load_cgroup_device(program: &[Instruction]) -> Result<OwnedFd> {
    let load = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        // It calls none of the kernel's functions, so any licence does.
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: load has the size told and points to the program and the licence, which outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of::<Load>()) };
    if fd < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor (with close-on-exec) and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches it to a v2 cgroup, for as long as that exists.
///
/// # Errors
/// Those of bpf(2).
pub fn attach_cgroup_device(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let attach = Attach {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: attach has the size told and outlives the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_ATTACH,
            &raw const attach,
            size_of::<Attach>(),
        )
    };
    if answer < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(())
    }
}
