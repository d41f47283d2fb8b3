//! Docker's flags of `run` that no other file has: what each does in the container, that it does so at the next start,
//! too, and where `inspect` shows it.

mod common;

use std::path::Path;

use common::Lab;
use common::lan::lab_with_network;

/// Flags, a command in the container, and what it says.
type Case<'a> = (&'a str, &'a str, &'a str);

#[test]
fn each_does_what_it_says() {
    let lab = Lab::with_image();
    let read = |path: &str| std::fs::read_to_string(path).unwrap().trim().to_owned();
    let host_name = read("/proc/sys/kernel/hostname");
    let seen = format!(
        "[ -d /proc/{} ] && echo seen || echo hidden",
        std::process::id()
    );
    let file = |kind: &str| {
        let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        link.to_string_lossy().into_owned()
    };
    let (ipc, pid, cgroup) = (file("ipc"), file("pid"), file("cgroup"));
    let cases: &[Case] = &[
        (
            "--shm-size 8m",
            "df -k /dev/shm | tail -n 1 | awk '{print $2}'",
            "8192",
        ),
        (
            "--shm-size 0",
            "df -k /dev/shm | tail -n 1 | awk '{print $2}'",
            "65536",
        ),
        (
            "--sysctl 'net.ipv4.ip_local_port_range=40000 40100'",
            "cat /proc/sys/net/ipv4/ip_local_port_range",
            "40000\t40100",
        ),
        (
            "--sysctl kernel.msgmax=12345",
            "cat /proc/sys/kernel/msgmax",
            "12345",
        ),
        (
            "--sysctl fs.mqueue.msg_max=77",
            "cat /proc/sys/fs/mqueue/msg_max",
            "77",
        ),
        (
            "-u 65534:65534 --group-add 4711 --group-add root",
            "id -G",
            "65534 0 4711",
        ),
        ("--oom-score-adj 500", "cat /proc/self/oom_score_adj", "500"),
        (
            "--domainname example.org",
            "cat /proc/sys/kernel/domainname",
            "example.org",
        ),
        (
            "--uts host",
            "hostname; cat /etc/hostname",
            &format!("{host_name}\n{host_name}"),
        ),
        ("--ipc none", "grep -c ' /dev/shm ' /proc/mounts", "0"),
        (
            "--ipc private",
            "readlink /proc/self/ns/ipc | grep -vcF '$HOST'",
            "1",
        ),
        ("--ipc host", "readlink /proc/self/ns/ipc", &ipc),
        ("--pid host", "readlink /proc/self/ns/pid", &pid),
        ("--pid host", &seen, "seen"),
        ("--pid host --init", "echo $$ | grep -cx 1", "0"),
        ("", &seen, "hidden"),
        ("--cgroupns host", "readlink /proc/self/ns/cgroup", &cgroup),
        ("--cgroupns private", "grep -c rmac /proc/self/cgroup", "0"),
    ];
    for (flags, command, said) in cases {
        let command = command.replace("$HOST", &ipc).replace('\'', r"'\''");
        let run = format!("rmac run --rm {flags} {} sh -c '{command}'", lab.image());
        let output = lab.sh(&run);
        assert_eq!(output.stdout.trim_end(), *said, "{flags}: {output:?}");
    }
    assert_eq!(read("/proc/sys/kernel/hostname"), host_name);
}

