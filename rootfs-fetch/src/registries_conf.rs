//! registries.conf: where a registry's images are really to be had, and which registries are blocked or insecure.
//!
//! The file of podman, buildah and others: mirrors, relocation, aliases for short names. Read only when something
//! must be fetched. containers-registries.conf(5), version 2; containers-registries.conf.d(5).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::name::ImageName;
use crate::text::escape;

/// The settings of all files together.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RegistriesConf {
    #[serde(default, rename = "registry")]
    registries: Vec<Registry>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

/// Where to ask for an image, in the order of trying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Host and port.
    pub host: String,
    /// The repository's path there.
    pub repository: String,
    /// Plain http and certificates of strangers are accepted.
    pub security: Security,
    /// The place itself, or a mirror of it.
    pub role: Role,
}

/// How a location is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// https with a certificate that is verified.
    Tls,
    /// Whatever works: https without verification, or plain http.
    Insecure,
}

/// What a location is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The registry that the name means.
    Primary,
    /// A copy of it.
    Mirror,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Registry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: String,
}

impl RegistriesConf {
    /// The system's: `$CONTAINERS_REGISTRIES_CONF` alone, or `/etc/containers/registries.conf` and the files in
    /// `/etc/containers/registries.conf.d`. None of them need exist.
    pub fn system() -> Result<RegistriesConf> {
        if let Some(path) = std::env::var_os("CONTAINERS_REGISTRIES_CONF").filter(|p| !p.is_empty())
        {
            return RegistriesConf::read(&[PathBuf::from(path)]);
        }
        let main = Path::new("/etc/containers/registries.conf");
        let mut paths = vec![main.to_owned()];
        if let Ok(entries) = fs_err::read_dir(main.with_extension("conf.d")) {
            let mut more: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
            more.retain(|p| p.extension().is_some_and(|e| e == "conf"));
            more.sort();
            paths.extend(more);
        }
        paths.retain(|p| p.exists());
        RegistriesConf::read(&paths)
    }

    /// These files, the later ones winning.
    pub fn read(paths: &[PathBuf]) -> Result<RegistriesConf> {
        let mut all = RegistriesConf::default();
        for path in paths {
            let text = fs_err::read_to_string(path)?;
            let next =
                RegistriesConf::parse(&text).with_context(|| format!("in {}", path.display()))?;
            all.merge(next);
        }
        Ok(all)
    }

    /// One file's text.
    pub fn parse(text: &str) -> Result<RegistriesConf> {
        let mut conf: RegistriesConf = toml::from_str(text)?;
        for registry in &mut conf.registries {
            if registry.prefix.is_empty() {
                registry.prefix.clone_from(&registry.location);
            }
            if registry.prefix.is_empty() {
                bail!("a [[registry]] has neither prefix nor location");
            }
        }
        Ok(conf)
    }

    /// The name that `text` is an alias of, if it is a short name with an alias.
    pub fn alias(&self, text: &str, name: &ImageName) -> Result<Option<ImageName>> {
        let short = text.split(['@']).next().unwrap_or(text);
        let short = match short.rfind(':') {
            Some(i) if !short[i..].contains('/') => &short[..i],
            _ => short,
        };
        let Some(target) = self.aliases.get(short) else {
            return Ok(None);
        };
        let real: ImageName = target
            .parse()
            .with_context(|| format!("in the alias for {short}"))?;
        Ok(Some(ImageName {
            tag: name.tag.clone(),
            digest: name.digest.clone(),
            ..real
        }))
    }

    /// Where to ask for `name`: the mirrors, then the place itself.
    ///
    /// # Errors
    /// When the registry is blocked.
    pub fn locations(&self, name: &ImageName) -> Result<Vec<Location>> {
        let full = format!("{}/{}", name.registry, name.repository);
        let best = self
            .registries
            .iter()
            .filter_map(|r| Some((r, r.matched(&full)?)));
        let Some((registry, matched)) =
            best.max_by_key(|(r, _)| (!r.prefix.starts_with("*."), r.prefix.len()))
        else {
            return Ok(vec![location(&full, Security::Tls, Role::Primary)?]);
        };
        if registry.blocked {
            bail!("registry {} is blocked in registries.conf", registry.prefix);
        }
        let rest = &full[matched..];
        let mut found = Vec::new();
        for mirror in &registry.mirror {
            let wanted = match (
                mirror.pull_from_mirror.as_str(),
                registry.mirror_by_digest_only,
            ) {
                ("digest-only", _) | ("", true) => name.digest.is_some(),
                ("tag-only", _) => name.digest.is_none(),
                _ => true,
            };
            if wanted {
                let at = format!("{}{rest}", mirror.location);
                found.push(location(&at, security(mirror.insecure), Role::Mirror)?);
            }
        }
        let at = if registry.location.is_empty() {
            full.clone()
        } else {
            format!("{}{rest}", registry.location)
        };
        found.push(location(&at, security(registry.insecure), Role::Primary)?);
        Ok(found)
    }

    /// The registry `registry` (host and port) itself, wherever its images are really to be had.
    ///
    /// # Errors
    /// It is no registry, as names of images have it: `quay/any/image` would be Docker Hub's.
    pub fn host(&self, registry: &str) -> Result<Location> {
        let name: ImageName = format!("{registry}/any/image").parse()?;
        if name.registry != registry {
            bail!(
                "\"{}\" is no registry: a host with a dot or a port, or localhost",
                escape(registry)
            );
        }
        let full = format!("{}/{}", name.registry, name.repository);
        let own = location(&full, Security::Tls, Role::Primary)?;
        let mut known = self.locations(&name)?.into_iter();
        Ok(known.find(|known| known.host == own.host).unwrap_or(own))
    }

