//! Images that do not come from a registry: archives, layouts, and bare root file systems.

mod archive;
mod container;

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use oci_spec::image::ImageConfiguration;

use crate::digest::Digest;
use crate::documents::{Described, LayerBlob, parse_config};
use crate::install::{Install, Source, short};
use crate::layer::{self, Layout, Limits};
use crate::name::ImageName;
use crate::platform::Platform;
use crate::progress::Progress;
use crate::root::remove_tree;
use crate::store::{Store, make_private};

pub(crate) use self::archive::images;
pub(crate) use self::container::Container;

/// The most bytes a compressed archive may have once it is plain, unless the caller sets a limit: 64 GiB.
pub(crate) const MAX_ARCHIVE: u64 = 64 << 30;

/// How to import a bare root file system.
#[derive(Default)]
pub struct ImportOptions {
    /// The name the image gets.
    pub name: Option<ImageName>,
    /// Its configuration (environment, command, ...), as the `config` object of an image configuration.
    pub config: Option<oci_spec::image::Config>,
    /// Its platform; `None` is this machine's.
    pub platform: Option<Platform>,
    /// What to write into its history.
    pub message: Option<String>,
    /// How much it may unpack to.
    pub limits: Limits,
}

impl Store {
    /// Loads all images from a docker archive, an OCI archive (both also compressed), or an OCI layout directory.
    /// Returns their names, or ids where there is no name, as `docker load` prints them.
    pub fn load(&self, path: &Path, limits: Limits, progress: &Progress) -> Result<Vec<String>> {
        let _layers = self.lock_layers(|| progress.line("Waiting for another pull to finish"))?;
        let spool = self.spool()?;
        let bag = Container::open(path, &spool, limits.unpacked_bytes.unwrap_or(MAX_ARCHIVE))?;
        self.load_all(&bag, limits, progress)
            .with_context(|| format!("cannot load {}", path.display()))
    }

    /// The same from a pipe.
    pub fn load_reader(
        &self,
        reader: impl Read,
        limits: Limits,
        progress: &Progress,
    ) -> Result<Vec<String>> {
        let _layers = self.lock_layers(|| progress.line("Waiting for another pull to finish"))?;
        let spool = self.spool()?;
        let bag =
            Container::from_reader(reader, &spool, limits.unpacked_bytes.unwrap_or(MAX_ARCHIVE))?;
        self.load_all(&bag, limits, progress)
            .context("cannot load the archive")
    }

    /// Makes an image of one layer from a tar archive of a root file system (compressed or not). Returns its id.
    pub fn import(
        &self,
        archive: impl Read + Send,
        options: &ImportOptions,
        progress: &Progress,
    ) -> Result<Digest> {
        let _layers = self.lock_layers(|| progress.line("Waiting for another pull to finish"))?;
        let spool = self.spool()?;
        let path = spool.join("import");
        let mut file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        let mut archive = archive;
        std::io::copy(&mut archive, &mut file).context("cannot read the archive")?;
        // The image's id depends on the content's digest, so it is read once for that and once to unpack it.
        let plain = layer::decoder(fs_err::File::open(&path)?)?;
        let diff_id = digest_of(plain.take(options.limits.unpacked_bytes.unwrap_or(MAX_ARCHIVE)))?;
        let config_bytes = imported_config(&diff_id, options)?;
        let described = Described {
            config: parse_config(&config_bytes)?,
            config_bytes,
            layers: vec![LayerBlob {
                diff_id: diff_id.clone(),
                chain_id: diff_id,
                blob: None,
                entry: String::new(),
            }],
        };
        let (file, _) = file.into_parts();
        let names: Vec<String> = options.name.iter().map(ImageName::canonical).collect();
        let source = Imported(file);
        let install = Install {
            store: self,
            source: &source,
            progress,
            limits: options.limits,
        };
        Ok(install.run(&described, &names, None)?.id)
    }

    fn load_all(
        &self,
        bag: &Container,
        limits: Limits,
        progress: &Progress,
    ) -> Result<Vec<String>> {
        let mut loaded = Vec::new();
        for found in images(bag, &Platform::host())? {
            let names: Vec<String> = found.names.iter().map(ImageName::canonical).collect();
            // What a registry would call it is only known with a repository.
            let pinned = found
                .names
                .first()
                .zip(found.digest)
                .map(|(n, d)| n.with_digest(d).canonical());
            let install = Install {
                store: self,
                source: bag,
                progress,
                limits,
            };
            let image = install.run(&found.described, &names, pinned)?;
            if found.names.is_empty() {
                progress.line(&format!("Loaded image ID: {}", image.id));
                loaded.push(image.id.to_string());
            }
            for name in found.names {
                progress.line(&format!("Loaded image: {name}"));
                loaded.push(name.familiar());
            }
        }
        Ok(loaded)
    }

    /// An empty directory for files under way. The caller holds the layers' lock, so nobody else uses it.
    fn spool(&self) -> Result<std::path::PathBuf> {
        let spool = self.dir().join("spool");
        remove_tree(&spool)?;
        make_private(&spool)?;
        Ok(spool)
    }
}

/// The bytes of an imported archive, spooled.
struct Imported(std::fs::File);

impl Source for Imported {
    fn open<'a>(&'a self, _layer: &LayerBlob) -> Result<Box<dyn Read + Send + 'a>> {
        use std::io::{Seek, SeekFrom};
        let mut file = &self.0;
        file.seek(SeekFrom::Start(0))?;
        Ok(Box::new(file))
    }

    fn failed(&self, _layer: &LayerBlob) -> bool {
        false
    }

    fn done(&self, _layer: &LayerBlob) {}
}

fn digest_of(mut reader: impl Read) -> Result<Digest> {
    let mut hasher = crate::digest::Hasher::default();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match reader
            .read(&mut buffer)
            .context("cannot read the archive")?
        {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn imported_config(diff_id: &Digest, options: &ImportOptions) -> Result<Vec<u8>> {
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let now = jiff::Timestamp::now().to_string();
    let comment = options
        .message
        .clone()
        .unwrap_or_else(|| "Imported from an archive".to_owned());
    let mut value = serde_json::json!({
        "created": now,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": options.config.clone().unwrap_or_default(),
        "rootfs": {"type": "layers", "diff_ids": [diff_id.to_string()]},
        "history": [{"created": now, "comment": comment}],
    });
    if let Some(variant) = platform.variant {
        value["variant"] = variant.into();
    }
    let config: ImageConfiguration = serde_json::from_value(value)?;
    Ok(serde_json::to_vec(&config)?)
}

/// Unpacks all layers of an image on top of each other into `dir`, with what was left out.
pub(crate) fn merge(
    image: &Described,
    source: &dyn Source,
    dir: &Path,
    limits: Limits,
    progress: &Progress,
) -> Result<()> {
    for layer in &image.layers {
        let size = layer.blob.as_ref().map(|(_, size)| *size);
        let context = || format!("layer {}", short(layer));
        let shown = progress.layer(short(layer), size);
        let unpacked = layer::unpack(source.open(layer)?, dir, Layout::Merged, limits, size)
            .with_context(context)?;
        anyhow::ensure!(
            unpacked.diff_id == layer.diff_id,
            "layer {} is not the one the configuration names",
            short(layer)
        );
        for warning in unpacked.settle(&[]).with_context(context)? {
            progress.warning(&warning);
        }
        shown.finish("Pull complete");
    }
    Ok(())
}
