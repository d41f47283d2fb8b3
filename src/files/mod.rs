//! What lies in a container: files copied in and out, its tree as an archive, what it has changed.  openat2(2), tar(5)
//!
//! The container's file system is hostile: whoever runs in it may put a link in any place and change it at any
//! moment, also while we look (CVE-2018-15664). So a process of its own goes in ([`worker`], [`view`]): the
//! container's root is its root, no path of the host's is left in it, and each path is resolved by the kernel inside
//! ([`tree`]). It loads nothing that lies there (CVE-2019-14271). Between that process and the command there is a pipe
//! with a tar archive, as between Docker's daemon and its client, and whoever reads it trusts no name in it ([`unpack`]).
//!
//! ```text
//! cp CONTAINER:SRC DEST   worker: view, pack ------ tar ------> command: unpack
//! cp SRC CONTAINER:DEST   command: pack ----------- tar ------> worker: view, unpack
//! cp CONTAINER:SRC -      worker: view, pack ------ tar ------> standard output
//! cp - CONTAINER:DEST     standard input ---------- tar ------> worker: view, unpack
//! export                  worker: view of the root alone, pack > standard output
//! ```

pub mod changes;
pub mod inside;
pub mod local;
pub mod pack;
pub mod paths;
pub mod tree;
pub mod unpack;
pub mod view;
pub mod worker;
