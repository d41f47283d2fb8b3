//! How a mount is told: as a call, as a command, and why.  mount(2), mount(8)

use std::fmt;
use std::path::Path;

use super::{Scope, Step, attach, words};
use crate::lesson::{Lesson, Shell};

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
                    words::names(*flags)
                )
            }
            Step::Bind {
                source,
                target,
                scope,
                attributes,
                recursive,
                ..
            } => {
                let scope = if *scope == Scope::Recursive {
                    "MS_BIND|MS_REC"
                } else {
                    "MS_BIND"
                };
                let ro = if (attributes | recursive.set) & nix::libc::MOUNT_ATTR_RDONLY == 0 {
                    ""
                } else {
                    "|MS_RDONLY"
                };
                write!(f, "mount({source:?}, {target:?}, NULL, {scope}{ro})")
            }
            Step::Fetch(bind) => fetched(bind, f),
            Step::Attach(bind) => write!(
                f,
                "move_mount(what the host fetched, {:?})",
                bind.target().unwrap_or(Path::new(""))
            ),
            Step::CopyUp {
                target,
                flags,
                data,
            } => write!(
                f,
                "mount(\"tmpfs\", {target:?}, \"tmpfs\", {}, {data:?}) [with the image's files]",
                words::names(*flags)
            ),
            Step::Propagation { target, flags } => {
                let name = words::propagation_name(*flags).to_uppercase();
                write!(f, "mount(NULL, {target:?}, NULL, MS_{name})")
            }
            Step::Mask(path) => write!(f, "mount(\"/dev/null\", {path:?}, NULL, MS_BIND)"),
            Step::Seal(path) => write!(f, "mount_setattr({path:?}, MOUNT_ATTR_RDONLY)"),
            Step::ReadOnly(path) => write!(f, "mount({path:?}, {path:?}, NULL, MS_BIND|MS_RDONLY)"),
        }
    }
}

/// What the host does for the bind mount `bind`.
fn fetched(bind: &Step, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Step::Bind {
        source,
        target,
        ids,
        ..
    } = bind
    else {
        return write!(f, "{bind}");
    };
    let mapped = match ids {
        Some(_) => ", mount_setattr(MOUNT_ATTR_IDMAP)",
        None => "",
    };
    write!(
        f,
        "open_tree({source:?}, OPEN_TREE_CLONE){mapped} for {target:?}"
    )
}

pub(super) fn filesystem_lesson(kind: &str) -> Lesson {
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

pub(super) fn bind_shell(from: &Path, target: &Path, scope: Scope, attributes: u64) -> String {
    let at = in_root(target);
    let source = Shell::quote(&from.to_string_lossy());
    let how = if scope == Scope::Recursive {
        "--rbind"
    } else {
        "--bind"
    };
    let words = words::attribute_words(attributes);
    let remount = if words.is_empty() {
        String::new()
    } else {
        format!("\nmount -o remount,bind,{} {at}", words.join(","))
    };
    if let Some((pid, path)) = attach::in_tree_of(from) {
        return format!("{}{remount}", borrow_shell(pid, &path, &at));
    }
    format!(
        "if [ -d {source} ]; then mkdir -p {at}; else mkdir -p \"$(dirname {at})\"; [ -e {at} ] || : > {at}; fi\n\
         mount {how} {source} {at}{remount}"
    )
}

/// The same for the directory that the process `pid` sees at `path`: no command copies a mount of another mount
/// namespace, but four system calls do.
fn borrow_shell(pid: i32, path: &Path, at: &str) -> String {
    let script = format!(
        "sub sys {{ my $answer = syscall(shift, @_); $answer >= 0 or die \"$!\\n\"; $answer }} \
         my ($path, $at, $none) = (@ARGV, \"\"); \
         open(my $own, \"<\", \"/proc/self/ns/mnt\") and open(my $their, \"<\", \"/proc/{pid}/ns/mnt\") or die; \
         sys {setns}, fileno $their, {newns}; my $tree = sys {open_tree}, -100, $path, {clone}; \
         sys {setns}, fileno $own, {newns}; sys {move_mount}, $tree, $none, -100, $at, 4;",
        setns = libc::SYS_setns,
        newns = libc::CLONE_NEWNS,
        open_tree = libc::SYS_open_tree,
        clone = libc::OPEN_TREE_CLONE as i32 | libc::AT_RECURSIVE,
        move_mount = libc::SYS_move_mount,
    );
    format!(
        "mkdir -p {at}\nperl -e {} {} {at}",
        Shell::quote(&script),
        Shell::quote(&path.to_string_lossy())
    )
}

/// A path of the container as the script's host sees it.
pub(super) fn in_root(path: &Path) -> String {
    format!("\"$root\"{}", Shell::quote(&path.to_string_lossy()))
}
