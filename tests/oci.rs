//! The OCI face: its verbs, and one list of cases that it and Debian's crun and runc must answer alike.

mod common;

use common::bundle::{Bundle, RMAC_OCI, Tree, peers};
use serde_json::{Value, json};

#[test]
fn a_container_goes_through_its_states() {
    let bundle = Bundle::new(RMAC_OCI, "echo begun; read line < /fifo; exit 5");
    nix::unistd::mkfifo(&bundle.rootfs().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(bundle.create().ok(), "");
    assert_eq!(bundle.status(), "created");
    assert_eq!(bundle.output(), "", "the program ran before start");
    let twice = bundle.call(&["create", "--bundle", ".", "$ID"]);
    assert!(
        twice.stderr.contains("container with id exists"),
        "{twice:?}"
    );
    assert_ne!(
        bundle.call(&["delete", "$ID"]).code,
        0,
        "a created container was deleted"
    );
    assert_eq!(bundle.call(&["start", "$ID"]).ok(), "");
    assert_eq!(bundle.status(), "running");
    bundle.call(&["pause", "$ID"]).ok();
    assert_eq!(bundle.status(), "paused");
    let paused = bundle.call(&["exec", "$ID", "true"]);
    assert!(paused.stderr.contains("paused"), "{paused:?}");
    bundle.call(&["resume", "$ID"]).ok();
    let inside = bundle.call(&[
        "exec",
        "--env",
        "A=b",
        "--cwd",
        "/tmp",
        "$ID",
        "sh",
        "-c",
        "echo $A; pwd; exit 7",
    ]);
    assert_eq!((inside.code, inside.stdout.as_str()), (7, "b\n/tmp\n"));
    let ps: Value =
        serde_json::from_str(&bundle.call(&["ps", "--format", "json", "$ID"]).ok()).unwrap();
    assert_eq!(ps.as_array().unwrap().len(), 1);
    std::fs::write(bundle.rootfs().join("fifo"), "\n").unwrap();
    bundle.wait_for("stopped");
    assert_eq!(bundle.output(), "begun\n");
    assert_eq!(bundle.call(&["start", "$ID"]).code, 1);
    assert_eq!(bundle.call(&["kill", "$ID", "TERM"]).code, 1);
    assert_eq!(bundle.call(&["delete", "$ID"]).ok(), "");
    assert_eq!(bundle.call(&["state", "$ID"]).code, 1);
    assert_eq!(bundle.call(&["delete", "--force", "$ID"]).ok(), "");
}

#[test]
fn a_group_of_the_containers_name_is_nobody_elses() {
    let bundle = Bundle::new(RMAC_OCI, "true");
    bundle.change(|spec| drop(spec["linux"].as_object_mut().unwrap().remove("cgroupsPath")));
    let trees = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(std::path::Path::new);
    let tree = trees.iter().find(|tree| tree.join("cgroup.procs").exists());
    let group = tree.unwrap().join(&bundle.id);
    std::fs::create_dir(&group).unwrap();
    let refused = bundle.create();
    assert!(refused.stderr.contains("there is a cgroup"), "{refused:?}");
    assert_eq!(bundle.call(&["delete", "--force", "$ID"]).ok(), "");
    // It was not taken for the container's.
    std::fs::remove_dir(&group).unwrap();
    bundle.create().ok();
    assert!(group.exists());
    bundle.call(&["delete", "--force", "$ID"]).ok();
    assert!(!group.exists());
}

#[test]
fn a_failure_is_one_line_and_one_json_line_in_the_log() {
    let bundle = Bundle::shared(RMAC_OCI, "true");
    bundle.change(|spec| spec["process"]["args"] = json!(["nosuch"]));
    let failed = bundle.call(&[
        "--log",
        "log",
        "--log-format",
        "json",
        "create",
        "--bundle",
        ".",
        "$ID",
    ]);
    let text = "exec: \"nosuch\": executable file not found in $PATH";
    assert_eq!(failed.stderr, format!("rmac-oci: error: {text}\n"));
    let log: Value =
        serde_json::from_str(&std::fs::read_to_string(bundle.dir.join("log")).unwrap()).unwrap();
    assert_eq!(
        (&log["level"], &log["msg"]),
        (&json!("error"), &json!(text))
    );
    assert!(
        !bundle.dir.join("state").join(&bundle.id).exists(),
        "something is left"
    );
}

#[test]
fn what_a_killed_create_leaves_can_be_deleted() {
    for milliseconds in [1, 3, 5, 8, 12, 20] {
        let bundle = Bundle::shared(RMAC_OCI, "sleep 100");
        let mut create = bundle
            .command(&["create", "--bundle", ".", "$ID"])
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        create.kill().unwrap();
        create.wait().unwrap();
        assert_eq!(bundle.call(&["delete", "--force", "$ID"]).ok(), "");
        let again = bundle.create();
        assert_eq!(again.code, 0, "after {milliseconds} ms: {again:?}");
    }
}

#[test]
fn hooks_run_in_order_with_the_state_on_their_input() {
    let script =
        "read -r state; echo \"$1 $(echo \"$state\" | grep -o '\"status\":\"[a-z]*\"')\" >> \"$2\"";
    let observed = |runtime: &str| {
        let bundle = Bundle::shared(runtime, "echo program >> /log");
        let log = bundle.dir.join("log");
        std::fs::write(&log, "").unwrap();
        bundle.change(|spec| {
            let hook = |moment: &str, log: &str| {
                json!([{ "path": "/bin/sh", "args": ["sh", "-c", script, "sh", moment, log] }])
            };
            let host = log.to_str().unwrap();
            let bind = json!({ "destination": "/log", "type": "bind", "source": host, "options": ["bind"] });
            spec["mounts"].as_array_mut().unwrap().push(bind);
            spec["hooks"] = json!({
                "prestart": hook("prestart", host),
                "createRuntime": hook("createRuntime", host),
                "createContainer": hook("createContainer", host),
                "startContainer": hook("startContainer", "/log"),
                "poststart": hook("poststart", host),
                "poststop": hook("poststop", host),
            });
        });
        bundle.create().ok();
        bundle.call(&["start", "$ID"]).ok();
        bundle.wait_for("stopped");
        bundle.call(&["delete", "$ID"]).ok();
        std::fs::read_to_string(log).unwrap()
    };
    let moments = |text: &str| {
        let mut words: Vec<String> = text
            .lines()
            .map(|l| l.split(' ').next().unwrap().to_owned())
            .collect();
        // The program and the hook after its start run side by side.
        words[4..6].sort();
        words
    };
    let ours = observed(RMAC_OCI);
    assert_eq!(
        moments(&ours),
        [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "program",
            "poststop"
        ]
    );
    assert!(ours.contains("poststop \"status\":\"stopped\""), "{ours}");
    assert!(ours.contains("poststart \"status\":\"running\""), "{ours}");
    for peer in peers() {
        // runc does not wait for the hook before its start, and so the three come in any order.
        let sorted = |mut words: Vec<String>| {
            words[3..6].sort();
            words
        };
        let theirs = sorted(moments(&observed(peer)));
        assert_eq!(theirs, sorted(moments(&ours)), "{peer}");
    }
}

#[test]
fn a_hook_that_fails_or_hangs_ends_the_start() {
    for (hook, said) in [
        (json!({ "path": "/bin/false" }), "exit status: 1"),
        (
            json!({ "path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1 }),
            "did not end within 1 s",
        ),
    ] {
        let bundle = Bundle::shared(RMAC_OCI, "true");
        bundle.change(|spec| spec["hooks"] = json!({ "createRuntime": [hook] }));
        let failed = bundle.call(&["create", "--bundle", ".", "$ID"]);
        assert!(
            failed.code == 1 && failed.stderr.contains(said),
            "{failed:?}"
        );
    }
}

/// One container, and what its program says of where it is.
struct Case {
    name: &'static str,
    change: fn(&mut Value),
    script: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "credentials, sets of capabilities, umask",
        change: |_| (),
        script: "grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp|Umask):' /proc/self/status",
    },
    Case {
        name: "a plain user with groups and umask",
        change: |spec| {
            spec["process"]["user"] =
                json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 1001], "umask": 0o77 });
            spec["process"]["noNewPrivileges"] = true.into();
        },
        script: "grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Umask):' /proc/self/status; echo $HOME",
    },
    Case {
        name: "ambient capabilities",
        change: |spec| {
            let set = json!(["CAP_NET_BIND_SERVICE", "CAP_KILL"]);
            for name in [
                "bounding",
                "effective",
                "permitted",
                "inheritable",
                "ambient",
            ] {
                spec["process"]["capabilities"][name] = set.clone();
            }
            spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        },
        script: "grep ^Cap /proc/self/status",
    },
    Case {
        name: "limits",
        change: |spec| {
            spec["process"]["rlimits"] = json!([
                { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
                { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
            ])
        },
        script: "ulimit -n; ulimit -Hn; ulimit -c",
    },
    Case {
        name: "mounts",
        change: |spec| {
            let more = json!([
                { "destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "size=1m"] },
                { "destination": "/deep/er/etc", "type": "bind", "source": "/etc", "options": ["bind", "ro", "nodev"] },
                { "destination": "/file", "type": "bind", "source": concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "options": ["rbind", "ro"] },
                { "destination": "/media", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"] },
            ]);
            spec["mounts"]
                .as_array_mut()
                .unwrap()
                .extend(more.as_array().unwrap().clone());
        },
        script: "grep -vE 'cgroup| /proc/' /proc/self/mountinfo | awk '{print $5, $6}' | sort; ls -d /media/*",
    },
    Case {
        name: "a read-only root",
        change: |spec| spec["root"]["readonly"] = true.into(),
        script: "touch /x 2>&1; touch /dev/shm/x && echo shm",
    },
    Case {
        name: "masked and read-only paths",
        change: |_| (),
        script: "cat /proc/kcore | wc -c; ls /proc/scsi | wc -l; touch /proc/sys/kernel/hostname 2>&1",
    },
    Case {
        name: "names, settings, environment, directory",
        change: |spec| {
            spec["hostname"] = "one".into();
            spec["linux"]["sysctl"] =
                json!({ "net.ipv4.ip_forward": "1", "kernel.shmmax": "4096" });
            spec["process"]["env"] = json!(["PATH=/bin:/usr/bin", "A=b c"]);
            spec["process"]["cwd"] = "/usr".into();
        },
        script: "hostname; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax; env | sort; pwd",
    },
    Case {
        name: "devices",
        change: |spec| {
            spec["linux"]["devices"] = json!([
                { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 7, "gid": 8 },
            ])
        },
        script: "stat -c '%F %a %u %g %t %T' /dev/fuse /dev/null /dev/zero; readlink /dev/fd /dev/ptmx; ls /proc/self/fd | wc -l",
    },
    Case {
        name: "seccomp",
        change: |spec| {
            spec["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
                "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77 }],
            })
        },
        script: "mkdir /x 2>&1; grep ^Seccomp: /proc/self/status",
    },
    Case {
        name: "limits of the cgroup",
        change: |spec| {
            spec["linux"]["resources"] =
                json!({ "pids": { "limit": 33 }, "memory": { "limit": 33554432 } });
        },
        script: "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/memory/memory.limit_in_bytes || \
                 cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max",
    },
    Case {
        name: "an own user namespace",
        change: |spec| {
            let linux = &mut spec["linux"];
            linux["namespaces"]
                .as_array_mut()
                .unwrap()
                .push(json!({ "type": "user" }));
            linux["uidMappings"] = json!([{ "containerID": 0, "hostID": 100000, "size": 65536 }]);
            linux["gidMappings"] = linux["uidMappings"].clone();
            spec["process"]["user"] = json!({ "uid": 3, "gid": 4 });
        },
        script: "cat /proc/self/uid_map /proc/self/gid_map; id -u; id -g; echo x > /dev/null && echo null",
    },
    Case {
        name: "a 32-bit personality",
        change: |spec| spec["linux"]["personality"] = json!({ "domain": "LINUX32" }),
        // Debian's runc of 2023 does not know it, so this needs crun.
        script: "uname -m",
    },
    Case {
        name: "the score for when memory runs out",
        change: |spec| spec["process"]["oomScoreAdj"] = 321.into(),
        script: "cat /proc/self/oom_score_adj",
    },
    Case {
        name: "an own network and an own cgroup as the root of all",
        change: |_| (),
        script: "ls /sys/class/net; cat /sys/class/net/lo/flags; cut -d: -f3 /proc/self/cgroup | sort -u",
    },
    Case {
        name: "how mounts travel",
        change: |spec| {
            let more = json!([
                { "destination": "/s", "type": "tmpfs", "source": "tmpfs", "options": ["shared"] },
                { "destination": "/p", "type": "tmpfs", "source": "tmpfs", "options": ["private"] },
                { "destination": "/b", "type": "bind", "source": "/etc", "options": ["bind", "shared"] },
            ]);
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.extend(more.as_array().unwrap().clone());
        },
        script: "grep -E ' /[spb] ' /proc/self/mountinfo | grep -oE ' /[spb] |shared'",
    },
    Case {
        name: "namespaces that are the host's",
        change: |spec| {
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|one| one["type"] != "uts" && one["type"] != "ipc");
            spec.as_object_mut().unwrap().remove("hostname");
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["type"] != "mqueue");
        },
        script: "hostname; readlink /proc/self/ns/uts /proc/self/ns/ipc",
    },
    Case {
        name: "its own cgroups over a /sys of the host's",
        change: |spec| {
            for mount in spec["mounts"].as_array_mut().unwrap() {
                if mount["destination"] == "/sys" {
                    *mount = json!({ "destination": "/sys", "type": "none", "source": "/sys",
                        "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] });
                }
            }
        },
        script: "grep -c . /sys/fs/cgroup/cgroup.procs || grep -c . /sys/fs/cgroup/pids/cgroup.procs",
    },
    Case {
        name: "an exit code",
        change: |_| (),
        script: "exit 42",
    },
    Case {
        name: "an end by a signal",
        change: |_| (),
        script: "sh -c 'kill -9 $$'",
    },
];

#[test]
fn cases_end_as_with_crun_and_runc() {
    let _tree = Tree::shared();
    let observe = |runtime: &str, case: &Case| {
        let bundle = Bundle::shared(runtime, case.script);
        bundle.change(case.change);
        if case.name.contains("user namespace") {
            // Whoever is root there must be able to walk to the tree.
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&bundle.dir, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let output = bundle.call(&["run", "--bundle", ".", "$ID"]);
        (output.code, output.stdout, output.stderr)
    };
    let peers = peers();
    let mut different = vec![];
    for case in CASES {
        let ours = observe(RMAC_OCI, case);
        let theirs: Vec<_> = peers.iter().map(|peer| observe(peer, case)).collect();
        let alone = case.name.contains("personality") && !peers.contains(&"crun");
        if alone {
            assert_eq!(ours.1, "i686\n");
            continue;
        }
        // Where the peers differ from each other, one of them will do.
        if !theirs.is_empty() && !theirs.contains(&ours) {
            different.push(format!(
                "{}:\n  rmac-oci {ours:?}\n  {peers:?} {theirs:?}",
                case.name
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn limits_change_as_with_crun_and_runc() {
    let _tree = Tree::shared();
    let updates: [&[&str]; 6] = [
        &["--cpu-period", "50000"],
        &["--cpu-quota", "30000"],
        &["--memory", "52428800"],
        &["--memory", "80M"],
        &["--pids-limit", "-1"],
        &["--cpu-quota", "-1", "--cpu-period", "100000"],
    ];
    let show = "cd /sys/fs/cgroup; cat pids.max memory.max cpu.max 2>/dev/null ||
        cat pids/pids.max memory/memory.limit_in_bytes cpu*/cpu.cfs_quota_us cpu*/cpu.cfs_period_us";
    let observe = |runtime: &str| -> Vec<String> {
        let bundle = Bundle::shared(runtime, "sleep 1000");
        bundle.change(|spec| {
            spec["linux"]["resources"] = json!({ "pids": { "limit": 20 },
                "memory": { "limit": 33554432 }, "cpu": { "quota": 20000, "period": 100000 } });
        });
        bundle.create().ok();
        bundle.call(&["start", "$ID"]).ok();
        let change = |words: &&[&str]| {
            let code = bundle.call(&[&["update"], *words, &["$ID"]].concat()).code;
            let shown = bundle.call(&["exec", "$ID", "sh", "-c", show]).ok();
            format!("{code} {shown}")
        };
        updates.iter().map(change).collect()
    };
    let ours = observe(RMAC_OCI);
    let both_kept = [&ours[0], &ours[1]].map(|shown| shown.split_whitespace().collect::<Vec<_>>());
    assert_eq!(both_kept[0][3..], ["20000", "50000"], "{ours:?}");
    assert_eq!(both_kept[1][3..], ["30000", "50000"], "{ours:?}");
    assert!(ours.iter().all(|said| said.starts_with("0 ")), "{ours:?}");
    // Where the peers differ from each other, one of them will do: crun 1.8 knows no 80M.
    let theirs: Vec<_> = peers().into_iter().map(observe).collect();
    assert!(
        theirs.is_empty() || theirs.contains(&ours),
        "{ours:?} {theirs:?}"
    );
}

#[test]
fn policies_and_priorities_reach_the_program() {
    let script = "cut -d' ' -f19,41 /proc/self/stat; ionice -p $$; cut -d' ' -f2 /proc/self/numa_maps | uniq";
    let bundle = Bundle::shared(RMAC_OCI, script);
    bundle.change(|spec| {
        spec["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 5 });
        spec["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 });
        spec["linux"]["memoryPolicy"] =
            json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] });
    });
    let said = bundle.call(&["run", "--bundle", ".", "$ID"]).ok();
    // Nice and policy: 3 is SCHED_BATCH.
    assert_eq!(said, "5 3\nbest-effort: prio 6\nbind=static:0\n");

    for (part, wrong, says) in [
        (
            "scheduler",
            json!({ "policy": "SCHED_ISO" }),
            "no SCHED_ISO",
        ),
        (
            "ioPriority",
            json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }),
            "0 to 7",
        ),
    ] {
        bundle.change(|spec| spec["process"][part] = wrong);
        bundle.call(&["run", "--bundle", ".", "$ID"]).says(says);
        bundle.change(|spec| drop(spec["process"].as_object_mut().unwrap().remove(part)));
    }
}

#[test]
fn exec_runs_on_the_processors_that_were_asked_for() {
    let bundle = Bundle::shared(RMAC_OCI, "sleep 100");
    bundle.change(|spec| {
        spec["process"]["execCPUAffinity"] = json!({ "initial": "0", "final": "0" })
    });
    bundle.create().ok();
    bundle.call(&["start", "$ID"]).ok();
    let list = ["grep", "Cpus_allowed_list", "/proc/self/status"];
    let said = bundle.call(&[&["--debug", "exec", "$ID"], &list[..]].concat());
    assert_eq!(said.stdout, "Cpus_allowed_list:\t0\n", "{said:?}");
    assert!(said.stderr.contains("affinity: 0x1\n"), "{said:?}");
}

#[test]
fn a_seccomp_agent_is_told_of_the_container_and_gets_the_listener() {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::AsRawFd;
    let bundle = Bundle::shared(RMAC_OCI, "sleep 100");
    let path = bundle.dir.join("agent");
    let agent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    bundle.change(|spec| {
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": path, "listenerMetadata": "which",
            "syscalls": [{ "names": ["mkdirat", "mkdir"], "action": "SCMP_ACT_NOTIFY" }],
        })
    });
    bundle.create().ok();
    let (caller, _) = agent.accept().unwrap();
    let (mut buffer, mut space) = ([0; 4096], nix::cmsg_space!([i32; 2]));
    let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::empty();
    let message = recvmsg::<()>(caller.as_raw_fd(), &mut parts, Some(&mut space), flags).unwrap();
    let rights = message.cmsgs().unwrap().next();
    let Some(ControlMessageOwned::ScmRights(fds)) = rights else {
        panic!("no descriptor came")
    };
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fds[0])).unwrap();
    assert!(
        link.to_string_lossy().contains("seccomp notify"),
        "{link:?}"
    );
    let length = message.bytes;
    let told: Value = serde_json::from_slice(&buffer[..length]).unwrap();
    let state: Value = serde_json::from_str(&bundle.call(&["state", "$ID"]).ok()).unwrap();
    assert_eq!(told["state"]["id"], bundle.id.as_str());
    assert_eq!(told["pid"], state["pid"]);
    assert_eq!(
        (&told["metadata"], &told["fds"]),
        (&json!("which"), &json!(["seccompFd"]))
    );

    bundle.change(|spec| {
        drop(
            spec["linux"]["seccomp"]
                .as_object_mut()
                .unwrap()
                .remove("listenerPath"),
        )
    });
    let answer = bundle.call(&["create", "--bundle", ".", "other"]);
    assert!(answer.stderr.contains("needs listenerPath"), "{answer:?}");
}

#[test]
fn a_container_in_the_hosts_mount_namespace_leaves_no_mount() {
    let bundle = Bundle::new(RMAC_OCI, "ls / | head -n1; echo $$");
    bundle.change(|spec| {
        spec["linux"]["namespaces"] = json!([{ "type": "pid" }]);
        for list in ["maskedPaths", "readonlyPaths", "sysctl"] {
            spec["linux"].as_object_mut().unwrap().remove(list);
        }
        spec.as_object_mut().unwrap().remove("hostname");
    });
    // What stands for the host here is a mount namespace of the test's own.
    let mut host = std::process::Command::new("unshare");
    let script = "\"$@\"; grep -c \"$PWD\" /proc/self/mountinfo";
    host.current_dir(&bundle.dir)
        .args(["--mount", "sh", "-c", script, "sh", RMAC_OCI])
        .args(["--root", "state", "run", &bundle.id]);
    assert_eq!(common::run(&mut host).stdout, "bin\n1\n0\n");

    bundle.change(|spec| spec["linux"]["maskedPaths"] = json!(["/proc/kcore"]));
    let refused = bundle.call(&["run", "--bundle", ".", "$ID"]);
    assert!(
        refused.stderr.contains("need a mount namespace"),
        "{refused:?}"
    );
}

#[test]
fn links_of_the_host_move_into_the_container_with_their_addresses() {
    let script = "ip -o addr show dev given | grep -o 'inet6* [^ ]*' | grep -v fe80; cat /sys/class/net/given/operstate; ls /sys/class/net | grep -c '^d[0-9]'";
    let bundle = Bundle::shared(RMAC_OCI, script);
    bundle.change(|spec| {
        spec["linux"]["netDevices"] =
            json!({ "one": { "name": "given" }, "two": { "name": "d%d" } });
    });
    // The host is a network namespace of the test's own; the links' other ends stay in it.
    let host = "set -e
        ip link add one type veth peer name uno; ip link add two type veth peer name due
        ip addr add 192.0.2.7/24 dev one; ip addr add 2001:db8::7/64 dev one nodad; ip link set uno up
        \"$@\"; ip -o link show | grep -cE ' (one|two)@' || true";
    let call = |config: &str| {
        let mut host_namespace = std::process::Command::new("unshare");
        host_namespace
            .current_dir(&bundle.dir)
            .args(["--net", "sh", "-c", config, "sh", RMAC_OCI])
            .args(["--root", "state", "run", &bundle.id]);
        common::run(&mut host_namespace)
    };
    let said = call(host);
    assert_eq!(
        said.stdout, "inet 192.0.2.7/24\ninet6 2001:db8::7/64\nup\n1\n0\n",
        "{said:?}"
    );
    // A namespace that exists already: the loopback in it is not the runtime's to switch on.
    bundle.change(|spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        let network = namespaces.iter_mut().find(|one| one["type"] == "network");
        network.unwrap()["path"] = bundle.dir.join("netns").to_str().into();
    });
    let joined = format!(
        "unshare --net sleep 1000 & trap \"kill $!\" EXIT; ln -s /proc/$!/ns/net netns
         until [ $(readlink /proc/$!/ns/net) != $(readlink /proc/self/ns/net) ]; do sleep 0.01; done
         {host}; nsenter --net=netns ip -o link show dev lo | grep -o 'state .....'"
    );
    let said = call(&joined);
    assert_eq!(
        said.stdout, "inet 192.0.2.7/24\ninet6 2001:db8::7/64\nup\n1\n0\nstate DOWN \n",
        "{said:?}"
    );
    bundle.change(|spec| spec["linux"]["netDevices"] = json!({ "none": {} }));
    call("ln -sfn /proc/self/ns/net netns; \"$@\"").says("look for the link none: ENODEV");
}

