//! Mounts: what the container finds at each path.  mount(2), mount_namespaces(7)
//!
//! The image brings files; the kernel's own file systems (`/proc`, `/sys`, `/dev`) and the volumes are
//! mounted over it. Every target is opened inside the container's tree first (see
//! [`Root`](super::rootfs::Root)) and the mount is attached to what was opened, so no link in the
//! image or in a volume can lead a mount astray (CVE-2019-16884, CVE-2021-30465).

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::mount::{MsFlags, mount};
use oci_spec::runtime::{LinuxResources, Mount, Spec};

use super::cgroups::{Layout, v1};
use super::rootfs::{Root, is_directory, path_of};
use crate::lesson::{Lesson, Shell};
use crate::sys;

/// What can be done about mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Mount a file system of the kernel's.
    Filesystem {
        /// Its type, such as `proc`.
        kind: String,
        /// Its source as `/proc/mounts` will show it.
        source: String,
        /// Where in the container.
        target: PathBuf,
        /// How.
        flags: MsFlags,
        /// The options of the file system itself.
        data: String,
    },
    /// Show a file or directory of the host.
    Bind {
        /// What, on the host.
        source: PathBuf,
        /// Where in the container.
        target: PathBuf,
        /// With what is mounted below the source.
        scope: Scope,
        /// `MOUNT_ATTR_*` to set.
        attributes: u64,
        /// How mounts travel between host and container.
        propagation: MsFlags,
    },
    /// Hide a file behind `/dev/null`, a directory behind an empty tmpfs.
    Mask(PathBuf),
    /// Allow only reading of a path and what is below it.
    ReadOnly(PathBuf),
}

/// How much a bind mount shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The source's own file system only (`bind`).
    Single,
    /// Also what is mounted below the source (`rbind`).
    Recursive,
}

/// The mounts of `spec` in its order. The cgroup file system is one mount or several, as `layout` has it.
pub fn plan(spec: &Spec, layout: &Layout) -> Result<Vec<Step>> {
    let mut steps = vec![];
    let resources = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.resources().as_ref());
    for mount in spec.mounts().as_deref().unwrap_or_default() {
        match step_of(mount)? {
            Step::Filesystem {
                kind,
                target,
                flags,
                ..
            } if kind == "cgroup" => steps.extend(cgroup(layout, resources, &target, flags)),
            step => steps.push(step),
        }
    }
    Ok(steps)
}

/// v2 is one tree; v1 is a tree for each controller, gathered on a small tmpfs.
fn cgroup(
    layout: &Layout,
    resources: Option<&LinuxResources>,
    target: &Path,
    flags: MsFlags,
) -> Vec<Step> {
    let step = |kind: &str, target: PathBuf, flags, data: String| Step::Filesystem {
        kind: kind.into(),
        source: kind.into(),
        target,
        flags,
        data,
    };
    let Layout::V1(trees) = layout else {
        return vec![step("cgroup2", target.to_owned(), flags, String::new())];
    };
    let writable = flags - MsFlags::MS_RDONLY;
    let mut steps = vec![step(
        "tmpfs",
        target.to_owned(),
        writable,
        "mode=755".into(),
    )];
    // Only those that the container's processes are in: the others would show the host's groups.
    for (mount, controllers) in v1::joined(trees, resources) {
        let name = mount.file_name().unwrap_or_default();
        steps.push(step(
            "cgroup",
            target.join(name),
            flags,
            controllers.join(","),
        ));
    }
    steps
}

