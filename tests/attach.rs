//! Attaching and naming: several networks, connect and disconnect, names, shared networks, prune.
//!
//! What moby's own tests expect, with the same expectation here:
//!
//! | theirs | here |
//! |---|---|
//! | macvlan_test.go MACVlanDNS, ipvlan_test.go DNS (with parent, none, internal) | `containers_find_each_other_by_name_alias_and_id`: /etc/hosts instead of a name server |
//! | macvlan_test.go EndpointWithCustomIfname, ipvlan CustomIfname | `interfaces_have_the_names_that_are_asked_for` |
//! | macvlan_test.go PointToPoint | `two_containers_share_a_point_to_point_subnet` |
//! | bridge_linux_test.go TestGatewaySelection | `the_default_route_follows_the_priorities` |
//! | mac_addr_test.go MACAddrOnRestart | does not apply: a MAC follows from the address, which is kept; see `a_hardware_address_survives_a_restart` |
//! | mac_addr_test.go CfgdMACAddrOnRestart, InspectCfgdMAC | `a_hardware_address_survives_a_restart` |
//! | mac_addr_test.go NetworkConnectWithMACAddress | `a_running_container_is_connected_and_disconnected_under_traffic` |
//! | incus container_devices_nic_macvlan.sh: hot-plug | the same |
//! | netavark 300-macvlan.bats: same ifname in container | `interfaces_have_the_names_that_are_asked_for` |

mod common;

use common::Lab;
use serde_json::Value;

fn network(lab: &Lab, name: &str, more: &str) {
    lab.sh(&format!("rmac network create -o parent=eth0 {more} {name}"))
        .ok();
}

fn lan(lab: &Lab) {
    let more = "--subnet 172.16.86.0/24 --gateway 172.16.86.1";
    network(lab, "lan", more);
}

fn run(lab: &Lab, flags: &str) -> String {
    let image = lab.image();
    let id = lab
        .sh(&format!("rmac run -d {flags} {image} sleep 1000"))
        .ok();
    id.trim().to_owned()
}

fn inspect(lab: &Lab, name: &str) -> Value {
    let text = lab.rmac(&["inspect", name]).ok();
    let value: Value = serde_json::from_str(&text).unwrap();
    value[0]["NetworkSettings"]["Networks"].clone()
}

