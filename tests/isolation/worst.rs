//! A container told to do its worst: `tests/helpers/worst.rs` tries, and tells how each try ended.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::libc::{EACCES, EINVAL, ENOENT, ENOSYS, EPERM, EROFS, ESRCH, ETXTBSY};

use crate::common::Lab;
use crate::helpers::{digest, program};

/// Runs it with more words for `rmac run`; what it told, and nothing of the host has changed.
fn worst(lab: &Lab, words: &str) -> BTreeMap<String, i32> {
    let mark = lab.scratch().join("mark");
    std::fs::write(&mark, "the host's").unwrap();
    let volume = lab.scratch().join("volume");
    std::fs::create_dir_all(volume.join("inside")).unwrap();
    let before = host(lab);
    let said = lab.sh(&format!(
        "rmac run --rm --network none {words} -v {}:/worst:ro -v {}:/volume {} /worst {}",
        program("worst").display(),
        volume.display(),
        lab.image(),
        arguments(&mark)
    ));
    let said = said.ok();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let left = mounts
        .lines()
        .find(|line| line.contains(volume.to_str().unwrap()));
    assert_eq!(left, None, "{words}: a mount is left behind");
    assert_eq!(
        host(lab),
        before,
        "{words}: something of the host has changed"
    );
    parse(&said)
}

/// A file that nobody may see, this process, and the device that the host's root lies on.
fn arguments(mark: &Path) -> String {
    let device = std::fs::metadata("/").unwrap().dev();
    format!("{} {} {device}", mark.display(), std::process::id())
}

/// 1 where the attacker's volume lies on the host's root, whose number he knows.
fn root_by_number(lab: &Lab) -> i32 {
    let root = std::fs::metadata("/").unwrap();
    let there = |path: &Path| std::fs::metadata(path).unwrap().dev() == root.dev();
    let known = [2, 128, 64].contains(&root.ino());
    i32::from(known && there(&program("worst")) && there(&lab.scratch()))
}

/// 1 where the host's groups are v1's and who may mount can mount v2's tree, in which no container has a group.
fn groups_by_mount(found: &BTreeMap<String, i32>) -> i32 {
    let v2 = Path::new("/sys/fs/cgroup/cgroup.procs").exists();
    i32::from(!v2 && found["mount-cgroup2"] == 0)
}

fn parse(said: &str) -> BTreeMap<String, i32> {
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

/// What no container does, not even a privileged one: the root, the processes, the mounts.
fn stays_inside(found: &BTreeMap<String, i32>, words: &str) {
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
            >= 14
    );
    // A process of the host's has no number in there.
    for name in ["kill", "pidfd_open", "process_vm_readv", "ptrace"] {
        assert_eq!(found[&format!("{name}-host")], ESRCH, "{words}: {name}");
    }
    for name in ["memory", "environ", "root", "exe"] {
        assert_eq!(found[&format!("{name}-host")], ENOENT, "{words}: {name}");
    }
    let init = usize::from(words.contains("--init"));
    assert_eq!(found["processes"], 1 + init as i32, "{words}");
    // The cgroup namespace: neither a new hierarchy, nor the file that names the host's program.
    assert_ne!(found["mount-hierarchy"], 0, "{words}");
    assert_eq!(found["open-release_agent"], ENOENT, "{words}");
    // Of v2's tree, however it is mounted, there is nothing above the container's own group.
    let all = groups_by_mount(found);
    assert_eq!(found["root-of-groups"], all, "{words}");
}

/// What no container does, whatever capabilities it was given: the filter, the device list.
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
        let Some(made) = found.get(&name.replace("open", "mknod")) else {
            continue;
        };
        let made = *made == 0;
        let refused = [EPERM, EACCES].contains(errno) || (!made && *errno == ENOENT);
        assert!(refused, "{words}: {name} {errno}");
    }
    stays_inside(found, words);
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
}

