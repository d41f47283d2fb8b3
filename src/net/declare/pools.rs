//! The addresses of a network: subnets, ranges, gateways, routes, and what belongs to which.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::neighbours::overlap;
use super::{Declaration, pairs};
use crate::net::ipam;
use crate::net::network::{IpRange, Ipam, Ipv6Policy, Kind, Network, Parent, Pool, Route};

/// Gives each gateway, range and auxiliary address to the subnet that contains it.
pub fn pools(declaration: &Declaration) -> Result<Vec<Pool>> {
    ensure!(
        declaration.subnets.len() >= declaration.ip_ranges.len()
            && declaration.subnets.len() >= declaration.gateways.len(),
        "every ip-range or gateway must have a corresponding subnet"
    );
    let mut pools: Vec<Pool> = Vec::new();
    for text in &declaration.subnets {
        let subnet = subnet(text)?;
        ensure!(
            pools.iter().all(|pool| !overlap(&pool.subnet, &subnet)),
            "multiple overlapping subnet configuration is not supported"
        );
        pools.push(Pool {
            subnet,
            ip_range: None,
            gateway: None,
            aux: BTreeMap::new(),
        });
    }
    for text in &declaration.ip_ranges {
        add_range(&mut pools, text)?;
    }
    for text in &declaration.gateways {
        add_gateway(&mut pools, text)?;
    }
    for (name, text) in pairs("--aux-address", &declaration.aux)? {
        let address = address("aux-address", &text)?;
        pool_of(&mut pools, address)
            .with_context(|| format!("no matching subnet for aux-address {text}"))?
            .aux
            .insert(name, address);
    }
    Ok(pools)
}

/// `-o onlink_gateway`: a router that is on the LAN though no subnet contains it.
pub fn add_on_link_gateway(
    pools: &mut [Pool],
    options: &BTreeMap<String, String>,
    kind: Kind,
) -> Result<()> {
    let Some(text) = options.get("onlink_gateway") else {
        return Ok(());
    };
    let gateway = address("onlink_gateway", text)?;
    ensure!(
        !kind.is_layer_3(),
        "an ipvlan in the modes l3 and l3s has no router: leave out -o onlink_gateway={text}"
    );
    ensure!(
        pools.iter().all(|pool| !pool.subnet.contains(&gateway)),
        "invalid option onlink_gateway={text}: a subnet of the network contains it, so it is a --gateway"
    );
    let mut found = false;
    for pool in pools.iter_mut() {
        if pool.subnet.addr().is_ipv4() == gateway.is_ipv4() {
            if let Some(other) = pool.gateway {
                bail!(
                    "conflicting options: --gateway {other} and -o onlink_gateway={text}: the subnet {} has one router",
                    pool.subnet
                );
            }
            pool.gateway = Some(gateway);
            found = true;
        }
    }
    ensure!(
        found,
        "no subnet of its family for -o onlink_gateway={text}: name one with --subnet"
    );
    Ok(())
}

/// `auto:SHARE/SHARES`: one of several equal parts of each subnet that has no range yet, so that hosts
/// which know nothing of each other give out different addresses.
fn add_share(pools: &mut [Pool], text: &str, share: &str) -> Result<()> {
    let numbers = share.split_once('/').and_then(|(share, shares)| {
        let (share, shares): (u32, u32) = (share.parse().ok()?, shares.parse().ok()?);
        (1 <= share && share <= shares).then_some((share, shares))
    });
    let (share, shares) = numbers.with_context(|| {
        format!("invalid ip-range {text}: it should be auto:SHARE/SHARES, such as auto:2/4 for the second of four hosts")
    })?;
    let mut without = pools
        .iter_mut()
        .filter(|pool| pool.ip_range.is_none())
        .peekable();
    ensure!(
        without.peek().is_some(),
        "no matching subnet for range {text}: each has a range already"
    );
    for pool in without {
        pool.ip_range = Some(
            ipam::share(&pool.subnet.into(), share, shares).with_context(|| {
                format!(
                    "invalid ip-range {text}: the subnet {} has fewer than {shares} addresses",
                    pool.subnet
                )
            })?,
        );
    }
    Ok(())
}

fn subnet(text: &str) -> Result<IpNet> {
    let subnet: IpNet = text.parse().map_err(|_| {
        anyhow!("invalid subnet {text}: invalid CIDR block notation, such as 172.16.86.0/24")
    })?;
    ensure!(
        subnet == subnet.trunc(),
        "invalid network config:\ninvalid subnet {text}: it should be {}",
        subnet.trunc()
    );
    Ok(subnet)
}

fn add_range(pools: &mut [Pool], text: &str) -> Result<()> {
    if let Some(share) = text.strip_prefix("auto:") {
        return add_share(pools, text, share);
    }
    let range: IpRange = text.parse()?;
    let pool = pool_of(pools, range.first)
        .with_context(|| format!("no matching subnet for range {text}"))?;
    if let Some(other) = pool.ip_range {
        bail!(
            "cannot configure multiple ranges ({text}, {other}) on the same subnet ({})",
            pool.subnet
        );
    }
    ensure!(
        pool.subnet.contains(&range.first) && pool.subnet.contains(&range.last),
        "invalid network config:\ninvalid ip-range {text}: parent subnet {} doesn't contain ip-range",
        pool.subnet
    );
    if let Ok(net) = text.parse::<IpNet>() {
        ensure!(
            net == net.trunc(),
            "invalid network config:\ninvalid ip-range {text}: it should be {}",
            net.trunc()
        );
    }
    pool.ip_range = Some(range);
    Ok(())
}

