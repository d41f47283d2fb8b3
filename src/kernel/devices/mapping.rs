//! `--device`: which of the host's devices a container gets, and what it may do with them.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

/// `--device HOST[:CONTAINER[:RWM]]` as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The node on the host, or a directory of nodes.
    pub host: PathBuf,
    /// Where the container finds it.
    pub container: PathBuf,
    /// What the cgroup allows: r(ead), w(rite), m(knod).
    pub access: String,
}

impl std::str::FromStr for Mapping {
    type Err = anyhow::Error;

    /// Reads `HOST`, `HOST:RWM`, `HOST:CONTAINER` or `HOST:CONTAINER:RWM`.
    fn from_str(text: &str) -> Result<Self> {
        let fields: Vec<&str> = text.split(':').collect();
        let (host, container, access) = match fields[..] {
            [host] => (host, host, "rwm"),
            [host, access] if is_access(access) => (host, host, access),
            [host, container] => (host, container, "rwm"),
            [host, container, access] if is_access(access) => (host, container, access),
            [_, _, access] => bail!("bad mode specified: {access}"),
            _ => bail!("invalid device specification: {text}"),
        };
        if !host.starts_with('/') || !container.starts_with('/') {
            let path = if host.starts_with('/') {
                container
            } else {
                host
            };
            bail!("{path} is not an absolute path");
        }
        Ok(Mapping {
            host: host.into(),
            container: container.into(),
            access: access.to_owned(),
        })
    }
}

impl Mapping {
    /// Looks the host's node up, or all nodes below a directory: the node to make and what the cgroup must
    /// allow for it.
    ///
    /// # Errors
    /// In Docker's words where there is no such device.
    pub fn resolve(&self) -> Result<Vec<(LinuxDevice, LinuxDeviceCgroup)>> {
        let failed = || {
            format!(
                "error gathering device information while adding custom device {:?}",
                self.host
            )
        };
        let mut found = Vec::new();
        self.gather(&self.host, &self.container, &mut found)
            .with_context(failed)?;
        if found.is_empty() {
            bail!("{}: not a device node", failed());
        }
        Ok(found)
    }

    /// All nodes of the host's `/dev`, for a container that may do with them what the host may. Those of terminals
    /// and the directories of file systems are the container's own.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn all() -> Result<Vec<LinuxDevice>> {
        let own = ["console", "fd", "mqueue", "ptmx", "pts", "shm"];
        let mut found = Vec::new();
        for entry in fs_err::read_dir("/dev")? {
            let (name, kind) =
                entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?)))?;
            if own.iter().any(|own| name == *own) || kind.is_symlink() {
                continue;
            }
            let host = Path::new("/dev").join(name);
            let mapping = Mapping {
                container: host.clone(),
                host,
                access: "rwm".into(),
            };
            // A device that has just gone is none.
            let _ = mapping.gather(&mapping.host, &mapping.container, &mut found);
        }
        Ok(found.into_iter().map(|(device, _)| device).collect())
    }

    fn gather(
        &self,
        host: &Path,
        container: &Path,
        found: &mut Vec<(LinuxDevice, LinuxDeviceCgroup)>,
    ) -> Result<()> {
        let meta = host.metadata().map_err(|e| match e.raw_os_error() {
            Some(libc::ENOENT) => anyhow::anyhow!("no such file or directory"),
            _ => e.into(),
        })?;
        if meta.is_dir() {
            for entry in fs_err::read_dir(host)? {
                let entry = entry?;
                // Links below a directory are other names of nodes found elsewhere, and could go in circles.
                let kind = entry.file_type()?;
                if kind.is_dir() || kind.is_char_device() || kind.is_block_device() {
                    self.gather(&entry.path(), &container.join(entry.file_name()), found)?;
                }
            }
            return Ok(());
        }
        let kind = match meta.file_type() {
            t if t.is_char_device() => LinuxDeviceType::C,
            t if t.is_block_device() => LinuxDeviceType::B,
            _ => return Ok(()),
        };
        let (major, minor) = (
            nix::sys::stat::major(meta.rdev()) as i64,
            nix::sys::stat::minor(meta.rdev()) as i64,
        );
        let device = LinuxDeviceBuilder::default()
            .path(container)
            .typ(kind)
            .major(major)
            .minor(minor)
            .file_mode(meta.mode() & 0o7777)
            .uid(meta.uid())
            .gid(meta.gid());
        let rule = LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(kind)
            .major(major)
            .minor(minor)
            .access(self.access.as_str());
        found.push((device.build()?, rule.build()?));
        Ok(())
    }
}

fn is_access(word: &str) -> bool {
    let once = |c| word.matches(c).count() <= 1;
    !word.is_empty()
        && word.chars().all(|c| "rwm".contains(c))
        && once('r')
        && once('w')
        && once('m')
}
