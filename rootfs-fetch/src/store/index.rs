//! `images.json`: the one file that says which images there are.
//!
//! Small enough to be read at every start of a container, and replaced as a whole: written beside, synced, renamed.
//! rename(2), fsync(2).

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::Error;
use crate::name::ImageName;
use crate::text::escape;

/// The whole file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Index {
    /// Format of this file.
    version: u32,
    /// Every image.
    pub(crate) images: Vec<Record>,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Digest of its configuration.
    pub(crate) id: Digest,
    /// Canonical names, as in `docker.io/library/alpine:latest`.
    pub(crate) names: Vec<String>,
    /// Canonical names by digest, as in `docker.io/library/alpine@sha256:...`.
    pub(crate) digests: Vec<String>,
    /// ChainIDs of its layers, lowest first.
    pub(crate) layers: Vec<Digest>,
    /// Bytes in all files.
    pub(crate) size: u64,
}

const VERSION: u32 = 1;

impl Index {
    /// Reads the file in `dir`; none means no images.
    pub(crate) fn read(dir: &Path) -> Result<Index> {
        let path = dir.join("images.json");
        let bytes = match fs_err::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Index {
                    version: VERSION,
                    images: Vec::new(),
                });
            }
            Err(e) => return Err(e.into()),
        };
        let index: Index = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{} is damaged; delete it, then load or pull the images again (layers are kept)",
                path.display()
            )
        })?;
        ensure!(
            index.version == VERSION,
            "{} has version {}, written by a newer program; this one knows version {VERSION}",
            path.display(),
            index.version
        );
        Ok(index)
    }

    /// Replaces the file in `dir`. The caller holds the lock.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        self.write_after(dir, |file| Ok(file.sync_all()?))
    }

    /// The same, after everything else of the store has come to the disk together with the new content: one wait
    /// instead of two.
    pub(crate) fn write_last(&self, dir: &Path) -> Result<()> {
        self.write_after(dir, |file| {
            nix::unistd::syncfs(file).context("cannot sync the image store")
        })
    }

    fn write_after(
        &self,
        dir: &Path,
        sync: impl FnOnce(&fs_err::File) -> Result<()>,
    ) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        replace(&dir.join("images.json"), &text, sync)
    }

    /// The image with this name, id, or beginning of an id. Names win over ids, as with Docker.
    pub(crate) fn find(&self, text: &str) -> Result<Option<&Record>> {
        if let Ok(name) = text.parse::<ImageName>()
            && let Some(record) = self.images.iter().find(|r| r.is_called(&name))
        {
            return Ok(Some(record));
        }
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.is_empty() || hex.len() > 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let hex = hex.to_ascii_lowercase();
        let fits: Vec<&Record> = self
            .images
            .iter()
            .filter(|r| r.id.hex().starts_with(&hex))
            .collect();
        match fits[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => bail!(Error::Ambiguous(escape(text), fits.len())),
        }
    }

    /// The same, but absence is an error, [`Error::NoSuchImage`].
    pub(crate) fn get(&self, text: &str) -> Result<&Record> {
        let found = self.find(text)?;
        found.ok_or_else(|| Error::no_such_image(text).into())
    }

    /// The image with exactly this id.
    pub(crate) fn by_id(&mut self, id: &Digest) -> Option<&mut Record> {
        self.images.iter_mut().find(|r| r.id == *id)
    }

    /// Gives a canonical name to an image and takes it from any other.
    pub(crate) fn add_name(&mut self, id: &Digest, name: &str) {
        for record in &mut self.images {
            if record.id == *id {
                if !record.names.iter().any(|n| n == name) {
                    record.names.push(name.to_owned());
                }
            } else {
                record.names.retain(|n| n != name);
            }
        }
    }

    /// Whether any image has this layer.
    pub(crate) fn uses(&self, chain: &Digest) -> bool {
        self.images.iter().any(|r| r.layers.contains(chain))
    }
}

impl Record {
    /// Whether `name` means this image. A digest decides alone, whatever tag stands before it.
    pub(crate) fn is_called(&self, name: &ImageName) -> bool {
        match &name.digest {
            Some(digest) => self
                .digests
                .contains(&name.with_digest(digest.clone()).canonical()),
            None => self.names.contains(&name.canonical()),
        }
    }
}

/// Writes a file so that whoever looks sees the old content or the new one, even after a power cut. `sync` brings the
/// new content to the disk, before it gets its name.
fn replace(
    path: &Path,
    bytes: &[u8],
    sync: impl FnOnce(&fs_err::File) -> Result<()>,
) -> Result<()> {
    let temporary = path.with_extension(format!("json.{}", std::process::id()));
    let written = (|| -> Result<()> {
        let mut file = fs_err::File::create(&temporary)?;
        file.write_all(bytes)?;
        sync(&file)?;
        fs_err::rename(&temporary, path)?;
        if let Some(dir) = path.parent() {
            fs_err::File::open(dir)?.sync_all()?;
        }
        Ok(())
    })();
    if written.is_err() {
        let _ = fs_err::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, names: &[&str]) -> Record {
        Record {
            id: format!("sha256:{id:0<64}").parse().unwrap(),
            names: names
                .iter()
                .map(|n| n.parse::<ImageName>().unwrap().canonical())
                .collect(),
            digests: vec![format!(
                "docker.io/library/alpine@sha256:{}",
                "d".repeat(64)
            )],
            layers: vec![],
            size: 0,
        }
    }

    #[test]
    fn images_are_found_by_name_and_id() {
        let index = Index {
            version: 1,
            images: vec![
                record("abc1", &["alpine"]),
                record("abc2", &["abc1:latest", "q.io/x:1"]),
            ],
        };
        let find = |text: &str| {
            index
                .find(text)
                .map(|r| r.map(|r| r.id.hex()[..4].to_owned()))
        };
        for (text, want) in [
            ("alpine", Some("abc1")),
            ("alpine:latest", Some("abc1")),
            ("docker.io/library/alpine", Some("abc1")),
            ("alpine:3", None),
            ("abc1", Some("abc2")),
            ("sha256:abc1", Some("abc1")),
            ("abc2", Some("abc2")),
            ("q.io/x:1", Some("abc2")),
            ("q.io/x", None),
            ("zzz", None),
            ("", None),
            ("sha256:", None),
        ] {
            assert_eq!(find(text).unwrap().as_deref(), want, "{text}");
        }
        assert!(find("abc").unwrap_err().downcast_ref::<Error>().is_some());
        let digest = "d".repeat(64);
        assert_eq!(
            find(&format!("alpine@sha256:{digest}")).unwrap().as_deref(),
            Some("abc1")
        );
        assert_eq!(
            find(&format!("alpine:9@sha256:{digest}"))
                .unwrap()
                .as_deref(),
            Some("abc1")
        );
        assert_eq!(find(&format!("busybox@sha256:{digest}")).unwrap(), None);
    }
}
