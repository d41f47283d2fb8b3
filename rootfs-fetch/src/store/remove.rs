//! Removing: names first, then the image, then the layers that no other image has.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use nix::fcntl::Flock;

use super::{Image, Index, Record, Store, familiar};
use crate::digest::Digest;
use crate::error::Error;
use crate::install::layer_size;
use crate::name::ImageName;
use crate::root::remove_tree;
use crate::text::escape;

/// Whether to remove what Docker would rather keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Refuse if a container uses the image, or if an id has several names.
    No,
    /// Take all names away. An image that a container uses stays, nameless, because its layers are in use; by its id
    /// it cannot be had while that container runs.
    Yes,
}

/// A container that uses an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What it is called in an error.
    pub container: String,
    /// Whether it runs. Where several use the image, one that runs is to be named.
    pub running: bool,
}

/// Tells which container uses an image, if any. It is asked when no container can come to use the image any more
/// unseen: see [`Store::still_has`].
pub type Users<'a> = &'a dyn Fn(&Digest) -> Option<User>;

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

/// What [`Store::prune`] has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names, images and layers.
    pub removed: Vec<Removed>,
    /// Bytes of the layers and downloads that are gone.
    pub bytes: u64,
}

/// Leftovers of killed pulls are kept this long, because the next pull may use them.
const KEEP_LEFTOVERS: Duration = Duration::from_secs(7 * 24 * 3600);

impl Store {
    /// Removes a name, and the image with its last name.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Ambiguous`], [`Error::Conflict`].
    pub fn remove(&self, name_or_id: &str, force: Force, users: Users) -> Result<Vec<Removed>> {
        let removal = Removal::begin(self)?;
        let record = removal.index.get(name_or_id)?.clone();
        let name = name_or_id
            .parse::<ImageName>()
            .ok()
            .filter(|n| record.is_called(n));
        let gone = names_to_go(&record, name.as_ref());
        let user = users(&record.id);
        refuse(name_or_id, &record, name.as_ref(), force, user.as_ref())?;
        Ok(removal.take(&record, &gone, user.is_some())?.removed)
    }

    /// Deletes the images that are `wanted` and that nobody uses, then layers and downloads that killed pulls left
    /// behind. Another process's pull is not waited for: while there is one, all layers stay.
    pub fn prune(&self, wanted: &dyn Fn(&Image) -> bool, users: Users) -> Result<Pruned> {
        let ids: Vec<Digest> = {
            let index = Index::read(self.dir())?;
            index.images.iter().map(|r| r.id.clone()).collect()
        };
        let mut pruned = Pruned::default();
        for id in ids {
            let removal = Removal::begin(self)?;
            // Another process may have been faster.
            let Some(record) = removal.index.images.iter().find(|r| r.id == id).cloned() else {
                continue;
            };
            if wanted(&self.image(&record)?) && users(&id).is_none() {
                let gone = names_to_go(&record, None);
                let one = removal.take(&record, &gone, false)?;
                pruned.removed.extend(one.removed);
                pruned.bytes += one.bytes;
            }
        }
        if let Some(_layers) = self.try_lock_layers()? {
            pruned.bytes += self.sweep(Duration::ZERO)?;
        }
        Ok(pruned)
    }

    /// Whether the image is still here, for who has written down that a container uses it: from then on it cannot be
    /// removed, and until then it could. Two system calls, unless something is just being removed.
    ///
    /// Who removes first leaves a mark, then looks for users; who uses first writes that down, then looks for the mark.
    /// So at least one sees the other.
    pub fn still_has(&self, id: &Digest) -> Result<bool> {
        if !self.mark().exists() {
            return Ok(self.config_path(id).exists());
        }
        let _lock = self.lock()?;
        // Whoever left it has been killed.
        let _ = fs_err::remove_file(self.mark());
        let index = Index::read(self.dir())?;
        Ok(index.images.iter().any(|r| r.id == *id))
    }

    /// There while something is being removed.
    fn mark(&self) -> PathBuf {
        self.dir().join("removing")
    }

