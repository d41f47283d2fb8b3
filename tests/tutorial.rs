//! The bridge example of Docker's macvlan tutorial, line by line, with docker replaced by rmac.

mod common;

use common::Lab;
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
