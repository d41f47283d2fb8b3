//! Endpoints: one host that may have an image, and what it turned out to speak.
//!
//! https is the rule. Plain http is for this machine itself, and for hosts that registries.conf calls insecure.

use std::sync::{Mutex, MutexGuard};

use anyhow::{Context, Result};
use reqwest::Url;

use crate::http::{Http, Patience, Request, Trust};
use crate::registries_conf::{Location, Security};
use crate::text::escape;

/// A location, with what has been learnt about it.
pub struct Endpoint {
    /// Where it is.
    pub location: Location,
    /// Base URL and trust, once it is known what the host speaks.
    base: Mutex<Option<(Url, Trust)>>,
    /// The Authorization header that worked last.
    pub authorization: Mutex<Option<String>>,
}

impl Endpoint {
    /// Nothing is known yet.
    pub fn new(location: Location) -> Endpoint {
        Endpoint {
            location,
            base: Mutex::new(None),
            authorization: Mutex::new(None),
        }
    }

    /// The base URL. A host that may be insecure is asked what it speaks; others speak https or nothing.
    pub fn base(&self, http: &Http) -> Result<(Url, Trust)> {
        let mut known = lock(&self.base);
        if let Some(base) = &*known {
            return Ok(base.clone());
        }
        let url = |scheme: &str| {
            let host = &self.location.host;
            Url::parse(&format!("{scheme}://{host}/"))
                .with_context(|| format!("\"{}\" is no host", escape(host)))
        };
        let candidates = match (self.location.security, is_loopback(&self.location.host)) {
            (Security::Tls, false) => vec![],
            (_, true) => vec![
                (url("http")?, Trust::Unverified),
                (url("https")?, Trust::Unverified),
            ],
            (Security::Insecure, false) => vec![
                (url("https")?, Trust::Unverified),
                (url("http")?, Trust::Unverified),
            ],
        };
        let probe = |(base, trust): &(Url, Trust)| {
            // "400: an HTTP request to an HTTPS server" is how most servers say they want TLS.
            let quick = Http::new(Patience {
                attempts: 1,
                ..http.patience
            });
            let url = base.join("/v2/").ok()?;
            let answer = quick.send(&Request::get(url, *trust)).ok()?;
            (answer.status().as_u16() != 400).then_some(())
        };
        let found = candidates
            .iter()
            .find(|c| probe(c).is_some())
            .or(candidates.first());
        let base = match found {
            Some(found) => found.clone(),
            None => (url("https")?, Trust::Verified),
        };
        *known = Some(base.clone());
        Ok(base)
    }
}

/// Whether a host is this machine, where nobody listens on the way and plain http is fine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|a| a.is_loopback())
}

/// Nothing of ours panics while it holds one of these locks, and if it did the value would still be whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known() {
        for (host, want) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.3.2.1", true),
            ("[::1]:5000", true),
            ("localhost.example.com", false),
            ("10.0.0.1:5000", false),
            ("docker.io", false),
        ] {
            assert_eq!(is_loopback(host), want, "{host}");
        }
    }
}
