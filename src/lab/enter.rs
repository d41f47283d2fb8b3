//! Going into the lab: what makes a shell believe that it is on another host.
//!
//! The network namespace decides which links there are. But tools look at them through
//! /sys/class/net, too, and a sysfs shows the links of the network namespace in which it was mounted.
//! So the command gets a mount namespace of its own with a fresh /sys, like `ip netns exec` does it;
//! the cgroups, which are mounted below the old one, are carried over. mount_namespaces(7).

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::{Lab, Station};
use crate::store::Home;

/// The variable by which a command in the lab knows that it is there; its value is that of RMAC_ROOT.
const INSIDE: &str = "RMAC_LAB_INSIDE";

/// Whether `home` is that of a lab whose shell we are in.
pub fn is_inside(home: &Home) -> bool {
    std::env::var_os(INSIDE).is_some_and(|root| home.root == root)
}

impl Lab {
    /// Replaces this process by `program`, on a station of the lab. Returns only the error of
    /// execve(2); what fails before it is the other error.
    pub fn exec(
        &self,
        station: Station,
        program: &OsString,
        arguments: &[OsString],
    ) -> Result<std::io::Error> {
        self.enter(station)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("RMAC_ROOT", &self.home.root)
            .env("RMAC_RUNROOT", &self.home.runroot)
            .env(INSIDE, &self.home.root)
            // Debian's bash and a plain sh show one of these in their prompts.
            .env("debian_chroot", format!("{} {}", self.name, station.name()))
            .env("PS1", format!("({} {}) \\$ ", self.name, station.name()));
        let registries = self.registries_conf();
        if registries.exists() {
            command.env("CONTAINERS_REGISTRIES_CONF", registries);
        }
        Ok(command.exec())
    }

    /// Moves the calling thread into the network namespace of `station`, with a /sys to match.
    fn enter(&self, station: Station) -> Result<()> {
        let netns = self.netns(station)?;
        setns(netns.as_fd(), CloneFlags::CLONE_NEWNET).context("setns into the lab")?;
        unshare(CloneFlags::CLONE_NEWNS).context("unshare the mount namespace")?;
        // Slave: what is unmounted outside goes here, too, and nothing mounted here gets out.
        let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
            .context("make the mounts slaves of the outer ones")?;
        self.fresh_sys()
    }

    /// Puts a sysfs of this network namespace over /sys, and the cgroups into it.
    fn fresh_sys(&self) -> Result<()> {
        let sys = self.dir.join("sys");
        match std::fs::create_dir(&sys) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("make {}", sys.display()));
            }
            _ => {}
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("sysfs"), &sys, Some("sysfs"), flags, None::<&str>).context("mount a sysfs")?;
        let cgroups = Path::new("/sys/fs/cgroup");
        if cgroups.exists() {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(
                Some(cgroups),
                &sys.join("fs/cgroup"),
                None::<&str>,
                flags,
                None::<&str>,
            )
            .context("carry over the cgroups")?;
        }
        mount(
            Some(&sys),
            "/sys",
            None::<&str>,
            MsFlags::MS_MOVE,
            None::<&str>,
        )
        .context("move the sysfs to /sys")
    }
}
