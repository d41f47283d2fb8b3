//! Memory that is not needed any more goes back to the kernel, or is overwritten.  malloc_trim(3), madvise(2), environ(7)
#![allow(unsafe_code)]

use std::ffi::c_void;

/// How far down the stack may have been used: more than any command has been seen to.
const DEPTH: usize = 128 * 1024;
/// What stays below the caller: its own call of madvise, and what a signal's frame takes (sigaltstack(2) names 2 KiB at
/// least).
const RESERVE: usize = 4 * 1024;

/// Gives back what was freed, also from the middle of the heap, and what deeper calls have left on the stack:
/// for a process that has done its work and will now wait for a long time.
pub fn trim() {
    // SAFETY: takes an integer, and touches only memory that nobody has allocated.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    trim_stack();
}

/// Lets all threads allocate from one heap: a thread of glibc's gets a heap of its own, which outlives it.
pub fn share_one_arena() {
    // SAFETY: takes two integers.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Only for the thread that main runs in, whose stack has room of that size below it, or a gap that the kernel
/// keeps free (stack_guard_gap).
fn trim_stack() {
    const PAGE: usize = 4096;
    let here = 0_u8;
    let top = (std::ptr::from_ref(&here).addr() - RESERVE) & !(PAGE - 1);
    let bottom = (top - DEPTH) as *mut c_void;
    // SAFETY: what lies below the stack pointer, and below the red zone, belongs to calls that have returned; the
    // kernel gives zeroed pages when it is used again. Where nothing is mapped it changes nothing.
    unsafe { libc::madvise(bottom, DEPTH, libc::MADV_DONTNEED) };
}

/// Overwrites the environment that this process was started with, where the kernel has put it: for one that others
/// may look into (proc_pid_environ(5)). From then on it has none.
pub fn forget_environment() {
    unsafe extern "C" {
        static mut environ: *mut *mut libc::c_char;
    }
    // SAFETY: the C library's list of C strings, which ends with a null pointer. There is one thread, and nothing
    // that was borrowed from the environment is used any more.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            std::ptr::write_bytes(*entry, 0, libc::strlen(*entry));
            entry = entry.add(1);
        }
        environ = std::ptr::null_mut();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_of_the_environment_is_left() {
        let words = crate::sys::test_support::in_child(|| {
            super::forget_environment();
            let block = std::fs::read("/proc/self/environ")?;
            let left = block.iter().filter(|byte| **byte != 0).count();
            Ok(format!("{left} {}", std::env::vars_os().count()))
        });
        assert_eq!(words, "0 0");
    }

    #[test]
    fn the_stack_can_be_used_after_trimming() {
        fn deep(depth: usize) -> usize {
            let room = std::hint::black_box([depth; 512]);
            if depth == 0 {
                room[0]
            } else {
                deep(depth - 1) + room[511]
            }
        }
        let thread = std::thread::Builder::new().stack_size(1024 * 1024);
        let both = thread.spawn(|| {
            let before = deep(20);
            super::trim();
            (before, deep(20))
        });
        let (before, after) = both.unwrap().join().unwrap();
        assert_eq!(before, after);
    }
}