/// What needs a capability that Docker does not give.
const REFUSED: [&str; 37] = [
    "mount",
    "umount2",
    "open_tree",
    "fsopen",
    "unshare_user",
    "unshare_mount",
    "unshare-user-mount",
    "mount-overlay-there",
    "mount-proc",
    "mount-tmpfs",
    "mount-overlay",
    "mount-cgroup",
    "mount-cgroup2",
    "mount-hierarchy",
    "mount-in-volume",
    "setxattr-opaque",
    "setxattr-redirect",
    "setxattr-metacopy",
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
    "by-handle-2",
    "by-handle-128",
    "by-handle-64",
    "fanotify_init",
    "vsock",
];

fn refused(found: &BTreeMap<String, i32>, words: &str) {
    for name in REFUSED {
        assert_eq!(found[name], EPERM, "{words}: {name}");
    }
    assert_eq!(
        found["clone3"], ENOSYS,
        "so that the C library uses clone, whose flags can be judged"
    );
    assert_eq!(found["seen-by-handle"], 0, "{words}");
}

/// Where the attacker can be let loose.
fn place() -> Option<Lab> {
    if !cfg!(target_arch = "x86_64") {
        eprintln!("skipped: the attacker speaks x86_64 only");
        return None;
    }
    Some(Lab::with_image())
}

#[test]
fn with_dockers_rights() {
    let Some(lab) = place() else { return };
    let found = worst(&lab, "");
    holds_always(&found, "default");
    refused(&found, "default");
    assert_eq!(
        (found["raw_socket"], found["packet_socket"]),
        (0, 0),
        "CAP_NET_RAW is Docker's default"
    );
    assert_eq!(found["mknod-disk"], 0, "CAP_MKNOD is Docker's default");
}

#[test]
fn with_fewer_rights() {
    let Some(lab) = place() else { return };
    for words in [
        "--cap-drop=NET_RAW --cap-drop=MKNOD",
        "--cap-drop=ALL",
        "-u 1000",
    ] {
        let found = worst(&lab, &format!("{words} --tmpfs /tmp:mode=1777"));
        holds_always(&found, words);
        refused(&found, words);
        for name in ["raw_socket", "packet_socket", "mknod-disk", "mknod-mem"] {
            assert_eq!(found[name], EPERM, "{words}: {name}");
        }
    }
}

#[test]
fn with_all_capabilities() {
    let Some(lab) = place() else { return };
    // Calls that come back with a capability act on what is the container's own, or are refused for want of
    // arguments. What CAP_SYS_ADMIN can do with them is docs/isolation.md's subject.
    let found = worst(&lab, "--cap-add=ALL");
    holds_always(&found, "--cap-add=ALL");
    assert_eq!(found["mount"], 0, "CAP_SYS_ADMIN is there");
    for name in ["mount-overlay", "mount-cgroup2"] {
        assert_eq!(found[name], 0, "and what {name} leads to was seen");
    }
    // CAP_DAC_READ_SEARCH opens the host's root by its number: docs/isolation.md
    assert_eq!(found["seen-by-handle"], root_by_number(&lab));
}

#[test]
fn privileged() {
    let Some(lab) = place() else { return };
    let found = worst(&lab, "--privileged");
    stays_inside(&found, "--privileged");
    // What it is for: no filter, no masks, the kernel's files can be written.
    for name in [
        "mount",
        "unshare_mount",
        "keyctl",
        "add_key",
        "userfaultfd",
        "mount-overlay",
        "mount-proc",
        "write:/proc/sys/kernel/core_pattern",
        "write:/proc/sys/vm/drop_caches",
    ] {
        assert_eq!(found[name], 0, "{name}");
    }
    for name in ["bytes:/proc/keys", "bytes:/proc/timer_list"] {
        assert_ne!(found[name], 0, "{name}");
    }
    assert_eq!(found["seen-by-handle"], root_by_number(&lab));
    // Devices open as they do on this host. The program may itself lie below /tmp, so it is opened before that is hidden.
    let host = lab.scratch().join("tmp");
    std::fs::create_dir_all(&host).unwrap();
    let said = lab.sh(&format!(
        "unshare --mount sh -c 'exec 9< {}; mount --bind {} /tmp; exec /proc/self/fd/9 devices {}'",
        program("worst").display(),
        host.display(),
        std::fs::metadata("/").unwrap().dev()
    ));
    let devices: Vec<_> = parse(&said.ok()).into_iter().collect();
    assert!(devices.iter().any(|(_, errno)| *errno == 0), "{devices:?}");
    for (name, errno) in devices {
        assert_eq!(found[&name], errno, "{name}: as on the host");
    }
    assert_ne!(
        found["request_key"], 0,
        "the caller's keyring is not the container's"
    );
}

