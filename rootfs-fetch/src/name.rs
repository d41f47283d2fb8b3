//! Image names: `[registry/]repository[:tag][@digest]`, read as Docker reads them.
//!
//! `alpine` is short for `docker.io/library/alpine:latest`. The first part is a registry only if it holds a `.` or
//! a `:` or is `localhost`; that is the whole rule. Parsed by hand, not by the usual regular expression, because
//! compiling that takes a good part of the time in which a container starts.
//! Distribution reference grammar: github.com/distribution/reference.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};

use crate::digest::Digest;
use crate::text::escape;

/// The registry meant when a name has none.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// A parsed image name, complete: what was left out has its default.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageName {
    /// Host and port, as in `docker.io` or `localhost:5000`.
    pub registry: String,
    /// Path inside the registry, as in `library/alpine`.
    pub repository: String,
    /// The tag; `latest` if neither a tag nor a digest was given.
    pub tag: Option<String>,
    /// The digest of the manifest, when the name pins one. It wins over the tag.
    pub digest: Option<Digest>,
}

impl ImageName {
    /// The short form that Docker shows: `alpine:latest`, `user/app:1`, `quay.io/a/b:1`.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_repository(), self.suffix())
    }

    /// The short form without tag and digest: `alpine`.
    pub fn familiar_repository(&self) -> String {
        match (
            self.registry.as_str(),
            self.repository.strip_prefix("library/"),
        ) {
            (DEFAULT_REGISTRY, Some(rest)) if !rest.contains('/') => rest.to_owned(),
            // `docker.io/quay.io/app` without its registry would mean another one.
            (DEFAULT_REGISTRY, _)
                if !self
                    .repository
                    .split_once('/')
                    .is_some_and(|(first, _)| is_registry(first)) =>
            {
                self.repository.clone()
            }
            (registry, _) => format!("{registry}/{}", self.repository),
        }
    }

    /// The full form, unambiguous and used as a key: `docker.io/library/alpine:latest`.
    pub fn canonical(&self) -> String {
        format!("{}/{}{}", self.registry, self.repository, self.suffix())
    }

    /// What is asked of the registry: the digest if there is one, else the tag.
    pub fn reference(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same repository, pinned to `digest` without a tag.
    pub fn with_digest(&self, digest: Digest) -> ImageName {
        ImageName {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    fn suffix(&self) -> String {
        let tag = self
            .tag
            .as_ref()
            .map(|t| format!(":{t}"))
            .unwrap_or_default();
        let digest = self
            .digest
            .as_ref()
            .map(|d| format!("@{d}"))
            .unwrap_or_default();
        tag + &digest
    }
}

impl FromStr for ImageName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<ImageName> {
        let shown = escape(text);
        let invalid = |why: &str| anyhow::anyhow!("invalid reference format: \"{shown}\": {why}");
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(digest.parse().map_err(|e| invalid(&format!("{e}")))?),
            ),
            None => (text, None),
        };
        // A colon after the last slash starts the tag; one before it belongs to a registry's port.
        let path_start = rest.rfind('/').map_or(0, |i| i + 1);
        let (name, tag) = match rest[path_start..].rfind(':') {
            Some(i) => (&rest[..path_start + i], Some(&rest[path_start + i + 1..])),
            None => (rest, None),
        };
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if is_registry(first) => (normal_registry(first), rest.to_owned()),
            _ => (DEFAULT_REGISTRY.to_owned(), name.to_owned()),
        };
        let repository = match registry.as_str() {
            DEFAULT_REGISTRY if !repository.contains('/') => format!("library/{repository}"),
            _ => repository,
        };
        check_registry(&registry).map_err(|e| invalid(&format!("{e}")))?;
        check_repository(&repository).map_err(|e| invalid(&format!("{e}")))?;
        if let Some(tag) = tag {
            check_tag(tag).map_err(|e| invalid(&format!("{e}")))?;
        }
        if digest.is_none()
            && tag.is_none()
            && name.len() == 64
            && name.bytes().all(|b| b.is_ascii_hexdigit())
        {
            return Err(invalid(
                "a name cannot be 64 hex digits, that is an image id",
            ));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(ImageName {
            registry,
            repository,
            tag,
            digest,
        })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar())
    }
}

