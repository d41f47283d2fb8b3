//! What may be declared as a network, and what is said about what may not: a table.

use jiff::Timestamp;
use rmac::net::declare::Declaration;
use rmac::net::host::{Host, Link};
use rmac::net::network::{Driver, Ipv6Policy, Kind, MacvlanMode, Network};

/// A host with a loopback, a real interface, a bridge and a port of it.
fn host() -> Host {
    let link = |index, name: &str, kind: &str| Link {
        index,
        name: name.into(),
        kind: kind.into(),
        mtu: Some(1500),
        ..Link::default()
    };
    Host {
        links: vec![
            Link {
                loopback: true,
                ..link(1, "lo", "")
            },
            link(2, "eth0", ""),
            link(3, "br0", "bridge"),
            Link {
                controller: Some(3),
                ..link(4, "eth1", "")
            },
        ],
        default_route: Some("eth0".into()),
    }
}

fn kind(network: &Network) -> Kind {
    match network.driver {
        Driver::Lan(kind) => kind,
        other => panic!("{other}"),
    }
}

fn mode(network: &Network) -> MacvlanMode {
    match kind(network) {
        Kind::Macvlan { mode, .. } => mode,
        other => panic!("{other:?}"),
    }
}

/// The tutorial's declaration.
fn tutorial() -> Declaration {
    Declaration {
        name: "my-macvlan-net".into(),
        driver: "macvlan".into(),
        subnets: vec!["172.16.86.0/24".into()],
        gateways: vec!["172.16.86.1".into()],
        options: vec!["parent=eth0".into()],
        ipv4: true,
        ..Declaration::default()
    }
}

fn declare(declaration: &Declaration, existing: &[Network]) -> Result<Network, String> {
    Network::declare(
        declaration,
        existing,
        &host(),
        "5e".repeat(32),
        Timestamp::UNIX_EPOCH,
    )
    .map_err(|error| format!("{error:#}"))
}

#[test]
fn the_tutorials_network() {
    let network = declare(&tutorial(), &[]).unwrap();
    assert_eq!(network.parent.link, "eth0");
    assert_eq!(network.parent.made, []);
    assert_eq!(mode(&network), MacvlanMode::Bridge);
    assert_eq!(network.subnets.len(), 1);
    assert_eq!(network.subnets[0].subnet.to_string(), "172.16.86.0/24");
    assert_eq!(
        network.subnets[0].gateway,
        Some("172.16.86.1".parse().unwrap())
    );
    assert!(!network.internal);
}

#[test]
fn everything_at_once() {
    let network = declare(
        &Declaration {
            subnets: vec!["10.1.0.0/16".into(), "172.16.86.0/24".into()],
            ip_ranges: vec!["172.16.86.128/25".into()],
            gateways: vec!["172.16.86.1".into(), "10.1.0.1".into()],
            aux: vec!["printer=172.16.86.9".into()],
            options: vec!["parent=eth0".into(), "macvlan_mode=private".into()],
            labels: vec!["a=b".into(), "c".into()],
            internal: true,
            ..tutorial()
        },
        &[],
    )
    .unwrap();
    assert_eq!(mode(&network), MacvlanMode::Private);
    assert_eq!(
        network.subnets[0].gateway,
        Some("10.1.0.1".parse().unwrap())
    );
    assert_eq!(network.subnets[0].ip_range, None);
    assert_eq!(
        network.subnets[1].gateway,
        Some("172.16.86.1".parse().unwrap())
    );
    assert!(network.subnets[1].aux.contains_key("printer"));
    assert_eq!(network.labels["c"], "");
    assert!(network.internal);
}