fn add_gateway(pools: &mut [Pool], text: &str) -> Result<()> {
    let gateway = address("gateway", text)?;
    let pool = pool_of(pools, gateway)
        .with_context(|| format!("no matching subnet for gateway {text}"))?;
    if let Some(other) = pool.gateway {
        bail!(
            "cannot configure multiple gateways ({text}, {other}) for the same subnet ({})",
            pool.subnet
        );
    }
    let last_is_broadcast = gateway.is_ipv4();
    ensure!(
        pool.subnet.max_prefix_len() - pool.subnet.prefix_len() < 2
            || (gateway != pool.subnet.network()
                && !(last_is_broadcast && gateway == pool.subnet.broadcast())),
        "invalid gateway {text}: it is the network or the broadcast address of {}",
        pool.subnet
    );
    pool.gateway = Some(gateway);
    Ok(())
}

/// Looks whether there is a pool for each family that addresses are given out of. A network that leads
/// nowhere gets one by itself, since there is nobody whose addresses it could clash with.
pub fn complete(
    pools: &mut Vec<Pool>,
    declaration: &Declaration,
    parent: &Parent,
    existing: &[Network],
    ipv6: Ipv6Policy,
    ipam: Ipam,
    id: &str,
) -> Result<()> {
    let has_ipv4 = pools.iter().any(|pool| pool.subnet.addr().is_ipv4());
    let has_ipv6 = pools.iter().any(|pool| pool.subnet.addr().is_ipv6());
    if ipam != Ipam::Default {
        ensure!(
            pools.is_empty(),
            "conflicting options: with --ipam-driver={ipam} rmac gives out no addresses, so leave out --subnet"
        );
        return Ok(());
    }
    ensure!(
        declaration.ipv4 || !has_ipv4,
        "conflicting options: --ipv4=false and an IPv4 subnet"
    );
    if declaration.ipv4 && !has_ipv4 {
        ensure!(
            parent.is_isolated(),
            "ipv4 pool is empty: say which addresses the LAN behind the parent uses, such as --subnet=172.16.86.0/24 --gateway=172.16.86.1, or do without IPv4 (--ipv4=false)"
        );
        pools.push(pool(free_pool(existing)?));
    }
    if ipv6 == Ipv6Policy::Static && !has_ipv6 {
        ensure!(
            parent.is_isolated(),
            "ipv6 pool is empty: say which addresses the LAN behind the parent uses, such as --subnet=fd00:86::/64, or leave them to its routers (--ipv6=slaac)"
        );
        pools.push(pool(unique_local(id).into()));
    }
    Ok(())
}

/// The first of Docker's default pools that no network has: 172.17.0.0/16 to 172.31.0.0/16.
fn free_pool(existing: &[Network]) -> Result<IpNet> {
    let used = |net: &IpNet| {
        let mut pools = existing.iter().flat_map(|network| &network.subnets);
        pools.any(|pool| overlap(&pool.subnet, net))
    };
    (17..32)
        .map(|second| IpNet::from(Ipv4Net::new_assert([172, second, 0, 0].into(), 16)))
        .find(|net| !used(net))
        .context(
            "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network: name one with --subnet",
        )
}

/// A prefix for local use, RFC 4193, out of the network's id.
fn unique_local(id: &str) -> Ipv6Net {
    let digits = u64::from_str_radix(&id[..id.len().min(14)], 16).unwrap_or_default();
    let prefix = (0xfd << 56) | (digits & 0x00ff_ffff_ffff_ffff);
    Ipv6Net::new_assert((u128::from(prefix) << 64).into(), 64)
}

fn pool(subnet: IpNet) -> Pool {
    Pool {
        subnet,
        ip_range: None,
        gateway: None,
        aux: BTreeMap::new(),
    }
}

/// `--route DST,GATEWAY[,METRIC]`.
pub fn routes(texts: &[String], pools: &[Pool], kind: Kind) -> Result<Vec<Route>> {
    let routes: Vec<Route> = texts
        .iter()
        .map(|text| route(text))
        .collect::<Result<_>>()?;
    for route in &routes {
        ensure!(
            !kind.is_layer_3(),
            "an ipvlan in the modes l3 and l3s has no router: leave out --route {}",
            route.dst
        );
        let mut pools = pools
            .iter()
            .filter(|pool| pool.subnet.addr().is_ipv4() == route.via.is_ipv4())
            .peekable();
        ensure!(
            pools.peek().is_none() || pools.any(|pool| pool.subnet.contains(&route.via)),
            "no matching subnet for gateway {} of the route to {}",
            route.via,
            route.dst
        );
    }
    Ok(routes)
}

fn route(text: &str) -> Result<Route> {
    let wrong = || {
        anyhow!(
            "invalid route {text}: it should be DESTINATION,GATEWAY[,METRIC], such as 10.0.0.0/8,172.16.86.1"
        )
    };
    let mut parts = text.split(',');
    let mut part = || parts.next();
    let dst: IpNet = part().and_then(|dst| dst.parse().ok()).ok_or_else(wrong)?;
    let via: IpAddr = part().and_then(|via| via.parse().ok()).ok_or_else(wrong)?;
    let metric = match part() {
        Some(metric) => Some(metric.parse().map_err(|_| wrong())?),
        None => None,
    };
    ensure!(
        parts.next().is_none() && dst.addr().is_ipv4() == via.is_ipv4(),
        wrong()
    );
    ensure!(
        dst == dst.trunc(),
        "invalid route {text}: the destination should be {}",
        dst.trunc()
    );
    Ok(Route { dst, via, metric })
}

fn address(what: &str, text: &str) -> Result<IpAddr> {
    text.parse()
        .map_err(|_| anyhow!("invalid {what} {text}: not an IP address"))
}

fn pool_of(pools: &mut [Pool], address: IpAddr) -> Option<&mut Pool> {
    pools.iter_mut().find(|pool| pool.subnet.contains(&address))
}
