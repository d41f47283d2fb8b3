//! A lease: an address for a time, and what else the server says.  RFC 2132

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;

use super::message::Incoming;
use crate::net::endpoint::Mac;

/// The lifetime of a lease whose server does not tell one.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

/// An address for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address with the prefix length of its subnet.
    pub address: Ipv4Net,
    /// The LAN's router.
    pub router: Option<Ipv4Addr>,
    /// The LAN's name servers.
    pub dns: Vec<Ipv4Addr>,
    /// The LAN's domain.
    pub domain: Option<String>,
    pub(super) server: Ipv4Addr,
    pub(super) server_mac: Mac,
    pub(super) renew: Instant,
    pub(super) rebind: Instant,
    pub(super) expires: Instant,
}

impl Lease {
    /// The text of `/etc/resolv.conf` by what the server says.
    pub fn resolv_conf(&self) -> String {
        let servers = self
            .dns
            .iter()
            .map(|server| format!("nameserver {server}\n"));
        let domain = self
            .domain
            .iter()
            .map(|domain| format!("search {domain}\n"));
        servers.chain(domain).collect()
    }
}

/// Half of what is left until `end`, but no less than a second: RFC 2131 section 4.4.5 says a minute,
/// which a lease of two minutes has not got.
pub(super) fn half(end: Instant, now: Instant) -> Duration {
    (end.saturating_duration_since(now) / 2).max(Duration::from_secs(1))
}

/// The lease that `message` gives.
pub(super) fn lease(message: &Incoming, now: Instant) -> Option<Lease> {
    let lifetime = message.lifetime.unwrap_or(DEFAULT_LIFETIME);
    let rebind = message.rebind.unwrap_or(lifetime * 7 / 8).min(lifetime);
    let renew = message.renew.unwrap_or(lifetime / 2).min(rebind);
    Some(Lease {
        address: Ipv4Net::new(message.address, message.prefix.unwrap_or(24)).ok()?,
        router: message.router,
        dns: message.dns.clone(),
        domain: message.domain.clone(),
        server: message.server?,
        server_mac: message.from,
        renew: now + renew,
        rebind: now + rebind,
        expires: now + lifetime,
    })
}
