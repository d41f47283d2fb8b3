//! A program that tries everything that escapes of record began with, and tells for each how it ended:
//! `name errno`, 0 for success. The arguments are a path of the host's which nobody may see, the number of a
//! process of the host's, and the number of the device that its root lies on.
//!
//! `worst devices DEVICE` tries those only, `worst attributes PATH` lists extended attributes. `worst with-key COMMAND...` runs a command in a session whose kernel keyring holds a secret.
#![allow(missing_docs)]

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;

unsafe extern "C" {
    fn syscall(number: i64, ...) -> i64;
}

fn main() {
    let mark = std::env::args().nth(1).expect("a path of the host's");
    if mark == "with-key" {
        with_key();
    }
    if mark == "attributes" {
        attributes(&std::env::args().nth(2).unwrap());
        return;
    }
    let number = |at: usize| -> u64 { std::env::args().nth(at).map_or(0, |word| word.parse().unwrap()) };
    if mark == "devices" {
        return devices(number(2));
    }
    masked(); // before a capability takes the masks away
    calls();
    mounts();
    processes(number(2));
    handles(&mark);
    devices(number(3));
    sockets();
    files();
    roots(&mark);
}

macro_rules! call {
    ($name:ident = $number:expr $(, $argument:expr)*) => {
        // SAFETY: arguments are integers, null, or C strings that live until the call is over.
        tell(stringify!($name), unsafe { syscall($number $(, $argument)*) })
    };
}

/// In a process of its own: what it would change stays there.
macro_rules! apart {
    ($name:ident = $number:expr $(, $argument:expr)*) => {
        // SAFETY: fork(2) in a process with one thread; the child ends in exit_group(2).
        match unsafe { syscall(57) } {
            0 => {
                call!($name = $number $(, $argument)*);
                // SAFETY: ends the child.
                unsafe { syscall(231, 0u64) };
            }
            // SAFETY: waits for any child, and wants to know nothing of it.
            _ => drop(unsafe { syscall(61, -1i64, 0usize, 0u64, 0usize) }),
        }
    };
}

/// The names of a file's extended attributes.
fn attributes(path: &str) {
    let (path, mut names) = (CString::new(path).unwrap(), vec![0u8; 4096]);
    // SAFETY: listxattr(2) with a C string and a buffer of the length told.
    let length = unsafe { syscall(194, path.as_ptr(), names.as_mut_ptr(), names.len()) };
    for name in names[..usize::try_from(length).unwrap()].split(|byte| *byte == 0) {
        println!("{}", String::from_utf8_lossy(name));
    }
}

fn with_key() -> ! {
    let (kind, name, text) = (c"user".as_ptr(), c"rmac-host-secret".as_ptr(), c"s".as_ptr());
    // SAFETY: C strings that live until the calls are over.
    let key = unsafe {
        syscall(250, 1u64, 0usize);
        syscall(248, kind, name, text, 1u64, -3i64)
    };
    assert!(key > 0, "add_key: {}", std::io::Error::last_os_error());
    let mut words = std::env::args().skip(2);
    let mut command = std::process::Command::new(words.next().unwrap());
    panic!("{}", std::os::unix::process::CommandExt::exec(command.args(words)));
}

fn tell(name: &str, answer: i64) {
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    println!("{name} {}", if answer < 0 { errno } else { 0 });
}

