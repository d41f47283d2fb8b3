//! Digests: the name of a blob is the SHA-256 of its bytes.
//!
//! Everything an image consists of (manifest, configuration, layers) is named by the hash of its content, so
//! whoever holds the name can tell whether the bytes are the right ones, whoever sent them.
//! OCI image-spec, "Descriptors", section "Digests".

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, written `sha256:` and 64 lower-case hex digits.
///
/// Nothing else parses: the text is used as a file name, so a digest like `sha256:../../etc` must never exist.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The 64 hex digits without the algorithm.
    pub fn hex(&self) -> &str {
        &self.0
    }

    /// The first 12 hex digits, the short form that people read and type.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

/// The ChainID of a layer on top of `below`: it names the layer *and* everything under it.
///
/// `chain(L0) = diff_id(L0)`, `chain(L0..Ln) = sha256(chain(L0..Ln-1) + " " + diff_id(Ln))`.
/// OCI image-spec, config.md, "Layer ChainID".
pub fn chain_id(below: Option<&Digest>, diff_id: &Digest) -> Digest {
    match below {
        None => diff_id.clone(),
        Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
    }
}

/// Computes a digest piece by piece.
#[derive(Default, Clone)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything added.
    pub fn finish(self) -> Digest {
        use fmt::Write;
        let mut hex = String::with_capacity(64);
        for byte in self.0.finalize() {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Digest(hex)
    }
}

/// A reader that checks size and digest while the bytes pass, and fails at the end if they are not as promised.
pub struct Verified<R> {
    inner: R,
    expected: Option<(Digest, u64)>,
    hasher: Hasher,
    seen: u64,
}

impl<R: Read> Verified<R> {
    /// Reads `inner`, which must yield exactly `size` bytes with this `digest`.
    pub fn new(inner: R, digest: Digest, size: u64) -> Self {
        Verified {
            inner,
            expected: Some((digest, size)),
            hasher: Hasher::default(),
            seen: 0,
        }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hasher.update(&buf[..n]);
        self.seen += n as u64;
        let Some((digest, size)) = &self.expected else {
            return Ok(n);
        };
        if self.seen > *size {
            return Err(io::Error::other(format!(
                "{digest} is longer than the {size} bytes declared"
            )));
        }
        if n == 0 && !buf.is_empty() {
            if self.seen < *size {
                let seen = self.seen;
                return Err(io::Error::other(format!(
                    "{digest} has {seen} bytes, {size} were declared"
                )));
            }
            let found = std::mem::take(&mut self.hasher).finish();
            if found != *digest {
                return Err(io::Error::other(format!(
                    "digest mismatch: expected {digest}, got {found}"
                )));
            }
            self.expected = None;
        }
        Ok(n)
    }
}

impl FromStr for Digest {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Digest> {
        let shown = crate::text::escape(text);
        let Some((algorithm, hex)) = text.split_once(':') else {
            bail!("invalid digest \"{shown}\": it must read sha256:<64 hex digits>");
        };
        if algorithm != "sha256" {
            bail!("unsupported digest algorithm in \"{shown}\": only sha256 is known here");
        }
        if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            bail!(
                "invalid digest \"{shown}\": sha256 must be followed by 64 lower-case hex digits"
            );
        }
        Ok(Digest(hex.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = anyhow::Error;
    fn try_from(text: String) -> Result<Digest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strict_sha256_parses() {
        let good = format!("sha256:{}", "0f".repeat(32));
        assert_eq!(good.parse::<Digest>().unwrap().to_string(), good);
        for bad in [
            "",
            "sha256",
            "sha256:",
            "sha256:0f",
            "md5:0f",
            "sha512:00",
            "sha256:../../../etc/passwd",
            &format!("sha256:{}", "0F".repeat(32)),
            &format!("{good}0"),
            &format!("{good}\n"),
            &format!(" {good}"),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn digest_and_chain_are_those_of_the_specification() {
        let empty = Digest::of(b"");
        assert_eq!(empty.short(), "e3b0c44298fc");
        assert_eq!(chain_id(None, &empty), empty);
        assert_eq!(
            chain_id(Some(&empty), &empty),
            Digest::of(format!("{empty} {empty}").as_bytes())
        );
    }

    #[test]
    fn a_wrong_byte_or_length_is_an_error_at_the_end() {
        let digest = Digest::of(b"hello");
        let read = |bytes: &[u8], size| {
            io::copy(
                &mut Verified::new(bytes, digest.clone(), size),
                &mut io::sink(),
            )
        };
        assert_eq!(read(b"hello", 5).unwrap(), 5);
        assert!(
            read(b"hellO", 5)
                .unwrap_err()
                .to_string()
                .contains("digest mismatch")
        );
        assert!(
            read(b"hell", 5)
                .unwrap_err()
                .to_string()
                .contains("4 bytes")
        );
        assert!(
            read(b"hello!", 5)
                .unwrap_err()
                .to_string()
                .contains("longer")
        );
    }
}
