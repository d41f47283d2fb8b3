//! From `config.json` to a spec that the plan can follow: defaults filled in, paths made absolute, the rest checked.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{Capabilities, LinuxNamespaceType, Process, Spec};

use crate::kernel::{capabilities, namespaces};

/// Most bytes that are read of a JSON file of the engine's.
const LARGEST: u64 = 16 << 20;

/// Reads the bundle in the directory `bundle`, for a container `id`: its absolute path, the spec, and the
/// container's tree.
///
/// # Errors
/// What is missing or asks for something that cannot be done.
pub fn load(bundle: &Path, id: &str, systemd: bool) -> Result<(PathBuf, Spec, PathBuf)> {
    let bundle = std::fs::canonicalize(bundle)
        .with_context(|| format!("find the bundle {}", bundle.display()))?;
    let mut spec: Spec = read(&bundle.join("config.json"))?;
    check_version(spec.version())?;
    let root = spec.root().as_ref().context("config.json has no root")?;
    let rootfs = std::fs::canonicalize(bundle.join(root.path()))
        .with_context(|| format!("find the container's tree {}", root.path().display()))?;
    check_shared_mounts(&spec)?;
    check_supported(&spec)?;
    place_cgroup(&mut spec, id, systemd)?;
    absolute_mounts(&mut spec, &bundle);
    if let Some(process) = spec.process_mut() {
        settle(process)?;
    }
    Ok((bundle, spec, rootfs))
}

/// Reads a process, as `exec` is given one.
pub fn load_process(path: &Path) -> Result<Process> {
    let mut process: Process = read(path)?;
    settle(&mut process)?;
    Ok(process)
}

/// Reads a JSON file of the engine's.
pub fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = || -> Result<Vec<u8>> {
        let size = std::fs::metadata(path)?.len();
        if size > LARGEST {
            bail!("larger than {} MiB", LARGEST >> 20);
        }
        Ok(std::fs::read(path)?)
    };
    let text = text().with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not understood", path.display()))
}

/// Takes a process as it stands: users are numbers here, and capabilities those that this machine gives.
pub fn settle(process: &mut Process) -> Result<()> {
    process.user_mut().set_username(None);
    if !process.cwd().is_absolute() {
        bail!("process.cwd {:?} is not an absolute path", process.cwd());
    }
    let Some(mut sets) = process.capabilities().clone() else {
        return Ok(());
    };
    let given = |set: &Option<Capabilities>| {
        let wanted = set.clone().unwrap_or_default();
        Some(capabilities::within_bounding(&wanted).0)
    };
    let (bounding, effective) = (given(sets.bounding()), given(sets.effective()));
    let (permitted, inheritable) = (given(sets.permitted()), given(sets.inheritable()));
    // The kernel keeps ambient only what is permitted and inheritable, and so do the other runtimes.
    let both = |held: &Option<Capabilities>, set: Option<Capabilities>| {
        set.map(|set| {
            set.intersection(held.as_ref().unwrap_or(&Capabilities::new()))
                .copied()
                .collect()
        })
    };
    let ambient = both(&permitted, both(&inheritable, given(sets.ambient())));
    sets.set_bounding(bounding)
        .set_effective(effective)
        .set_permitted(permitted)
        .set_inheritable(inheritable)
        .set_ambient(ambient);
    process.set_capabilities(Some(sets));
    Ok(())
}

/// Whether what is asked for can be done where the container shares the host's mounts.
fn check_shared_mounts(spec: &Spec) -> Result<()> {
    let Some(linux) = spec.linux() else {
        return Ok(());
    };
    let empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    let plain = empty(linux.masked_paths())
        && empty(linux.readonly_paths())
        && linux
            .rootfs_propagation()
            .as_ref()
            .is_none_or(String::is_empty);
    if !plain && !namespaces::listed(spec, LinuxNamespaceType::Mount) {
        bail!(
            "maskedPaths, readonlyPaths and rootfsPropagation need a mount namespace, and linux.namespaces has none"
        );
    }
    Ok(())
}