#[rustfmt::skip]
fn calls() {
    let null = 0usize;
    let root = c"/tmp".as_ptr();
    let tmpfs = c"tmpfs".as_ptr();
    call!(mount = 165, tmpfs, root, tmpfs, 0u64, null);
    call!(umount2 = 166, c"/proc/kcore".as_ptr(), 0u64);
    call!(open_tree = 428, -100i64, root, 1u64);
    call!(fsopen = 430, tmpfs, 0u64);
    apart!(unshare_user = 272, 0x1000_0000u64);
    apart!(unshare_mount = 272, 0x2_0000u64);
    apart!(setns = 308, File::open("/proc/1/ns/net").map_or(-1, |f| std::os::fd::IntoRawFd::into_raw_fd(f) as i64), 0u64);
    call!(clone3 = 435, null, 0u64);
    call!(bpf = 321, 0u64, null, 0u64);
    call!(keyctl = 250, 0u64, -3i64, 0u64);
    call!(add_key = 248, c"user".as_ptr(), c"a".as_ptr(), c"b".as_ptr(), 1u64, -3i64);
    call!(request_key = 249, c"user".as_ptr(), c"rmac-host-secret".as_ptr(), null, 0u64);
    call!(perf_event_open = 298, null, 0u64, -1i64, -1i64, 0u64);
    apart!(userfaultfd = 323, 0u64);
    call!(io_uring_setup = 425, 1u64, null);
    call!(kexec_load = 246, 0u64, 0u64, null, 0u64);
    call!(init_module = 175, null, 0u64, c"".as_ptr());
    call!(delete_module = 176, c"nosuch".as_ptr(), 0u64);
    call!(settimeofday = 164, null, null);
    call!(clock_settime = 227, 0u64, null);
    call!(reboot = 169, 0xfee1_deadu64, 672_274_793u64, 0u64);
    call!(swapon = 167, c"/nosuch".as_ptr(), 0u64);
    call!(acct = 163, c"/nosuch".as_ptr());
    call!(syslog = 103, 3u64, null, 0u64);
    apart!(sethostname = 170, c"evil".as_ptr(), 4u64);
    apart!(iopl = 172, 3u64);
    call!(open_by_handle_at = 304, -100i64, null, 0u64);
    call!(fanotify_init = 300, 0u64, 0u64);
    call!(nfsservctl = 180, 0u64, null, null);
}

const PATH: u32 = 0o10_000_000;

/// Calls a number with strings and integers; the errno is told.
fn tries(name: &str, number: i64, arguments: &[u64]) -> i64 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: integers, null, or the addresses of C strings that live until the call is over.
    let answer = unsafe { syscall(number, a, b, c, d, e, f) };
    tell(name, answer);
    answer
}

/// What mounts lead to, and what a stack of them would be told by attributes of the attacker's.
fn mounts() {
    let word = |text: &'static std::ffi::CStr| text.as_ptr() as u64;
    let _ = ["low", "fs", "all", "cgroup", "cgroup2", "proc"].map(|name| std::fs::create_dir_all(format!("/tmp/stack/{name}")));
    let _ = std::os::unix::fs::symlink("/proc/1/root", "/tmp/stack/low/out");
    for (name, attribute) in [
        ("opaque", c"trusted.overlay.opaque"), ("redirect", c"trusted.overlay.redirect"),
        ("metacopy", c"trusted.overlay.metacopy"),
    ] {
        // On the container's own root, which is such a stack.
        tries(&format!("setxattr-{name}"), 188, &[word(c"/etc"), word(attribute), word(c"/.."), 3, 0]);
    }
    tries("mount-proc", 165, &[word(c"proc"), word(c"/tmp/stack/proc"), word(c"proc"), 0, 0]);
    // On tmpfs: overlay takes no overlay as its upper directory.
    tries("mount-tmpfs", 165, &[word(c"tmpfs"), word(c"/tmp/stack/fs"), word(c"tmpfs"), 0, 0]);
    let _ = ["up", "work"].map(|name| std::fs::create_dir_all(format!("/tmp/stack/fs/{name}")));
    let layers = c"lowerdir=/tmp/stack/low:/,upperdir=/tmp/stack/fs/up,workdir=/tmp/stack/fs/work";
    tries("mount-overlay", 165, &[word(c"overlay"), word(c"/tmp/stack/all"), word(c"overlay"), 0, word(layers)]);
    tries("mount-cgroup", 165, &[word(c"cgroup"), word(c"/tmp/stack/cgroup"), word(c"cgroup"), 0, word(c"devices")]);
    tries("mount-hierarchy", 165, &[word(c"cgroup"), word(c"/tmp/stack/cgroup"), word(c"cgroup"), 0, word(c"none,name=evil")]);
    tries("mount-cgroup2", 165, &[word(c"cgroup2"), word(c"/tmp/stack/cgroup2"), word(c"cgroup2"), 0, 0]);
    // Only the root of all groups has no such file.
    let there = |name: &str| std::path::Path::new("/tmp/stack/cgroup2").join(name).exists();
    println!("root-of-groups {}", u8::from(there("cgroup.procs") && !there("cgroup.events")));
    errno_of("open-release_agent", OpenOptions::new().write(true).open("/tmp/stack/cgroup/release_agent"));
    // A mount below a volume must not come out at the other end of it.
    tries("mount-in-volume", 165, &[word(c"tmpfs"), word(c"/volume/inside"), word(c"tmpfs"), 0, 0]);
    // As an ordinary user: all rights in a user namespace of its own first.
    // SAFETY: fork(2) in a process with one thread; the child ends in exit_group(2).
    match unsafe { syscall(57) } {
        0 => {
            tries("unshare-user-mount", 272, &[0x1002_0000]);
            tries("mount-overlay-there", 165, &[word(c"overlay"), word(c"/tmp/stack/all"), word(c"overlay"), 0, word(layers)]);
            // SAFETY: ends the child.
            unsafe { syscall(231, 0u64) };
        }
        // SAFETY: waits for any child, and wants to know nothing of it.
        _ => drop(unsafe { syscall(61, -1i64, 0usize, 0u64, 0usize) }),
    }
}

