//! The kernel's concepts, one file each, all with the face that [`crate::lesson`] describes.

pub mod attributes;
pub mod capabilities;
pub mod cgroups;
pub mod devices;
pub mod gate;
pub mod hooks;
pub mod identity;
pub mod ids;
pub mod init;
pub mod keyring;
pub mod limits;
pub mod mounts;
pub mod namespaces;
pub mod program;
pub mod protect;
pub mod rootfs;
pub mod seccomp;
pub mod signals;
pub mod sysctl;
pub mod terminal;
pub mod user;
