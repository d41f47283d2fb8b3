//! Bad input: one clear line, the right exit status, and nothing left behind (the lab sees to that).

mod common;

use common::Lab;

/// What is typed, the exit status, and what must be said.
type Case<'a> = (&'a str, i32, &'a str);

#[test]
fn networks() {
    let lab = Lab::up();
    let create = "rmac network create -d macvlan --subnet=172.16.86.0/24 --gateway=172.16.86.1";
    let good = format!("{create} -o parent=eth0 good");
    lab.sh(&good).ok();
    let cases: &[Case] = &[
        (&good, 1, "network with name good already exists"),
        (&format!("{create} -o parent=en0 x"), 1, "en0"),
        (&format!("{create} -o parent=lo x"), 1, "lo"),
        (
            &format!("{create} -o parent=eth0 -o macvlan_mode=vlan x"),
            1,
            "vlan",
        ),
        (
            "rmac network create -d macvlan --subnet=172.16.86.1/24 -o parent=eth0 x",
            1,
            "172.16.86.0/24",
        ),
        (
            "rmac network create -d macvlan --subnet=10.0.0.0/24 --gateway=10.1.0.1 -o parent=eth0 x",
            1,
            "no matching subnet for gateway 10.1.0.1",
        ),
        ("rmac network create -d bridge x", 1, "bridge"),
        ("rmac network create -d macvlan -o parent=eth0 ../x", 1, "x"),
        ("rmac network rm nothing", 1, "network nothing not found"),
        (
            "rmac network inspect nothing",
            1,
            "network nothing not found",
        ),
        (
            "rmac network rm none",
            1,
            "pre-defined network and cannot be removed",
        ),
    ];
    check(&lab, cases);
    lab.sh("rmac network rm good").ok();
}

#[test]
fn containers() {
    let lab = Lab::with_image();
    let image = lab.image();
    lab.sh("rmac network create -d macvlan --subnet=172.16.86.0/29 --gateway=172.16.86.1 -o parent=eth0 net").ok();
    lab.sh(&format!(
        "rmac run -d --name taken --network net --ip 172.16.86.2 {image} sleep 1000"
    ))
    .ok();
    let run = |rest: &str| format!("rmac run --rm {}", rest.replace("IMAGE", image));
    let cases: &[Case] = &[
        (&run("IMAGE no-such-command"), 127, "no-such-command"),
        (&run("IMAGE /etc/passwd"), 126, "permission denied"),
        (&run("IMAGE /etc"), 126, "/etc"),
        (&run("IMAGE sh -c 'exit 7'"), 7, ""),
        (&run("--init IMAGE sh -c 'kill -9 $$'"), 137, ""),
        (
            &run("--name taken IMAGE true"),
            125,
            "The container name \"/taken\" is already in use by container",
        ),
        (
            &run("--name ../x IMAGE true"),
            125,
            "Invalid container name (../x)",
        ),
        (
            &run("--network nothing IMAGE true"),
            125,
            "network nothing not found",
        ),
        (
            &run("--network net --ip 172.16.86.2 IMAGE true"),
            125,
            "Address already in use",
        ),
        (
            &run("--network net --ip 172.16.87.2 IMAGE true"),
            125,
            "172.16.87.2",
        ),
        (
            &run("--network net --ip 172.16.86.1 IMAGE true"),
            125,
            "Address already in use",
        ),
        (
            &run("--network net --mac-address nonsense IMAGE true"),
            125,
            "nonsense",
        ),
        (
            &run("--user nobody-at-all IMAGE true"),
            125,
            "nobody-at-all",
        ),
        (&run("--cap-add NONSENSE IMAGE true"), 125, "NONSENSE"),
        (&run("-v /nowhere:/x:rx IMAGE true"), 125, "rx"),
        (&run("--no-such-flag IMAGE true"), 125, "--no-such-flag"),
        (&run("--pull never nothing:here true"), 125, "nothing:here"),
        (&run("UPPER true"), 125, "lowercase"),
        ("rmac exec nothing true", 1, "No such container: nothing"),
        ("rmac exec taken no-such-command", 127, "no-such-command"),
        ("rmac exec taken /etc/passwd", 126, "permission denied"),
        ("rmac stop nothing", 1, "No such container: nothing"),
        ("rmac inspect nothing", 1, "nothing"),
        ("rmac rm taken", 1, "taken"),
        ("rmac rmi nothing", 1, "nothing"),
        ("rmac netwrok ls", 1, "did you mean network?"),
    ];
    check(&lab, cases);
    // A pool of six addresses: router, taken, and four more. Each stays with its container.
    let fill = format!("for i in 1 2 3 4; do rmac create --network net {image} true; done");
    lab.sh(&fill).ok();
    lab.sh(&run("--network net IMAGE true"))
        .ended(125)
        .says("no available IPv4 addresses on this network's address pools: net");
    lab.sh("rmac network rm net")
        .ended(1)
        .says("network net has active endpoints");
}