/// What hides the kernel's secrets and switches: after the mounts, before the pivot.
pub fn plan_masks(spec: &Spec) -> Vec<Step> {
    let Some(linux) = spec.linux() else {
        return vec![];
    };
    let read_only = linux.readonly_paths().iter().flatten();
    let masked = linux.masked_paths().iter().flatten();
    read_only
        .map(|path| Step::ReadOnly(path.into()))
        .chain(masked.map(|path| Step::Mask(path.into())))
        .collect()
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        match self {
            Step::Filesystem { kind, .. } => filesystem_lesson(kind),
            Step::Bind { .. } => Lesson {
                why: "a file or directory of the host shows at a path of the container: a volume, or one of the files \
                      that tell host name, hosts and name servers",
                without: "the program would find what the image has there, and nothing of the host",
                man: "mount(2), MS_BIND; open_tree(2)",
            },
            Step::Mask(_) => Lesson {
                why: "this path tells or changes things of the whole machine, so nothing shows there",
                without: "root in the container could read the host's secrets, or write to its hardware",
                man: "OCI runtime-spec, config-linux, maskedPaths",
            },
            Step::ReadOnly(_) => Lesson {
                why: "these switches act on the whole machine, so they can be read but not turned",
                without: "root in the container could change settings of the host's kernel",
                man: "OCI runtime-spec, config-linux, readonlyPaths",
            },
        }
    }

    /// The same as a command.
    pub fn shell(&self) -> Shell {
        match self {
            Step::Filesystem {
                kind,
                source,
                target,
                flags,
                data,
            } => Shell::Bash(format!(
                "mkdir -p {at} && mount -t {kind}{} {} {at}",
                mount_options(*flags, data),
                Shell::quote(source),
                at = in_root(target)
            )),
            Step::Bind {
                source,
                target,
                scope,
                attributes,
                ..
            } => Shell::Bash(bind_shell(source, target, *scope, *attributes)),
            Step::Mask(path) => Shell::Bash(format!(
                "if [ -d {at} ]; then mount -t tmpfs -o ro tmpfs {at}; elif [ -e {at} ]; then mount --bind /dev/null {at}; fi",
                at = in_root(path)
            )),
            Step::ReadOnly(path) => Shell::Bash(format!(
                "[ ! -e {at} ] || {{ mount --bind {at} {at} && mount -o remount,bind,ro {at}; }}",
                at = in_root(path)
            )),
        }
    }

    /// Takes the step in the tree `root`.
    pub fn take(&self, root: &Root) -> Result<()> {
        let taken = match self {
            Step::Filesystem {
                kind,
                source,
                target,
                flags,
                data,
            } => {
                let at = filesystem_target(root, kind, target)?;
                mount(
                    Some(source.as_str()),
                    &path_of(&at),
                    Some(kind.as_str()),
                    *flags,
                    Some(data.as_str()),
                )
                .map_err(anyhow::Error::from)
            }
            Step::Bind {
                source,
                target,
                scope,
                attributes,
                propagation,
            } => bind(root, source, target, *scope, *attributes, *propagation),
            Step::Mask(path) => mask(root, path),
            Step::ReadOnly(path) => read_only(root, path),
        };
        taken.with_context(|| self.to_string())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Filesystem {
                kind,
                source,
                target,
                flags,
                data,
            } => {
                write!(
                    f,
                    "mount({source:?}, {target:?}, {kind:?}, {}, {data:?})",
                    names(*flags)
                )
            }
            Step::Bind {
                source,
                target,
                scope,
                attributes,
                ..
            } => {
                let scope = if *scope == Scope::Recursive {
                    "MS_BIND|MS_REC"
                } else {
                    "MS_BIND"
                };
                let ro = if attributes & nix::libc::MOUNT_ATTR_RDONLY == 0 {
                    ""
                } else {
                    "|MS_RDONLY"
                };
                write!(f, "mount({source:?}, {target:?}, NULL, {scope}{ro})")
            }
            Step::Mask(path) => write!(f, "mount(\"/dev/null\", {path:?}, NULL, MS_BIND)"),
            Step::ReadOnly(path) => write!(f, "mount({path:?}, {path:?}, NULL, MS_BIND|MS_RDONLY)"),
        }
    }
}

fn filesystem_lesson(kind: &str) -> Lesson {
    let (why, without, man) = match kind {
        "proc" => (
            "/proc shows the processes of the pid namespace in which it is mounted",
            "ps would find no processes, and the program no /proc/self",
            "proc(5), pid_namespaces(7)",
        ),
        "sysfs" => (
            "/sys shows the devices, and of the links only those of this network namespace",
            "programs that look for their network links in /sys/class/net would find none",
            "sysfs(5), network_namespaces(7)",
        ),
        "devpts" => (
            "an own instance of the pseudo-terminals",
            "the container could open the terminals of the host's users",
            "pts(4), devpts documentation of the kernel",
        ),
        "mqueue" => (
            "the POSIX message queues of this IPC namespace",
            "mq_open would find no queues",
            "mq_overview(7)",
        ),
        "cgroup" | "cgroup2" => (
            "the container's own limits, to read",
            "a runtime such as the JVM could not see how much memory it may use",
            "cgroups(7)",
        ),
        _ => (
            "a file system in memory",
            "the program would find what the image has there",
            "tmpfs(5)",
        ),
    };
    Lesson { why, without, man }
}