/// A process of the host's by its number there, and process 1 of the container.
fn processes(host: u64) {
    for (who, pid) in [("host", host), ("init", 1)] {
        if pid == u64::from(std::process::id()) {
            continue;
        }
        tries(&format!("kill-{who}"), 62, &[pid, 0]);
        tries(&format!("pidfd_open-{who}"), 434, &[pid, 0]);
        let bytes = [0u64; 1];
        let part = [bytes.as_ptr() as u64, 8];
        tries(&format!("process_vm_readv-{who}"), 310, &[pid, part.as_ptr() as u64, 1, part.as_ptr() as u64, 1, 0]);
        errno_of(&format!("memory-{who}"), File::open(format!("/proc/{pid}/mem")));
        errno_of(&format!("environ-{who}"), std::fs::read(format!("/proc/{pid}/environ")));
        errno_of(&format!("root-{who}"), std::fs::metadata(format!("/proc/{pid}/root/")));
        errno_of(&format!("exe-{who}"), std::fs::read_link(format!("/proc/{pid}/exe")));
        if tries(&format!("ptrace-{who}"), 101, &[0x4206, pid, 0, 0]) == 0 {
            // SAFETY: PTRACE_INTERRUPT, wait4(2) with __WALL, PTRACE_DETACH.
            unsafe {
                syscall(101, 0x4207u64, pid, 0u64, 0u64);
                syscall(61, pid, 0usize, 0x4000_0000u64, 0usize);
                syscall(101, 17u64, pid, 0u64, 0u64);
            }
        }
        // The file that process 1 runs: once more with a mount that can be written, or as it is.
        let Ok(exe) = CString::new(format!("/proc/{pid}/exe")) else { continue };
        // SAFETY: a C string that lives until the call is over.
        let file = unsafe { syscall(257, -100i64, exe.as_ptr(), u64::from(PATH)) };
        if file < 0 {
            continue;
        }
        let clear = [0u64, 1, 0, 0];
        let (nothing, attributes) = (c"".as_ptr() as u64, clear.as_ptr() as u64);
        tries(&format!("writable-mount-{who}"), 442, &[file as u64, nothing, 0x1000, attributes, 32]);
        tries(&format!("copied-mount-{who}"), 428, &[file as u64, nothing, 0x1001]);
        errno_of(&format!("writable-{who}"), OpenOptions::new().write(true).open(format!("/proc/self/fd/{file}")));
    }
}

/// "Shocker": any file of the file system that something of the host's is bound from, by its number.
fn handles(mark: &str) {
    let Ok(volume) = File::open("/worst") else { return };
    let volume = std::os::fd::AsRawFd::as_raw_fd(&volume) as i64;
    // The root of ext4 is number 2, that of xfs 128, of others what the kernel says.
    let mut open = 0;
    for root in [2u32, 128, 64, 1] {
        let mut handle = [8u32, 1, root, 0];
        // SAFETY: a struct file_handle of eight bytes, type FILEID_INO32_GEN, which lives until the call is over.
        let fd = unsafe { syscall(304, volume, handle.as_mut_ptr(), 0o200000u64) };
        tell(&format!("by-handle-{root}"), fd);
        if fd >= 0 {
            open = fd;
        }
    }
    let seen = open > 0 && std::fs::metadata(format!("/proc/self/fd/{open}{mark}")).is_ok();
    println!("seen-by-handle {}", u8::from(seen));
}

