//! The lab that tests share: what a test leaves behind is found.
mod common;
use common::Lab;

#[test]
fn a_lab_is_a_lan_and_leaves_nothing() {
    let lab = Lab::up();
    lab.sh("ping -c 1 -W 2 172.16.86.1")
        .says(" 0% packet loss")
        .ok();
    lab.on("router", "ping -c 1 -W 2 172.16.86.250")
        .says(" 0% packet loss")
        .ok();
    assert_eq!(lab.sh("ls /sys/class/net").ok(), "eth0\nlo\n");
    lab.registry(&["--auth", "bearer"]);
    lab.sh("test -n \"$CONTAINERS_REGISTRIES_CONF\" && exec 3<>/dev/tcp/127.0.0.1/5000")
        .ok();
}

#[test]
fn what_is_left_behind_is_found() {
    let lab = Lab::up();
    let dir = lab.scratch();
    let mut sleeper = lab.command("sleep").arg("60").spawn().unwrap();
    while !lab.leaks().iter().any(|leak| leak.contains("sleep 60")) {}
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    lab.sh("ip link add veth1 type veth peer name veth2").ok();
    assert_eq!(lab.leaks(), ["link: veth1", "link: veth2"]);
    lab.sh("ip link del veth1").ok();
    lab.outside(&["lab", "status"]).ok();
    let mount = format!("mount -t tmpfs none {}", dir.display());
    common::run(std::process::Command::new("sh").args(["-c", &mount])).ok();
    let leaks = lab.leaks();
    assert!(
        leaks[0].starts_with("mount (seen by process ") && leaks.len() == 1,
        "{leaks:?}"
    );
    common::run(std::process::Command::new("umount").arg(&dir)).ok();
}

#[test]
fn the_callers_umask_does_not_reach_the_container() {
    let lab = Lab::with_image();
    let look = "umask; stat -c '%a %U' /; touch /tmp/x; stat -c %a /tmp/x";
    let run = format!("umask 077; rmac run --rm {} sh -c \"{look}\"", lab.image());
    assert_eq!(lab.sh(&run).ok(), "0022\n755 root\n644\n");
}
