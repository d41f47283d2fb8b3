//! Downloading a blob in spite of bad lines: what has come is kept, and the rest is asked for again.
//!
//! A download reads like a file. Behind it, a broken connection is made anew with a `Range` from where it broke
//! (RFC 9110, section 14), and every byte also goes into a partial file, from which the next process goes on if this
//! one is killed. Nothing here is trusted: whoever reads to the end verifies the digest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;

use anyhow::{Context, Result, ensure};

use crate::digest::{Digest, Hasher};
use crate::http::Body;
use crate::registry::Registry;

/// A blob on its way.
pub struct Download<'a> {
    registry: &'a Registry,
    digest: Digest,
    size: u64,
    /// Where the next byte belongs.
    position: u64,
    /// The partial file, and how many bytes of it are still to be replayed.
    partial: Option<(File, u64)>,
    body: Option<Body>,
    /// Failures in a row without a byte in between that counts.
    failures: u32,
    since_failure: u64,
}

/// This many bytes between two failures make up for the first.
const FORGIVEN_AFTER: u64 = 64 << 10;

impl<'a> Download<'a> {
    /// A blob that is not kept on disk.
    pub fn new(registry: &'a Registry, digest: Digest, size: u64) -> Download<'a> {
        Download {
            registry,
            digest,
            size,
            position: 0,
            partial: None,
            body: None,
            failures: 0,
            since_failure: 0,
        }
    }

    /// A blob that goes on from the partial file at `path`, which is made if it is not there.
    pub fn resume(
        registry: &'a Registry,
        digest: Digest,
        size: u64,
        path: &Path,
    ) -> Result<Download<'a>> {
        let file = fs_err::OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        let mut have = file.metadata()?.len();
        if have > size {
            file.set_len(0)?;
            have = 0;
        }
        let (file, _) = file.into_parts();
        Ok(Download {
            partial: Some((file, have)),
            ..Download::new(registry, digest, size)
        })
    }

    fn read_network(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(body) = &mut self.body else {
                let body = self.registry.blob(&self.digest, self.position);
                self.body = Some(body.map_err(|e| io::Error::other(format!("{e:#}")))?);
                continue;
            };
            let failure = match body.read(buf) {
                Ok(0) if self.position < self.size => io::Error::from(io::ErrorKind::UnexpectedEof),
                Ok(n) => {
                    self.since_failure += n as u64;
                    return Ok(n);
                }
                // Everything has come; how the connection ends is of no interest.
                Err(_) if self.position >= self.size => return Ok(0),
                Err(e) => e,
            };
            self.body = None;
            if self.since_failure >= FORGIVEN_AFTER {
                self.failures = 0;
            }
            (self.failures, self.since_failure) = (self.failures + 1, 0);
            let patience = self.registry.patience();
            if self.failures >= patience.attempts {
                let (at, size) = (self.position, self.size);
                let text = format!(
                    "the transfer of {} broke at byte {at} of {size}: {failure}",
                    self.digest
                );
                return Err(io::Error::other(text));
            }
            sleep(patience.pause * (1 << self.failures.min(5)));
        }
    }
}

impl Read for Download<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some((file, left @ 1..)) = &mut self.partial {
            let want = buf.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            // The file is opened for appending, so reading from its start does not disturb writing at its end.
            let n = file.read(&mut buf[..want])?;
            if n == 0 {
                return Err(io::Error::other(
                    "the partial download shrank while it was read",
                ));
            }
            *left -= n as u64;
            self.position += n as u64;
            return Ok(n);
        }
        if self.position == self.size && self.body.is_none() {
            return Ok(0);
        }
        let n = self.read_network(buf)?;
        if let Some((file, _)) = &mut self.partial {
            file.write_all(&buf[..n])?;
        }
        self.position += n as u64;
        Ok(n)
    }
}

/// The directory of partial downloads.
pub struct Partials {
    directory: PathBuf,
}

impl Partials {
    /// In this directory, which is made if it is not there.
    pub fn new(directory: &Path) -> Result<Partials> {
        fs_err::create_dir_all(directory)?;
        Ok(Partials {
            directory: directory.to_owned(),
        })
    }

    /// The file for a blob.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }

    /// Forgets a blob.
    pub fn forget(&self, digest: &Digest) {
        let _ = fs_err::remove_file(self.path(digest));
    }

    /// After a failure: deletes the file if it holds as many bytes as it should but not the right ones. Then true,
    /// and a fresh start may help.
    pub fn forget_if_bad(&self, digest: &Digest, size: u64) -> bool {
        match self.check(digest, size) {
            Ok(()) => false,
            Err(_) => {
                self.forget(digest);
                true
            }
        }
    }

    fn check(&self, digest: &Digest, size: u64) -> Result<()> {
        let Ok(mut file) = fs_err::File::open(self.path(digest)) else {
            return Ok(());
        };
        if file.metadata()?.len() < size {
            return Ok(());
        }
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 128 << 10];
        loop {
            match file
                .read(&mut buffer)
                .context("cannot read a partial download")?
            {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        ensure!(hasher.finish() == *digest, "digest mismatch");
        Ok(())
    }
}