/// The kernel's own file systems go to real directories only: a link at `/proc` would put the masks
/// that follow somewhere else (CVE-2019-19921, CVE-2026-41579).
fn filesystem_target(root: &Root, kind: &str, target: &Path) -> Result<OwnedFd> {
    if kind != "tmpfs" || target == Path::new("/dev") {
        let name = target.strip_prefix("/").unwrap_or(target);
        if name.components().count() == 1 {
            match nix::fcntl::openat(
                root.top(),
                name,
                OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                nix::sys::stat::Mode::empty(),
            ) {
                Ok(found) if is_directory(&found)? => return Ok(found),
                Ok(_) => bail!(
                    "{} is not a directory in the image, so {kind} cannot be mounted there",
                    target.display()
                ),
                Err(_) => (),
            }
        }
    }
    root.make_directory(target)
}

fn bind(
    root: &Root,
    source: &Path,
    target: &Path,
    scope: Scope,
    attributes: u64,
    propagation: MsFlags,
) -> Result<()> {
    let recursive = if scope == Scope::Recursive {
        nix::libc::AT_RECURSIVE
    } else {
        0
    };
    let tree = sys::open_tree(
        AT_FDCWD,
        source,
        nix::libc::OPEN_TREE_CLONE | recursive as u32,
    )
    .with_context(|| format!("bind source path does not exist: {}", source.display()))?;
    if attributes != 0 || !propagation.is_empty() {
        // Only the mount's own attributes change: a source that is read-only stays so.
        sys::mount_setattr(tree.as_fd(), recursive, attributes, 0, propagation.bits())
            .context("mount_setattr")?;
    }
    let at = if is_directory(&tree)? {
        root.make_directory(target)?
    } else {
        root.make_file(target)?
    };
    sys::move_mount(tree.as_fd(), at.as_fd()).context("move_mount")
}

fn mask(root: &Root, path: &Path) -> Result<()> {
    let Ok(at) = root.find(path) else {
        return Ok(());
    };
    if is_directory(&at)? {
        let none: Option<&str> = None;
        mount(
            Some("tmpfs"),
            &path_of(&at),
            Some("tmpfs"),
            MsFlags::MS_RDONLY,
            none,
        )?;
        return Ok(());
    }
    // The host's /dev/null, checked to be it: an image's could be anything (CVE-2025-31133).
    let null = nix::fcntl::openat(
        AT_FDCWD,
        "/dev/null",
        OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )?;
    let status = nix::sys::stat::fstat(&null)?;
    if status.st_rdev != nix::sys::stat::makedev(1, 3) {
        bail!("the host's /dev/null is not the null device");
    }
    let tree = sys::open_tree(
        null.as_fd(),
        Path::new(""),
        nix::libc::OPEN_TREE_CLONE | nix::libc::AT_EMPTY_PATH as u32,
    )?;
    Ok(sys::move_mount(tree.as_fd(), at.as_fd())?)
}

fn read_only(root: &Root, path: &Path) -> Result<()> {
    let Ok(at) = root.find(path) else {
        return Ok(());
    };
    let flags = nix::libc::OPEN_TREE_CLONE
        | nix::libc::AT_EMPTY_PATH as u32
        | nix::libc::AT_RECURSIVE as u32;
    let tree = sys::open_tree(at.as_fd(), Path::new(""), flags)?;
    sys::mount_setattr(
        tree.as_fd(),
        nix::libc::AT_RECURSIVE,
        nix::libc::MOUNT_ATTR_RDONLY,
        0,
        0,
    )?;
    Ok(sys::move_mount(tree.as_fd(), at.as_fd())?)
}

