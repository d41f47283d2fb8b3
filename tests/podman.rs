//! podman with rmac-oci as its runtime: run, exec, pause, logs, stop, on the fixtures' image.

mod common;

use std::path::PathBuf;
use std::process::Command;

use common::bundle::RMAC_OCI;
use common::{Output, fixtures, run};

/// A podman with a store of its own; gone with all its containers in the end.
struct Podman(PathBuf);

impl Podman {
    fn new() -> Option<Podman> {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test needs root: sudo scripts/test"
        );
        if Command::new("podman").arg("--version").output().is_err() {
            println!("skipped: podman with rmac-oci: podman is not here");
            return None;
        }
        let dir = std::env::temp_dir().join(format!("rmac-podman-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Some(Podman(dir))
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let at = |name: &str| self.0.join(name).to_str().unwrap().to_owned();
        let mut command = Command::new("podman");
        command
            .args(["--root", &at("root"), "--runroot", &at("run")])
            .args(["--tmpdir", &at("tmp"), "--storage-driver", "vfs"])
            .args(["--cgroup-manager", "cgroupfs", "--events-backend", "none"])
            .args(["--runtime", RMAC_OCI])
            .args(arguments);
        run(&mut command)
    }

    /// podman's default limits are above those that some machines give.
    fn run(&self, arguments: &[&str]) -> Output {
        let limits = [
            "--ulimit",
            "nofile=1000:1000",
            "--ulimit",
            "nproc=1000:1000",
        ];
        let first = ["run", "--network", "none"];
        self.call(&[&first[..], &limits[..], arguments].concat())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.call(&["rm", "--all", "--force", "--time", "0"]);
        self.call(&["rmi", "--all", "--force"]);
        let _ = Command::new("umount")
            .arg("-R")
            .arg(self.0.join("root/vfs"))
            .output();
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn podman_runs_containers_with_rmac_oci() {
    let Some(podman) = Podman::new() else { return };
    let name = std::fs::read_to_string(fixtures().join("name")).unwrap();
    let archive = fixtures().join(format!("{}.tar", name.trim()));
    podman.call(&["load", "-i", archive.to_str().unwrap()]).ok();
    let image = format!("localhost/{}:latest", name.trim());

    let said = podman.run(&[
        "--rm",
        "-u",
        "1000:1000",
        "-w",
        "/tmp",
        &image,
        "sh",
        "-c",
        "id -u; pwd; exit 3",
    ]);
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (3, "1000\n/tmp\n"),
        "{said:?}"
    );
    assert_eq!(podman.run(&["--rm", &image, "nosuch"]).code, 127);
    assert_eq!(podman.run(&["--rm", &image, "/etc"]).code, 126);

    let loops = "echo begun; trap 'echo ended; exit 5' TERM; while :; do sleep 0.1; done";
    podman
        .run(&["-d", "--name", "one", &image, "sh", "-c", loops])
        .ok();
    let said = podman.call(&["exec", "one", "sh", "-c", "cat /proc/1/comm; exit 9"]);
    assert_eq!((said.code, said.stdout.as_str()), (9, "sh\n"), "{said:?}");
    let said = podman.call(&["exec", "-t", "one", "tty"]).ok();
    assert_eq!(said.trim(), "/dev/pts/0");
    podman.call(&["pause", "one"]).ok();
    let status = podman
        .call(&["inspect", "-f", "{{.State.Status}}", "one"])
        .ok();
    assert_eq!(status.trim(), "paused");
    podman.call(&["unpause", "one"]).ok();
    podman.call(&["update", "--memory", "100m", "one"]).ok();
    podman.call(&["stop", "one"]).ok();
    assert_eq!(podman.call(&["logs", "one"]).ok(), "begun\nended\n");
    let code = podman
        .call(&["inspect", "-f", "{{.State.ExitCode}}", "one"])
        .ok();
    assert_eq!(code.trim(), "5");
    podman.call(&["rm", "one"]).ok();
}
