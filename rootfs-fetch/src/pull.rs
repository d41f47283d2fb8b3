//! Pulling: from a name to an image in the store.
//!
//! What a killed pull leaves behind, the next one uses: settled layers by their ChainID, downloads by their digest.

use std::io::Read;

use anyhow::{Context, Result, ensure};

use crate::digest::Verified;
use crate::documents::{Described, LayerBlob};
use crate::download::{Download, Partials};
use crate::error::Error;
use crate::http::Patience;
use crate::install::{Install, Source};
use crate::layer::Limits;
use crate::name::ImageName;
use crate::platform::Platform;
use crate::progress::Progress;
use crate::registries_conf::RegistriesConf;
use crate::registry::Registry;
use crate::store::{Image, Store};
use crate::text::escape;

/// When to ask the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Every time.
    Always,
    /// Only if the image is not here.
    Missing,
    /// Never: what is not here is an error.
    Never,
}

/// How to pull.
pub struct PullOptions<'a> {
    /// When to ask the registry.
    pub policy: PullPolicy,
    /// For which platform; `None` is this machine's, and then any image that is here will do.
    pub platform: Option<Platform>,
    /// Whom to tell.
    pub progress: &'a Progress,
    /// How much a layer may unpack to.
    pub limits: Limits,
    /// Time-outs and retries.
    pub patience: Patience,
    /// Called once, while there is one thread of ours, before a registry's name is looked up.
    pub before_lookup: fn(),
}

impl<'a> PullOptions<'a> {
    /// Pull what is missing for this machine.
    pub fn new(progress: &'a Progress) -> PullOptions<'a> {
        PullOptions {
            policy: PullPolicy::Missing,
            platform: None,
            progress,
            limits: Limits::DEFAULT,
            patience: Patience::default(),
            before_lookup: || (),
        }
    }
}

impl Store {
    /// Finds an image or pulls it, as the policy says. When this returns, no thread of ours is left.
    pub fn ensure(&self, name: &str, options: &PullOptions) -> Result<Image> {
        if options.policy != PullPolicy::Always
            && let Some(image) = self.find(name)?
            && suits(&image, options)
        {
            return Ok(image);
        }
        if options.policy == PullPolicy::Never {
            return Err(Error::no_such_image(name).into());
        }
        let parsed: ImageName = name.parse()?;
        if options.policy == PullPolicy::Missing {
            options
                .progress
                .line(&format!("Unable to find image '{parsed}' locally"));
            let _layers =
                self.lock_layers(|| options.progress.line("Waiting for another pull to finish"))?;
            // The one we waited for may have brought it.
            if let Some(image) = self.find(name)?
                && suits(&image, options)
            {
                return Ok(image);
            }
            return self.pull_locked(name, &parsed, options);
        }
        self.pull(name, options)
    }

    /// Pulls an image whether or not it is here.
    pub fn pull(&self, name: &str, options: &PullOptions) -> Result<Image> {
        let parsed: ImageName = name.parse()?;
        let _layers =
            self.lock_layers(|| options.progress.line("Waiting for another pull to finish"))?;
        self.pull_locked(name, &parsed, options)
    }

    fn pull_locked(&self, text: &str, name: &ImageName, options: &PullOptions) -> Result<Image> {
        let conf = RegistriesConf::system()?;
        let alias = conf.alias(text, name)?;
        let real = alias.as_ref().unwrap_or(name);
        (options.before_lookup)();
        let registry = Registry::new(real, &conf, options.patience)?;
        let progress = options.progress;
        progress.line(&format!(
            "{}: Pulling from {}",
            real.reference(),
            real.repository
        ));
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let resolved = registry.resolve(&platform)?;
        check_platform(&resolved.described, &platform, real)?;
        let pinned = real.with_digest(resolved.digest.clone()).canonical();
        let before = self.find(&name.canonical())?.map(|image| image.id);
        let source = RegistrySource {
            registry: &registry,
            partials: Partials::new(&self.dir().join("partial"))?,
        };
        let mut names = vec![name.canonical(), real.canonical()];
        names.retain(|_| name.digest.is_none());
        let image = Install {
            store: self,
            source: &source,
            progress,
            limits: options.limits,
        }
        .run(&resolved.described, &names, Some(pinned))
        .with_context(|| format!("cannot pull {real}"))?;
        progress.line(&format!("Digest: {}", resolved.digest));
        let status = if before.as_ref() == Some(&image.id) {
            "Image is up to date"
        } else {
            "Downloaded newer image"
        };
        progress.line(&format!("Status: {status} for {name}"));
        Ok(image)
    }
}

struct RegistrySource<'a> {
    registry: &'a Registry,
    partials: Partials,
}

impl Source for RegistrySource<'_> {
    fn open<'a>(&'a self, layer: &LayerBlob) -> Result<Box<dyn Read + Send + 'a>> {
        let (digest, size) = layer.blob.clone().context("the layer has no digest")?;
        let download = Download::resume(
            self.registry,
            digest.clone(),
            size,
            &self.partials.path(&digest),
        )?;
        Ok(Box::new(Verified::new(download, digest, size)))
    }

    fn failed(&self, layer: &LayerBlob) -> bool {
        layer
            .blob
            .as_ref()
            .is_some_and(|(digest, size)| self.partials.forget_if_bad(digest, *size))
    }

    fn done(&self, layer: &LayerBlob) {
        if let Some((digest, _)) = &layer.blob {
            self.partials.forget(digest);
        }
    }
}

/// An image for another machine is only an error if nobody asked for that machine.
pub(crate) fn check_platform(
    image: &Described,
    platform: &Platform,
    name: &ImageName,
) -> Result<()> {
    let config = &image.config;
    let (os, architecture) = (config.os().to_string(), config.architecture().to_string());
    ensure!(
        platform.suits(&os, &architecture, config.variant().as_deref()),
        "image {name} is for {}/{}, not for {platform}; give the platform you want, or another tag",
        escape(&os),
        escape(&architecture)
    );
    Ok(())
}

fn suits(image: &Image, options: &PullOptions) -> bool {
    let config = &image.config;
    options.platform.as_ref().is_none_or(|platform| {
        platform.suits(
            &config.os().to_string(),
            &config.architecture().to_string(),
            config.variant().as_deref(),
        )
    })
}