    /// Deletes leftovers older than a week. The caller holds the layers' lock.
    pub(crate) fn sweep_old(&self) -> Result<()> {
        self.sweep(KEEP_LEFTOVERS).map(|_| ())
    }

    /// Deletes what no image has and is older than `keep`; how many bytes. The caller holds the layers' lock.
    fn sweep(&self, keep: Duration) -> Result<u64> {
        let index = Index::read(self.dir())?;
        let layers = index.images.iter().flat_map(|r| &r.layers);
        let mut used: BTreeSet<_> = layers.map(|l| self.layer_dir(l)).collect();
        used.extend(index.images.iter().map(|r| self.config_path(&r.id)));
        let mut bytes = 0;
        for part in ["layers", "partial", "configs"] {
            let Ok(entries) = fs_err::read_dir(self.dir().join(part)) else {
                continue;
            };
            for entry in entries {
                let entry = entry?;
                let meta = entry.metadata();
                let time = meta.as_ref().ok().and_then(|m| m.modified().ok());
                let age = time
                    .and_then(|t| SystemTime::now().duration_since(t).ok())
                    .unwrap_or_default();
                if age >= keep && !used.contains(&entry.path()) {
                    bytes += match meta {
                        Ok(meta) if meta.is_file() => {
                            fs_err::remove_file(entry.path())?;
                            meta.len()
                        }
                        _ => remove_layer(&entry.path())?,
                    };
                }
            }
        }
        Ok(bytes)
    }
}

/// A removal under way: the store is locked and marked, until this is dropped.
struct Removal<'a> {
    store: &'a Store,
    index: Index,
    _lock: Flock<File>,
}

impl Removal<'_> {
    fn begin(store: &Store) -> Result<Removal<'_>> {
        let lock = store.lock()?;
        fs_err::write(store.mark(), "")?;
        let index = Index::read(store.dir());
        let index = index.inspect_err(|_| drop(fs_err::remove_file(store.mark())))?;
        Ok(Removal {
            store,
            index,
            _lock: lock,
        })
    }

    /// Takes the names `gone` from the image, and removes it if those were all and it is not `used`.
    fn take(mut self, record: &Record, gone: &[String], used: bool) -> Result<Pruned> {
        let names = gone.iter().map(|n| Removed::Untagged(familiar(n)));
        let mut pruned = Pruned {
            removed: names.collect(),
            bytes: 0,
        };
        if used || !all_of(record, gone) {
            if let Some(kept) = self.index.by_id(&record.id) {
                kept.names.retain(|n| !gone.contains(n));
                kept.digests.retain(|n| !gone.contains(n));
            }
            self.index.write(self.store.dir())?;
            return Ok(pruned);
        }
        self.index.images.retain(|r| r.id != record.id);
        self.index.write(self.store.dir())?;
        let _ = fs_err::remove_file(self.store.config_path(&record.id));
        pruned.removed.push(Removed::Deleted(record.id.clone()));
        // A pull under way may be about to use these layers; then they stay, as leftovers.
        if let Some(_layers) = self.store.try_lock_layers()? {
            for chain in record.layers.iter().rev().filter(|l| !self.index.uses(l)) {
                pruned.bytes += remove_layer(&self.store.layer_dir(chain))?;
                pruned.removed.push(Removed::Deleted(chain.clone()));
            }
        }
        Ok(pruned)
    }
}

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        let _ = fs_err::remove_file(self.store.mark());
    }
}

/// How many bytes are gone. What says that the layer is whole goes first: if this is killed, nobody believes the rest.
fn remove_layer(directory: &Path) -> Result<u64> {
    let bytes = layer_size(directory).unwrap_or(0);
    let _ = fs_err::remove_file(directory.join("layer.json"));
    remove_tree(directory)?;
    Ok(bytes)
}

