//! mount(8)'s words: what each does as a flag, an attribute or a kind of propagation.

use std::path::PathBuf;

use anyhow::{Result, bail};
use nix::mount::MsFlags;
use oci_spec::runtime::Mount;

use super::{Owners, Recursive, Scope, Step};
use crate::kernel::ids::Table;
use crate::lesson::Shell;

/// Sorts the options of a mount (mount(8)'s words) into flags, attributes, propagation and the file
/// system's own. `table` is that of the container's user namespace, for `idmap`.
pub(super) fn step_of(mount: &Mount, table: Option<&Table>) -> Result<Step> {
    let kind = mount.typ().clone().unwrap_or_default();
    let options = mount.options().as_deref().unwrap_or_default();
    let target = mount.destination().clone();
    let source = mount
        .source()
        .clone()
        .unwrap_or_else(|| PathBuf::from(&kind));
    let mut sorted = Sorted::of(options);
    let flags = sorted.flags;
    let ids = ids_of(mount, &mut sorted, table)?;
    if let Some(at) = sorted.data.iter().position(|word| *word == "tmpcopyup") {
        sorted.data.remove(at);
        let data = sorted.data.join(",");
        return Ok(Step::CopyUp {
            target,
            flags,
            data,
        });
    }
    if !flags.contains(MsFlags::MS_BIND) && kind != "bind" {
        return Ok(Step::Filesystem {
            kind,
            source: source.to_string_lossy().into(),
            target,
            flags,
            data: sorted.data.join(","),
        });
    }
    // A bind mount takes no data: mount(2) ignores a file system's own options, which are values here.
    if let Some(unknown) = sorted.data.iter().find(|word| !word.contains('=')) {
        bail!(
            "invalid mount option {unknown:?} for the bind mount at {}",
            target.display()
        );
    }
    let scope = if flags.contains(MsFlags::MS_REC) {
        Scope::Recursive
    } else {
        Scope::Single
    };
    Ok(Step::Bind {
        source,
        target,
        scope,
        attributes: attributes_of(flags),
        recursive: sorted.recursive,
        propagation: sorted.propagation,
        ids,
    })
}

/// By which table the owners of the mount's files are translated.
fn ids_of(mount: &Mount, sorted: &mut Sorted<'_>, table: Option<&Table>) -> Result<Option<Owners>> {
    let target = mount.destination().display();
    let is_word = |word: &&str| matches!(*word, "idmap" | "ridmap");
    let mapped = sorted.data.iter().position(is_word);
    let word = mapped.map(|at| sorted.data.remove(at));
    let ids = own_table(mount).or_else(|| mapped.and(table.cloned()));
    if let (Some(word), None) = (word, &ids) {
        bail!(
            "the mount at {target}: {word} needs uidMappings and gidMappings, of its own or of a new user namespace"
        );
    }
    let scope = match word {
        Some("ridmap") => Scope::Recursive,
        _ => Scope::Single,
    };
    Ok(ids.map(|table| Owners { table, scope }))
}

/// The mount's own table.
fn own_table(mount: &Mount) -> Option<Table> {
    Some(Table {
        uids: mount.uid_mappings().clone()?,
        gids: mount.gid_mappings().clone()?,
    })
}

/// How mounts are to travel to and from a mount that is no bind mount: its options may say so.
pub(super) fn propagation_of(mount: &Mount) -> Option<Step> {
    let sorted = Sorted::of(mount.options().as_deref().unwrap_or_default());
    (!sorted.propagation.is_empty()).then(|| Step::Propagation {
        target: mount.destination().clone(),
        flags: sorted.propagation,
    })
}

/// The word for a kind of propagation.
pub(super) fn propagation_name(flags: MsFlags) -> &'static str {
    let known = OPTIONS
        .iter()
        .find(|(_, meaning, flag, _)| *meaning == Meaning::Propagation && flag.contains(flags));
    known.map_or("private", |(name, ..)| name)
}

/// The options of a mount by what they are for.
struct Sorted<'a> {
    flags: MsFlags,
    recursive: Recursive,
    propagation: MsFlags,
    /// The file system's own.
    data: Vec<&'a str>,
}

impl Sorted<'_> {
    fn of(options: &[String]) -> Sorted<'_> {
        /// What says nothing to the kernel.
        const EMPTY: [&str; 9] = [
            "defaults",
            "z",
            "Z",
            "consistent",
            "cached",
            "delegated",
            "silent",
            "loud",
            "notmpcopyup",
        ];
        let mut sorted = Sorted {
            flags: MsFlags::empty(),
            recursive: Recursive::default(),
            propagation: MsFlags::empty(),
            data: vec![],
        };
        for option in options.iter().map(String::as_str) {
            if sorted.recursive.take(option) {
                continue;
            }
            match OPTIONS.iter().find(|(name, ..)| *name == option) {
                Some((_, Meaning::Set, flag, _)) => sorted.flags |= *flag,
                Some((_, Meaning::Clear, flag, _)) => sorted.flags -= *flag,
                Some((_, Meaning::Propagation, flag, _)) => sorted.propagation = *flag,
                None if EMPTY.contains(&option) => {}
                None => sorted.data.push(option),
            }
        }
        sorted
    }
}

