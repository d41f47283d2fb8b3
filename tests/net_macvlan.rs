//! macvlan networks with real packets: what Docker, netavark and incus test, tested here.
//!
//! | moby: integration/network/macvlan | here |
//! |---|---|
//! | MacvlanPersistence | `a_sub_interface_is_made_again_after_a_reboot` |
//! | Macvlan/Subinterface, OverlapKeepExistingParent | `a_sub_interface_that_was_there_stays` |
//! | Macvlan/OverlapParent, OverlapDeleteCreatedSecond | `a_sub_interface_lives_as_long_as_its_last_network` |
//! | Macvlan/OverlapParentPassthruFirst, ...Second | `passthru_and_others_do_not_share` |
//! | Macvlan/NilParent | `without_a_parent_containers_reach_each_other` |
//! | Macvlan/InternalMode | `an_internal_network_has_no_way_out` |
//! | Macvlan/MultiSubnetWithParent, Addressing | `two_subnets_of_each_family` |
//! | Macvlan/MultiSubnetNoParent | `without_a_parent_there_is_no_gateway` |
//! | MacvlanIPAM | `families_are_counted_and_switched` |
//! | MacvlanIPAMOverlap | `networks_that_share_a_subnet_share_its_addresses` |
//! | MACVlanDNS, EndpointWithCustomIfname | with names and attaching, in a file of their own |
//! | PointToPoint | `a_point_to_point_network_has_two_addresses` |
//! | ParentDown | `a_parent_that_is_down_is_no_obstacle` |
//! | networking: MACAddrOnRestart, CfgdMACAddrOnRestart, InspectCfgdMAC | `hardware_addresses_last` |
//! | networking: TestAdvertiseAddresses | net_link.rs, `the_lan_hears_of_the_address` and its like |
//! | unit: TestValidateLink, ValidateSubLink, SetMacVlanMode | net_declare.rs; src/net/host.rs |
//!
//! | netavark: 300-macvlan.bats | here |
//! |---|---|
//! | simple, modes | `modes_decide_who_speaks_to_whom` |
//! | static routes, route metric, no default route | `routes_are_as_declared` |
//! | internal | `an_internal_network_has_no_way_out` |
//! | mtu | `the_mtu_is_the_parents_or_less` |
//! | ipam none | `without_ipam_there_is_a_link_only` |
//! | static mac | `hardware_addresses_last` |
//! | same ifname on host | every test here: the lab's host has an eth0 |
//! | same ifname in container | net_link.rs, `a_name_that_is_taken_inside_is_told_and_leaves_nothing` |
//! | overlapping, duplicate subnets; not all ips match; ip outside subnet | `what_does_not_fit_is_refused` |
//! | multiple static ips | does not apply: one address of a family a network, as with Docker |
//!
//! | incus: container_devices_nic_macvlan.sh | here |
//! |---|---|
//! | mtu, MTU inherited | `the_mtu_is_the_parents_or_less` |
//! | two containers ping, v4 and v6 | `two_subnets_of_each_family` |
//! | vlan parent created and removed, parent stays up | `a_sub_interface_lives_as_long_as_its_last_network` |
//! | volatile cleanup, no leaked NICs | every test: `Lab` looks for what is left |
//! | network object | every test: there is nothing else |
//! | hot-plug, attached=false/true | with connect and disconnect, in a file of their own |
//!
//! What needs 802.1Q runs in `scripts/vm`, and says elsewhere that it is skipped.

mod common;

use common::Lab;
use common::kernel::Feature;

const SUBNET: &str = "--subnet=172.16.86.0/24 --gateway=172.16.86.1";

