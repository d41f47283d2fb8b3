//! rmac as an ordinary user: containers without a network, with that user's rights and no others.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use common::{Output, RMAC, wait_for};

/// A user whom nobody on this machine knows, with a home, a copy of rmac and the image.
struct User {
    id: u32,
    dir: PathBuf,
}

impl User {
    fn new() -> User {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test needs root: sudo scripts/test"
        );
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let dir = std::env::temp_dir().join(format!("rmac-u-{pid}-{count}"));
        // Numbers that no file of the system has; another one for each test.
        let user = User {
            id: 10_000_000 + pid * 16 + count as u32,
            dir,
        };
        std::fs::create_dir(&user.dir).unwrap();
        for name in ["data", "run", "home"] {
            std::fs::create_dir(user.dir.join(name)).unwrap();
            std::os::unix::fs::chown(user.dir.join(name), Some(user.id), Some(user.id)).unwrap();
        }
        // Where this rmac and the fixtures lie may be closed to others.
        std::fs::copy(RMAC, user.dir.join("rmac")).unwrap();
        let name = std::fs::read_to_string(common::fixtures().join("name")).unwrap();
        let archive = common::fixtures().join(format!("{}.tar", name.trim()));
        std::fs::copy(archive, user.dir.join("image.tar")).unwrap();
        for name in ["", "rmac", "image.tar"] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(user.dir.join(name), mode).unwrap();
        }
        let image = user.dir.join("image.tar");
        user.rmac(&["load", "-q", "-i", image.to_str().unwrap()])
            .ok();
        user
    }

    fn command(&self, program: &Path) -> Command {
        let id = self.id.to_string();
        let mut command = Command::new("setpriv");
        command
            .args([
                "--reuid",
                &id,
                "--regid",
                &id,
                "--clear-groups",
                "timeout",
                "60",
            ])
            .arg(program)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.dir.join("home"))
            .env("XDG_DATA_HOME", self.dir.join("data"))
            .env("XDG_RUNTIME_DIR", self.dir.join("run"))
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    fn rmac(&self, arguments: &[&str]) -> Output {
        common::run(self.command(&self.dir.join("rmac")).args(arguments))
    }

    fn image(&self) -> String {
        let name = std::fs::read_to_string(common::fixtures().join("name")).unwrap();
        name.trim().to_owned()
    }

    fn state(&self, key: &str) -> i64 {
        let containers = std::fs::read_dir(self.dir.join("data/rmac/containers")).unwrap();
        let states: Vec<_> = containers
            .filter_map(|entry| {
                std::fs::read_to_string(entry.unwrap().path().join("state.json")).ok()
            })
            .collect();
        assert_eq!(states.len(), 1);
        let state: serde_json::Value = serde_json::from_str(&states[0]).unwrap();
        match key {
            "pid" => state["process"]["pid"].as_i64().unwrap(),
            key => state[key].as_i64().unwrap(),
        }
    }

    /// The user's processes.
    fn processes(&self) -> Vec<String> {
        let uid = format!("Uid:\t{}\t", self.id);
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| {
            let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
            // A process that has ended and is not waited for yet is nobody's fault here.
            let alive = status.contains(&uid) && !status.contains("State:\tZ");
            alive.then(|| status.lines().next().unwrap_or_default().to_owned())
        })
        .collect()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let ids = self.rmac(&["ps", "-aq"]).stdout;
        for id in ids.split_whitespace() {
            self.rmac(&["rm", "-f", id]);
        }
        if !std::thread::panicking() {
            wait_for("processes are left", || self.processes().is_empty());
            for name in [
                "data/rmac/containers",
                "data/rmac/names",
                "run/rmac/containers",
            ] {
                let left = std::fs::read_dir(self.dir.join(name))
                    .into_iter()
                    .flatten()
                    .count();
                assert_eq!(left, 0, "left in {name}");
            }
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn a_container_lives_its_life() {
    let user = User::new();
    let image = user.image();
    let script = "trap 'exit 3' TERM; echo begun; while :; do sleep 0.1; done";
    user.rmac(&["run", "-d", "--name", "worker", &image, "sh", "-c", script])
        .ok();
    user.rmac(&["ps"]).says("worker").says("Up ").ended(0);
    user.rmac(&["exec", "worker", "id", "-u"])
        .says("0")
        .ended(0);
    user.rmac(&["exec", "-t", "worker", "tty"])
        .says("/dev/pts/")
        .ended(0);
    wait_for("it does not begin", || {
        user.rmac(&["logs", "worker"]).stdout == "begun\n"
    });
    let format = "{{.State.Status}} {{.HostConfig.NetworkMode}}";
    assert_eq!(
        user.rmac(&["inspect", "-f", format, "worker"]).ok(),
        "running none\n"
    );
    // Outside, the container's root is the user.
    let status = std::fs::read_to_string(format!("/proc/{}/status", user.state("pid"))).unwrap();
    assert!(status.contains(&format!("Uid:\t{}\t", user.id)), "{status}");
    user.rmac(&["stop", "worker"]).ok();
    user.rmac(&["ps", "-a"]).says("Exited (3)").ended(0);
    user.rmac(&["start", "worker"]).ok();
    user.rmac(&["rm", "-f", "worker"]).ok();
    assert_eq!(user.rmac(&["ps", "-aq"]).ok(), "");
}

#[test]
fn files_are_copied_in_and_out() {
    let user = User::new();
    let (image, home) = (user.image(), user.dir.join("home"));
    let at = |name: &str| home.join(name).to_str().unwrap().to_owned();
    let script =
        "mkdir /d && echo inside > /d/file && chmod 640 /d/file && touch /ready; exec sleep 600";
    user.rmac(&["run", "-d", "--name", "worker", &image, "sh", "-c", script])
        .ok();
    wait_for("it is not ready", || {
        user.rmac(&["exec", "worker", "test", "-e", "/ready"]).code == 0
    });
    for turn in ["running", "stopped"] {
        let out = at(turn);
        user.rmac(&["cp", "worker:/d", &out]).ok();
        let file = std::fs::metadata(format!("{out}/file")).unwrap();
        let is = |status: &std::fs::Metadata| {
            use std::os::unix::fs::MetadataExt;
            (status.uid(), status.gid(), status.mode() & 0o777)
        };
        assert_eq!(is(&file), (user.id, user.id, 0o640));
        user.rmac(&["cp", &out, "worker:/d/"]).ok();
        user.rmac(&["cp", "/dev/null", "worker:/null"])
            .says("null is a device, and is left out")
            .ended(0);
        // Nobody's rights but the user's.
        user.rmac(&["cp", "/etc/shadow", "worker:/d/"])
            .says("ermission denied")
            .ended(1);
        user.rmac(&["cp", "worker:/d/file", "/etc/rmac-was-here"])
            .says("ermission denied")
            .ended(1);
        let changes = user.rmac(&["diff", "worker"]).ok();
        assert!(
            changes.contains(&format!("A /d/{turn}\nA /d/{turn}/file\n")),
            "{changes}"
        );
        assert!(!changes.contains("C /"), "{changes}");
        user.rmac(&["export", "-o", &at("all.tar"), "worker"]).ok();
        let list = common::run(Command::new("tar").args(["-tf", &at("all.tar")])).ok();
        assert!(list.contains("\nd/file\n"), "{list}");
        user.rmac(&["stop", "-t", "0", "worker"]).ok();
    }
}

#[test]
fn a_container_is_started_again_by_its_policy() {
    let user = User::new();
    let script = "echo begun; exit 4";
    let flags = ["run", "-d", "--name", "crash", "--restart", "always"];
    user.rmac(&[&flags[..], &[&user.image(), "sh", "-c", script]].concat())
        .ok();
    wait_for("it is not started again", || {
        user.rmac(&["logs", "crash"]).stdout.lines().count() > 3
    });
    user.rmac(&["stop", "crash"]).ok();
    let runs = user.rmac(&["logs", "crash"]).ok();
    user.rmac(&["ps", "-a"]).says("Exited (4)").ended(0);
    assert_eq!(user.rmac(&["start", "--at-boot"]).ok(), "crash\n");
    wait_for("it is not started", || {
        user.rmac(&["logs", "crash"]).stdout.len() > runs.len()
    });
    user.rmac(&["rm", "-f", "crash"]).ok();
    assert_eq!(user.rmac(&["ps", "-aq"]).ok(), "");
}

#[test]
fn the_tree_is_the_images_and_can_be_changed() {
    let user = User::new();
    let script = "ip link show lo | grep -q LOWER_UP && rm -r /etc/apk && mkdir /etc/apk && ls -A /etc/apk && test -d /sys/class/net/lo \
                  && echo said > /dev/stdout && ! mknod /disk b 7 0 2> /dev/null && chmod u+s /bin/busybox && exit 5";
    let ended = user
        .rmac(&["run", "--rm", &user.image(), "sh", "-c", script])
        .ended(5);
    assert_eq!(ended.stdout, "said\n");
    let flags = [
        "run",
        "--rm",
        "-t",
        "--init",
        "--read-only",
        "--tmpfs",
        "/scratch",
    ];
    let command = [user.image(), "touch".into(), "/scratch/file".into()];
    let all: Vec<&str> = flags
        .into_iter()
        .chain(command.iter().map(String::as_str))
        .collect();
    user.rmac(&all).ok();
}

#[test]
fn among_many_processes_the_root_is_changed_all_the_same() {
    const MANY: usize = 300;
    let user = User::new();
    // The machine counts threads, too.
    let end = Arc::new(Barrier::new(MANY + 1));
    let wait = |_| {
        let end = Arc::clone(&end);
        std::thread::spawn(move || end.wait())
    };
    let threads: Vec<_> = (0..MANY).map(wait).collect();
    let run = user.rmac(&["run", "--rm", &user.image(), "cat", "/etc/alpine-release"]);
    end.wait();
    threads.into_iter().for_each(|thread| drop(thread.join()));
    assert!(run.ok().starts_with("3."));
}

#[test]
fn all_containers_of_a_user_can_be_entered_from_anywhere() {
    let user = User::new();
    let image = user.image();
    let names = ["one", "two", "three", "four"];
    // At once, so that each finds nobody to join at first.
    let started: Vec<_> = names
        .iter()
        .map(|name| {
            let mut command = user.command(&user.dir.join("rmac"));
            command.args(["run", "-d", "--name", name, &image, "sleep", "600"]);
            command.stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in started {
        assert!(child.wait().unwrap().success());
    }
    for name in names {
        user.rmac(&["exec", name, "true"]).ok();
    }
    let stop: Vec<&str> = ["stop", "-t", "0"].into_iter().chain(names).collect();
    assert_eq!(user.rmac(&stop).ok().lines().count(), 4);
}

#[test]
fn a_killed_monitor_takes_its_container_with_it() {
    let user = User::new();
    user.rmac(&[
        "run",
        "-d",
        "--name",
        "victim",
        &user.image(),
        "sleep",
        "600",
    ])
    .ok();
    let (monitor, first) = (user.state("monitor"), user.state("pid"));
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(monitor as i32),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    // The kernel takes a moment to end it, and until then it is alive to all.
    let healed = || user.rmac(&["ps", "-a"]).ok().contains("Exited (137)");
    wait_for("its end is not seen", healed);
    let gone = || !Path::new(&format!("/proc/{first}")).exists();
    wait_for("the container lives on", gone);
}

#[test]
fn what_takes_root_is_said_in_one_line() {
    let user = User::new();
    let image = user.image();
    let refused = |words: &[&str], text: &str| {
        let output = user.rmac(words).says(text);
        assert_ne!(output.code, 0, "{output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    };
    let links = "a macvlan link is made from its parent, a link of the host, which belongs to root";
    refused(&["run", "--network", "lan", &image, "true"], links);
    refused(&["network", "create", "-d", "macvlan", "lan"], links);
    refused(&["lab", "up"], "which is root's");
    refused(
        &["run", "--network", "host", &image, "true"],
        "--network none",
    );
    refused(
        &["run", "--rm", "--userns", "auto", &image, "true"],
        "--userns auto takes root",
    );
    // Without lines in /etc/subuid the namespace has one number.
    refused(
        &["run", "--rm", "-u", "nobody", &image, "true"],
        "/etc/subuid",
    );
    user.rmac(&["run", "--rm", "-m", "64m", &image, "true"])
        .says("WARNING: an ordinary user has no cgroups")
        .ended(0);
}

#[test]
fn with_numbers_of_ones_own_a_container_has_users() {
    let user = User::new();
    let installed = |name: &str| Path::new("/usr/bin").join(name).exists();
    if !installed("newuidmap") || !installed("newgidmap") {
        eprintln!("skipped: newuidmap is not installed (Debian's package uidmap)");
        return;
    }
    // The user and the numbers are known in a mount namespace of this test's only.
    let (id, dir) = (user.id, user.dir.display());
    let script = format!(
        "set -e; cd {dir}; mount --make-rprivate /; touch /etc/subuid /etc/subgid
         {{ cat /etc/passwd; echo tester:x:{id}:{id}::/:/bin/sh; }} > passwd; echo tester:3000000000:65536 > numbers
         mount --bind passwd /etc/passwd; mount --bind numbers /etc/subuid; mount --bind numbers /etc/subgid
         r() {{ setpriv --reuid {id} --regid {id} --clear-groups timeout 60 env -i PATH=$PATH HOME=$PWD/home \\
                XDG_DATA_HOME=$PWD/numbered XDG_RUNTIME_DIR=$PWD/run $PWD/rmac \"$@\"; }}
         mkdir numbered; chown {id} numbered
         r load -q -i image.tar; r run --rm {image} sh -c 'cat /proc/self/uid_map; stat -c %u:%g /etc/shadow'
         r run -d --name numbered -u nobody {image} sleep 600
         r exec -u 1000 numbered id -u; grep ^Uid /proc/$(r inspect -f '{{{{.State.Pid}}}}' numbered)/status
         r rm -f numbered",
        image = user.image()
    );
    let output = common::run(Command::new("unshare").args(["-m", "bash", "-c", &script])).ended(0);
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    let text = words.join(" ");
    assert!(
        text.contains(&format!("0 {id} 1 1 3000000000 65536 0:42")),
        "{text}"
    );
    assert!(text.contains("1000 Uid: 3000065533"), "{text}");
}

#[test]
fn a_users_own_program_is_out_of_the_containers_reach() {
    use std::os::unix::fs::{MetadataExt, chown};
    let user = User::new();
    let program = user.dir.join("rmac");
    chown(&program, Some(user.id), Some(user.id)).unwrap();
    user.rmac(&[
        "run",
        "-d",
        "--init",
        "--name",
        "init",
        &user.image(),
        "sleep",
        "1000",
    ])
    .ok();
    // Process 1 is rmac: a copy in memory, which cannot be changed.
    let of_init = std::fs::read_link(format!("/proc/{}/exe", user.state("pid"))).unwrap();
    assert_eq!(of_init.to_str(), Some("/memfd:container (deleted)"));
    assert!(std::fs::metadata(&program).unwrap().uid() == user.id);
    user.rmac(&["rm", "-f", "init"]).ok();
}

/// An OCI bundle of the user's, in `dir/bundle`, made as `rmac-oci spec --rootless` does and changed by `change`.
fn bundle(user: &User, change: impl FnOnce(&mut serde_json::Value)) -> PathBuf {
    let program = user.dir.join("rmac-oci");
    std::fs::copy(common::bundle::RMAC_OCI, &program).unwrap();
    let dir = user.dir.join("home/bundle");
    let image = common::fixtures().join("rootfs.tar");
    std::fs::copy(image, user.dir.join("rootfs.tar")).unwrap();
    let script =
        "mkdir -p $1/rootfs; tar -xf $2 -C $1/rootfs --exclude=dev; $3 spec --rootless --bundle $1";
    let mut made = user.command(Path::new("sh"));
    made.args(["-ec", script, "sh"])
        .arg(&dir)
        .arg(user.dir.join("rootfs.tar"));
    common::run(made.arg(&program)).ok();
    let path = dir.join("config.json");
    let mut spec = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut spec);
    spec["process"]["terminal"] = false.into();
    std::fs::write(path, spec.to_string()).unwrap();
    dir
}

#[test]
fn an_engine_of_an_ordinary_user_gets_oci_containers() {
    let user = User::new();
    let dir = bundle(&user, |spec| {
        spec["root"]["readonly"] = false.into();
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(serde_json::json!({ "type": "network" }));
        spec["process"]["args"] = serde_json::json!(["sh", "-c", "sleep 1000; exit 5"]);
    });
    let oci = |words: &[&str]| {
        let mut command = user.command(&user.dir.join("rmac-oci"));
        command.args(words).current_dir(&dir);
        common::run(&mut command)
    };
    // The container keeps its output open.
    let mut create = user.command(&user.dir.join("rmac-oci"));
    create.args(["create", "--bundle", ".", "--pid-file", "pid", "one"]);
    create.current_dir(&dir).stdout(Stdio::null());
    assert!(create.stderr(Stdio::null()).status().unwrap().success());
    assert!(oci(&["list"]).ok().contains("created"));
    oci(&["start", "one"]).ok();
    let script = "id -u; ip -o addr show lo | wc -l; touch /new && stat -c %u /new; cat /proc/1/uid_map | wc -l";
    let inside = oci(&["exec", "one", "sh", "-c", script]).ok();
    assert_eq!(inside, "0\n2\n0\n1\n");
    use std::os::unix::fs::MetadataExt;
    let made = std::fs::metadata(dir.join("rootfs/new")).unwrap();
    assert_eq!(made.uid(), user.id);
    let pid = std::fs::read_to_string(dir.join("pid")).unwrap();
    let ids = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(ids.contains(&format!("Uid:\t{}\t", user.id)), "{ids}");
    let refused = oci(&["pause", "one"]);
    assert!(
        refused
            .stderr
            .contains("cgroups are root's here, and this is an ordinary user"),
        "{refused:?}"
    );
    assert_eq!(oci(&["delete", "one"]).code, 1);
    oci(&["kill", "one", "KILL"]).ok();
    wait_for("the container lives", || {
        oci(&["state", "one"]).ok().contains("stopped")
    });
    oci(&["delete", "one"]).ok();
    assert_eq!(oci(&["list", "--quiet"]).ok().trim(), "");
}

#[test]
fn an_engine_in_a_user_namespace_gets_oci_containers() {
    // As podman calls its runtime for an ordinary user: as root of podman's own user namespace.
    let user = User::new();
    let dir = bundle(&user, |spec| {
        let linux = spec["linux"].as_object_mut().unwrap();
        linux.remove("uidMappings");
        linux.remove("gidMappings");
        let namespaces = linux["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|one| one["type"] != "user");
        spec["process"]["args"] =
            serde_json::json!(["sh", "-c", "cat /proc/self/uid_map | tr -s ' '; id -u"]);
    });
    for flags in ["-Urm", "-Ur"] {
        let mut command = user.command(Path::new("unshare"));
        command.arg(flags).arg(user.dir.join("rmac-oci"));
        command.args(["run", "--bundle", ".", "one"]);
        let said = common::run(command.current_dir(&dir)).ok();
        assert_eq!(said, format!(" 0 {} 1\n0\n", user.id), "{flags}");
    }
}