/// What sets an attribute on a mount and all below it, what takes it away, and the attribute.
const RECURSIVE: [(&str, &str, u64); 7] = [
    ("rro", "rrw", nix::libc::MOUNT_ATTR_RDONLY),
    ("rnosuid", "rsuid", nix::libc::MOUNT_ATTR_NOSUID),
    ("rnodev", "rdev", nix::libc::MOUNT_ATTR_NODEV),
    ("rnoexec", "rexec", nix::libc::MOUNT_ATTR_NOEXEC),
    ("rnodiratime", "rdiratime", nix::libc::MOUNT_ATTR_NODIRATIME),
    ("rnoatime", "rrelatime", nix::libc::MOUNT_ATTR_NOATIME),
    (
        "rnosymfollow",
        "rsymfollow",
        nix::libc::MOUNT_ATTR_NOSYMFOLLOW,
    ),
];

impl Recursive {
    /// Takes a word such as `rro`: one of mount(8)'s with an `r` before it, for the mount and all below.
    fn take(&mut self, word: &str) -> bool {
        match word {
            "rstrictatime" => self.set |= nix::libc::MOUNT_ATTR_STRICTATIME,
            "ratime" | "rnorelatime" | "rnostrictatime" => {
                self.clear |= nix::libc::MOUNT_ATTR__ATIME
            }
            word => match RECURSIVE
                .iter()
                .find(|(set, clear, _)| word == *set || word == *clear)
            {
                Some((set, _, bit)) if word == *set => self.set |= bit,
                Some((.., bit)) => self.clear |= bit,
                None => return false,
            },
        }
        true
    }
}

/// mount(2)'s flags as attributes of mount_setattr(2).
pub(super) fn attributes_of(flags: MsFlags) -> u64 {
    let set = OPTIONS.iter().filter(|(_, meaning, flag, attribute)| {
        *meaning == Meaning::Set && *attribute != 0 && flags.contains(*flag)
    });
    set.fold(0, |all, (.., attribute)| all | attribute)
}

/// What a word of mount(8) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Set,
    Clear,
    Propagation,
}

/// mount(8)'s words: what each does, mount(2)'s flag for it, and mount_setattr(2)'s attribute.
const OPTIONS: &[(&str, Meaning, MsFlags, u64)] = {
    use Meaning::{Clear, Propagation, Set};
    use nix::libc;
    &[
        ("ro", Set, MsFlags::MS_RDONLY, libc::MOUNT_ATTR_RDONLY),
        ("rw", Clear, MsFlags::MS_RDONLY, 0),
        ("nosuid", Set, MsFlags::MS_NOSUID, libc::MOUNT_ATTR_NOSUID),
        ("suid", Clear, MsFlags::MS_NOSUID, 0),
        ("nodev", Set, MsFlags::MS_NODEV, libc::MOUNT_ATTR_NODEV),
        ("dev", Clear, MsFlags::MS_NODEV, 0),
        ("noexec", Set, MsFlags::MS_NOEXEC, libc::MOUNT_ATTR_NOEXEC),
        ("exec", Clear, MsFlags::MS_NOEXEC, 0),
        (
            "noatime",
            Set,
            MsFlags::MS_NOATIME,
            libc::MOUNT_ATTR_NOATIME,
        ),
        ("atime", Clear, MsFlags::MS_NOATIME, 0),
        (
            "nodiratime",
            Set,
            MsFlags::MS_NODIRATIME,
            libc::MOUNT_ATTR_NODIRATIME,
        ),
        ("relatime", Set, MsFlags::MS_RELATIME, 0),
        ("norelatime", Clear, MsFlags::MS_RELATIME, 0),
        ("nostrictatime", Clear, MsFlags::MS_STRICTATIME, 0),
        ("diratime", Clear, MsFlags::MS_NODIRATIME, 0),
        (
            "nosymfollow",
            Set,
            MsFlags::from_bits_retain(256),
            libc::MOUNT_ATTR_NOSYMFOLLOW,
        ),
        ("symfollow", Clear, MsFlags::from_bits_retain(256), 0),
        ("iversion", Set, MsFlags::MS_I_VERSION, 0),
        ("noiversion", Clear, MsFlags::MS_I_VERSION, 0),
        ("lazytime", Set, MsFlags::MS_LAZYTIME, 0),
        ("nolazytime", Clear, MsFlags::MS_LAZYTIME, 0),
        ("mand", Set, MsFlags::MS_MANDLOCK, 0),
        ("nomand", Clear, MsFlags::MS_MANDLOCK, 0),
        ("acl", Set, MsFlags::MS_POSIXACL, 0),
        ("noacl", Clear, MsFlags::MS_POSIXACL, 0),
        (
            "strictatime",
            Set,
            MsFlags::MS_STRICTATIME,
            libc::MOUNT_ATTR_STRICTATIME,
        ),
        ("sync", Set, MsFlags::MS_SYNCHRONOUS, 0),
        ("async", Clear, MsFlags::MS_SYNCHRONOUS, 0),
        ("dirsync", Set, MsFlags::MS_DIRSYNC, 0),
        ("bind", Set, MsFlags::MS_BIND, 0),
        ("rbind", Set, MsFlags::MS_BIND.union(MsFlags::MS_REC), 0),
        ("private", Propagation, MsFlags::MS_PRIVATE, 0),
        ("rprivate", Propagation, MsFlags::MS_PRIVATE, 0),
        ("slave", Propagation, MsFlags::MS_SLAVE, 0),
        ("rslave", Propagation, MsFlags::MS_SLAVE, 0),
        ("unbindable", Propagation, MsFlags::MS_UNBINDABLE, 0),
        ("runbindable", Propagation, MsFlags::MS_UNBINDABLE, 0),
        ("shared", Propagation, MsFlags::MS_SHARED, 0),
        ("rshared", Propagation, MsFlags::MS_SHARED, 0),
    ]
};