#[test]
fn a_sub_interface_is_made_again_after_a_reboot() {
    if !Feature::Vlan.or_skip() {
        return;
    }
    let lab = Lab::with_image();
    lab.network(&format!("{SUBNET} -o parent=eth0.10 net")).ok();
    lab.sh("ip link del eth0.10").ok();
    lab.sleeper("c3", "net", "").ok();
    assert!(lab.reaches("c3", "172.16.86.1"));
    lab.rmac(&["stop", "-t", "0", "c3"]).ok();
    lab.sh("ip link del eth0.10; ip link set eth0 down; ip link set eth0 up")
        .ok();
    lab.rmac(&["start", "c3"]).ok();
    assert!(lab.reaches("c3", "172.16.86.1"));
    // Something else of that name is not taken for it.
    lab.rmac(&["stop", "-t", "0", "c3"]).ok();
    lab.sh("ip link del eth0.10; ip link add link eth0 name eth0.10 type vlan id 11")
        .ok();
    lab.rmac(&["start", "c3"])
        .ended(1)
        .says("the link eth0.10 is there, but it is not the sub-interface of eth0 with VLAN 10");
    lab.remove("c3", "net");
    // Nor removed.
    lab.sh("ip link del eth0.10").ok();
}

#[test]
fn a_sub_interface_that_was_there_stays() {
    if !Feature::Vlan.or_skip() {
        return;
    }
    let lab = Lab::with_image();
    lab.sh("ip link add link eth0 name eth0.10 type vlan id 10")
        .ok();
    lab.network(&format!("{SUBNET} -o parent=eth0.10 one")).ok();
    lab.network("--subnet=10.9.0.0/24 -o parent=eth0.10 two")
        .ok();
    lab.sleeper("c3", "one", "").ok();
    lab.remove("c3", "one two");
    assert!(lab.links().contains(&"eth0.10".to_owned()));
    lab.sh("ip link del eth0.10; ip link add link eth0 name eth0.20 type vlan id 21")
        .ok();
    lab.network(&format!("{SUBNET} -o parent=eth0.20 net"))
        .ended(1)
        .says("it has VLAN 21 on eth0");
    lab.sh("ip link del eth0.20").ok();
}

#[test]
fn a_sub_interface_lives_as_long_as_its_last_network() {
    if !Feature::Vlan.or_skip() {
        return;
    }
    let lab = Lab::with_image();
    lab.network(&format!("{SUBNET} -o parent=eth0.10 one")).ok();
    lab.sh("ip -d link show eth0.10")
        .says("vlan protocol 802.1Q id 10")
        .says("UP")
        .ok();
    // Another way to say it; and a second tag on top.
    lab.network("--subnet=10.9.0.0/24 -o parent=eth0 -o vlan=10 two")
        .ok();
    lab.network("--subnet=10.8.0.0/24 -o parent=eth0.10.20 three")
        .ok();
    lab.sleeper("c1", "one", "").ok();
    lab.sleeper("c2", "one", "").ok();
    assert!(lab.reaches("c1", "172.16.86.3"));
    lab.remove("c1 c2", "one");
    assert_eq!(lab.links(), ["eth0", "eth0.10", "eth0.10.20", "lo"]);
    lab.sleeper("c1", "two", "").ok();
    lab.remove("c1", "two");
    assert_eq!(lab.links(), ["eth0", "eth0.10", "eth0.10.20", "lo"]);
    lab.remove("", "three");
    assert_eq!(lab.links(), ["eth0", "lo"]);
    assert!(lab.sh("ip link show eth0").ok().contains("UP"));
    // Names that are too long for a link.
    lab.sh("ip link add enp0s31f6abcd type veth peer name far")
        .ok();
    lab.network("--subnet=10.7.0.0/24 -o parent=enp0s31f6abcd.4000 long")
        .ok();
    let short = lab.links().into_iter().find(|link| link.ends_with(".4000"));
    assert_eq!(short.map(|name| name.len() <= 15), Some(true));
    lab.remove("", "long");
    lab.sh("ip link del far").ok();
}

#[test]
fn tagged_and_untagged_do_not_meet() {
    if !Feature::Vlan.or_skip() {
        return;
    }
    let lab = Lab::with_image();
    lab.network(&format!("{SUBNET} -o parent=eth0.10 tagged"))
        .ok();
    lab.network(&format!("{SUBNET} -o parent=eth0 plain")).ok();
    lab.sleeper("c4", "tagged", "--ip 172.16.86.20").ok();
    lab.sleeper("c5", "plain", "--ip 172.16.86.30").ok();
    lab.on("router10", "ip addr add 10.10.10.10/32 dev lo").ok();
    lab.on("router10", "ip route add 172.16.86.30 dev eth0")
        .ok();
    assert!(lab.reaches("c4", "172.16.86.1") && lab.reaches("c4", "10.10.10.10"));
    assert!(!lab.reaches("c5", "10.10.10.10") && !lab.reaches("c5", "172.16.86.20"));
    lab.remove("c4 c5", "tagged plain");
}

