//! THE ORDER: from the description of a container to the list of steps that make it.
//!
//! Pure: a `Spec` and what the host has decided (directories, addresses) go in, data comes out. Nothing
//! here asks the kernel, so a plan can be printed, compared, turned into a script or taken.
//!
//! ```text
//! host       the cgroup, the files that tell the container who it is
//! clone      the first process, in all its new namespaces; from here two processes work side by side
//! wire       host:  the links, made straight into the new network namespace
//! prepare    child: cgroup, tree, mounts, devices, masks, pivot
//! ---------- the child waits until the links are there
//! enter      child: session, limits, seccomp, capabilities, user, program
//! ```

pub mod wire;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::MsFlags;
use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};

use crate::kernel::cgroups::Layout;
use crate::kernel::program::First;
use crate::kernel::{
    capabilities, cgroups, devices, identity, limits, mounts, namespaces, program, rootfs, seccomp,
    signals, terminal, user,
};
use crate::net::endpoint::Endpoint;
use crate::plan::wire::Client;
use crate::step::Step;

/// What is done to make a container, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// By the host, before the container's first process exists.
    pub host: Vec<Step>,
    /// The clone.
    pub clone: Step,
    /// The cgroup that the first process is born into (cgroup v2; with v1 it walks in itself).
    pub cgroup: Option<PathBuf>,
    /// By the host, beside `prepare`.
    pub wire: Vec<Step>,
    /// By the child, beside `wire`.
    pub prepare: Vec<Step>,
    /// By the child, when both are done.
    pub enter: Vec<Step>,
}

impl Plan {
    /// All steps in the order in which they are told.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        let clone = std::iter::once(&self.clone);
        self.host
            .iter()
            .chain(clone)
            .chain(&self.wire)
            .chain(&self.prepare)
            .chain(&self.enter)
    }

    /// The child's steps.
    pub fn child(&self) -> impl Iterator<Item = &Step> {
        self.prepare.iter().chain(&self.enter)
    }
}

/// What the plan needs beside the spec: what the host has decided.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What is to be made.
    pub spec: &'a Spec,
    /// How this machine's cgroups are laid out.
    pub layout: &'a Layout,
    /// The image's layers, the lowest first.
    pub layers: &'a [PathBuf],
    /// The container's directory, which holds `upper`, `work` and the files.
    pub directory: &'a Path,
    /// A directory for the tree to be attached at; others see nothing there.
    pub attach_at: &'a Path,
    /// The container's place on its networks.
    pub endpoints: &'a [Endpoint],
    /// Who it is to a DHCP server.
    pub client: &'a Client,
    /// The text of `/etc/hosts`.
    pub hosts: &'a str,
    /// The text of `/etc/resolv.conf`.
    pub resolv_conf: &'a str,
    /// Who is process 1.
    pub first: First,
}

/// The plan of a container.
pub fn plan(inputs: &Inputs<'_>) -> Result<Plan> {
    let spec = inputs.spec;
    let process = spec.process().as_ref().context("the spec has no process")?;
    let path = cgroups_path(spec)?;
    let resources = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.resources().as_ref());
    let (clone, unshare) = namespaces::plan(spec);

    let mut host: Vec<Step> = cgroups::plan_host(inputs.layout, path, resources)?
        .into_iter()
        .map(Step::Cgroup)
        .collect();
    host.extend(files(inputs).into_iter().map(Step::Identity));

    let own_network = namespaces::has(spec, LinuxNamespaceType::Network);
    let wire = if own_network {
        wire::wire(inputs.endpoints, inputs.client)
    } else {
        vec![]
    };

    let mut prepare: Vec<Step> = cgroups::plan_child(inputs.layout, path, resources)?
        .into_iter()
        .map(Step::Cgroup)
        .collect();
    prepare.extend(unshare.into_iter().map(Step::Namespace));
    prepare.extend(tree(inputs)?);

    Ok(Plan {
        host,
        clone: Step::Namespace(clone),
        cgroup: born_into(inputs.layout, path),
        wire,
        prepare,
        enter: enter(spec, process, inputs.first)?,
    })
}

