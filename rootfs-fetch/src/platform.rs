//! Platforms: one name, an image for each kind of machine; here the right one is chosen. Pure.
//!
//! An index ("manifest list" in Docker's words) lists manifests with the platform each was built for.
//! OCI image-spec, image-index.md.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};
use oci_spec::image::{Descriptor, Platform as OciPlatform};

use crate::text::escape;

/// Operating system, processor architecture (in Go's words: `amd64`, `arm64`) and its variant (`v7`), if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, `arm`, `386`, `riscv64`, ...
    pub architecture: String,
    /// `v8`, `v7`, ...; only ARM uses it much.
    pub variant: Option<String>,
}

impl Platform {
    /// The platform this program runs on.
    pub fn host() -> Platform {
        normal("linux", std::env::consts::ARCH, None)
    }

    /// The entry of an index that suits this platform best.
    ///
    /// # Errors
    /// When there is none; the text lists which platforms there are.
    pub fn choose<'a>(&self, manifests: &'a [Descriptor]) -> Result<&'a Descriptor> {
        let best = manifests
            .iter()
            .enumerate()
            .filter_map(|(n, d)| Some((self.rank(&d.platform().as_ref().map(from_oci)?)?, n, d)))
            .min_by_key(|(rank, n, _)| (*rank, *n));
        if let Some((_, _, descriptor)) = best {
            return Ok(descriptor);
        }
        // An index whose only entry names no platform means "there is one image".
        if let [only] = manifests
            && only.platform().is_none()
        {
            return Ok(only);
        }
        let mut offered: Vec<String> = manifests
            .iter()
            .filter_map(|d| d.platform().as_ref())
            .map(|p| from_oci(p).to_string())
            .filter(|p| !p.starts_with("unknown/"))
            .collect();
        offered.dedup();
        let more = offered.len().saturating_sub(12);
        offered.truncate(12);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let offered = if offered.is_empty() {
            "none".to_owned()
        } else {
            escape(&offered.join(", "))
        };
        bail!(
            "no matching manifest for {self} in the manifest list entries; there are: {offered}{more}"
        )
    }

    /// Whether an image configuration made for `os`/`architecture`/`variant` suits.
    pub fn suits(&self, os: &str, architecture: &str, variant: Option<&str>) -> bool {
        self.rank(&normal(os, architecture, variant)).is_some()
    }

    /// How well `other` suits: 0 is best, `None` not at all.
    fn rank(&self, other: &Platform) -> Option<u32> {
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        let number = |v: &Option<String>, default| match v {
            None => Some(default),
            Some(v) => v.strip_prefix('v').and_then(|v| v.parse::<u32>().ok()),
        };
        let default = match self.architecture.as_str() {
            "arm" => 7,
            "arm64" => 8,
            _ => 1,
        };
        match (
            number(&self.variant, default),
            number(&other.variant, default),
        ) {
            // A processor also runs what was built for its predecessors, best the nearest.
            (Some(mine), Some(theirs)) => mine.checked_sub(theirs),
            _ => (self.variant == other.variant).then_some(0),
        }
    }
}

impl FromStr for Platform {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Platform> {
        let parts: Vec<&str> = text.split('/').collect();
        let shown = escape(text);
        let word = |p: &&str| {
            !p.is_empty()
                && p.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        ensure!(
            parts.iter().all(word),
            "invalid platform \"{shown}\": write it as linux/arm64/v8"
        );
        match parts[..] {
            ["linux"] => Ok(Platform::host()),
            [architecture] => Ok(normal("linux", architecture, None)),
            [os, architecture] => Ok(normal(os, architecture, None)),
            [os, architecture, variant] => Ok(normal(os, architecture, Some(variant))),
            _ => bail!("invalid platform \"{shown}\": write it as linux/arm64/v8"),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

fn from_oci(platform: &OciPlatform) -> Platform {
    normal(
        &platform.os().to_string(),
        &platform.architecture().to_string(),
        platform.variant().as_deref(),
    )
}

/// One spelling for each machine: what Rust, uname(2) and old images say becomes what Go says.
fn normal(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
    let lower = architecture.to_ascii_lowercase();
    let variant = variant
        .filter(|v| !v.is_empty())
        .map(str::to_ascii_lowercase);
    let (architecture, variant) = match lower.as_str() {
        "x86_64" | "x86-64" | "amd64" => ("amd64", variant.filter(|v| v != "v1")),
        "aarch64" | "arm64" => ("arm64", variant.filter(|v| v != "v8" && v != "8")),
        "armhf" => ("arm", Some("v7".to_owned())),
        "armel" => ("arm", Some("v6".to_owned())),
        "arm" => ("arm", Some(variant.unwrap_or_else(|| "v7".to_owned()))),
        "x86" | "i386" | "i686" => ("386", variant),
        "powerpc64le" => ("ppc64le", variant),
        "loongarch64" => ("loong64", variant),
        other => (other, variant),
    };
    Platform {
        os: os.to_ascii_lowercase(),
        architecture: architecture.to_owned(),
        variant,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        let entry = |(n, p): (usize, &&str)| {
            let parts: Vec<&str> = p.split('/').collect();
            let mut platform = serde_json::json!({"os": parts[0], "architecture": parts[1]});
            if let Some(v) = parts.get(2) {
                platform["variant"] = (*v).into();
            }
            serde_json::from_value(serde_json::json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": format!("sha256:{:064x}", n), "size": n, "platform": platform}))
            .unwrap()
        };
        platforms.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn the_best_entry_is_chosen() {
        let all = index(&[
            "unknown/unknown",
            "linux/arm/v6",
            "linux/arm/v7",
            "linux/arm64/v8",
            "linux/amd64",
            "linux/386",
            "windows/amd64",
            "linux/amd64/v3",
        ]);
        for (want, place) in [
            ("linux/amd64", 4),
            ("amd64", 4),
            ("x86_64", 4),
            ("linux/arm64", 3),
            ("linux/arm64/v8", 3),
            ("linux/arm", 2),
            ("linux/arm/v6", 1),
            ("linux/arm/v8", 2),
            ("linux/386", 5),
            ("windows/amd64", 6),
            ("linux/amd64/v3", 7),
            ("linux/amd64/v2", 4),
        ] {
            let chosen = want.parse::<Platform>().unwrap();
            assert_eq!(chosen.choose(&all).unwrap().size(), place, "{want}");
        }
    }

    #[test]
    fn none_lists_what_there_is() {
        let all = index(&["linux/amd64", "linux/arm/v7", "unknown/unknown"]);
        let error = "linux/s390x"
            .parse::<Platform>()
            .unwrap()
            .choose(&all)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("linux/s390x") && error.contains("linux/amd64, linux/arm/v7"),
            "{error}"
        );
        assert!(!error.contains("unknown/"), "{error}");
    }

    #[test]
    fn bad_platforms_are_refused() {
        for bad in ["", "/", "linux/", "a/b/c/d", "linux/am d64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
        assert_eq!(
            "linux/aarch64".parse::<Platform>().unwrap().to_string(),
            "linux/arm64"
        );
    }
}