/// Changes the tutorial's declaration and says how the error begins.
type Row = (fn(&mut Declaration), &'static str);

#[test]
fn misuse_is_told_in_docker_s_words() {
    let existing = [declare(&tutorial(), &[]).unwrap()];
    let rows: &[Row] = &[
        (|d| d.name = "".into(), "invalid name: name is empty"),
        (|d| d.name = "a/b".into(), "invalid name \"a/b\""),
        (|d| d.name = "..".into(), "invalid name \"..\""),
        (|d| d.name = "x".repeat(256), "invalid name"),
        (
            |d| d.name = "host".into(),
            "operation is not permitted on predefined host network",
        ),
        (
            |d| d.name = "bridge".into(),
            "operation is not permitted on predefined bridge network",
        ),
        (
            |d| d.name = "my-macvlan-net".into(),
            "network with name my-macvlan-net already exists",
        ),
        (
            |d| d.driver = "host".into(),
            "only one instance of \"host\" network is allowed",
        ),
        (|d| d.driver = "ipvlan".into(), "network 5e5e"),
        (
            |d| d.driver = "weave".into(),
            "could not find the driver \"weave\"",
        ),
        (|d| d.ipv6 = "true".into(), "ipv6 pool is empty"),
        (
            |d| d.ipv6 = "x".into(),
            "requested ipv6 policy 'x' is not valid, 'off' is the default",
        ),
        (
            |d| {
                d.ipv6 = "false".into();
                d.subnets = vec!["fd00::/64".into()];
                d.gateways = vec![];
            },
            "conflicting options: IPv6 is switched off, and the subnet fd00::/64 is one",
        ),
        (
            |d| d.ipv4 = false,
            "conflicting options: --ipv4=false and an IPv4 subnet",
        ),
        (
            |d| d.ipam = "dhcp".into(),
            "conflicting options: with --ipam-driver=dhcp rmac gives out no addresses",
        ),
        (
            |d| d.ipam = "x".into(),
            "requested ipam driver 'x' is not valid",
        ),
        (
            |d| d.routes = vec!["10.0.0.0/8".into()],
            "invalid route 10.0.0.0/8: it should be DESTINATION,GATEWAY[,METRIC]",
        ),
        (
            |d| d.routes = vec!["10.0.0.0/8,172.16.87.1".into()],
            "no matching subnet for gateway 172.16.87.1 of the route to 10.0.0.0/8",
        ),
        (
            |d| d.routes = vec!["10.0.0.1/8,172.16.86.1".into()],
            "invalid route 10.0.0.1/8,172.16.86.1: the destination should be 10.0.0.0/8",
        ),
        (
            |d| d.options = vec!["parent".into()],
            "invalid argument \"parent\" for -o",
        ),
        (
            |d| d.options.push("speed=9000".into()),
            "unknown option \"speed\" for a macvlan network; known are: parent, vlan, macvlan_mode, mtu",
        ),
        (
            |d| {
                d.driver = "ipvlan".into();
                d.options.push("macvlan_mode=bridge".into());
            },
            "unknown option \"macvlan_mode\" for a ipvlan network",
        ),
        (
            |d| {
                d.driver = "ipvlan".into();
                d.options.push("ipvlan_mode=l4".into());
            },
            "requested ipvlan mode 'l4' is not valid, 'l2' mode is the ipvlan driver default",
        ),
        (
            |d| {
                d.driver = "ipvlan".into();
                d.options.push("host_access=auto".into());
            },
            "invalid option host_access for an ipvlan network: it is a macvlan of the host's own",
        ),
        (
            |d| {
                d.options = vec![
                    "parent=eth0".into(),
                    "macvlan_mode=private".into(),
                    "host_access=auto".into(),
                ];
            },
            "invalid option host_access with macvlan_mode=private",
        ),
        (
            |d| {
                d.options
                    .push("com.docker.network.advertise_addr_nmsgs=4".into())
            },
            "com.docker.network.advertise_addr_nmsgs must be in the range 0 to 3",
        ),
        (
            |d| d.options.push("host_access=auto,10.0.0.1".into()),
            "invalid option host_access=auto,10.0.0.1: it is auto (the host speaks by the IPv4 address that it has on the LAN)",
        ),
        (
            |d| d.options.push("host_access=10.0.0.1".into()),
            "invalid option host_access=10.0.0.1: invalid endpoint settings:\nno configured subnet contains IP address 10.0.0.1",
        ),
        (
            |d| d.options.push("host_access=172.16.86.1".into()),
            "invalid option host_access=172.16.86.1: Address already in use: 172.16.86.1 is the gateway of the network another",
        ),
        (
            |d| {
                d.options
                    .push("com.docker.network.advertise_addr_nmsgs=x".into())
            },
            "value for option com.docker.network.advertise_addr_nmsgs \"x\" must be an integer",
        ),
        (
            |d| {
                d.options
                    .push("com.docker.network.advertise_addr_ms=99".into())
            },
            "com.docker.network.advertise_addr_ms must be in the range 100 to 2000",
        ),
        (
            |d| {
                d.options
                    .push("com.docker.network.advertise_addr_ms=1s".into())
            },
            "value for option com.docker.network.advertise_addr_ms \"1s\" must be integer milliseconds",
        ),
        (
            |d| d.options.push("parent_wait=3601".into()),
            "invalid option parent_wait=3601: it is the seconds",
        ),
        (
            |d| d.options.push("onlink_gateway=10.0.0.1".into()),
            "conflicting options: --gateway 172.16.86.1 and -o onlink_gateway=10.0.0.1",
        ),
        (
            |d| {
                d.gateways.clear();
                d.options.push("onlink_gateway=172.16.86.1".into());
            },
            "invalid option onlink_gateway=172.16.86.1: a subnet of the network contains it, so it is a --gateway",
        ),
        (
            |d| d.options.push("onlink_gateway=fd00::1".into()),
            "no subnet of its family for -o onlink_gateway=fd00::1",
        ),
        (
            |d| d.ip_ranges = vec!["auto:5/4".into()],
            "invalid ip-range auto:5/4: it should be auto:SHARE/SHARES",
        ),
        (
            |d| d.ip_ranges = vec!["auto:2".into()],
            "invalid ip-range auto:2: it should be auto:SHARE/SHARES",
        ),
        (
            |d| d.ip_ranges = vec!["auto:1/257".into()],
            "invalid ip-range auto:1/257: the subnet 172.16.86.0/24 has fewer than 257 addresses",
        ),
        (
            |d| d.options.push("mtu=9000".into()),
            "invalid MTU 9000: that of the parent eth0 is 1500",
        ),
        (
            |d| d.options.push("mtu=x".into()),
            "invalid option mtu=x: it should be a number",
        ),
        (
            |d| d.options.push("conflict=maybe".into()),
            "invalid option conflict=maybe",
        ),
        (
            |d| d.options.push("vlan=5000".into()),
            "vlan id must be between 1-4094, received: 5000",
        ),
        (
            |d| d.options.push("vlan=1.2.3".into()),
            "at most two VLAN tags",
        ),
        (
            |d| d.options.push("macvlan_mode=x".into()),
            "requested macvlan mode 'x' is not valid, 'bridge' mode is the macvlan driver default",
        ),
        (
            |d| d.options = vec!["parent=en0".into()],
            "invalid subinterface vlan name en0, example formatting is eth0.10",
        ),
        (
            |d| d.options = vec!["parent=ethX.10".into()],
            "-o parent interface was not found on the host: ethX",
        ),
        (
            |d| d.options = vec!["parent=eth0.x".into()],
            "unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)",
        ),
        (
            |d| d.options = vec!["parent=eth1".into()],
            "failed to create the macvlan port: device or resource busy: eth1 is a port of br0",
        ),
        (
            |d| d.options = vec!["parent=lo".into()],
            "loopback interface is not a valid macvlan parent link",
        ),
        (
            |d| d.options = vec!["parent=a name of 16+ letters".into()],
            "invalid parent",
        ),
        (
            |d| {
                d.subnets = vec![];
                d.gateways = vec![];
            },
            "ipv4 pool is empty",
        ),
        (
            |d| d.subnets = vec!["172.16.86.0".into()],
            "invalid subnet 172.16.86.0",
        ),
        (
            |d| d.subnets = vec!["172.16.86.5/24".into()],
            "invalid network config:\ninvalid subnet 172.16.86.5/24: it should be 172.16.86.0/24",
        ),
        (
            |d| {
                d.subnets = vec!["fd00::/64".into()];
                d.gateways = vec![];
            },
            "ipv4 pool is empty",
        ),
        (
            |d| d.ip_ranges = vec!["172.16.86.9-172.16.86.2".into()],
            "invalid ip-range 172.16.86.9-172.16.86.2",
        ),
        (
            |d| d.ip_ranges = vec!["172.16.86.5/25".into()],
            "invalid network config:\ninvalid ip-range 172.16.86.5/25: it should be 172.16.86.0/25",
        ),
        (
            |d| d.subnets.push("172.16.0.0/16".into()),
            "multiple overlapping subnet configuration is not supported",
        ),
        (
            |d| d.gateways.push("172.16.86.3".into()),
            "every ip-range or gateway must have a corresponding subnet",
        ),
        (
            |d| d.gateways = vec!["10.0.0.1".into()],
            "no matching subnet for gateway 10.0.0.1",
        ),
        (
            |d| d.gateways = vec!["router".into()],
            "invalid gateway router",
        ),
        (
            |d| d.gateways = vec!["172.16.86.255".into()],
            "invalid gateway 172.16.86.255",
        ),
        (
            |d| d.ip_ranges = vec!["10.0.0.0/25".into()],
            "no matching subnet for range 10.0.0.0/25",
        ),
        (
            |d| d.ip_ranges = vec!["172.16.86.0/23".into()],
            "invalid network config:\ninvalid ip-range 172.16.86.0/23: parent subnet 172.16.86.0/24 doesn't contain ip-range",
        ),
        (
            |d| d.aux = vec!["a=10.0.0.1".into()],
            "no matching subnet for aux-address 10.0.0.1",
        ),
        (
            |_| (),
            "invalid pool request: Pool overlaps with other one on this address space",
        ),
    ];
    for (change, begins) in rows {
        let mut declaration = Declaration {
            name: "another".into(),
            ..tutorial()
        };
        change(&mut declaration);
        let error = declare(&declaration, &existing).expect_err(begins);
        assert!(
            error.starts_with(begins),
            "{error:?} should begin with {begins:?}"
        );
    }
}

#[test]
fn another_parent_is_another_lan() {
    let existing = [declare(&tutorial(), &[]).unwrap()];
    let other = Declaration {
        name: "my-8021q-macvlan-net".into(),
        options: vec!["parent=eth0.10".into()],
        ..tutorial()
    };
    assert!(declare(&other, &existing).is_ok());
}

#[test]
fn passthru_wants_its_parent_alone() {
    let with = |name: &str, mode: &str, subnet: &str| Declaration {
        name: name.into(),
        subnets: vec![subnet.into()],
        gateways: vec![],
        options: vec!["parent=eth0".into(), format!("macvlan_mode={mode}")],
        ..tutorial()
    };
    let id = "5e".repeat(32);
    let bridge = [declare(&with("a", "bridge", "10.1.0.0/24"), &[]).unwrap()];
    assert_eq!(
        declare(&with("b", "passthru", "10.2.0.0/24"), &bridge).unwrap_err(),
        format!(
            "cannot use mode passthru, macvlan network {id} is already using parent interface eth0"
        )
    );
    let passthru = [declare(&with("a", "passthru", "10.1.0.0/24"), &[]).unwrap()];
    assert_eq!(
        declare(&with("b", "bridge", "10.2.0.0/24"), &passthru).unwrap_err(),
        format!("macvlan network {id} is already using parent interface eth0 in mode passthru")
    );
}

/// A declaration of its own name and subnet, with these options.
fn with(name: &str, subnet: &str, options: &[&str]) -> Declaration {
    Declaration {
        name: name.into(),
        subnets: vec![subnet.into()],
        gateways: vec![],
        options: options.iter().map(ToString::to_string).collect(),
        ..tutorial()
    }
}

#[test]
fn a_pool_belongs_to_the_parent_and_its_vlan() {
    let vlan = declare(&with("a", "10.1.0.0/24", &["parent=eth0.10"]), &[]).unwrap();
    assert_eq!(vlan.parent.segment.vids, [10]);
    let existing = [vlan];
    // The same VLAN by another way of saying it.
    for options in [
        &["parent=eth0.10"][..],
        &["parent=eth0", "vlan=10"],
        &["vlan=10"],
    ] {
        let error = declare(&with("b", "10.1.0.0/25", options), &existing).unwrap_err();
        assert!(
            error.starts_with("invalid pool request: Pool overlaps"),
            "{error}"
        );
        let ours = declare(&with("b", "10.2.0.0/24", options), &existing).unwrap();
        assert_eq!(ours.parent, existing[0].parent);
    }
    for options in [
        &["parent=eth0"][..],
        &["parent=eth0.11"],
        &["vlan=10.11"],
        &[],
    ] {
        assert!(declare(&with("b", "10.1.0.0/24", options), &existing).is_ok());
    }
}

#[test]
fn a_part_of_a_subnet_may_be_another_network_s() {
    let part = |name: &str, range: &str| Declaration {
        ip_ranges: vec![range.into()],
        ..with(name, "10.1.0.0/24", &["parent=eth0"])
    };
    let first = [declare(&part("a", "10.1.0.0/25"), &[]).unwrap()];
    let second = declare(&part("b", "10.1.0.128-10.1.0.200"), &first).unwrap();
    let shared = rmac::net::declare::shares(&second, &first);
    assert_eq!(shared.len(), 0, "the same id is the same network");
    let range = second.subnets[0].ip_range.unwrap();
    assert_eq!(range.to_string(), "10.1.0.128-10.1.0.200");
}

#[test]
fn without_a_parent_a_network_leads_nowhere() {
    let network = declare(
        &Declaration {
            subnets: vec![],
            gateways: vec![],
            options: vec![],
            ipv6: "true".into(),
            ..tutorial()
        },
        &[],
    )
    .unwrap();
    assert!(network.internal && network.parent.is_isolated());
    assert_eq!(network.parent.link, "dm-5e5e5e5e5e5e");
    let subnets: Vec<String> = network
        .subnets
        .iter()
        .map(|pool| pool.subnet.to_string())
        .collect();
    assert_eq!(subnets, ["172.17.0.0/16", "fd5e:5e5e:5e5e:5e5e::/64"]);
    let next = declare(&with("b", "10.9.0.0/24", &[]), &[network]).unwrap();
    assert!(next.internal);
    // The default route's link is asked for by name.
    let auto = declare(&with("c", "10.9.0.0/24", &["parent=auto"]), &[]).unwrap();
    assert_eq!(auto.parent.link, "eth0");
    assert!(!auto.internal);
}

#[test]
fn two_families_and_neither() {
    let dual = declare(
        &Declaration {
            subnets: vec!["172.16.86.0/24".into(), "fd00:86::/64".into()],
            gateways: vec!["fd00:86::1".into(), "172.16.86.1".into()],
            ..tutorial()
        },
        &[],
    )
    .unwrap();
    assert_eq!(dual.ipv6, Ipv6Policy::Static);
    assert_eq!(dual.subnets[1].gateway.unwrap().to_string(), "fd00:86::1");
    let six = declare(
        &Declaration {
            ipv4: false,
            ..with("six", "fd00:86::/64", &["parent=eth0"])
        },
        &[],
    )
    .unwrap();
    assert!(!six.enable_ipv4);
    let none = Declaration {
        ipv4: false,
        subnets: vec![],
        ..with("neither", "", &["parent=eth0"])
    };
    assert_eq!(declare(&none, &[]).unwrap().subnets.len(), 0);
    let slaac = Declaration {
        ipv6: "slaac".into(),
        ..tutorial()
    };
    assert_eq!(declare(&slaac, &[]).unwrap().ipv6, Ipv6Policy::Slaac);
}

#[test]
fn one_kind_of_link_a_parent() {
    let ipvlan = |name: &str, subnet: &str| Declaration {
        driver: "ipvlan".into(),
        ..with(name, subnet, &["parent=eth0", "ipvlan_mode=l3s"])
    };
    let first = [declare(&ipvlan("a", "10.1.0.0/24"), &[]).unwrap()];
    let error = declare(&ipvlan("b", "10.2.0.0/24"), &first).unwrap_err();
    assert!(
        error.contains("is already using parent interface eth0"),
        "{error}"
    );
    let macvlan = with("b", "10.2.0.0/24", &["parent=eth0"]);
    let error = declare(&macvlan, &first).unwrap_err();
    assert!(
        error.contains("one parent carries one kind only"),
        "{error}"
    );
}

#[test]
fn shares_of_a_subnet_are_all_of_it_and_never_overlap() {
    let share = |subnet: &str, share: &str| {
        let declaration = Declaration {
            subnets: vec![subnet.into()],
            gateways: vec![],
            ip_ranges: vec![format!("auto:{share}")],
            ..tutorial()
        };
        declare(&declaration, &[]).unwrap().subnets[0]
            .ip_range
            .unwrap()
    };
    assert_eq!(
        share("172.16.86.0/24", "2/4").to_string(),
        "172.16.86.64/26"
    );
    assert_eq!(share("172.16.86.0/24", "1/1").to_string(), "172.16.86.0/24");
    assert_eq!(share("10.0.0.0/30", "4/4").to_string(), "10.0.0.3/32");
    for shares in [2, 3, 7, 100, 256] {
        let mut expected: u32 = std::net::Ipv4Addr::new(172, 16, 86, 0).into();
        for number in 1..=shares {
            let range = share("172.16.86.0/24", &format!("{number}/{shares}"));
            let (std::net::IpAddr::V4(first), std::net::IpAddr::V4(last)) =
                (range.first, range.last)
            else {
                panic!("{range}")
            };
            assert_eq!(u32::from(first), expected, "{number}/{shares}");
            assert!(first <= last);
            expected = u32::from(last) + 1;
        }
        assert_eq!(expected, u32::from(std::net::Ipv4Addr::new(172, 16, 87, 0)));
    }
    // All of IPv6 does not overflow.
    let six = Declaration {
        subnets: vec!["::/0".into()],
        gateways: vec![],
        ip_ranges: vec!["auto:2/2".into()],
        ipv4: false,
        ..tutorial()
    };
    let range = declare(&six, &[]).unwrap().subnets[0].ip_range.unwrap();
    assert_eq!(range.to_string(), "8000::/1");
}