#[test]
fn they_last_and_inspect_shows_them() {
    let lab = Lab::with_image();
    let flags = "--shm-size 8m --sysctl kernel.msgmax=12345 --group-add 4711 --oom-score-adj 500 --cpu-shares 512 \
                 --cpuset-cpus 0 -m 64m --memory-swap 96m --memory-reservation 32m --ipc shareable --uts host \
                 --cgroupns host --pid host --expose 80-81 --expose 53/udp";
    let look = "df -k /dev/shm | tail -n 1 | awk \"{print \\$2}\"; cat /proc/sys/kernel/msgmax /proc/self/oom_score_adj; id -G";
    lab.sh(&format!(
        "rmac create --name once -u 1:1 {flags} {} sh -c '{look}'",
        lab.image()
    ))
    .ok();
    for _ in 0..2 {
        let said = lab.rmac(&["start", "-a", "once"]).ok();
        assert_eq!(said, "8192\n12345\n500\n1 4711\n");
    }
    for (field, value) in [
        ("HostConfig.ShmSize", "8388608"),
        ("HostConfig.Sysctls", "map[kernel.msgmax:12345]"),
        ("HostConfig.GroupAdd", "[4711]"),
        ("HostConfig.OomScoreAdj", "500"),
        ("HostConfig.CpuShares", "512"),
        ("HostConfig.CpusetCpus", "0"),
        ("HostConfig.Memory", "67108864"),
        ("HostConfig.MemorySwap", "100663296"),
        ("HostConfig.MemoryReservation", "33554432"),
        ("HostConfig.IpcMode", "shareable"),
        ("HostConfig.UTSMode", "host"),
        ("HostConfig.CgroupnsMode", "host"),
        ("HostConfig.PidMode", "host"),
        (
            "Config.ExposedPorts",
            "map[53/udp:map[] 80/tcp:map[] 81/tcp:map[]]",
        ),
    ] {
        let shown = lab
            .rmac(&["inspect", "-f", &format!("{{{{.{field}}}}}"), "once"])
            .ok();
        assert_eq!(shown.trim(), value, "{field}");
    }
    // Nothing of them in the record of who did not ask.
    let id = lab.rmac(&["create", lab.image(), "true"]).ok();
    let record = lab
        .root()
        .join("containers")
        .join(id.trim())
        .join("config.json");
    let record = std::fs::read_to_string(record).unwrap();
    for word in ["ipc", "shm_size", "sysctls", "group_add", "oom_score_adj"] {
        assert!(!record.contains(word), "{word}: {record}");
    }
}

#[test]
fn a_container_shares_its_memory_with_who_asks_for_it() {
    let lab = Lab::with_image();
    let image = lab.image();
    let sleeper = "sh -c 'echo hello > /dev/shm/word; sleep 1000'";
    for mode in ["shareable", "private"] {
        lab.sh(&format!(
            "rmac run -d --name {mode} --ipc {mode} {image} {sleeper}"
        ))
        .ok();
    }
    let with = |donor: &str, command: &str| {
        lab.sh(&format!(
            "rmac run --rm --ipc container:{donor} {image} sh -c '{command}'"
        ))
    };
    let own = lab.inside("shareable", "readlink /proc/self/ns/ipc").ok();
    let said = with(
        "shareable",
        "cat /dev/shm/word; readlink /proc/self/ns/ipc; echo more > /dev/shm/other",
    )
    .ok();
    assert_eq!(said, format!("hello\n{own}"));
    assert_eq!(lab.inside("shareable", "cat /dev/shm/other").ok(), "more\n");
    with("private", "true")
        .ended(125)
        .says("failed to join IPC namespace: container ")
        .says("non-shareable IPC");
    // Made while the other one does not run, it starts when that does.
    lab.rmac(&["stop", "-t", "0", "shareable"]).ok();
    with("shareable", "true").ended(125).says("is not running");
    lab.sh(&format!(
        "rmac create --name late --ipc container:shareable {image} cat /dev/shm/word"
    ))
    .ok();
    lab.rmac(&["start", "-a", "late"]).says("is not running");
    lab.rmac(&["start", "shareable"]).ok();
    lab.sh("for i in $(seq 50); do rmac exec shareable test -s /dev/shm/word && break; sleep 0.1; done").ok();
    assert_eq!(lab.rmac(&["start", "-a", "late"]).ok(), "hello\n");
    lab.rmac(&["inspect", "-f", "{{.HostConfig.IpcMode}}", "late"])
        .says("container:")
        .ok();
}

