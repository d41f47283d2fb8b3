//! The kernel's concepts, one a file, all with the same face (see [`crate::lesson`]).

pub mod capabilities;
pub mod cgroups;
pub mod devices;
pub mod limits;
pub mod seccomp;
pub mod signals;
pub mod user;
