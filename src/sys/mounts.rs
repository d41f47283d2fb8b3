//! Mounts by descriptor: open_tree(2), move_mount(2), mount_setattr(2), fsopen(2), fsconfig(2), fsmount(2).
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io::Result;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::{c_path, check, fd};

/// A copy of the mount at `path`, attached nowhere yet (`OPEN_TREE_CLONE`); with what is mounted below
/// it where `flags` has `AT_RECURSIVE`.
pub fn open_tree(directory: BorrowedFd<'_>, path: &Path, flags: u32) -> Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: path is a C string that outlives the call.
    fd(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            directory.as_raw_fd(),
            path.as_ptr(),
            flags | libc::OPEN_TREE_CLOEXEC,
        )
    })
}

/// Attaches the mount `from` on top of what `to` refers to; no path is walked.
pub fn move_mount(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    const BOTH_EMPTY: u32 = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: two descriptors and two empty C strings.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_raw_fd(),
            c"".as_ptr(),
            to.as_raw_fd(),
            c"".as_ptr(),
            BOTH_EMPTY,
        )
    })
    .map(drop)
}

/// Changes the attributes (`MOUNT_ATTR_*`) and the propagation of the mount `mount`, and with
/// `AT_RECURSIVE` in `flags` of all below it.
pub fn mount_setattr(
    mount: BorrowedFd<'_>,
    flags: i32,
    set: u64,
    clear: u64,
    propagation: u64,
) -> Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation,
        userns_fd: 0,
    };
    // SAFETY: attributes is valid and its size is told; the path is an empty C string.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// A mount, attached nowhere yet, of the file system that `context` has made ([`FsContext::create`]), with the attributes
/// `attributes`.
///
/// # Errors
/// EBUSY where there is one already.
pub fn fsmount(context: BorrowedFd<'_>, attributes: u32) -> Result<OwnedFd> {
    // SAFETY: plain integers; what comes back is a new descriptor.
    fd(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            libc::FSMOUNT_CLOEXEC,
            attributes,
        )
    })
}

/// A file system under construction: `fsopen`, parameters, `fsmount`.
#[derive(Debug)]
pub struct FsContext(OwnedFd);

impl FsContext {
    /// Begins a file system of the type `kind`, such as `overlay`.
    pub fn open(kind: &str) -> Result<Self> {
        let kind = CString::new(kind)?;
        // SAFETY: kind is a C string that outlives the call.
        fd(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC) })
            .map(FsContext)
    }

    /// Sets the parameter `key` to `value`.
    pub fn set(&self, key: &str, value: &Path) -> Result<()> {
        let (key, value) = (CString::new(key)?, c_path(value)?);
        self.config(
            libc::FSCONFIG_SET_STRING,
            key.as_ptr(),
            value.as_ptr().cast(),
        )
    }

    /// Sets the parameter `key` that has no value.
    pub fn set_flag(&self, key: &str) -> Result<()> {
        let key = CString::new(key)?;
        self.config(libc::FSCONFIG_SET_FLAG, key.as_ptr(), std::ptr::null())
    }

    /// Makes the file system; what is left of the context is good for [`fsmount`].
    pub fn create(self) -> Result<OwnedFd> {
        self.config(
            libc::FSCONFIG_CMD_CREATE,
            std::ptr::null(),
            std::ptr::null(),
        )?;
        Ok(self.0)
    }

    /// Makes the file system and a mount of it with the attributes `attributes`, attached nowhere yet.
    pub fn mount(self, attributes: u32) -> Result<OwnedFd> {
        fsmount(self.create()?.as_fd(), attributes)
    }

    /// What the kernel has to say beyond the errno (`e overlay: ...`), if anything.
    pub fn message(&self) -> Option<String> {
        let mut text = [0; 512];
        let length = nix::unistd::read(self.0.as_fd(), &mut text).ok()?;
        let text = String::from_utf8_lossy(&text[..length]).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    fn config(
        &self,
        command: u32,
        key: *const libc::c_char,
        value: *const libc::c_void,
    ) -> Result<()> {
        // SAFETY: key and value are null or C strings that outlive the call.
        check(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.0.as_raw_fd(),
                command,
                key,
                value,
                0,
            )
        })
        .map(drop)
    }
}
