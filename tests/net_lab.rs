//! The lab, for real: built, entered, taken away; several at once; half-built ones.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rmac::lab::{Lab, Station, Up};
use rmac::net::netns;
use rmac::store::Home;

/// A home for labs; dropped, it checks that nothing is left of any.
struct Place(Home);

impl Place {
    fn make(name: &str) -> Place {
        let root = std::env::temp_dir().join(format!("rmac-lab-{name}-{}", std::process::id()));
        Place(Home {
            runroot: root.join("run"),
            root,
        })
    }

    fn lab(&self, name: &str) -> Lab {
        Lab::named(&self.0, name).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = self.0.root.to_str().unwrap();
        assert!(!mounts.contains(root), "a mount is left");
        let left: Vec<PathBuf> = [self.0.root.join("lab"), self.0.labs()]
            .into_iter()
            .filter(|path| path.exists())
            .collect();
        assert!(left.is_empty(), "{left:?}");
        std::fs::remove_dir_all(&self.0.root).unwrap();
    }
}

/// Runs `script` on a station by the test program itself, since entering ends in execve(2).
fn command(place: &Place, lab: &str, station: Station, script: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "helper_that_enters", "--nocapture"])
        .env("RMAC_TEST_ROOT", &place.0.root)
        .env("RMAC_TEST_LAB", lab)
        .env("RMAC_TEST_STATION", station.name())
        .env("RMAC_TEST_SCRIPT", script);
    command
}

fn run(place: &Place, lab: &str, station: Station, script: &str) -> String {
    let output = command(place, lab, station, script).output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // After the lines of the test program itself.
    text.split_once("BEGIN\n").unwrap().1.to_owned()
}

/// Not a test but what [`run`] starts.
#[test]
fn helper_that_enters() {
    let Ok(root) = std::env::var("RMAC_TEST_ROOT") else {
        return;
    };
    let root = PathBuf::from(root);
    let home = Home {
        runroot: root.join("run"),
        root,
    };
    let lab = Lab::named(&home, &std::env::var("RMAC_TEST_LAB").unwrap()).unwrap();
    let name = std::env::var("RMAC_TEST_STATION").unwrap();
    let station = Station::ALL.into_iter().find(|s| s.name() == name).unwrap();
    let script = std::env::var("RMAC_TEST_SCRIPT").unwrap();
    let arguments = ["-c".into(), format!("echo BEGIN; {script}").into()];
    panic!("{:?}", lab.exec(station, &OsString::from("sh"), &arguments));
}

#[test]
fn the_host_is_on_a_lan_with_a_router() {
    let place = Place::make("lan");
    let lab = place.lab("one");
    assert_eq!(lab.up().unwrap(), Up::Made);
    assert_eq!(lab.up().unwrap(), Up::Already);
    assert_eq!(
        run(
            &place,
            "one",
            Station::Host,
            "ip -4 -br addr | sed 's/@if[0-9]*/@if5/'; ip route; ls /sys/class/net"
        ),
        "lo               UNKNOWN        127.0.0.1/8 \n\
         eth0@if5         UP             172.16.86.250/24 \n\
         default via 172.16.86.1 dev eth0 \n\
         172.16.86.0/24 dev eth0 proto kernel scope link src 172.16.86.250 \n\
         eth0\nlo\n"
    );
    let router = run(&place, "one", Station::Router, "ip -4 -br addr show eth0");
    assert!(router.contains("172.16.86.1/24"), "{router}");
    run(&place, "one", Station::Host, "ping -c 1 -W 2 172.16.86.1");
    let env = run(
        &place,
        "one",
        Station::Host,
        "echo $RMAC_ROOT $RMAC_RUNROOT $CONTAINERS_REGISTRIES_CONF",
    );
    let home = lab.home();
    assert_eq!(
        env,
        format!("{} {}\n", home.root.display(), home.runroot.display())
    );
    std::fs::write(lab.registries_conf(), "").unwrap();
    let env = run(
        &place,
        "one",
        Station::Host,
        "echo $CONTAINERS_REGISTRIES_CONF",
    );
    assert_eq!(env.trim(), lab.registries_conf().to_str().unwrap());
    lab.down().unwrap();
    lab.down().unwrap();
    assert!(!lab.is_up());
}

#[test]
fn the_cgroups_can_be_used_in_the_lab() {
    let place = Place::make("cgroups");
    let lab = place.lab("one");
    lab.up().unwrap();
    let list = "cd /sys/fs/cgroup && ls -d * && for d in *; do stat -f -c %T $d; done";
    let outside = Command::new("sh").args(["-c", list]).output().unwrap();
    let inside = run(&place, "one", Station::Host, list);
    assert_eq!(inside, String::from_utf8(outside.stdout).unwrap());
    lab.down().unwrap();
}

#[test]
fn the_exit_code_is_the_command_s() {
    let place = Place::make("code");
    let lab = place.lab("one");
    lab.up().unwrap();
    let status = command(&place, "one", Station::Host, "exit 7")
        .output()
        .unwrap();
    assert_eq!(status.status.code(), Some(7));
    lab.down().unwrap();
}

