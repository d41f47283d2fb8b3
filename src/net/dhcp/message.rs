//! The messages of DHCP, as bytes.  RFC 2131 section 2, RFC 2132
//!
//! A message is BOOTP's (RFC 951): 236 bytes of fixed fields, a magic number, then options of type,
//! length and value. It travels in UDP from port 68 to 67 and back. A client that has no address yet
//! cannot use the kernel's UDP, so here the IP and Ethernet headers are written as well.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::net::announce::checksum;
use crate::net::endpoint::Mac;

/// What a message says: option 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Client: who has an address for me?
    Discover = 1,
    /// Server: you could have this one.
    Offer = 2,
    /// Client: I take it; or, later: I want to keep it.
    Request = 3,
    /// Client: somebody else has it already.
    Decline = 4,
    /// Server: it is yours.
    Ack = 5,
    /// Server: no.
    Nak = 6,
    /// Client: I need it no longer.
    Release = 7,
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// What.
    pub kind: Kind,
    /// The number that the answer carries too.
    pub transaction: u32,
    /// Seconds since the client began.
    pub seconds: u16,
    /// The client's link.
    pub mac: Mac,
    /// The address that it uses already, else 0.0.0.0.
    pub current: Ipv4Addr,
    /// Option 50: the address that it would like.
    pub requested: Option<Ipv4Addr>,
    /// Option 54: the server that it speaks to.
    pub server: Option<Ipv4Addr>,
    /// Option 61: by what the server knows it again.
    pub client_id: &'a str,
    /// Option 12.
    pub hostname: &'a str,
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// What.
    pub kind: Kind,
    /// The transaction that it answers.
    pub transaction: u32,
    /// The address that it is about.
    pub address: Ipv4Addr,
    /// The hardware address of who sent it: the server, or the relay on this LAN.
    pub from: Mac,
    /// Option 54.
    pub server: Option<Ipv4Addr>,
    /// Option 1, as a prefix length.
    pub prefix: Option<u8>,
    /// Option 3: the first router.
    pub router: Option<Ipv4Addr>,
    /// Option 6: name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Option 15: the domain.
    pub domain: Option<String>,
    /// Option 51.
    pub lifetime: Option<Duration>,
    /// Option 58.
    pub renew: Option<Duration>,
    /// Option 59.
    pub rebind: Option<Duration>,
    /// Option 56: why not.
    pub text: Option<String>,
}

const MAGIC: [u8; 4] = [99, 130, 83, 99];
const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;

impl Outgoing<'_> {
    /// The message as an Ethernet frame: broadcast, or to the server at `to`.
    pub fn frame(&self, to: Option<(Mac, Ipv4Addr)>) -> Vec<u8> {
        let (mac, address) = to.unwrap_or((Mac([0xff; 6]), Ipv4Addr::BROADCAST));
        let message = self.message();
        let length = (20 + 8 + message.len()) as u16;
        // Version 4, five words; low delay (as dhclient); not to be cut into fragments; 64 hops; UDP.
        let mut ip = vec![0x45, 0x10];
        ip.extend(length.to_be_bytes());
        ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
        ip.extend(self.current.octets());
        ip.extend(address.octets());
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut frame = Vec::from(mac.0);
        frame.extend(self.mac.0);
        frame.extend([0x08, 0x00]);
        frame.extend(ip);
        for part in [CLIENT_PORT, SERVER_PORT, 8 + message.len() as u16, 0] {
            // The last is a checksum of zero: none, which UDP over IPv4 allows.
            frame.extend(part.to_be_bytes());
        }
        frame.extend(message);
        frame
    }

    fn message(&self) -> Vec<u8> {
        // A request; Ethernet, six bytes; no relay has passed it on.
        let mut message = vec![1, 1, 6, 0];
        message.extend(self.transaction.to_be_bytes());
        message.extend(self.seconds.to_be_bytes());
        message.extend([0, 0]);
        message.extend(self.current.octets());
        message.extend([0; 12]);
        message.extend(self.mac.0);
        message.extend([0; 10 + 64 + 128]);
        message.extend(MAGIC);
        let mut option = |number: u8, value: &[u8]| {
            let value = &value[..value.len().min(255)];
            message.extend([number, value.len() as u8]);
            message.extend(value);
        };
        option(53, &[self.kind as u8]);
        // Type 0: a name, no hardware address.
        let id: Vec<u8> = [0].into_iter().chain(self.client_id.bytes()).collect();
        option(61, &id);
        if let Some(address) = self.requested {
            option(50, &address.octets());
        }
        if let Some(server) = self.server {
            option(54, &server.octets());
        }
        if matches!(self.kind, Kind::Discover | Kind::Request) {
            option(12, self.hostname.as_bytes());
            option(60, b"rmac");
            // Mask, router, name servers, domain, lifetime, T1, T2.
            option(55, &[1, 3, 6, 15, 51, 58, 59]);
            option(57, &1472u16.to_be_bytes());
        }
        message.push(255);
        // BOOTP's least length, which some servers insist on.
        message.resize(message.len().max(300), 0);
        message
    }
}

