//! kill -9 at random moments: of the command, of the monitor, of both, while a container is made and while
//! it is stopped. The next rmac command cleans up, and reports the container as what it is.

mod common;

use std::collections::HashSet;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::lan::lab_with_network;
use common::{Lab, RMAC};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Whom the signal hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Command,
    Monitor,
    Both,
}

/// What was hit in the end: before it is forked, there is no monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hit {
    CommandOnly,
    Monitor,
}

const VICTIMS: [Victim; 3] = [Victim::Command, Victim::Monitor, Victim::Both];

/// Random enough for moments, and the same in every run, so that a failure can be looked into.
struct Moments(u64);

impl Moments {
    fn next(&mut self, most: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_nanos(self.0 % most.as_nanos() as u64)
    }
}

#[test]
fn killed_while_a_container_is_made() {
    let lab = lab_with_network("lan");
    let mut moments = Moments(0x5eed_0001);
    for round in 0..24 {
        let victim = VICTIMS[round % 3];
        let name = format!("made{round}");
        let mut arguments = vec!["run", "--network", "lan", "--name", &name];
        if round % 2 == 0 {
            arguments.push("--rm");
        }
        if round % 4 < 2 {
            arguments.push("-d");
        }
        arguments.extend([lab.image(), "sleep", "1000"]);
        let command = spawn(&lab, &arguments);
        let moment = moments.next(Duration::from_millis(40));
        std::thread::sleep(moment);
        let hit = strike(&lab, command, victim);
        let told = format!("round {round}: {victim:?} after {moment:?}, {arguments:?}");
        check(&lab, &name, hit, &told);
    }
}

/// Nothing but one byte's lock tells `ps` of each that it lives: those of the others do not help who is dead.
#[test]
fn the_next_list_knows_which_of_many_was_killed() {
    let lab = lab_with_network("lan");
    let names: Vec<String> = (0..6).map(|number| format!("one{number}")).collect();
    for name in &names {
        lab.rmac(&["run", "-d", "--name", name, lab.image(), "sleep", "1000"])
            .ok();
    }
    let up = || lab.rmac(&["ps", "--format", "{{.Names}}"]).ok();
    assert_eq!(up().lines().count(), names.len());
    for (gone, name) in names.iter().enumerate().take(3) {
        let pid = lab.rmac(&["inspect", "-f", "{{.State.Pid}}", name]).ok();
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap();
        let monitor = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:")?.trim().parse::<i32>().ok())
            .unwrap();
        kill(Pid::from_raw(monitor), Signal::SIGKILL).unwrap();
        while is_alive(monitor) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let listed = up();
        let left: HashSet<&str> = listed.lines().collect();
        let expected: HashSet<&str> = names[gone + 1..].iter().map(String::as_str).collect();
        assert_eq!(left, expected, "after {name} was killed");
        lab.rmac(&["inspect", "-f", "{{.State.ExitCode}}", name])
            .says("137");
        if gone == 1 {
            // Its place is taken again, by itself.
            lab.rmac(&["start", name]).ok();
            assert!(up().lines().any(|line| line == name));
            lab.rmac(&["rm", "-f", name]).ok();
        }
    }
    for name in &names {
        lab.rmac(&["rm", "-f", name]);
    }
}

#[test]
fn killed_while_a_container_is_stopped() {
    let lab = lab_with_network("lan");
    let mut moments = Moments(0x5eed_0002);
    for round in 0..20 {
        let victim = VICTIMS[round % 3];
        let name = format!("stopped{round}");
        let script = "trap 'exit 0' TERM; while :; do sleep 0.01; done";
        let mut arguments = vec!["run", "-d", "--network", "lan", "--name", &name];
        if round % 2 == 0 {
            arguments.push("--rm");
        }
        arguments.extend([lab.image(), "sh", "-c", script]);
        lab.rmac(&arguments).ok();
        let command = spawn(&lab, &["stop", "-t", "2", &name]);
        let moment = moments.next(Duration::from_millis(60));
        std::thread::sleep(moment);
        let hit = strike(&lab, command, victim);
        let told = format!("round {round}: {victim:?} after {moment:?} of stop");
        check(&lab, &name, hit, &told);
    }
}

