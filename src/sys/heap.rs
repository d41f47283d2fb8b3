//! malloc_trim(3): memory that a process has freed goes back to the kernel.
#![allow(unsafe_code)]

/// Gives back what was freed, also from the middle of the heap: for a process that has done its work and
/// will now wait for a long time.
pub fn trim() {
    // SAFETY: takes an integer, and touches only memory that nobody has allocated.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