#[test]
fn the_machine() {
    let lab = Lab::with_image();
    let image = lab.image();
    let scratch = lab.scratch();
    let scratch = scratch.display();
    lab.sh(&format!(
        "echo '[[registry]]\nlocation = \"docker.io\"\nblocked = true' > {scratch}/blocked.conf"
    ))
    .ok();
    let closed =
        format!("mkdir -m 700 {scratch}/small && mount -t tmpfs -o size=1m none {scratch}/small");
    lab.sh("rmac pull 127.0.0.1:9/x")
        .ended(1)
        .says("127.0.0.1:9");
    lab.sh(&format!(
        "CONTAINERS_REGISTRIES_CONF={scratch}/blocked.conf rmac pull x"
    ))
    .ended(1)
    .says("blocked");
    // A disk that is too small for the image.
    lab.registry(&[]);
    lab.sh(&format!(
        "{closed} && RMAC_ROOT={scratch}/small rmac pull {image}; code=$?; \
                     find {scratch}/small -name '*.tar*'; umount {scratch}/small; exit $code"
    ))
    .ended(1)
    .says("No space left on device");
    // A state directory that cannot be written.
    lab.sh(&format!(
        "mkdir {scratch}/ro && mount --bind -o ro {scratch}/ro {scratch}/ro && \
                     RMAC_ROOT={scratch}/ro rmac run {image} true"
    ))
    .ended(125)
    .says("Read-only file system");
    // Another user than root.
    lab.sh(&format!(
        "setpriv --reuid 65534 --regid 65534 --clear-groups rmac run --rm {image} true"
    ))
    .ended(125)
    .says("root");
}

#[test]
fn a_registry_that_serves_something_else() {
    let lab = Lab::up();
    lab.registry(&[]);
    let image = lab.image();
    // The largest blob is the layer: one byte of it changes, its name (the digest) does not.
    let store = lab.registry_store();
    let layer = lab
        .sh(&format!(
            "find {} -name data -size +100k | xargs ls -S | head -n 1",
            store.display()
        ))
        .ok();
    let tamper = format!(
        "printf x | dd of={} bs=1 seek=5000 conv=notrunc status=none",
        layer.trim()
    );
    lab.sh(&tamper).ok();
    for verb in ["pull", "run --rm"] {
        let told = lab
            .sh(&format!("rmac {verb} {image}"))
            .says("sha256:")
            .says(image);
        assert_ne!(told.code, 0);
        let last = told.stderr.lines().last().unwrap();
        assert!(
            last.starts_with("rmac: ") && (last.contains("digest") || last.contains("corrupt")),
            "{last}"
        );
    }
    assert_eq!(lab.sh("rmac images -q").ok(), "");
    let unknown = "0".repeat(64);
    lab.sh(&format!("rmac pull {image}@sha256:{unknown}"))
        .says("not found")
        .ended(1);
    lab.sh("rmac pull no-such-image")
        .says("no-such-image")
        .ended(1);
}

