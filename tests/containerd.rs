//! containerd with rmac-oci as its runtime: run, exec, pause, kill, and what is left, on the fixtures' image.

mod common;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use common::bundle::RMAC_OCI;
use common::{Output, fixtures, run};

/// A containerd of the test's own, in namespaces of its own: all of it ends with its first process.
struct Containerd {
    dir: PathBuf,
    programs: PathBuf,
    daemon: Child,
    /// The daemon, as the host numbers it.
    pid: String,
}

impl Containerd {
    fn new() -> Option<Containerd> {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test needs root: sudo scripts/test"
        );
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/fixture");
        let found = run(Command::new(script).arg("containerd"));
        if found.code != 0 {
            println!("skipped: containerd with rmac-oci: {}", found.stderr.trim());
            return None;
        }
        let programs = PathBuf::from(found.stdout.trim());
        let dir = std::env::temp_dir().join(format!("rmac-containerd-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        // Snapshots by plain copies work on every file system.
        let config = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = \"{0}/socket\"\n",
            dir.display()
        );
        std::fs::write(dir.join("config.toml"), config).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        // Shims and clients meet in /run/containerd, wherever the daemon keeps its state.
        let daemon = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", "mount -t tmpfs run /run && exec \"$@\"", "sh"])
            .arg(programs.join("containerd"))
            .args(["--config", "config.toml"])
            .env("PATH", path(&programs))
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut containerd = Containerd {
            dir,
            programs,
            daemon,
            pid: String::new(),
        };
        containerd.pid = containerd.wait();
        Some(containerd)
    }

    /// The number of the daemon, once it answers.
    fn wait(&mut self) -> String {
        let children = format!("/proc/{0}/task/{0}/children", self.daemon.id());
        for _ in 0..200 {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let child = std::fs::read_to_string(&children).unwrap_or_default();
            let Some(pid) = child.split_whitespace().next() else {
                continue;
            };
            self.pid = pid.to_owned();
            if self.dir.join("socket").exists() && self.call(&["version"]).code == 0 {
                return pid.to_owned();
            }
        }
        panic!(
            "containerd does not answer: {}",
            std::fs::read_to_string(self.dir.join("log")).unwrap()
        );
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid, "--mount", "--pid"])
            .arg(self.programs.join("ctr"))
            .arg("--address")
            .arg(self.dir.join("socket"))
            .args(arguments)
            .stdin(Stdio::null());
        run(&mut command)
    }

    fn run(&self, flags: &[&str], arguments: &[&str]) -> Output {
        let name = arguments[1];
        let cgroup = format!("/rmac/containerd-{}-{name}", std::process::id());
        let first = ["run", "--runc-binary", RMAC_OCI, "--snapshotter", "native"];
        self.call(&[&first[..], &["--cgroup", &cgroup], flags, arguments].concat())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn path(first: &std::path::Path) -> std::ffi::OsString {
    let others = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(first.to_owned()).chain(std::env::split_paths(&others));
    std::env::join_paths(all).unwrap()
}

#[test]
fn containerd_runs_containers_with_rmac_oci() {
    let Some(containerd) = Containerd::new() else {
        return;
    };
    let name = std::fs::read_to_string(fixtures().join("name")).unwrap();
    let name = name.trim();
    let archive = fixtures().join(format!("{name}.tar"));
    containerd
        .call(&["images", "import", archive.to_str().unwrap()])
        .ok();
    let image = format!("docker.io/library/{name}:latest");

    let script = "id -u; cat /proc/1/comm; exit 3";
    let said = containerd.run(&["--rm"], &[&image, "one", "sh", "-c", script]);
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (3, "0\nsh\n"),
        "{said:?}"
    );
    let said = containerd.run(&["--rm"], &[&image, "none", "nosuch"]);
    assert!(
        said.code != 0 && said.stderr.contains("executable file not found"),
        "{said:?}"
    );
    containerd.call(&["containers", "rm", "none"]);

    containerd
        .run(&["--detach"], &[&image, "two", "sleep", "1000"])
        .ok();
    let tasks = |word: &str| containerd.call(&["tasks", "ls"]).says(word).ok();
    tasks("RUNNING");
    let exec = |id: &str, script: &str| {
        containerd.call(&["tasks", "exec", "--exec-id", id, "two", "sh", "-c", script])
    };
    let said = exec("a", "cat /proc/1/cmdline | tr '\\0' ' '; exit 9");
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (9, "sleep 1000 "),
        "{said:?}"
    );
    containerd.call(&["tasks", "ps", "two"]).says("PID").ok();
    containerd
        .call(&["tasks", "metrics", "two"])
        .says("memory")
        .ok();
    containerd.call(&["tasks", "pause", "two"]).ok();
    tasks("PAUSED");
    containerd.call(&["tasks", "resume", "two"]).ok();
    tasks("RUNNING");
    containerd
        .call(&["tasks", "kill", "--signal", "SIGKILL", "two"])
        .ok();
    for _ in 0..100 {
        if containerd.call(&["tasks", "ls"]).stdout.contains("STOPPED") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    tasks("STOPPED");
    containerd.call(&["tasks", "rm", "two"]);
    containerd.call(&["containers", "rm", "two"]).ok();
    assert_eq!(containerd.call(&["containers", "ls", "-q"]).ok(), "");
}