fn spawn(lab: &Lab, arguments: &[&str]) -> Child {
    let mut command = lab.command(RMAC);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command.stderr(Stdio::null()).spawn().unwrap()
}

/// Kills, and waits until the killed are dead; tells whether a monitor was among them. One that sits in the
/// kernel (deleting a link takes it 20 ms) dies when it comes out.
fn strike(lab: &Lab, mut command: Child, victim: Victim) -> Hit {
    let monitors = match victim {
        Victim::Command => vec![],
        _ => monitors(lab, command.id()),
    };
    if victim != Victim::Monitor {
        let _ = command.kill();
    }
    for pid in &monitors {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    // What was not killed may go on: a command whose monitor died ends by itself.
    if victim == Victim::Monitor {
        let begin = Instant::now();
        while command.try_wait().unwrap().is_none() && begin.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = command.kill();
    }
    command.wait().unwrap();
    let begin = Instant::now();
    while monitors.iter().any(|pid| is_alive(*pid)) {
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{monitors:?} do not die"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    if monitors.is_empty() {
        Hit::CommandOnly
    } else {
        Hit::Monitor
    }
}

fn is_alive(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.is_some_and(|state| !state.trim().starts_with('Z'))
}

/// The processes of rmac's on the lab's host that are no command: those that have taken the monitor's
/// name, and children of the command that have not yet.
fn monitors(lab: &Lab, command: u32) -> Vec<i32> {
    let mut found = vec![];
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let read =
            |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let parent = read("status")
            .lines()
            .find_map(|line| line.strip_prefix("PPid:")?.trim().parse::<u32>().ok());
        let named = read("comm").trim() == "rmac-monitor" && lab.is_here(pid);
        if parent == Some(command) || named {
            found.push(pid);
        }
    }
    found
}

/// The next command has cleaned up, and tells the truth.
fn check(lab: &Lab, name: &str, hit: Hit, told: &str) {
    let listed = lab
        .rmac(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"])
        .ok();
    let status = listed
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    match status {
        // It has come to run before the blow, or after it: then it must be whole.
        Some(status) if status.starts_with("Up") => {
            assert_eq!(hit, Hit::CommandOnly, "{told}: reported as {status}");
            let usable = lab.rmac(&["exec", name, "true"]);
            // The stop whose command was killed may have got its signal through.
            let ended = || {
                let begin = Instant::now();
                let up = || {
                    lab.rmac(&["ps", "--format", "{{.Names}}"])
                        .ok()
                        .contains(name)
                };
                while up() && begin.elapsed() < Duration::from_secs(2) {}
                !up()
            };
            assert!(usable.code == 0 || ended(), "{told}: {usable:?}");
        }
        Some(status) => {
            assert!(status.starts_with("Exited"), "{told}: reported as {status}");
            none_left(lab, told, |leak| {
                !leak.starts_with("state:") && !leak.starts_with("lease:")
            });
        }
        // A monitor that goes on without its command may not have come so far yet.
        None if hit == Hit::CommandOnly => {}
        None => none_left(lab, told, |_| true),
    }
    lab.rmac(&["rm", "-f", name]).ok();
    if hit == Hit::CommandOnly {
        // What the monitor was about to do, it may have done by now.
        std::thread::sleep(Duration::from_millis(50));
        lab.rmac(&["rm", "-f", name]).ok();
    }
    none_left(lab, told, |_| true);
}

/// The kernel takes a dead namespace down in the background, and the kill itself takes a moment.
fn none_left(lab: &Lab, told: &str, counts: impl Fn(&str) -> bool) {
    let begin = Instant::now();
    loop {
        let left: Vec<String> = lab
            .leaks()
            .into_iter()
            .filter(|leak| counts(leak))
            .collect();
        if left.is_empty() {
            return;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{told}: left behind: {left:#?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
