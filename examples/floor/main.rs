//! The floor: what the kernel itself asks for a container, without a runtime around it.
//!
//! It makes the system calls that a container needs and nothing else: no command line to parse, no
//! store, no monitor, no log, no message where something fails but the errno. `scripts/bench` holds
//! rmac against it. Each part can be left out, which tells what it costs:
//!
//! ```text
//! floor nothing                                              what starting this program costs
//! floor filter FILE                                          writes the default seccomp filter
//! floor [--without PART].. run LAYER DIR PARENT ADDRESS GATEWAY FILTER PROGRAM
//! floor [--without PART].. exec PID CGROUP FILTER PROGRAM
//! floor clean DIR                                            takes away what `run` made
//! PART: net overlay mounts cgroup-mounts devices masks cgroup capabilities seccomp
//! ```
//!
//! What nobody has to wait for, the removal of directories and cgroups, is not in it: `clean` does that.
//!
//! The paths are those of an image that we trust: where rmac opens each target inside the tree before
//! it mounts anything there, this walks plain paths.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use rmac::sys::mounts::FsContext;
use rmac::sys::{self, Clone};

mod filter;
mod tree;
mod wires;

/// What is left out.
struct Without(Vec<String>);

impl Without {
    fn has(&self, part: &str) -> bool {
        !self.0.iter().any(|left_out| left_out == part)
    }
}

fn main() -> Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let mut without = Without(vec![]);
    while words.first().is_some_and(|word| word == "--without") && words.len() > 1 {
        without.0.push(words.remove(1));
        words.remove(0);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let code = match words[..] {
        ["nothing"] => 0,
        ["filter", file] => filter::write(file)?,
        ["clean", dir] => clean(Path::new(dir))?,
        ["run", layer, dir, parent, address, gateway, filter, program] => {
            let (address, prefix) = address.split_once('/').context("ADDRESS/PREFIX")?;
            let run = Run {
                without,
                layer,
                dir: Path::new(dir),
                wire: wires::Wire {
                    parent,
                    address: address.parse()?,
                    prefix: prefix.parse()?,
                    gateway: gateway.parse()?,
                },
                filter,
                program,
            };
            run.run()?
        }
        ["exec", pid, cgroup, filter, program] => {
            exec(&without, pid.parse()?, cgroup, filter, program)?
        }
        _ => bail!("usage: see the head of examples/floor"),
    };
    std::process::exit(code)
}

/// A container to be made, run and taken away.
struct Run<'a> {
    without: Without,
    /// The image's only layer.
    layer: &'a str,
    /// A directory for what belongs to this container.
    dir: &'a Path,
    wire: wires::Wire<'a>,
    /// The seccomp filter, as the kernel reads it.
    filter: &'a str,
    program: &'a str,
}

/// The v1 controllers that a container joins.
const CONTROLLERS: [&str; 6] = ["devices", "memory", "pids", "cpu", "cpuacct", "freezer"];

/// Docker's default list of devices.
const DEVICES: [&str; 12] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
];

/// The capabilities that Docker leaves to a container, as bits.
const CAPABILITIES: u64 = 0xa804_25fb;

