//! A program of some hundred bytes that becomes the container's program.  elf(5), memfd_create(2), execve(2)
//!
//! Whoever calls execve(2) lends its own file to the program for a moment: an interpreter or entry point named
//! `/proc/self/exe` is resolved while the caller's file is still the answer. So the last caller is not rmac but
//! this: a file in memory, sealed against writing, with nothing in it that is worth having.
//!
//! It finds on its stack what the kernel gives every program: the number of arguments, the arguments, a zero,
//! the environment. The first argument is the path of the program, the others are the program's own.
//!
//! ```text
//! fcntl(3, F_SETFD, FD_CLOEXEC)        the socket to the host, which so closes when the program begins
//! execve(arguments[0], &arguments[1], environment)
//! write(3, "e" and the errno)          execve came back: the host tells why
//! exit_group(125)
//! ```
#![allow(unsafe_code)]

use std::arch::global_asm;
use std::ffi::CStr;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};

/// The descriptor over which it tells of a failure; it must come without close-on-exec.
pub const SPEAKER: i32 = 3;

/// What the message of a failure begins with; the errno follows in seven bytes, the lowest first.
pub const ERRNO: u8 = b'e';

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".pushsection .rodata.rmac_trampoline, \"a\", @progbits",
    ".globl rmac_trampoline_begin",
    ".hidden rmac_trampoline_begin",
    ".globl rmac_trampoline_end",
    ".hidden rmac_trampoline_end",
    "rmac_trampoline_begin:",
    "mov rbx, rsp",
    "mov edi, 3",
    "mov esi, 2",  // F_SETFD
    "mov edx, 1",  // FD_CLOEXEC
    "mov eax, 72", // fcntl
    "syscall",
    "test rax, rax",
    "jnz 2f",
    "mov rdi, [rbx + 8]",
    "lea rsi, [rbx + 16]",
    "mov rdx, [rbx]",
    "lea rdx, [rbx + rdx * 8 + 16]",
    "mov eax, 59", // execve
    "syscall",
    "2:",
    "neg rax",
    "shl rax, 8",
    "or rax, 0x65", // ERRNO
    "push rax",
    "mov edi, 3",
    "mov rsi, rsp",
    "mov edx, 8",
    "mov eax, 1", // write
    "syscall",
    "mov edi, 125",
    "mov eax, 231", // exit_group
    "syscall",
    "rmac_trampoline_end:",
    ".popsection",
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".pushsection .rodata.rmac_trampoline, \"a\", @progbits",
    ".globl rmac_trampoline_begin",
    ".hidden rmac_trampoline_begin",
    ".globl rmac_trampoline_end",
    ".hidden rmac_trampoline_end",
    "rmac_trampoline_begin:",
    "mov x19, sp",
    "mov x0, #3",
    "mov x1, #2",  // F_SETFD
    "mov x2, #1",  // FD_CLOEXEC
    "mov x8, #25", // fcntl
    "svc #0",
    "cbnz x0, 2f",
    "ldr x0, [x19, #8]",
    "add x1, x19, #16",
    "ldr x2, [x19]",
    "add x2, x1, x2, lsl #3",
    "mov x8, #221", // execve
    "svc #0",
    "2:",
    "neg x0, x0",
    "lsl x0, x0, #8",
    "mov x3, #0x65", // ERRNO
    "orr x0, x0, x3",
    "str x0, [sp, #-16]!",
    "mov x0, #3",
    "mov x1, sp",
    "mov x2, #8",
    "mov x8, #64", // write
    "svc #0",
    "mov x0, #125",
    "mov x8, #94", // exit_group
    "svc #0",
    "rmac_trampoline_end:",
    ".popsection",
);

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

unsafe extern "C" {
    static rmac_trampoline_begin: u8;
    static rmac_trampoline_end: u8;
}

