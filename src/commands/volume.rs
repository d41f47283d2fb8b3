//! `-v`, `--mount` and `--tmpfs`: what of the host, or of memory, shows where in the container.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::request::Bind;

/// Bind mounts, and tmpfs mounts with their options.
pub type Mounts = (Vec<Bind>, Vec<(PathBuf, String)>);

/// Reads the three flags.
pub fn mounts(volumes: &[String], mounts: &[String], tmpfs: &[String]) -> Result<Mounts> {
    let mut binds = volumes
        .iter()
        .map(|text| volume(text))
        .collect::<Result<Vec<_>>>()?;
    let mut memory = tmpfs
        .iter()
        .map(|text| tmpfs_flag(text))
        .collect::<Result<Vec<_>>>()?;
    for text in mounts {
        match mount(text)? {
            Either::Bind(bind) => binds.push(bind),
            Either::Tmpfs(path, options) => memory.push((path, options)),
        }
    }
    let targets: Vec<&PathBuf> = binds
        .iter()
        .map(|bind| &bind.target)
        .chain(memory.iter().map(|(path, _)| path))
        .collect();
    for (at, target) in targets.iter().enumerate() {
        if targets[..at].contains(target) {
            bail!("Duplicate mount point: {}", target.display());
        }
    }
    Ok((binds, memory))
}

/// `HOST:CONTAINER[:OPTIONS]`. A directory that the host lacks is made, as Docker does.
fn volume(text: &str) -> Result<Bind> {
    let (source, target, options) = match text.split(':').collect::<Vec<_>>().as_slice() {
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        [target] => return named("", target, vec![]),
        _ => bail!(
            "invalid volume specification: '{text}': invalid spec format, give HOST:CONTAINER[:ro]"
        ),
    };
    if source.is_empty() || target.is_empty() {
        bail!("invalid spec: {text}: empty section between colons");
    }
    if !source.starts_with(['/', '.', '~']) {
        return named(source, target, bind_options(options, text)?);
    }
    let source = std::path::absolute(source)?;
    if !source.exists() {
        fs_err::create_dir_all(&source).with_context(|| {
            format!(
                "error while creating mount source path '{}'",
                source.display()
            )
        })?;
    }
    let options = bind_options(options, text)?;
    if options.iter().any(|word| word == "nocopy") {
        bail!("invalid volume specification: '{text}': nocopy is for named volumes");
    }
    Ok(Bind {
        source,
        target: container_path(target)?,
        options,
        volume: None,
    })
}

/// A volume by its name, or one without.
fn named(name: &str, target: &str, options: Vec<String>) -> Result<Bind> {
    Ok(Bind {
        source: PathBuf::new(),
        target: container_path(target)?,
        options,
        volume: Some(name.to_owned()),
    })
}

fn bind_options(words: &str, text: &str) -> Result<Vec<String>> {
    const KNOWN: &[&str] = &[
        "ro", "rw", "z", "Z", "private", "rprivate", "shared", "rshared", "slave", "rslave",
        "nosuid", "nodev", "noexec", "idmap", "nocopy",
    ];
    let words: Vec<String> = words
        .split(',')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    if let Some(unknown) = words.iter().find(|word| !KNOWN.contains(&word.as_str())) {
        bail!(
            "invalid volume specification: '{text}': invalid mode: {unknown}; known are {}",
            KNOWN.join(", ")
        );
    }
    Ok(words)
}

enum Either {
    Bind(Bind),
    Tmpfs(PathBuf, String),
}

/// `type=bind,source=..,target=..,readonly`, a list of keys as Docker has it.
fn mount(text: &str) -> Result<Either> {
    let (mut kind, mut source, mut target) = ("volume", None, None);
    let mut options = vec![];
    for field in text.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match key.to_lowercase().as_str() {
            "type" => kind = value,
            "source" | "src" => source = Some(value),
            "target" | "dst" | "destination" => target = Some(value),
            "readonly" | "ro" => match value {
                "" | "true" | "1" => options.push("ro".to_owned()),
                "false" | "0" => (),
                _ => bail!("invalid value for {key}: {value}"),
            },
            "volume-nocopy" => options.push("nocopy".to_owned()),
            "bind-propagation" => options.push(value.to_owned()),
            "tmpfs-size" => options.push(format!("size={value}")),
            "tmpfs-mode" => options.push(format!("mode={value}")),
            _ => bail!("unexpected key '{key}' in '{field}'"),
        }
    }
    let target = container_path(target.context("target is required")?)?;
    match kind {
        "bind" => {
            let source = PathBuf::from(source.context(
                "invalid mount config for type \"bind\": field Source must not be empty",
            )?);
            if !source.is_absolute() {
                bail!(
                    "invalid mount config for type \"bind\": invalid mount path: '{}' mount path must be absolute",
                    source.display()
                );
            }
            if !source.exists() {
                bail!(
                    "invalid mount config for type \"bind\": bind source path does not exist: {}",
                    source.display()
                );
            }
            Ok(Either::Bind(Bind {
                source,
                target,
                options: bind_options(&options.join(","), text)?,
                volume: None,
            }))
        }
        "volume" => {
            let options = bind_options(&options.join(","), text)?;
            Ok(Either::Bind(Bind {
                source: PathBuf::new(),
                target,
                options,
                volume: Some(source.unwrap_or_default().to_owned()),
            }))
        }
        "tmpfs" => Ok(Either::Tmpfs(target, options.join(","))),
        other => bail!(
            "mount type {other:?} is not known here: use type=bind, type=volume or type=tmpfs"
        ),
    }
}

fn tmpfs_flag(text: &str) -> Result<(PathBuf, String)> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    Ok((container_path(path)?, options.to_owned()))
}

fn container_path(text: &str) -> Result<PathBuf> {
    let path = Path::new(text);
    if !path.is_absolute() {
        bail!("invalid mount path: '{text}' mount path must be absolute");
    }
    if path.components().count() == 1 {
        bail!("invalid volume specification: destination can't be '/'");
    }
    // Without `.` and `..`, so that what is one place is also one text.
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::ParentDir => drop(clean.pop()),
            _ => (),
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_has_two_or_three_parts() {
        let bind = volume("/tmp:/a/../b:ro").unwrap();
        assert_eq!(
            (bind.target, bind.options),
            (PathBuf::from("/b"), vec!["ro".to_owned()])
        );
        for wrong in [
            "tmp",
            ":/x",
            "/tmp:x",
            "/tmp:/x:rubbish",
            "/tmp:/",
            "a:b:c:d",
        ] {
            assert!(volume(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mount_names_its_keys() {
        let Either::Bind(bind) = mount("type=bind,src=/tmp,dst=/x,readonly").unwrap() else {
            panic!()
        };
        assert_eq!(
            bind,
            Bind {
                source: "/tmp".into(),
                target: "/x".into(),
                options: vec!["ro".into()],
                volume: None,
            }
        );
        let Either::Tmpfs(path, options) = mount("type=tmpfs,target=/t,tmpfs-size=1m").unwrap()
        else {
            panic!()
        };
        assert_eq!((path, options.as_str()), (PathBuf::from("/t"), "size=1m"));
        for wrong in [
            "type=bind,target=/x",
            "type=bind,src=x,target=/x",
            "type=what,target=/x",
            "colour=red",
            "type=tmpfs",
        ] {
            assert!(mount(wrong).is_err(), "{wrong}");
        }
        assert!(mounts(&["/tmp:/x".into()], &["type=tmpfs,target=/x".into()], &[]).is_err());
    }
}
