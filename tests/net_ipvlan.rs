//! ipvlan networks with real packets: what Docker tests, tested here.
//!
//! | moby: integration/network/ipvlan | here |
//! |---|---|
//! | Persistence, Subinterface | `a_sub_interface_is_made_again_and_goes_with_its_network` |
//! | OverlapParent | `one_ipvlan_network_a_parent` |
//! | L2NilParent, L3NilParent | `without_a_parent_containers_reach_each_other` |
//! | L2InternalMode, L3InternalMode | `an_internal_network_has_no_way_out` |
//! | L2MultiSubnetWithParent, L2MultiSubnetNoParent, IPAM | `two_subnets_of_each_family` |
//! | L2Gateway | `layer_2_has_the_router_it_is_given` |
//! | L3MultiSubnet, L3Addressing | `layer_3_has_a_default_route_and_no_router` |
//! | IPAMOverlap | does not apply: one ipvlan network a parent; net_macvlan.rs tries shared subnets |
//! | DNS, CustomIfname | with names and attaching, in a file of their own |
//! | PointToPoint | `a_point_to_point_network_has_two_addresses` |
//!
//! netavark's 400-ipvlan.bats is its 300-macvlan.bats without MAC and metric: see net_macvlan.rs.
//!
//! All of it needs ipvlan, so it runs in `scripts/vm`, and says elsewhere that it is skipped.

mod common;

use common::Lab;
use common::kernel::Feature;

/// A lab, if the kernel has what all of these tests need.
fn lab() -> Option<Lab> {
    (Feature::Ipvlan.or_skip() && Feature::Vlan.or_skip()).then(Lab::with_image)
}

/// The IPv6 packet that waited for the neighbour's answer is the first to arrive, and ipvlan of Linux 6.1
/// now and then spoils it: the receiver counts it in `Ip6InHdrErrors`, the neighbour is known, and the next
/// packet is answered. (No process of rmac is on this way.) So the second counts, too.
fn reaches_v6(lab: &Lab, name: &str, address: &str) -> bool {
    lab.reaches(name, address) || lab.reaches(name, address)
}

#[test]
fn a_sub_interface_is_made_again_and_goes_with_its_network() {
    let Some(lab) = lab() else { return };
    lab.network("-d ipvlan --subnet=172.16.86.0/24 --gateway=172.16.86.1 -o parent=eth0.10 net")
        .ok();
    lab.sh("ip link del eth0.10").ok();
    lab.sleeper("c1", "net", "").ok();
    assert!(lab.reaches("c1", "172.16.86.1"));
    assert_eq!(lab.endpoint("c1", "net")["MacAddress"], "");
    lab.remove("c1", "net");
    assert_eq!(lab.links(), ["eth0", "lo"]);
}

#[test]
fn one_ipvlan_network_a_parent() {
    let Some(lab) = lab() else { return };
    lab.network("-d ipvlan --subnet=10.1.0.0/24 -o parent=eth0 one")
        .ok();
    lab.network("-d ipvlan --subnet=10.2.0.0/24 -o parent=eth0 two")
        .ended(1)
        .says("is already using parent interface eth0");
    lab.network("--subnet=10.2.0.0/24 -o parent=eth0 two")
        .ended(1)
        .says("one parent carries one kind only");
    lab.remove("", "one");
    // What the kernel says when somebody else did it.
    lab.network("--subnet=10.2.0.0/24 -o parent=eth0 two").ok();
    lab.sh("ip link add foreign link eth0 type ipvlan").ok();
    lab.sh(&format!("rmac run --rm --network two {} true", lab.image()))
        .ended(125)
        .says("failed to create the macvlan port: device or resource busy");
    lab.sh("ip link del foreign").ok();
    lab.remove("", "two");
}

#[test]
fn without_a_parent_containers_reach_each_other() {
    let Some(lab) = lab() else { return };
    for mode in ["l2", "l3", "l3s"] {
        lab.network(&format!("-d ipvlan -o ipvlan_mode={mode} net"))
            .ok();
        assert!(lab.links().iter().any(|link| link.starts_with("di-")));
        lab.sleeper("c1", "net", "").ok();
        lab.sleeper("c2", "net", "").ok();
        assert!(lab.reaches("c2", "172.17.0.1"), "{mode}");
        lab.remove("c1 c2", "net");
        assert_eq!(lab.links(), ["eth0", "lo"]);
    }
}

