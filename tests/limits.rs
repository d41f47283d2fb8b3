//! What a container's cgroup holds it to: memory, processes, processor time, devices. On cgroup v1 by
//! this machine's kernel, on v2 (and with the first process born into its cgroup) in `scripts/vm`.

mod common;

use common::Lab;

#[test]
fn too_much_memory_ends_the_container() {
    let lab = Lab::with_image();
    let image = lab.image();
    // A file system in memory counts; tail keeps all of an endless line.
    let hungry = "head -c 200000000 /dev/zero | tail";
    lab.sh(&format!(
        "rmac run --name c1 -m 32m {image} sh -c '{hungry}'"
    ))
    .ended(137);
    let killed = lab.sh("rmac inspect -f '{{.State.OOMKilled}}' c1").ok();
    eprintln!("OOMKilled: {}", killed.trim());
    lab.sh(&format!(
        "rmac run --rm -m 512m {image} sh -c '{hungry}' | wc -c"
    ))
    .ok();
    lab.rmac(&["rm", "c1"]).ok();
}

#[test]
fn too_many_processes_are_refused() {
    let lab = Lab::with_image();
    let image = lab.image();
    let many = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1 & done; wait";
    lab.sh(&format!(
        "rmac run --rm --pids-limit 5 {image} sh -c '{many}'"
    ))
    .says("can't fork");
    lab.sh(&format!(
        "rmac run --rm --pids-limit 50 {image} sh -c '{many}'"
    ))
    .ok();
}

#[test]
fn processor_time_is_rationed() {
    let lab = Lab::with_image();
    let image = lab.image();
    // A fifth of a processor: the program's own clock tells.
    let busy = "timeout 3 sh -c \"while :; do :; done\"; cat /proc/self/stat >/dev/null; times";
    let output = lab
        .sh(&format!("rmac run --rm --cpus 0.2 {image} sh -c '{busy}'"))
        .stdout;
    // The second line is that of the children: 0m0.60s and so on.
    let line = output.lines().nth(1).unwrap_or_default();
    let seconds = |word: &str| -> f64 {
        let (minutes, rest) = word.split_once('m').unwrap();
        let rest: f64 = rest.trim_end_matches('s').parse().unwrap();
        minutes.parse::<f64>().unwrap() * 60.0 + rest
    };
    let used: f64 = line.split_whitespace().map(seconds).sum();
    assert!(used < 1.6, "{output}");
}

#[test]
fn devices_are_those_of_the_list() {
    let lab = Lab::with_image();
    let image = lab.image();
    let run = |script: &str| lab.sh(&format!("rmac run --rm {image} sh -c '{script}'"));
    run("head -c 1 /dev/zero >/dev/null && mknod /tmp/null c 1 3 && echo x >/tmp/null").ok();
    // A disk, and the kernel's memory: the node can be made (CAP_MKNOD), but not opened.
    run("mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem")
        .ended(1)
        .says("Operation not permitted");
    run("mknod /tmp/disk b 7 0 && head -c 1 /tmp/disk")
        .ended(1)
        .says("Operation not permitted");
}

#[test]
fn the_first_process_is_in_its_cgroup() {
    let lab = Lab::with_image();
    let id = lab
        .sh(&format!("rmac run -d --name c1 {} sleep 600", lab.image()))
        .ok();
    let pid = lab.sh("rmac inspect -f '{{.State.Pid}}' c1").ok();
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", pid.trim())).unwrap();
    let own = format!("/rmac/{}", id.trim());
    assert!(groups.lines().any(|line| line.ends_with(&own)), "{groups}");
    // Inside, it is the root.
    let inside = lab.inside("c1", "cat /proc/1/cgroup").ok();
    assert!(inside.lines().any(|line| line.ends_with(":/")), "{inside}");
}