fn is_registry(first: &str) -> bool {
    // An upper-case letter is not allowed in a repository, so it can only be a host; Docker reads it so, too.
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn normal_registry(host: &str) -> String {
    match host {
        "index.docker.io" => DEFAULT_REGISTRY.to_owned(),
        host => host.to_owned(),
    }
}

fn check_registry(registry: &str) -> Result<()> {
    let (host, port) = match registry.strip_prefix('[').and_then(|r| r.split_once(']')) {
        Some((address, port)) => {
            ensure!(
                address.parse::<std::net::Ipv6Addr>().is_ok(),
                "the registry is not an IPv6 address"
            );
            ensure!(
                port.is_empty() || port.starts_with(':'),
                "only a port may follow the registry's IPv6 address"
            );
            ("v6", port.strip_prefix(':'))
        }
        None => registry
            .split_once(':')
            .map_or((registry, None), |(host, port)| (host, Some(port))),
    };
    if let Some(port) = port {
        ensure!(
            port.parse::<u16>().is_ok() && !port.starts_with('+'),
            "the registry's port is not a number"
        );
    }
    let good = |label: &str| {
        let bytes = label.as_bytes();
        !label.is_empty()
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
            && bytes[0] != b'-'
            && bytes[bytes.len() - 1] != b'-'
    };
    ensure!(
        host.len() <= 255 && host.split('.').all(good),
        "the registry is not a host name"
    );
    Ok(())
}

fn check_repository(repository: &str) -> Result<()> {
    ensure!(
        repository.len() <= 255,
        "a repository has at most 255 characters"
    );
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        bail!("repository name must be lowercase");
    }
    for part in repository.split('/') {
        let bytes = part.as_bytes();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        ensure!(
            !part.is_empty()
                && bytes
                    .iter()
                    .all(|b| plain(*b) || matches!(b, b'.' | b'_' | b'-')),
            "a repository consists of lower-case letters, digits, '.', '_', '-' and '/'"
        );
        ensure!(
            plain(bytes[0]) && plain(bytes[bytes.len() - 1]),
            "each part must begin and end with a letter or digit"
        );
        // Separators are one '.', one or two '_', or any number of '-'.
        for run in part
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .filter(|r| !r.is_empty())
        {
            let good = run == "." || run == "_" || run == "__" || run.bytes().all(|b| b == b'-');
            ensure!(good, "\"{run}\" cannot stand between letters");
        }
    }
    Ok(())
}

fn check_tag(tag: &str) -> Result<()> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    ensure!(
        !bytes.is_empty()
            && bytes.len() <= 128
            && word(bytes[0])
            && bytes.iter().all(|b| word(*b) || matches!(b, b'.' | b'-')),
        "a tag has 1 to 128 letters, digits, '_', '.', '-', and does not begin with '.' or '-'"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_docker_reads_them() {
        let sha = format!("sha256:{}", "a".repeat(64));
        let table: &[(&str, &str, &str)] = &[
            ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("alpine:3", "docker.io/library/alpine:3", "alpine:3"),
            (
                "docker.io/alpine",
                "docker.io/library/alpine:latest",
                "alpine:latest",
            ),
            (
                "index.docker.io/library/alpine",
                "docker.io/library/alpine:latest",
                "alpine:latest",
            ),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            (
                "docker.io/quay.io/app",
                "docker.io/quay.io/app:latest",
                "docker.io/quay.io/app:latest",
            ),
            (
                "docker.io/localhost/app",
                "docker.io/localhost/app:latest",
                "docker.io/localhost/app:latest",
            ),
            (
                "library/foo/bar",
                "docker.io/library/foo/bar:latest",
                "library/foo/bar:latest",
            ),
            (
                "localhost/app",
                "localhost/app:latest",
                "localhost/app:latest",
            ),
            (
                "localhost:5000/app:1",
                "localhost:5000/app:1",
                "localhost:5000/app:1",
            ),
            (
                "quay.io/a/b-c__d",
                "quay.io/a/b-c__d:latest",
                "quay.io/a/b-c__d:latest",
            ),
            (
                "127.0.0.1:5/x",
                "127.0.0.1:5/x:latest",
                "127.0.0.1:5/x:latest",
            ),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
            ("host:5000", "docker.io/library/host:5000", "host:5000"),
            (
                &format!("alpine@{sha}"),
                &format!("docker.io/library/alpine@{sha}"),
                &format!("alpine@{sha}"),
            ),
            (
                &format!("alpine:3@{sha}"),
                &format!("docker.io/library/alpine:3@{sha}"),
                &format!("alpine:3@{sha}"),
            ),
        ];
        for (text, canonical, familiar) in table {
            let name: ImageName = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(name.canonical(), *canonical, "{text}");
            assert_eq!(name.familiar(), *familiar, "{text}");
            assert_eq!(
                name.canonical().parse::<ImageName>().unwrap(),
                name,
                "canonical form reads back"
            );
            assert_eq!(
                name.familiar().parse::<ImageName>().unwrap(),
                name,
                "familiar form reads back"
            );
        }
    }

    #[test]
    fn bad_names_say_why() {
        for bad in [
            "",
            "Alpine",
            "a//b",
            "/a",
            "a/",
            "a:",
            "a:-x",
            "a@sha256:12",
            "a@md5:x",
            "a b",
            "a\nb",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "../a",
            "host.io/../x",
            "h.io:99999/x",
            "h_.io/x",
            &"a".repeat(64),
            &"a".repeat(300),
            &format!("a:{}", "t".repeat(129)),
            "[::g]:1/x",
            "[::1]x:5000/x",
            "[::1]\u{1b}:5000/x",
            "[::1]]/x",
            "a:b:c",
            "https://docker.io/alpine",
        ] {
            let error = bad.parse::<ImageName>().expect_err(bad).to_string();
            assert!(
                error.starts_with("invalid reference format"),
                "{bad}: {error}"
            );
        }
    }
}
