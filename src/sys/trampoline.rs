//! A program of some hundred bytes that becomes the container's program.  elf(5), memfd_create(2), execve(2)
//!
//! Whoever calls execve(2) lends its own file to the program for a moment: an interpreter or entry point named
//! `/proc/self/exe` is resolved while the caller's file is still the answer. So the last caller is not rmac but
//! this: a file in memory, sealed against writing, with nothing in it that is worth having.
//!
//! It finds on its stack what the kernel gives every program: the number of arguments, the arguments, a zero,
//! the environment. The first argument is the path of the program, the others are the program's own. Its last
//! eight bytes say which descriptor is the socket to the host, and how it is to be born ([`Birth`]).
//!
//! ```text
//! fcntl(socket, F_SETFD, FD_CLOEXEC)   the socket to the host, which so closes when the program begins
//! clone(CLONE_PARENT|SIGCHLD)          only where it is to be born once more: as a child of who made this process
//!   parent: write(socket, "b" and the number), exit_group(0)
//!   child:  setsid(), ioctl(0, TIOCSCTTY, 0) with a terminal
//! execve(arguments[0], &arguments[1], environment)
//! write(socket, "e" and the errno)     execve came back: the host tells why ("n": clone did)
//! exit_group(125)
//! ```
#![allow(unsafe_code)]

use std::arch::global_asm;
use std::ffi::CStr;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};

/// The lowest descriptor over which it may speak; it must come without close-on-exec.
pub const SPEAKER: i32 = 3;

/// What the message of a failure begins with; the errno follows in seven bytes, the lowest first.
pub const ERRNO: u8 = b'e';

/// The same where the process could not be born once more.
pub const UNBORN: u8 = b'n';

/// What the message of a birth begins with; the number of the process follows like an errno.
pub const BORN: u8 = b'b';

/// Whether the program's process is this one, or is born by it.
///
/// A process enters a pid namespace by birth only, and whoever is in there with CAP_SYS_PTRACE has hold of it
/// from then on. One that is born last of all has nothing left that is not the container's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Birth {
    /// It is this one.
    #[default]
    Over,
    /// It is born last, in a session of its own.
    Last,
    /// The same, and its input becomes the session's terminal.
    LastAtTerminal,
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".pushsection .rodata.rmac_trampoline, \"a\", @progbits",
    ".globl rmac_trampoline_begin",
    ".hidden rmac_trampoline_begin",
    ".globl rmac_trampoline_end",
    ".hidden rmac_trampoline_end",
    "rmac_trampoline_begin:",
    "mov rbx, rsp",
    "mov r12d, dword ptr [rip + 8f]", // the socket
    "mov r13d, dword ptr [rip + 9f]", // how it is born
    "mov r14d, 0x65",                 // ERRNO
    "mov edi, r12d",
    "mov esi, 2",  // F_SETFD
    "mov edx, 1",  // FD_CLOEXEC
    "mov eax, 72", // fcntl
    "syscall",
    "test rax, rax",
    "jnz 6f",
    "test r13d, r13d",
    "jz 4f",
    "mov edi, 0x8011", // CLONE_PARENT|SIGCHLD
    "xor esi, esi",
    "xor edx, edx",
    "xor r10d, r10d",
    "xor r8d, r8d",
    "mov eax, 56", // clone
    "syscall",
    "test rax, rax",
    "jz 3f",
    "mov r14d, 0x6e", // UNBORN
    "js 6f",
    "mov r14d, 0x62", // BORN
    "xor r15d, r15d",
    "jmp 7f",
    "3:",
    "mov eax, 112", // setsid
    "syscall",
    "cmp r13d, 2",
    "jne 4f",
    "xor edi, edi",
    "mov esi, 0x540e", // TIOCSCTTY
    "xor edx, edx",
    "mov eax, 16", // ioctl
    "syscall",
    "4:",
    "mov rdi, [rbx + 8]",
    "lea rsi, [rbx + 16]",
    "mov rdx, [rbx]",
    "lea rdx, [rbx + rdx * 8 + 16]",
    "mov eax, 59", // execve
    "syscall",
    "6:",
    "neg rax",
    "mov r15d, 125",
    "7:",
    "shl rax, 8",
    "or rax, r14",
    "push rax",
    "mov edi, r12d",
    "mov rsi, rsp",
    "mov edx, 8",
    "mov eax, 1", // write
    "syscall",
    "mov edi, r15d",
    "mov eax, 231", // exit_group
    "syscall",
    ".balign 4",
    "8:",
    ".long 3",
    "9:",
    ".long 0",
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
    ".balign 4",
    "rmac_trampoline_begin:",
    "mov x19, sp",
    "adr x9, 8f",
    "ldr w20, [x9]",     // the socket
    "ldr w21, [x9, #4]", // how it is born
    "mov x22, #0x65",    // ERRNO
    "mov x23, #125",
    "mov w0, w20",
    "mov x1, #2",  // F_SETFD
    "mov x2, #1",  // FD_CLOEXEC
    "mov x8, #25", // fcntl
    "svc #0",
    "cbnz x0, 6f",
    "cbz w21, 4f",
    "mov x0, #0x8011", // CLONE_PARENT|SIGCHLD
    "mov x1, #0",
    "mov x2, #0",
    "mov x3, #0",
    "mov x4, #0",
    "mov x8, #220", // clone
    "svc #0",
    "cbz x0, 3f",
    "mov x22, #0x6e", // UNBORN
    "tbnz x0, #63, 6f",
    "mov x22, #0x62", // BORN
    "mov x23, #0",
    "b 7f",
    "3:",
    "mov x8, #157", // setsid
    "svc #0",
    "cmp w21, #2",
    "b.ne 4f",
    "mov x0, #0",
    "mov x1, #0x540e", // TIOCSCTTY
    "mov x2, #0",
    "mov x8, #29", // ioctl
    "svc #0",
    "4:",
    "ldr x0, [x19, #8]",
    "add x1, x19, #16",
    "ldr x2, [x19]",
    "add x2, x1, x2, lsl #3",
    "mov x8, #221", // execve
    "svc #0",
    "6:",
    "neg x0, x0",
    "7:",
    "lsl x0, x0, #8",
    "orr x0, x0, x22",
    "str x0, [sp, #-16]!",
    "mov w0, w20",
    "mov x1, sp",
    "mov x2, #8",
    "mov x8, #64", // write
    "svc #0",
    "mov x0, x23",
    "mov x8, #94", // exit_group
    "svc #0",
    "8:",
    ".long 3",
    ".long 0",
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

