//! For tests only: a child process in which the process's own state may be ruined.
#![allow(unsafe_code)]

use std::io::{Read, Write};
use std::os::fd::FromRawFd;

/// Runs `body` in a forked child and gives back what it returned; a panic or a failed step there is a
/// panic here. What the child does to its credentials, filters, limits and signals dies with it.
///
/// The test harness has other threads, and a lock that one of them held at the fork is held for ever in
/// the child. glibc makes its allocator safe across fork(2); `body` should print nothing.
pub fn in_child(body: impl FnOnce() -> anyhow::Result<String>) -> String {
    let mut ends = [0; 2];
    // SAFETY: pipe2 writes two descriptors into the array.
    let answer = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    assert_eq!(answer, 0, "pipe2");
    // SAFETY: both are fresh and owned by nobody else.
    let (mut read, mut write) = unsafe {
        (
            std::fs::File::from_raw_fd(ends[0]),
            std::fs::File::from_raw_fd(ends[1]),
        )
    };
    // SAFETY: the child runs `body` and ends in _exit, never returning into the harness.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        let (code, text) = match answer {
            Ok(Ok(text)) => (0, text),
            Ok(Err(error)) => (1, format!("{error:#}")),
            Err(_) => (2, "panicked".to_owned()),
        };
        // The reader sees a short text where the write fails, and the test fails with it.
        let _ = write.write_all(text.as_bytes());
        // SAFETY: ends this process at once, without the parent's clean-up.
        unsafe { libc::syscall(libc::SYS_exit_group, code) };
        unreachable!("exit_group does not return");
    }
    drop(write);
    let mut text = String::new();
    read.read_to_string(&mut text)
        .expect("the child's answer is text");
    let mut status = 0;
    // SAFETY: waits for the child that was made above and writes its status.
    let answer = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(answer, pid, "waitpid");
    assert_eq!(status, 0, "in the child: {text}");
    text
}

/// A system call as it is, for filters that are to refuse it.
pub fn raw(number: i64, args: [i64; 3]) -> i64 {
    // SAFETY: the callers pass integers and null pointers only, which the kernel checks.
    unsafe { libc::syscall(number, args[0], args[1], args[2], 0, 0, 0) }
}

/// The same by the way of 32-bit programs, whose calls have other numbers; gives the negative errno.
#[cfg(target_arch = "x86_64")]
pub fn raw_32bit(number: i32, args: [i32; 3]) -> i64 {
    let answer: i64;
    // SAFETY: as above; the trap clobbers no register but rax and r8 to r11. rbx, which the compiler keeps for
    // itself, is put back.
    unsafe {
        std::arch::asm!(
            "xchg {first:r}, rbx", "int 0x80", "xchg {first:r}, rbx",
            first = inout(reg) i64::from(args[0]) => _,
            inlateout("rax") i64::from(number) => answer,
            in("rcx") i64::from(args[1]), in("rdx") i64::from(args[2]),
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    i64::from(answer as i32)
}
