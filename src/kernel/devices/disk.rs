//! A disk by its number, as the limits of cgroups name it.  makedev(3), lsblk(8)

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::{Result, ensure};

/// The number, major and minor, of the block device at `path` on the host.
///
/// # Errors
/// There is none.
pub fn number(path: &Path) -> Result<(i64, i64)> {
    let found = fs_err::metadata(path)?;
    let kind = found.file_type();
    ensure!(
        kind.is_block_device(),
        "{}: not a block device",
        path.display()
    );
    let number = found.rdev();
    Ok((
        nix::sys::stat::major(number) as i64,
        nix::sys::stat::minor(number) as i64,
    ))
}
