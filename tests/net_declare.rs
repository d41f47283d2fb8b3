//! What may be declared as a network, and what is said about what may not: a table.

use jiff::Timestamp;
use rmac::net::declare::Declaration;
use rmac::net::network::{MacvlanMode, Network};

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
        "5e".repeat(32),
        Timestamp::UNIX_EPOCH,
    )
    .map_err(|error| format!("{error:#}"))
}

#[test]
fn the_tutorials_network() {
    let network = declare(&tutorial(), &[]).unwrap();
    assert_eq!(network.parent, "eth0");
    assert_eq!(network.mode, MacvlanMode::Bridge);
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
    assert_eq!(network.mode, MacvlanMode::Private);
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
    let rows: [Row; 31] = [
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
        (
            |d| d.driver = "ipvlan".into(),
            "the driver ipvlan is not built yet",
        ),
        (
            |d| d.driver = "weave".into(),
            "could not find the driver \"weave\"",
        ),
        (|d| d.ipv6 = true, "IPv6 addresses are not given out yet"),
        (|d| d.ipv4 = false, "IPv6 addresses are not given out yet"),
        (
            |d| d.options = vec!["parent".into()],
            "invalid argument \"parent\" for -o",
        ),
        (
            |d| d.options.push("mtu=9000".into()),
            "unknown option \"mtu\" for a macvlan network; known are: parent, macvlan_mode",
        ),
        (
            |d| d.options.push("macvlan_mode=x".into()),
            "requested macvlan mode 'x' is not valid, 'bridge' mode is the macvlan driver default",
        ),
        (
            |d| d.options = vec![],
            "a macvlan network needs a link of the host to sit on",
        ),
        (
            |d| d.options = vec!["parent=lo".into()],
            "loopback interface is not a valid macvlan parent link",
        ),
        (
            |d| d.options = vec!["parent=a name of 16+ letters".into()],
            "invalid parent",
        ),
        (|d| d.subnets = vec![], "ipv4 pool is empty"),
        (
            |d| d.subnets = vec!["172.16.86.0".into()],
            "invalid subnet 172.16.86.0",
        ),
        (
            |d| d.subnets = vec!["172.16.86.5/24".into()],
            "invalid network config:\ninvalid subnet 172.16.86.5/24: it should be 172.16.86.0/24",
        ),
        (
            |d| d.subnets = vec!["fd00::/64".into()],
            "invalid subnet fd00::/64: IPv6",
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
