//! The frames that ask for an address, and the filter for those that speak of it.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::net::announce;
use crate::net::endpoint::Mac;
use crate::sys::packet::Test;

/// "Who has this address?", the type of the ICMPv6 message.
pub const SOLICITATION: u8 = 135;
/// "I have."
pub const ADVERTISEMENT: u8 = 136;

/// The tests of the filter for IPv6: ICMPv6 with `address` as the neighbour that is spoken of.
pub fn about(address: Ipv6Addr) -> Vec<Test> {
    let octets = address.octets();
    let word = |at: usize| {
        u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
    };
    let next_header = Test {
        offset: 20,
        size: 1,
        value: nix::libc::IPPROTO_ICMPV6 as u32,
    };
    let part = |at: usize| Test {
        offset: 62 + at as u32,
        size: 4,
        value: word(at),
    };
    vec![next_header, part(0), part(4), part(8), part(12)]
}

/// The Ethernet frame of an ARP probe: a request whose sender has no IP address.
pub fn arp_probe(mac: Mac, address: Ipv4Addr) -> [u8; 42] {
    let mut frame = announce::frame(mac, address);
    frame[28..32].fill(0);
    frame
}

/// The Ethernet frame of a neighbour solicitation from `::`, RFC 4861 section 4.3.
pub fn solicitation(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    let octets = address.octets();
    let mut group = [0; 16];
    group[..2].copy_from_slice(&[0xff, 0x02]);
    group[11..13].copy_from_slice(&[0x01, 0xff]);
    group[13..].copy_from_slice(&octets[13..]);
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(octets);
    announce::icmpv6_frame(mac, Ipv6Addr::UNSPECIFIED, Ipv6Addr::from(group), &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(frame: &[u8]) -> String {
        frame.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_probe_has_no_sender_address() {
        let address = Ipv4Addr::new(172, 16, 86, 2);
        assert_eq!(
            hex(&arp_probe(Mac::of(address), address)),
            "ffffffffffff0242ac105602080600010800060400010242ac10560200000000000000000000ac105602"
        );
    }

    #[test]
    fn a_solicitation_goes_to_the_group_of_the_address() {
        let mac: Mac = "02:42:ac:10:56:02".parse().unwrap();
        let frame = solicitation(mac, "fd00::1:2:3".parse().unwrap());
        assert_eq!(hex(&frame[..14]), "3333ff0200030242ac10560286dd");
        assert_eq!(hex(&frame[22..38]), "0".repeat(32));
        assert_eq!(hex(&frame[38..54]), "ff0200000000000000000001ff020003");
        assert_eq!(frame[54], 135);
    }
}