#[test]
fn passthru_and_others_do_not_share() {
    let lab = Lab::up();
    lab.network(&format!(
        "{SUBNET} -o parent=eth0 -o macvlan_mode=passthru a"
    ))
    .ok();
    lab.network("--subnet=10.9.0.0/24 -o parent=eth0 b")
        .ended(1)
        .says("is already using parent interface eth0 in mode passthru");
    lab.remove("", "a");
    lab.network("--subnet=10.9.0.0/24 -o parent=eth0 b").ok();
    lab.network(&format!(
        "{SUBNET} -o parent=eth0 -o macvlan_mode=passthru a"
    ))
    .ended(1)
    .says("cannot use mode passthru, macvlan network");
    lab.network("-d ipvlan --subnet=10.8.0.0/24 -o parent=eth0 i")
        .ended(1)
        .says("one parent carries one kind only");
    lab.remove("", "b");
}

#[test]
fn without_a_parent_containers_reach_each_other() {
    let lab = Lab::with_image();
    let id = lab.network("isolated").ok();
    let link = format!("dm-{}", &id[..12]);
    assert!(lab.links().contains(&link));
    let inspected = lab.rmac(&["network", "inspect", "isolated"]).ok();
    assert!(inspected.contains("\"Internal\": true") && !inspected.contains("dm-"));
    lab.sleeper("c1", "isolated", "").ok();
    lab.sh(&format!("ip link del {link}")).ok();
    // As after a reboot: the link is made again.
    lab.rmac(&["restart", "-t", "0", "c1"]).ok();
    lab.sleeper("c2", "isolated", "").ok();
    let address = lab.endpoint("c1", "isolated")["IPAddress"].clone();
    assert_eq!(address, "172.17.0.1");
    assert!(lab.reaches("c2", "172.17.0.1"));
    lab.inside("c2", "ping -c 1 -W 1 8.8.8.8")
        .says("Network unreachable");
    lab.remove("c1 c2", "isolated");
    assert_eq!(lab.links(), ["eth0", "lo"]);
}

#[test]
fn an_internal_network_has_no_way_out() {
    let lab = Lab::with_image();
    lab.network(&format!("{SUBNET} --internal -o parent=eth0 inner"))
        .says("--internal leaves out the default route only")
        .ok();
    lab.sleeper("c1", "inner", "").ok();
    lab.sleeper("c2", "inner", "").ok();
    assert!(lab.reaches("c1", "172.16.86.3"));
    lab.inside("c1", "ping -c 1 -W 1 8.8.8.8")
        .ended(1)
        .says("Network unreachable");
    assert_eq!(lab.endpoint("c1", "inner")["Gateway"], "");
    // What the note says: layer 2 is open.
    assert!(lab.reaches("c1", "172.16.86.1"));
    lab.remove("c1 c2", "inner");
}