/// Makes the file: closed by execve(2) of something else, and unchangeable.
///
/// # Errors
/// EACCES where the host forbids programs in memory (`vm.memfd_noexec=2`).
pub fn open() -> Result<OwnedFd> {
    in_memory(&mut &elf(code())[..])
}

/// A program in memory, with the content of `content`: closed by execve(2), and unchangeable.
///
/// # Errors
/// EACCES where the host forbids programs in memory (`vm.memfd_noexec=2`).
pub fn in_memory(content: &mut impl std::io::Read) -> Result<OwnedFd> {
    // Linux before 6.3 knows no MFD_EXEC, and lets all such files be executed.
    let file = memfd(libc::MFD_EXEC).or_else(|error| match error.raw_os_error() {
        Some(libc::EINVAL) => memfd(0),
        _ => Err(error),
    })?;
    let mut file = std::fs::File::from(file);
    std::io::copy(content, &mut file)?;
    let seals = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// Makes [`SPEAKER`] refer to what `fd` does, and stay open over execve(2); what it was before is closed,
/// whoever thinks to own it.
///
/// # Errors
/// Those of dup2(2).
pub fn speak_with(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: plain integers; the caller is about to become another program.
    super::check(unsafe { libc::dup2(fd.as_raw_fd(), SPEAKER) }.into()).map(drop)
}

fn memfd(flags: u32) -> Result<OwnedFd> {
    const NAME: &CStr = c"container";
    let flags = flags | libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string; what comes back is a new descriptor.
    super::fd(unsafe { libc::memfd_create(NAME.as_ptr(), flags) }.into())
        .map_err(|_| Error::last_os_error())
}

fn code() -> &'static [u8] {
    let (begin, end) = (
        &raw const rmac_trampoline_begin,
        &raw const rmac_trampoline_end,
    );
    // SAFETY: the two symbols stand around the constant bytes above, in one section.
    unsafe { std::slice::from_raw_parts(begin, end.offset_from_unsigned(begin)) }
}

/// The smallest file that the kernel takes for a program: a header, and what is to be mapped. The second
/// entry says that the stack need not be executable, or the kernel would make all memory so.
fn elf(code: &[u8]) -> Vec<u8> {
    const ADDRESS: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 2 * 56;
    let size = HEADERS + code.len() as u64;
    let mut file = Vec::with_capacity(size as usize);
    // 64 bits, little endian, version 1.
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let halves = |file: &mut Vec<u8>, words: &[u16]| {
        words
            .iter()
            .for_each(|word| file.extend(word.to_le_bytes()));
    };
    let words = |file: &mut Vec<u8>, words: &[u32]| {
        words
            .iter()
            .for_each(|word| file.extend(word.to_le_bytes()));
    };
    let longs = |file: &mut Vec<u8>, words: &[u64]| {
        words
            .iter()
            .for_each(|word| file.extend(word.to_le_bytes()));
    };
    halves(&mut file, &[2, MACHINE]); // ET_EXEC
    words(&mut file, &[1]);
    longs(&mut file, &[ADDRESS + HEADERS, 64, 0]); // entry, program headers, no sections
    words(&mut file, &[0]);
    halves(&mut file, &[64, 56, 2, 0, 0, 0]);
    words(&mut file, &[libc::PT_LOAD, libc::PF_R | libc::PF_X]);
    longs(&mut file, &[0, ADDRESS, ADDRESS, size, size, 0x1_0000]);
    words(&mut file, &[libc::PT_GNU_STACK, libc::PF_R | libc::PF_W]);
    longs(&mut file, &[0, 0, 0, 0, 0, 16]);
    file.extend(code);
    file
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn nobody_changes_the_file() {
        let file = open().unwrap();
        let error = nix::unistd::write(file.as_fd(), b"x").unwrap_err();
        assert_eq!(error, nix::errno::Errno::EPERM);
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let again = std::fs::File::options().write(true).open(path).unwrap();
        assert!(again.set_len(0).is_err() && (&again).write_all(b"x").is_err());
    }
}
