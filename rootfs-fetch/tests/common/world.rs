//! A scratch world: a small file system of its own, in a mount namespace of its own, that hostile images are let
//! loose in. Whatever leaves the store hits something in it, and the digest of all the rest tells.

use std::fmt::Write as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rootfs_fetch::Digest;

use super::{Temp, need_root};

/// Where the store lies; everything else must stay as it is.
pub const STORE: &str = "/store";

/// The most memory that one case may take beyond what the test itself holds.
pub const MEMORY: u64 = 64 << 20;

/// The most disk that one case may leave taken.
pub const DISK: u64 = 96 << 20;

/// The world, entered.
pub struct World {
    before: String,
}

impl World {
    /// Runs `body` in a process of its own, this test's program again, which enters a new world.
    pub fn run(test: &str, body: impl FnOnce(&World)) {
        need_root();
        if std::env::var_os("HOSTILE_WORLD").is_some() {
            let place = Temp::new();
            let world = World::enter(&place.0);
            body(&world);
            // The old root, where `place` lies, is out of reach; its directory is the parent's to delete.
            std::mem::forget(place);
            return;
        }
        let temp = Temp::new();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--test-threads=1", "--nocapture"])
            .env("HOSTILE_WORLD", "1")
            .env("TMPDIR", &temp.0)
            .env("NO_PROXY", "*")
            .env("DOCKER_CONFIG", "/store/docker")
            .env("CONTAINERS_REGISTRIES_CONF", "/dev/null")
            .env("SSL_CERT_FILE", "/etc/ca.pem")
            .output()
            .unwrap();
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(output.status.success(), "{told}");
        assert!(told.contains("1 passed"), "{told}");
    }

    fn enter(place: &Path) -> World {
        let none: Option<&str> = None;
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let tmpfs = |at: &Path, size: &str| {
            let options = format!("mode=755,size={size}");
            mount(
                Some("none"),
                at,
                Some("tmpfs"),
                MsFlags::empty(),
                Some(options.as_str()),
            )
            .unwrap();
        };
        tmpfs(place, "64m");
        populate(place);
        tmpfs(&place.join("store"), "512m");
        mount(
            Some("proc"),
            &place.join("proc"),
            Some("proc"),
            MsFlags::empty(),
            none,
        )
        .unwrap();
        std::env::set_current_dir(place).unwrap();
        nix::unistd::pivot_root(".", ".").unwrap();
        umount2(".", MntFlags::MNT_DETACH).unwrap();
        std::env::set_current_dir("/home/anna").unwrap();
        World { before: digest() }
    }

    /// Does one case in an empty store: what it takes must stay within bounds, what it changes within the store.
    pub fn case<T>(&self, name: &str, act: impl FnOnce() -> T) -> T {
        // Peak memory starts anew: proc_pid_clear_refs(5).
        fs_err::write("/proc/self/clear_refs", "5").unwrap();
        let (memory, start) = (kilobytes("VmRSS"), Instant::now());
        let outcome = act();
        let took = kilobytes("VmHWM").saturating_sub(memory) << 10;
        let time = start.elapsed();
        eprintln!(
            "{name}: {} KiB, {} ms, {} KiB on disk",
            took >> 10,
            time.as_millis(),
            used() >> 10
        );
        assert!(took < MEMORY, "{name}: took {took} bytes of memory");
        assert!(used() < DISK, "{name}: takes {} bytes on disk", used());
        assert!(time < Duration::from_secs(60), "{name}: took {time:?}");
        self.unchanged(name);
        for entry in fs_err::read_dir(STORE).unwrap() {
            rootfs_fetch::root::remove_tree(&entry.unwrap().path()).unwrap();
        }
        self.unchanged(name);
        outcome
    }

