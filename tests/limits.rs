//! What a container's cgroup holds it to: memory, processes, processor time, devices. On cgroup v1 by
//! this machine's kernel, on v2 (and with the first process born into its cgroup) in `scripts/vm`.

mod common;

use common::Lab;
use common::lan::lab_with_network;

#[test]
fn too_much_memory_ends_the_container() {
    let lab = Lab::with_image();
    let image = lab.image();
    let hungry = "dd if=/dev/zero of=/dev/null bs=100M count=1";
    lab.sh(&format!("rmac run --name c1 -m 32m {image} {hungry}"))
        .ended(137);
    lab.sh(&format!("rmac run --rm -m 512m {image} {hungry}"))
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
fn a_container_may_use_the_processors_that_its_starter_may() {
    let lab = Lab::with_image();
    let image = lab.image();
    let allowed = "grep Cpus_allowed_list /proc/self/status";
    let may = |command: &str| lab.sh(command).ok();
    let all = may(allowed);
    let container = format!("rmac run --rm {image} {allowed}");
    assert_eq!(may(&container), all);
    // Before Linux 6.2 a cpuset makes who enters it forget what it was bound to.
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map_while(|word| word.parse().ok());
    let remembers = (numbers.next(), numbers.next()) >= (Some(6), Some(2));
    let bound = may(&format!("taskset -c 0 {container}"));
    assert!(
        bound == "Cpus_allowed_list:\t0\n" || (!remembers && bound == all),
        "{bound}"
    );
    lab.sh(&format!("rmac run -d --name c1 {image} sleep 1000"))
        .ok();
    assert_eq!(may(&format!("rmac exec c1 {allowed}")), all);
    // Who looks after it, too: the container's parent.
    let status = "/proc/$(cut -d\" \" -f4 /proc/$(rmac inspect -f {{.State.Pid}} c1)/stat)/status";
    let monitor = may(&format!("grep Cpus_allowed_list {status}"));
    assert_eq!(monitor, all);
    lab.rmac(&["rm", "-f", "c1"]).ok();
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

/// Flags; the file of cgroup v1 and what is in it; the same of v2, where that has it.
type Limit<'a> = (&'a str, [&'a str; 2], Option<[&'a str; 2]>);

#[test]
fn each_limit_is_in_its_file() {
    let lab = Lab::with_image();
    let limits: &[Limit] = &[
        (
            "--cpu-shares 512",
            ["cpu/cpu.shares", "512"],
            Some(["cpu.weight", "59"]),
        ),
        (
            "-c 2048",
            ["cpu/cpu.shares", "2048"],
            Some(["cpu.weight", "174"]),
        ),
        (
            "--cpu-period 50000 --cpu-quota 25000",
            ["cpu/cpu.cfs_quota_us", "25000"],
            Some(["cpu.max", "25000 50000"]),
        ),
        (
            "--cpus 0.5",
            ["cpu/cpu.cfs_quota_us", "50000"],
            Some(["cpu.max", "50000 100000"]),
        ),
        (
            "--cpuset-cpus 0",
            ["cpuset/cpuset.cpus", "0"],
            Some(["cpuset.cpus", "0"]),
        ),
        (
            "--cpuset-mems 0",
            ["cpuset/cpuset.mems", "0"],
            Some(["cpuset.mems", "0"]),
        ),
        (
            "-m 64m",
            ["memory/memory.memsw.limit_in_bytes", "134217728"],
            Some(["memory.swap.max", "67108864"]),
        ),
        (
            "-m 64m --memory-swap 96m",
            ["memory/memory.memsw.limit_in_bytes", "100663296"],
            Some(["memory.swap.max", "33554432"]),
        ),
        (
            "-m 64m --memory-swap -1",
            ["memory/memory.memsw.limit_in_bytes", "9223372036854771712"],
            Some(["memory.swap.max", "max"]),
        ),
        (
            "--memory-reservation 32m",
            ["memory/memory.soft_limit_in_bytes", "33554432"],
            Some(["memory.low", "33554432"]),
        ),
        (
            "-m 64m --memory-swappiness 7",
            ["memory/memory.swappiness", "7"],
            None,
        ),
        (
            "-m 64m --oom-kill-disable",
            ["memory/memory.oom_control", "oom_kill_disable 1"],
            None,
        ),
    ];
    let v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    for (flags, one, two) in limits {
        let wanted = if v2 { *two } else { Some(*one) };
        let [file, value] = wanted.unwrap_or(["cgroup.procs", "1"]);
        let run = format!(
            "rmac run --rm {flags} {} head -n 1 /sys/fs/cgroup/{file}",
            lab.image()
        );
        let output = lab.sh(&run);
        assert_eq!(output.stdout.trim(), value, "{flags}: {output:?}");
        // What v2 has no more is left out, with a word.
        assert_eq!(
            output.stderr.contains("discarded."),
            wanted.is_none(),
            "{output:?}"
        );
    }
}

#[test]
fn limits_can_be_changed() {
    let lab = Lab::with_image();
    let image = lab.image();
    let update = |words: &str| lab.sh(&format!("rmac update {words}"));
    let shown = |field: &str| {
        let format = format!("{{{{.HostConfig.{field}}}}}");
        let text = lab.rmac(&["inspect", "-f", &format, "c1"]).ok();
        text.trim_end().to_owned()
    };
    lab.sh(&format!(
        "rmac run -d --name c1 -m 32m --pids-limit 5 {image} sleep 1000"
    ))
    .ok();
    let group = lab.rmac(&["inspect", "-f", "{{.Id}}", "c1"]).ok();
    let group = group.trim_end();
    let holds = |v1: &str, v2: &str| {
        let file = format!("for f in {v1} {v2}; do [ ! -e $f ] || cat $f; done");
        let script = file.replace("ID", &format!("rmac/{group}"));
        lab.sh(&format!("cd /sys/fs/cgroup; {script}")).ok()
    };
    // What runs feels it at once.
    assert_eq!(update("--pids-limit 50 --cpus 0.5 c1").ok(), "c1\n");
    let many = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1 & done; wait";
    lab.sh(&format!("rmac exec c1 sh -c '{many}'")).ok();
    let quota = holds("cpu/ID/cpu.cfs_quota_us", "ID/cpu.max");
    assert!(quota.starts_with("50000"), "{quota}");
    assert_eq!(
        (shown("PidsLimit"), shown("NanoCpus")),
        ("50".into(), "500000000".into())
    );
    // As much swap again was allowed at the start.
    update("-m 65m c1")
        .says("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
        .ended(1);
    assert_eq!(update("-m 96m --memory-swap 128m c1").ok(), "c1\n");
    let memory = holds("memory/ID/memory.limit_in_bytes", "ID/memory.max");
    assert_eq!(memory, "100663296\n");
    assert_eq!(
        (shown("Memory"), shown("MemorySwap")),
        ("100663296".into(), "134217728".into())
    );
    for (words, why) in [
        (
            "--cpu-quota 20000",
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
        (
            "--memory-swap 64m",
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        ("-m 4m", "Minimum memory limit allowed is 6MB"),
    ] {
        update(&format!("{words} c1")).says(why).ended(1);
    }
    update("-m 64m nobody")
        .says("No such container: nobody")
        .ended(1);
    // What does not run has them when it is started again.
    lab.rmac(&["stop", "-t", "0", "c1"]).ok();
    update("--pids-limit -1 --cpu-shares 512 c1").ok();
    lab.rmac(&["start", "c1"]).ok();
    assert_eq!(holds("pids/ID/pids.max", "ID/pids.max"), "max\n");
    let memory = holds("memory/ID/memory.limit_in_bytes", "ID/memory.max");
    assert_eq!(
        (memory.as_str(), shown("CpuShares")),
        ("100663296\n", "512".into())
    );
    lab.rmac(&["rm", "-f", "c1"]).ok();
}

#[test]
fn what_is_used_is_shown() {
    let lab = Lab::with_image();
    let image = lab.image();
    let busy = "dd if=/dev/zero of=/big bs=1M count=8 2>/dev/null; while :; do :; done";
    lab.sh(&format!(
        "rmac run -d --name busy -m 64m --network none {image} sh -c '{busy}'"
    ))
    .ok();
    lab.sh(&format!(
        "rmac run -d --name idle --network none {image} sleep 1000"
    ))
    .ok();
    lab.sh(&format!("rmac create --name created {image} true"))
        .ok();
    let stats = |words: &str| lab.sh(&format!("rmac stats --no-stream {words}")).ok();
    let table = stats("");
    let mut lines = table.lines();
    let header = lines.next().unwrap().split("  ").map(str::trim);
    let header: Vec<&str> = header.filter(|word| !word.is_empty()).collect();
    let titles = "CONTAINER ID|NAME|CPU %|MEM USAGE / LIMIT|MEM %|NET I/O|BLOCK I/O|PIDS";
    assert_eq!(header.join("|"), titles);
    let names = lines.map(|line| line.split_whitespace().nth(1).unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["idle", "busy"]);
    // Never more than a processor, and of what else the machine does a good part.
    let format = "--format '{{.CPUPerc}} {{.MemUsage}} {{.NetIO}} {{.PIDs}}'";
    let percent = |line: &str| -> f64 { line.split_once('%').unwrap().0.parse().unwrap() };
    let line = stats(&format!("{format} busy"));
    assert!((5.0..105.0).contains(&percent(&line)), "{line}");
    assert!(line.ends_with(" / 64MiB 0B / 0B 1\n"), "{line}");
    let line = stats(&format!("{format} idle"));
    assert!(percent(&line) < 5.0, "{line}");
    assert_eq!(
        stats(&format!("{format} created")),
        "0.00% 0B / 0B 0B / 0B 0\n"
    );
    assert_eq!(stats("-a").lines().count(), 4);
    let json: serde_json::Value = serde_json::from_str(&stats("--format json idle")).unwrap();
    assert_eq!(
        (&json["Name"], &json["PIDs"]),
        (&"idle".into(), &"1".into())
    );
    lab.rmac(&["stats", "--no-stream", "nobody"])
        .says("No such container: nobody")
        .ended(1);
    // It goes on until somebody has enough of it.
    let stream = lab.sh("timeout 3.5 rmac stats idle").stdout;
    assert!(stream.matches("CONTAINER ID").count() >= 2, "{stream}");
    // Who was named stays, also when it is gone.
    let stream = lab.sh("(sleep 1; rmac rm -f created) & timeout 4.5 rmac stats created; wait");
    assert!(stream.stdout.contains("-- / --"), "{}", stream.stdout);
    lab.rmac(&["rm", "-f", "busy", "idle"]).ok();
}

#[test]
fn traffic_is_shown_to_all_who_share_a_network() {
    let lab = lab_with_network("lan");
    let image = lab.image();
    for (name, network) in [("own", "lan"), ("guest", "container:own"), ("free", "host")] {
        lab.sh(&format!(
            "rmac run -d --name {name} --network {network} {image} sleep 1000"
        ))
        .ok();
    }
    let stats = |name: &str| {
        lab.sh(&format!(
            "rmac stats --no-stream --format '{{{{.Container}}}} {{{{.NetIO}}}}' {name}"
        ))
        .ok()
    };
    // It has asked the LAN for its address, at least.
    let own = stats("own");
    assert!(own.starts_with("own ") && !own.contains("/ 0B"), "{own}");
    assert!(!stats("guest").contains("/ 0B"));
    assert_eq!(stats("free"), "free 0B / 0B\n");
    lab.rmac(&["rm", "-f", "guest", "own", "free"]).ok();
}
