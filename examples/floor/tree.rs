//! What lies in the container's tree beside the image: devices, and what Docker hides.

use std::fs;
use std::path::Path;

use anyhow::Result;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

/// Devices and links below `dev`, seen from the root of the tree.
pub fn make_devices() -> Result<()> {
    nix::sys::stat::umask(Mode::empty());
    let bits = Mode::from_bits_truncate(0o666);
    for (name, major, minor) in [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ] {
        mknod(
            &Path::new("dev").join(name),
            SFlag::S_IFCHR,
            bits,
            makedev(major, minor),
        )?;
    }
    for (name, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        std::os::unix::fs::symlink(to, Path::new("dev").join(name))?;
    }
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    Ok(())
}

/// The paths that Docker hides, and those it lets be read only.
pub fn mask() -> Result<()> {
    let none: Option<&str> = None;
    for path in [
        "asound",
        "acpi",
        "interrupts",
        "kcore",
        "keys",
        "latency_stats",
        "timer_list",
        "timer_stats",
        "sched_debug",
        "scsi",
    ] {
        let path = Path::new("proc").join(path);
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => {
                mount(
                    Some("tmpfs"),
                    &path,
                    Some("tmpfs"),
                    MsFlags::MS_RDONLY,
                    none,
                )?;
            }
            Ok(_) => mount(Some("/dev/null"), &path, none, MsFlags::MS_BIND, none)?,
            Err(_) => (),
        }
    }
    if Path::new("sys/firmware").exists() {
        mount(
            Some("tmpfs"),
            "sys/firmware",
            Some("tmpfs"),
            MsFlags::MS_RDONLY,
            none,
        )?;
    }
    for path in ["bus", "fs", "irq", "sys", "sysrq-trigger"] {
        let path = Path::new("proc").join(path);
        if path.exists() {
            mount(Some(&path), &path, none, MsFlags::MS_BIND, none)?;
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(none, &path, none, flags, none)?;
        }
    }
    Ok(())
}
