//! `port`: none is published, since a container on the LAN has an address of its own.

use anyhow::{Result, bail, ensure};

use crate::cli::container::PortArgs;
use crate::store::Home;
use crate::store::containers::{self, Record, State};

/// `rmac port`.
pub fn port(home: &Home, args: &PortArgs) -> Result<u8> {
    let record = containers::find(home, &args.container)?;
    let Some(text) = &args.port else {
        return Ok(0);
    };
    let port = with_protocol(text)?;
    let where_to = match address(home, &record)? {
        Some(address) => format!("it is reached at {address}"),
        None => "a container on a network is reached at its own address".into(),
    };
    bail!(
        "Error: No public port '{port}' published for {} (ports need no publishing: {where_to})",
        args.container
    )
}

/// `80`, `80/tcp`, `80/udp`: the port, and its protocol in any case.
fn with_protocol(text: &str) -> Result<String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let is_port = number.parse::<u16>().is_ok() && number.bytes().all(|b| b.is_ascii_digit());
    ensure!(is_port, "invalid port '{text}'");
    ensure!(
        ["tcp", "udp", "sctp"].contains(&protocol),
        "invalid proto: {protocol}"
    );
    Ok(format!("{number}/{protocol}"))
}

/// The first address of a container that runs.
fn address(home: &Home, record: &Record) -> Result<Option<String>> {
    let state = State::load(home, &record.id)?;
    if !state.is_some_and(|state| state.status.is_up()) {
        return Ok(None);
    }
    let of = |endpoint: &crate::net::endpoint::Endpoint| {
        let four = endpoint.ipv4.map(|net| net.addr().to_string());
        four.or_else(|| Some(endpoint.ipv6?.addr().to_string()))
    };
    Ok(record.endpoints.iter().find_map(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_a_protocol() {
        assert_eq!(with_protocol("80").unwrap(), "80/tcp");
        assert_eq!(with_protocol("53/udp").unwrap(), "53/udp");
        for wrong in ["", "http", "+80", "65536", "80/ip", "80/", "-1"] {
            assert!(with_protocol(wrong).is_err(), "{wrong}");
        }
    }
}
