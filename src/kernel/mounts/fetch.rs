//! What of a bind mount the host does where the container's root is somebody else outside.  open_tree(2), mount_setattr(2)
//!
//! In its user namespace the container's first process may not walk the host's directories, and only the host
//! may say that a mount translates owners. So the host copies each mount that is wanted, gives the copy its
//! attributes, and the child, who inherits the descriptor, attaches it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::mount::MsFlags;

use super::{Owners, Scope, Step, attach};
use crate::kernel::ids::Table;
use crate::kernel::rootfs::{Top, id_mapped};

/// Mounts that the host has copied, by where they go in the container.
pub type Fetched = Vec<(PathBuf, OwnedFd)>;

/// The kinds of propagation by which mounts come from the host or go there.
const TRAVELLING: MsFlags = MsFlags::MS_SHARED.union(MsFlags::MS_SLAVE);

/// Which bind mounts the host makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All: the child may walk none of the host's directories.
    All,
    /// Those that translate owners.
    Mapped,
    /// Those, too, below which mounts travel to or from the host: the container's mount namespace is cut off from the
    /// host's before it can copy anything.
    Travelling,
}

/// Parts bind mounts of `steps` in two: what the host does, and what is left to the child.
pub fn fetch(steps: Vec<Step>, which: Which) -> (Vec<Step>, Vec<Step>) {
    let (mut host, mut child) = (vec![], vec![]);
    for step in steps {
        match step {
            Step::Bind { ref ids, .. }
                if which == Which::All
                    || ids.is_some()
                    || which == Which::Travelling && travels(&step) =>
            {
                child.push(Step::Attach(Box::new(step.clone())));
                host.push(Step::Fetch(Box::new(step)));
            }
            step => child.push(step),
        }
    }
    (host, child)
}

/// Whether mounts travel to or from the host below the mount that `bind` makes.
pub(super) fn travels(bind: &Step) -> bool {
    matches!(bind, Step::Bind { propagation, .. } if propagation.intersects(TRAVELLING))
}

/// The user namespaces by which the mounts that `steps` fetch translate owners, each once.
pub fn lenders(steps: &[Step]) -> Vec<Table> {
    let mut all: Vec<Table> = vec![];
    for step in steps {
        if let Step::Fetch(bind) = step
            && let Step::Bind {
                ids: Some(Owners { table, .. }),
                ..
            } = &**bind
            && !all.contains(table)
        {
            all.push(table.clone());
        }
    }
    all
}

/// Copies the mount that `bind` wants, with its attributes.
pub(super) fn take(bind: &Step, lent: &[(Table, OwnedFd)], fetched: &mut Fetched) -> Result<()> {
    let Step::Bind {
        source,
        target,
        scope,
        attributes,
        recursive,
        propagation,
        ids,
    } = bind
    else {
        return Ok(());
    };
    if travels(bind) {
        check_travelling(source, *propagation)?;
    }
    let tree = attach::source(source, *scope)?;
    if let Some(Owners { table, scope }) = ids {
        let lender = lent.iter().find(|(lent, _)| lent == table);
        let (_, lender) = lender.context("no user namespace to translate by")?;
        id_mapped(&tree, lender.as_fd(), *scope == Scope::Recursive)
            .with_context(|| source.display().to_string())?;
    }
    attach::set(&tree, *scope, *attributes, *recursive, *propagation)?;
    fetched.push((target.clone(), tree));
    Ok(())
}

/// Refuses what the source's mount does not share, in Docker's words.
fn check_travelling(source: &Path, propagation: MsFlags) -> Result<()> {
    let number = format!("{} ", Top::of(source)?.number());
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").context("mountinfo")?;
    // Number, parent, device, root, mount point, options, optional fields up to a dash: proc(5).
    let line = mounts.lines().find(|line| line.starts_with(&number));
    let fields: Vec<&str> = line.unwrap_or_default().split(' ').collect();
    let optional = fields.iter().skip(6).take_while(|field| **field != "-");
    let mut words = optional.map(|field| field.split(':').next().unwrap_or_default());
    let (fits, wanted) = match propagation.contains(MsFlags::MS_SHARED) {
        true => (words.any(|word| word == "shared"), "shared"),
        false => (
            words.any(|word| ["shared", "master"].contains(&word)),
            "shared or slave",
        ),
    };
    ensure!(
        fits,
        "path {} is mounted on {} but it is not a {wanted} mount (mount --make-shared {1} on the host)",
        source.display(),
        fields.get(4).unwrap_or(&"/"),
    );
    Ok(())
}
