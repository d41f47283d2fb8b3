//! Installing: layers from any source become an image in the store.
//!
//! Layers are fetched and unpacked two at a time, each on its own; then, from the bottom up, each is settled on those
//! below and renamed into place. At the end everything is synced once and the image gets its name.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::documents::{Described, LayerBlob};
use crate::layer::{self, Layout, Limits, Unpacked};
use crate::progress::{LayerProgress, Progress};
use crate::root::remove_tree;
use crate::store::{Image, Index, Record, Store, make_private};

/// Where the bytes of layers come from.
pub(crate) trait Source: Sync {
    /// The blob of a layer; reading it to the end verifies what the documents say about it.
    fn open<'a>(&'a self, layer: &LayerBlob) -> Result<Box<dyn Read + Send + 'a>>;
    /// Something went wrong with it: true if a fresh start may help.
    fn failed(&self, layer: &LayerBlob) -> bool;
    /// It is unpacked and will not be asked for again.
    fn done(&self, layer: &LayerBlob);
}

/// Brings one described image into the store. The caller holds the layers' lock.
pub(crate) struct Install<'a> {
    pub(crate) store: &'a Store,
    pub(crate) source: &'a dyn Source,
    pub(crate) progress: &'a Progress,
    pub(crate) limits: Limits,
}

/// `layer.json`: what lies in the directory beside it.
#[derive(Serialize, Deserialize)]
struct LayerRecord {
    chain_id: Digest,
    diff_id: Digest,
    size: u64,
    /// The boot in which it was written: until an image uses it, it may not have been synced, and after a power cut
    /// its files could be empty.
    boot: String,
}

/// Layers unpacked side by side: as many as there are processors on a small machine.
const WORKERS: usize = 2;

