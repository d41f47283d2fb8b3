//! The lines of the file of leases.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::FileExt;

use super::{Lease, State};
use crate::store::lines::each;

/// The first word of a lease that its container has.
pub const HELD: &str = "held";
/// The first word of a lease whose container is gone, and whose link is just being deleted.
pub const FREE: &str = "free";

/// A line of the file, in its parts.
pub struct Line<'a> {
    /// As it stands, with its newline.
    pub text: &'a str,
    /// `held` or `free`.
    pub state: &'a str,
    /// The addresses, with a comma between them, or `-`.
    pub address: &'a str,
    /// The hardware address, or `-`.
    pub mac: &'a str,
    /// The container's id.
    pub container: &'a str,
    /// The endpoint's id.
    pub endpoint: &'a str,
    /// The container's name.
    pub name: &'a str,
}

impl Line<'_> {
    /// Whether it is the container's.
    pub fn is_of(&self, container: &str) -> bool {
        self.container == container
    }

    /// Whether it has the address.
    pub fn has(&self, address: IpAddr) -> bool {
        addresses_of(self.address).is_some_and(|all| all.contains(&address))
    }

    /// The lease that it stands for.
    pub fn lease(&self) -> Option<Lease> {
        let all = addresses_of(self.address)?;
        Some(Lease {
            state: match self.state {
                HELD => State::Held,
                FREE => State::Releasing,
                _ => return None,
            },
            ipv4: all.iter().find_map(|address| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            }),
            ipv6: all.iter().find_map(|address| match address {
                IpAddr::V6(address) => Some(*address),
                IpAddr::V4(_) => None,
            }),
            mac: match self.mac {
                "-" => None,
                mac => Some(mac.parse().ok()?),
            },
            container: self.container.to_owned(),
            endpoint: self.endpoint.to_owned(),
            name: self.name.to_owned(),
        })
    }
}

/// The whole lines of the file.
pub fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.split_inclusive('\n').filter_map(|text| {
        let mut words = text.strip_suffix('\n')?.split(' ');
        Some(Line {
            text,
            state: words.next()?,
            address: words.next()?,
            mac: words.next()?,
            container: words.next()?,
            endpoint: words.next()?,
            name: words.next()?,
        })
    })
}

/// How long a hardware address is, with the space after it.
const MAC: usize = 18;

/// The piece at the end of the file in which a lease is looked for first: who gives one back was mostly the last to
/// claim one.
const TAIL: u64 = 2 * 1024;

/// The line of `container`, and where it begins.
///
/// # Errors
/// Where the file cannot be read.
pub fn find(file: &File, container: &str) -> std::io::Result<Option<(u64, String)>> {
    let word = format!(" {container} ");
    let length = file.metadata()?.len();
    let mut tail = vec![0; length.min(TAIL) as usize];
    let from = length - tail.len() as u64;
    file.read_exact_at(&mut tail, from)?;
    let tail = String::from_utf8_lossy(&tail);
    if let Some(at) = tail.find(&word)
        && let Some(start) = tail[..at].rfind('\n')
        && let Some(line) = tail[start + 1..].split_inclusive('\n').next()
        && line.ends_with('\n')
        && is_of(line.as_bytes(), container)
    {
        return Ok(Some((from + start as u64 + 1, line.to_owned())));
    }
    let mut found = None;
    each(file, |at, line| {
        if is_of(line, container) {
            found = Some((at, String::from_utf8_lossy(line).into_owned()));
        }
    })?;
    Ok(found)
}

/// Whether the line is the container's.
pub fn is_of(line: &[u8], container: &str) -> bool {
    let rest = address_and_rest(line).and_then(|(_, rest)| {
        let mac = if rest.starts_with(b"- ") { 2 } else { MAC };
        rest.get(mac..)?.strip_prefix(container.as_bytes())
    });
    rest.is_some_and(|rest| rest.starts_with(b" "))
}

/// Adds the addresses of a line to `all`; `None` if one is no address.
pub fn add_addresses(line: &[u8], all: &mut Vec<IpAddr>) -> Option<()> {
    match address_and_rest(line)?.0 {
        b"-" => (),
        word => match ipv4(word) {
            // Nearly all are: a fourth of the time.
            Some(address) => all.push(address.into()),
            None => all.extend(addresses_of(std::str::from_utf8(word).ok()?)?),
        },
    }
    Some(())
}

/// The word for the addresses of a line, and what follows it.
fn address_and_rest(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.get(HELD.len() + 1..)?;
    let end = rest.iter().position(|byte| *byte == b' ')?;
    Some((&rest[..end], &rest[end + 1..]))
}

/// The address, if it is one of IPv4 as rmac writes it.
fn ipv4(word: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = word.split(|byte| *byte == b'.');
    for octet in &mut octets {
        let part = parts.next().filter(|part| (1..=3).contains(&part.len()))?;
        let digits = part.iter().try_fold(0, |number, digit| {
            digit
                .is_ascii_digit()
                .then(|| number * 10 + u16::from(digit - b'0'))
        });
        *octet = digits?.try_into().ok()?;
    }
    parts.next().is_none().then_some(octets.into())
}

/// The addresses of all lines; `None` if one is no address.
pub fn addresses(text: &str) -> Option<Vec<IpAddr>> {
    let mut all = Vec::new();
    let mut whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole.try_for_each(|line| add_addresses(line.as_bytes(), &mut all))?;
    Some(all)
}

/// The line of a lease.
pub fn line(lease: &Lease) -> String {
    let addresses: Vec<String> = lease.addresses().map(|a| a.to_string()).collect();
    let addresses = match addresses.is_empty() {
        true => "-".to_owned(),
        false => addresses.join(","),
    };
    let mac = lease
        .mac
        .map_or_else(|| "-".to_owned(), |mac| mac.to_string());
    format!(
        "{HELD} {addresses} {mac} {} {} {}\n",
        lease.container, lease.endpoint, lease.name
    )
}

fn addresses_of(word: &str) -> Option<Vec<IpAddr>> {
    match word {
        "-" => Some(Vec::new()),
        word => word
            .split(',')
            .map(|address| address.parse().ok())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_library_reads_them() {
        let words = [
            "10.0.0.2",
            "255.255.255.255",
            "0.0.0.0",
            "256.0.0.1",
            "1.2.3",
            "1.2.3.4.5",
            "1..3.4",
            "1.2.3.-4",
            "1.2.3.4444",
            "",
            "fd00::2",
        ];
        for word in words {
            assert_eq!(ipv4(word.as_bytes()), word.parse().ok(), "{word}");
        }
    }

    #[test]
    fn a_line_is_the_containers_whose_id_it_has() {
        let mut all = vec![];
        for (line, count) in [
            ("held 10.0.0.2 02:42:0a:00:00:02 abc ep name\n", 1),
            ("free 10.0.0.2,fd00::2 02:42:0a:00:00:02 abc ep name\n", 2),
            ("held - - abc ep name\n", 0),
        ] {
            all.clear();
            add_addresses(line.as_bytes(), &mut all).unwrap();
            assert_eq!(all.len(), count, "{line}");
            let is_of = |id| is_of(line.as_bytes(), id);
            assert!(is_of("abc") && !is_of("ab") && !is_of("abcd") && !is_of("ep"));
        }
        for line in ["", "held", "held 10.0.0 - abc ep name\n", "held x"] {
            assert!(add_addresses(line.as_bytes(), &mut all).is_none(), "{line}");
            assert!(!is_of(line.as_bytes(), "x"));
        }
    }
}