#[test]
fn what_cannot_be_done_is_refused() {
    let bundle = Bundle::shared(RMAC_OCI, "true");
    let refused = |part: &str, value: Value, says: &str| {
        bundle.change(|spec| spec["linux"][part] = value);
        let answer = bundle.call(&["run", "--bundle", ".", "$ID"]);
        assert!(
            answer.code == 1 && answer.stderr.contains(says),
            "{answer:?}"
        );
        bundle.change(|spec| drop(spec["linux"].as_object_mut().unwrap().remove(part)));
    };
    refused(
        "intelRdt",
        json!({ "closID": "x" }),
        "intelRdt is not supported",
    );
    let rdma = json!({ "rdma": { "mlx": { "hcaHandles": 1 } } });
    refused("resources", rdma, "rdma is not supported");
}

#[test]
fn labels_are_the_security_modules_or_told_in_the_log() {
    let script = "cat /proc/self/attr/apparmor/current 2>/dev/null || echo none";
    let bundle = Bundle::shared(RMAC_OCI, script);
    let run = |profile: &str, context: &str| {
        bundle.change(|spec| {
            spec["process"]["apparmorProfile"] = profile.into();
            spec["process"]["selinuxLabel"] = context.into();
        });
        bundle.call(&["--log", "log", "run", "--bundle", ".", "$ID"])
    };
    let log = || std::fs::read_to_string(bundle.dir.join("log")).unwrap_or_default();
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    match enabled.is_ok_and(|word| word.trim() == "Y") {
        true => {
            let missing = run("no-such-profile", "");
            let says =
                "write(\"/proc/self/attr/apparmor/exec\", \"exec no-such-profile\"): No such file";
            assert!(missing.stderr.contains(says), "{missing:?}");
            assert_eq!(run("unconfined", "").ok(), "unconfined\n");
        }
        false => {
            assert_eq!(run("strict", "").ok(), "none\n");
            let (log, says) = (log(), "process.apparmorProfile is not applied");
            assert!(log.contains("level=warning") && log.contains(says), "{log}");
        }
    }
    if !std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        run("", "system_u:system_r:container_t:s0").ok();
        assert!(log().contains("process.selinuxLabel is not applied"));
    }
}