#[test]
fn a_container_is_among_the_processes_of_another_one() {
    let lab = Lab::with_image();
    let image = lab.image();
    lab.sh(&format!("rmac run -d --name web {image} sleep 1234"))
        .ok();
    let ps = lab
        .sh(&format!("rmac run --rm --pid container:web {image} ps"))
        .ok();
    assert!(ps.contains("sleep 1234"), "{ps}");
    // A debugger beside it sees its files, and whoever comes into it then is not the debugger's to take.
    let aside = "--pid container:web --cap-add SYS_PTRACE";
    lab.sh(&format!(
        "rmac run -d --name aside {aside} {image} sleep 1000"
    ))
    .ok();
    lab.inside("aside", "cat /proc/1/root/etc/hostname").ok();
    let steps = lab.inside("web", "readlink /proc/self/ns/pid").ok();
    assert_eq!(
        steps,
        lab.inside("aside", "readlink /proc/self/ns/pid").ok()
    );
    lab.sh(&format!("rmac run --rm --pid container:web {image} true"))
        .ended(125)
        .says("failed to join PID namespace: ")
        .says("CAP_SYS_PTRACE");
    // Process 1 takes all of them with it.
    lab.rmac(&["stop", "-t", "0", "web"]).ok();
    lab.sh("timeout 10 rmac wait aside").says("137").ok();
    lab.rmac(&["start", "aside"])
        .ended(1)
        .says("is not running");
}

#[test]
fn what_is_left_among_the_hosts_processes_ends_with_the_first() {
    let lab = Lab::with_image();
    let begin = std::time::Instant::now();
    lab.sh(&format!(
        "rmac run --rm --pid host {} sh -c 'sleep 4242 & yes > /dev/null & exit 3'",
        lab.image()
    ))
    .ended(3);
    // One that goes on writing must not keep the monitor busy.
    lab.sh(&format!(
        "rmac run --rm --pid host {} sh -c 'yes & exit 4' | tail -c 2",
        lab.image()
    ));
    assert!(begin.elapsed() < std::time::Duration::from_secs(60));
    // It is no process 1, which the kernel would shield from a signal without a handler.
    lab.sh(&format!(
        "rmac run -d --name among --pid host {} sleep 1000",
        lab.image()
    ))
    .ok();
    let stopped = lab.rmac(&["stop", "-t", "100", "among"]);
    assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""));
    lab.rmac(&["inspect", "-f", "{{.State.ExitCode}}", "among"])
        .says("143")
        .ok();
    lab.no_leaks();
}

/// Ports below 1024 and ping need no root where the network is the container's own, unless the user sets it otherwise.
#[test]
fn nobody_may_serve_port_80_and_ping() {
    let lab = lab_with_network("lan");
    lab.sh("rmac network create inside --internal").ok();
    lab.on("router", "ip address show dev eth0 | grep -q 172.16.86.1")
        .ok();
    // Nobody is told to be nobody with a capability that would do as well.
    let nobody = "-u nobody --cap-drop all";
    let run = |flags: &str, script: &str| {
        lab.sh(&format!(
            "rmac run --rm {nobody} {flags} {} sh -c '{script}'",
            lab.image()
        ))
    };
    let serve = "(echo served | nc -l -p 80) & for try in 1 2 3 4 5 6 7 8 9; do sleep 0.1; nc 127.0.0.1 80 && break; done";
    let ping = |address: &str| format!("ping -c 1 -W 2 {address} | grep received; :");
    for (flags, neighbour) in [
        ("--network lan", "172.16.86.1"),
        ("--network inside", "127.0.0.1"),
        ("--network none", "127.0.0.1"),
    ] {
        run(flags, serve).says("served");
        run(flags, &ping(neighbour)).says("1 packets received");
    }
    // The user's own word counts, however he spells it.
    let own = "--sysctl net/ipv4/ip_unprivileged_port_start=81";
    for network in ["none", "lan"] {
        let flags = format!("--network {network} {own}");
        run(&flags, serve).says("Permission denied");
        run(&flags, &ping("127.0.0.1")).says("1 packets received");
        let flags = format!("--network {network} --sysctl net.ipv4.ping_group_range=1\\ 0");
        run(&flags, serve).says("served");
        run(&flags, "ping -c 1 127.0.0.1").says("permission denied");
    }
    // Who shares a network finds it as it is.
    let settings =
        "/proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range";
    let of_host = lab.sh(&format!("cat {settings}")).ok();
    assert_eq!(
        run("--network host", &format!("cat {settings}")).ok(),
        of_host
    );
    lab.sh(&format!(
        "rmac run -d --name first --network lan {own} {} sleep 1000",
        lab.image()
    ))
    .ok();
    run("--network container:first", serve).says("Permission denied");
    lab.sh("rmac network rm inside").ok();
}

