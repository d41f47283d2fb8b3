//! Images in a bag of files: docker archives and OCI layouts.
//!
//! `docker save` writes `manifest.json`, which lists images with their names, configuration and layers. An OCI layout
//! has `index.json`, and every blob under the name of its digest. Newer versions of Docker write both in one archive.
//! Docker image specification v1.2, "Combined Image JSON + Filesystem Changeset Format"; OCI image-layout.md.

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::Deserialize;

use super::container::Container;
use crate::digest::{Digest, Verified};
use crate::documents::{self, Described, Document, LayerBlob, MAX_DOCUMENT};
use crate::install::Source;
use crate::name::ImageName;
use crate::platform::Platform;

/// One image found in a bag.
pub struct Found {
    /// The image.
    pub described: Described,
    /// The names it has there.
    pub names: Vec<ImageName>,
    /// Digest of its manifest; a docker archive has none.
    pub digest: Option<Digest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// All images in the bag; from an index, those for `platform`.
pub fn images(bag: &Container, platform: &Platform) -> Result<Vec<Found>> {
    if bag.has("manifest.json") {
        saved_images(bag)
    } else if bag.has("index.json") {
        layout_images(bag, platform)
    } else {
        bail!(
            "it has neither manifest.json (docker archive) nor index.json (OCI layout); a bare root file system is imported, not loaded"
        )
    }
}

fn saved_images(bag: &Container) -> Result<Vec<Found>> {
    let saved: Vec<Saved> = serde_json::from_slice(&bag.document("manifest.json")?)
        .context("cannot read manifest.json")?;
    saved
        .into_iter()
        .map(|image| saved_image(bag, image))
        .collect()
}

fn saved_image(bag: &Container, saved: Saved) -> Result<Found> {
    let config_bytes = bag.document(&saved.config)?;
    let config = documents::parse_config(&config_bytes)?;
    let entries = saved.layers.unwrap_or_default();
    let diff_ids = config.rootfs().diff_ids();
    ensure!(
        entries.len() == diff_ids.len(),
        "manifest.json lists {} layers but the configuration names {} of them",
        entries.len(),
        diff_ids.len()
    );
    let layers = documents::stack(
        diff_ids,
        entries.into_iter().map(|entry| (None, entry)).collect(),
    )?;
    let names = saved
        .repo_tags
        .unwrap_or_default()
        .iter()
        .map(|t| t.parse())
        .collect::<Result<_>>()?;
    Ok(Found {
        described: Described {
            config_bytes,
            config,
            layers,
        },
        names,
        digest: None,
    })
}

fn layout_images(bag: &Container, platform: &Platform) -> Result<Vec<Found>> {
    let index: ImageIndex =
        match documents::parse(&bag.document("index.json")?, None).context("in index.json")? {
            Document::Index(index) => *index,
            Document::Manifest(_) => bail!("index.json is no index"),
        };
    let mut groups: Vec<(Option<ImageName>, Vec<Descriptor>)> = Vec::new();
    for descriptor in index.manifests() {
        let name = name_of(descriptor);
        match groups.iter_mut().find(|(n, _)| *n == name) {
            Some((_, group)) => group.push(descriptor.clone()),
            None => groups.push((name, vec![descriptor.clone()])),
        }
    }
    ensure!(!groups.is_empty(), "index.json lists no images");
    let mut found = Vec::new();
    for (name, group) in groups {
        let chosen = if let [only] = &group[..] {
            only
        } else {
            platform.choose(&group)?
        };
        let manifest = follow(bag, chosen, platform, 0)?;
        let described = describe(bag, &manifest)?;
        found.push(Found {
            described,
            names: name.into_iter().collect(),
            digest: Some(documents::digest_of(chosen)?),
        });
    }
    Ok(found)
}

fn follow(
    bag: &Container,
    descriptor: &Descriptor,
    platform: &Platform,
    depth: u32,
) -> Result<ImageManifest> {
    ensure!(depth < 4, "the index nests too deep");
    let bytes = blob(bag, descriptor)?;
    match documents::parse(&bytes, Some(descriptor.media_type().as_ref()))? {
        Document::Manifest(manifest) => Ok(*manifest),
        Document::Index(index) => follow(
            bag,
            platform.choose(index.manifests())?,
            platform,
            depth + 1,
        ),
    }
}

fn describe(bag: &Container, manifest: &ImageManifest) -> Result<Described> {
    documents::check_config_type(manifest)?;
    documents::describe(manifest, blob(bag, manifest.config())?)
}

fn blob(bag: &Container, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let (digest, size) = (documents::digest_of(descriptor)?, descriptor.size());
    ensure!(
        size <= MAX_DOCUMENT,
        "{digest} is declared with {size} bytes, more than {MAX_DOCUMENT}"
    );
    let (reader, _) = bag.file(&blob_path(&digest))?;
    let mut bytes = Vec::new();
    Verified::new(reader, digest, size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// containerd writes the whole name; the specification's own annotation often is but a tag.
fn name_of(descriptor: &Descriptor) -> Option<ImageName> {
    let annotations = descriptor.annotations().as_ref()?;
    if let Some(name) = annotations.get("io.containerd.image.name") {
        return name.parse().ok();
    }
    let name = annotations.get("org.opencontainers.image.ref.name")?;
    name.contains([':', '/']).then(|| name.parse().ok())?
}

impl Source for Container {
    fn open<'a>(&'a self, layer: &LayerBlob) -> Result<Box<dyn Read + Send + 'a>> {
        match &layer.blob {
            Some((digest, size)) => {
                let (reader, _) = self.file(&blob_path(digest))?;
                Ok(Box::new(Verified::new(reader, digest.clone(), *size)))
            }
            None => Ok(self.file(&layer.entry)?.0),
        }
    }

    fn failed(&self, _layer: &LayerBlob) -> bool {
        false
    }

    fn done(&self, _layer: &LayerBlob) {}
}
