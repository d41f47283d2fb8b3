//! What the tests of the whole program share: a lab of their own, with rmac on its host.
//!
//! ```no_run
//! mod common;
//!
//! #[test]
//! fn a_container_has_an_end() {
//!     let lab = common::Lab::with_image();
//!     lab.rmac(&["run", "--rm", lab.image(), "true"]).ok();
//! }   // here the lab is taken down; what was left behind fails the test
//! ```
//!
//! Nothing is mocked: these are the kernel's namespaces, mounts and links, and the image is the one
//! that `scripts/fixture` makes. All state lies in a temporary directory. The tests need root.

#![allow(dead_code)] // each test file uses a part

pub mod bundle;
pub mod kernel;
pub mod lan;
pub mod net;
pub mod terminal;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The program under test.
pub const RMAC: &str = env!("CARGO_BIN_EXE_rmac");

/// How long the kernel may take to finish what it does in the background (network namespaces, links).
const PATIENCE: Duration = Duration::from_secs(5);

/// A virtual LAN that lives as long as the test, see `rmac lab`.
pub struct Lab {
    name: String,
    dir: PathBuf,
    /// The network namespace of the lab's host.
    netns: u64,
    /// Every container that was seen, to look for its cgroups in the end.
    seen: Mutex<BTreeSet<String>>,
}

/// What a command has said, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// The command, for messages.
    pub command: String,
    /// Its exit status; 128 and the signal where one killed it.
    pub code: i32,
    /// What it wrote to its output.
    pub stdout: String,
    /// What it wrote to its error output.
    pub stderr: String,
}

