//! `--network` and what goes with it: which networks a container is on, and as whom.
//!
//! The short form is a name; the long one, Docker's, is a line of comma separated `key=value` that says
//! all about one network, so that each of several can have its own address and aliases.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, bail, ensure};

use crate::cli::run::ContainerArgs;
use crate::net::endpoint::Mac;
use crate::request::{NetworkMode, NetworkRequest};

/// The driver option that names the interface.
const IFNAME: &str = "com.docker.network.endpoint.ifname";
/// The driver option that sets what lies below /proc/sys/net for the interface.
const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// Whose network the container uses.
pub fn network(args: &ContainerArgs) -> Result<NetworkMode> {
    let mut wanted: Vec<NetworkRequest> = args
        .network
        .iter()
        .map(|text| one(text))
        .collect::<Result<_>>()?;
    let special = |wanted: &NetworkRequest| {
        matches!(wanted.name.as_str(), "none" | "host") || wanted.name.starts_with("container:")
    };
    if wanted.iter().any(special) && wanted.len() > 1 {
        bail!(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
        );
    }
    let Some(first) = wanted.first_mut() else {
        return own(args, "none").map(|()| NetworkMode::None);
    };
    match first.name.as_str() {
        "none" => own(args, "none").map(|()| NetworkMode::None),
        "host" => {
            own(args, "host")?;
            ensure!(
                args.hostname.is_none(),
                "conflicting options: hostname and the network mode host"
            );
            Ok(NetworkMode::Host)
        }
        name if name.starts_with("container:") => {
            let name = name["container:".len()..].to_owned();
            check_container(args, &name)?;
            Ok(NetworkMode::Container(name))
        }
        _ => {
            add_flags(args, first)?;
            for (at, network) in wanted.iter().enumerate() {
                ensure!(
                    wanted[..at].iter().all(|other| other.name != network.name),
                    "network {:?} is specified multiple times",
                    network.name
                );
            }
            Ok(NetworkMode::Networks(wanted))
        }
    }
}

/// One `--network`: a name, or Docker's long form.
pub fn one(text: &str) -> Result<NetworkRequest> {
    let mut request = NetworkRequest::default();
    if !text.contains('=') {
        text.clone_into(&mut request.name);
        ensure!(!text.is_empty(), "network name/id is not specified");
        return Ok(request);
    }
    for field in text.split(',') {
        let (key, value) = field
            .split_once('=')
            .with_context(|| format!("invalid field {field} in --network {text}"))?;
        match key.trim().to_lowercase().as_str() {
            "name" => value.clone_into(&mut request.name),
            "alias" => request.aliases.push(alias(value)?),
            "ip" => request.ipv4 = Some(ipv4(value)?),
            "ip6" => request.ipv6 = Some(ipv6(value)?),
            "mac-address" => request.mac = Some(mac(value)?),
            "gw-priority" => request.gw_priority = priority(value)?,
            "driver-opt" => driver_option(&mut request, value)?,
            "link-local-ip" => {
                bail!("link-local-ip is not supported: the kernel gives out one by itself")
            }
            _ => bail!(
                "invalid field key {key}; known are name, alias, ip, ip6, mac-address, driver-opt, gw-priority"
            ),
        }
    }
    ensure!(!request.name.is_empty(), "network name/id is not specified");
    Ok(request)
}

/// `KEY=VALUE` for the endpoint's driver.
pub fn driver_option(request: &mut NetworkRequest, text: &str) -> Result<()> {
    let (key, value) = text
        .split_once('=')
        .with_context(|| format!("invalid key value pair format in driver options: {text}"))?;
    match key {
        IFNAME => request.ifname = Some(ifname(value)?),
        SYSCTLS => (),
        _ => bail!("unknown driver option {key:?} for an endpoint; known are {IFNAME}, {SYSCTLS}"),
    }
    request.driver_opts.insert(key.to_owned(), value.to_owned());
    Ok(())
}

/// `--ip`.
pub fn ipv4(text: &str) -> Result<Ipv4Addr> {
    let address = text.parse().ok();
    address.with_context(|| format!("invalid IPv4 address: {text}"))
}

/// `--ip6`.
pub fn ipv6(text: &str) -> Result<Ipv6Addr> {
    let address = text.parse().ok();
    address.with_context(|| format!("invalid IPv6 address: {text}"))
}

/// `--network-alias`, which becomes a name in hosts files.
pub fn alias(text: &str) -> Result<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    ensure!(
        !text.is_empty() && text.len() <= 253 && text.chars().all(fits),
        "invalid alias {text:?}: a host's name has letters, digits, dots and hyphens"
    );
    Ok(text.to_owned())
}

fn priority(text: &str) -> Result<i32> {
    let number = text.parse().ok();
    number.with_context(|| format!("invalid gw-priority: {text}"))
}

/// `--mac-address`, in the usual notation.
pub fn mac(text: &str) -> Result<String> {
    let mac: Mac = text.parse()?;
    Ok(mac.to_string())
}

