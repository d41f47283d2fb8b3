//! `rmac network inspect`: everything about a network, in Docker's JSON.

use std::net::IpAddr;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{all_or_errors, runs};
use crate::cli::network::InspectArgs;
use crate::net::ipam;
use crate::net::network::{Ipv6Policy, Network, Pool};
use crate::out;
use crate::out::stream::outln;
use crate::store::leases::{self, Lease};
use crate::store::{Home, networks};

/// Prints the networks that there are, and returns the errors of the others.
pub fn inspect(home: &Home, args: &InspectArgs) -> Result<()> {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for reference in &args.networks {
        match networks::load(home, reference).and_then(|network| describe(home, &network)) {
            Ok(value) => found.push(value),
            Err(error) => errors.push(error),
        }
    }
    match args.format.as_deref() {
        None | Some("") => outln!("{}", out::json(&found)),
        Some("json") => outln!("{}", Value::Array(found)),
        Some(template) => {
            for value in &found {
                outln!("{}", out::render(template, value)?);
            }
        }
    }
    all_or_errors(errors)
}

fn describe(home: &Home, network: &Network) -> Result<Value> {
    let mut leases = Vec::new();
    if !network.is_predefined() {
        leases::reclaim(home, &network.id)?;
        leases = leases::list(home, &network.id)?;
    }
    let mut active = Vec::new();
    for lease in &leases {
        if runs(home, lease)? {
            active.push(lease);
        }
    }
    Ok(value(network, &leases, &active))
}

/// The network as Docker describes it; only the `active` of its leases are endpoints.
fn value(network: &Network, leases: &[Lease], active: &[&Lease]) -> Value {
    let mut taken: Vec<IpAddr> = leases.iter().flat_map(Lease::addresses).collect();
    taken.sort_unstable();
    let containers: Map<String, Value> = active
        .iter()
        .map(|lease| (lease.container.clone(), container(network, lease)))
        .collect();
    let ipam = match network.is_predefined() {
        true => json!({"Driver": "default", "Options": null, "Config": null}),
        false => json!({
            "Driver": network.ipam.as_str(),
            "Options": {},
            "Config": network.subnets.iter().map(config).collect::<Vec<_>>(),
        }),
    };
    let mut value = json!({
        "Name": network.name,
        "Id": network.id,
        "Created": network.created.to_string(),
        "Scope": "local",
        "Driver": network.driver.to_string(),
        "EnableIPv4": network.enable_ipv4,
        "EnableIPv6": network.ipv6 != Ipv6Policy::Off,
        "IPAM": ipam,
        "Internal": network.internal,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Options": network.options,
        "Labels": network.labels,
        "Containers": containers,
    });
    if !network.is_predefined() {
        let subnets: Map<String, Value> = network
            .subnets
            .iter()
            .map(|pool| (pool.subnet.to_string(), usage(pool, &taken)))
            .collect();
        value["Status"] = json!({"IPAM": {"Subnets": subnets}});
    }
    value
}

/// A pool; what was not declared is left out.
fn config(pool: &Pool) -> Value {
    let mut config = json!({"Subnet": pool.subnet});
    if let Some(range) = pool.ip_range {
        config["IPRange"] = json!(range);
    }
    if let Some(gateway) = pool.gateway {
        config["Gateway"] = json!(gateway);
    }
    if !pool.aux.is_empty() {
        config["AuxiliaryAddresses"] = json!(pool.aux);
    }
    config
}

fn container(network: &Network, lease: &Lease) -> Value {
    let with_prefix = |address: Option<IpAddr>| {
        address.map_or_else(String::new, |address| {
            let pool = ipam::pool_of(network, address);
            match pool {
                Some(pool) => format!("{address}/{}", pool.subnet.prefix_len()),
                None => address.to_string(),
            }
        })
    };
    json!({
        "Name": lease.name,
        "EndpointID": lease.endpoint,
        "MacAddress": lease.mac.map_or_else(String::new, |mac| mac.to_string()),
        "IPv4Address": with_prefix(lease.ipv4.map(IpAddr::V4)),
        "IPv6Address": with_prefix(lease.ipv6.map(IpAddr::V6)),
    })
}

fn usage(pool: &Pool, taken: &[IpAddr]) -> Value {
    let (in_use, available) = ipam::count(pool, taken);
    json!({"IPsInUse": in_use, "DynamicIPsAvailable": available})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::declare::Declaration;
    use crate::net::endpoint::Mac;
    use crate::net::host::{Host, Link};
    use crate::store::leases::State;

    #[test]
    fn keys_are_docker_s_in_docker_s_order() {
        let declaration = Declaration {
            name: "my-macvlan-net".into(),
            subnets: vec!["172.16.86.0/24".into()],
            gateways: vec!["172.16.86.1".into()],
            options: vec!["parent=eth0".into()],
            ipv4: true,
            ..Declaration::default()
        };
        let created = "2026-11-24T07:00:00.5Z".parse().unwrap();
        let host = Host {
            links: vec![Link {
                index: 2,
                name: "eth0".into(),
                ..Link::default()
            }],
            default_route: None,
        };
        let network = Network::declare(&declaration, &[], &host, "5e".repeat(32), created).unwrap();
        let address = std::net::Ipv4Addr::new(172, 16, 86, 2);
        let lease = Lease {
            state: State::Held,
            ipv4: Some(address),
            ipv6: None,
            mac: Some(Mac::of(address)),
            container: "be".repeat(32),
            endpoint: "8c".repeat(32),
            name: "my-macvlan-alpine".into(),
        };
        let text = value(&network, std::slice::from_ref(&lease), &[&lease]).to_string();
        assert_eq!(
            text,
            format!(
                concat!(
                    r#"{{"Name":"my-macvlan-net","Id":"{}","Created":"2026-11-24T07:00:00.5Z","#,
                    r#""Scope":"local","Driver":"macvlan","EnableIPv4":true,"EnableIPv6":false,"#,
                    r#""IPAM":{{"Driver":"default","Options":{{}},"#,
                    r#""Config":[{{"Subnet":"172.16.86.0/24","Gateway":"172.16.86.1"}}]}},"#,
                    r#""Internal":false,"Attachable":false,"Ingress":false,"#,
                    r#""ConfigFrom":{{"Network":""}},"ConfigOnly":false,"#,
                    r#""Options":{{"parent":"eth0"}},"Labels":{{}},"#,
                    r#""Containers":{{"{}":{{"Name":"my-macvlan-alpine","EndpointID":"{}","#,
                    r#""MacAddress":"02:42:ac:10:56:02","IPv4Address":"172.16.86.2/24","#,
                    r#""IPv6Address":""}}}},"#,
                    r#""Status":{{"IPAM":{{"Subnets":{{"172.16.86.0/24":"#,
                    r#"{{"IPsInUse":4,"DynamicIPsAvailable":252}}}}}}}}}}"#
                ),
                network.id, lease.container, lease.endpoint
            )
        );
        let stopped = value(&network, &[lease], &[]);
        assert_eq!(stopped["Containers"], json!({}));
    }
}
