//! scripts/conformance: which test of a suite has passed, which cgroups a suite sees, and that nothing is left behind,
//! on a suite of the test's own.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use common::bundle::RMAC_OCI;
use common::run;

/// What the scripts beside each other would see of each other: the hierarchies that one of them mounts.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A directory that goes with the test.
struct Suite(std::path::PathBuf);

impl Suite {
    fn program(&self, path: &str, script: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn command(&self, options: &[&str], limit: &str) -> Command {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/conformance");
        let mut command = Command::new(script);
        command.args(options).arg(&self.0).arg(RMAC_OCI);
        command.env("LIMIT", limit).env("LOGS", self.0.join("logs"));
        command
    }

    fn results(&self, options: &[&str]) -> String {
        let _alone = ONE_AT_A_TIME
            .lock()
            .unwrap_or_else(|lock| lock.into_inner());
        let spare = spare();
        let results = run(&mut self.command(options, "2")).ok();
        assert_eq!(spare, self::spare(), "hierarchies are left");
        results
    }
}

/// Those lines of `/proc/cgroups` that the script could change: controller and hierarchy. Read under the lock that the
/// script takes, so that those of another run are not seen.
fn spare() -> Vec<String> {
    let all = std::fs::File::open("/sys/fs/cgroup").unwrap();
    let _lock = nix::fcntl::Flock::lock(all, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let all = std::fs::read_to_string("/proc/cgroups").unwrap();
    let words = |line: &str| {
        line.split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let is_spare = |line: &String| {
        let names = ["hugetlb ", "net_cls ", "net_prio "];
        names.iter().any(|name| line.starts_with(name))
    };
    all.lines().map(words).filter(is_spare).collect()
}

/// Where cgroups are mounted; others may mount and unmount other things meanwhile.
fn mounts() -> String {
    let all = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let cgroups = all.lines().filter(|line| line.contains(" - cgroup"));
    cgroups.collect::<Vec<_>>().join("\n")
}

impl Drop for Suite {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn suite(name: &str) -> Suite {
    let name = format!("rmac-suite-{}-{name}", std::process::id());
    let suite = Suite(std::env::temp_dir().join(name));
    suite.program("runtimetest", "");
    suite
}

#[test]
fn programs_that_speak_tap_are_counted() {
    let suite = suite("validation");
    let test = |name: &str, script: &str| {
        suite.program(&format!("validation/{name}/{name}.t"), script);
    };
    test(
        "a-good",
        "echo 'ok 1 - fine'; echo 'ok 2 # SKIP no such'; \"$RUNTIME\" --version >&2",
    );
    test("b-bad", "echo 'ok 1'; echo 'not ok 2'");
    test("c-code", "echo 'ok 1'; exit 1");
    test("d-skipped", "echo 'ok 1 # SKIP no such kernel'");
    test("e-diagnosis", "echo '    \"error\": \"no\"'; echo 1..0");
    test("f-slow", "sleep 100");
    let words = "ok\ta-good\nnot ok\tb-bad\nnot ok\tc-code\nskipped\td-skipped\nnot ok\te-diagnosis\nnot ok\tf-slow\n";
    let total = "validation with rmac-oci: 1 passed, 4 failed, 1 skipped, of 6\n";
    assert_eq!(suite.results(&[]), format!("{words}{total}"));
}

#[test]
fn groups_of_contest_are_counted() {
    let suite = suite("contest");
    let script = "[ $1 = list ] && { echo one; echo two; echo exec; exit; }
        case $* in
        *'-t one') printf '1 / 3 : a : ok\\n2 / 3 : b : not ok\\n\\twhy\\n3 / 3 : c : skipped\\n# End group one\\n';;
        *'-t exec::cgroup_test') exit 101;;
        *'-t exec::'*) all=$*; printf '1 / 1 : %s : ok\\n# End group exec\\n' ${all##*::};;
        *) exit 101;;
        esac";
    suite.program("contest", script);
    let results = suite.results(&[]);
    let words = "ok\tone/a\nnot ok\tone/b\nskipped\tone/c\nnot ok\ttwo (exit code 101)\n";
    let (start, end) = results.split_at(words.len());
    assert_eq!(start, words);
    assert!(
        end.contains("not ok\texec/cgroup_test (exit code 101)\nok\texec/no_capabilities_test\n")
    );
    assert!(
        end.ends_with("\ncontest with rmac-oci: 10 passed, 3 failed, 1 skipped, of 14\n"),
        "{end}"
    );
}

#[test]
fn a_suite_sees_each_controller_and_none_is_left() {
    let suite = suite("view");
    // A group in each, which the suite leaves behind.
    let script = "cd /sys/fs/cgroup/$(basename $0 .t) && grep -q cgroup.procs <<END || exit 1
        $(ls)
END
        mkdir -p cgrouptest/below && echo 'ok 1'";
    for name in ["hugetlb", "net_cls", "net_prio"] {
        suite.program(&format!("validation/{name}/{name}.t"), script);
    }
    let results = suite.results(&[]);
    // Where v2 is alone, v1's controllers are not to be had, but the suite is told no other thing.
    let passes = mounts().contains(" - cgroup ");
    for line in spare() {
        let name = line.split(' ').next().unwrap();
        let word = if passes { "ok" } else { "not ok" };
        assert!(results.contains(&format!("{word}\t{name}\n")), "{results}");
    }
}

#[test]
fn a_suite_sees_v2_alone_where_that_is_asked_for() {
    let suite = suite("v2");
    let script =
        "[ $(stat -f -c %T /sys/fs/cgroup) = cgroup2fs ] && mkdir /sys/fs/cgroup/cgrouptest &&
        ! grep ' - cgroup ' /proc/self/mountinfo && echo 'ok 1'";
    suite.program("validation/v2/v2.t", script);
    assert!(suite.results(&["--v2"]).starts_with("ok\tv2\n"));
    let left = mounts();
    let mount = left
        .lines()
        .find(|line| line.contains(" - cgroup2 "))
        .unwrap();
    let mount = std::path::Path::new(mount.split(' ').nth(4).unwrap());
    assert!(!mount.join("cgrouptest").exists());
}

#[test]
fn nothing_is_left_after_sigkill() {
    let _alone = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|lock| lock.into_inner());
    let suite = suite("killed");
    let begun = suite.0.join("begun");
    let script = format!(
        "for dir in /sys/fs/cgroup/*/; do
            [ ! -e $dir/cgroup.procs ] || {{ mkdir $dir/cgrouptest && echo 0 >$dir/cgrouptest/cgroup.procs; }}
        done; touch {}; sleep 60; echo 'ok 1'",
        begun.display()
    );
    suite.program("validation/slow/slow.t", &script);
    let before = (spare(), mounts());
    let mut command = suite.command(&[], "100");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let since = std::time::Instant::now();
    while !begun.exists() {
        assert!(since.elapsed().as_secs() < 60 && child.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.kill().unwrap();
    // Until the last process that could write to it is gone.
    child.wait_with_output().unwrap();
    assert!(since.elapsed().as_secs() < 50, "the suite went on");
    assert_eq!(before, (spare(), mounts()));
    for mount in mounts().lines() {
        let mount = std::path::Path::new(mount.split(' ').nth(4).unwrap());
        assert!(!mount.join("cgrouptest").exists(), "{mount:?}");
    }
}