#[test]
fn rmacs_own_process_1() {
    let Some(lab) = place() else { return };
    for words in ["--init", "--init -u 1000"] {
        let found = worst(&lab, &format!("{words} --tmpfs /tmp:mode=1777"));
        stays_inside(&found, words);
        for name in ["memory", "environ", "root", "exe"] {
            assert_eq!(found[&format!("{name}-init")], EACCES, "{words}: {name}");
        }
        for name in ["ptrace", "process_vm_readv"] {
            assert_eq!(found[&format!("{name}-init")], EPERM, "{words}: {name}");
        }
    }
    // Nobody makes its file writable, with all rights there are.
    let found = worst(&lab, "--init --privileged");
    stays_inside(&found, "--init --privileged");
    assert_eq!(found["ptrace-init"], 0, "CAP_SYS_PTRACE is there");
    assert_eq!(found["writable-mount-init"], EINVAL);
    assert_eq!(found["copied-mount-init"], EINVAL);
    assert!([EROFS, ETXTBSY].contains(&found["writable-init"]));
}

#[test]
fn a_stacks_attributes_are_not_the_containers() {
    let Some(lab) = place() else { return };
    let worst = program("worst");
    let said = lab.sh(&format!(
        "rmac run --name c1 --network none --cap-add=ALL -v {}:/worst:ro {} /worst /nosuch",
        worst.display(),
        lab.image()
    ));
    // Since Linux 6.7 they are kept under another name; before, they are refused.
    let found = parse(&said.ok());
    assert!([0, nix::libc::EOPNOTSUPP].contains(&found["setxattr-redirect"]));
    let id = lab.rmac(&["inspect", "-f", "{{.Id}}", "c1"]).ok();
    let etc = lab
        .root()
        .join("containers")
        .join(id.trim())
        .join("upper/etc");
    if !etc.exists() {
        let refused = found["setxattr-redirect"];
        assert_eq!(refused, nix::libc::EOPNOTSUPP, "so nothing was copied up");
        lab.rmac(&["rm", "-f", "c1"]).ok();
        return;
    }
    let named = lab.sh(&format!("{} attributes {}", worst.display(), etc.display()));
    let named = named.ok();
    for name in ["opaque", "redirect", "metacopy"] {
        let name = format!("trusted.overlay.{name}");
        assert!(!named.lines().any(|line| line == name), "{name}");
    }
    lab.rmac(&["rm", "-f", "c1"]).ok();
}

#[test]
fn a_mount_in_a_shared_volume_stays_inside() {
    let lab = Lab::with_image();
    let volume = lab.scratch().join("shared");
    std::fs::create_dir_all(&volume).unwrap();
    // As systemd leaves the whole host, here for one volume and in a mount namespace of the test's own.
    let script = format!(
        "mount -t tmpfs shared {volume}; mount --make-shared {volume}; mkdir {volume}/inside; \
         rmac run --rm --privileged --network none -v {volume}:/volume {image} \
         sh -c \"mount -t tmpfs inner /volume/inside && echo mounted\"; \
         grep -c {volume}/inside /proc/self/mountinfo",
        volume = volume.display(),
        image = lab.image()
    );
    let seen = lab.sh(&format!("unshare --mount bash -c '{script}'"));
    assert_eq!(seen.stdout, "mounted\n0\n", "{seen:?}");
}
