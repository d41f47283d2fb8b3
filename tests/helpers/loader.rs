//! What an attacker puts in place of the image's `/lib64/ld-linux-x86-64.so.2` (CVE-2019-5736): should rmac's
//! own file ever be executed in a container, this code runs in its process. It tells the file's path, and
//! whether the mount that it comes from can only be read.
#![no_std]
#![no_main]
#![allow(missing_docs)]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start: and rsp, -16",
    "call attack",
    "ud2"
);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start: bl attack", "udf #0");

#[cfg(target_arch = "x86_64")]
const CALLS: [usize; 5] = [1, 89, 2, 138, 231];

/// write, readlink, open, fstatfs, exit_group
#[cfg(target_arch = "x86_64")]
fn call(which: usize, a: usize, b: usize, c: usize) -> isize {
    let answer: isize;
    // SAFETY: five harmless calls with pointers to memory that lives long enough.
    unsafe {
        asm!("syscall", inlateout("rax") CALLS[which] as isize => answer,
             in("rdi") a, in("rsi") b, in("rdx") c, lateout("rcx") _, lateout("r11") _)
    };
    answer
}

#[cfg(target_arch = "aarch64")]
fn call(which: usize, a: usize, b: usize, c: usize) -> isize {
    // readlinkat and openat want a directory first.
    let at = -100isize as usize;
    let (number, a, b, c, d) = match which {
        0 => (64, a, b, c, 0),
        1 => (78, at, a, b, c),
        2 => (56, at, a, b, c),
        3 => (44, a, b, c, 0),
        _ => (94, a, b, c, 0),
    };
    let answer: isize;
    // SAFETY: as above.
    unsafe {
        asm!("svc #0", in("x8") number, inlateout("x0") a as isize => answer,
             in("x1") b, in("x2") c, in("x3") d)
    };
    answer
}

fn say(text: &[u8]) {
    call(0, 1, text.as_ptr() as usize, text.len());
}

static TEXT: [AtomicU8; 512] = [const { AtomicU8::new(0) }; 512];
static STATUS: [AtomicU64; 32] = [const { AtomicU64::new(0) }; 32];

#[unsafe(no_mangle)]
extern "C" fn attack() -> ! {
    let path = c"/proc/self/exe".as_ptr() as usize;
    let length = call(1, path, TEXT.as_ptr() as usize, 512);
    say(b"attacker's code in ");
    call(0, 1, TEXT.as_ptr() as usize, length as usize);
    let file = call(2, path, 0, 0);
    call(3, file as usize, STATUS.as_ptr() as usize, 0);
    // struct statfs: f_flags is the eleventh word; ST_RDONLY is 1.
    match STATUS[10].load(Ordering::Relaxed) & 1 {
        1 => say(b" read-only\n"),
        _ => say(b" writable!\n"),
    }
    call(4, 0, 0, 0);
    loop {}
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
