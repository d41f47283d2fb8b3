//! Verbs that the other tests do not tell of: pause, unpause, rename, restart, top.

mod common;

use common::Lab;

#[test]
fn a_paused_container_stands_still_and_can_be_stopped() {
    let lab = Lab::with_image();
    let count = "while :; do echo tick; sleep 0.02; done";
    lab.rmac(&[
        "run",
        "-d",
        "--name",
        "clock",
        lab.image(),
        "sh",
        "-c",
        count,
    ])
    .ok();
    let ticks = || lab.rmac(&["logs", "clock"]).ok().lines().count();
    lab.rmac(&["pause", "clock"]).ok();
    lab.rmac(&["pause", "clock"])
        .says("is already paused")
        .ended(1);
    lab.rmac(&["ps", "--format", "{{.Status}} {{.State}}"])
        .says("(Paused) paused")
        .ok();
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(ticks(), before);
    lab.rmac(&["unpause", "clock"]).ok();
    lab.rmac(&["unpause", "clock"])
        .says("is not paused")
        .ended(1);
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(ticks() > before);
    for end in [&["stop", "-t", "0", "clock"][..], &["kill", "clock"]] {
        lab.rmac(&["start", "clock"]).ok();
        lab.rmac(&["pause", "clock"]).ok();
        lab.rmac(end).ok();
        lab.rmac(&[
            "inspect",
            "-f",
            "{{.State.Status}} {{.State.Paused}}",
            "clock",
        ])
        .says("exited false")
        .ok();
    }
}

/// A signal that process 1 of a PID namespace does not catch does nothing to it: pid_namespaces(7).
#[test]
fn a_stop_that_will_take_its_whole_time_says_why_at_once() {
    let lab = Lab::with_image();
    let image = lab.image();
    lab.sh(&format!("rmac run -d --name deaf {image} sleep 1000"))
        .ok();
    lab.rmac(&["stop", "-t", "1", "deaf"])
        .says("deaf: its process 1 does not catch SIGTERM, SIGKILL follows in 1 s (quicker: stop -t 0")
        .ok();
    lab.sh(&format!(
        "rmac run -d --name quick --init {image} sleep 1000"
    ))
    .ok();
    let out = lab.rmac(&["stop", "-t", "10", "quick"]);
    assert_eq!(out.stderr, "");
}

#[test]
fn a_container_can_be_renamed_restarted_and_looked_into() {
    let lab = Lab::with_image();
    lab.rmac(&["run", "-d", "--name", "one", lab.image(), "sleep", "1000"])
        .ok();
    lab.rmac(&["create", "--name", "other", lab.image(), "true"])
        .ok();
    lab.rmac(&["rename", "one", "other"])
        .says("already in use")
        .ended(1);
    lab.rmac(&["rename", "one", "one"])
        .says("same name")
        .ended(1);
    lab.rmac(&["rename", "one", "two"]).ok();
    lab.rmac(&["exec", "one", "true"])
        .says("No such container: one")
        .ended(1);
    let top = lab.rmac(&["top", "two"]).ok();
    assert!(
        top.starts_with("UID") && top.contains("sleep 1000"),
        "{top}"
    );
    let pid = || lab.rmac(&["inspect", "-f", "{{.State.Pid}}", "two"]).ok();
    let before = pid();
    lab.rmac(&["restart", "-t", "0", "two"]).ok();
    assert_ne!(pid(), before);
    lab.rmac(&["top", "other"]).says("is not running").ended(1);
}

#[test]
fn a_monitor_that_is_told_to_end_stops_its_container() {
    let lab = Lab::with_image();
    let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    lab.rmac(&[
        "run",
        "-d",
        "--name",
        "told",
        lab.image(),
        "sh",
        "-c",
        script,
    ])
    .ok();
    let state = "$RMAC_ROOT/containers/$(rmac inspect -f '{{.Id}}' told)/state.json";
    lab.sh(&format!(
        "for i in $(seq 100); do rmac logs told | grep -q ready && break; sleep 0.05; done
        kill -TERM $(sed -n 's/.*\"monitor\": \\([0-9]*\\),/\\1/p' {state})
        timeout 20 rmac wait told; rmac logs told; rmac inspect -f '{{{{.State.Status}}}} {{{{.State.ExitCode}}}}' told"
    ))
    .says("bye")
    .says("exited 3")
    .ok();
}

#[test]
fn a_pipe_that_nobody_reads_ends_the_command_without_a_word() {
    let lab = Lab::with_image();
    // It writes when nobody reads any more for certain.
    lab.sh("{ sleep 0.5; rmac images; } | true; echo ${PIPESTATUS[0]}")
        .says("141")
        .ok();
    let output = lab.sh("rmac images >/dev/full").ended(1);
    output.says("rmac: write standard output: No space left on device");
}

#[test]
fn several_are_stopped_and_removed_at_once() {
    let lab = Lab::with_image();
    for name in ["c1", "c2", "c3"] {
        lab.sh(&format!(
            "rmac run -d --name {name} --network none alpine sh -c 'trap : TERM; while :; do sleep 1; done'"
        ))
        .ok();
    }
    // One after the other would take six seconds at least.
    let begin = std::time::Instant::now();
    let stopped = lab.sh("rmac stop -t 2 c3 c1 nobody c2 2>&1").ended(1);
    assert!(begin.elapsed() < std::time::Duration::from_secs(5));
    stopped
        .says("c3\nc1\nc2\n")
        .says("No such container: nobody");
    lab.sh("rmac start c1 c2").ok();
    // The same one twice is no harm.
    let removed = lab.sh("rmac rm -f c1 c2 c1 c3").ok();
    assert!(removed.starts_with("c1\nc2\n"));
    assert_eq!(lab.sh("rmac ps -aq").ok(), "");
}
