//! Both examples of Docker's macvlan tutorial, line by line, with docker replaced by rmac.

mod common;

use common::Lab;
use common::kernel::Feature;
use serde_json::Value;

#[test]
fn the_bridge_example_works_as_it_is_written() {
    let lab = Lab::with_image();
    let image = format!("{}:latest", lab.image());

    let id = lab
        .sh("rmac network create -d macvlan \
               --subnet=172.16.86.0/24 \
               --gateway=172.16.86.1 \
               -o parent=eth0 \
               my-macvlan-net")
        .ok();
    assert_eq!(id.trim().len(), 64, "{id}");
    lab.rmac(&["network", "ls"]).says("my-macvlan-net").ok();

    let run = "rmac run --rm -itd --network my-macvlan-net --name my-macvlan-alpine";
    let id = lab.sh(&format!("{run} {image} ash")).ok();
    assert_eq!(id.trim().len(), 64, "{id}");

    let inspected = lab
        .rmac(&["container", "inspect", "my-macvlan-alpine"])
        .ok();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let network = &inspected[0]["NetworkSettings"]["Networks"]["my-macvlan-net"];
    let keys: Vec<&String> = network.as_object().unwrap().keys().take(13).collect();
    let tutorial = "IPAMConfig Links Aliases NetworkID EndpointID Gateway IPAddress IPPrefixLen \
                    IPv6Gateway GlobalIPv6Address GlobalIPv6PrefixLen MacAddress DriverOpts";
    assert_eq!(keys, tutorial.split_whitespace().collect::<Vec<_>>());
    assert_eq!(network["IPAddress"], "172.16.86.2");
    assert_eq!(network["Gateway"], "172.16.86.1");
    assert_eq!(network["IPPrefixLen"], 24);
    assert_eq!(network["MacAddress"], "02:42:ac:10:56:02");

    lab.sh("rmac exec my-macvlan-alpine ip addr show eth0")
        .says("link/ether 02:42:ac:10:56:02 brd ff:ff:ff:ff:ff:ff")
        .says("inet 172.16.86.2/24 brd 172.16.86.255 scope global eth0")
        .ok();
    let routes = lab.sh("rmac exec my-macvlan-alpine ip route").ok();
    let routes: Vec<&str> = routes.lines().map(str::trim_end).collect();
    assert_eq!(
        routes,
        [
            "default via 172.16.86.1 dev eth0",
            "172.16.86.0/24 dev eth0 scope link  src 172.16.86.2"
        ]
    );
    lab.sh("rmac exec my-macvlan-alpine ping -c 1 -W 2 172.16.86.1")
        .ok();
    lab.sh(&format!(
        "rmac run --rm --network my-macvlan-net {image} ping -c 1 -W 2 172.16.86.2"
    ))
    .ok();

    // ash as PID 1 ignores SIGTERM; the tutorial's own ten seconds are the demo's.
    lab.sh("rmac container stop -t 1 my-macvlan-alpine")
        .says("my-macvlan-alpine")
        .ok();
    assert_eq!(lab.sh("rmac ps -a -q").ok(), "");
    lab.sh("rmac network rm my-macvlan-net")
        .says("my-macvlan-net")
        .ok();
}

#[test]
fn the_802_1q_example_works_as_it_is_written() {
    if !Feature::Vlan.or_skip() {
        return;
    }
    let lab = Lab::with_image();
    let image = format!("{}:latest", lab.image());
    lab.sh("rmac network create -d macvlan \
               --subnet=172.16.86.0/24 \
               --gateway=172.16.86.1 \
               -o parent=eth0.10 \
               my-8021q-macvlan-net")
        .ok();
    lab.rmac(&["network", "ls"])
        .says("my-8021q-macvlan-net")
        .ok();
    lab.rmac(&["network", "inspect", "my-8021q-macvlan-net"])
        .says("\"parent\": \"eth0.10\"")
        .ok();
    lab.sh("ip -d link show eth0.10")
        .says("vlan protocol 802.1Q id 10")
        .ok();
    let run = "rmac run --rm -itd --network my-8021q-macvlan-net --name my-second-macvlan-alpine";
    lab.sh(&format!("{run} {image} ash")).ok();
    let inspected = lab
        .rmac(&["container", "inspect", "my-second-macvlan-alpine"])
        .ok();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let network = &inspected[0]["NetworkSettings"]["Networks"]["my-8021q-macvlan-net"];
    assert_eq!(network["IPAddress"], "172.16.86.2");
    assert_eq!(network["Gateway"], "172.16.86.1");
    assert_eq!(network["MacAddress"], "02:42:ac:10:56:02");
    lab.rmac(&[
        "exec",
        "my-second-macvlan-alpine",
        "ip",
        "addr",
        "show",
        "eth0",
    ])
    .says("inet 172.16.86.2/24 brd 172.16.86.255 scope global eth0")
    .ok();
    lab.rmac(&["exec", "my-second-macvlan-alpine", "ip", "route"])
        .says("default via 172.16.86.1 dev eth0")
        .ok();

    // On the cable each of its frames carries the tag.
    let trace = lab.sh(
        "timeout 20 tcpdump -Z root -i eth0 -e -n -l -U --immediate-mode 'vlan 10' >/tmp/trace 2>&1 & \
         for i in $(seq 50); do grep -q listening /tmp/trace && break; sleep 0.1; done; \
         rmac exec my-second-macvlan-alpine ping -c 2 -W 2 172.16.86.1; status=$?; \
         sleep 0.5; kill %1; wait %1; cat /tmp/trace; rm /tmp/trace; exit $status",
    );
    let trace = trace.ok();
    for direction in [
        "172.16.86.2 > 172.16.86.1: ICMP echo request",
        "172.16.86.1 > 172.16.86.2: ICMP echo reply",
    ] {
        let tagged = |line: &&str| line.contains("vlan 10") && line.contains(direction);
        assert!(trace.lines().any(|line| tagged(&line)), "{trace}");
    }
    // Who has no tag does not get there: an address that only VLAN 10's router has.
    lab.on("router10", "ip addr add 172.16.86.99/24 dev eth0")
        .ok();
    let ping = |network: &str| {
        lab.sh(&format!(
            "rmac run --rm --network {network} {image} ping -c 1 -W 2 172.16.86.99"
        ))
    };
    lab.sh("rmac network create --subnet=172.16.86.0/24 --ip-range=172.16.86.128/25 -o parent=eth0 untagged")
        .ok();
    ping("my-8021q-macvlan-net").ended(0);
    ping("untagged").ended(1).says("100% packet loss");

    // The tutorial's own last steps, its mistake included.
    lab.rmac(&["container", "stop", "-t", "1", "my-second-macvlan-alpin"])
        .ended(1)
        .says("my-second-macvlan-alpine");
    lab.rmac(&["container", "stop", "-t", "1", "my-second-macvlan-alpine"])
        .ok();
    lab.sh("rmac network rm my-8021q-macvlan-net untagged").ok();
    assert_eq!(lab.links(), ["eth0", "lo"]);
}
