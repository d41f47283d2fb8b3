//! What is expected of [`super`].

use super::routes::{ANYWHERE, ANYWHERE_IPV6};
use super::*;
use crate::lesson::Shell;
use crate::net::network::{MacvlanMode, Parent, Route, Segment};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

fn eth0() -> Parent {
    Parent {
        link: "eth0".into(),
        made: vec![],
        segment: Segment {
            base: "eth0".into(),
            vids: vec![],
        },
    }
}

fn endpoint(address: &str, ifname: &str) -> Endpoint {
    let ipv4: Ipv4Net = address.parse().unwrap();
    Endpoint {
        network: "my-macvlan-net".into(),
        network_id: "5e".repeat(32),
        endpoint_id: "8c".repeat(32),
        kind: Kind::BRIDGE,
        parent: eth0(),
        mtu: None,
        ifname: ifname.into(),
        mac: Some(Mac::of(ipv4.addr())),
        ipv4: Some(ipv4),
        gateway: Some(Ipv4Addr::new(172, 16, 86, 1)),
        ipv6: None,
        ipv6_gateway: None,
        ipv6_policy: Ipv6Policy::Off,
        ipam: Default::default(),
        probe: Probe::Off,
        announce: Default::default(),
        parent_wait: 0,
        gw_priority: 0,
        routes: vec![],
        driver_opts: Default::default(),
        requested_ipv4: None,
        requested_ipv6: None,
        requested_mac: None,
        aliases: vec![],
        internal: false,
    }
}

#[test]
fn without_a_network_only_the_loopback_comes_up() {
    assert_eq!(plan(&[]), [Step::LoopbackUp]);
}

#[test]
fn the_tutorials_plan() {
    let dev = || "eth0".to_owned();
    assert_eq!(
        plan(&[endpoint("172.16.86.2/24", "eth0")]),
        [
            Step::LoopbackUp,
            Step::Make(NewLink {
                name: dev(),
                parent: "eth0".into(),
                kind: Kind::BRIDGE,
                mac: Some("02:42:ac:10:56:02".parse().unwrap()),
                mtu: None,
            }),
            Step::DisableIpv6 { dev: dev() },
            Step::Announce { dev: dev() },
            Step::AddAddress {
                dev: dev(),
                address: "172.16.86.2/24".parse().unwrap(),
                probe: Probe::Off,
            },
            Step::Up { dev: dev() },
            default_route("eth0"),
        ]
    );
}

fn default_route(dev: &str) -> Step {
    Step::Route(NewRoute {
        dst: ANYWHERE,
        via: Some(Ipv4Addr::new(172, 16, 86, 1).into()),
        dev: dev.into(),
        metric: None,
    })
}

#[test]
fn the_default_route_is_that_of_the_highest_priority_and_then_of_the_first_name() {
    let internal = Endpoint {
        network: "a".into(),
        gateway: None,
        internal: true,
        gw_priority: 9,
        ..endpoint("10.0.0.2/8", "eth0")
    };
    assert_eq!(plan_default_routes(std::slice::from_ref(&internal)), []);
    let named = |network: &str, ifname: &str, priority| Endpoint {
        network: network.into(),
        gw_priority: priority,
        ..endpoint("172.16.86.2/24", ifname)
    };
    let routes = |others: &[Endpoint]| plan_default_routes(others);
    let (b, c) = (named("b", "eth2", 0), named("c", "eth1", 0));
    assert_eq!(
        routes(&[internal, c.clone(), b.clone()]),
        [default_route("eth2")]
    );
    let c = Endpoint {
        gw_priority: 1,
        ..c
    };
    assert_eq!(routes(&[b.clone(), c.clone()]), [default_route("eth1")]);
    // Each family chooses for itself.
    let dual = Endpoint {
        ipv6: Some("fd00::2/64".parse().unwrap()),
        ipv6_gateway: Some("fd00::1".parse().unwrap()),
        ..b
    };
    let ipv6 = Step::Route(NewRoute {
        dst: ANYWHERE_IPV6,
        via: Some("fd00::1".parse().unwrap()),
        dev: "eth2".into(),
        metric: None,
    });
    assert_eq!(routes(&[dual, c]), [default_route("eth1"), ipv6]);
}

