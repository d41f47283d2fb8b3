//! The trunk: a second LAN on the same cable.
//!
//! A switch that knows VLANs (IEEE 802.1Q) gives each port a list of them. A frame without a tag
//! belongs to the port's own VLAN, the PVID; a frame with a tag to that of the tag, if the port is on
//! the list. The host's port has VLAN 1 untagged and VLAN 10 tagged: a trunk. The router of VLAN 10 is
//! on an access port: it sees no tags. No port of it is in VLAN 1: a Linux router answers ARP for its
//! address on whatever it hears, so a stray membership would let untagged hosts reach it.
//!
//! A bridge does this with `vlan_filtering`, bridge(8), in kernels with 802.1Q; in others the switch is
//! a plain one, and VLAN 10 is not there.

use anyhow::Result;
use nix::errno::Errno;

use crate::net::netlink::{Membership, Wires};

/// The port of VLAN 10's router.
pub const PORT: &str = "port-router10";

/// The lab's second LAN.
const VLAN: u16 = 10;

/// Makes the switch, one that knows VLANs where the kernel does.
pub fn make_switch(wires: &mut Wires) -> Result<()> {
    if wires.make_vlan_bridge("br0").is_err() {
        wires.make_bridge("br0")?;
    }
    wires.set_up("br0").map_err(Into::into)
}

/// Puts the ports of host and router into their VLANs; false where the kernel has none.
pub fn make_trunk(wires: &mut Wires) -> Result<bool> {
    match wires.join_vlan("port-host", 1, Membership::Untagged) {
        // A kernel without 802.1Q has made a plain bridge, and says so only now.
        Err(refused) if [Errno::EOPNOTSUPP, Errno::EINVAL].contains(&refused.errno) => {
            return Ok(false);
        }
        result => result?,
    }
    wires.join_vlan("port-host", VLAN, Membership::Tagged)?;
    wires.join_vlan("port-router", 1, Membership::Untagged)?;
    Ok(true)
}

/// Puts the port of VLAN 10's router into VLAN 10.
pub fn join(wires: &mut Wires) -> Result<()> {
    let joined = wires.join_vlan(PORT, VLAN, Membership::Untagged);
    joined.map_err(Into::into)
}