/// Whether the image has no other names than these.
fn all_of(record: &Record, names: &[String]) -> bool {
    let mut all = record.names.iter().chain(&record.digests);
    all.all(|name| names.contains(name))
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

/// Whether all names are one tag, or none, and digests of the same repository: then an id means no more than a name.
fn is_single(record: &Record) -> bool {
    let repository = |name: &String| {
        let name = name.parse::<ImageName>().ok()?;
        Some((name.registry, name.repository))
    };
    let all = record.names.iter().chain(&record.digests);
    let repositories: BTreeSet<_> = all.map(repository).collect();
    record.names.len() <= 1 && repositories.len() <= 1
}

/// Docker's reasons not to, in its order and its words.
fn refuse(
    text: &str,
    record: &Record,
    name: Option<&ImageName>,
    force: Force,
    user: Option<&User>,
) -> Result<(), Error> {
    let id = record.id.short();
    let conflict = |why: String| Err(Error::Conflict(why));
    match (name, user) {
        (Some(_), Some(user)) if force == Force::No && is_single(record) => conflict(format!(
            "unable to remove repository reference \"{}\" (must force) - container {} is using its referenced image {id}",
            escape(text),
            user.container
        )),
        (None, Some(user)) if user.running => conflict(format!(
            "unable to delete {id} (cannot be forced) - image is being used by running container {}",
            user.container
        )),
        (None, _) if force == Force::No && !is_single(record) => conflict(format!(
            "unable to delete {id} (must be forced) - image is referenced in multiple repositories"
        )),
        (None, Some(user)) if force == Force::No => conflict(format!(
            "unable to delete {id} (must be forced) - image is being used by stopped container {}",
            user.container
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(names: &[&str], digests: &[&str]) -> Record {
        let hex = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let canonical = |name: String| name.parse::<ImageName>().unwrap().canonical();
        Record {
            id: hex("1").parse().unwrap(),
            names: names.iter().map(|n| canonical((*n).to_owned())).collect(),
            digests: digests
                .iter()
                .map(|n| canonical(format!("{n}@{}", hex("d"))))
                .collect(),
            layers: vec![],
            size: 0,
        }
    }

    #[test]
    fn an_id_with_names_in_one_repository_is_as_good_as_a_name() {
        assert!(is_single(&record(&[], &[])));
        assert!(is_single(&record(&["a:1"], &[])));
        assert!(is_single(&record(&["a:1"], &["a"])));
        assert!(is_single(&record(&[], &["a"])));
        assert!(!is_single(&record(&["a:1", "a:2"], &[])));
        assert!(!is_single(&record(&["a:1"], &["b"])));
        assert!(!is_single(&record(&[], &["a", "b"])));
    }

    #[test]
    fn refusals_are_dockers() {
        let user = |running| User {
            container: "c0ffee".into(),
            running,
        };
        let one = record(&["a:1"], &["a"]);
        let two = record(&["a:1", "b:1"], &[]);
        let name = "a:1".parse::<ImageName>().unwrap();
        let said = |record: &Record, name: Option<&ImageName>, force, user: Option<User>| {
            let refused = refuse("a:1", record, name, force, user.as_ref());
            refused.err().map(|error| error.to_string())
        };
        let id = "111111111111";
        let table = [
            (
                &one,
                Some(&name),
                Force::No,
                Some(true),
                format!(
                    "unable to remove repository reference \"a:1\" (must force) - container c0ffee is using its referenced image {id}"
                ),
            ),
            (
                &one,
                None,
                Force::No,
                Some(false),
                format!(
                    "unable to delete {id} (must be forced) - image is being used by stopped container c0ffee"
                ),
            ),
            (
                &one,
                None,
                Force::Yes,
                Some(true),
                format!(
                    "unable to delete {id} (cannot be forced) - image is being used by running container c0ffee"
                ),
            ),
            (
                &two,
                None,
                Force::No,
                None,
                format!(
                    "unable to delete {id} (must be forced) - image is referenced in multiple repositories"
                ),
            ),
        ];
        for (record, name, force, running, text) in table {
            let text = format!("conflict: {text}");
            assert_eq!(said(record, name, force, running.map(user)), Some(text));
        }
        assert_eq!(said(&two, Some(&name), Force::No, Some(user(true))), None);
        assert_eq!(said(&one, Some(&name), Force::Yes, Some(user(true))), None);
        assert_eq!(said(&one, None, Force::Yes, Some(user(false))), None);
        assert_eq!(said(&two, None, Force::Yes, None), None);
        assert_eq!(said(&one, None, Force::No, None), None);
    }
}
