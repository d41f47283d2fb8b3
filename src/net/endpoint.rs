//! An endpoint: one container's place in one network.
//!
//! Docker's word for what a lease of an address becomes once it is tied to a container: the
//! address, the MAC and the interface that will carry them. An endpoint is made when the lease is
//! claimed, kept with the container, and everything that is done in the kernel follows from it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::kind::{Ipam, Ipv6Policy, Kind};
use super::network::{Parent, Route};

/// One container's place in one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's name.
    pub network: String,
    /// The network's id, 64 hexadecimal digits.
    pub network_id: String,
    /// This endpoint's own id, 64 hexadecimal digits.
    pub endpoint_id: String,
    /// What the link is.
    pub kind: Kind,
    /// The host's link that it sits on.
    pub parent: Parent,
    /// Largest packet in bytes; `None` takes the parent's.
    pub mtu: Option<u32>,
    /// The interface's name inside the container, `eth0` for the first network.
    pub ifname: String,
    /// The interface's hardware address; an ipvlan has its parent's, and a macvlan without an
    /// address one of the kernel's choice.
    pub mac: Option<Mac>,
    /// The address with the prefix length of its subnet.
    pub ipv4: Option<Ipv4Net>,
    /// Where the default route may lead; `None` without `--gateway` and in an internal network.
    pub gateway: Option<Ipv4Addr>,
    /// The IPv6 address with the prefix length of its subnet.
    pub ipv6: Option<Ipv6Net>,
    /// Where the IPv6 default route may lead.
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// Whether there is IPv6 on the link, and who gives out the addresses.
    pub ipv6_policy: Ipv6Policy,
    /// Who gives the addresses out.
    #[serde(default)]
    pub ipam: Ipam,
    /// Whether the addresses are looked for on the LAN before they are used.
    pub probe: Probe,
    /// How often the addresses are announced.
    #[serde(default)]
    pub announce: Announce,
    /// How long a start waits for the parent, in seconds: `-o parent_wait`.
    #[serde(default)]
    pub parent_wait: u32,
    /// The highest among the container's endpoints has the default route; ties by network name.
    pub gw_priority: i32,
    /// Further routes.
    pub routes: Vec<Route>,
    /// `--network name=N,driver-opt=KEY=VALUE`.
    pub driver_opts: BTreeMap<String, String>,
    /// What `--ip` asked for.
    pub requested_ipv4: Option<Ipv4Addr>,
    /// What `--ip6` asked for.
    pub requested_ipv6: Option<Ipv6Addr>,
    /// What `--mac-address` asked for.
    pub requested_mac: Option<Mac>,
    /// Further names of the container in this network.
    pub aliases: Vec<String>,
    /// The network is internal: no default route.
    pub internal: bool,
}

/// Whether addresses are looked for on the LAN before they are used: RFC 5227, RFC 4862 section 5.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// They are used at once.
    #[default]
    Off,
    /// They are used only if nobody answers for them.
    On,
}

/// How often a new address is told to the LAN: RFC 5227 section 3, RFC 9131.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// How many times, 0 to 3.
    pub count: u32,
    /// The time between two, in milliseconds, 100 to 2000.
    pub interval: u32,
}

impl Default for Announce {
    /// Docker's: three times, a second apart.
    fn default() -> Announce {
        Announce {
            count: 3,
            interval: 1000,
        }
    }
}

impl Endpoint {
    /// The addresses, with the prefix lengths of their subnets.
    pub fn addresses(&self) -> impl Iterator<Item = IpNet> {
        let ipv4 = self.ipv4.map(IpNet::V4);
        ipv4.into_iter().chain(self.ipv6.map(IpNet::V6))
    }
}

/// A hardware (MAC) address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address that belongs to an IPv4 address: `02:42` and the four bytes, as Docker did up to
    /// release 27. The 02 marks it as locally administered. Since the same IPv4 address always comes
    /// with the same MAC, no neighbour's ARP cache goes stale when a container is made anew.
    pub fn of(address: Ipv4Addr) -> Mac {
        let [a, b, c, d] = address.octets();
        Mac([0x02, 0x42, a, b, c, d])
    }

    /// The address that belongs to an IPv6 address, for a container that has no other: `02:46` and a
    /// digest (FNV-1a, 32 bits) of the sixteen bytes.
    pub fn of_ipv6(address: Ipv6Addr) -> Mac {
        let digest = super::host::fnv(&address.octets());
        let [a, b, c, d] = digest.to_be_bytes();
        Mac([0x02, 0x46, a, b, c, d])
    }

    /// Whether a single station can have this address: the group bit is clear and it is not zero.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no [`Mac`]; Docker's words first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Not six pairs of hexadecimal digits.
    #[error(
        "{0} is not a valid mac address: it is written as six pairs of hexadecimal digits, such as 02:42:ac:10:56:02"
    )]
    Malformed(String),
    /// A multicast or zero address.
    #[error(
        "{0} is not a valid mac address for a container: the last bit of the first byte marks a group of stations"
    )]
    Group(Mac),
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Mac, MacError> {
        let malformed = || MacError::Malformed(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(malformed)?;
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(malformed());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| malformed())?;
        }
        if parts.next().is_some() {
            return Err(malformed());
        }
        match Mac(bytes) {
            mac if mac.is_unicast() => Ok(mac),
            mac => Err(MacError::Group(mac)),
        }
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Mac, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tutorials_address_gives_the_tutorials_mac() {
        let mac = Mac::of(Ipv4Addr::new(172, 16, 86, 2));
        assert_eq!(mac.to_string(), "02:42:ac:10:56:02");
        assert_eq!("02-42-AC-10-56-02".parse(), Ok(mac));
        let json = serde_json::to_string(&mac).unwrap();
        assert_eq!(json, r#""02:42:ac:10:56:02""#);
        assert_eq!(serde_json::from_str::<Mac>(&json).unwrap(), mac);
    }

    #[test]
    fn an_ipv6_address_alone_has_a_mac_of_its_own() {
        let mac = |text: &str| Mac::of_ipv6(text.parse().unwrap());
        assert_eq!(mac("fd00::2"), mac("fd00::2"));
        assert_ne!(mac("fd00::2"), mac("fd01::2"));
        assert!(mac("fd00::2").is_unicast());
    }

    #[test]
    fn what_is_no_mac_is_refused() {
        for text in [
            "",
            "02:42",
            "02:42:ac:10:56:02:03",
            "0242ac105602",
            "2:42:ac:10:56:2",
            "+2:42:ac:10:56:02",
            "zz:42:ac:10:56:02",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(MacError::Malformed(text.into())));
        }
        for text in [
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
        ] {
            assert!(matches!(text.parse::<Mac>(), Err(MacError::Group(_))));
        }
    }
}