#[test]
fn sysctls_are_those_that_a_container_has_for_itself() {
    let lab = Lab::with_image();
    let run = |flags: &str| lab.sh(&format!("rmac run --rm {flags} {} true", lab.image()));
    for (flags, said) in [
        (
            "--sysctl kernel.core_pattern=x",
            "sysctl 'kernel.core_pattern=x' is not allowed",
        ),
        (
            "--sysctl vm.swappiness=1",
            "sysctl 'vm.swappiness=1' is not allowed",
        ),
        ("--sysctl net/../kernel/core_pattern=x", "is not allowed"),
        (
            "--sysctl net.ipv4.ip_forward",
            "sysctl 'net.ipv4.ip_forward' is not allowed",
        ),
        (
            "--sysctl net.ipv4.conf.eth0.forwarding=1",
            "must be supplied using driver option",
        ),
        (
            "--network host --sysctl net.ipv4.ip_forward=1",
            "sysctl \"net.ipv4.ip_forward\" not allowed in host network namespace",
        ),
        (
            "--ipc host --sysctl kernel.msgmax=1",
            "sysctl \"kernel.msgmax\" is not allowed in the hosts ipc namespace",
        ),
    ] {
        run(flags).ended(125).says(said);
    }
}

#[test]
fn only_the_streams_asked_for_are_attached() {
    let lab = Lab::with_image();
    let run = |flags: &str, input: &str| {
        let script = "cat; echo out; echo err >&2; exit 3";
        lab.sh(&format!(
            "echo in | rmac {input} --name once {flags} {} sh -c '{script}'",
            lab.image()
        ))
    };
    for (flags, stdout, stderr) in [
        ("", "out\n", "err\n"),
        ("-i", "in\nout\n", "err\n"),
        ("-a stdout", "out\n", ""),
        ("-a STDERR", "", "err\n"),
        ("-i --attach stderr", "", "err\n"),
        ("-i -a stdout -a stderr", "in\nout\n", "err\n"),
        // The input of who does not ask for it with -i is nobody's.
        ("-a stdin -a stdout", "out\n", ""),
    ] {
        let output = run(flags, "run --rm").ended(3);
        assert_eq!(
            (&*output.stdout, &*output.stderr),
            (stdout, stderr),
            "{flags}"
        );
    }
    // Who sees nothing is told which container it is; its program gets the input all the same.
    let output = run("-i -a stdin", "run").ended(3);
    let logs = lab.rmac(&["logs", "once"]).ok();
    assert!(logs.starts_with("in\nout\n"), "{logs}");
    assert_eq!(output.stdout, lab.sh("rmac ps -a -q --no-trunc").ok());
    let attached = |flags: &str, verb: &str| {
        lab.sh("rmac rm -f once").ok();
        run(flags, verb);
        let format = "{{.Config.AttachStdin}} {{.Config.AttachStdout}} {{.Config.AttachStderr}} {{.Config.StdinOnce}}";
        lab.rmac(&["inspect", "-f", format, "once"]).ok()
    };
    assert_eq!(attached("", "run"), "false true true false\n");
    assert_eq!(attached("-i", "create"), "true true true true\n");
    assert_eq!(attached("-i", "run -d"), "false false false false\n");
    assert_eq!(attached("-a stderr", "create"), "false false true false\n");
    for (flags, said) in [
        ("-d -a stdout", "Conflicting options: -a and -d"),
        (
            "-a all",
            "invalid argument \"all\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR",
        ),
    ] {
        run(flags, "run").ended(125).says(said);
    }
}

