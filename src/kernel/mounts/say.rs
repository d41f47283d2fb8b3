//! What is said of a mount: the reason for each file system, and a bind mount as a command.  mount(8)

use std::path::Path;

use super::{Scope, in_root, words};
use crate::lesson::{Lesson, Shell};

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

pub(super) fn bind_shell(source: &Path, target: &Path, scope: Scope, attributes: u64) -> String {
    let at = in_root(target);
    let source = Shell::quote(&source.to_string_lossy());
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
    format!(
        "if [ -d {source} ]; then mkdir -p {at}; else mkdir -p \"$(dirname {at})\"; [ -e {at} ] || : > {at}; fi\n\
         mount {how} {source} {at}{remount}"
    )
}
