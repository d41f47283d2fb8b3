//! The mounts of a container: Docker's defaults, then what was asked for.  OCI runtime-spec, config.md, "Mounts"

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{Mount, MountBuilder};

use super::Place;
use crate::request::{Ipc, Request};

/// Where POSIX shared memory lies.
const SHM: &str = "/dev/shm";

/// The mounts, in the order in which they are made.
pub fn mounts(request: &Request, place: &Place<'_>) -> Result<Vec<Mount>> {
    let mut all = defaults(request)?;
    all.extend(shared_memory(request, place)?);
    for name in ["resolv.conf", "hostname", "hosts"] {
        let directory = place
            .shared
            .map_or(place.directory, |shared| shared.directory);
        let source = directory.join(name);
        let target = format!("/etc/{name}");
        all.push(mount(
            "bind",
            &source.to_string_lossy(),
            &target,
            if place.ids.is_some() {
                &["bind", "rprivate", "idmap"]
            } else {
                &["rbind", "rprivate"]
            },
        )?);
    }
    for (path, options) in &request.tmpfs {
        // Docker: what the user says comes after the defaults and so wins.
        let own = options.split(',').filter(|word| !word.is_empty());
        let words: Vec<&str> = ["nosuid", "nodev", "noexec"]
            .into_iter()
            .chain(own)
            .collect();
        all.push(mount("tmpfs", "tmpfs", &path.to_string_lossy(), &words)?);
    }
    for bind in &request.binds {
        // Docker: a read-only volume is so with all that is mounted below it.
        let own = bind.options.iter().map(|word| match word.as_str() {
            "ro" => "rro",
            word => word,
        });
        let words: Vec<&str> = std::iter::once("rbind").chain(own).collect();
        let (source, target) = (bind.source.to_string_lossy(), bind.target.to_string_lossy());
        all.push(mount("bind", &source, &target, &words)?);
    }
    override_defaults(&mut all);
    Ok(all)
}

/// The kernel's own file systems, as Docker mounts them.
fn defaults(request: &Request) -> Result<Vec<Mount>> {
    let access = if request.privileged { "rw" } else { "ro" };
    let safe = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&safe[..], more].concat();
    let pts = [
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
        "gid=5",
    ];
    Ok(vec![
        mount("proc", "proc", "/proc", &safe)?,
        mount(
            "tmpfs",
            "tmpfs",
            "/dev",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        )?,
        mount("devpts", "devpts", "/dev/pts", &pts)?,
        mount("sysfs", "sysfs", "/sys", &with(&[access]))?,
        mount(
            "cgroup",
            "cgroup",
            "/sys/fs/cgroup",
            &with(&["relatime", access]),
        )?,
        mount("mqueue", "mqueue", "/dev/mqueue", &safe)?,
    ])
}

/// `/dev/shm`, which belongs to the same container as the rest of the IPC does.
fn shared_memory(request: &Request, place: &Place<'_>) -> Result<Option<Mount>> {
    let shared = |source: &str| {
        let words = ["rbind", "rprivate", "nosuid", "noexec", "nodev"];
        mount("bind", source, SHM, &words).map(Some)
    };
    match &request.ipc {
        Ipc::None => Ok(None),
        Ipc::Host => shared(SHM),
        Ipc::Container(_) => shared(&format!("/proc/{}/root{SHM}", place.ipc.unwrap_or(0))),
        Ipc::Private | Ipc::Shareable => {
            let size = match request.shm_size.filter(|size| *size > 0) {
                Some(bytes) => format!("size={bytes}"),
                None => "size=65536k".into(),
            };
            let words = ["nosuid", "noexec", "nodev", "mode=1777", &size];
            mount("tmpfs", "shm", SHM, &words).map(Some)
        }
    }
}

/// A volume at `/dev/shm`, say, takes the default's place instead of lying on top of it.
fn override_defaults(all: &mut Vec<Mount>) {
    let mut at = 0;
    while at < all.len() {
        let later = all[at + 1..]
            .iter()
            .any(|other| other.destination() == all[at].destination());
        if later {
            all.remove(at);
        } else {
            at += 1;
        }
    }
}

fn mount(kind: &str, source: &str, target: &str, options: &[&str]) -> Result<Mount> {
    if !target.starts_with('/') {
        bail!("invalid mount path: '{target}' mount path must be absolute");
    }
    MountBuilder::default()
        .typ(kind)
        .source(source)
        .destination(target)
        .options(options.iter().map(ToString::to_string).collect::<Vec<_>>())
        .build()
        .with_context(|| format!("put the mount at {target} together"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::request::Bind;

    #[test]
    fn a_volume_takes_the_place_of_a_default_mount() {
        let bind = Bind {
            source: "/srv".into(),
            target: "/dev/shm".into(),
            options: vec![],
            volume: None,
        };
        let request = Request {
            binds: vec![bind],
            ..Request::default()
        };
        let place = Place {
            id: "abc",
            directory: Path::new("/c"),
            host_name: "h",
            ids: None,
            shared: None,
            ipc: None,
            pids: None,
        };
        let mounts = mounts(&request, &place).unwrap();
        let shm: Vec<_> = mounts
            .iter()
            .filter(|mount| mount.destination() == Path::new("/dev/shm"))
            .collect();
        assert_eq!(shm.len(), 1);
        assert_eq!(shm[0].typ().as_deref(), Some("bind"));
    }
}
