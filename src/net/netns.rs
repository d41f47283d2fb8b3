//! Network namespaces: entering one, and keeping one that nobody is in.
//!
//! A network namespace is a network stack of its own: links, addresses, routes, sockets, and the
//! settings below `/proc/sys/net`. A socket belongs for ever to the namespace in which it was opened;
//! a thread can go from one to another with setns(2). So to work on a namespace one goes in, opens a
//! socket, comes back, and keeps the socket.
//!
//! It lives as long as a process, a file descriptor or a mount holds it. A bind mount of
//! `/proc/self/ns/net` onto a file holds it with no process inside: that is all that `ip netns add`
//! does. network_namespaces(7), ip-netns(8).

use crate::out::stream::errln;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// The calling thread's network namespace.
pub fn own() -> Result<OwnedFd> {
    open(Path::new("/proc/thread-self/ns/net"))
}

/// The network namespace of the process `pid`.
pub fn of_process(pid: nix::unistd::Pid) -> Result<OwnedFd> {
    open(Path::new(&format!("/proc/{pid}/ns/net")))
}

/// The network namespace that is pinned at `path`.
pub fn open(path: &Path) -> Result<OwnedFd> {
    let file = std::fs::File::open(path)
        .with_context(|| format!("open the network namespace {}", path.display()))?;
    Ok(file.into())
}

/// The number by which the kernel tells one namespace from another: the inode, as in
/// `readlink /proc/PID/ns/net`.
pub fn inode(netns: BorrowedFd<'_>) -> Result<u64> {
    let stat = nix::sys::stat::fstat(netns).context("fstat a network namespace")?;
    Ok(stat.st_ino)
}

/// Enters `netns` with the calling thread, does `work` there, and returns, whatever happens inside.
pub fn within<T>(netns: BorrowedFd<'_>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let way_back = WayBack(own()?);
    setns(netns, CloneFlags::CLONE_NEWNET).context("setns into the network namespace")?;
    let result = work();
    drop(way_back);
    result
}

/// Makes a network namespace, which lives as long as the descriptor.
pub fn make() -> Result<OwnedFd> {
    make_and(|| ()).map(|(netns, ())| netns)
}

/// The same, and does `work` there.
pub fn make_and<T>(work: impl FnOnce() -> T) -> Result<(OwnedFd, T)> {
    let way_back = WayBack(own()?);
    unshare(CloneFlags::CLONE_NEWNET).context("unshare a network namespace")?;
    let made = own().map(|netns| (netns, work()));
    drop(way_back);
    made
}

/// Makes a network namespace and pins it at the file `path`, which is made too.
pub fn pin(path: &Path) -> Result<OwnedFd> {
    let way_back = WayBack(own()?);
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(|| format!("make the file {}", path.display()))?;
    unshare(CloneFlags::CLONE_NEWNET).context("unshare a network namespace")?;
    mount(
        Some("/proc/thread-self/ns/net"),
        path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .with_context(|| format!("bind the network namespace to {}", path.display()))?;
    let netns = own()?;
    drop(way_back);
    Ok(netns)
}

/// Takes back [`pin`]: without another holder the namespace dies, and with it the links inside.
/// "Already gone" is no error.
pub fn unpin(path: &Path) -> Result<()> {
    match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // EINVAL: there is a file but no mount, the rest of a half-made pin.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(errno).with_context(|| format!("unmount {}", path.display())),
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Returns to the namespace it holds when it is dropped, also while a panic unwinds.
struct WayBack(OwnedFd);

impl Drop for WayBack {
    fn drop(&mut self) {
        // A thread that went on in the wrong namespace would work on the wrong links. It held this
        // one a moment ago, so going back cannot fail; should it, nothing is safe but to stop.
        if let Err(errno) = setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET) {
            errln!("setns back into the own network namespace: {errno}");
            std::process::abort();
        }
    }
}