    fn unchanged(&self, name: &str) {
        let now = digest();
        let differ = |a: &str, b: &str| -> Vec<String> {
            a.lines()
                .filter(|l| !b.lines().any(|m| m == *l))
                .map(str::to_owned)
                .collect()
        };
        assert!(
            now == self.before,
            "{name}: outside of the store, gone: {:#?}, new: {:#?}",
            differ(&self.before, &now),
            differ(&now, &self.before)
        );
    }
}

/// What an attacker would like to reach.
fn populate(place: &Path) {
    let files: [(&str, u32); 9] = [
        ("etc/passwd", 0o644),
        ("etc/shadow", 0o600),
        ("etc/ld.so.preload", 0o644),
        ("etc/cron.d/job", 0o644),
        ("bin/sh", 0o755),
        ("usr/bin/sudo", 0o4755),
        ("home/anna/.ssh/authorized_keys", 0o600),
        ("out/victim", 0o644),
        ("out/d/deep", 0o644),
    ];
    for (name, mode) in files {
        let path = place.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, format!("untouched {name}")).unwrap();
        fs_err::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }
    for name in ["proc", "store", "tmp", "dev", "var/empty", "root"] {
        fs_err::create_dir_all(place.join(name)).unwrap();
    }
    fs_err::write(place.join("etc/ca.pem"), super::tls::trusted()).unwrap();
    fs_err::os::unix::fs::symlink("../etc", place.join("var/etc")).unwrap();
    fs_err::os::unix::fs::symlink("/store", place.join("out/store")).unwrap();
    let (kind, null) = (
        nix::sys::stat::SFlag::S_IFCHR,
        nix::sys::stat::makedev(1, 3),
    );
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    nix::sys::stat::mknod(&place.join("dev/null"), kind, mode, null).unwrap();
    nix::unistd::mkfifo(&place.join("dev/log"), mode).unwrap();
    xattr::set(place.join("out/victim"), "trusted.mark", b"mine").unwrap();
}

/// Everything but the store and /proc: path, type, mode, owner, links, size, device, times, content, attributes.
fn digest() -> String {
    let mut out = String::new();
    let mut todo = vec![PathBuf::from("/")];
    while let Some(path) = todo.pop() {
        let meta = fs_err::symlink_metadata(&path).unwrap();
        let border = ["/proc", STORE].iter().any(|b| path == Path::new(b));
        let _ = write!(
            out,
            "{path:?} {:o} {} {}",
            meta.mode(),
            meta.uid(),
            meta.gid()
        );
        if border {
            out.push('\n');
            continue;
        }
        let _ = write!(
            out,
            " {} {} {} {}",
            meta.ino(),
            meta.nlink(),
            meta.size(),
            meta.rdev()
        );
        let _ = write!(out, " {}.{}", meta.mtime(), meta.mtime_nsec());
        // The time of the last change of any kind: even what was put back would show.
        let _ = write!(out, " {}.{}", meta.ctime(), meta.ctime_nsec());
        let kind = meta.file_type();
        if kind.is_file() {
            let _ = write!(out, " {}", Digest::of(&fs_err::read(&path).unwrap()));
        } else if kind.is_symlink() {
            let _ = write!(out, " -> {:?}", fs_err::read_link(&path).unwrap());
        } else if kind.is_dir() {
            let inside = fs_err::read_dir(&path).unwrap().map(|e| e.unwrap().path());
            let mut inside: Vec<_> = inside.collect();
            inside.sort();
            todo.extend(inside);
        } else {
            assert!(kind.is_char_device() || kind.is_fifo(), "{path:?}");
        }
        for name in xattr::list(&path).unwrap() {
            let _ = write!(out, " {name:?}={:?}", xattr::get(&path, &name).unwrap());
        }
        out.push('\n');
    }
    out
}

fn used() -> u64 {
    let disk = nix::sys::statvfs::statvfs(STORE).unwrap();
    (disk.blocks() - disk.blocks_free()) * disk.fragment_size()
}

fn kilobytes(field: &str) -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
    let number = line.and_then(|l| l.split_whitespace().next()).unwrap();
    number.parse().unwrap()
}