#[test]
fn two_subnets_of_each_family() {
    let lab = Lab::with_image();
    lab.network(
        "--subnet=172.28.100.0/24 --subnet=172.28.102.0/24 --gateway=172.28.102.254 \
         --subnet=2001:db8:abc2::/64 --subnet=2001:db8:abc4::/64 --gateway=2001:db8:abc4::254 \
         -o parent=eth0 multi",
    )
    .ok();
    lab.sleeper("c1", "multi", "").ok();
    lab.sleeper("c2", "multi", "").ok();
    lab.sleeper("c3", "multi", "--ip 172.28.102.20 --ip6 2001:db8:abc4::20")
        .ok();
    let a = lab.endpoint("c1", "multi");
    assert_eq!(a["IPAddress"], "172.28.100.1");
    assert_eq!(a["GlobalIPv6Address"], "2001:db8:abc2::1");
    assert_eq!(a["GlobalIPv6PrefixLen"], 64);
    // A default route only where a gateway was given.
    assert_eq!(a["Gateway"], "");
    let c3 = lab.endpoint("c3", "multi");
    assert_eq!(c3["Gateway"], "172.28.102.254");
    assert_eq!(c3["IPv6Gateway"], "2001:db8:abc4::254");
    assert_eq!(c3["GlobalIPv6Address"], "2001:db8:abc4::20");
    assert_eq!(c3["IPAMConfig"]["IPv6Address"], "2001:db8:abc4::20");
    lab.inside("c3", "ip -6 route")
        .says("default via 2001:db8:abc4::254 dev eth0")
        .ok();
    assert_eq!(
        lab.inside("c1", "ip route | grep -c default").stdout.trim(),
        "0"
    );
    lab.inside("c3", "ip route")
        .says("default via 172.28.102.254 dev eth0")
        .ok();
    assert!(lab.reaches("c1", "172.28.100.2"));
    assert!(lab.reaches("c1", "2001:db8:abc2::2"));
    // The address can be used at once: no duplicate address detection.
    lab.inside("c2", "ip -6 addr show dev eth0 scope global")
        .says("2001:db8:abc2::2/64")
        .ok();
    lab.remove("c1 c2 c3", "multi");
}

#[test]
fn without_a_parent_there_is_no_gateway() {
    let lab = Lab::with_image();
    lab.network(
        "--subnet=172.28.100.0/24 --gateway=172.28.100.254 --subnet=2001:db8:abc2::/64 inner",
    )
    .ok();
    lab.sleeper("c1", "inner", "").ok();
    lab.sleeper("c2", "inner", "").ok();
    let a = lab.endpoint("c1", "inner");
    assert_eq!((&a["Gateway"], &a["IPv6Gateway"]), (&"".into(), &"".into()));
    assert!(lab.reaches("c2", "172.28.100.1") && lab.reaches("c2", "2001:db8:abc2::1"));
    lab.remove("c1 c2", "inner");
}

#[test]
fn families_are_counted_and_switched() {
    let lab = Lab::with_image();
    for (words, disabled, has_ipv4) in [
        ("--subnet=10.1.0.0/24 --subnet=fd00:1::/64", "0", true),
        ("--subnet=10.2.0.0/24", "1", true),
        ("--ipv4=false --subnet=fd00:3::/64", "0", false),
        ("--ipv4=false", "1", false),
    ] {
        lab.network(&format!("{words} -o parent=eth0 net")).ok();
        lab.sleeper("c3", "net", "").ok();
        let setting = lab.inside("c3", "cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6");
        assert_eq!(setting.ok().trim(), disabled, "{words}");
        let addresses = lab.inside("c3", "ip -4 addr show eth0").ok();
        assert_eq!(addresses.contains("inet "), has_ipv4, "{words}");
        let status = lab
            .sh("rmac network inspect -f '{{json .Status.IPAM.Subnets}}' net")
            .ok();
        if has_ipv4 {
            assert!(
                status.contains("\"IPsInUse\":3,\"DynamicIPsAvailable\":253"),
                "{status}"
            );
        }
        if disabled == "0" {
            assert!(status.contains("\"IPsInUse\":2,"), "{status}");
        }
        lab.remove("c3", "net");
    }
}

#[test]
fn networks_that_share_a_subnet_share_its_addresses() {
    let lab = Lab::with_image();
    let part = |range: &str, name: &str| {
        lab.network(&format!(
            "--subnet=192.168.0.0/24 --ip-range={range} -o parent=eth0 {name}"
        ))
    };
    part("192.168.0.0/25", "one").ok();
    part("192.168.0.0/25", "two").ok();
    part("192.168.0.128-192.168.0.200", "three").ok();
    lab.network("--subnet=192.168.0.0/24 -o parent=eth0 four")
        .ended(1)
        .says("invalid pool request: Pool overlaps with other one on this address space");
    for (at, network) in ["one", "two", "one", "three"].iter().enumerate() {
        lab.sleeper(&format!("c{at}"), network, "").ok();
    }
    let address = |name: &str, network: &str| lab.endpoint(name, network)["IPAddress"].clone();
    assert_eq!(address("c0", "one"), "192.168.0.1");
    assert_eq!(address("c1", "two"), "192.168.0.2");
    assert_eq!(address("c2", "one"), "192.168.0.3");
    assert_eq!(address("c3", "three"), "192.168.0.128");
    lab.sh(&format!(
        "rmac run --rm --network three --ip 192.168.0.2 {} true",
        lab.image()
    ))
    .ended(125)
    .says("Address already in use");
    lab.remove("c0 c1 c2 c3", "one two three");
}