/// Nodes can be made (CAP_MKNOD); what counts is whether they open.
fn devices(root: u64) {
    for (name, kind, major, minor) in [
        ("root", 0o060000u64, (root >> 8) & 0xfff, root & 0xff),
        ("disk", 0o060000u64, 8u64, 0u64), ("vda", 0o060000, 254, 0), ("loop", 0o060000, 7, 0),
        ("mem", 0o020000, 1, 1), ("port", 0o020000, 1, 4), ("kmsg", 0o020000, 1, 11),
        ("msr", 0o020000, 202, 0), ("fuse", 0o020000, 10, 229), ("loop-control", 0o020000, 10, 237),
    ] {
        let path = format!("/tmp/{name}");
        let c_path = CString::new(path.clone()).unwrap();
        let number = (major << 8) | minor;
        // SAFETY: a C string that lives until the call is over.
        let made = unsafe { syscall(133, c_path.as_ptr(), kind | 0o600, number) };
        tell(&format!("mknod-{name}"), made);
        errno_of(&format!("open-{name}"), OpenOptions::new().read(true).open(&path));
    }
}

#[rustfmt::skip]
fn sockets() {
    call!(raw_socket = 41, 2u64, 3u64, 1u64);
    call!(packet_socket = 41, 17u64, 3u64, 0u64);
    call!(vsock = 41, 40u64, 1u64, 0u64);
    call!(audit_socket = 41, 16u64, 3u64, 9u64);
}

fn files() {
    for path in [
        "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname",
        "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger", "/proc/irq/0/smp_affinity", "/proc/bus/pci",
        "/sys/kernel/uevent_helper", "/sys/kernel/mm/ksm/run", "/sys/fs/cgroup/release_agent",
        "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/devices/devices.allow",
        "/sys/fs/cgroup/devices/cgroup.procs", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/cgroup.subtree_control",
        "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/cgroup.freeze", "/sys/fs/cgroup/cgroup.kill",
        "/proc/sys/fs/binfmt_misc/register",
    ] {
        errno_of(&format!("write:{path}"), OpenOptions::new().write(true).open(path).and_then(|mut f| f.write(b"")));
    }
    // A group of its own: in v2's tree, and in one of v1's; or a directory where these are gathered.
    for evil in ["/sys/fs/cgroup/evil", "/sys/fs/cgroup/memory/evil"] {
        if std::path::Path::new(evil).parent().is_some_and(std::path::Path::exists) {
            errno_of(&format!("write:{evil}"), std::fs::create_dir(evil).and_then(|()| std::fs::remove_dir(evil)));
        }
    }
}

/// What the masks hide.
fn masked() {
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/latency_stats", "/proc/sched_debug"] {
        let length = File::open(path).map_or(0, |f| {
            let mut bytes = vec![];
            f.take(4096).read_to_end(&mut bytes).unwrap_or(0)
        });
        println!("bytes:{path} {length}");
    }
}

/// Every way to another root.
fn roots(mark: &str) {
    let seen = |name: &str, path: String| println!("seen:{name} {}", u8::from(std::fs::metadata(path).is_ok()));
    seen("own", mark.to_owned());
    for mount in ["all", "all/out", "proc/1/root", "fs"] {
        seen(&format!("mount-{mount}"), format!("/tmp/stack/{mount}{mark}"));
    }
    for pid in ["1", "self"] {
        for link in ["root", "cwd"] {
            seen(&format!("{pid}-{link}"), format!("/proc/{pid}/{link}{mark}"));
            seen(&format!("above-{pid}-{link}"), format!("/proc/{pid}/{link}/../../..{mark}"));
        }
    }
    for fd in 0..64 {
        if std::fs::metadata(format!("/proc/self/fd/{fd}/..{mark}")).is_ok() {
            println!("seen:fd-{fd} 1");
        }
    }
    // The jail of chroot(2) can be left by who may call it again; pivot_root(2) has left nothing outside.
    std::fs::create_dir_all("/tmp/jail").unwrap();
    // SAFETY: C strings that live until the calls are over.
    unsafe {
        syscall(161, c"/tmp/jail".as_ptr());
        for _ in 0..32 {
            syscall(80, c"..".as_ptr());
        }
        syscall(161, c".".as_ptr());
    }
    seen("chroot", mark.to_owned());
    let others = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let others = others.filter(|e| e.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()));
    println!("processes {}", others.count());
    println!("root-inode {}", std::fs::metadata("/").map_or(0, |m| m.ino()));
}

fn errno_of<T>(name: &str, result: std::io::Result<T>) {
    println!("{name} {}", result.err().and_then(|e| e.raw_os_error()).unwrap_or(0));
}
