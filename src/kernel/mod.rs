//! The kernel's concepts, one file each, all with the face that [`crate::lesson`] describes.

pub mod identity;
pub mod init;
pub mod mounts;
pub mod namespaces;
pub mod program;
pub mod rootfs;
pub mod terminal;
//! The kernel's concepts, one a file, all with the same face (see [`crate::lesson`]).

pub mod capabilities;
// pub mod cgroups;
pub mod devices;
pub mod limits;
// pub mod seccomp;
pub mod signals;
pub mod user;