    fn merge(&mut self, later: RegistriesConf) {
        for registry in later.registries {
            self.registries.retain(|r| r.prefix != registry.prefix);
            self.registries.push(registry);
        }
        self.aliases.extend(later.aliases);
    }
}

impl Registry {
    /// How many bytes of `full` the prefix covers, if it fits at a boundary.
    fn matched(&self, full: &str) -> Option<usize> {
        if let Some(suffix) = self.prefix.strip_prefix('*').filter(|s| s.starts_with('.')) {
            let host = full.split('/').next()?;
            return (host.len() > suffix.len() && host.ends_with(suffix)).then_some(host.len());
        }
        let rest = full.strip_prefix(self.prefix.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(self.prefix.len())
    }
}

fn security(insecure: bool) -> Security {
    if insecure {
        Security::Insecure
    } else {
        Security::Tls
    }
}

fn location(at: &str, security: Security, role: Role) -> Result<Location> {
    let Some((host, repository)) = at.split_once('/') else {
        bail!("location \"{at}\" in registries.conf has no repository");
    };
    // Docker Hub's registry does not live under its own name.
    let host = if host == "docker.io" {
        "registry-1.docker.io"
    } else {
        host
    };
    Ok(Location {
        host: host.to_owned(),
        repository: repository.to_owned(),
        security,
        role,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = r#"
        unqualified-search-registries = ["quay.io"]
        [[registry]]
        location = "docker.io"
        [[registry.mirror]]
        location = "mirror.lan:5000/hub"
        insecure = true
        [[registry.mirror]]
        location = "digests.lan"
        pull-from-mirror = "digest-only"
        [[registry]]
        prefix = "bad.io/evil"
        location = "bad.io/evil"
        blocked = true
        [[registry]]
        prefix = "*.corp.example"
        location = "cache.corp/all"
        insecure = true
        [[registry]]
        prefix = "moved.io/old"
        location = "new.io/here"
        [aliases]
        "fedora" = "registry.fedoraproject.org/fedora"
    "#;

    fn places(text: &str) -> Vec<String> {
        let conf = RegistriesConf::parse(CONF).unwrap();
        let all = conf.locations(&text.parse().unwrap()).unwrap();
        all.iter()
            .map(|l| format!("{}/{} {:?}", l.host, l.repository, l.security))
            .collect()
    }

    #[test]
    fn a_registry_itself_is_never_another_one() {
        let conf = RegistriesConf::parse(
            "[[registry]]\nprefix = \"docker.io\"\nlocation = \"else.where:5000\"\n[[registry]]\nlocation = \"in.secure\"\ninsecure = true\n",
        )
        .unwrap();
        for (registry, host, security) in [
            ("docker.io", "registry-1.docker.io", Security::Tls),
            ("in.secure", "in.secure", Security::Insecure),
            ("quay.io", "quay.io", Security::Tls),
            ("localhost:5000", "localhost:5000", Security::Tls),
        ] {
            let found = conf.host(registry).unwrap();
            assert_eq!((found.host.as_str(), found.security), (host, security));
        }
        for wrong in ["quay", "not_a_host", "", "a.b/c", "a b", "index.docker.io"] {
            assert!(conf.host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn mirrors_come_first_and_prefixes_are_rewritten() {
        assert_eq!(
            places("alpine"),
            [
                "mirror.lan:5000/hub/library/alpine Insecure",
                "registry-1.docker.io/library/alpine Tls"
            ]
        );
        let pinned = format!("alpine@sha256:{}", "a".repeat(64));
        assert_eq!(places(&pinned)[1], "digests.lan/library/alpine Tls");
        assert_eq!(places("moved.io/old/x"), ["new.io/here/x Tls"]);
        assert_eq!(
            places("moved.io/older"),
            ["moved.io/older Tls"],
            "only at a boundary"
        );
        assert_eq!(
            places("a.corp.example/x/y"),
            ["cache.corp/all/x/y Insecure"]
        );
        assert_eq!(places("quay.io/a/b"), ["quay.io/a/b Tls"]);
    }

    #[test]
    fn blocked_is_blocked_and_aliases_are_resolved() {
        let conf = RegistriesConf::parse(CONF).unwrap();
        assert!(
            conf.locations(&"bad.io/evil/x".parse().unwrap())
                .unwrap_err()
                .to_string()
                .contains("blocked")
        );
        assert!(conf.locations(&"bad.io/good".parse().unwrap()).is_ok());
        let name = "fedora:40".parse().unwrap();
        let real = conf.alias("fedora:40", &name).unwrap().unwrap();
        assert_eq!(real.canonical(), "registry.fedoraproject.org/fedora:40");
        assert_eq!(
            conf.alias("alpine", &"alpine".parse().unwrap()).unwrap(),
            None
        );
    }

    #[test]
    fn later_files_replace_and_damage_is_told() {
        let mut conf = RegistriesConf::parse(CONF).unwrap();
        conf.merge(
            RegistriesConf::parse("[[registry]]\nlocation = \"docker.io\"\nblocked = true")
                .unwrap(),
        );
        assert!(conf.locations(&"alpine".parse().unwrap()).is_err());
        assert!(RegistriesConf::parse("[[registry]\n").is_err());
        assert!(RegistriesConf::parse("[[registry]]\ninsecure = true").is_err());
    }
}