/// A link's name, as the kernel wants it: dev_valid_name() in net/core/dev.c.
fn ifname(text: &str) -> Result<String> {
    let fits = !text.is_empty()
        && text.len() < 16
        && ![".", "..", "lo", "all", "default"].contains(&text)
        && !text.contains(['/', ':', '%'])
        && !text.contains(char::is_whitespace);
    ensure!(
        fits,
        "invalid interface name {text:?}: it has 1 to 15 characters, no slash, colon or space, and is not lo"
    );
    Ok(text.to_owned())
}

/// The flags beside `--network` concern the first network, as with Docker.
fn add_flags(args: &ContainerArgs, first: &mut NetworkRequest) -> Result<()> {
    let both = "conflicting options: cannot specify both";
    ensure!(
        args.network_alias.is_empty() || first.aliases.is_empty(),
        "{both} --network-alias and per-network alias"
    );
    ensure!(
        args.ip.is_none() || first.ipv4.is_none(),
        "{both} --ip and per-network IPv4 address"
    );
    ensure!(
        args.ip6.is_none() || first.ipv6.is_none(),
        "{both} --ip6 and per-network IPv6 address"
    );
    ensure!(
        args.mac_address.is_none() || first.mac.is_none(),
        "{both} --mac-address and per-network MAC address"
    );
    for name in &args.network_alias {
        first.aliases.push(alias(name)?);
    }
    if let Some(text) = &args.ip {
        first.ipv4 = Some(ipv4(text)?);
    }
    if let Some(text) = &args.ip6 {
        first.ipv6 = Some(ipv6(text)?);
    }
    if let Some(text) = &args.mac_address {
        first.mac = Some(mac(text)?);
    }
    if let Some(priority) = args.gw_priority {
        first.gw_priority = priority;
    }
    Ok(())
}

/// Without a network of its own, a container can have no address of its own.
fn own(args: &ContainerArgs, mode: &str) -> Result<()> {
    ensure!(
        args.ip.is_none()
            && args.ip6.is_none()
            && args.mac_address.is_none()
            && args.network_alias.is_empty(),
        "conflicting options: --ip, --ip6, --mac-address and --network-alias need a network of your own, not {mode}: \
         --network NAME (see rmac network create)"
    );
    Ok(())
}

/// What the other container decides cannot be asked for: Docker's words.
fn check_container(args: &ContainerArgs, name: &str) -> Result<()> {
    ensure!(
        !name.is_empty(),
        "invalid container format container:<name|id>"
    );
    let conflicts: BTreeMap<&str, bool> = [
        ("hostname", args.hostname.is_some()),
        ("custom host-to-IP mapping", !args.add_host.is_empty()),
        ("mac-address", args.mac_address.is_some()),
        (
            "dns",
            !args.dns.is_empty() || !args.dns_search.is_empty() || !args.dns_option.is_empty(),
        ),
        ("ip", args.ip.is_some() || args.ip6.is_some()),
        ("network-alias", !args.network_alias.is_empty()),
    ]
    .into();
    for (what, given) in conflicts {
        ensure!(
            !given,
            "conflicting options: {what} and the network mode (the container {name} decides that)"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_form_says_all_about_one_network() {
        let request = one(
            "name=lan,ip=172.16.86.9,ip6=fd00::9,alias=web,alias=www,mac-address=02:42:AC:10:56:09,\
             driver-opt=com.docker.network.endpoint.ifname=wan0,gw-priority=-3",
        )
        .unwrap();
        assert_eq!(
            request,
            NetworkRequest {
                name: "lan".into(),
                ipv4: Some(Ipv4Addr::new(172, 16, 86, 9)),
                ipv6: Some("fd00::9".parse().unwrap()),
                aliases: vec!["web".into(), "www".into()],
                mac: Some("02:42:ac:10:56:09".into()),
                ifname: Some("wan0".into()),
                gw_priority: -3,
                driver_opts: [(IFNAME.to_owned(), "wan0".to_owned())].into(),
            }
        );
        assert_eq!(one("lan").unwrap().name, "lan");
    }

    #[test]
    fn mistakes_have_their_texts() {
        for (text, error) in [
            ("ip=10.0.0.1", "network name/id is not specified"),
            ("name=a,nosuch=1", "invalid field key nosuch; known are"),
            ("name=a,ip", "invalid field ip in"),
            ("name=a,ip=10.0.0", "invalid IPv4 address: 10.0.0"),
            ("name=a,gw-priority=high", "invalid gw-priority: high"),
            ("name=a,driver-opt=x=y", "unknown driver option"),
            (
                "name=a,driver-opt=com.docker.network.endpoint.ifname=a/b",
                "invalid interface name",
            ),
        ] {
            let told = one(text).unwrap_err().to_string();
            assert!(told.starts_with(error), "{text}: {told}");
        }
    }
}