#[test]
fn a_point_to_point_network_has_two_addresses() {
    let lab = Lab::with_image();
    lab.network("--subnet=192.168.135.0/31 -o parent=eth0 p2p")
        .ok();
    lab.sleeper("c1", "p2p", "").ok();
    lab.sleeper("c2", "p2p", "").ok();
    assert_eq!(lab.endpoint("c1", "p2p")["IPAddress"], "192.168.135.0");
    assert!(lab.reaches("c1", "192.168.135.1") && lab.reaches("c2", "192.168.135.0"));
    lab.sh(&format!("rmac run --rm --network p2p {} true", lab.image()))
        .ended(125)
        .says("no available IPv4 addresses on this network's address pools: p2p (");
    lab.remove("c1 c2", "p2p");
}

#[test]
fn a_parent_that_is_down_is_no_obstacle() {
    let lab = Lab::with_image();
    lab.network(&format!("{SUBNET} -o parent=eth0 net")).ok();
    lab.sh("ip link set eth0 down").ok();
    lab.sleeper("c3", "net", "").ok();
    lab.sh("ip link set eth0 up").ok();
    assert!(lab.reaches("c3", "172.16.86.1"));
    lab.remove("c3", "net");
    if !Feature::Vlan.or_skip() {
        return;
    }
    lab.sh("ip link set eth0 down").ok();
    lab.network(&format!("{SUBNET} -o parent=eth0.10 net")).ok();
    lab.sleeper("c3", "net", "").ok();
    lab.sh("ip link set eth0 up").ok();
    assert!(lab.reaches("c3", "172.16.86.1"));
    lab.remove("c3", "net");
}

#[test]
fn hardware_addresses_last() {
    let lab = Lab::with_image();
    lab.network(&format!("{SUBNET} -o parent=eth0 net")).ok();
    lab.sleeper("c1", "net", "").ok();
    lab.sleeper("c2", "net", "--mac-address 02:00:00:00:00:07")
        .ok();
    for _ in 0..2 {
        let mac = |name: &str| lab.endpoint(name, "net")["MacAddress"].clone();
        assert_eq!(mac("c1"), "02:42:ac:10:56:02");
        assert_eq!(mac("c2"), "02:00:00:00:00:07");
        lab.inside("c2", "cat /sys/class/net/eth0/address")
            .says("02:00:00:00:00:07")
            .ok();
        lab.rmac(&["restart", "-t", "0", "c1", "c2"]).ok();
    }
    lab.remove("c1 c2", "net");
}

#[test]
fn modes_decide_who_speaks_to_whom() {
    let lab = Lab::with_image();
    for (mode, peers) in [("bridge", true), ("private", false), ("vepa", false)] {
        lab.network(&format!(
            "{SUBNET} -o parent=eth0 -o macvlan_mode={mode} net"
        ))
        .ok();
        lab.sleeper("c1", "net", "").ok();
        lab.sleeper("c2", "net", "").ok();
        assert!(lab.reaches("c1", "172.16.86.1"), "{mode}");
        assert_eq!(lab.reaches("c1", "172.16.86.3"), peers, "{mode}");
        lab.remove("c1 c2", "net");
    }
    // passthru gives the parent its own hardware address.
    lab.network(&format!(
        "{SUBNET} -o parent=eth0 -o macvlan_mode=passthru net"
    ))
    .ok();
    lab.sleeper("c1", "net", "").ok();
    assert!(lab.reaches("c1", "172.16.86.1"));
    lab.remove("c1", "net");
}

