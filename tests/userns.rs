//! `--userns auto`: the container's root is nobody on the host, and the image's files are still the container's.

mod common;

use std::os::unix::fs::MetadataExt;

use common::bundle::{Bundle, RMAC_OCI};
use common::lan::lab_with_network;
use common::{Lab, Output, wait_for};

/// Numbers of ordinary users and of the system end below this one.
const FIRST: u32 = 100_000;

fn run(lab: &Lab, flags: &[&str], script: &str) -> Output {
    let mut words = vec!["run", "--rm", "--userns", "auto"];
    words.extend(flags);
    words.extend([lab.image(), "sh", "-c", script]);
    lab.rmac(&words)
}

/// A container that goes on, with these flags.
fn detached(lab: &Lab, flags: &[&str], script: &str) {
    let mut words = vec!["run", "-d"];
    words.extend(flags);
    words.extend([lab.image(), "sh", "-c", script]);
    lab.rmac(&words).ok();
}

fn pid(lab: &Lab, name: &str) -> String {
    let format = "{{.State.Pid}}";
    let pid = lab.rmac(&["inspect", "-f", format, name]).ok();
    pid.trim().to_owned()
}

/// The user that the container's first process is on the host.
fn user(lab: &Lab, name: &str) -> u32 {
    let status = format!("/proc/{}/status", pid(lab, name));
    let status = std::fs::read_to_string(status).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("Uid:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The ranges that are claimed, as the store has them.
fn ranges(lab: &Lab) -> String {
    std::fs::read_to_string(lab.root().join("ids/ranges")).unwrap_or_default()
}

#[test]
fn the_containers_root_is_nobody_on_the_host() {
    let lab = Lab::with_image();
    for name in ["first", "second"] {
        detached(
            &lab,
            &["--userns", "auto", "--name", name],
            "exec sleep 600",
        );
    }
    let (first, second) = (user(&lab, "first"), user(&lab, "second"));
    assert!(first >= FIRST && second >= FIRST, "{first} {second}");
    assert!(first.abs_diff(second) >= 65_536, "{first} {second}");
    let map = lab
        .rmac(&["exec", "second", "cat", "/proc/self/uid_map"])
        .ok();
    let words: Vec<&str> = map.split_whitespace().collect();
    assert_eq!(words, ["0", &second.to_string(), "65536"]);
    // Both namespaces are the container's own, so its root has its capabilities there and nowhere else.
    let format = "{{.HostConfig.UsernsMode}}";
    assert_eq!(lab.rmac(&["inspect", "-f", format, "first"]).ok(), "auto\n");
    lab.rmac(&["exec", "first", "id", "-u"]).says("0").ended(0);
    lab.rmac(&["exec", "-u", "nobody", "first", "id", "-u"])
        .says("65534")
        .ended(0);
    lab.rmac(&["exec", "-t", "first", "tty"])
        .says("/dev/pts/")
        .ended(0);
}

#[test]
fn the_images_files_look_as_they_always_do() {
    let lab = Lab::with_image();
    let script = "find / -xdev | sort | xargs stat -c '%n %u:%g %a' | grep -v '^/\\(proc\\|sys\\|dev\\|etc/host\\)'";
    let plain = lab
        .rmac(&["run", "--rm", lab.image(), "sh", "-c", script])
        .ok();
    let mapped = run(&lab, &[], script).ok();
    assert!(plain.lines().count() > 300, "{plain}");
    assert_eq!(plain, mapped);
    // Files that exist can be changed, new ones made, owners given within the range.
    let script = "echo more >> /etc/motd && echo new > /new && chown 1000:1000 /new && stat -c %u:%g /new /etc/motd \
                  && chown 65535 /new && rm -r /var/cache && echo said > /dev/stdout && echo 10.0.0.9 nine >> /etc/hosts";
    assert_eq!(run(&lab, &[], script).ok(), "1000:1000\n0:0\nsaid\n");
}

#[test]
fn a_program_may_still_change_its_user() {
    let lab = Lab::with_image();
    // ping needs a raw socket, which nobody may open unless the program's file is root's and set-user-ID.
    let script = "cp /bin/busybox /tmp/ping && chmod 755 /tmp/ping \
                  && ! su -s /bin/sh nobody -c '/tmp/ping -c 1 127.0.0.1' 2> /dev/null \
                  && chmod 4755 /tmp/ping && su -s /bin/sh nobody -c '/tmp/ping -c 1 127.0.0.1'";
    run(&lab, &[], script).says("1 packets received").ended(0);
}

#[test]
fn volumes_are_the_hosts_unless_they_are_mapped() {
    let lab = Lab::with_image();
    let volume = lab.scratch().join("volume");
    std::fs::create_dir(&volume).unwrap();
    let owner = |name: &str| std::fs::symlink_metadata(volume.join(name)).unwrap().uid();
    let flag = format!("{}:/volume", volume.display());
    // As with podman and Docker: the host's root owns it, whom the container has no number for.
    run(
        &lab,
        &["-v", &flag],
        "stat -c %u /volume && ! touch /volume/new",
    )
    .says("65534")
    .ended(0);
    std::fs::set_permissions(&volume, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    run(&lab, &["-v", &flag], "touch /volume/outside").ok();
    assert!(owner("outside") >= FIRST, "{}", owner("outside"));
    let mapped = format!("{flag}:idmap");
    run(
        &lab,
        &["-v", &mapped],
        "touch /volume/inside && chown 1000 /volume/inside && stat -c %u /volume/inside",
    )
    .says("1000")
    .ended(0);
    assert_eq!(owner("inside"), 1000);
    lab.rmac(&["run", "--rm", "-v", &mapped, lab.image(), "true"])
        .says("idmap needs --userns auto")
        .ended(125);
}

#[test]
fn a_range_is_kept_until_the_container_is_removed() {
    let lab = Lab::with_image();
    let flags = ["--userns", "auto:size=2000", "--name", "keeper"];
    detached(&lab, &flags, "echo one >> /kept; exec sleep 600");
    let first = user(&lab, "keeper");
    lab.rmac(&["stop", "-t", "0", "keeper"]).ok();
    assert_eq!(ranges(&lab).lines().count(), 1);
    lab.rmac(&["start", "keeper"]).ok();
    assert_eq!(user(&lab, "keeper"), first);
    assert_eq!(
        lab.rmac(&["exec", "keeper", "cat", "/kept"]).ok(),
        "one\none\n"
    );
    lab.rmac(&["rm", "-f", "keeper"]).ok();
    assert_eq!(ranges(&lab), "");
}

#[test]
fn who_is_killed_gives_the_range_back() {
    let lab = Lab::with_image();
    let flags = ["--userns", "auto", "--rm", "--name", "victim"];
    detached(&lab, &flags, "exec sleep 600");
    let first = user(&lab, "victim");
    let state = lab.sh("cat \"$RMAC_ROOT\"/containers/*/state.json").ok();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let monitor = nix::unistd::Pid::from_raw(state["monitor"].as_i64().unwrap() as i32);
    nix::sys::signal::kill(monitor, nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_for("the dead monitor's container is still there", || {
        lab.rmac(&["ps", "-aq"]).ok().is_empty()
    });
    wait_for("its range is still claimed", || ranges(&lab).is_empty());
    // A claim without a container, as a run leaves it that was killed at once, does not count either.
    std::fs::write(
        lab.root().join("ids/ranges"),
        format!("{first} 65536 {}\n", "f".repeat(64)),
    )
    .unwrap();
    let map = run(&lab, &[], "cat /proc/self/uid_map").ok();
    assert_eq!(
        map.split_whitespace().nth(1),
        Some(first.to_string().as_str())
    );
    wait_for("--rm has left a range", || ranges(&lab).is_empty());
}

#[test]
fn many_at_once_never_share_a_number() {
    let lab = Lab::with_image();
    let script = format!(
        "for i in 1 2 3 4 5 6 7 8; do rmac run -d --userns auto {} sleep 600 & done; wait",
        lab.image()
    );
    assert_eq!(lab.sh(&script).ok().lines().count(), 8);
    let mut firsts: Vec<u32> = ranges(&lab)
        .lines()
        .map(|line| line.split(' ').next().unwrap().parse().unwrap())
        .collect();
    firsts.sort_unstable();
    assert_eq!(firsts.len(), 8);
    assert!(
        firsts.windows(2).all(|two| two[1] - two[0] >= 65_536),
        "{firsts:?}"
    );
}

#[test]
fn the_network_of_the_tutorial_works() {
    let lab = lab_with_network("lan");
    run(
        &lab,
        &["--network", "lan", "--ip", "172.16.86.30"],
        "ip addr show eth0 && ping -c 1 -W 5 172.16.86.1",
    )
    .says("172.16.86.30/24")
    .says("1 packets received")
    .ended(0);
    // Who is not root may serve low ports, as elsewhere.
    let serve = "(echo served | nc -l -p 80) & for try in 1 2 3 4 5 6 7 8 9; do sleep 0.1; nc 127.0.0.1 80 && break; done";
    let nobody = ["--network", "lan", "-u", "nobody", "--cap-drop", "all"];
    run(&lab, &nobody, serve).says("served");
}

#[test]
fn the_container_can_do_nothing_to_the_host_as_root() {
    let lab = Lab::with_image();
    // Root's own capabilities count in the container's namespaces only: not for the clock, not for a disk's node.
    let script = "grep -q 00000000a80425fb /proc/self/status && ! mknod /disk b 254 0 2> /dev/null \
                  && date -s 2001-01-01 2>&1 | grep -q 'not permitted' && ! mount -t tmpfs none /mnt 2> /dev/null && echo contained";
    run(&lab, &[], script).says("contained").ended(0);
}

#[test]
fn what_cannot_be_had_together_is_refused() {
    let lab = Lab::with_image();
    let refused = |flags: &[&str], text: &str| {
        run(&lab, flags, "true").says(text).ended(125);
    };
    refused(
        &["--privileged"],
        "privileged mode is incompatible with user namespaces",
    );
    refused(
        &["--network", "host"],
        "cannot share the host's network namespace when user namespaces are enabled",
    );
    lab.rmac(&["run", "--userns", "nonsense", lab.image()])
        .says("invalid USER mode")
        .ended(125);
    let steps = lab.rmac(&[
        "run",
        "--rm",
        "--userns",
        "auto",
        "--explain=brief",
        lab.image(),
        "true",
    ]);
    steps.says("MOUNT_ATTR_IDMAP").says("uid_map").ended(0);
    let script = lab.rmac(&["run", "--userns", "auto", "--dry-run", lab.image(), "true"]);
    script.says("uid_map").says("X-mount.idmap").ended(0);
    assert_eq!(ranges(&lab), "", "a dry run has left its range");
}

#[test]
fn an_engine_may_map_a_single_mount() {
    let bundle = Bundle::new(RMAC_OCI, "stat -c %u /mapped/file; touch /mapped/new");
    let source = bundle.rootfs().with_file_name("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "").unwrap();
    std::os::unix::fs::chown(source.join("file"), Some(1000), Some(1000)).unwrap();
    std::os::unix::fs::chown(&source, Some(1000), Some(1000)).unwrap();
    bundle.change(|config| {
        let table = serde_json::json!([{"containerID": 1000, "hostID": 0, "size": 1}]);
        config["mounts"]
            .as_array_mut()
            .unwrap()
            .push(serde_json::json!({
                "destination": "/mapped", "type": "bind", "source": source.to_str().unwrap(),
                "options": ["bind", "idmap"], "uidMappings": table, "gidMappings": table,
            }));
    });
    assert_eq!(bundle.create().ok(), "");
    bundle.call(&["start", "$ID"]).ok();
    bundle.wait_for("stopped");
    assert_eq!(bundle.output(), "0\n");
    assert_eq!(std::fs::metadata(source.join("new")).unwrap().uid(), 1000);
    bundle.call(&["delete", "$ID"]).ok();
}

#[test]
fn an_oci_bundle_maps_the_mounts_below_too_where_it_says_so() {
    let script = "stat -c %u /mapped/file /mapped/below/file";
    let bundle = common::bundle::Bundle::shared(common::bundle::RMAC_OCI, script);
    let run = |word: &str| {
        bundle.change(|config| {
            let table = serde_json::json!([{"containerID": 1000, "hostID": 7, "size": 1}]);
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["destination"] != "/mapped");
            mounts.push(serde_json::json!({
                "destination": "/mapped", "type": "bind", "source": "source",
                "options": ["rbind", word], "uidMappings": table, "gidMappings": table,
            }));
        });
        // The mount below is one of a mount namespace of the test's own.
        let mount = "mkdir -p source/below; mount -t tmpfs below source/below
            touch source/file source/below/file; chown 1000:1000 source/file source/below/file; exec \"$@\"";
        let mut command = std::process::Command::new("unshare");
        command.current_dir(&bundle.dir);
        command.args(["--mount", "--propagation", "private", "sh", "-ec", mount]);
        command.args(["sh", common::bundle::RMAC_OCI, "--root", "state", "run"]);
        common::run(command.arg(&bundle.id)).ok()
    };
    assert_eq!(run("idmap"), "7\n1000\n");
    assert_eq!(run("ridmap"), "7\n7\n");
}