impl Install<'_> {
    pub(crate) fn run(
        &self,
        image: &Described,
        names: &[String],
        pinned: Option<String>,
    ) -> Result<Image> {
        let mut sizes = Vec::new();
        let mut missing = Vec::new();
        let index = Index::read(self.store.dir())?;
        for (n, layer) in image.layers.iter().enumerate() {
            match self.existing(&index, layer) {
                Some(size) => {
                    self.progress
                        .layer(short(layer), None)
                        .finish("Already exists");
                    sizes.push(size);
                }
                None => {
                    missing.push(n);
                    sizes.push(0);
                }
            }
        }
        if !missing.is_empty() {
            self.store.sweep_old()?;
            let tmp = self.store.dir().join("tmp");
            remove_tree(&tmp)?;
            make_private(&tmp)?;
            make_private(&self.store.dir().join("layers"))?;
            let fetched = self.fetch(image, &missing, &mut sizes);
            let cleaned = remove_tree(&tmp);
            fetched?;
            cleaned?;
        }
        self.commit(image, names, pinned, sizes.iter().sum())
    }

    /// The size of a layer that is here and can be relied on.
    fn existing(&self, index: &Index, layer: &LayerBlob) -> Option<u64> {
        let record = layer_record(&self.store.layer_dir(&layer.chain_id))?;
        let reliable = index.uses(&layer.chain_id) || record.boot == boot_id();
        (record.chain_id == layer.chain_id
            && reliable
            && self.store.layer_fs(&layer.chain_id).is_dir())
        .then_some(record.size)
    }

    /// Fetches and unpacks in worker threads, settles here, bottom up.
    fn fetch(&self, image: &Described, missing: &[usize], sizes: &mut [u64]) -> Result<()> {
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..WORKERS.min(missing.len()) {
                let (sender, next, stop) = (sender.clone(), &next, &stop);
                scope.spawn(move || {
                    while let Some(n) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let done = self.unpack(&image.layers[*n], *n, stop);
                        let failed = done.is_err();
                        if sender.send((*n, done)).is_err() || failed {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let settled = self.settle_in_order(image, missing, sizes, &receiver);
            if settled.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            settled
        })
    }

    fn settle_in_order<'p>(
        &'p self,
        image: &Described,
        missing: &[usize],
        sizes: &mut [u64],
        receiver: &mpsc::Receiver<(usize, Result<(Unpacked, LayerProgress<'p>)>)>,
    ) -> Result<()> {
        let mut waiting = std::collections::BTreeMap::new();
        let mut turn = missing.iter();
        let mut now = turn.next();
        while let Some(n) = now {
            let Some((unpacked, progress)) = waiting.remove(n) else {
                let (n, done) = receiver
                    .recv()
                    .map_err(|_| anyhow!("a worker thread failed"))?;
                waiting.insert(
                    n,
                    done.with_context(|| format!("layer {}", short(&image.layers[n])))?,
                );
                continue;
            };
            let unpacked: Unpacked = unpacked;
            sizes[*n] = unpacked.size;
            self.settle(image, *n, unpacked)
                .with_context(|| format!("layer {}", short(&image.layers[*n])))?;
            LayerProgress::finish(progress, "Pull complete");
            now = turn.next();
        }
        Ok(())
    }

    fn unpack(
        &self,
        layer: &LayerBlob,
        n: usize,
        stop: &AtomicBool,
    ) -> Result<(Unpacked, LayerProgress<'_>)> {
        match self.unpack_once(layer, n, stop) {
            Err(_) if self.source.failed(layer) => {
                // An earlier pull may have left a bad download, so from the start once more.
                remove_tree(&self.staging(n))?;
                self.unpack_once(layer, n, stop).inspect_err(|_| {
                    self.source.failed(layer);
                })
            }
            other => other,
        }
    }

    fn unpack_once(
        &self,
        layer: &LayerBlob,
        n: usize,
        stop: &AtomicBool,
    ) -> Result<(Unpacked, LayerProgress<'_>)> {
        let fs = self.staging(n).join("fs");
        fs_err::create_dir_all(&fs)?;
        let size = layer.blob.as_ref().map(|(_, size)| *size);
        let progress = self.progress.layer(short(layer), size);
        let blob = Watched {
            inner: self.source.open(layer)?,
            progress: &progress,
            stop,
        };
        let unpacked = layer::unpack(blob, &fs, Layout::Overlay, self.limits, size)?;
        ensure!(
            unpacked.diff_id == layer.diff_id,
            "the layer's content has digest {}, but the image's configuration says {}",
            unpacked.diff_id,
            layer.diff_id
        );
        Ok((unpacked, progress))
    }

    fn settle(&self, image: &Described, n: usize, unpacked: Unpacked) -> Result<()> {
        let layer = &image.layers[n];
        let lowers: Vec<PathBuf> = image.layers[..n]
            .iter()
            .rev()
            .map(|l| self.store.layer_fs(&l.chain_id))
            .collect();
        let record = LayerRecord {
            chain_id: layer.chain_id.clone(),
            diff_id: layer.diff_id.clone(),
            size: unpacked.size,
            boot: boot_id(),
        };
        for warning in unpacked.settle(&lowers)? {
            self.progress.warning(&warning);
        }
        let (staging, target) = (self.staging(n), self.store.layer_dir(&layer.chain_id));
        fs_err::write(
            staging.join("layer.json"),
            serde_json::to_vec_pretty(&record)?,
        )?;
        remove_tree(&target)?;
        fs_err::rename(&staging, &target)?;
        self.source.done(layer);
        Ok(())
    }

    /// Makes the image visible: the one rename that counts.
    fn commit(
        &self,
        image: &Described,
        names: &[String],
        pinned: Option<String>,
        size: u64,
    ) -> Result<Image> {
        let (store, id) = (self.store, image.id());
        let _lock = store.lock()?;
        let mut index = Index::read(store.dir())?;
        make_private(&store.dir().join("configs"))?;
        fs_err::write(store.config_path(&id), &image.config_bytes)?;
        if index.by_id(&id).is_none() {
            let layers = image.layers.iter().map(|l| l.chain_id.clone()).collect();
            index.images.push(Record {
                id: id.clone(),
                names: vec![],
                digests: vec![],
                layers,
                size,
            });
        }
        for name in names {
            index.add_name(&id, name);
        }
        let Some(record) = index.by_id(&id) else {
            bail!("image {id} is not in the index")
        };
        record
            .digests
            .extend(pinned.filter(|p| !record.digests.contains(p)));
        let record = record.clone();
        // Before an image is promised, everything that belongs to it must be on the disk.
        index.write_last(store.dir())?;
        store.image(&record)
    }

    fn staging(&self, n: usize) -> PathBuf {
        self.store.dir().join("tmp").join(n.to_string())
    }
}

/// Bytes in the files of the layer in `directory`.
pub(crate) fn layer_size(directory: &Path) -> Option<u64> {
    layer_record(directory).map(|record| record.size)
}

fn layer_record(directory: &Path) -> Option<LayerRecord> {
    let bytes = fs_err::read(directory.join("layer.json")).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The short name of a layer in what is printed: its blob's digest, as with Docker.
pub(crate) fn short(layer: &LayerBlob) -> &str {
    layer
        .blob
        .as_ref()
        .map_or(layer.diff_id.short(), |(digest, _)| digest.short())
}

fn boot_id() -> String {
    let id = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Counts what passes, and ends early when another layer has failed.
struct Watched<'a, R> {
    inner: R,
    progress: &'a LayerProgress<'a>,
    stop: &'a AtomicBool,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("given up, because another layer failed"));
        }
        let n = self.inner.read(buf)?;
        self.progress.add(n as u64);
        Ok(n)
    }
}
