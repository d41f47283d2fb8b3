//! The order of what makes the container's file tree, by the host and by the child.

use anyhow::{Context, Result};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::Inputs;
use crate::kernel::{devices, identity, ids, mounts, namespaces, rootfs, sysctl, terminal};
use crate::step::Step;

/// What the host does about the tree, how the child gets it, and the child's mounts. In a user namespace of its
/// own the child is nobody to the host's files, so the host makes all that shows them.
pub(super) fn of(
    inputs: &Inputs<'_>,
    become_root: Vec<ids::Step>,
) -> Result<(Vec<Step>, Vec<Step>, Vec<Step>)> {
    let mounts = mounts::plan(inputs.spec, inputs.layout)?;
    let (lower, at) = (inputs.layers.to_vec(), inputs.attach_at.to_owned());
    let (upper, work) = (
        inputs.directory.join("upper"),
        inputs.directory.join("work"),
    );
    let Some(ids) = ids::table(inputs.spec)? else {
        let overlay = rootfs::Step::Overlay {
            lower,
            upper,
            work,
            at,
            marks: inputs.marks,
        };
        let (host, mounts) = fetch(mounts, mounts::Which::Travelling);
        return Ok((host, vec![Step::Rootfs(overlay)], mounts));
    };
    let (uid, gid) = ids.outside(0, 0).context("the container has no root")?;
    let attach = rootfs::Step::Attach(at.clone());
    let mut host = vec![
        Step::Terminal(terminal::Step::Give { uid, gid }),
        Step::Ids(ids::Step::Lend(ids.clone())),
        Step::Rootfs(rootfs::Step::Stack {
            lower,
            upper,
            work,
            at,
            ids,
        }),
    ];
    let (fetched, mounts) = fetch(mounts, mounts::Which::All);
    // The one that the layers need serves the mounts, too.
    host.extend(
        fetched
            .into_iter()
            .filter(|step| !matches!(step, Step::Ids(_))),
    );
    let mut root = vec![Step::Rootfs(attach)];
    root.extend(become_root.into_iter().map(Step::Ids));
    Ok((host, root, mounts))
}

/// Parts the mounts in what the host makes for the child to attach, and the child's.
pub(super) fn fetch(steps: Vec<mounts::Step>, which: mounts::Which) -> (Vec<Step>, Vec<Step>) {
    let (fetched, rest) = mounts::fetch(steps, which);
    let lent = mounts::lenders(&fetched).into_iter().map(ids::Step::Lend);
    let host = lent
        .map(Step::Ids)
        .chain(fetched.into_iter().map(Step::Mount));
    (host.collect(), rest.into_iter().map(Step::Mount).collect())
}

/// Everything about the file tree: until the pivot, its paths are resolved inside it by descriptor.
pub(super) fn steps(spec: &Spec, root: Vec<Step>, mounts: Vec<Step>) -> Result<Vec<Step>> {
    let mut steps = vec![];
    if namespaces::listed(spec, LinuxNamespaceType::Mount) {
        let private = rootfs::Step::Private(rootfs::at_first(spec)?);
        steps.push(Step::Rootfs(private));
    }
    steps.extend(root);
    steps.extend(mounts);
    if !mounts::shows_hosts_dev(spec) {
        steps.extend(devices::plan(spec)?.into_iter().map(Step::Device));
    }
    let process = spec.process().as_ref().context("the spec has no process")?;
    steps.extend(terminal::plan(process).into_iter().map(Step::Terminal));
    steps.extend(sysctl::plan(spec)?.into_iter().map(Step::Sysctl));
    steps.extend(mounts::plan_masks(spec).into_iter().map(Step::Mount));
    steps.extend(identity::plan(spec).into_iter().map(Step::Identity));
    Ok(steps)
}

/// The change of the root, after which only the container's files are in reach; then the root can become
/// read-only: what runs before, such as a hook, may still write to it.
pub(super) fn leave_host(spec: &Spec) -> Vec<Step> {
    if !namespaces::listed(spec, LinuxNamespaceType::Mount) {
        return vec![Step::Rootfs(rootfs::Step::Chroot)];
    }
    let mut steps = vec![Step::Rootfs(rootfs::Step::Pivot)];
    let root = spec.root().as_ref();
    if root.is_some_and(|root| root.readonly() == Some(true)) {
        steps.push(Step::Rootfs(rootfs::Step::ReadOnly));
    }
    steps.extend(rootfs::at_last(spec).map(|flags| Step::Rootfs(rootfs::Step::Private(flags))));
    steps
}
