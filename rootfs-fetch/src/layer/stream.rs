//! Streams: from compressed blob to tar bytes, decompressed in a thread of its own.
//!
//! Decompressing keeps one processor busy, hashing the plain bytes and making files another, so they are two threads
//! with a short queue between them: memory stays flat however big the layer is. Which compression it is, the first
//! bytes say; a media type can lie. RFC 1952 (gzip), RFC 8878 (zstd).

use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::digest::{Digest, Hasher};

const CHUNK: usize = 256 << 10;
const QUEUE: usize = 8;

/// Decompresses `blob` if it is compressed, hands the plain bytes to `consume`, and returns what that returned with
/// the digest of *all* plain bytes (the diff_id), also of those `consume` did not want.
///
/// # Errors
/// A damaged stream, more than `limit` plain bytes, and errors of `consume`.
pub fn decompressed<T>(
    blob: impl Read + Send,
    limit: u64,
    consume: impl FnOnce(&mut Chunks) -> Result<T>,
) -> Result<(T, Digest)> {
    let (sender, receiver) = sync_channel(QUEUE);
    let doubted = AtomicBool::new(false);
    thread::scope(|scope| {
        let producer = scope.spawn(|| produce(blob, limit, sender, &doubted));
        let mut chunks = Chunks {
            receiver: Some(receiver),
            chunk: Vec::new(),
            read: 0,
            hasher: Hasher::default(),
        };
        let consumed = consume(&mut chunks);
        if consumed.is_ok() {
            // What follows the end of the archive is part of the digest all the same.
            while chunks.next_chunk() {}
        }
        // Nonsense in the archive is usually a blob that is not what was asked for, which its digest tells;
        // a full disk is no reason to go on reading.
        let nonsense = |error: &anyhow::Error| !error.chain().any(comes_from_the_system);
        doubted.store(consumed.as_ref().is_err_and(nonsense), Ordering::Release);
        let digest = chunks.hang_up();
        match (producer.join(), consumed) {
            (Ok(Ok(Plain::All)), Ok(value)) => Ok((value, digest)),
            // The damage in the stream is the cause, whatever the consumer made of it.
            (Ok(Err(error)), _) => Err(error),
            (_, Err(error)) => Err(error),
            _ => bail!("the decompressing thread failed"),
        }
    })
}

/// Decompresses from a reader, as the first bytes tell.
pub fn decoder<'a>(blob: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let mut blob = BufReader::with_capacity(64 << 10, blob);
    let start = blob.fill_buf()?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::with_buffer(blob)?),
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(zstd::stream::read::Decoder::with_buffer(blob)?)
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            bail!("the archive is compressed with xz, which images may not use; unpack it first")
        }
        [b'B', b'Z', b'h', ..] => {
            bail!("the archive is compressed with bzip2, which images may not use; unpack it first")
        }
        _ => Box::new(blob),
    })
}

/// The consumer's end: the plain bytes.
pub struct Chunks {
    receiver: Option<Receiver<Vec<u8>>>,
    chunk: Vec<u8>,
    read: usize,
    hasher: Hasher,
}

impl Chunks {
    fn next_chunk(&mut self) -> bool {
        match self.receiver.as_ref().and_then(|r| r.recv().ok()) {
            Some(chunk) => {
                self.hasher.update(&chunk);
                (self.chunk, self.read) = (chunk, 0);
                true
            }
            None => false,
        }
    }

    /// Wants no more; the digest of all chunks that came.
    fn hang_up(self) -> Digest {
        self.hasher.finish()
    }
}

impl Read for Chunks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.read == self.chunk.len() && !self.next_chunk() {
            return Ok(0);
        }
        let n = buf.len().min(self.chunk.len() - self.read);
        buf[..n].copy_from_slice(&self.chunk[self.read..self.read + n]);
        self.read += n;
        Ok(n)
    }
}

/// Whether an error is the kernel's, such as a full disk, rather than one about the bytes.
fn comes_from_the_system(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    error.is::<nix::errno::Errno>() || io.is_some_and(|error| error.raw_os_error().is_some())
}

