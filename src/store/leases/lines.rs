//! The lines of the file of leases.

use std::net::IpAddr;

use super::{Lease, State};

/// The first word of a lease that its container has.
pub const HELD: &str = "held";
/// The first word of a lease whose container is gone, and whose link is just being deleted.
pub const FREE: &str = "free";

/// A line of the file, in its parts.
pub struct Line<'a> {
    /// Where it begins, in bytes from the start of the file.
    pub at: usize,
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
    let mut at = 0;
    text.split_inclusive('\n').filter_map(move |text| {
        let start = at;
        at += text.len();
        let mut words = text.strip_suffix('\n')?.split(' ');
        Some(Line {
            at: start,
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

/// The line of `container`. Looked for as text, since there may be ten thousand lines.
pub fn line_of<'a>(text: &'a str, container: &str) -> Option<Line<'a>> {
    let at = text.find(&format!(" {container} "))?;
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let line = lines(&text[start..]).next()?;
    (line.container == container).then_some(Line { at: start, ..line })
}

/// The addresses of all lines; `None` if one is no address.
pub fn addresses(text: &str) -> Option<Vec<IpAddr>> {
    let mut all = Vec::new();
    for line in text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
    {
        let word = line.split(' ').nth(1)?;
        match word {
            "-" => {}
            word => {
                for address in word.split(',') {
                    all.push(address.parse().ok()?);
                }
            }
        }
    }
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
