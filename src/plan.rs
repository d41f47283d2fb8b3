//! THE ORDER: from the description of a container to the list of steps that make it.
//!
//! Pure: a `Spec` and what the host has decided (directories, addresses) go in, data comes out. Nothing
//! here asks the kernel, so a plan can be printed, compared, turned into a script or taken.
//!
//! ```text
//! host       the cgroup, the files that tell the container who it is
//! clone      the first process, in all its new namespaces; from here two processes work side by side
//! wire       host:  the links, made straight into the new network namespace
//! prepare    child: cgroup, tree, mounts, devices, masks, pivot (a bundle pivots after the hooks)
//! ---------- the child waits until the links are there
//! enter      child: session, limits, seccomp, capabilities, user, program
//! ```

mod tree;
pub mod wire;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use oci_spec::runtime::{Capability, LinuxNamespaceType, Process, Spec, State};

use crate::kernel::cgroups::Layout;
use crate::kernel::hooks::Moment;
use crate::kernel::program::First;
use crate::kernel::{
    attributes, capabilities, cgroups, gate, hooks, identity, ids, keyring, limits, mounts,
    namespaces, program, rootfs, seccomp, signals, terminal, user,
};
use crate::net::{allow::Allowed, endpoint::Endpoint};
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
    /// By the host, before the child does anything: the tables of a new user namespace.
    pub map: Vec<Step>,
    /// By the host, beside `prepare`.
    pub wire: Vec<Step>,
    /// The file of the network namespace that `wire` works in, where that is not made with the clone.
    pub netns: Option<PathBuf>,
    /// By the child, beside `wire`.
    pub prepare: Vec<Step>,
    /// By the host, when all is prepared: hooks.
    pub meet: Vec<Step>,
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
            .chain(&self.map)
            .chain(&self.wire)
            .chain(&self.prepare)
            .chain(&self.meet)
            .chain(&self.enter)
    }

    /// The child's steps.
    pub fn child(&self) -> impl Iterator<Item = &Step> {
        self.prepare.iter().chain(&self.enter)
    }

    /// Has the root changed by `way` instead of pivot_root(2), if it would be changed by that.
    pub fn change_root_by(&mut self, way: &rootfs::Step) {
        for step in self.prepare.iter_mut().chain(&mut self.enter) {
            if let Step::Rootfs(pivot @ rootfs::Step::Pivot) = step {
                pivot.clone_from(way);
            }
        }
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
    /// What its programs may do on its own network without a capability.
    pub allowed: &'a [Allowed],
    /// The text of `/etc/hosts`.
    pub hosts: &'a str,
    /// The text of `/etc/resolv.conf`.
    pub resolv_conf: &'a str,
    /// How the layers say what of a lower one is gone.
    pub marks: rootfs::Marks,
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
    let (born_in, join) = namespaces::plan_files(spec);

    let mut host: Vec<Step> = cgroups::plan_host(inputs.layout, path, resources)?
        .into_iter()
        .map(Step::Cgroup)
        .collect();
    host.extend(files(inputs).into_iter().map(Step::Identity));
    let (map, become_root) = ids::plan(spec)?;
    let (made, root, mounts) = tree::of(inputs, become_root)?;
    host.extend(made);
    host.extend(born_in.into_iter().map(Step::Namespace));

    let wire = match namespaces::has(spec, LinuxNamespaceType::Network) {
        true => wire::wire(inputs.endpoints, inputs.client, inputs.allowed),
        false => vec![],
    };

    let mut prepare: Vec<Step> = cgroups::plan_child(inputs.layout, path, resources)?
        .into_iter()
        .map(Step::Cgroup)
        .collect();
    prepare.extend(join.into_iter().chain(unshare).map(Step::Namespace));
    prepare.extend(tree::steps(spec, root, mounts)?);
    prepare.extend(tree::leave_host(spec));

    Ok(Plan {
        host,
        clone: Step::Namespace(clone),
        cgroup: born_into(inputs.layout, path),
        map: map.into_iter().map(Step::Ids).collect(),
        wire,
        netns: None,
        prepare,
        meet: vec![],
        enter: enter(spec, process, inputs.first, id_of(path))?,
    })
}

/// What the plan of a bundle needs: an engine has unpacked the image and written the spec.
#[derive(Debug, Clone, Copy)]
pub struct Bundle<'a> {
    /// What is to be made.
    pub spec: &'a Spec,
    /// How this machine's cgroups are laid out.
    pub layout: &'a Layout,
    /// The container's tree.
    pub rootfs: &'a Path,
    /// What hooks are told.
    pub state: &'a State,
    /// Whose session keyring it has: that of the container with this id, or its engine's.
    pub keyring: Option<&'a str>,
}

