//! What of a bind mount the host does where the container's root is somebody else outside.  open_tree(2), mount_setattr(2)
//!
//! In its user namespace the container's first process may not walk the host's directories, and only the host
//! may say that a mount translates owners. So the host copies each mount that is wanted, gives the copy its
//! attributes, and the child, who inherits the descriptor, attaches it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Owners, Scope, Step, attach};
use crate::kernel::ids::Table;
use crate::kernel::rootfs::id_mapped;

/// Mounts that the host has copied, by where they go in the container.
pub type Fetched = Vec<(PathBuf, OwnedFd)>;

/// Which bind mounts the host makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All: the child may walk none of the host's directories.
    All,
    /// Those that translate owners.
    Mapped,
}

/// Parts bind mounts of `steps` in two: what the host does, and what is left to the child.
pub fn fetch(steps: Vec<Step>, which: Which) -> (Vec<Step>, Vec<Step>) {
    let (mut host, mut child) = (vec![], vec![]);
    for step in steps {
        match step {
            Step::Bind {
                ref target,
                ref ids,
                ..
            } if which == Which::All || ids.is_some() => {
                child.push(Step::Attach(target.clone()));
                host.push(Step::Fetch(Box::new(step)));
            }
            step => child.push(step),
        }
    }
    (host, child)
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