/// The file, and what was written into it.
#[derive(Debug)]
pub struct Trampoline {
    /// Closed by execve(2) of something else, and unchangeable.
    pub file: OwnedFd,
    /// The descriptor over which it speaks.
    pub speaker: i32,
}

/// Makes the file for a process that is the program's already.
///
/// # Errors
/// As [`open_for`].
pub fn open() -> Result<Trampoline> {
    open_for(SPEAKER, Birth::Over)
}

/// The same; it will speak over the descriptor `speaker`, after the `birth` that is left.
///
/// # Errors
/// EACCES where the host forbids programs in memory (`vm.memfd_noexec=2`).
pub fn open_for(speaker: i32, birth: Birth) -> Result<Trampoline> {
    let mut file = elf(code());
    let words = file.len() - 8;
    file[words..words + 4].copy_from_slice(&speaker.to_le_bytes());
    file[words + 4..].copy_from_slice(&(birth as u32).to_le_bytes());
    let file = in_memory(&mut &file[..])?;
    Ok(Trampoline { file, speaker })
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

/// Makes `speaker` refer to what `fd` does, and stay open over execve(2); what it was before is closed,
/// whoever thinks to own it.
///
/// # Errors
/// Those of dup2(2).
pub fn speak_with(fd: BorrowedFd<'_>, speaker: i32) -> Result<()> {
    // SAFETY: plain integers; the caller is about to become another program.
    super::check(unsafe { libc::dup2(fd.as_raw_fd(), speaker) }.into()).map(drop)
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
        let file = open().unwrap().file;
        let error = nix::unistd::write(file.as_fd(), b"x").unwrap_err();
        assert_eq!(error, nix::errno::Errno::EPERM);
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let again = std::fs::File::options().write(true).open(path).unwrap();
        assert!(again.set_len(0).is_err() && (&again).write_all(b"x").is_err());
    }
}