#[test]
fn a_failed_hook_after_the_start_ends_the_container() {
    // OCI runtime.md, lifecycle, step 9
    let bundle = Bundle::shared(RMAC_OCI, "sleep 100");
    bundle.change(|spec| {
        spec["hooks"] = json!({ "poststart": [{ "path": "/bin/false" }],
            "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", "test \"$A\" = b"] }] });
        spec["process"]["env"] = json!(["PATH=/bin:/usr/bin", "A=b"]);
    });
    bundle.create().ok();
    let failed = bundle.call(&["start", "$ID"]);
    assert!(
        failed.code == 1 && failed.stderr.contains("Poststart hook"),
        "{failed:?}"
    );
    assert!(
        bundle
            .call(&["state", "$ID"])
            .stderr
            .contains("does not exist")
    );
}

/// Attacks of record. Each fails when its defence is taken away.
mod attacks {
    use super::*;

    /// A bundle whose tree has a symbolic link to a directory of the host's in place of `name`.
    fn with_link(name: &str) -> (Bundle, std::path::PathBuf) {
        let bundle = Bundle::new(RMAC_OCI, "true");
        let outside = bundle.dir.join("outside");
        std::fs::create_dir(&outside).unwrap();
        let _ = std::fs::remove_dir_all(bundle.rootfs().join(name));
        std::os::unix::fs::symlink(&outside, bundle.rootfs().join(name)).unwrap();
        (bundle, outside)
    }