impl Run<'_> {
    fn run(&self) -> Result<i32> {
        let filter = filter::read(self.filter)?;
        let cgroups = self.make_cgroups()?;
        fs::create_dir(self.dir)?;
        for name in ["work", "root"] {
            fs::create_dir(self.dir.join(name))?;
        }
        fs::DirBuilder::new()
            .mode(0o755)
            .create(self.dir.join("upper"))?;
        for (name, text) in [
            ("hosts", "127.0.0.1 localhost\n"),
            ("hostname", "floor\n"),
            ("resolv.conf", "nameserver 172.16.86.1\n"),
        ] {
            fs::write(self.dir.join(name), text)?;
        }
        let mut flags = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC;
        if self.without.has("net") {
            flags |= CloneFlags::CLONE_NEWNET;
        }
        let (wait, go) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let v2 = cgroups
            .first()
            .filter(|_| is_v2())
            .map(fs::File::open)
            .transpose()?;
        let cloned = sys::clone3(flags.bits() as u64, v2.as_ref().map(AsFd::as_fd))?;
        let Clone::Parent(pid, pidfd) = cloned else {
            drop(go);
            let outcome = self.become_program(&cgroups, &filter, &wait);
            eprintln!("floor: {outcome:?}");
            sys::exit_now(125)
        };
        if self.without.has("net") {
            self.wire.make(pid)?;
        }
        nix::unistd::write(&go, b"g")?;
        wait_for(&pidfd)
    }

    fn make_cgroups(&self) -> Result<Vec<PathBuf>> {
        if !self.without.has("cgroup") {
            return Ok(vec![]);
        }
        let dirs = cgroups(self.dir);
        dirs.iter().try_for_each(fs::create_dir)?;
        if is_v2() {
            return Ok(dirs);
        }
        fs::write(dirs[0].join("devices.deny"), "a")?;
        let allow = fs::OpenOptions::new()
            .write(true)
            .open(dirs[0].join("devices.allow"))?;
        for rule in DEVICES {
            nix::unistd::write(&allow, rule.as_bytes())?;
        }
        Ok(dirs)
    }

    /// The child's half, until execve(2).
    fn become_program(
        &self,
        cgroups: &[PathBuf],
        filter: &[nix::libc::sock_filter],
        wait: &OwnedFd,
    ) -> Result<()> {
        if !is_v2() {
            enter(cgroups)?;
        }
        let none: Option<&str> = None;
        if self.without.has("cgroup") {
            unshare(CloneFlags::CLONE_NEWCGROUP)?;
        }
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let root = self.dir.join("root");
        self.make_root(&root)?;
        std::env::set_current_dir(&root)?;
        if self.without.has("mounts") {
            self.make_mounts()?;
        }
        if self.without.has("masks") {
            tree::mask()?;
        }
        nix::unistd::sethostname("floor")?;
        nix::unistd::pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        std::env::set_current_dir("/")?;
        if self.without.has("net") {
            wires::inside(&self.wire, wait)?;
        }
        load(&self.without, filter, self.program)
    }

    fn make_root(&self, root: &Path) -> Result<()> {
        if !self.without.has("overlay") {
            let none: Option<&str> = None;
            return Ok(mount(Some(self.layer), root, none, MsFlags::MS_BIND, none)?);
        }
        let overlay = FsContext::open("overlay")?;
        overlay.set("lowerdir+", Path::new(self.layer))?;
        overlay.set("upperdir", &self.dir.join("upper"))?;
        overlay.set("workdir", &self.dir.join("work"))?;
        let tree = overlay.mount(0)?;
        Ok(sys::mounts::move_mount(
            tree.as_fd(),
            fs::File::open(root)?.as_fd(),
        )?)
    }

    fn make_mounts(&self) -> Result<()> {
        let none: Option<&str> = None;
        let safe = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
        let read_only = safe | MsFlags::MS_RDONLY;
        let fresh = |kind: &str, at: &str, flags: MsFlags, data: &str| {
            mount(Some(kind), at, Some(kind), flags, Some(data)).context(at.to_owned())
        };
        fresh("proc", "proc", safe, "")?;
        fresh("tmpfs", "dev", MsFlags::MS_NOSUID, "mode=755,size=65536k")?;
        for name in ["pts", "mqueue", "shm"] {
            fs::create_dir(Path::new("dev").join(name))?;
        }
        fresh(
            "devpts",
            "dev/pts",
            safe - MsFlags::MS_NODEV,
            "newinstance,ptmxmode=0666,mode=0620,gid=5",
        )?;
        fresh("sysfs", "sys", read_only, "")?;
        if self.without.has("cgroup-mounts") {
            if is_v2() {
                fresh("cgroup2", "sys/fs/cgroup", read_only, "")?;
            } else {
                fresh("tmpfs", "sys/fs/cgroup", safe, "mode=755")?;
                for controller in CONTROLLERS {
                    let at = format!("sys/fs/cgroup/{controller}");
                    fs::create_dir(&at)?;
                    mount(
                        Some("cgroup"),
                        at.as_str(),
                        Some("cgroup"),
                        read_only,
                        Some(controller),
                    )?;
                }
            }
        }
        fresh("mqueue", "dev/mqueue", safe, "")?;
        fresh("tmpfs", "dev/shm", safe, "mode=1777,size=65536k")?;
        for name in ["hosts", "hostname", "resolv.conf"] {
            let at = Path::new("etc").join(name);
            if !at.exists() {
                fs::write(&at, "")?;
            }
            mount(
                Some(&self.dir.join(name)),
                &at,
                none,
                MsFlags::MS_BIND,
                none,
            )?;
        }
        if self.without.has("devices") {
            tree::make_devices()?;
        }
        Ok(())
    }
}