#[test]
fn an_internal_network_has_no_way_out() {
    let Some(lab) = lab() else { return };
    for mode in ["l2", "l3"] {
        lab.network(&format!(
            "-d ipvlan --internal --subnet=172.16.86.0/24 -o ipvlan_mode={mode} -o parent=eth0 net"
        ))
        .ok();
        lab.sleeper("c1", "net", "").ok();
        lab.sleeper("c2", "net", "").ok();
        assert!(lab.reaches("c2", "172.16.86.1"));
        assert!(!lab.reaches("c1", "8.8.8.8"), "{mode}");
        lab.remove("c1 c2", "net");
    }
}

#[test]
fn two_subnets_of_each_family() {
    let Some(lab) = lab() else { return };
    for parent in ["-o parent=eth0", ""] {
        lab.network(&format!(
            "-d ipvlan --subnet=172.28.200.0/24 --subnet=172.28.202.0/24 --gateway=172.28.202.254 \
             --subnet=2001:db8:abc8::/64 --subnet=2001:db8:abc6::/64 {parent} net"
        ))
        .ok();
        lab.sleeper("c1", "net", "").ok();
        lab.sleeper("c2", "net", "").ok();
        lab.sleeper("c3", "net", "--ip 172.28.202.20").ok();
        assert!(lab.reaches("c2", "172.28.200.1"));
        assert!(reaches_v6(&lab, "c2", "2001:db8:abc8::1"));
        assert_eq!(lab.endpoint("c1", "net")["Gateway"], "");
        let gateway = if parent.is_empty() {
            ""
        } else {
            "172.28.202.254"
        };
        assert_eq!(lab.endpoint("c3", "net")["Gateway"], gateway);
        lab.remove("c1 c2 c3", "net");
    }
}

#[test]
fn layer_2_has_the_router_it_is_given() {
    let Some(lab) = lab() else { return };
    lab.network("-d ipvlan --subnet=172.16.86.0/24 --gateway=172.16.86.1 -o parent=eth0 net")
        .ok();
    lab.sleeper("c1", "net", "").ok();
    lab.inside("c1", "ip route")
        .says("default via 172.16.86.1 dev eth0")
        .ok();
    assert!(lab.reaches("c1", "172.16.86.1"));
    lab.sh(&format!(
        "rmac run --rm --network net --mac-address 02:00:00:00:00:07 {} true",
        lab.image()
    ))
    .ended(125)
    .says("an ipvlan has the hardware address of its parent");
    lab.remove("c1", "net");
}

#[test]
fn layer_3_has_a_default_route_and_no_router() {
    let Some(lab) = lab() else { return };
    for mode in ["l3", "l3s"] {
        lab.network(&format!(
            "-d ipvlan --subnet=172.28.10.0/24 --subnet=172.28.12.0/24 --gateway=172.28.12.254 \
             --subnet=2001:db8:abc9::/64 -o ipvlan_mode={mode} -o parent=eth0 net"
        ))
        .ok();
        lab.sleeper("c1", "net", "").ok();
        lab.sleeper("c2", "net", "--ip 172.28.12.20").ok();
        for name in ["c1", "c2"] {
            assert_eq!(lab.endpoint(name, "net")["Gateway"], "");
            let routes = lab.inside(name, "ip route").ok();
            assert!(routes.contains("default dev eth0"), "{routes}");
        }
        // From one subnet to the other: it routes.
        assert!(lab.reaches("c1", "172.28.12.20"), "{mode}");
        assert!(reaches_v6(&lab, "c2", "2001:db8:abc9::1"), "{mode}");
        lab.remove("c1 c2", "net");
    }
}

#[test]
fn a_point_to_point_network_has_two_addresses() {
    let Some(lab) = lab() else { return };
    for words in ["--internal", "-o ipvlan_mode=l3", "-o ipvlan_mode=l3s"] {
        lab.network(&format!(
            "-d ipvlan --subnet=192.168.135.0/31 -o parent=eth0 {words} p2p"
        ))
        .ok();
        lab.sleeper("c1", "p2p", "").ok();
        lab.sleeper("c2", "p2p", "").ok();
        assert!(lab.reaches("c1", "192.168.135.1") && lab.reaches("c2", "192.168.135.0"));
        lab.remove("c1 c2", "p2p");
    }
}