#[test]
fn labels_and_variables_come_from_files() {
    let lab = Lab::with_image();
    let file = lab.scratch().join("file");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let create = |flags: &str| {
        lab.sh(&format!(
            "rmac create --name once {flags} {} env",
            lab.image()
        ))
    };
    let from = format!("--label-file {0} --env-file {0}", file.display());
    write("\u{feff}# a comment\n\n  FIRST=one two \r\nSECOND=x=y\nBARE\n");
    create(&format!(
        "{from} -l SECOND=flag -e SECOND=flag --annotation org.example.a=b=c --annotation empty"
    ))
    .ok();
    let look = |format: &str| lab.rmac(&["inspect", "-f", format, "once"]).ok();
    assert_eq!(
        look("{{json .Config.Labels}}"),
        "{\"BARE\":\"\",\"FIRST\":\"one two \",\"SECOND\":\"flag\"}\n"
    );
    assert_eq!(
        look("{{json .HostConfig.Annotations}}"),
        "{\"empty\":\"\",\"org.example.a\":\"b=c\"}\n"
    );
    let said = lab.rmac(&["start", "-a", "once"]).ok();
    assert!(
        said.contains("FIRST=one two \n")
            && said.contains("SECOND=flag\n")
            && !said.contains("BARE"),
        "{said}"
    );
    lab.rmac(&["rm", "once"]).ok();
    for (text, said) in [
        (
            "=x",
            "poorly formatted environment: no variable name on line '=x'",
        ),
        (
            "a b=x",
            "poorly formatted environment: variable 'a b' contains whitespaces",
        ),
    ] {
        write(text);
        create(&format!("--label-file {}", file.display()))
            .ended(1)
            .says(said);
        create(&format!("--env-file {}", file.display()))
            .ended(1)
            .says(said);
    }
    create(&format!("--label-file {}/none", lab.scratch().display()))
        .ended(1)
        .says("No such file");
}

#[test]
fn disks_are_limited_where_the_kernel_can() {
    let lab = Lab::with_image();
    let disks = std::fs::read_dir("/sys/block").unwrap().flatten();
    let name = disks.map(|entry| entry.file_name().into_string().unwrap());
    let name = name
        .filter(|name| Path::new("/dev").join(name).exists())
        .min()
        .expect("a disk");
    let number = std::fs::read_to_string(format!("/sys/block/{name}/dev")).unwrap();
    let number = number.trim();
    let run = |flags: &str| {
        lab.sh(&format!(
            "rmac run -d --name once {flags} {} sleep 1000",
            lab.image()
        ))
    };
    let id = run(&format!(
        "--device-read-bps /dev/{name}:1mb --device-write-bps /dev/{name}:2048 --device-read-iops /dev/{name}:100 \
         --device-write-iops /dev/{name}:200 --blkio-weight 0"
    ));
    let id = id.ok();
    let read = |path: &str| std::fs::read_to_string(path.replace("ID", id.trim()));
    match read("/sys/fs/cgroup/rmac/ID/io.max") {
        Ok(text) => assert_eq!(
            text,
            format!("{number} rbps=1048576 wbps=2048 riops=100 wiops=200\n")
        ),
        Err(_) => {
            for (file, rate) in [
                ("read_bps", 1 << 20),
                ("write_bps", 2048),
                ("read_iops", 100),
                ("write_iops", 200),
            ] {
                let text = read(&format!(
                    "/sys/fs/cgroup/blkio/rmac/ID/blkio.throttle.{file}_device"
                ))
                .unwrap();
                assert_eq!(text, format!("{number} {rate}\n"), "{file}");
            }
        }
    }
    let shown = |field: &str| {
        lab.rmac(&[
            "inspect",
            "-f",
            &format!("{{{{json .HostConfig.{field}}}}}"),
            "once",
        ])
        .ok()
    };
    assert_eq!(
        shown("BlkioDeviceReadBps"),
        format!("[{{\"Path\":\"/dev/{name}\",\"Rate\":1048576}}]\n")
    );
    assert_eq!(
        shown("BlkioDeviceWriteIOps"),
        format!("[{{\"Path\":\"/dev/{name}\",\"Rate\":200}}]\n")
    );
    assert_eq!(shown("BlkioWeight"), "0\n");
    lab.rmac(&["rm", "-f", "once"]).ok();
    let bytes = "The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. \
                 Unit is optional and can be kb, mb, or gb";
    let operations =
        "The correct format is <device-path>:<number>. Number must be a positive integer";
    for (flags, said) in [
        ("--device-read-bps /dev/x", "bad format: /dev/x".to_owned()),
        (
            "--device-read-bps x:1",
            "bad format for device path: x:1".to_owned(),
        ),
        (
            "--device-write-bps /dev/x:y",
            format!("invalid rate for device: /dev/x:y. {bytes}"),
        ),
        (
            "--device-write-iops /dev/x:1mb",
            format!("invalid rate for device: /dev/x:1mb. {operations}"),
        ),
        (
            "--device-read-iops /dev/nowhere:1",
            "/dev/nowhere".to_owned(),
        ),
        (
            "--device-read-iops /dev/null:1",
            "/dev/null: not a block device".to_owned(),
        ),
    ] {
        run(flags).ended(125).says(&said);
    }
    // The weight is refused or, where the kernel has none, left out and said so.
    let wrong = run("--blkio-weight 5");
    match wrong.code {
        0 => drop(wrong.says("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.")),
        _ => drop(wrong.ended(125).says("Range of blkio weight is from 10 to 1000")),
    }
}

