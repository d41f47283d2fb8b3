//! How names of hosts are looked up: in /etc/hosts, then by DNS.  nsswitch.conf(5), getaddrinfo(3)
//!
//! The C library of a static program would have to load other modules (`mdns4_minimal`, `ldap`) as shared libraries, and
//! those bring a second C library along. Docker's resolver has no others either.
#![allow(unsafe_code)]

#[cfg(static_libc)]
unsafe extern "C" {
    fn __nss_configure_lookup(database: *const libc::c_char, line: *const libc::c_char) -> i32;
}

/// Leaves out what nsswitch.conf names beside files and DNS, where the C library is linked in. To be called while there
/// is one thread.
pub fn limit_to_files_and_dns() {
    // SAFETY: both are C strings that live as long as the program, and nobody looks anything up meanwhile.
    #[cfg(static_libc)]
    unsafe {
        __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr());
    }
}