/// Waits until `check` says nothing any more.
#[track_caller]
fn eventually(check: impl Fn() -> Result<(), String>) {
    let begin = std::time::Instant::now();
    while let Err(text) = check() {
        assert!(begin.elapsed().as_secs() < 5, "{text}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn containers_find_each_other_by_name_alias_and_id() {
    let lab = Lab::with_image();
    lan(&lab);
    let first = run(&lab, "--network lan --network-alias web --name first");
    run(&lab, "--network lan --name second -h host2");
    for (from, names) in [
        ("second", vec!["first", "web", &first[..12], "second"]),
        ("first", vec!["second", "host2", "first", "web"]),
    ] {
        for name in names {
            lab.sh(&format!("rmac exec {from} ping -c 1 -W 2 {name}"))
                .ok();
        }
    }
    // What the program writes into the file stays, and the file stays the same.
    lab.sh("rmac exec first sh -c 'echo 10.1.2.3 mine >> /etc/hosts'")
        .ok();
    lab.sh("rmac rm -f second").ok();
    let hosts = || lab.sh("rmac exec first cat /etc/hosts").ok();
    assert!(hosts().contains("10.1.2.3 mine"), "{}", hosts());
    eventually(|| match hosts().contains("second") {
        true => Err(hosts()),
        false => Ok(()),
    });
    // Of a killed monitor's container the others hear by the next sweep.
    run(&lab, "--network lan --name third");
    assert!(hosts().contains("\tthird "), "{}", hosts());
    let state = lab.root().join("containers").join(first.trim());
    assert!(state.join("hosts").exists());
    lab.sh("kill -9 $(grep -h '\"monitor\"' $RMAC_ROOT/containers/$(rmac ps -q --no-trunc -f name=third)/state.json | tr -dc 0-9)").ok();
    lab.sh("rmac ps").ok();
    eventually(|| match hosts().contains("third") {
        true => Err(hosts()),
        false => Ok(()),
    });
}

#[test]
fn names_work_in_an_internal_network_and_end_at_its_border() {
    let lab = Lab::with_image();
    lan(&lab);
    network(&lab, "inner", "--internal --subnet 10.7.0.0/24");
    run(&lab, "--network inner --name a1");
    run(&lab, "--network inner --name b1");
    run(&lab, "--network lan --name c1");
    lab.sh("rmac exec a1 ping -c 1 -W 2 b1").ok();
    let hosts = lab.sh("rmac exec c1 cat /etc/hosts").ok();
    assert!(
        !hosts.contains("\ta1 ") && hosts.contains("\tc1 "),
        "{hosts}"
    );
}

#[test]
fn several_networks_in_order_each_with_its_own_wishes() {
    let lab = Lab::with_image();
    lan(&lab);
    network(&lab, "two", "--subnet 10.2.0.0/24");
    run(
        &lab,
        "--name both --network name=lan,ip=172.16.86.40,alias=front --network name=two,ip=10.2.0.9,mac-address=02:42:00:00:00:99,alias=back",
    );
    let links = lab.sh("rmac exec both ip -4 addr").ok();
    let at = |text: &str| {
        links
            .find(text)
            .unwrap_or_else(|| panic!("{text}: {links}"))
    };
    assert!(at("172.16.86.40/24") < at("10.2.0.9/24"));
    assert!(links.contains("scope global eth0") && links.contains("scope global eth1"));
    let networks = inspect(&lab, "both");
    assert_eq!(networks["two"]["MacAddress"], "02:42:00:00:00:99");
    assert_eq!(networks["two"]["IPAMConfig"]["IPv4Address"], "10.2.0.9");
    assert_eq!(networks["lan"]["Aliases"][0], "front");
    run(&lab, "--name peer --network two");
    lab.sh("rmac exec peer ping -c 1 -W 2 back").ok();
    lab.sh("rmac exec peer grep front /etc/hosts").ended(1);
    let image = lab.image();
    for (flags, text) in [
        ("--network lan --network lan", "is specified multiple times"),
        (
            "--network lan --network host",
            "cannot attach both user-defined and non-user-defined network-modes",
        ),
        (
            "--network name=lan,ip=172.16.86.50 --ip 172.16.86.51",
            "cannot specify both --ip and per-network IPv4 address",
        ),
        (
            "--network name=lam",
            "network lam not found (did you mean lan?)",
        ),
        ("--network lan,ip=1.2.3.4", "invalid field lan"),
    ] {
        let out = lab.sh(&format!("rmac run {flags} {image} true")).ended(125);
        out.says(text);
    }
}

#[test]
fn interfaces_have_the_names_that_are_asked_for() {
    let lab = Lab::with_image();
    lan(&lab);
    network(&lab, "two", "--subnet 10.2.0.0/24");
    let option = "driver-opt=com.docker.network.endpoint.ifname";
    run(
        &lab,
        &format!("--name c1 --network name=lan,{option}=wan0 --network two"),
    );
    lab.sh("rmac exec c1 ip -4 addr show wan0")
        .says("172.16.86.2/24")
        .ok();
    lab.sh("rmac exec c1 ip -4 addr show eth0")
        .says("10.2.0.1/24")
        .ok();
    let image = lab.image();
    lab.sh(&format!(
        "rmac run --network name=lan,{option}=x0 --network name=two,{option}=x0 {image} true"
    ))
    .ended(125)
    .says("has an interface x0 already");
    lab.sh(&format!(
        "rmac run --network name=lan,{option}=a/b {image} true"
    ))
    .ended(125)
    .says("invalid interface name");
    lab.rmac(&["rm", "-f", "c1"]).ok();
    run(&lab, "--name d1 --network two");
    lab.sh("rmac network connect --driver-opt com.docker.network.endpoint.ifname=hot0 lan d1")
        .ok();
    lab.sh("rmac exec d1 ping -c 1 -W 2 -I hot0 172.16.86.1")
        .ok();
}

#[test]
fn the_default_route_follows_the_priorities() {
    let lab = Lab::with_image();
    lan(&lab);
    network(&lab, "two", "--subnet 10.2.0.0/24 --gateway 10.2.0.1");
    network(&lab, "three", "--subnet 10.3.0.0/24 --gateway 10.3.0.1");
    let route = || lab.sh("rmac exec c1 ip route show default").ok();
    run(
        &lab,
        "--name c1 --network lan --network name=two,gw-priority=5",
    );
    assert!(
        route().starts_with("default via 10.2.0.1 dev eth1"),
        "{}",
        route()
    );
    lab.sh("rmac network connect --gw-priority 9 three c1").ok();
    assert!(
        route().starts_with("default via 10.3.0.1 dev eth2"),
        "{}",
        route()
    );
    assert_eq!(inspect(&lab, "c1")["three"]["GwPriority"], 9);
    lab.sh("rmac network disconnect three c1").ok();
    assert!(
        route().starts_with("default via 10.2.0.1 dev eth1"),
        "{}",
        route()
    );
    lab.sh("rmac network disconnect two c1").ok();
    assert!(
        route().starts_with("default via 172.16.86.1 dev eth0"),
        "{}",
        route()
    );
    lab.sh("rmac exec c1 ping -c 1 -W 2 172.16.86.1").ok();
}

#[test]
fn a_running_container_is_connected_and_disconnected_under_traffic() {
    let lab = Lab::with_image();
    lan(&lab);
    network(&lab, "two", "--subnet 10.2.0.0/24");
    run(&lab, "--name c1 --network lan");
    run(&lab, "--name peer --network two");
    let image = lab.image();
    let _ = image;
    let traffic = lab.sh(
        "rmac exec c1 ping -i 0.1 -c 25 -W 2 172.16.86.1 > $RMAC_ROOT/traffic & \
         set -e; for round in 1 2 3; do \
           rmac network connect --mac-address 02:42:00:00:00:07 --alias hot two c1; \
           rmac exec c1 ping -c 1 -W 2 peer >/dev/null; \
           rmac exec peer ping -c 1 -W 2 hot >/dev/null; \
           rmac exec c1 ip link show eth1 | grep -q 02:42:00:00:00:07; \
           rmac network disconnect two c1; \
           if rmac exec c1 ip link show eth1 2>/dev/null; then exit 7; fi; \
           if rmac exec peer grep hot /etc/hosts; then exit 8; fi; \
         done; wait; cat $RMAC_ROOT/traffic",
    );
    traffic.says(" 0% packet loss").ok();
    lab.sh("rmac network connect two c1").ok();
    lab.sh("rmac network connect two c1")
        .ended(1)
        .says("endpoint with name c1 already exists in network two");
    lab.sh("rmac network disconnect two c1 && rmac network disconnect two c1")
        .ended(1)
        .says("is not connected to the network two");
    lab.sh("rmac network disconnect -f two c1").ok();
    lab.sh("rmac network connect two nobody")
        .ended(1)
        .says("No such container: nobody");
    lab.sh("rmac network connect twa c1")
        .ended(1)
        .says("network twa not found (did you mean two?)");
    lab.sh("rmac network connect host c1")
        .ended(1)
        .says("cannot be disconnected from host network or connected to host network");
    lab.sh("rmac network connect --ip 10.9.9.9 two c1")
        .ended(1)
        .says("no configured subnet contains IP address 10.9.9.9");
    assert_eq!(inspect(&lab, "c1").as_object().unwrap().len(), 1);
    // What was connected later is taken away with the rest: the leak check.
    lab.sh("rmac network connect two c1").ok();
    lab.sh("rmac rm -f c1").ok();
}

#[test]
fn a_stopped_container_is_connected_for_its_next_start() {
    let lab = Lab::with_image();
    lan(&lab);
    network(&lab, "two", "--subnet 10.2.0.0/24");
    let image = lab.image();
    lab.sh(&format!(
        "rmac create --name c1 --network lan {image} ip -4 addr"
    ))
    .ok();
    lab.sh("rmac network connect --ip 10.2.0.77 two c1").ok();
    lab.sh("rmac start -a c1")
        .says("172.16.86.2/24")
        .says("10.2.0.77/24")
        .ok();
    lab.sh("rmac network disconnect lan c1").ok();
    let out = lab.sh("rmac start -a c1").ok();
    assert!(
        !out.contains("172.16.86.2") && out.contains("10.2.0.77/24"),
        "{out}"
    );
    // One without a network can get one.
    lab.sh(&format!("rmac create --name d1 {image} ip -4 addr"))
        .ok();
    lab.sh("rmac network connect lan d1").ok();
    lab.sh("rmac start -a d1").says("172.16.86.2/24").ok();
}

#[test]
fn two_containers_share_a_point_to_point_subnet() {
    let lab = Lab::with_image();
    network(&lab, "p2p", "--subnet 10.5.0.0/31");
    run(&lab, "--network p2p --name a1");
    run(&lab, "--network p2p --name b1");
    lab.sh("rmac exec a1 ip -4 addr show eth0")
        .says("inet 10.5.0.0/31")
        .ok();
    lab.sh("rmac exec a1 ping -c 1 -W 2 b1").ok();
    let image = lab.image();
    lab.sh(&format!("rmac run --network p2p {image} true"))
        .ended(125)
        .says("no available IPv4 addresses on this network's address pools: p2p");
}

#[test]
fn a_hardware_address_survives_a_restart() {
    let lab = Lab::with_image();
    lan(&lab);
    let image = lab.image();
    let mac = "02:42:11:22:33:44";
    for (flags, expected) in [
        ("", "02:42:ac:10:56:02"),
        ("--mac-address 02:42:11:22:33:44", mac),
    ] {
        lab.sh(&format!(
            "rmac run -d --name c1 --network lan {flags} {image} sleep 1000"
        ))
        .ok();
        for _ in 0..2 {
            assert_eq!(inspect(&lab, "c1")["lan"]["MacAddress"], expected);
            lab.sh("rmac exec c1 ip link show eth0").says(expected).ok();
            lab.sh("rmac stop -t 0 c1 && rmac start c1").ok();
        }
        lab.sh("rmac rm -f c1").ok();
    }
}

#[test]
fn a_network_namespace_can_be_shared() {
    let lab = Lab::with_image();
    lan(&lab);
    run(&lab, "--name owner --network lan -h nest");
    let image = lab.image();
    let out = lab.sh(&format!("rmac run --rm --network container:owner {image} sh -c 'ip -4 addr show eth0; hostname; cat /etc/hosts'"));
    out.says("172.16.86.2/24")
        .says("nest")
        .says("172.16.86.2\tnest")
        .ok();
    let id = run(&lab, "--name guest --network container:owner");
    let owner = lab.sh("rmac exec owner readlink /proc/1/ns/net").ok();
    assert_eq!(
        lab.sh("rmac exec guest readlink /proc/self/ns/net").ok(),
        owner
    );
    assert_ne!(id, "");
    lab.sh("rmac inspect -f '{{.HostConfig.NetworkMode}}' guest")
        .says("container:")
        .ok();
    for (flags, text) in [
        (
            "-h other",
            "conflicting options: hostname and the network mode",
        ),
        (
            "--add-host a:1.2.3.4",
            "conflicting options: custom host-to-IP mapping and the network mode",
        ),
        (
            "--mac-address 02:42:00:00:00:01",
            "conflicting options: mac-address and the network mode",
        ),
        (
            "--dns 1.1.1.1",
            "conflicting options: dns and the network mode",
        ),
    ] {
        lab.sh(&format!(
            "rmac run {flags} --network container:owner {image} true"
        ))
        .ended(125)
        .says(text);
    }
    lab.sh(&format!("rmac run --network container:owmer {image} true"))
        .ended(125)
        .says("No such container: owmer (did you mean owner?)");
    lab.sh("rmac network connect lan guest").ended(1).says("container sharing network namespace with another container or host cannot be connected to any other network");
    lab.sh("rmac rm -f guest && rmac stop -t 0 owner").ok();
    lab.sh(&format!("rmac run --network container:owner {image} true"))
        .ended(125)
        .says("cannot join network of a non running container");
}

#[test]
fn prune_removes_what_nobody_uses() {
    let lab = Lab::with_image();
    lan(&lab);
    network(&lab, "two", "--subnet 10.2.0.0/24 --label keep=yes");
    network(&lab, "three", "--subnet 10.3.0.0/24");
    let image = lab.image();
    lab.sh(&format!("rmac create --name c1 --network lan {image} true"))
        .ok();
    lab.sh("echo n | rmac network prune")
        .says("WARNING! This will remove all custom networks not used by at least one container.")
        .ok();
    assert_eq!(
        lab.sh("rmac network ls -q -f type=custom | wc -l")
            .ok()
            .trim(),
        "3"
    );
    lab.sh("rmac network prune -f --filter label!=keep")
        .says("Deleted Networks:\nthree\n")
        .ok();
    lab.sh("rmac network prune -f --filter until=24h").ok();
    assert_eq!(
        lab.sh("rmac network ls -q -f type=custom | wc -l")
            .ok()
            .trim(),
        "2"
    );
    lab.sh("echo y | rmac network prune").says("two").ok();
    lab.sh("rmac network prune -f --filter color=red")
        .ended(1)
        .says("invalid filter 'color'");
    assert_eq!(
        lab.sh("rmac network ls --format '{{.Name}}' -f type=custom")
            .ok(),
        "lan\n"
    );
}

#[test]
fn a_hundred_immediate_restarts_with_a_fixed_address() {
    let lab = Lab::with_image();
    lan(&lab);
    let image = lab.image();
    let script = format!(
        "rmac create --name c1 --network lan --ip 172.16.86.77 {image} true; \
         for round in $(seq 100); do rmac start -a c1 || exit 1; done; rmac rm c1; \
         for round in $(seq 20); do rmac run --rm --network lan --ip 172.16.86.77 {image} true || exit 1; done"
    );
    let out = lab.sh(&script);
    assert_eq!(out.stderr, "");
    out.ok();
}
