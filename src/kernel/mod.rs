//! The kernel's concepts, one file each, all with the face that [`crate::lesson`] describes.

pub mod identity;
pub mod init;
pub mod mounts;
pub mod namespaces;
pub mod program;
pub mod rootfs;
pub mod terminal;
