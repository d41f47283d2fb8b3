//! The image store: which images are here, under which names, in which directories.
//!
//! ```text
//! images.json           every image: id, names, digests, layers (ChainIDs, lowest first)
//! configs/<id>.json     image configurations, byte by byte as they came
//! layers/<chain id>/fs  one unpacked layer in overlayfs's form, shared by all images that have it
//! layers/.../layer.json what it is
//! partial/<digest>      downloads under way; a killed pull is resumed from them
//! tmp/                  layers being unpacked
//! lock  pull.lock       flock(2)ed while images.json changes / while layers come and go
//! removing              there while something is removed, for who begins to use an image just then
//! ```
//! An image exists from the moment `images.json` is renamed into place, after everything it names has been written
//! and synced. So a kill at any moment leaves the whole image or none.

mod index;
mod remove;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use oci_spec::image::ImageConfiguration;

pub(crate) use self::index::{Index, Record};
pub use self::remove::{Force, Pruned, Removed, User, Users};
use crate::digest::Digest;
use crate::documents;
use crate::error::Error;
use crate::install::layer_size;
use crate::name::ImageName;

/// A directory of images.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// An image that is here, ready to be mounted.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of its configuration.
    pub id: Digest,
    /// Its names in Docker's short form, as in `alpine:latest`.
    pub names: Vec<String>,
    /// What registries call it, as in `alpine@sha256:...`.
    pub repo_digests: Vec<String>,
    /// Directories of its layers in overlayfs's form, lowest first.
    pub layers: Vec<PathBuf>,
    /// Environment, command, user, history.
    pub config: ImageConfiguration,
    /// Bytes in all files of all layers.
    pub size: u64,
    /// When it was built, if it says so.
    pub created: Option<Timestamp>,
}

impl Image {
    /// Bytes in the files of each layer, lowest first; `None` for one that is damaged.
    pub fn layer_sizes(&self) -> Vec<Option<u64>> {
        let directories = self.layers.iter().map(|fs| fs.parent());
        directories
            .map(|directory| layer_size(directory?))
            .collect()
    }
}

impl Store {
    /// Opens the store in `dir`, which is made (mode 0700) if it is not there.
    pub fn open(dir: &Path) -> Result<Store> {
        if !dir.is_dir() {
            make_private(dir)?;
        }
        Ok(Store {
            dir: dir.to_owned(),
        })
    }

    /// The image with this name, id or unique beginning of an id; `None` if it is not here. Reads two small files.
    ///
    /// # Errors
    /// [`Error::Ambiguous`], and a store that cannot be read.
    pub fn find(&self, name_or_id: &str) -> Result<Option<Image>> {
        let index = Index::read(&self.dir)?;
        match index.find(name_or_id)? {
            Some(record) => self.image(record).map(Some),
            None => Ok(None),
        }
    }

    /// Like [`Store::find`], but absence is an error, [`Error::NoSuchImage`].
    pub fn get(&self, name_or_id: &str) -> Result<Image> {
        self.find(name_or_id)?
            .ok_or_else(|| Error::no_such_image(name_or_id).into())
    }

    /// All images, the newest first.
    pub fn list(&self) -> Result<Vec<Image>> {
        let index = Index::read(&self.dir)?;
        let mut images = index
            .images
            .iter()
            .map(|r| self.image(r))
            .collect::<Result<Vec<_>>>()?;
        images.sort_by(|a, b| {
            b.created
                .cmp(&a.created)
                .then_with(|| a.names.cmp(&b.names))
        });
        Ok(images)
    }

    /// Gives an image one more name; an image that had the name loses it.
    pub fn tag(&self, name_or_id: &str, name: &ImageName) -> Result<()> {
        let _lock = self.lock()?;
        let mut index = Index::read(&self.dir)?;
        let id = index.get(name_or_id)?.id.clone();
        index.add_name(&id, &name.canonical());
        index.write(&self.dir)
    }

    /// The configuration of an image, byte by byte as it came.
    pub fn config_bytes(&self, id: &Digest) -> Result<Vec<u8>> {
        Ok(fs_err::read(self.config_path(id))?)
    }

    pub(crate) fn image(&self, record: &Record) -> Result<Image> {
        let bytes = self.config_bytes(&record.id);
        let config = bytes.and_then(|b| documents::parse_config(&b));
        let config = config.with_context(|| {
            format!("the image store is damaged: image {} has no configuration; remove it and pull it again", record.id.short())
        })?;
        let created = config.created().as_ref().and_then(|c| c.parse().ok());
        let short = |names: &[String]| names.iter().map(|n| familiar(n)).collect();
        Ok(Image {
            id: record.id.clone(),
            names: short(&record.names),
            repo_digests: short(&record.digests),
            layers: record
                .layers
                .iter()
                .map(|chain| self.layer_fs(chain))
                .collect(),
            config,
            size: record.size,
            created,
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn config_path(&self, id: &Digest) -> PathBuf {
        self.dir.join("configs").join(format!("{}.json", id.hex()))
    }

    /// Half the digits are enough to tell layers apart and keep the mount's options short; layer.json has them all.
    pub(crate) fn layer_dir(&self, chain: &Digest) -> PathBuf {
        self.dir.join("layers").join(&chain.hex()[..32])
    }

    pub(crate) fn layer_fs(&self, chain: &Digest) -> PathBuf {
        self.layer_dir(chain).join("fs")
    }

    /// Held while images.json is read, changed and written: milliseconds.
    pub(crate) fn lock(&self) -> Result<Flock<std::fs::File>> {
        lock(&self.dir.join("lock"))
    }

    /// Held while layers come or go: as long as a pull takes. `waiting` is called if another process holds it.
    pub(crate) fn lock_layers(&self, waiting: impl FnOnce()) -> Result<Flock<std::fs::File>> {
        match self.try_lock_layers()? {
            Some(lock) => Ok(lock),
            None => {
                waiting();
                lock(&self.dir.join("pull.lock"))
            }
        }
    }

    /// The same, or `None` if another process holds it.
    pub(crate) fn try_lock_layers(&self) -> Result<Option<Flock<std::fs::File>>> {
        let path = self.dir.join("pull.lock");
        match Flock::lock(open_lock(&path)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => {
                Err(errno).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }
}

/// Makes a directory that only its owner may enter, and those above it. Nobody else shall reach the setuid programs
/// of an image (CVE-2021-41091).
pub(crate) fn make_private(dir: &Path) -> Result<()> {
    if let Some(above) = dir.parent().filter(|a| !a.as_os_str().is_empty()) {
        fs_err::create_dir_all(above)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(e).with_context(|| format!("cannot create {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// The short form of a canonical name.
fn familiar(canonical: &str) -> String {
    canonical
        .parse::<ImageName>()
        .map_or_else(|_| canonical.to_owned(), |n| n.familiar())
}

fn lock(path: &Path) -> Result<Flock<std::fs::File>> {
    Flock::lock(open_lock(path)?, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .with_context(|| format!("cannot lock {}", path.display()))
}

fn open_lock(path: &Path) -> Result<std::fs::File> {
    let file = fs_err::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    Ok(file.into_parts().0)
}
