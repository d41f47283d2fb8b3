//! Removing: names first, then the image, then the layers that no other image has.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::{Index, Record, Store, familiar};
use crate::digest::Digest;
use crate::error::Error;
use crate::name::ImageName;
use crate::root::remove_tree;
use crate::text::escape;

/// Whether to remove what Docker would rather keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Refuse if a container uses the image, or if an id has several names.
    No,
    /// Take all names away. An image that a container uses stays, nameless, because its layers are in use.
    Yes,
}

/// One thing that was removed; its text is the line that `docker rmi` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name.
    Untagged(String),
    /// An image or one of its layers.
    Deleted(Digest),
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Removed::Untagged(name) => write!(f, "Untagged: {name}"),
            Removed::Deleted(digest) => write!(f, "Deleted: {digest}"),
        }
    }
}

/// Leftovers of killed pulls are kept this long, because the next pull may use them.
const KEEP_LEFTOVERS: Duration = Duration::from_secs(7 * 24 * 3600);

impl Store {
    /// Removes a name, and the image with its last name. `user` tells which container uses an image, if any.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Ambiguous`], [`Error::Conflict`].
    pub fn remove(
        &self,
        name_or_id: &str,
        force: Force,
        user: &dyn Fn(&Digest) -> Option<String>,
    ) -> Result<Vec<Removed>> {
        let lock = self.lock()?;
        let mut index = Index::read(self.dir())?;
        let found = index.find(name_or_id)?.cloned();
        let record = found.ok_or_else(|| Error::NoSuchImage(escape(name_or_id)))?;
        let name = name_or_id
            .parse::<ImageName>()
            .ok()
            .filter(|n| record.is_called(n));
        let gone = names_to_go(&record, name.as_ref());
        let last = record
            .names
            .iter()
            .chain(&record.digests)
            .all(|n| gone.contains(n));
        let user = user(&record.id);
        if force == Force::No {
            refuse(name_or_id, &record, name.as_ref(), last, user.as_deref())?;
        }
        let mut removed: Vec<Removed> = gone
            .iter()
            .map(|n| Removed::Untagged(familiar(n)))
            .collect();
        if last && user.is_none() {
            index.images.retain(|r| r.id != record.id);
            removed.push(Removed::Deleted(record.id.clone()));
        } else if let Some(kept) = index.by_id(&record.id) {
            kept.names.retain(|n| !gone.contains(n));
            kept.digests.retain(|n| !gone.contains(n));
        }
        index.write(self.dir())?;
        if last && user.is_none() {
            let _ = fs_err::remove_file(self.config_path(&record.id));
            let unused = record.layers.iter().rev().filter(|l| !index.uses(l));
            // A pull under way may be about to use these layers; then they stay, as leftovers.
            if let Some(_layers) = self.try_lock_layers()? {
                for chain in unused {
                    remove_tree(&self.layer_dir(chain))?;
                    removed.push(Removed::Deleted(chain.clone()));
                }
            }
        }
        drop(lock);
        Ok(removed)
    }

    /// Deletes what no image uses: images without a name that `user` does not use, then layers and downloads that
    /// killed pulls left behind.
    pub fn prune(&self, user: &dyn Fn(&Digest) -> Option<String>) -> Result<Vec<Removed>> {
        let nameless: Vec<Digest> = {
            let index = Index::read(self.dir())?;
            let dangling = index
                .images
                .iter()
                .filter(|r| r.names.is_empty() && user(&r.id).is_none());
            dangling.map(|r| r.id.clone()).collect()
        };
        let mut removed = Vec::new();
        for id in nameless {
            match self.remove(&id.to_string(), Force::Yes, user) {
                Ok(lines) => removed.extend(lines),
                // Another process was faster.
                Err(e) if matches!(e.downcast_ref(), Some(Error::NoSuchImage(_))) => {}
                Err(e) => return Err(e),
            }
        }
        let _layers = self.lock_layers(|| {})?;
        self.sweep(Duration::ZERO)?;
        Ok(removed)
    }

    /// Deletes leftovers older than a week. The caller holds the layers' lock.
    pub(crate) fn sweep_old(&self) -> Result<()> {
        self.sweep(KEEP_LEFTOVERS)
    }

    fn sweep(&self, keep: Duration) -> Result<()> {
        let index = Index::read(self.dir())?;
        let used: BTreeSet<_> = index
            .images
            .iter()
            .flat_map(|r| &r.layers)
            .map(|l| self.layer_dir(l))
            .collect();
        for part in ["layers", "partial"] {
            let Ok(entries) = fs_err::read_dir(self.dir().join(part)) else {
                continue;
            };
            for entry in entries {
                let entry = entry?;
                let time = entry.metadata().and_then(|m| m.modified());
                let age = time
                    .ok()
                    .and_then(|t| SystemTime::now().duration_since(t).ok())
                    .unwrap_or_default();
                if age >= keep && !used.contains(&entry.path()) {
                    remove_tree(&entry.path())?;
                }
            }
        }
        Ok(())
    }
}

/// Which names `rmi` takes away: the one that was given, or all if it was an id. The last tag of a repository takes
/// the repository's digests with it.
fn names_to_go(record: &Record, name: Option<&ImageName>) -> Vec<String> {
    let Some(name) = name else {
        return record
            .names
            .iter()
            .chain(&record.digests)
            .cloned()
            .collect();
    };
    let same = |other: &String| {
        let other = other.parse::<ImageName>().ok();
        other.is_some_and(|o| (&o.registry, &o.repository) == (&name.registry, &name.repository))
    };
    let mut gone = match &name.digest {
        Some(digest) => vec![name.with_digest(digest.clone()).canonical()],
        None => vec![name.canonical()],
    };
    if !record.names.iter().any(|n| same(n) && !gone.contains(n)) {
        gone.extend(
            record
                .digests
                .iter()
                .filter(|d| same(d) && !gone.contains(d))
                .cloned()
                .collect::<Vec<_>>(),
        );
    }
    gone
}

fn refuse(
    text: &str,
    record: &Record,
    name: Option<&ImageName>,
    last: bool,
    user: Option<&str>,
) -> Result<(), Error> {
    let conflict = |why: String| {
        Err(Error::Conflict {
            image: escape(text),
            why,
        })
    };
    let repositories: BTreeSet<_> = record
        .names
        .iter()
        .filter_map(|n| n.rsplit_once(':'))
        .map(|(r, _)| r)
        .collect();
    if name.is_none() && repositories.len() > 1 {
        return conflict("image is referenced in multiple repositories; force it, or remove the names one by one".into());
    }
    match user {
        Some(user) if last => conflict(format!(
            "container {user} is using its referenced image {}; remove the container first, or force it",
            record.id.short()
        )),
        _ => Ok(()),
    }
}