#[test]
fn layer_3_has_a_default_route_without_a_router() {
    let kind = Kind::Ipvlan {
        mode: super::super::network::IpvlanMode::L3,
        flag: Default::default(),
    };
    let steps = plan(&[Endpoint {
        kind,
        mac: None,
        gateway: None,
        ..endpoint("10.1.0.2/24", "eth0")
    }]);
    let shell: Vec<Shell> = steps.iter().map(Step::shell).collect();
    let line = |text: &str| Shell::Bash(text.into());
    assert!(shell.contains(&line(
        "ip link add link eth0 name eth0 netns \"$pid\" type ipvlan mode l3 bridge"
    )));
    assert!(shell.contains(&line(
        "nsenter -t \"$pid\" -n ip route add default dev eth0"
    )));
    assert!(
        !steps
            .iter()
            .any(|step| matches!(step, Step::Announce { .. }))
    );
}

#[test]
fn every_step_says_what_it_does() {
    let steps = plan(&[Endpoint {
        mtu: Some(1400),
        kind: Kind::Macvlan {
            mode: MacvlanMode::Private,
            bcqueuelen: Some(5000),
            bclim: Some(-1),
        },
        parent: Parent {
            link: "eth0.10".into(),
            made: vec![Lower::Vlan {
                link: "eth0.10".into(),
                base: "eth0".into(),
                vid: 10,
            }],
            ..eth0()
        },
        ipv6: Some("fd00::2/64".parse().unwrap()),
        ipv6_policy: Ipv6Policy::Static,
        routes: vec![Route {
            dst: "10.0.0.0/8".parse().unwrap(),
            via: "172.16.86.3".parse().unwrap(),
            metric: Some(7),
        }],
        ..endpoint("172.16.86.2/24", "eth0")
    }]);
    let shell: Vec<String> = steps
        .iter()
        .map(|step| match step.shell() {
            Shell::Bash(line) => line,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        shell,
        [
            "nsenter -t \"$pid\" -n ip link set lo up",
            "ip link show eth0.10 >/dev/null 2>&1 || { ip link add link eth0 name eth0.10 type vlan id 10; }\nip link set eth0.10 up # stays: it belongs to the network",
            "ip link add link eth0.10 name eth0 address 02:42:ac:10:56:02 mtu 1400 netns \"$pid\" type macvlan mode private bcqueuelen 5000 bclim -1",
            "nsenter -t \"$pid\" -n sh -c 'echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6'\nnsenter -t \"$pid\" -n sh -c 'echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_ra'\nnsenter -t \"$pid\" -n sh -c 'echo 0 > /proc/sys/net/ipv6/conf/eth0/autoconf'",
            "nsenter -t \"$pid\" -n sh -c 'echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_notify'",
            "nsenter -t \"$pid\" -n sh -c 'echo 1 > /proc/sys/net/ipv6/conf/eth0/ndisc_notify'",
            "nsenter -t \"$pid\" -n ip addr add 172.16.86.2/24 brd 172.16.86.255 dev eth0",
            "nsenter -t \"$pid\" -n ip addr add fd00::2/64 nodad dev eth0",
            "nsenter -t \"$pid\" -n ip link set eth0 up",
            "nsenter -t \"$pid\" -n ip route add 10.0.0.0/8 via 172.16.86.3 dev eth0 metric 7",
            "nsenter -t \"$pid\" -n ip route add default via 172.16.86.1 dev eth0",
        ]
    );
    for step in steps {
        let lesson = step.why();
        assert!(!lesson.why.is_empty() && !lesson.without.is_empty() && !lesson.man.is_empty());
        assert!(step.to_string().ends_with(')'), "{step}");
    }
}

#[test]
fn a_point_to_point_address_has_no_broadcast() {
    let broadcast = |text: &str| words::broadcast(text.parse().unwrap());
    assert_eq!(broadcast("10.0.0.0/31"), None);
    assert_eq!(broadcast("10.0.0.2/30"), Some(Ipv4Addr::new(10, 0, 0, 3)));
    assert_eq!(broadcast("fd00::2/64"), None);
}