/// The cgroups of the container in `dir`.
fn cgroups(dir: &Path) -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let name = dir.file_name().unwrap_or_default();
    match is_v2() {
        true => vec![base.join(name)],
        false => CONTROLLERS
            .iter()
            .map(|c| base.join(c).join(name))
            .collect(),
    }
}

fn clean(dir: &Path) -> Result<i32> {
    for dir in cgroups(dir) {
        fs::remove_dir(dir)?;
    }
    fs::remove_dir_all(dir)?;
    Ok(0)
}

/// One more process in the container of `pid`.
fn exec(without: &Without, pid: i32, cgroup: &str, filter: &str, program: &str) -> Result<i32> {
    let container = sys::pidfd_open(Pid::from_raw(pid))?;
    setns(&container, CloneFlags::CLONE_NEWPID)?;
    let base = Path::new("/sys/fs/cgroup");
    let v2 = is_v2()
        .then(|| fs::File::open(base.join(cgroup)))
        .transpose()?;
    let Clone::Parent(_, pidfd) = sys::clone3(0, v2.as_ref().map(AsFd::as_fd))? else {
        let inside = || -> Result<()> {
            if !is_v2() && without.has("cgroup") {
                enter(&CONTROLLERS.map(|c| base.join(c).join(cgroup)))?;
            }
            let mut flags = CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWIPC
                | CloneFlags::CLONE_NEWCGROUP;
            if without.has("net") {
                flags |= CloneFlags::CLONE_NEWNET;
            }
            // Read before the host's files are out of sight.
            let filter = filter::read(filter)?;
            setns(&container, flags)?;
            load(without, &filter, program)
        };
        eprintln!("floor: {:?}", inside());
        sys::exit_now(125)
    };
    wait_for(&pidfd)
}

fn enter(cgroups: &[PathBuf]) -> Result<()> {
    cgroups.iter().try_for_each(|dir| {
        let tasks = fs::OpenOptions::new().write(true).open(dir.join("tasks"))?;
        nix::unistd::write(&tasks, b"0")?;
        Ok(())
    })
}

fn load(without: &Without, filter: &[nix::libc::sock_filter], program: &str) -> Result<()> {
    if without.has("seccomp") {
        sys::seccomp::load(filter, 0)?;
    }
    if without.has("capabilities") {
        for number in 0..=40 {
            if CAPABILITIES & 1 << number == 0 {
                sys::capabilities::drop_bounding(number)?;
            }
        }
        sys::capabilities::capset(CAPABILITIES, CAPABILITIES, 0)?;
    }
    let program = std::ffi::CString::new(program)?;
    nix::unistd::execve(&program, &[&program], &[c"PATH=/bin:/usr/bin"])?;
    Ok(())
}

fn is_v2() -> bool {
    !Path::new("/sys/fs/cgroup/devices").exists()
}

/// The exit code of the program, which is waited for.
fn wait_for(pidfd: &OwnedFd) -> Result<i32> {
    match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED)? {
        WaitStatus::Exited(_, code) => Ok(code),
        other => bail!("{other:?}"),
    }
}
