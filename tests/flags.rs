//! Docker's flags of `run` that no other file has: what each does in the container, that it does so at the next start,
//! too, and where `inspect` shows it.

mod common;

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
    // With users of their own, Docker's containers cannot ping either.
    run("--userns auto --network lan", serve).says("served");
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
