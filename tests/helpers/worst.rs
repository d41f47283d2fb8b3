//! A program that tries everything that escapes of record began with, and tells for each how it ended:
//! `name errno`, 0 for success. The argument is a path of the host's which nobody may see.
//!
//! `worst with-key COMMAND...` runs a command in a session whose kernel keyring holds a secret.
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
    calls();
    devices();
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

/// Nodes can be made (CAP_MKNOD); what counts is whether they open.
fn devices() {
    for (name, kind, major, minor) in [
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
        "/sys/fs/cgroup/devices/cgroup.procs", "/sys/fs/cgroup/cgroup.procs", "/proc/sys/fs/binfmt_misc/register",
    ] {
        errno_of(&format!("write:{path}"), OpenOptions::new().write(true).open(path).and_then(|mut f| f.write(b"")));
    }
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