/// The plan of a bundle's container (OCI): as [`plan`], but for the tree, the hooks, what exists already
/// and is joined, and a gate at which it waits for `start`.
pub fn plan_bundle(bundle: &Bundle<'_>) -> Result<Plan> {
    let Bundle { spec, layout, .. } = *bundle;
    let process = spec.process().as_ref().context("the spec has no process")?;
    let path = cgroups_path(spec)?;
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let (clone, unshare) = namespaces::plan(spec);
    let (born_in, join) = namespaces::plan_files(spec);
    let (map, become_root) = ids::plan(spec)?;
    let hooks = |moment| {
        let steps = hooks::plan(spec, moment, bundle.state);
        steps.into_iter().map(Step::Hook)
    };

    let limits = cgroups::plan_host(layout, path, resources)?;
    let mut host: Vec<Step> = limits.into_iter().map(Step::Cgroup).collect();
    host.extend(born_in.into_iter().map(Step::Namespace));

    let walk_in = cgroups::plan_child(layout, path, resources)?;
    let mut prepare: Vec<Step> = walk_in.into_iter().map(Step::Cgroup).collect();
    prepare.extend(join.into_iter().chain(unshare).map(Step::Namespace));
    prepare.extend(become_root.into_iter().map(Step::Ids));
    let own_network = namespaces::has(spec, LinuxNamespaceType::Network);
    let wire = wire::of_bundle(spec, own_network).into_iter();
    let directory = Step::Rootfs(rootfs::Step::Directory(bundle.rootfs.to_owned()));
    let (fetched, mounts) = tree::fetch(mounts::plan(spec, layout)?, mounts::Which::Mapped);
    host.extend(fetched);
    prepare.extend(tree::steps(spec, vec![directory], mounts)?);

    let mut enter_steps: Vec<Step> = hooks(Moment::CreateContainer).collect();
    enter_steps.extend(tree::leave_host(spec));
    enter_steps.extend(enter(spec, process, First::Waiting, bundle.keyring)?);
    let gate = enter_steps
        .iter()
        .position(|step| matches!(step, Step::Gate(_)))
        .context("a plan without a gate")?;
    enter_steps.splice(gate + 1..gate + 1, hooks(Moment::StartContainer));

    Ok(Plan {
        host,
        clone: Step::Namespace(clone),
        cgroup: born_into(layout, path),
        map: map.into_iter().map(Step::Ids).collect(),
        wire: wire.map(Step::Link).collect(),
        netns: namespaces::file(spec, LinuxNamespaceType::Network),
        prepare,
        meet: hooks(Moment::Prestart)
            .chain(hooks(Moment::CreateRuntime))
            .collect(),
        enter: enter_steps,
    })
}

/// The plan of one more process in the running container whose first process is `pid`: `exec`.
/// It has the session keyring of the container `keyring`.
pub fn plan_exec(
    spec: &Spec,
    process: &Process,
    layout: &Layout,
    pid: i32,
    keyring: Option<&str>,
) -> Result<Plan> {
    let path = cgroups_path(spec)?;
    let resources = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.resources().as_ref());
    let born_last = is_watched(spec, process);
    let (join_pids, clone, join) = namespaces::plan_join(spec, pid, born_last);
    let mut prepare: Vec<Step> = cgroups::plan_child(layout, path, resources)?
        .into_iter()
        .map(Step::Cgroup)
        .collect();
    prepare.push(Step::Namespace(join));
    let mut host: Vec<Step> = join_pids.into_iter().map(Step::Namespace).collect();
    if namespaces::listed(spec, LinuxNamespaceType::User) {
        prepare.push(Step::Ids(ids::Step::BecomeRoot));
    }
    if let Some((uid, gid)) = ids::table(spec)?.and_then(|table| table.outside(0, 0)) {
        host.push(Step::Terminal(terminal::Step::Give { uid, gid }));
    }
    prepare.extend(terminal::plan_pty(process).map(Step::Terminal));
    let [before, then] = attributes::plan_affinity(process)?;
    // The caller's own processors are those that its child is born with.
    host.splice(0..0, before.map(Step::Attribute));
    prepare.extend(then.map(Step::Attribute));
    Ok(Plan {
        host,
        clone: Step::Namespace(clone),
        cgroup: born_into(layout, path),
        map: vec![],
        wire: vec![],
        netns: None,
        prepare,
        meet: vec![],
        enter: enter(
            spec,
            process,
            if born_last {
                First::BornLast
            } else {
                First::Other
            },
            keyring,
        )?,
    })
}

