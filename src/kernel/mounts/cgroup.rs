//! The cgroup file system as the container sees it: one mount or several, as the host has it.  cgroups(7)

use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use oci_spec::runtime::LinuxResources;

use super::{Recursive, Scope, Step, words};
use crate::kernel::cgroups::{Layout, v1};

/// Without a cgroup namespace a cgroup mount would show the host's whole tree, so the container's own
/// directories are bound instead; `path` is its cgroup.
pub(super) fn own_cgroup(
    layout: &Layout,
    resources: Option<&LinuxResources>,
    path: &Path,
    target: &Path,
    flags: MsFlags,
) -> Vec<Step> {
    let below = path.strip_prefix("/").unwrap_or(path);
    let attributes = words::attributes_of(flags);
    let bind = |mount: &Path, target: PathBuf| Step::Bind {
        source: mount.join(below),
        target,
        scope: Scope::Single,
        attributes,
        recursive: Recursive::default(),
        propagation: MsFlags::empty(),
        ids: None,
    };
    let Layout::V1(trees) = layout else {
        let Layout::V2(tree) = layout else {
            return vec![];
        };
        return vec![bind(&tree.mount, target.to_owned())];
    };
    let mut steps = vec![Step::Filesystem {
        kind: "tmpfs".into(),
        source: "cgroup".into(),
        target: target.to_owned(),
        flags: flags - MsFlags::MS_RDONLY,
        data: "mode=755".into(),
    }];
    for (mount, _) in v1::joined(trees, resources) {
        let name = mount.file_name().unwrap_or_default();
        steps.push(bind(mount, target.join(name)));
    }
    steps.extend(sealed(target, flags));
    steps
}

/// v2 is one tree; v1 is a tree for each controller, gathered on a small tmpfs.
pub(super) fn cgroup(
    layout: &Layout,
    resources: Option<&LinuxResources>,
    target: &Path,
    flags: MsFlags,
) -> Vec<Step> {
    let step = |kind: &str, target: PathBuf, flags, data: String| Step::Filesystem {
        kind: kind.into(),
        source: kind.into(),
        target,
        flags,
        data,
    };
    let Layout::V1(trees) = layout else {
        return vec![step("cgroup2", target.to_owned(), flags, String::new())];
    };
    let writable = flags - MsFlags::MS_RDONLY;
    let mut steps = vec![step(
        "tmpfs",
        target.to_owned(),
        writable,
        "mode=755".into(),
    )];
    // Only those that the container's processes are in: the others would show the host's groups.
    for (mount, controllers) in v1::joined(trees, resources) {
        let name = mount.file_name().unwrap_or_default();
        steps.push(step(
            "cgroup",
            target.join(name),
            flags,
            controllers.join(","),
        ));
    }
    steps.extend(sealed(target, flags));
    steps
}

/// The small tmpfs had to be written to until now.
fn sealed(target: &Path, flags: MsFlags) -> Option<Step> {
    let read_only = flags.contains(MsFlags::MS_RDONLY);
    read_only.then(|| Step::Seal(target.to_owned()))
}