impl Lab {
    /// A lab without images.
    pub fn up() -> Lab {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test needs root: sudo scripts/test"
        );
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t-{}-{count}", std::process::id());
        let dir = std::env::temp_dir().join(format!("rmac-{name}"));
        std::fs::create_dir(&dir).unwrap();
        let mut lab = Lab {
            name,
            dir,
            netns: 0,
            seen: Mutex::default(),
        };
        lab.outside(&["lab", "up"]).ok();
        let inode = lab.sh("stat -L -c %i /proc/self/ns/net").ok();
        lab.netns = inode.trim().parse().unwrap();
        lab
    }

    /// A lab whose host has the image [`Lab::image`].
    pub fn with_image() -> Lab {
        let lab = Lab::up();
        let archive = fixtures().join(format!("{}.tar", image_name()));
        lab.rmac(&["load", "-q", "-i", archive.to_str().unwrap()])
            .ok();
        lab
    }

    /// The name of the fixtures' image: alpine, or busybox where Alpine could not be had.
    pub fn image(&self) -> &'static str {
        image_name()
    }

    /// rmac on the lab's host, with no input.
    pub fn rmac(&self, arguments: &[&str]) -> Output {
        run(self.command(RMAC).args(arguments))
    }

    /// A shell's script on the lab's host; `rmac` is in its PATH.
    pub fn sh(&self, script: &str) -> Output {
        run(self.command("bash").args(["-c", script]))
    }

    /// A shell's script on another station of the lab: `router` or `switch`.
    pub fn on(&self, station: &str, script: &str) -> Output {
        let arguments = ["lab", "run", "--on", station, "bash", "-c", script];
        self.outside(&arguments)
    }

    /// A shell's script that goes on running on another station; the test ends it.
    pub fn start_on(&self, station: &str, script: &str) -> std::process::Child {
        let mut command = self.bare(RMAC);
        command.args(["lab", "run", "--on", station, "bash", "-c", script]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        child.unwrap()
    }

    /// rmac outside of the lab, with the state in which the lab lies.
    pub fn outside(&self, arguments: &[&str]) -> Output {
        run(self.bare(RMAC).args(arguments))
    }

    /// A command on the lab's host, to be started as the test wants it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.bare(RMAC);
        command.args(["lab", "run", program]);
        command
    }

    /// Where rmac on the lab's host keeps its lasting state.
    pub fn root(&self) -> PathBuf {
        self.dir.join("lib/lab").join(&self.name)
    }

    /// Where it keeps what does not outlive a reboot.
    pub fn runroot(&self) -> PathBuf {
        self.labs().join("run")
    }

    /// A directory for the test's own files, removed with the lab.
    pub fn scratch(&self) -> PathBuf {
        let scratch = self.dir.join("scratch");
        std::fs::create_dir_all(&scratch).unwrap();
        scratch
    }

    /// Starts the fixtures' registry on the lab's host, for all of docker.io; it ends with the lab.
    pub fn registry(&self, options: &[&str]) {
        let dir = self.dir.join("registry");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/fixture");
        fixtures();
        let mut start = self.command(script.to_str().unwrap());
        run(start
            .args(["registry", dir.to_str().unwrap(), "5000"])
            .args(options))
        .ok();
        std::fs::copy(
            dir.join("registries.conf"),
            self.labs().join("registries.conf"),
        )
        .unwrap();
    }

    /// Where the registry of [`Lab::registry`] keeps its blobs.
    pub fn registry_store(&self) -> PathBuf {
        self.dir.join("registry/store")
    }

    /// Removes every container, and fails if anything of one is left: see [`Lab::leaks`].
    pub fn no_leaks(&self) {
        let containers = self.rmac(&["ps", "-a", "-q", "--no-trunc"]).ok();
        for id in containers.lines() {
            self.rmac(&["rm", "-f", id]).ok();
        }
        self.wait_for_none("left by containers", || self.leaks());
    }

    /// What containers have left behind on the lab's host, now: mounts in any namespace, links,
    /// processes, cgroups, leases and state.
    pub fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        for (mount, owner) in mounts_with(&self.dir) {
            // The lab's own: its pinned network namespaces.
            if !mount.contains(" nsfs ") {
                leaks.push(format!("mount (seen by process {owner}): {mount}"));
            }
        }
        let links = self.sh("ls /sys/class/net").ok();
        let foreign = links
            .split_whitespace()
            .filter(|link| !["lo", "eth0"].contains(link));
        leaks.extend(foreign.map(|link| format!("link: {link}")));
        leaks.extend(self.processes());
        leaks.extend(self.cgroups());
        for dir in [
            self.root().join("containers"),
            self.root().join("names"),
            self.runroot().join("containers"),
        ] {
            leaks.extend(entries(&dir).map(|name| format!("state: {}/{name}", dir.display())));
        }
        for network in entries(&self.root().join("networks")) {
            let leases = self.root().join("networks").join(&network).join("leases");
            let leases = std::fs::read_to_string(leases).unwrap_or_default();
            let held = leases.lines().filter(|line| line.starts_with("held"));
            leaks.extend(held.map(|lease| format!("lease: {lease}")));
        }
        leaks
    }

    /// Tells whether the process `pid` is on the lab's host.
    ///
    /// The number of a namespace that is gone is used again, so its environment must name the lab, too.
    pub fn is_here(&self, pid: i32) -> bool {
        let netns = std::fs::metadata(format!("/proc/{pid}/ns/net"));
        let environ = || std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let own = format!("RMAC_LAB={}", self.name);
        netns.is_ok_and(|netns| netns.ino() == self.netns)
            && environ()
                .split(|byte| *byte == 0)
                .any(|pair| pair == own.as_bytes())
    }

    /// The processes on the lab's host: none but the registry's, between commands.
    fn processes(&self) -> Vec<String> {
        let pids = entries(Path::new("/proc"));
        let here = pids.filter(|name| name.parse().is_ok_and(|pid| self.is_here(pid)));
        let command = |pid: String| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            format!("process {pid}: {}", line.replace('\0', " "))
        };
        let fixture = self.dir.join("registry");
        here.map(command)
            .filter(|line| !line.contains(fixture.to_str().unwrap()))
            .collect()
    }

    fn cgroups(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let mut found = Vec::new();
        let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    if entry
                        .file_name()
                        .to_str()
                        .is_some_and(|name| seen.contains(name))
                    {
                        found.push(format!("cgroup: {}", entry.path().display()));
                    }
                    open.push(entry.path());
                }
            }
        }
        found
    }

    fn wait_for_none(&self, what: &str, leaks: impl Fn() -> Vec<String>) {
        let begin = Instant::now();
        loop {
            let left = leaks();
            if left.is_empty() {
                return;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "{what}:\n  {}",
                left.join("\n  ")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Nothing of a mount that is still there may be removed through it.
    fn remove_files(&self) {
        if mounts_with(&self.dir).is_empty() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }

    fn labs(&self) -> PathBuf {
        self.dir.join("run/lab").join(&self.name)
    }

    /// A command of the machine's own host that finds this lab and this rmac.
    fn bare(&self, program: &str) -> Command {
        let seen = entries(&self.root().join("containers"));
        self.seen.lock().unwrap().extend(seen);
        let bin = Path::new(RMAC).parent().unwrap().display();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command
            .env("PATH", format!("{bin}:{path}"))
            .env("RMAC_ROOT", self.dir.join("lib"))
            .env("RMAC_RUNROOT", self.dir.join("run"))
            .env("RMAC_LAB", &self.name)
            .env_remove("CONTAINERS_REGISTRIES_CONF")
            .env_remove("DOCKER_CONFIG")
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The test has its own story to tell; just clean up.
            self.outside(&["lab", "down"]);
            self.remove_files();
            return;
        }
        // A test that fails for what containers have left takes its lab away, too.
        let clean = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.no_leaks()));
        let down = self.outside(&["lab", "down"]);
        if let Err(why) = clean {
            self.remove_files();
            std::panic::resume_unwind(why);
        }
        down.ok();
        self.wait_for_none("left by the lab", || {
            let mounts = mounts_with(&self.dir).into_iter().map(|(mount, _)| mount);
            let state = [self.root(), self.labs()]
                .into_iter()
                .filter(|dir| dir.exists());
            let state = state.map(|dir| format!("state: {}", dir.display()));
            mounts
                .chain(self.processes())
                .chain(self.cgroups())
                .chain(state)
                .collect()
        });
        self.remove_files();
    }
}