#[test]
fn a_container_lies_below_the_cgroup_that_was_asked_for() {
    let lab = Lab::with_image();
    let parent = format!("rmac-parent-{}", std::process::id());
    // Its own place, and one further below that is made with it.
    for place in [format!("/{parent}"), format!("{parent}/below")] {
        let run = format!(
            "rmac run -d --name once --cgroup-parent {place} -m 32m {} sleep 1000",
            lab.image()
        );
        let id = lab.sh(&run).ok();
        let place = place.trim_start_matches('/');
        let limits = [
            "memory/PLACE/ID/memory.limit_in_bytes",
            "PLACE/ID/memory.max",
        ]
        .map(|file| {
            let file = file.replace("PLACE", place).replace("ID", id.trim());
            std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(file))
        });
        assert!(
            limits
                .into_iter()
                .flatten()
                .any(|limit| limit == "33554432\n"),
            "{place}"
        );
        assert_eq!(
            lab.rmac(&["inspect", "-f", "{{.HostConfig.CgroupParent}}", "once"])
                .ok()
                .trim()
                .trim_matches('/'),
            place
        );
        assert!(lab.rmac(&["top", "once"]).ok().contains("sleep"));
        lab.sh("rmac pause once && rmac unpause once").ok();
        lab.rmac(&["exec", "once", "true"]).ok();
        // What kills the monitor leaves the group to the next command.
        let pid = lab.sh("rmac inspect -f '{{.State.Pid}}' once").ok();
        let monitor = lab
            .sh(&format!(
                "awk '$1 == \"PPid:\" {{print $2}}' /proc/{}/status",
                pid.trim()
            ))
            .ok();
        lab.sh(&format!("kill -9 {monitor}")).ok();
        lab.rmac(&["rm", "-f", "once"]).ok();
    }
    lab.no_leaks();
    // The parents stay, as with Docker: others may use them.
    let rest = lab
        .sh(&format!(
            "find /sys/fs/cgroup -depth -type d -path '*/{parent}*' -print -exec rmdir {{}} +"
        ))
        .ok();
    assert!(
        rest.lines()
            .all(|dir| dir.ends_with(&parent) || dir.ends_with("/below"))
            && !rest.is_empty(),
        "{rest}"
    );
    let refused = lab.sh(&format!(
        "rmac run --cgroup-parent /a/../b {} true",
        lab.image()
    ));
    refused.ended(125).says("invalid cgroup parent");
}
