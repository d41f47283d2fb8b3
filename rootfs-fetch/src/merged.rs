//! An image as one plain directory tree, without a store: what the program `rootfs-fetch` does.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::image::ImageConfiguration;

use crate::digest::Verified;
use crate::documents::LayerBlob;
use crate::download::Download;
use crate::install::Source;
use crate::layer::{self, Layout};
use crate::name::ImageName;
use crate::platform::Platform;
use crate::pull::{PullOptions, check_platform};
use crate::registries_conf::RegistriesConf;
use crate::registry::Registry;
use crate::root::remove_tree;
use crate::sources::{Container, MAX_ARCHIVE, images, merge};

/// Where an image is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// A name in a registry.
    Registry(ImageName),
    /// An OCI layout directory, an OCI archive or a docker archive: `oci:PATH`, `docker-archive:PATH`.
    Archive(PathBuf),
    /// A tar archive of a root file system: `tar:PATH`.
    Tarball(PathBuf),
}

impl FromStr for ImageSource {
    type Err = anyhow::Error;

    /// `oci:`, `oci-archive:`, `docker-archive:` and `tar:` say what a path is; anything else is a name.
    fn from_str(text: &str) -> Result<ImageSource> {
        for kind in ["oci:", "oci-archive:", "docker-archive:"] {
            if let Some(path) = text.strip_prefix(kind) {
                return Ok(ImageSource::Archive(path.into()));
            }
        }
        if let Some(path) = text.strip_prefix("tar:") {
            return Ok(ImageSource::Tarball(path.into()));
        }
        let name = text.strip_prefix("docker://").unwrap_or(text);
        name.parse().map(ImageSource::Registry)
    }
}

/// Fetches an image and unpacks its layers on top of each other into `dir`, which must be empty or absent.
/// Returns its configuration, unless it was a bare tarball.
///
/// # Errors
/// Whatever goes wrong; then `dir` is as before. While it works, `dir` holds what is not verified yet.
pub fn unpack_merged(
    source: &ImageSource,
    dir: &Path,
    options: &PullOptions,
) -> Result<Option<ImageConfiguration>> {
    let existed = dir.exists();
    fs_err::create_dir_all(dir)?;
    ensure!(
        fs_err::read_dir(dir)?.next().is_none(),
        "{} is not empty",
        dir.display()
    );
    let done = unpack(source, dir, options);
    if done.is_err() {
        let cleaned = remove_tree(dir);
        if existed {
            cleaned
                .and_then(|()| Ok(fs_err::create_dir(dir)?))
                .context("cannot clean up")?;
        }
    }
    done
}

fn unpack(
    source: &ImageSource,
    dir: &Path,
    options: &PullOptions,
) -> Result<Option<ImageConfiguration>> {
    match source {
        ImageSource::Registry(name) => from_registry(name, dir, options).map(Some),
        ImageSource::Archive(path) => from_archive(path, dir, options)
            .with_context(|| format!("cannot unpack {}", path.display()))
            .map(Some),
        ImageSource::Tarball(path) => {
            let file = fs_err::File::open(path)?;
            let size = file.metadata()?.len();
            let unpacked = layer::unpack(file, dir, Layout::Merged, options.limits, Some(size))?;
            for warning in unpacked.settle(&[])? {
                options.progress.warning(&warning);
            }
            Ok(None)
        }
    }
}

fn from_registry(
    name: &ImageName,
    dir: &Path,
    options: &PullOptions,
) -> Result<ImageConfiguration> {
    let progress = options.progress;
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let registry = Registry::new(name, &RegistriesConf::system()?, options.patience)?;
    progress.line(&format!(
        "{}: Pulling from {}",
        name.reference(),
        name.repository
    ));
    let resolved = registry.resolve(&platform)?;
    check_platform(&resolved.described, &platform, name)?;
    merge(
        &resolved.described,
        &Direct(&registry),
        dir,
        options.limits,
        progress,
    )
    .with_context(|| format!("cannot pull {name}"))?;
    progress.line(&format!("Digest: {}", resolved.digest));
    Ok(resolved.described.config)
}

fn from_archive(path: &Path, dir: &Path, options: &PullOptions) -> Result<ImageConfiguration> {
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let beside = dir.parent().filter(|p| !p.as_os_str().is_empty());
    let limit = options.limits.unpacked_bytes.unwrap_or(MAX_ARCHIVE);
    let bag = Container::open(path, beside.unwrap_or(Path::new(".")), limit)?;
    let found = images(&bag, &platform)?;
    let [image] = &found[..] else {
        bail!("it holds {} images; keep one", found.len());
    };
    merge(
        &image.described,
        &bag,
        dir,
        options.limits,
        options.progress,
    )?;
    Ok(image.described.config.clone())
}

/// A registry whose blobs are not kept.
struct Direct<'a>(&'a Registry);

impl Source for Direct<'_> {
    fn open<'a>(&'a self, layer: &LayerBlob) -> Result<Box<dyn std::io::Read + Send + 'a>> {
        let (digest, size) = layer.blob.clone().context("the layer has no digest")?;
        Ok(Box::new(Verified::new(
            Download::new(self.0, digest.clone(), size),
            digest,
            size,
        )))
    }

    fn failed(&self, _layer: &LayerBlob) -> bool {
        false
    }

    fn done(&self, _layer: &LayerBlob) {}
}