#[test]
fn use_of_the_machine() {
    let lab = Lab::with_image();
    let run = |flags: &str| format!("rmac run --rm {flags} {} true", lab.image());
    let rows = [
        ("-m 1m", "Minimum memory limit allowed is 6MB"),
        (
            "--memory-swap 64m",
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (
            "-m 64m --memory-swap 32m",
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            "--memory-reservation 1m",
            "Minimum memory reservation allowed is 6MB",
        ),
        (
            "-m 32m --memory-reservation 64m",
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        (
            "--memory-swappiness 101",
            "invalid value: 101. Valid memory swappiness range is 0-100",
        ),
        ("--cpus much", "failed to parse much as a rational number"),
        ("--cpus 9999", "range of CPUs is from 0.01 to "),
        (
            "--cpus 1 --cpu-period 5000",
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        ),
        (
            "--cpus 1 --cpu-quota 5000",
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            "--cpu-period 10",
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        (
            "--cpu-quota 10",
            "CPU cfs quota can not be less than 1ms (i.e. 1000)",
        ),
        (
            "--cpu-shares -1",
            "invalid CPU shares (-1): value must be a positive integer",
        ),
        (
            "--cpuset-cpus 1-0",
            "Invalid value 1-0 for cpuset cpus: invalid format: 1-0",
        ),
        (
            "--cpuset-cpus 8000",
            "Requested CPUs are not available - requested 8000, available: 0",
        ),
        (
            "--cpuset-mems 8000",
            "Requested memory nodes are not available - requested 8000, available: 0",
        ),
        (
            "--oom-score-adj 1001",
            "Invalid value 1001, range for oom score adj is [-1000, 1000]",
        ),
        ("--shm-size -1", "SHM size can not be less than 0"),
        ("--shm-size big", "invalid size: 'big'"),
        ("--ipc mine", "invalid IPC mode: mine"),
        ("--ipc container:", "invalid IPC mode: container:"),
        ("--ipc container:nobody", "No such container: nobody"),
        ("--pid mine", "--pid: invalid PID mode"),
        ("--pid container:nobody", "No such container: nobody"),
        ("--uts mine", "--uts: invalid UTS mode"),
        (
            "--uts host -h me",
            "conflicting options: hostname and the UTS mode",
        ),
        ("--cgroupns mine", "--cgroupns: invalid CGROUP mode"),
        (
            "--userns auto --pid host",
            "cannot share the host PID namespace when user namespaces are enabled",
        ),
        (
            "--group-add nobody-at-all",
            "unable to find group nobody-at-all: no matching entries in group file",
        ),
        (
            "--expose 99999",
            "invalid range format for --expose: invalid start port '99999'",
        ),
        ("--volumes-from nobody", "No such container: nobody"),
    ];
    let cases: Vec<_> = rows
        .iter()
        .map(|(flags, said)| (run(flags), *said))
        .collect();
    let cases: Vec<Case> = cases
        .iter()
        .map(|(typed, said)| (typed.as_str(), 125, *said))
        .collect();
    check(&lab, &cases);
}

fn check(lab: &Lab, cases: &[Case]) {
    let mut wrong = Vec::new();
    for (typed, code, said) in cases {
        let output = lab.sh(typed);
        let all = format!("{}{}", output.stdout, output.stderr);
        // A wrong word on the command line comes with the usage.
        let lines = output
            .stderr
            .lines()
            .filter(|line| !line.is_empty())
            .count();
        if output.code != *code || !all.contains(said) || (lines > 5) {
            wrong.push(format!(
                "{typed}\n    wanted {code} {said:?}\n    got    {} {all:?}",
                output.code
            ));
        }
    }
    assert!(wrong.is_empty(), "\n  {}", wrong.join("\n  "));
}