#[test]
fn labs_do_not_disturb_each_other() {
    let place = Place::make("several");
    std::thread::scope(|scope| {
        for name in ["a", "b", "c", "d"] {
            let place = &place;
            scope.spawn(move || {
                for _ in 0..3 {
                    let lab = place.lab(name);
                    assert_eq!(lab.up().unwrap(), Up::Made);
                    run(place, name, Station::Host, "ping -c 1 -W 2 172.16.86.1");
                    lab.down().unwrap();
                }
            });
        }
    });
}

#[test]
fn down_ends_what_runs_in_the_lab() {
    let place = Place::make("ends");
    let lab = place.lab("one");
    lab.up().unwrap();
    // One in the host, one that it started elsewhere: a container.
    let script = "unshare -n -m sleep 1000 & exec sleep 1000";
    let mut child = command(&place, "one", Station::Host, script)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let sleepers = || {
        let mut processes = lab.processes().unwrap();
        processes.retain(|process| process.name == "sleep");
        processes
    };
    while sleepers().len() < 2 && begin.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut stations: Vec<_> = sleepers().iter().map(|process| process.station).collect();
    stations.sort_by_key(Option::is_some);
    assert_eq!(stations, [None, Some(Station::Host)]);
    let pids: Vec<i32> = sleepers().iter().map(|process| process.pid).collect();
    lab.down().unwrap();
    child.wait().unwrap();
    for pid in pids {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(comm != "sleep\n" || stat.contains(") Z "), "{stat}");
    }
}

#[test]
fn a_half_built_lab_is_built_anew() {
    let place = Place::make("half");
    let lab = place.lab("one");
    lab.up().unwrap();
    // As if killed on the way: no end, no host, and a file without a mount.
    let dir = place.0.labs().join("one");
    std::fs::remove_file(dir.join("ready")).unwrap();
    netns::unpin(&dir.join("host")).unwrap();
    std::fs::write(dir.join("host"), "").unwrap();
    assert!(!lab.is_up());
    assert!(
        lab.netns(Station::Host)
            .unwrap_err()
            .to_string()
            .contains("half-built")
    );
    assert_eq!(lab.up().unwrap(), Up::Made);
    run(&place, "one", Station::Host, "ping -c 1 -W 2 172.16.86.1");
    std::fs::remove_file(dir.join("ready")).unwrap();
    lab.down().unwrap();
}

#[test]
fn symbolic_links_on_the_way_do_not_matter() {
    let place = Place::make("link");
    let link = place.0.root.join("link");
    std::fs::create_dir_all(place.0.root.join("real")).unwrap();
    std::os::unix::fs::symlink("real", &link).unwrap();
    let home = Home {
        root: link.join("lib"),
        runroot: link.join("run"),
    };
    let lab = Lab::named(&home, "one").unwrap();
    lab.up().unwrap();
    lab.down().unwrap();
    assert!(!lab.is_up());
    assert!(!home.labs().exists());
}

#[test]
fn down_from_inside_is_refused() {
    let place = Place::make("inside");
    let lab = place.lab("one");
    lab.up().unwrap();
    let host = lab.netns(Station::Host).unwrap();
    let error = netns::within(host.as_fd(), || lab.down()).unwrap_err();
    assert!(
        error.to_string().contains("leave its shell first"),
        "{error}"
    );
    lab.down().unwrap();
}

#[test]
fn down_with_other_directories_finds_the_lab_or_says_where_it_is() {
    let place = Place::make("elsewhere");
    let name = format!("elsewhere-{}", std::process::id());
    let other = place.0.root.join("other");
    let rmac = |root: &Path, runroot: &Path, verb: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rmac"));
        command.args(["lab", verb, "--name", &name]);
        command.env("RMAC_ROOT", root).env("RMAC_RUNROOT", runroot);
        command.output().unwrap()
    };
    let (root, runroot) = (&place.0.root, &place.0.runroot);
    // The run root has the namespaces, and with them where the rest is.
    assert!(rmac(root, runroot, "up").status.success());
    assert!(rmac(&other, runroot, "down").status.success());
    assert!(!root.join("lab").join(&name).exists());
    // Without it there are the mounts: they name the command that does it.
    assert!(rmac(root, runroot, "up").status.success());
    let refused = rmac(&other, &other.join("run"), "down");
    let said = String::from_utf8(refused.stderr).unwrap();
    let (cause, cure) = said.trim_end().rsplit_once(": ").unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        cause,
        format!("rmac: the lab {name:?} is not here: it was built with other directories")
    );
    let cure = cure.replace(" rmac ", concat!(" ", env!("CARGO_BIN_EXE_rmac"), " "));
    let cured = Command::new("sh").args(["-c", &cure]).env_clear().status();
    assert!(cured.unwrap().success(), "{cure}");
    // Nothing of it is left, so there is nothing to say.
    assert!(rmac(&other, &other.join("run"), "down").status.success());
}

#[test]
fn a_name_is_no_path() {
    let place = Place::make("name");
    std::fs::create_dir_all(&place.0.root).unwrap();
    for name in ["", "..", "a/b", ".hidden", "a b"] {
        assert!(Lab::named(&place.0, name).is_err(), "{name:?}");
    }
    let error = place.lab("none").netns(Station::Host).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the lab none is not up: rmac lab up --name none"
    );
}