    #[test]
    fn a_link_in_place_of_a_directory_leads_nothing_out() {
        // CVE-2019-16884, CVE-2019-19921, CVE-2026-41579
        for name in ["proc", "sys", "dev", "tmp"] {
            let (bundle, outside) = with_link(name);
            let more = json!({ "destination": "/tmp/x", "type": "tmpfs", "source": "tmpfs" });
            bundle.change(|spec| {
                spec["root"]["readonly"] = false.into();
                spec["mounts"].as_array_mut().unwrap().push(more);
            });
            let answer = bundle.call(&["run", "--bundle", ".", "$ID"]);
            if name != "tmp" {
                assert_ne!(answer.code, 0, "/{name} is a link: {answer:?}");
            }
            let found: Vec<_> = std::fs::read_dir(&outside).unwrap().collect();
            assert!(found.is_empty(), "/{name}: {found:?}");
        }
    }

    #[test]
    fn the_working_directory_is_never_a_descriptor_of_the_hosts() {
        // CVE-2024-21626
        let bundle = Bundle::shared(RMAC_OCI, "sleep 100");
        for number in 3..20 {
            let cwd = format!("/proc/self/fd/{number}");
            bundle.change(|spec| spec["process"]["cwd"] = cwd.as_str().into());
            let answer = bundle.create();
            assert_ne!(answer.code, 0, "{cwd}");
        }
        bundle.change(|spec| spec["process"]["cwd"] = "/".into());
        bundle.create().ok();
        bundle.call(&["start", "$ID"]).ok();
        for number in 3..20 {
            let cwd = format!("/proc/self/fd/{number}");
            let answer = bundle.call(&["exec", "--cwd", &cwd, "$ID", "ls"]);
            assert_ne!(answer.code, 0, "{cwd}: {answer:?}");
        }
    }

