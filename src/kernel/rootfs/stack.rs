//! How the layers become one tree: overlayfs, by the new calls or by mount(2).  overlayfs, fsopen(2), mount(2)
//!
//! Where the container's numbers are not the host's, each layer is first copied as a mount that translates its
//! owners. Such a mount is attached nowhere, which overlayfs takes from Linux 6.15 on; before, the layers are
//! attached in a mount namespace that the caller, the container's monitor, makes for itself.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;

use crate::sys;
use crate::sys::mounts::FsContext;

/// The extended attributes by which a layer says what of a lower one is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// `trusted.overlay.*`, which only the host's root may set.
    Trusted,
    /// `user.overlay.*`, an ordinary user's.
    User,
}

/// The new way (fsopen, fsconfig, fsmount): each layer is a parameter of its own, so their number is
/// not limited by the page that mount(2) has for all options; `lowerdir+` needs Linux 6.5.
pub(super) fn stack(
    lower: &[PathBuf],
    upper: &Path,
    work: &Path,
    marks: Marks,
) -> nix::Result<OwnedFd> {
    let build = || -> std::io::Result<OwnedFd> {
        let overlay = FsContext::open("overlay")?;
        // What mountinfo shows as the source; the kernel takes no notice.
        overlay.set("source", Path::new("overlay"))?;
        for layer in lower.iter().rev() {
            overlay.set("lowerdir+", layer)?;
        }
        overlay.set("upperdir", upper)?;
        overlay.set("workdir", work)?;
        if marks == Marks::User {
            overlay.set_flag("userxattr")?;
        }
        overlay.mount(0)
    };
    build().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EINVAL)))
}

/// The layers as one tree to read from. `at` is where a kernel before 6.5 needs it attached.
///
/// # Errors
/// Those of mounting an overlay.
pub fn read_only(lower: &[PathBuf], at: &Path, marks: Marks) -> Result<super::Root> {
    if let [only] = lower {
        return super::open_directory(only).map(super::Root::new);
    }
    let build = || -> std::io::Result<OwnedFd> {
        let overlay = FsContext::open("overlay")?;
        for layer in lower.iter().rev() {
            overlay.set("lowerdir+", layer)?;
        }
        if marks == Marks::User {
            overlay.set_flag("userxattr")?;
        }
        overlay.mount(0)
    };
    match build() {
        Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => (),
        tree => {
            return tree
                .map(super::Root::new)
                .context("mount the image's layers");
        }
    }
    let (overlay, options) = (Some("overlay"), lower_option(lower, marks));
    mount(
        overlay,
        at,
        overlay,
        MsFlags::MS_RDONLY,
        Some(options.as_str()),
    )
    .context("mount the image's layers")?;
    super::open_directory(at).map(super::Root::new)
}

/// The old way, for kernels before 6.5: all options in one string of at most a page.
pub(super) fn stack_with_mount(
    lower: &[PathBuf],
    upper: &Path,
    work: &Path,
    at: &Path,
    marks: Marks,
) -> Result<()> {
    let options = options(lower, upper, work, marks);
    if options.len() >= 4096 {
        bail!(
            "the image has {} layers, more than mount(2) can name; Linux 6.5 lifts this limit",
            lower.len()
        );
    }
    mount(
        Some("overlay"),
        at,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .with_context(|| {
        format!(
            "mount the overlay of {} layers at {}",
            lower.len(),
            at.display()
        )
    })
}

/// The options of mount(2).
pub(super) fn options(lower: &[PathBuf], upper: &Path, work: &Path, marks: Marks) -> String {
    let (upper, work) = (upper.display(), work.display());
    format!(
        "{},upperdir={upper},workdir={work}",
        lower_option(lower, marks)
    )
}

/// The layers for mount(2), which wants the topmost first.
fn lower_option(lower: &[PathBuf], marks: Marks) -> String {
    let lower: Vec<_> = lower
        .iter()
        .rev()
        .map(|dir| dir.to_string_lossy())
        .collect();
    let marks = match marks {
        Marks::Trusted => "",
        Marks::User => "userxattr,",
    };
    format!("{marks}lowerdir={}", lower.join(":"))
}

/// The tree of layers whose owners the user namespace `lender` translates, attached nowhere.
pub(super) fn stack_mapped(
    lower: &[PathBuf],
    upper: &Path,
    work: &Path,
    at: &Path,
    lender: &OwnedFd,
) -> Result<OwnedFd> {
    let layers: Vec<OwnedFd> = lower
        .iter()
        .map(|layer| {
            let clone = nix::libc::OPEN_TREE_CLONE;
            let tree = sys::mounts::open_tree(AT_FDCWD, layer, clone).context("open_tree")?;
            id_mapped(&tree, lender.as_fd(), false)?;
            Ok(tree)
        })
        .collect::<Result<_>>()?;
    let paths: Vec<PathBuf> = layers
        .iter()
        .map(|layer| format!("/proc/self/fd/{}", layer.as_raw_fd()).into())
        .collect();
    match stack(&paths, upper, work, Marks::Trusted) {
        Err(Errno::EINVAL | Errno::ENOSYS) => stack_attached(&layers, upper, work, at),
        other => other.context("fsmount"),
    }
}

/// Makes the mount `tree`, which is attached nowhere, show its owners as `lender` translates them.
pub fn id_mapped(tree: &OwnedFd, lender: BorrowedFd<'_>, below: bool) -> Result<()> {
    sys::owners::map(tree.as_fd(), lender, below).map_err(|error| match error.raw_os_error() {
        Some(nix::libc::EINVAL) => anyhow::anyhow!(
            "the file system cannot translate owners (mount_setattr(MOUNT_ATTR_IDMAP): EINVAL): ext4, xfs and btrfs can, \
             another overlay cannot: put rmac's state on one of those (--root)"
        ),
        _ => anyhow::Error::from(error).context("mount_setattr(MOUNT_ATTR_IDMAP)"),
    })
}

/// The same for Linux before 6.15. From here on this process has its mounts to itself; those that the host
/// undoes still go here, too, so nothing stays busy.
fn stack_attached(layers: &[OwnedFd], upper: &Path, work: &Path, at: &Path) -> Result<OwnedFd> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).context("unshare(CLONE_NEWNS)")?;
    let none: Option<&str> = None;
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(none, "/", none, slave, none).context("mount(MS_SLAVE)")?;
    let mut paths = vec![];
    for (number, layer) in layers.iter().enumerate() {
        let path = at.join(format!("layer{number}"));
        std::fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        let place = super::open_directory(&path)?;
        sys::mounts::move_mount(layer.as_fd(), place.as_fd()).context("move_mount a layer")?;
        paths.push(path);
    }
    stack_with_mount(&paths, upper, work, at, Marks::Trusted)?;
    let clone = nix::libc::OPEN_TREE_CLONE;
    let tree = sys::mounts::open_tree(AT_FDCWD, at, clone).context("open_tree the overlay")?;
    // By path the monitor must find its own directory here, not the container's tree.
    for path in std::iter::once(at).chain(paths.iter().map(PathBuf::as_path)) {
        umount2(path, MntFlags::MNT_DETACH).context("umount2")?;
    }
    for path in &paths {
        std::fs::remove_dir(path).with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(tree)
}