/// All words that are understood.
pub(super) fn known() -> Vec<&'static str> {
    let recursive = RECURSIVE.iter().flat_map(|(set, clear, _)| [*set, *clear]);
    let times = ["rstrictatime", "ratime", "rnorelatime", "rnostrictatime"];
    let others = ["defaults", "tmpcopyup", "idmap", "ridmap"];
    let one = OPTIONS.iter().map(|(name, ..)| *name);
    one.chain(recursive).chain(times).chain(others).collect()
}

/// The flags as mount(2) names them.
pub(super) fn names(flags: MsFlags) -> String {
    let names: Vec<_> = flags.iter_names().map(|(name, _)| name).collect();
    if names.is_empty() {
        "0".into()
    } else {
        names.join("|")
    }
}

/// The flags and the file system's own options as `-o ...` of mount(8).
pub(super) fn mount_options(flags: MsFlags, data: &str) -> String {
    let mut options: Vec<_> = OPTIONS
        .iter()
        .filter(|(_, meaning, flag, _)| *meaning == Meaning::Set && flags.contains(*flag))
        .map(|(name, ..)| *name)
        .collect();
    if !data.is_empty() {
        options.push(data);
    }
    if options.is_empty() {
        String::new()
    } else {
        format!(" -o {}", Shell::quote(&options.join(",")))
    }
}

/// The attributes `attributes` as words of mount(8).
pub(super) fn attribute_words(attributes: u64) -> Vec<&'static str> {
    OPTIONS
        .iter()
        .filter(|(_, meaning, _, attribute)| {
            *meaning == Meaning::Set && attributes & attribute != 0
        })
        .map(|(name, ..)| *name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::MountBuilder;

    fn mount(kind: &str, source: &str, options: &[&str]) -> Mount {
        MountBuilder::default()
            .typ(kind)
            .source(source)
            .destination("/x")
            .options(options.iter().map(ToString::to_string).collect::<Vec<_>>())
            .build()
            .unwrap()
    }

    #[test]
    fn words_become_flags_and_the_rest_stays_data() {
        let step = step_of(
            &mount(
                "tmpfs",
                "tmpfs",
                &["nosuid", "strictatime", "mode=755", "size=65536k"],
            ),
            None,
        )
        .unwrap();
        assert_eq!(
            step,
            Step::Filesystem {
                kind: "tmpfs".into(),
                source: "tmpfs".into(),
                target: "/x".into(),
                flags: MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME,
                data: "mode=755,size=65536k".into()
            }
        );
        assert_eq!(
            step.to_string(),
            r#"mount("tmpfs", "/x", "tmpfs", MS_NOSUID|MS_STRICTATIME, "mode=755,size=65536k")"#
        );
    }

    #[test]
    fn a_read_only_volume_keeps_its_attribute() {
        let step = step_of(&mount("bind", "/srv", &["rbind", "ro", "rprivate"]), None).unwrap();
        assert_eq!(
            step,
            Step::Bind {
                source: "/srv".into(),
                target: "/x".into(),
                scope: Scope::Recursive,
                attributes: nix::libc::MOUNT_ATTR_RDONLY,
                recursive: Recursive::default(),
                propagation: MsFlags::MS_PRIVATE,
                ids: None,
            }
        );
    }

    #[test]
    fn an_unknown_word_on_a_bind_mount_is_an_error() {
        let error = step_of(&mount("bind", "/srv", &["bind", "rubbish"]), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"invalid mount option "rubbish" for the bind mount at /x"#
        );
    }
}
