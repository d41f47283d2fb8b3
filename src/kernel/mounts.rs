//! Mounts: what the container finds at each path.  mount(2), mount_namespaces(7)
//!
//! The image brings files; the kernel's own file systems (`/proc`, `/sys`, `/dev`) and the volumes are
//! mounted over it. Every target is opened inside the container's tree first (see
//! [`Root`]) and the mount is attached to what was opened, so no link in the
//! image or in a volume can lead a mount astray (CVE-2019-16884, CVE-2021-30465).

mod attach;
mod cgroup;
mod copy;
mod fetch;
mod told;
mod words;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::MsFlags;
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::cgroups::Layout;
use super::ids::Table;
use super::namespaces;
use super::rootfs::Root;
use crate::lesson::{Lesson, Shell};
use told::in_root;

pub use attach::{SYS, sysfs};
pub use copy::tree as copy_tree;
pub use fetch::{Fetched, Which, fetch, lenders};

/// How the owners of a mount's files are translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owners {
    /// By this table.
    pub table: Table,
    /// With those of the mounts below it.
    pub scope: Scope,
}

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
        /// `MOUNT_ATTR_*` to set on the mount itself.
        attributes: u64,
        /// The same for it and all below.
        recursive: Recursive,
        /// How mounts travel between host and container.
        propagation: MsFlags,
        /// By which table the owners of files are translated (`idmap`, `ridmap`), if by any.
        ids: Option<Owners>,
    },
    /// Host: copy the mount that a [`Step::Bind`] wants, for the child to attach.
    Fetch(Box<Step>),
    /// Attach what the host has copied for this [`Step::Bind`].
    Attach(Box<Step>),
    /// A tmpfs that begins with what the image has there.
    CopyUp {
        /// Where in the container.
        target: PathBuf,
        /// How.
        flags: MsFlags,
        /// tmpfs's own options.
        data: String,
    },
    /// Say how mounts travel to and from a file system that was mounted before.
    Propagation {
        /// Where in the container.
        target: PathBuf,
        /// `MS_SHARED` and the like.
        flags: MsFlags,
    },
    /// Hide a file behind `/dev/null`, a directory behind an empty tmpfs.
    Mask(PathBuf),
    /// Allow only reading of a path and what is below it.
    ReadOnly(PathBuf),
    /// Allow only reading of a file system that was mounted before, now that all is in it; what is mounted there stays
    /// as it is.
    Seal(PathBuf),
}

/// Whether a file system can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It can.
    ReadWrite,
    /// It can be read only.
    ReadOnly,
}

/// How much a bind mount shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The source's own file system only (`bind`).
    Single,
    /// Also what is mounted below the source (`rbind`).
    Recursive,
}

/// Attributes (`MOUNT_ATTR_*`) of a mount and of all mounts below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recursive {
    /// To set.
    pub set: u64,
    /// To take away.
    pub clear: u64,
}

/// The mounts of `spec` in its order. The cgroup file system is one mount or several, as `layout` has it.
pub fn plan(spec: &Spec, layout: &Layout) -> Result<Vec<Step>> {
    let mut steps = vec![];
    let table = super::ids::table(spec)?;
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    for mount in spec.mounts().as_deref().unwrap_or_default() {
        match words::step_of(mount, table.as_ref())? {
            Step::Filesystem {
                kind,
                target,
                flags,
                ..
            } if kind == "cgroup" && namespaces::listed(spec, LinuxNamespaceType::Cgroup) => {
                steps.extend(cgroup::cgroup(layout, resources, &target, flags))
            }
            Step::Filesystem {
                kind,
                target,
                flags,
                ..
            } if kind == "cgroup" => {
                let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
                let below = path.unwrap_or(Path::new("/"));
                steps.extend(cgroup::own_cgroup(layout, resources, below, &target, flags))
            }
            step @ Step::Bind { .. } => steps.push(step),
            step => {
                steps.push(step);
                steps.extend(words::propagation_of(mount));
            }
        }
    }
    Ok(steps)
}

/// The words of mount(8) that are understood; others are the file system's own.
pub fn option_words() -> Vec<&'static str> {
    words::known()
}