    #[test]
    fn no_descriptor_and_no_inheritable_capability_reaches_the_program() {
        // CVE-2016-9962, CVE-2022-29162
        let script = "ls /proc/self/fd | tr '\\n' ' '; grep CapInh /proc/self/status";
        let bundle = Bundle::shared(RMAC_OCI, script);
        bundle.change(|spec| spec["process"]["capabilities"]["inheritable"] = json!([]));
        let said = bundle.call(&["run", "--bundle", ".", "$ID"]).ok();
        assert_eq!(
            said, "0 1 2 3 CapInh:\t0000000000000000\n",
            "3 is that of ls itself"
        );
        // CVE-2024-21626: numbers that did not come with the call must not be those of our own files.
        let mut shell = std::process::Command::new("bash");
        let alone = "for n in {3..22}; do eval \"exec $n>&-\"; done; exec \"$@\" --preserve-fds 20";
        shell
            .current_dir(&bundle.dir)
            .args(["-c", alone, "bash", RMAC_OCI, "--root", "state", "run"])
            .arg(&bundle.id);
        let said = common::run(&mut shell).ok();
        assert_eq!(said, "0 1 2 3 CapInh:\t0000000000000000\n");
    }

    #[test]
    fn who_enters_the_container_cannot_be_looked_into() {
        // CVE-2016-9962, CVE-2019-5736: the container reads whatever it can of each process that comes.
        let watch = "while :; do for p in /proc/[0-9]*; do
            case $(readlink $p/exe) in *rmac*) echo \"exe $p\";; esac
            for f in $p/fd/*; do
                case $(readlink $f) in */state*|*config.json*|socket:*) echo \"fd $f\";; esac
            done
            grep -q RMAC_SECRET $p/environ && echo \"environ $p\"
        done; done 2> /dev/null";
        let bundle = Bundle::shared(RMAC_OCI, watch);
        bundle.create().ok();
        bundle.call(&["start", "$ID"]).ok();
        for _ in 0..100 {
            let mut exec = bundle.command(&["exec", "$ID", "true"]);
            assert!(exec.env("RMAC_SECRET", "1").status().unwrap().success());
        }
        assert_eq!(bundle.output(), "");
    }

    #[test]
    fn the_container_cannot_write_the_runtime() {
        // CVE-2019-5736: an interpreter /proc/self/exe makes the runtime itself the program, whose loader
        // is the image's; from there on it is the attacker who has /proc/self/exe to write to.
        let bundle = Bundle::shared(RMAC_OCI, "true");
        bundle.create().ok();
        let state: Value = serde_json::from_str(&bundle.call(&["state", "$ID"]).ok()).unwrap();
        // What waits at the gate is the runtime, and its link leads to a mount that nobody writes through.
        let link = format!("/proc/{}/exe", state["pid"]);
        let mount = nix::sys::statvfs::statvfs(link.as_str()).unwrap();
        assert!(
            mount
                .flags()
                .contains(nix::sys::statvfs::FsFlags::ST_RDONLY)
        );
        assert!(std::fs::OpenOptions::new().write(true).open(&link).is_err());
    }

    #[test]
    fn a_user_is_a_small_plain_number() {
        // CVE-2024-40635, CVE-2026-30892
        let bundle = Bundle::shared(RMAC_OCI, "sleep 100");
        bundle.create().ok();
        bundle.call(&["start", "$ID"]).ok();
        for user in [
            "4294967296",
            "0x0",
            " 0",
            "+0",
            "-1",
            "root",
            "0:4294967296",
            "",
        ] {
            let answer = bundle.call(&["exec", "--user", user, "$ID", "id"]);
            assert!(
                answer.code != 0 && answer.stdout.is_empty(),
                "{user:?}: {answer:?}"
            );
        }
    }
}