/// The plan of one more process in the running container whose first process is `pid`: `exec`.
pub fn plan_exec(spec: &Spec, process: &Process, layout: &Layout, pid: i32) -> Result<Plan> {
    let path = cgroups_path(spec)?;
    let resources = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.resources().as_ref());
    let [join_pids, clone, join] = namespaces::plan_join(spec, pid);
    let mut prepare: Vec<Step> = cgroups::plan_child(layout, path, resources)?
        .into_iter()
        .map(Step::Cgroup)
        .collect();
    prepare.push(Step::Namespace(join));
    prepare.extend(terminal::plan_pty(process).map(Step::Terminal));
    Ok(Plan {
        host: vec![Step::Namespace(join_pids)],
        clone: Step::Namespace(clone),
        cgroup: born_into(layout, path),
        wire: vec![],
        prepare,
        enter: enter(spec, process, First::Other)?,
    })
}

/// The container's cgroup, below the root of each hierarchy.
pub fn cgroups_path(spec: &Spec) -> Result<&Path> {
    let linux = spec.linux().as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    path.context("the spec has no cgroupsPath")
}

/// The directory of the cgroup that the clone makes its child in: with v2 only.
fn born_into(layout: &Layout, path: &Path) -> Option<PathBuf> {
    match layout {
        Layout::V2(tree) => Some(tree.mount.join(path.strip_prefix("/").unwrap_or(path))),
        Layout::V1(_) => None,
    }
}

/// The files that are bound over the image's `/etc`.
fn files(inputs: &Inputs<'_>) -> Vec<identity::Step> {
    let hostname = inputs.spec.hostname().clone().unwrap_or_default();
    let file = |name: &str, text: String| identity::Step::File {
        path: inputs.directory.join(name),
        text,
    };
    vec![
        file("hostname", format!("{hostname}\n")),
        file("hosts", inputs.hosts.to_owned()),
        file("resolv.conf", inputs.resolv_conf.to_owned()),
    ]
}

/// Everything about the file tree: until the pivot, its paths are resolved inside it by descriptor.
fn tree(inputs: &Inputs<'_>) -> Result<Vec<Step>> {
    let spec = inputs.spec;
    let overlay = rootfs::Step::Overlay {
        lower: inputs.layers.to_vec(),
        upper: inputs.directory.join("upper"),
        work: inputs.directory.join("work"),
        at: inputs.attach_at.to_owned(),
    };
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let mut steps = vec![
        Step::Rootfs(rootfs::Step::Private(private)),
        Step::Rootfs(overlay),
    ];
    steps.extend(
        mounts::plan(spec, inputs.layout)?
            .into_iter()
            .map(Step::Mount),
    );
    steps.extend(devices::plan(spec)?.into_iter().map(Step::Device));
    let process = spec.process().as_ref().context("the spec has no process")?;
    steps.extend(terminal::plan(process).into_iter().map(Step::Terminal));
    steps.extend(mounts::plan_masks(spec).into_iter().map(Step::Mount));
    if spec
        .root()
        .as_ref()
        .is_some_and(|root| root.readonly() == Some(true))
    {
        steps.push(Step::Rootfs(rootfs::Step::ReadOnly));
    }
    steps.extend(identity::plan(spec).into_iter().map(Step::Identity));
    steps.push(Step::Rootfs(rootfs::Step::Pivot));
    Ok(steps)
}

/// From a process in the right place to the program. The seccomp filter is loaded while the process
/// still may (CAP_SYS_ADMIN), unless no_new_privs lets anybody load one: then it comes last, where it
/// has least to allow.
fn enter(spec: &Spec, process: &Process, first: First) -> Result<Vec<Step>> {
    let (directory, last) = program::plan(process, first);
    let filter: Vec<Step> = seccomp::plan(spec)?
        .into_iter()
        .map(Step::Seccomp)
        .collect();
    let no_new_privileges = process.no_new_privileges() == Some(true);

    let mut steps = vec![Step::Terminal(terminal::Step::Session)];
    steps.extend(signals::plan().into_iter().map(Step::Signal));
    steps.extend(limits::plan(process).into_iter().map(Step::Limit));
    steps.push(Step::Program(directory));
    if !no_new_privileges {
        steps.extend(filter.iter().cloned());
    }
    let sets = capabilities::plan(process)
        .into_iter()
        .map(Step::Capability);
    let become_user = user::plan(process).into_iter().map(Step::User);
    let (before, after): (Vec<_>, Vec<_>) = sets.partition(|step| {
        matches!(
            step,
            Step::Capability(capabilities::Step::Bounding(_) | capabilities::Step::Keep)
        )
    });
    steps.extend(before);
    steps.extend(become_user);
    steps.extend(after);
    if no_new_privileges {
        steps.extend(filter);
    }
    steps.extend(last.into_iter().map(Step::Program));
    Ok(steps)
}
