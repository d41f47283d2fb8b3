//! The system calls that nix does not wrap, each once. The only place with `unsafe`.
pub mod bpf;
pub mod capabilities;
pub mod seccomp;
pub mod signals;
#[cfg(test)]
pub mod test_support;