#[test]
fn features_tell_what_is_built() {
    let said = common::run(std::process::Command::new(RMAC_OCI).arg("features")).ok();
    // Its names are those of the specification, or nothing would be read.
    let features: oci_spec::runtime::Features = serde_json::from_str(&said).unwrap();
    let linux = features.linux().as_ref().unwrap();
    let idmap = linux.mount_extensions().as_ref().unwrap().idmap();
    assert_eq!(idmap.as_ref().unwrap().enabled(), &Some(true));
    assert_eq!(linux.net_devices().as_ref().unwrap().enabled(), &Some(true));
    let cgroup = linux.cgroup().as_ref().unwrap();
    assert_eq!((cgroup.v1(), cgroup.v2()), (&Some(true), &Some(true)));
    assert_eq!(
        (cgroup.systemd(), cgroup.rdma()),
        (&Some(false), &Some(false))
    );
    let seccomp = linux.seccomp().as_ref().unwrap();
    assert!(!seccomp.archs().as_ref().unwrap().is_empty());
    let [known, supported] = [seccomp.known_flags(), seccomp.supported_flags()];
    let [known, supported] = [known, supported].map(|list| list.clone().unwrap());
    assert!(supported.iter().all(|flag| known.contains(flag)));
    assert!(supported.contains(&"SECCOMP_FILTER_FLAG_LOG".to_owned()));
    let options = features.mount_options().as_ref().unwrap();
    let has = |option: &str| options.iter().any(|known| known == option);
    assert!(
        has("idmap") && has("tmpcopyup") && has("rro"),
        "{options:?}"
    );
}
