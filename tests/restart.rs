//! `--restart`: who is started again, after how long, who is not, and what stays the container's meanwhile.

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::lan::{dnsmasq, eventually, has_dnsmasq, lab_with_network};
use common::{Lab, RMAC, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A container in the background whose program is this script.
fn run(lab: &Lab, name: &str, flags: &str, script: &str) {
    let image = lab.image();
    lab.sh(&format!(
        "rmac run -d --name {name} {flags} {image} sh -c '{script}'"
    ))
    .ok();
}

/// What `inspect` says of the container.
fn inspect(lab: &Lab, name: &str, format: &str) -> String {
    let text = lab.rmac(&["inspect", "-f", format, name]).ok();
    text.trim_end().to_owned()
}

fn status(lab: &Lab, name: &str) -> String {
    inspect(lab, name, "{{.State.Status}}")
}

fn restarts(lab: &Lab, name: &str) -> u32 {
    inspect(lab, name, "{{.RestartCount}}").parse().unwrap()
}

/// Waits until it has begun a rest that is long enough to look at it: of 1.6 seconds at least.
fn until_it_rests(lab: &Lab, name: &str) {
    let seen = restarts(lab, name).max(4);
    wait_for("a long rest", || {
        restarts(lab, name) > seen && status(lab, name) == "restarting"
    });
}

fn directory(lab: &Lab, name: &str) -> PathBuf {
    lab.root()
        .join("containers")
        .join(inspect(lab, name, "{{.Id}}"))
}

/// The process that keeps the container.
fn monitor(lab: &Lab, name: &str) -> Pid {
    let state = std::fs::read_to_string(directory(lab, name).join("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    Pid::from_raw(state["monitor"].as_i64().unwrap() as i32)
}

#[test]
fn each_policy_does_what_it_says() {
    let lab = Lab::with_image();
    let net = "--network none";
    run(&lab, "never", &format!("{net} --restart no"), "exit 1");
    run(
        &lab,
        "well",
        &format!("{net} --restart on-failure"),
        "exit 0",
    );
    run(
        &lab,
        "thrice",
        &format!("{net} --restart on-failure:3"),
        "exit 7",
    );
    run(&lab, "always", &format!("{net} --restart always"), "exit 0");
    let unless = format!("{net} --restart=unless-stopped");
    run(&lab, "unless", &unless, "exit 0");
    wait_for("three restarts", || status(&lab, "thrice") == "exited");
    assert_eq!(restarts(&lab, "thrice"), 3);
    assert_eq!(inspect(&lab, "thrice", "{{.State.ExitCode}}"), "7");
    for name in ["never", "well"] {
        let told = inspect(&lab, name, "{{.State.Status}} {{.RestartCount}}");
        assert_eq!(told, "exited 0", "{name}");
    }
    for name in ["always", "unless"] {
        wait_for("restarts", || restarts(&lab, name) >= 3);
    }
    let policies: Vec<String> = ["never", "thrice", "unless"]
        .iter()
        .map(|name| inspect(&lab, name, "{{json .HostConfig.RestartPolicy}}"))
        .collect();
    assert_eq!(
        policies,
        [
            r#"{"Name":"no","MaximumRetryCount":0}"#,
            r#"{"Name":"on-failure","MaximumRetryCount":3}"#,
            r#"{"Name":"unless-stopped","MaximumRetryCount":0}"#
        ]
    );
    // Started by hand, it counts from the beginning.
    lab.rmac(&["start", "thrice"]).ok();
    wait_for("three more", || {
        status(&lab, "thrice") == "exited" && restarts(&lab, "thrice") == 3
    });
    lab.rmac(&["rm", "-f", "always", "unless"]).ok();
}

#[test]
fn the_delays_are_dockers() {
    let lab = Lab::with_image();
    let flags = "--network none --restart on-failure:5";
    run(&lab, "c1", flags, "echo begin; exit 1");
    wait_for("the last", || status(&lab, "c1") == "exited");
    let log = lab.rmac(&["logs", "-t", "c1"]).ok();
    let times: Vec<jiff::Timestamp> = log
        .lines()
        .map(|line| line.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(times.len(), 6, "{log}");
    for (number, pair) in times.windows(2).enumerate() {
        let between = pair[1].duration_since(pair[0]).as_millis_f64();
        let delay = f64::from(100 << number);
        // What a start takes on a busy machine comes on top.
        assert!(
            (delay..delay + 600.0).contains(&between),
            "after run {number}: {between} ms"
        );
    }
}

#[test]
fn a_container_that_rests_is_shown_and_says_what_it_cannot_do() {
    let lab = Lab::with_image();
    let flags = "--network none --restart always";
    run(&lab, "c1", flags, "echo out; exit 3");
    until_it_rests(&lab, "c1");
    lab.rmac(&["exec", "c1", "true"])
        .says("is restarting, wait until the container is running")
        .ended(1);
    lab.rmac(&["attach", "c1"])
        .says("You cannot attach to a restarting container, wait until it is running")
        .ended(1);
    for verb in ["pause", "top"] {
        lab.rmac(&[verb, "c1"])
            .says("is restarting, wait until the container is running")
            .ended(1);
    }
    until_it_rests(&lab, "c1");
    let told = inspect(
        &lab,
        "c1",
        "{{.State.Status}} {{.State.Running}} {{.State.Restarting}} {{.State.Pid}} {{.State.ExitCode}}",
    );
    assert_eq!(told, "restarting true true 0 3");
    assert_eq!(lab.rmac(&["ps", "-q"]).ok().lines().count(), 1);
    let shown = "rmac ps -f status=restarting --format '{{.Names}} {{.State}} {{.Status}}'";
    let shown = lab.sh(shown).ok();
    assert!(
        shown.starts_with("c1 restarting Restarting (3) "),
        "{shown}"
    );
    assert!(shown.ends_with(" ago\n"), "{shown}");
    // Who has been started already needs no start.
    lab.rmac(&["start", "c1"]).ok();
    lab.rmac(&["rm", "c1"])
        .says("container is restarting: stop the container before removing or force remove")
        .ended(1);
    // As Docker: each waits for the end of a program, not of all restarts, and follows one program only.
    assert_eq!(lab.sh("timeout 20 rmac wait c1").ok(), "3\n");
    lab.sh("timeout 20 rmac logs -f c1").says("out\nout\n").ok();
    let begin = Instant::now();
    lab.rmac(&["rm", "-f", "c1"]).ok();
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_eq!(lab.rmac(&["ps", "-aq"]).ok(), "");
}

#[test]
fn who_is_attached_hears_of_the_first_end() {
    let lab = Lab::with_image();
    let image = lab.image();
    let script = format!(
        "timeout 20 rmac run --name c1 --network none --restart always {image} sh -c 'echo once; exit 5'"
    );
    let out = lab.sh(&script).ended(5);
    assert_eq!(out.stdout, "once\n");
    wait_for("a restart", || restarts(&lab, "c1") > 1);
    lab.rmac(&["rm", "-f", "c1"]).ok();
}

#[test]
fn stop_and_kill_win_at_any_moment() {
    let lab = lab_with_network("lan");
    let flags = "--network none --restart always";
    run(&lab, "rests", flags, "exit 4");
    for end in [&["stop", "rests"][..], &["kill", "rests"]] {
        until_it_rests(&lab, "rests");
        let begin = Instant::now();
        lab.rmac(end).ok();
        assert!(begin.elapsed() < Duration::from_secs(1), "{end:?}");
        let told = inspect(&lab, "rests", "{{.State.Status}} {{.State.ExitCode}}");
        assert_eq!(told, "exited 4", "{end:?}");
        lab.rmac(&["start", "rests"]).ok();
    }
    until_it_rests(&lab, "rests");
    lab.rmac(&["restart", "rests"]).ok();
    wait_for("the first restart", || restarts(&lab, "rests") == 1);
    lab.rmac(&["rm", "-f", "rests"]).ok();

    // While it runs, and whenever: each time it stays what it is.
    let policy = "--network none --restart unless-stopped";
    run(
        &lab,
        "runs",
        policy,
        "trap \"exit 1\" TERM; while :; do sleep 0.01; done",
    );
    for end in ["stop", "kill", "kill -s TERM"] {
        wait_for("a run", || status(&lab, "runs") == "running");
        lab.sh(&format!("rmac {end} runs")).ok();
        wait_for("its end", || status(&lab, "runs") == "exited");
        std::thread::sleep(Duration::from_millis(300));
        let told = inspect(&lab, "runs", "{{.State.Status}} {{.RestartCount}}");
        assert_eq!(told, "exited 0", "{end}");
        lab.rmac(&["start", "runs"]).ok();
    }
    lab.rmac(&["rm", "-f", "runs"]).ok();
    let mut moment = 0x5eed_u64;
    for round in 0..30 {
        run(&lab, "quick", "--network lan --restart always", "exit 0");
        moment = moment.wrapping_mul(6364136223846793005).wrapping_add(1);
        std::thread::sleep(Duration::from_micros(moment % 250_000));
        let begin = Instant::now();
        lab.rmac(&["stop", "-t", "0", "quick"]).ok();
        assert!(begin.elapsed() < Duration::from_secs(3), "round {round}");
        let ended = restarts(&lab, "quick");
        std::thread::sleep(Duration::from_millis(20));
        let told = inspect(&lab, "quick", "{{.State.Status}} {{.RestartCount}}");
        assert_eq!(told, format!("exited {ended}"), "round {round}");
        lab.rmac(&["rm", "quick"]).ok();
    }
}

/// A signal that does not stop the container leaves its policy as it is, where it says which one does.
#[test]
fn a_signal_that_does_not_stop_is_no_stop() {
    let lab = Lab::with_image();
    let flags = "--network none --restart always --stop-signal TERM";
    let script = "trap \"exit 1\" USR1 TERM; while :; do sleep 0.01; done";
    run(&lab, "c1", flags, script);
    std::thread::sleep(Duration::from_millis(200));
    lab.rmac(&["kill", "-s", "USR1", "c1"]).ok();
    wait_for("a restart", || {
        restarts(&lab, "c1") == 1 && status(&lab, "c1") == "running"
    });
    std::thread::sleep(Duration::from_millis(200));
    // The second run hears its signals as the first did, though its monitor has blocked them meanwhile.
    let begin = Instant::now();
    lab.rmac(&["stop", "c1"]).ok();
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(inspect(&lab, "c1", "{{.State.ExitCode}}"), "1");
    lab.rmac(&["rm", "c1"]).ok();
}

#[test]
fn a_monitor_that_is_killed_is_told_of_by_the_next_command() {
    let lab = lab_with_network("lan");
    run(&lab, "rests", "--network lan --restart always", "exit 6");
    until_it_rests(&lab, "rests");
    let pid = monitor(&lab, "rests");
    kill(pid, Signal::SIGKILL).unwrap();
    wait_for("its death", || {
        lab.rmac(&["ps", "-q"]).ok().is_empty() && status(&lab, "rests") == "exited"
    });
    let told = inspect(&lab, "rests", "{{.State.ExitCode}} {{.State.Error}}");
    assert_eq!(
        told,
        "6 the container's monitor was killed while it waited to start it again"
    );
    let script = "while :; do sleep 1; done";
    run(&lab, "runs", "--network lan --restart always", script);
    kill(monitor(&lab, "runs"), Signal::SIGKILL).unwrap();
    wait_for("its death", || status(&lab, "runs") == "exited");
    assert_eq!(inspect(&lab, "runs", "{{.State.ExitCode}}"), "137");
    // What a boot brings back comes back so, too.
    assert_eq!(lab.rmac(&["start", "--at-boot"]).ok(), "rests\nruns\n");
    lab.rmac(&["rm", "-f", "rests", "runs"]).ok();
}

/// While it launches, runs, takes down or rests: the next command finds all that is left, and the container can be
/// started.
#[test]
fn a_monitor_may_be_killed_at_any_moment() {
    let lab = lab_with_network("lan");
    let mut moment = 0x5eed_u64;
    run(&lab, "c1", "--network lan --restart always", "exit 1");
    for round in 0..25 {
        moment = moment.wrapping_mul(6364136223846793005).wrapping_add(1);
        std::thread::sleep(Duration::from_micros((moment >> 20) % 500_000));
        kill(monitor(&lab, "c1"), Signal::SIGKILL).unwrap();
        wait_for("its death", || status(&lab, "c1") == "exited");
        let id = inspect(&lab, "c1", "{{.Id}}");
        let left = lab.sh(&format!(
            "find /sys/fs/cgroup -name {id}; ls {}/containers",
            lab.runroot().display()
        ));
        assert_eq!(left.stdout, "", "round {round}");
        lab.rmac(&["start", "c1"]).ok();
    }
    lab.rmac(&["rm", "-f", "c1"]).ok();
}

#[test]
fn a_monitor_that_is_told_to_end_while_it_waits_ends() {
    let lab = Lab::with_image();
    run(
        &lab,
        "c1",
        "--network none --restart unless-stopped",
        "exit 2",
    );
    until_it_rests(&lab, "c1");
    kill(monitor(&lab, "c1"), Signal::SIGTERM).unwrap();
    wait_for("its end", || status(&lab, "c1") == "exited");
    // Nobody has stopped it: a shutdown has.
    assert_eq!(lab.rmac(&["start", "--at-boot"]).ok(), "c1\n");
    lab.rmac(&["rm", "-f", "c1"]).ok();
}

#[test]
fn a_hundred_crashes_leave_nothing_and_cost_no_memory() {
    let lab = lab_with_network("lan");
    let flags = "--network lan --restart always";
    run(&lab, "crash", flags, "exit 1");
    let open = || {
        let path = format!("/proc/{}/fd", monitor(&lab, "crash"));
        std::fs::read_dir(path).unwrap().count()
    };
    // A rest of 800 ms begins with what takes the last life down.
    let at_rest = || {
        wait_for("three restarts", || restarts(&lab, "crash") >= 3);
        until_it_rests(&lab, "crash");
        std::thread::sleep(Duration::from_millis(200));
        open()
    };
    let before = at_rest();
    // Whoever starts it anew begins with the shortest delay: so four restarts take some 1.5 seconds.
    for _ in 0..25 {
        lab.rmac(&["restart", "-t", "0", "crash"]).ok();
        wait_for("three restarts", || restarts(&lab, "crash") >= 3);
    }
    assert_eq!(before, at_rest());
    let pid = monitor(&lab, "crash");
    let id = inspect(&lab, "crash", "{{.Id}}");
    let left = lab.sh(&format!(
        "find /sys/fs/cgroup -name {id} 2>/dev/null; grep {id} /proc/{pid}/mountinfo; ip -br link | grep -v -e ^lo -e ^eth0"
    ));
    assert_eq!(left.stdout, "");
    lab.rmac(&["rm", "-f", "crash"]).ok();
}

#[test]
fn its_place_on_the_network_stays_its_own() {
    let lab = lab_with_network("lan");
    let image = lab.image();
    let flags = "--network lan --ip 172.16.86.77 --restart always -v /data -h own";
    let script = "echo x >>/data/file; wc -l </data/file; cat /sys/class/net/eth0/address; ip addr show eth0 | grep inet.172; sleep 0.1; exit 1";
    run(&lab, "c1", flags, script);
    lab.sh(&format!(
        "rmac run -d --name peer --network lan {image} sleep 1000"
    ))
    .ok();
    until_it_rests(&lab, "c1");
    lab.rmac(&["exec", "peer", "cat", "/etc/hosts"])
        .says("172.16.86.77\tc1")
        .ok();
    let taken = "rmac run --rm --network lan --ip 172.16.86.77 ";
    lab.sh(&format!("{taken} {image} true"))
        .says("Address already in use")
        .ended(125);
    lab.rmac(&["network", "rm", "lan"]).says("active").ended(1);
    lab.rmac(&["stop", "c1"]).ok();
    let log = lab.rmac(&["logs", "c1"]).ok();
    let lines: Vec<&str> = log.lines().collect();
    let runs: Vec<&[&str]> = lines.chunks(3).collect();
    assert!(runs.len() >= 4, "{log}");
    for (number, run) in runs.iter().enumerate() {
        // The volume is the same one.
        assert_eq!(run[0].trim(), (number + 1).to_string(), "{log}");
        assert!(run[1].contains("02:42:ac:10:56:4d"), "{log}");
        assert!(run[2].contains("172.16.86.77/24"), "{log}");
    }
    // Now nobody has the name any more.
    eventually(&lab, "! rmac exec peer grep -q 172.16.86.77 /etc/hosts");
    lab.rmac(&["rm", "-f", "-v", "c1", "peer"]).ok();
}

#[test]
fn a_network_may_be_left_and_joined_meanwhile() {
    let lab = lab_with_network("lan");
    let script = "ip addr; exit 1";
    run(&lab, "c1", "--network none --restart always", script);
    until_it_rests(&lab, "c1");
    lab.rmac(&["network", "connect", "--ip", "172.16.86.78", "lan", "c1"])
        .ok();
    eventually(&lab, "rmac logs c1 2>&1 | grep -q 172.16.86.78/24");
    lab.sh(&format!(
        "rmac run -d --name peer --network lan {} sleep 1000",
        lab.image()
    ))
    .ok();
    until_it_rests(&lab, "c1");
    lab.rmac(&["exec", "peer", "grep", "172.16.86.78", "/etc/hosts"])
        .ok();
    lab.rmac(&["network", "disconnect", "lan", "c1"]).ok();
    lab.rmac(&["exec", "peer", "grep", "172.16.86.78", "/etc/hosts"])
        .ended(1);
    lab.rmac(&["rm", "-f", "c1", "peer"]).ok();
}

/// The server hears of no end, so the address is not given to anybody else meanwhile.
#[test]
fn a_lease_of_dhcp_is_kept() {
    if !has_dnsmasq() {
        return;
    }
    let lab = Lab::with_image();
    let mut server = dnsmasq(&lab, "");
    lab.sh("rmac network create --ipam-driver dhcp -o parent=eth0 lan")
        .ok();
    let flags = "--network lan --restart always";
    run(
        &lab,
        "c1",
        flags,
        "ip addr show eth0 | grep inet.172; exit 1",
    );
    until_it_rests(&lab, "c1");
    let log = || std::fs::read_to_string(lab.scratch().join("log")).unwrap();
    assert!(!log().contains("DHCPRELEASE"), "{}", log());
    let addresses = lab.rmac(&["logs", "c1"]).ok();
    let addresses: BTreeSet<&str> = addresses.lines().collect();
    assert_eq!(addresses.len(), 1, "{addresses:?}");
    // Ended while it runs, it gives the lease back.
    lab.sh("rmac rm -f c1").ok();
    let script = "while :; do sleep 0.1; done";
    run(&lab, "c1", flags, script);
    lab.sh("rmac rm -f c1").ok();
    assert!(log().contains("DHCPRELEASE"), "{}", log());
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn user_numbers_are_lent_anew() {
    let lab = Lab::with_image();
    let flags = "--network none --userns auto --restart on-failure:2";
    run(
        &lab,
        "c1",
        flags,
        "id -u; echo x >>/file; wc -l </file; exit 1",
    );
    wait_for("the end", || status(&lab, "c1") == "exited");
    assert_eq!(lab.rmac(&["logs", "c1"]).ok(), "0\n1\n0\n2\n0\n3\n");
    lab.rmac(&["rm", "c1"]).ok();
}

#[test]
fn a_restart_that_fails_ends_it_and_says_why() {
    let lab = Lab::with_image();
    let image = lab.image();
    lab.sh(&format!(
        "rmac run -d --name owner --network none {image} sleep 1000"
    ))
    .ok();
    let script = "sleep 0.2; exit 1";
    run(
        &lab,
        "c1",
        "--network container:owner --restart always",
        script,
    );
    lab.rmac(&["rm", "-f", "owner"]).ok();
    wait_for("its end", || status(&lab, "c1") == "exited");
    assert_ne!(inspect(&lab, "c1", "{{.State.Error}}"), "");
    lab.rmac(&["rm", "c1"]).ok();
}

#[test]
fn the_policy_can_be_changed() {
    let lab = Lab::with_image();
    run(&lab, "c1", "--network none", "sleep 0.5; exit 1");
    assert_eq!(
        lab.rmac(&["update", "--restart", "on-failure:2", "c1"])
            .ok(),
        "c1\n"
    );
    wait_for("two restarts", || {
        restarts(&lab, "c1") == 2 && status(&lab, "c1") == "exited"
    });
    lab.rmac(&["update", "--restart=always", "c1"]).ok();
    assert_eq!(
        inspect(&lab, "c1", "{{.HostConfig.RestartPolicy.Name}}"),
        "always"
    );
    lab.rmac(&["start", "c1"]).ok();
    wait_for("a restart", || restarts(&lab, "c1") == 1);
    lab.rmac(&["update", "--restart=no", "c1"]).ok();
    wait_for("the end", || status(&lab, "c1") == "exited");
    lab.rmac(&["update", "c1"])
        .says("you must provide one or more flags when using this command")
        .ended(1);
    let image = lab.image();
    lab.sh(&format!("rmac create --rm --name gone {image} true"))
        .ok();
    lab.rmac(&["update", "--restart", "always", "gone"])
        .says("Restart policy cannot be updated because AutoRemove is enabled for the container")
        .ended(1);
    lab.rmac(&["rm", "c1", "gone"]).ok();
}

#[test]
fn a_boot_starts_what_dockers_daemon_would() {
    let lab = lab_with_network("lan");
    let script = "while :; do sleep 1; done";
    for policy in ["always", "unless-stopped", "on-failure", "no"] {
        let flags = format!("--network lan --restart {policy}");
        run(&lab, &format!("{policy}-ran"), &flags, script);
        run(&lab, &format!("{policy}-stopped"), &flags, script);
        let create = "rmac create --network none --restart";
        let image = lab.image();
        lab.sh(&format!(
            "{create} {policy} --name {policy}-new {image} true"
        ))
        .ok();
        lab.rmac(&["stop", "-t", "0", &format!("{policy}-stopped")])
            .ok();
    }
    let flags = "--network container:unless-stopped-ran --restart always";
    run(&lab, "guest", flags, script);
    // As after a power cut: the states say "running", and the run root is empty.
    let ran = [
        "always-ran",
        "unless-stopped-ran",
        "on-failure-ran",
        "no-ran",
        "guest",
    ];
    let states: Vec<_> = ran
        .iter()
        .map(|name| {
            let path = directory(&lab, name).join("state.json");
            let text = std::fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect();
    for name in ran.iter().rev() {
        lab.rmac(&["stop", "-t", "0", name]).ok();
    }
    // Their links, too, would be gone after a power cut.
    let held = lab.runroot().join("containers");
    wait_for("their monitors' ends", || {
        std::fs::read_dir(&held).unwrap().next().is_none()
    });
    for (path, text) in states {
        std::fs::write(path, text).unwrap();
    }
    let _ = std::fs::remove_dir_all(lab.runroot());
    let started = lab.rmac(&["start", "--at-boot"]).ok();
    assert_eq!(
        started,
        "always-ran\nalways-stopped\nunless-stopped-ran\nguest\n"
    );
    assert_eq!(lab.rmac(&["start", "--at-boot"]).ok(), "");
    assert_eq!(lab.rmac(&["ps", "-q"]).ok().lines().count(), 4);
    lab.rmac(&["start", "--at-boot", "guest"]).ended(125);
    lab.sh("rmac rm -f $(rmac ps -aq)").ok();
}

#[test]
fn mistakes_have_dockers_words() {
    let lab = Lab::with_image();
    for (flags, words) in [
        (
            "--rm --restart always",
            "conflicting options: cannot specify both --restart and --rm",
        ),
        (
            "--restart often",
            "invalid restart policy: unknown policy 'often'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
        ),
        (
            "--restart always:2",
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        (
            "--restart on-failure:-1",
            "invalid restart policy: maximum retry count cannot be negative",
        ),
        (
            "--restart on-failure:x",
            "invalid restart policy format: maximum retry count must be an integer",
        ),
        (
            "--restart :2",
            "invalid restart policy format: no policy provided before colon",
        ),
    ] {
        let image = lab.image();
        lab.sh(&format!("{RMAC} run {flags} {image} true"))
            .says(words)
            .ended(125);
    }
    let image = lab.image();
    lab.sh(&format!(
        "rmac run --rm --restart no --network none {image} true"
    ))
    .ok();
    assert_eq!(lab.rmac(&["ps", "-aq"]).ok(), "");
}