#[test]
fn routes_are_as_declared() {
    let lab = Lab::with_image();
    lab.network(
        "--subnet=172.16.86.0/24 --gateway=172.16.86.1 --internal --route 10.0.0.0/8,172.16.86.1 --route 10.1.0.0/16,172.16.86.9,77 \
         -o parent=eth0 net",
    )
    .ok();
    lab.sleeper("c3", "net", "").ok();
    let routes = lab.inside("c3", "ip route").ok();
    let routes: Vec<&str> = routes.lines().map(str::trim).collect();
    assert_eq!(
        routes,
        [
            "10.0.0.0/8 via 172.16.86.1 dev eth0",
            "10.1.0.0/16 via 172.16.86.9 dev eth0  metric 77",
            "172.16.86.0/24 dev eth0 scope link  src 172.16.86.2",
        ]
    );
    lab.remove("c3", "net");
}

#[test]
fn the_mtu_is_the_parents_or_less() {
    let lab = Lab::with_image();
    let mtu = || {
        lab.sleeper("c3", "net", "").ok();
        let mtu = lab.inside("c3", "cat /sys/class/net/eth0/mtu").ok();
        lab.remove("c3", "net");
        mtu.trim().to_owned()
    };
    lab.network(&format!("{SUBNET} -o parent=eth0 -o mtu=1400 net"))
        .ok();
    assert_eq!(mtu(), "1400");
    lab.sh("ip link set eth0 mtu 1450").ok();
    lab.network(&format!("{SUBNET} -o parent=eth0 net")).ok();
    assert_eq!(mtu(), "1450");
    lab.network(&format!("{SUBNET} -o parent=eth0 -o mtu=1500 net"))
        .ended(1)
        .says("invalid MTU 1500: that of the parent eth0 is 1450");
    lab.network(&format!("{SUBNET} -o parent=eth0 -o bcqueuelen=5000 net"))
        .ok();
    assert_eq!(mtu(), "1450");
}

#[test]
fn without_ipam_there_is_a_link_only() {
    let lab = Lab::with_image();
    lab.network("--ipam-driver=none -o parent=eth0 net").ok();
    lab.sleeper("c3", "net", "").ok();
    let addresses = lab.inside("c3", "ip addr show eth0").ok();
    assert!(
        addresses.contains("UP") && !addresses.contains("inet"),
        "{addresses}"
    );
    let endpoint = lab.endpoint("c3", "net");
    assert_eq!(endpoint["IPAddress"], "");
    assert_ne!(endpoint["MacAddress"], "");
    lab.remove("c3", "net");
}

#[test]
fn what_does_not_fit_is_refused() {
    let lab = Lab::with_image();
    lab.network("--subnet=10.1.0.0/16 --subnet=10.1.2.0/24 -o parent=eth0 net")
        .ended(1)
        .says("multiple overlapping subnet configuration is not supported");
    lab.network("--subnet=10.1.0.0/16 --subnet=10.1.0.0/16 -o parent=eth0 net")
        .ended(1)
        .says("multiple overlapping subnet configuration is not supported");
    lab.network(&format!("{SUBNET} -o parent=eth0 net")).ok();
    let image = lab.image();
    for address in ["10.1.0.1", "172.16.87.2"] {
        lab.sh(&format!(
            "rmac run --rm --network net --ip {address} {image} true"
        ))
        .ended(125)
        .says("no configured subnet contains IP address");
    }
    assert_eq!(lab.sh("rmac ps -a -q").ok(), "");
    lab.remove("", "net");
}

#[test]
fn routers_may_give_the_ipv6_address() {
    let lab = Lab::with_image();
    lab.network(&format!("{SUBNET} --ipv6=slaac -o parent=eth0 net"))
        .ok();
    lab.sleeper("c3", "net", "").ok();
    let listens = |value: &str| {
        lab.inside("c3", "cat /proc/sys/net/ipv6/conf/eth0/accept_ra")
            .says(value)
            .ok()
    };
    listens("1");
    lab.remove("c3", "net");
    lab.network(&format!("{SUBNET} --subnet fd00::/64 -o parent=eth0 net"))
        .ok();
    lab.sleeper("c3", "net", "").ok();
    listens("0");
    lab.remove("c3", "net");
}
