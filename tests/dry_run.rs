//! `run --dry-run` prints a script; run by bash, it makes the container that `run` makes: the same links,
//! addresses, routes, mounts, host name, capabilities, user, limits and environment.

mod common;

use common::Lab;
use common::lan::lab_with_network;

/// What a container says about itself.
const LOOK: &str = "ip addr; ip route; cat /proc/self/mountinfo; hostname; cat /etc/hosts; \
                    grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; id; pwd; ulimit -n; env | sort; \
                    cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/domainname /proc/self/oom_score_adj; \
                    ls -ln /dev; ls /dev/shm; touch /written 2>&1; ls -l /proc/self/fd | wc -l";

#[test]
fn the_script_makes_the_same_container() {
    let lab = lab_with_network("lan");
    let shared = lab.scratch().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let volume = format!("{}:/srv/it's shared:ro", shared.display());
    let variants: [&[&str]; 8] = [
        &["--network", "lan"],
        &[],
        &[
            "-u",
            "nobody",
            "-w",
            "/tmp/new dir",
            "-e",
            "QUOTE=it's \"$HOME\"",
        ],
        &["--read-only", "--tmpfs", "/scratch:size=1m", "-v", &volume],
        &[
            "--cap-drop",
            "ALL",
            "--cap-add",
            "net_raw",
            "--security-opt",
            "no-new-privileges",
        ],
        &[
            "--privileged",
            "--ulimit",
            "nofile=100:200",
            "--add-host",
            "db:10.0.0.1",
        ],
        &[
            "--shm-size",
            "8m",
            "--sysctl",
            "net.ipv4.ip_local_port_range=40000 40100",
            "--domainname",
            "example.org",
            "--oom-score-adj",
            "500",
            "--group-add",
            "4711",
            "--group-add",
            "nobody",
        ],
        &["--pid", "host", "--ipc", "host", "--cgroupns", "host"],
    ];
    for flags in variants {
        let run = |more: &[&str]| {
            let mut arguments = vec!["run", "--rm", "-h", "twin", "--name", "twin"];
            arguments.extend(flags);
            arguments.extend(more);
            arguments.extend([lab.image(), "sh", "-c", LOOK]);
            lab.rmac(&arguments).ok()
        };
        let script = run(&["--dry-run"]);
        let path = lab.scratch().join("script");
        std::fs::write(&path, &script).unwrap();
        // The address that the script was given is free again only when nobody holds it.
        let by_script = lab
            .sh(&format!("exec timeout 20 bash {}", path.display()))
            .ok();
        settle(&lab);
        let by_rmac = run(&[]);
        settle(&lab);
        assert_eq!(normal(&by_script), normal(&by_rmac), "{flags:?}\n{script}");
        assert!(by_rmac.contains("CapEff"), "{by_rmac}");
    }
}

#[test]
fn the_script_shares_what_the_container_would() {
    let lab = Lab::with_image();
    let donor = [
        "run",
        "-d",
        "--name",
        "donor",
        "--ipc",
        "shareable",
        lab.image(),
        "sleep",
        "1000",
    ];
    lab.rmac(&donor).ok();
    lab.inside("donor", "touch /dev/shm/word").ok();
    let spaces = "for kind in net ipc pid; do readlink /proc/self/ns/$kind; done";
    let look = format!("{spaces}; ls /dev/shm; ps | grep -c [s]leep.1000; hostname");
    let run = |more: &str| {
        let one = "container:donor";
        lab.sh(&format!(
            "rmac run --rm --network {one} --ipc {one} --pid {one} {more} {} sh -c '{look}'",
            lab.image()
        ))
        .ok()
    };
    let path = lab.scratch().join("script");
    std::fs::write(&path, run("--dry-run")).unwrap();
    let by_script = lab
        .sh(&format!("exec timeout 20 bash {}", path.display()))
        .ok();
    assert_eq!(by_script, run(""));
    assert!(
        by_script.starts_with(&lab.inside("donor", spaces).ok()),
        "{by_script}"
    );
}

#[test]
fn a_dry_run_makes_nothing() {
    let lab = lab_with_network("lan");
    let script = lab
        .rmac(&[
            "run",
            "--network",
            "lan",
            "--name",
            "dry",
            "--dry-run",
            lab.image(),
            "true",
        ])
        .ok();
    assert!(script.starts_with("#!/bin/bash\n"), "{script}");
    assert!(
        script.contains("ip link add link eth0 name eth0 address 02:42:ac:10:56:02"),
        "{script}"
    );
    assert!(
        script.contains("ip addr add 172.16.86.2/24 brd 172.16.86.255 dev eth0"),
        "{script}"
    );
    assert_eq!(lab.rmac(&["ps", "-aq"]).ok(), "");
    assert_eq!(lab.leaks(), Vec::<String>::new());
}

#[test]
fn explaining_tells_each_step_once_and_changes_nothing() {
    let lab = lab_with_network("lan");
    let told = lab.rmac(&[
        "run",
        "--rm",
        "--network",
        "lan",
        "--explain=json",
        lab.image(),
        "echo",
        "hello",
    ]);
    assert_eq!((told.code, told.stdout.as_str()), (0, "hello\n"));
    let steps: Vec<serde_json::Value> = told
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let concepts: std::collections::BTreeSet<&str> = steps
        .iter()
        .map(|step| step["concept"].as_str().unwrap())
        .collect();
    for concept in [
        "cgroup",
        "namespaces",
        "network",
        "rootfs",
        "mounts",
        "devices",
        "identity",
        "capabilities",
        "seccomp",
        "user",
        "program",
    ] {
        assert!(
            concepts.contains(concept),
            "{concept} is missing in {concepts:?}"
        );
    }
    for (at, step) in steps.iter().enumerate() {
        assert_eq!(step["step"], at + 1);
        for key in ["call", "why", "without", "man"] {
            assert!(
                step[key].as_str().is_some_and(|text| !text.is_empty()),
                "{step}"
            );
        }
    }
    assert!(
        steps.last().unwrap()["call"]
            .as_str()
            .unwrap()
            .starts_with("execve(")
    );
    let full = lab.rmac(&["run", "--rm", "--explain", lab.image(), "true"]);
    assert!(
        full.stderr.contains("pivot_root") && full.stderr.contains("without:"),
        "{}",
        full.stderr
    );
}

/// The address and the MAC are free when the link is gone, shortly after the container.
fn settle(lab: &Lab) {
    while !lab.leaks().is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Without what differs between any two containers: ids, inode and mount numbers, times.
fn normal(text: &str) -> Vec<String> {
    let line = |line: &str| {
        let words = line.split(' ').map(|word| {
            let number = word.chars().all(|c| c.is_ascii_digit() || c == ':');
            let hex = word.len() > 64;
            // A short id, as /etc/hosts names the container.
            let short = word.len() == 12 && word.chars().all(|c| c.is_ascii_hexdigit());
            match (number, hex) {
                _ if short => "ID".to_owned(),
                (true, _) => "N".to_owned(),
                (_, true) => strip_ids(word),
                _ => word.to_owned(),
            }
        });
        let words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
        // The new mount API names each layer by a parameter of its own.
        words.join(" ").replace("lowerdir+=", "lowerdir=")
    };
    text.lines().map(line).collect()
}

fn strip_ids(word: &str) -> String {
    let parts: Vec<&str> = word
        .split('/')
        .map(|part| if part.len() == 64 { "ID" } else { part })
        .collect();
    parts.join("/")
}