impl Output {
    /// Fails the test unless the command has ended with 0; the answer is its output.
    #[track_caller]
    pub fn ok(self) -> String {
        self.ended(0).stdout
    }

    /// Fails the test unless the command has ended with `code`.
    #[track_caller]
    pub fn ended(self, code: i32) -> Output {
        let Output {
            command,
            code: got,
            stdout,
            stderr,
        } = &self;
        assert_eq!(
            *got, code,
            "exit status of: {command}\nstdout: {stdout}\nstderr: {stderr}"
        );
        self
    }

    /// Fails the test unless `text` stands in what the command has written.
    #[track_caller]
    pub fn says(self, text: &str) -> Output {
        let Output {
            command,
            stdout,
            stderr,
            ..
        } = &self;
        let said = stdout.contains(text) || stderr.contains(text);
        assert!(
            said,
            "not said by: {command}\n{text:?}\nstdout: {stdout}\nstderr: {stderr}"
        );
        self
    }
}

/// Waits until it is so, five seconds at most.
#[track_caller]
pub fn wait_for(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(5), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Output {
    use std::os::unix::process::ExitStatusExt;
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{words:?}: {error}"));
    let status = output.status;
    Output {
        command: words.join(" "),
        code: status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The directory of the images that `scripts/fixture` makes, once.
pub fn fixtures() -> &'static Path {
    static IMAGES: OnceLock<PathBuf> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/fixture");
        PathBuf::from(run(Command::new(script).arg("alpine")).ok().trim())
    })
}

fn image_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let name = std::fs::read_to_string(fixtures().join("name")).unwrap();
        name.trim().to_owned()
    })
}

/// The mounts that name `dir`, in every mount namespace there is, each with a process that sees it.
fn mounts_with(dir: &Path) -> Vec<(String, String)> {
    let inside = format!("{}/", dir.display());
    let mut found = std::collections::BTreeMap::new();
    for pid in entries(Path::new("/proc")) {
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        for mount in mounts.lines().filter(|mount| mount.contains(&inside)) {
            found.entry(mount.to_owned()).or_insert_with(|| pid.clone());
        }
    }
    found.into_iter().collect()
}

/// The names in a directory; none, where there is no such directory.
fn entries(dir: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}
