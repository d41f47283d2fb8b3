//! The host's devices in a container: `--device`, and all of them with `--privileged`.

mod common;

use common::Lab;

#[test]
fn a_device_is_there_under_its_name_and_may_what_is_allowed() {
    let lab = Lab::with_image();
    let run = |flags: &str, script: &str| {
        lab.sh(&format!(
            "rmac run --rm --network none {flags} alpine sh -c '{script}'"
        ))
    };
    // Without the flag neither the node nor the right to use it is there.
    run("", "test ! -e /dev/kmsg").ok();
    run("", "mknod /tmp/kmsg c 1 11; dd if=/tmp/kmsg bs=1 count=0")
        .says("Operation not permitted")
        .ended(1);
    run(
        "--device /dev/kmsg:/dev/log/host:r",
        "stat -c %t:%T:%a /dev/log/host; dd if=/dev/log/host bs=1 count=0; echo > /dev/log/host",
    )
    .says("1:b:")
    .says("can't create /dev/log/host: Operation not permitted")
    .ended(1);
    run("--device /dev/kmsg", ": >> /dev/kmsg; echo open")
        .says("open")
        .ok();
}

#[test]
fn inspect_tells_of_it_and_a_restart_has_it_again() {
    let lab = Lab::with_image();
    lab.sh("rmac run --name c1 --network none --device /dev/kmsg:/dev/k:rw alpine test -c /dev/k")
        .ok();
    lab.sh("rmac inspect -f '{{json .HostConfig.Devices}}' c1")
        .says(r#"[{"PathOnHost":"/dev/kmsg","PathInContainer":"/dev/k","CgroupPermissions":"rw"}]"#)
        .ok();
    lab.sh("rmac start -a c1").ok();
    lab.sh("rmac rm c1").ok();
}

#[test]
fn what_is_no_device_is_refused() {
    let lab = Lab::with_image();
    let refused = |device: &str, words: &str| {
        lab.sh(&format!(
            "rmac run --rm --network none --device {device} alpine true"
        ))
        .says(words)
        .ended(125);
    };
    refused(
        "/dev/nobody",
        "error gathering device information while adding custom device \"/dev/nobody\": no such file or directory",
    );
    refused("/etc/passwd", "not a device node");
    refused("/dev/kmsg:/dev/k:rx", "bad mode specified: rx");
    refused("kmsg", "is not an absolute path");
    assert_eq!(lab.sh("rmac ps -aq").ok(), "");
}

#[test]
fn with_privileged_all_are_there_but_the_hosts_terminals() {
    let lab = Lab::with_image();
    let nodes =
        "find /dev -maxdepth 1 '(' -type b -o -type c ')' ! -name console ! -name ptmx | sort";
    let host = lab.sh(nodes).ok();
    assert!(host.contains("/dev/kmsg\n"));
    let inside = lab.sh(&format!(
        "rmac run --rm --privileged --network none alpine {nodes}"
    ));
    assert_eq!(inside.ok(), host);
    lab.sh("rmac run --rm -t --privileged --network none alpine sh -c 'readlink /dev/ptmx; ls /dev/pts; dd if=/dev/kmsg bs=1 count=0'")
        .says("pts/ptmx")
        .says("0+0 records in")
        .ok();
}
