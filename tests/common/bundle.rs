//! Bundles for OCI runtimes: the fixtures' image unpacked, and a `config.json` to change.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use serde_json::Value;

use super::{Output, fixtures, run};

/// The OCI face under test.
pub const RMAC_OCI: &str = env!("CARGO_BIN_EXE_rmac-oci");

/// A bundle of its own for each test; removed in the end, with what was left of its container.
pub struct Bundle {
    /// The directory of config.json.
    pub dir: PathBuf,
    /// The container's id.
    pub id: String,
    runtime: String,
    shared: Option<Arc<Tree>>,
}

/// The image, unpacked; gone with the last who uses it.
pub struct Tree(PathBuf);

impl Tree {
    /// One for all, for tests whose containers do not write into it.
    pub fn shared() -> Arc<Tree> {
        static ONE: Mutex<Weak<Tree>> = Mutex::new(Weak::new());
        let mut one = ONE.lock().unwrap();
        one.upgrade().unwrap_or_else(|| {
            let name = format!("rmac-tree-{}", std::process::id());
            let tree = Arc::new(Tree(std::env::temp_dir().join(name)));
            unpack(&tree.0);
            *one = Arc::downgrade(&tree);
            tree
        })
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn unpack(to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let status = Command::new("tar")
        .arg("-xf")
        .arg(fixtures().join("rootfs.tar"))
        .arg("-C")
        .arg(to)
        // Most of the image, and of no use here.
        .args(["--exclude=usr/lib", "--exclude=usr/libexec"])
        .args([
            "--exclude=usr/local",
            "--exclude=sbin/apk",
            "--exclude=etc/ssl",
        ])
        .status();
    assert!(status.unwrap().success());
}

impl Bundle {
    /// The same with the tree that is shared by all.
    pub fn shared(runtime: &str, script: &str) -> Bundle {
        let tree = Tree::shared();
        let mut bundle = Bundle::bare(runtime, script);
        bundle.change(|spec| spec["root"]["path"] = tree.0.to_str().unwrap().into());
        bundle.shared = Some(tree);
        bundle
    }

    /// A bundle for the program `runtime`, whose `config.json` runs `script` with a shell.
    pub fn new(runtime: &str, script: &str) -> Bundle {
        let bundle = Bundle::bare(runtime, script);
        unpack(&bundle.rootfs());
        bundle
    }

    fn bare(runtime: &str, script: &str) -> Bundle {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test needs root: sudo scripts/test"
        );
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("oci-{}-{count}", std::process::id());
        let dir = std::env::temp_dir().join(format!("rmac-{id}"));
        std::fs::create_dir_all(&dir).unwrap();
        let bundle = Bundle {
            dir,
            id,
            runtime: runtime.to_owned(),
            shared: None,
        };
        run(Command::new(RMAC_OCI)
            .args(["spec", "--bundle"])
            .arg(&bundle.dir))
        .ok();
        bundle.change(|spec| {
            // The oldest peer knows no newer one.
            spec["ociVersion"] = "1.0.2".into();
            spec["process"]["terminal"] = false.into();
            spec["process"]["args"] = vec!["sh", "-c", script].into();
            spec["linux"]["cgroupsPath"] = format!("/rmac/{}", bundle.id).into();
        });
        bundle
    }

    /// The container's tree.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Changes `config.json`.
    pub fn change(&self, change: impl FnOnce(&mut Value)) {
        let path = self.dir.join("config.json");
        let mut spec = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut spec);
        std::fs::write(path, spec.to_string()).unwrap();
    }

    /// The runtime with these arguments, and `$ID` in them replaced.
    pub fn call(&self, arguments: &[&str]) -> Output {
        run(&mut self.command(arguments))
    }

    /// The same, to be started as the test wants it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime);
        command
            .arg("--root")
            .arg(self.dir.join("state"))
            .args(arguments.iter().map(|word| word.replace("$ID", &self.id)))
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        command
    }

    /// The status that the runtime tells.
    pub fn status(&self) -> String {
        let state = self.call(&["state", "$ID"]).ok();
        let state: Value = serde_json::from_str(&state).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    /// `create`, with what the program writes going to the file `output`: the container keeps a pipe open.
    pub fn create(&self) -> Output {
        let output = std::fs::File::create(self.dir.join("output")).unwrap();
        let mut command = self.command(&["create", "--bundle", ".", "$ID"]);
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let status = command.status().unwrap();
        Output {
            command: "create".into(),
            code: status.code().unwrap_or(-1),
            stdout: String::new(),
            stderr: self.output(),
        }
    }

    /// What the program of [`Bundle::create`] has written.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.dir.join("output")).unwrap()
    }

    /// Waits until the runtime tells this status.
    pub fn wait_for(&self, status: &str) {
        for _ in 0..500 {
            if self.status() == status {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{} is never {status}", self.id);
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        self.call(&["delete", "--force", "$ID"]);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Debian's crun and runc, those that are here and can work here: `scripts/test` installs them.
pub fn peers() -> Vec<&'static str> {
    let works = |name: &&str| {
        if Command::new(name).arg("--version").output().is_err() {
            println!("skipped: a comparison with {name}, which is not here");
            return false;
        }
        let answer = Bundle::shared(name, "true").call(&["run", "--bundle", ".", "$ID"]);
        if answer.code != 0 {
            println!(
                "skipped: a comparison with {name}, which cannot work here: {}",
                answer.stderr.trim()
            );
        }
        answer.code == 0
    };
    ["crun", "runc"].into_iter().filter(works).collect()
}
