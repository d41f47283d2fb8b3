//! A container told to do its worst: `tests/helpers/worst.rs` tries, and tells how each try ended.

use std::collections::BTreeMap;

use nix::libc::{EACCES, ENOENT, ENOSYS, EPERM, EROFS};

use crate::common::Lab;
use crate::helpers::{digest, program};

/// Runs it with more words for `rmac run`; what it told, and nothing of the host has changed.
fn worst(lab: &Lab, words: &str) -> BTreeMap<String, i32> {
    let mark = lab.scratch().join("mark");
    std::fs::write(&mark, "the host's").unwrap();
    let before = host(lab);
    let (volume, image) = (program("worst"), lab.image());
    let said = lab.sh(&format!(
        "rmac run --rm --network none {words} -v {}:/worst:ro {image} /worst {}",
        volume.display(),
        mark.display()
    ));
    let said = said.ok();
    assert_eq!(
        host(lab),
        before,
        "{words}: something of the host has changed"
    );
    let parse = |line: &str| {
        let (name, number) = line.rsplit_once(' ')?;
        Some((name.to_owned(), number.parse().ok()?))
    };
    said.lines().filter_map(parse).collect()
}

/// What of the host's a container could have changed.
fn host(lab: &Lab) -> Vec<String> {
    let mut all = digest(&lab.scratch());
    for file in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hostname",
        "/sys/kernel/uevent_helper",
        "/sys/fs/cgroup/memory/release_agent",
        "/proc/modules",
        "/proc/swaps",
    ] {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        // How often a module is in use changes with what else the machine does.
        let names = text
            .lines()
            .map(|line| line.split(' ').next().unwrap_or_default());
        all.push(format!("{file} {:?}", names.collect::<Vec<_>>()));
    }
    all
}

/// What no container does, whatever capabilities it was given: the filter, the device list, the root.
fn holds_always(found: &BTreeMap<String, i32>, words: &str) {
    let refused = [
        "keyctl",
        "add_key",
        "request_key",
        "io_uring_setup",
        "userfaultfd",
        "kexec_load",
        "nfsservctl",
    ];
    for name in refused {
        assert_eq!(found[name], EPERM, "{words}: {name}");
    }
    let opened = found.iter().filter(|(name, _)| name.starts_with("open-"));
    for (name, errno) in opened {
        let made = found[&name.replace("open", "mknod")] == 0;
        let refused = [EPERM, EACCES].contains(errno) || (!made && *errno == ENOENT);
        assert!(refused, "{words}: {name} {errno}");
    }
    let seen: Vec<_> = found
        .iter()
        .filter(|(n, v)| n.starts_with("seen:") && **v == 1)
        .collect();
    assert!(seen.is_empty(), "{words}: {seen:?}");
    assert!(
        found
            .keys()
            .filter(|name| name.starts_with("seen:"))
            .count()
            >= 10
    );
    for (name, count) in found.iter().filter(|(name, _)| name.starts_with("bytes:")) {
        assert_eq!(*count, 0, "{words}: {name}");
    }
    let written = found.iter().filter(|(name, _)| name.starts_with("write:"));
    for (name, errno) in written {
        assert!(
            [EROFS, EACCES, ENOENT, EPERM, nix::libc::EISDIR].contains(errno),
            "{words}: {name} {errno}"
        );
    }
    assert_eq!(found["processes"], 1, "{words}");
}

fn skipped() -> bool {
    let other = !cfg!(target_arch = "x86_64");
    if other {
        eprintln!("skipped: the attacker speaks x86_64 only");
    }
    other
}

#[test]
fn with_dockers_rights() {
    if skipped() {
        return;
    }
    let lab = Lab::with_image();
    let found = worst(&lab, "");
    holds_always(&found, "default");
    for name in [
        "mount",
        "umount2",
        "open_tree",
        "fsopen",
        "unshare_user",
        "unshare_mount",
        "setns",
        "bpf",
        "perf_event_open",
        "init_module",
        "delete_module",
        "settimeofday",
        "clock_settime",
        "reboot",
        "swapon",
        "acct",
        "syslog",
        "sethostname",
        "iopl",
        "open_by_handle_at",
        "fanotify_init",
        "vsock",
    ] {
        assert_eq!(found[name], EPERM, "{name}");
    }
    assert_eq!(
        found["clone3"], ENOSYS,
        "so that the C library uses clone, whose flags can be judged"
    );
    assert_eq!(
        (found["raw_socket"], found["packet_socket"]),
        (0, 0),
        "CAP_NET_RAW is Docker's default"
    );
    assert_eq!(found["mknod-disk"], 0, "CAP_MKNOD is Docker's default");
}

#[test]
fn with_fewer_rights() {
    if skipped() {
        return;
    }
    let lab = Lab::with_image();
    for words in [
        "--cap-drop=NET_RAW --cap-drop=MKNOD",
        "--cap-drop=ALL",
        "-u 1000",
    ] {
        let found = worst(&lab, &format!("{words} --tmpfs /tmp:mode=1777"));
        holds_always(&found, words);
        for name in ["raw_socket", "packet_socket", "mknod-disk", "mknod-mem"] {
            assert_eq!(found[name], EPERM, "{words}: {name}");
        }
    }
}

#[test]
fn with_all_capabilities() {
    if skipped() {
        return;
    }
    let lab = Lab::with_image();
    // Calls that come back with a capability act on what is the container's own, or are refused for want of
    // arguments. What CAP_SYS_ADMIN can do with them is docs/isolation.md's subject.
    let found = worst(&lab, "--cap-add=ALL");
    holds_always(&found, "--cap-add=ALL");
    assert_eq!(found["mount"], 0, "CAP_SYS_ADMIN is there");
}
