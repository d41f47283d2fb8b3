//! `rmac network create`: checks what is declared, keeps it, and makes what the host lacks.

use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;

use super::rm;
use crate::cli::network::CreateArgs;
use crate::net::declare::Declaration;
use crate::net::lower;
use crate::net::netlink::Wires;
use crate::net::network::{Driver, Network};
use crate::net::preflight::Sight;
use crate::out::stream::{errln, outln};
use crate::store::{Home, networks, new_id};

/// Declares a network, makes the links of the host that it needs, and prints its id.
pub fn create(home: &Home, args: &CreateArgs) -> Result<()> {
    let lock = networks::lock(home)?;
    let mut wires = Wires::here()?;
    let network = Network::declare(
        &declaration(args),
        &networks::declared(home)?,
        &wires.host()?,
        new_id()?,
        Timestamp::now(),
    )?;
    // Kept first: should this process be killed now, the network's first container makes the links.
    networks::add(home, &network, &lock)?;
    for lower in lower::plan(&network.parent) {
        if let Err(error) = lower.take(&mut wires) {
            rm::forget(home, &network, &lock, &mut wires)?;
            return Err(error);
        }
    }
    if args.internal && !network.parent.is_isolated() {
        errln!(
            "rmac: note: --internal leaves out the default route only: on layer 2 the containers still reach the LAN behind {0}, and it them; without -o parent a network is isolated",
            network.parent.link
        );
    }
    preflight(&network);
    outln!("{}", network.id);
    Ok(())
}

/// Says what is to be expected on this host, though the kernel has nothing against it.
fn preflight(network: &Network) {
    let Driver::Lan(kind) = network.driver else {
        return;
    };
    if network.parent.is_isolated() {
        return;
    }
    let sight = Sight::look(Path::new("/sys"), &network.parent.segment.base);
    for note in sight.notes(kind, &network.parent) {
        errln!("rmac: note: {note}");
    }
}

fn declaration(args: &CreateArgs) -> Declaration {
    Declaration {
        name: args.name.clone(),
        driver: args.driver.clone(),
        subnets: args.subnet.clone(),
        ip_ranges: args.ip_range.clone(),
        gateways: args.gateway.clone(),
        aux: args.aux_address.clone(),
        routes: args.route.clone(),
        options: args.opt.clone(),
        labels: args.label.clone(),
        internal: args.internal,
        ipv4: args.ipv4,
        ipv6: args.ipv6.clone(),
        ipam: args.ipam_driver.clone(),
    }
}