/// Is the container's `/dev` a directory of the host's? Then nothing may be made in it.
pub fn shows_hosts_dev(spec: &Spec) -> bool {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let dev = mounts
        .iter()
        .rfind(|mount| mount.destination() == Path::new("/dev"));
    dev.is_some_and(|mount| {
        let words = mount.options().as_deref().unwrap_or_default();
        mount.typ().as_deref() == Some("bind")
            || words.iter().any(|word| word == "bind" || word == "rbind")
    })
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
            Step::Filesystem { kind, .. } => told::filesystem_lesson(kind),
            Step::Bind { .. } => Lesson {
                why: "a file or directory of the host shows at a path of the container: a volume, or one of the files \
                      that tell host name, hosts and name servers",
                without: "the program would find what the image has there, and nothing of the host",
                man: "mount(2), MS_BIND; open_tree(2)",
            },
            Step::Fetch(_) => Lesson {
                why: "only the host may walk its directories and say whose files show as whose, and mounts travel to and from its own mounts only, so it makes the mount, and the container attaches it",
                without: "the container's root, where it is nobody on the host, could not reach the file, nor write to it; and what is mounted below it later would not show on the other side",
                man: "open_tree(2), mount_setattr(2)",
            },
            Step::Attach(_) => Lesson {
                why: "the mount that the host has made is put into the container's tree",
                without: "the program would find what the image has there, and nothing of the host",
                man: "move_mount(2)",
            },
            Step::CopyUp { .. } => Lesson {
                why: "a file system in memory hides the image's files, so they are copied into it first",
                without: "the program would find an empty directory where the image has files",
                man: "tmpfs(5)",
            },
            Step::Propagation { .. } => Lesson {
                why: "what is mounted below it is to show in other mount namespaces, or not",
                without: "mounts below it would travel as the kernel's default has it",
                man: "mount_namespaces(7), SHARED SUBTREES",
            },
            Step::Mask(_) => Lesson {
                why: "this path tells or changes things of the whole machine, so nothing shows there",
                without: "root in the container could read the host's secrets, or write to its hardware",
                man: "OCI runtime-spec, config-linux, maskedPaths",
            },
            Step::Seal(_) => Lesson {
                why: "the directory in which the mounts are gathered is finished",
                without: "the container could add to it, so it would be none that a program can rely on",
                man: "mount_setattr(2), cgroups(7)",
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
                words::mount_options(*flags, data),
                Shell::quote(source),
                at = in_root(target)
            )),
            Step::Bind {
                source,
                target,
                scope,
                attributes,
                recursive,
                ..
            } => Shell::Bash(told::bind_shell(
                source,
                target,
                *scope,
                attributes | recursive.set,
            )),
            Step::Fetch(bind) => Shell::Note(format!("{bind}: below, by the container's part")),
            // A script has no descriptors to hand on: the mount is made late, and nothing travels.
            Step::Attach(bind) if fetch::travels(bind) => bind.shell(),
            Step::Attach(bind) => Shell::Note(format!("{bind}: move_mount")),
            Step::CopyUp { target, data, .. } => Shell::Bash(format!(
                "copy=$(mktemp -d) && cp -a {at}/. \"$copy\" && mount -t tmpfs -o {} tmpfs {at} && cp -a \"$copy\"/. {at}",
                Shell::quote(data),
                at = in_root(target)
            )),
            Step::Propagation { target, flags } => Shell::Bash(format!(
                "mount --make-{} {}",
                words::propagation_name(*flags),
                in_root(target)
            )),
            Step::Mask(path) => Shell::Bash(format!(
                "if [ -d {at} ]; then mount -t tmpfs -o ro tmpfs {at}; elif [ -e {at} ]; then mount --bind /dev/null {at}; fi",
                at = in_root(path)
            )),
            Step::Seal(path) => Shell::Bash(format!("mount -o remount,bind,ro {}", in_root(path))),
            Step::ReadOnly(path) => Shell::Bash(format!(
                "[ ! -e {at} ] || {{ mount --bind {at} {at} && mount -o remount,bind,ro {at}; }}",
                at = in_root(path)
            )),
        }
    }

    /// Where a [`Step::Bind`] shows its source.
    fn target(&self) -> Option<&Path> {
        match self {
            Step::Bind { target, .. } => Some(target),
            _ => None,
        }
    }

    /// Takes [`Step::Fetch`]: by the host, who has made the user namespaces `lent`.
    pub fn take_fetch(&self, lent: &[(Table, OwnedFd)], fetched: &mut Fetched) -> Result<()> {
        match self {
            Step::Fetch(bind) => fetch::take(bind, lent, fetched).with_context(|| self.to_string()),
            _ => Ok(()),
        }
    }

    /// Takes the step in the tree `root`, with what the host has fetched.
    pub fn take(&self, root: &Root, fetched: &Fetched) -> Result<()> {
        let taken = match self {
            Step::Filesystem {
                kind,
                source,
                target,
                flags,
                data,
            } => {
                let at = attach::filesystem_target(root, kind, target)?;
                let ready = fetched.iter().find(|(path, _)| path == target);
                let mounted = match ready.filter(|_| kind == "sysfs") {
                    Some((_, tree)) => attach::ready(tree, &at, *flags),
                    None => attach::filesystem(&at, kind, source, *flags, data),
                };
                match mounted {
                    Err(Errno::EBUSY) if kind == "cgroup2" => {
                        attach::cgroup_over_another(root, target, source, *flags)
                    }
                    mounted => mounted
                        .map_err(anyhow::Error::from)
                        .and_then(|()| attach::keep(root, kind, target)),
                }
            }
            Step::Bind {
                source,
                target,
                scope,
                attributes,
                recursive,
                propagation,
                ..
            } => attach::source(source, *scope).and_then(|tree| {
                attach::set(&tree, *scope, *attributes, *recursive, *propagation)?;
                attach::bind(root, &tree, target)
            }),
            Step::CopyUp {
                target,
                flags,
                data,
            } => attach::copy_up(root, target, *flags, data),
            Step::Fetch(_) => Ok(()),
            Step::Attach(bind) => {
                let tree = fetched
                    .iter()
                    .find(|(path, _)| Some(&**path) == bind.target());
                tree.context("the host has not fetched it")
                    .and_then(|(target, tree)| attach::bind(root, tree, target))
            }
            Step::Propagation { target, flags } => attach::propagation(root, target, *flags),
            Step::Mask(path) => attach::mask(root, path),
            Step::ReadOnly(path) => attach::read_only(root, path),
            Step::Seal(path) => attach::seal(root, path),
        };
        taken.with_context(|| self.to_string())
    }
}
