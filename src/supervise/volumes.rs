//! A container's volumes: made when it is made, and filled with what the image has at their place.
//!
//! As with Docker an empty volume gets the image's files the first time it is used. They are read through the
//! stacked layers, as the container would see them: in a process and a mount namespace of their own, so that
//! nothing of it shows on the host, and below descriptors, so that no link of the image leads out (CVE-2022-23648).

use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};

use super::rootless;
use crate::kernel::mounts;
use crate::kernel::rootfs::{self, Marks};
use crate::out::stream::errln;
use crate::request::Bind;
use crate::store::containers::Record;
use crate::store::{Home, new_id, volumes};
use crate::sys;

/// Makes the volumes that the record asks for, and those that its image declares and nobody gave a place.
pub fn prepare(home: &Home, record: &mut Record) -> Result<()> {
    let declared = record.image_config.volumes().clone().unwrap_or_default();
    for target in declared {
        let request = &record.request;
        let targets = request.binds.iter().map(|bind| bind.target.as_path());
        let mut taken = targets.chain(request.tmpfs.iter().map(|(path, _)| path.as_path()));
        let target = Path::new("/").join(target.trim_matches('/'));
        if target.parent().is_some() && !taken.any(|other| other == target) {
            record.request.binds.push(Bind {
                source: Path::new("").into(),
                target,
                options: vec![],
                volume: Some(String::new()),
            });
        }
    }
    let mapped = record.ids.is_some();
    let mut empty = vec![];
    for bind in &mut record.request.binds {
        let Some(name) = &mut bind.volume else {
            continue;
        };
        let anonymous = name.is_empty();
        if anonymous {
            *name = new_id()?;
        }
        volumes::ensure(home, name, Default::default(), anonymous)?;
        bind.source = volumes::data(home, name);
        // The numbers on disk are the container's own, so that another one finds the files as they were left.
        if mapped && !bind.options.iter().any(|word| word == "idmap") {
            bind.options.push("idmap".into());
        }
        let copies = !bind.options.iter().any(|word| word == "nocopy");
        bind.options.retain(|word| word != "nocopy");
        let mut entries = std::fs::read_dir(&bind.source).context("look into the volume")?;
        if copies && entries.next().is_none() {
            empty.push((bind.target.clone(), bind.source.clone()));
        }
    }
    if empty.is_empty() {
        return Ok(());
    }
    let at = home.running(&record.id);
    match sys::fork().context("fork")? {
        None => sys::exit_now(match fill(record, &at, &empty) {
            Ok(()) => 0,
            Err(error) => {
                errln!("rmac: {}", crate::out::error_text(&error));
                1
            }
        }),
        Some(child) => match waitpid(child, None).context("wait for the copy")? {
            WaitStatus::Exited(_, 0) => Ok(()),
            _ => bail!("failed to populate volume: see above"),
        },
    }
}

/// Copies what the image has at each path into the volume; the process ends after this.
fn fill(
    record: &Record,
    at: &Path,
    empty: &[(std::path::PathBuf, std::path::PathBuf)],
) -> Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).context("unshare(CLONE_NEWNS)")?;
    let none: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).context("mount(MS_PRIVATE)")?;
    let marks = match rootless::is() {
        true => Marks::User,
        false => Marks::Trusted,
    };
    let root = rootfs::read_only(&record.layers, at, marks)?;
    for (target, source) in empty {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        // Nothing there, or no directory: nothing to copy.
        let Ok(from) = root.open(target, flags) else {
            continue;
        };
        let to = nix::fcntl::openat(AT_FDCWD, source, flags | OFlag::O_CLOEXEC, Mode::empty())
            .with_context(|| format!("open {}", source.display()))?;
        mounts::copy_tree(&from, &to)
            .with_context(|| format!("failed to populate volume: {}", target.display()))?;
    }
    Ok(())
}