impl Incoming {
    /// Reads a frame; `None` if it is no DHCP message for `mac`.
    pub fn read(frame: &[u8], mac: Mac) -> Option<Incoming> {
        let from = Mac(frame.get(6..12)?.try_into().ok()?);
        let ip = frame.get(14..)?;
        let header = usize::from(*ip.first()? & 0x0f) * 4;
        let udp = ip.get(header..)?;
        if *ip.get(9)? != 17 || udp.get(2..4)? != CLIENT_PORT.to_be_bytes() {
            return None;
        }
        let message = udp.get(8..)?;
        let is_reply = *message.first()? == 2;
        if !is_reply || message.get(28..34)? != mac.0 || message.get(236..240)? != MAGIC {
            return None;
        }
        let mut incoming = Incoming {
            kind: Kind::Nak,
            transaction: u32::from_be_bytes(message.get(4..8)?.try_into().ok()?),
            address: ipv4(message.get(16..20)?)?,
            from,
            server: None,
            prefix: None,
            router: None,
            dns: vec![],
            domain: None,
            lifetime: None,
            renew: None,
            rebind: None,
            text: None,
        };
        let mut kind = None;
        let mut rest = message.get(240..)?;
        while let Some((&number, after)) = rest.split_first() {
            match number {
                0 => rest = after,
                255 => break,
                _ => {
                    let length = usize::from(*after.first()?);
                    let value = after.get(1..1 + length)?;
                    rest = &after[1 + length..];
                    if number == 53 {
                        kind = Kind::from_byte(*value.first()?);
                    } else {
                        incoming.option(number, value);
                    }
                }
            }
        }
        incoming.kind = kind?;
        Some(incoming)
    }

    fn option(&mut self, number: u8, value: &[u8]) {
        let seconds = || {
            Some(Duration::from_secs(
                u32::from_be_bytes(value.try_into().ok()?).into(),
            ))
        };
        let text = || {
            Some(
                String::from_utf8_lossy(value)
                    .trim_end_matches('\0')
                    .to_owned(),
            )
        };
        match number {
            1 => {
                self.prefix = ipv4(value).map(|mask| u32::from(mask).leading_ones() as u8);
            }
            3 => self.router = value.get(..4).and_then(ipv4),
            6 => self.dns = value.chunks_exact(4).filter_map(ipv4).collect(),
            15 => self.domain = text(),
            51 => self.lifetime = seconds(),
            54 => self.server = ipv4(value),
            56 => self.text = text(),
            58 => self.renew = seconds(),
            59 => self.rebind = seconds(),
            _ => (),
        }
    }
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        [Kind::Offer, Kind::Ack, Kind::Nak]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = bytes.try_into().ok()?;
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac() -> Mac {
        "02:42:0a:00:00:01".parse().unwrap()
    }

    #[test]
    fn a_request_has_its_options_and_a_good_checksum() {
        let frame = Outgoing {
            kind: Kind::Request,
            transaction: 7,
            seconds: 1,
            mac: mac(),
            current: Ipv4Addr::UNSPECIFIED,
            requested: Some(Ipv4Addr::new(10, 0, 0, 9)),
            server: Some(Ipv4Addr::new(10, 0, 0, 1)),
            client_id: "web",
            hostname: "web",
        }
        .frame(None);
        assert_eq!(checksum(&frame[14..34]), 0);
        assert_eq!(frame.len(), 14 + 20 + 8 + 300);
        let options = &frame[14 + 28 + 240..];
        assert_eq!(&options[..3], [53, 1, 3]);
        assert_eq!(&options[3..9], [61, 4, 0, b'w', b'e', b'b']);
        assert_eq!(&options[9..21], [50, 4, 10, 0, 0, 9, 54, 4, 10, 0, 0, 1]);
    }

    #[test]
    fn an_answer_is_read_and_garbage_is_not() {
        let mut frame = vec![0; 14 + 28 + 240];
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        frame[14] = 0x45;
        frame[23] = 17;
        frame[36..38].copy_from_slice(&68u16.to_be_bytes());
        frame[42] = 2;
        frame[42 + 7] = 7;
        frame[42 + 16..42 + 20].copy_from_slice(&[10, 0, 0, 9]);
        frame[42 + 28..42 + 34].copy_from_slice(&mac().0);
        frame[42 + 236..42 + 240].copy_from_slice(&MAGIC);
        frame.extend([
            53, 1, 5, 1, 4, 255, 255, 255, 0, 51, 4, 0, 0, 0, 120, 3, 4, 10, 0, 0, 1, 255,
        ]);
        let ack = Incoming::read(&frame, mac()).unwrap();
        assert_eq!((ack.kind, ack.transaction), (Kind::Ack, 7));
        assert_eq!(ack.address, Ipv4Addr::new(10, 0, 0, 9));
        assert_eq!(ack.prefix, Some(24));
        assert_eq!(ack.router, Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(ack.lifetime, Some(Duration::from_secs(120)));
        assert_eq!(Incoming::read(&frame, Mac([2; 6])), None);
        for length in 0..frame.len() - 20 {
            assert_eq!(Incoming::read(&frame[..length], mac()), None);
        }
    }
}