/// What became of the plain bytes.
enum Plain {
    /// All were handed on.
    All,
    /// The consumer hung up.
    Unwanted,
    /// The compressed stream is damaged.
    Damaged(io::Error),
}

/// Hands on the plain bytes. A blob of which the bytes make no sense is read to its end all
/// the same, so that a wrong digest is told as what it is.
fn produce(
    mut blob: impl Read,
    limit: u64,
    sender: SyncSender<Vec<u8>>,
    doubted: &AtomicBool,
) -> Result<Plain> {
    let plain = inflate(&mut blob, limit, &sender)?;
    drop(sender);
    let to_the_end = match &plain {
        Plain::All | Plain::Damaged(_) => true,
        Plain::Unwanted => doubted.load(Ordering::Acquire),
    };
    if to_the_end {
        io::copy(&mut blob, &mut io::sink()).context("cannot read the layer")?;
    }
    match plain {
        Plain::Damaged(error) => Err(error).context("cannot read the layer"),
        plain => Ok(plain),
    }
}

fn inflate(blob: &mut impl Read, limit: u64, sender: &SyncSender<Vec<u8>>) -> Result<Plain> {
    let mut total: u64 = 0;
    let mut plain = decoder(blob)?;
    loop {
        let mut chunk = vec![0; CHUNK];
        let mut filled = 0;
        while filled < CHUNK {
            match plain.read(&mut chunk[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if is_about_the_bytes(&error) => return Ok(Plain::Damaged(error)),
                Err(error) => return Err(error).context("cannot read the layer"),
            }
        }
        if filled == 0 {
            return Ok(Plain::All);
        }
        chunk.truncate(filled);
        total += filled as u64;
        if total > limit {
            bail!(
                "the layer inflates to more than {limit} bytes, which looks like a bomb; allow more with the limit on unpacked bytes"
            );
        }
        if sender.send(chunk).is_err() {
            return Ok(Plain::Unwanted);
        }
    }
}

/// Whether a decompressor complains of its input, rather than that the input cannot be read.
fn is_about_the_bytes(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(bytes).unwrap();
        gz.finish().unwrap()
    }

    fn read(blob: &[u8], limit: u64) -> Result<(Vec<u8>, Digest)> {
        decompressed(blob, limit, |chunks| {
            let mut all = Vec::new();
            chunks.read_to_end(&mut all)?;
            Ok(all)
        })
    }

    #[test]
    fn every_member_and_frame_counts_and_the_bytes_decide() {
        let (a, b) = (b"hello ".as_slice(), b"world".as_slice());
        let gz = [gzip(a), gzip(b)].concat();
        let zst = [
            zstd::encode_all(a, 3).unwrap(),
            zstd::encode_all(b, 3).unwrap(),
        ]
        .concat();
        for blob in [gz, zst, b"hello world".to_vec()] {
            let (bytes, digest) = read(&blob, 100).unwrap();
            assert_eq!(bytes, b"hello world");
            assert_eq!(digest, Digest::of(b"hello world"));
        }
    }

    #[test]
    fn damage_and_bombs_are_errors() {
        let mut cut = gzip(&[7; 10_000]);
        cut.truncate(cut.len() - 5);
        assert!(read(&cut, 1 << 20).is_err(), "cut");
        let mut wrong = gzip(&[7; 10_000]);
        let crc = wrong.len() - 6;
        wrong[crc] ^= 1;
        assert!(read(&wrong, 1 << 20).is_err(), "crc");
        let error = read(&gzip(&vec![0; 10 << 20]), 1 << 20)
            .unwrap_err()
            .to_string();
        assert!(error.contains("bomb"), "{error}");
        assert!(read(b"\xfd7zXZ\0", 100).is_err(), "xz");
    }

    #[test]
    fn a_consumer_that_gives_up_does_not_hang_the_producer() {
        let blob = vec![0u8; 30 << 20];
        let error = decompressed(blob.as_slice(), u64::MAX, |_| -> Result<()> {
            bail!("enough")
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "enough");
    }

    #[test]
    fn bytes_nobody_reads_are_hashed() {
        let (_, digest) = decompressed(b"rest".as_slice(), 10, |_| Ok(())).unwrap();
        assert_eq!(digest, Digest::of(b"rest"));
    }
}