/// The annotation of a spec whose container shares its process numbers with one that has CAP_SYS_PTRACE.
pub const WATCHED: &str = "rmac.watched";

/// Whether somebody in the container may have hold of whatever comes into its pid namespace: with CAP_SYS_PTRACE
/// in the user namespace of the runtime, where it does not help that the process shuts others out
/// (PR_SET_DUMPABLE). A container with a user namespace has that capability in there only.
fn is_watched(spec: &Spec, process: &Process) -> bool {
    let may = |process: &Process| {
        let sets = process.capabilities().as_ref();
        let bounding = sets.and_then(|sets| sets.bounding().as_ref());
        bounding.is_some_and(|set| set.contains(&Capability::SysPtrace))
    };
    let others = spec.annotations().as_ref();
    let others = others.is_some_and(|all| all.contains_key(WATCHED));
    let one = others || may(process) || spec.process().as_ref().is_some_and(may);
    one && !namespaces::listed(spec, LinuxNamespaceType::User)
        && namespaces::listed(spec, LinuxNamespaceType::Pid)
}

/// The container's cgroup, below the root of each hierarchy.
pub fn cgroups_path(spec: &Spec) -> Result<&Path> {
    let linux = spec.linux().as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    path.context("the spec has no cgroupsPath")
}

/// The id of the container whose cgroup is `path`.
pub fn id_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
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

/// From a process in the right place to the program. The seccomp filter is loaded while the process
/// still may (CAP_SYS_ADMIN), unless no_new_privs lets anybody load one: then it comes last, where it
/// has least to allow, and what waits for `start` has lost its privileges before. A filter whose calls an
/// agent answers is loaded before the gate, since the agent is told by `create`.
fn enter(spec: &Spec, process: &Process, first: First, keyring: Option<&str>) -> Result<Vec<Step>> {
    let ([directory, close], last) = program::plan(process, first);
    let filter: Vec<Step> = seccomp::plan(spec)?
        .into_iter()
        .map(Step::Seccomp)
        .collect();
    let no_new_privileges = process.no_new_privileges() == Some(true);

    let begin = match first {
        First::BornLast => terminal::Step::Descriptors,
        _ => terminal::Step::Session,
    };
    let mut steps = vec![Step::Terminal(begin)];
    steps.extend(keyring.map(keyring::plan).map(Step::Keyring));
    steps.extend(signals::plan().into_iter().map(Step::Signal));
    steps.extend(limits::plan(process).into_iter().map(Step::Limit));
    let attributes = attributes::plan(spec, process)?;
    steps.extend(attributes.into_iter().map(Step::Attribute));
    steps.push(Step::Program(directory));

    let mut gate = vec![];
    if first == First::Waiting {
        let args = process.args().clone().unwrap_or_default();
        let env = process.env().clone().unwrap_or_default();
        gate.push(Step::Program(program::Step::Find { args, env }));
        gate.push(Step::Gate(gate::Step::Wait { keep: 0 }));
    }
    gate.push(Step::Program(close));
    let become_who = become_who(spec, process);
    let agent = |step: &Step| matches!(step, Step::Seccomp(seccomp::Step::LoadWithAgent(_)));
    let (told, filter): (Vec<_>, Vec<_>) = filter.into_iter().partition(agent);
    gate.splice(0..0, told);
    match no_new_privileges {
        true => steps.extend(become_who.into_iter().chain(gate).chain(filter)),
        false => steps.extend(gate.into_iter().chain(filter).chain(become_who)),
    }
    if first == First::BornLast {
        let terminal = process.terminal() == Some(true);
        steps.push(Step::Namespace(namespaces::Step::Birth { terminal }));
    }
    steps.extend(last.into_iter().map(Step::Program));
    Ok(steps)
}

/// The capabilities and the user: what is needed to change the user comes before that, the rest after.
fn become_who(spec: &Spec, process: &Process) -> Vec<Step> {
    let sets = capabilities::plan(process)
        .into_iter()
        .map(Step::Capability);
    let become_user = user::plan(spec, process).into_iter().map(Step::User);
    let (mut steps, after): (Vec<_>, Vec<_>) = sets.partition(|step| {
        matches!(
            step,
            Step::Capability(capabilities::Step::Bounding(_) | capabilities::Step::Keep)
        )
    });
    steps.extend(become_user);
    steps.extend(after);
    steps
}