/// What rmac-oci cannot do is an error here, not silence.
fn check_supported(spec: &Spec) -> Result<()> {
    let linux = spec.linux().as_ref();
    let network = namespaces::listed(spec, LinuxNamespaceType::Network);
    let devices = linux.and_then(|linux| linux.net_devices().as_ref());
    if !network && devices.is_some_and(|devices| !devices.is_empty()) {
        bail!("linux.netDevices needs a network namespace, and linux.namespaces has none");
    }
    if linux.is_some_and(|linux| linux.intel_rdt().is_some()) {
        bail!("linux.intelRdt is not supported");
    }
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let rdma = resources.and_then(|resources| resources.rdma().as_ref());
    if rdma.is_some_and(|rdma| !rdma.is_empty()) {
        bail!("linux.resources.rdma is not supported");
    }
    Ok(())
}

/// Takes out labels that this kernel has no module for, since other runtimes take it so, and tells of it.
pub fn unheeded(process: &mut Process, mount_label: Option<&str>) -> Vec<&'static str> {
    let is_there = |file: &str| std::fs::read(file).is_ok_and(|text| text.starts_with(b"Y"));
    let mut words = vec![];
    let mut take_out = |label: &Option<String>, said| {
        let given = label.as_ref().is_some_and(|label| !label.is_empty());
        words.extend(given.then_some(said));
    };
    if !is_there("/sys/module/apparmor/parameters/enabled") {
        let said = "process.apparmorProfile is not applied: this kernel has no AppArmor, or it is switched off";
        take_out(process.apparmor_profile(), said);
        process.set_apparmor_profile(None);
    }
    if !Path::new("/sys/fs/selinux/enforce").exists() {
        let said = "process.selinuxLabel is not applied: this kernel has no SELinux, or it is switched off";
        take_out(process.selinux_label(), said);
        process.set_selinux_label(None);
    }
    let said = "linux.mountLabel is not applied: rmac-oci gives mounts no context of SELinux's";
    take_out(&mount_label.map(str::to_owned), said);
    words
}

fn check_version(version: &str) -> Result<()> {
    match version.split('.').next() {
        Some("1") => Ok(()),
        _ => bail!("unsupported ociVersion {version:?}: 1.x is supported"),
    }
}

/// Where nothing is said, the group has the container's ID for its name, as with runc and crun. Systemd's form `slice:prefix:name` is systemd's to follow.
fn place_cgroup(spec: &mut Spec, id: &str, systemd: bool) -> Result<()> {
    let linux = spec
        .linux_mut()
        .as_mut()
        .context("config.json has no linux part")?;
    let path = linux.cgroups_path().clone().unwrap_or_default();
    if systemd && path.to_string_lossy().contains(':') {
        bail!(
            "--systemd-cgroup: rmac-oci does not talk to systemd: tell the engine to use cgroupfs (podman --cgroup-manager=cgroupfs)"
        );
    }
    let path = match path.as_os_str().is_empty() {
        true => Path::new("/").join(id),
        false => Path::new("/").join(&path),
    };
    // As the kernel would walk it, but never above the root.
    let mut plain = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => _ = plain.pop(),
            _ => (),
        }
    }
    linux.set_cgroups_path(Some(plain));
    Ok(())
}

/// The sources of bind mounts are relative to the bundle; destinations to the root.
fn absolute_mounts(spec: &mut Spec, bundle: &Path) {
    for mount in spec.mounts_mut().iter_mut().flatten() {
        let words = mount.options().as_deref().unwrap_or_default();
        let bind = mount.typ().as_deref() == Some("bind")
            || words.iter().any(|word| word == "bind" || word == "rbind");
        if let Some(source) = mount
            .source()
            .clone()
            .filter(|source| bind && !source.is_absolute())
        {
            mount.set_source(Some(bundle.join(source)));
        }
        let target = Path::new("/").join(mount.destination());
        mount.set_destination(target);
    }
}