/// Sorts the options of a mount (mount(8)'s words) into flags, attributes, propagation and the file
/// system's own.
fn step_of(mount: &Mount) -> Result<Step> {
    let kind = mount.typ().clone().unwrap_or_default();
    let options = mount.options().as_deref().unwrap_or_default();
    let target = mount.destination().clone();
    let source = mount
        .source()
        .clone()
        .unwrap_or_else(|| PathBuf::from(&kind));
    let mut flags = MsFlags::empty();
    let mut propagation = MsFlags::empty();
    let mut data = vec![];
    for option in options {
        match OPTIONS.iter().find(|(name, ..)| name == option) {
            Some((_, Meaning::Set, flag, _)) => flags |= *flag,
            Some((_, Meaning::Clear, flag, _)) => flags -= *flag,
            Some((_, Meaning::Propagation, flag, _)) => propagation = *flag,
            None if matches!(
                option.as_str(),
                "defaults" | "z" | "Z" | "consistent" | "cached" | "delegated"
            ) =>
            {
                ()
            }
            None => data.push(option.as_str()),
        }
    }
    if !flags.contains(MsFlags::MS_BIND) && kind != "bind" {
        return Ok(Step::Filesystem {
            kind,
            source: source.to_string_lossy().into(),
            target,
            flags,
            data: data.join(","),
        });
    }
    if let Some(unknown) = data.first() {
        bail!(
            "invalid mount option {unknown:?} for the bind mount at {}",
            target.display()
        );
    }
    let attributes = OPTIONS
        .iter()
        .filter(|(_, meaning, flag, attribute)| {
            *meaning == Meaning::Set && *attribute != 0 && flags.contains(*flag)
        })
        .fold(0, |all, (.., attribute)| all | attribute);
    let scope = if flags.contains(MsFlags::MS_REC) {
        Scope::Recursive
    } else {
        Scope::Single
    };
    Ok(Step::Bind {
        source,
        target,
        scope,
        attributes,
        propagation,
    })
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
        ("shared", Propagation, MsFlags::MS_SHARED, 0),
        ("rshared", Propagation, MsFlags::MS_SHARED, 0),
    ]
};

fn names(flags: MsFlags) -> String {
    let names: Vec<_> = flags.iter_names().map(|(name, _)| name).collect();
    if names.is_empty() {
        "0".into()
    } else {
        names.join("|")
    }
}

fn mount_options(flags: MsFlags, data: &str) -> String {
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

fn bind_shell(source: &Path, target: &Path, scope: Scope, attributes: u64) -> String {
    let at = in_root(target);
    let source = Shell::quote(&source.to_string_lossy());
    let how = if scope == Scope::Recursive {
        "--rbind"
    } else {
        "--bind"
    };
    let words: Vec<_> = OPTIONS
        .iter()
        .filter(|(_, meaning, _, attribute)| {
            *meaning == Meaning::Set && attributes & attribute != 0
        })
        .map(|(name, ..)| *name)
        .collect();
    let remount = if words.is_empty() {
        String::new()
    } else {
        format!("\nmount -o remount,bind,{} {at}", words.join(","))
    };
    format!(
        "if [ -d {source} ]; then mkdir -p {at}; else mkdir -p \"$(dirname {at})\"; [ -e {at} ] || : > {at}; fi\n\
         mount {how} {source} {at}{remount}"
    )
}

/// A path of the container as the script's host sees it.
fn in_root(path: &Path) -> String {
    format!("\"$root\"{}", Shell::quote(&path.to_string_lossy()))
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
        let step = step_of(&mount(
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ))
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
        let step = step_of(&mount("bind", "/srv", &["rbind", "ro", "rprivate"])).unwrap();
        assert_eq!(
            step,
            Step::Bind {
                source: "/srv".into(),
                target: "/x".into(),
                scope: Scope::Recursive,
                attributes: nix::libc::MOUNT_ATTR_RDONLY,
                propagation: MsFlags::MS_PRIVATE
            }
        );
    }

    #[test]
    fn an_unknown_word_on_a_bind_mount_is_an_error() {
        let error = step_of(&mount("bind", "/srv", &["bind", "rubbish"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"invalid mount option "rubbish" for the bind mount at /x"#
        );
    }
}
