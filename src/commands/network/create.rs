//! `rmac network create`: checks what is declared and keeps it.

use anyhow::{Result, bail, ensure};
use jiff::Timestamp;

use crate::cli::network::CreateArgs;
use crate::net::declare::Declaration;
use crate::net::netlink::Wires;
use crate::net::network::Network;
use crate::store::{Home, networks, new_id};

/// Declares a network and prints its id.
pub fn create(home: &Home, args: &CreateArgs) -> Result<()> {
    let lock = networks::lock(home)?;
    let network = Network::declare(
        &declaration(args),
        &networks::declared(home)?,
        new_id()?,
        Timestamp::now(),
    )?;
    check_parent(&network.parent)?;
    networks::add(home, &network, &lock)?;
    println!("{}", network.id);
    Ok(())
}

fn declaration(args: &CreateArgs) -> Declaration {
    Declaration {
        name: args.name.clone(),
        driver: args.driver.clone(),
        subnets: args.subnet.clone(),
        ip_ranges: args.ip_range.clone(),
        gateways: args.gateway.clone(),
        aux: args.aux_address.clone(),
        options: args.opt.clone(),
        labels: args.label.clone(),
        internal: args.internal,
        ipv4: args.ipv4,
        ipv6: args.ipv6,
    }
}

/// Asks the kernel whether the parent can carry a macvlan. Told now, a mistake is one line; when the
/// first container starts it is an errno.
fn check_parent(parent: &str) -> Result<()> {
    let mut wires = Wires::here()?;
    let Some(link) = wires.parent(parent)? else {
        let Some((base, vid)) = parent.split_once('.') else {
            bail!(
                "invalid subinterface vlan name {parent}, example formatting is eth0.10: there is no link {parent} on this host (see: ip link)"
            );
        };
        ensure!(
            wires.parent(base)?.is_some(),
            "-o parent interface was not found on the host: {base} (see: ip link)"
        );
        bail!(
            "there is no link {parent} on this host, and 802.1q sub-interfaces are not made yet: make it first (ip link add link {base} name {parent} type vlan id {vid}; ip link set {parent} up)"
        );
    };
    ensure!(
        !link.loopback,
        "loopback interface is not a valid macvlan parent link: name the link that leads to the LAN, such as eth0"
    );
    if let Some(bridge) = wires.bridge_of(parent)? {
        bail!(
            "failed to create the macvlan port: device or resource busy: {parent} is a port of {bridge}, which takes every frame for itself; use -o parent={bridge}"
        );
    }
    Ok(())
}
