//! `rmac network ls`: the networks, one a line.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::cli::network::LsArgs;
use crate::commands::filter::{self, Filters};
use crate::net::network::{Ipv6Policy, Network};
use crate::out::stream::out;
use crate::out::{Columns, Format};
use crate::store::{Home, networks, short};

const COLUMNS: Columns = Columns {
    shown: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
    ],
    more: &[
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
};

/// Prints the networks.
pub fn ls(home: &Home, args: &LsArgs) -> Result<()> {
    let filters = filters(&args.filter)?;
    let mut networks = networks::list(home)?;
    networks.retain(|network| filters.show(|key, value| matches(network, key, value)));
    out!("{}", lines(args, &networks)?);
    Ok(())
}

fn filters(texts: &[String]) -> Result<Filters> {
    let known = ["driver", "id", "label", "name", "scope", "type"];
    let filters = Filters::parse(texts, &known)?;
    if let Some(value) = filters
        .values("type")
        .find(|value| !["builtin", "custom"].contains(value))
    {
        bail!("invalid filter 'type={value}'; known are: builtin, custom");
    }
    Ok(filters)
}

fn lines(args: &LsArgs, networks: &[Network]) -> Result<String> {
    let rows: Vec<Value> = networks.iter().map(|network| row(args, network)).collect();
    let format = Format::parse(args.format.as_deref().unwrap_or(""));
    match format {
        Format::Table if args.quiet => Format::parse("{{.ID}}").lines(&COLUMNS, &rows),
        format => format.lines(&COLUMNS, &rows),
    }
}

fn row(args: &LsArgs, network: &Network) -> Value {
    let id = match args.no_trunc {
        true => network.id.as_str(),
        false => short(&network.id),
    };
    let labels = network.labels.iter();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    json!({
        "CreatedAt": network.created.strftime("%Y-%m-%d %H:%M:%S%.9f +0000 UTC").to_string(),
        "Driver": network.driver.to_string(),
        "ID": id,
        "IPv4": network.enable_ipv4.to_string(),
        "IPv6": (network.ipv6 != Ipv6Policy::Off).to_string(),
        "Internal": network.internal.to_string(),
        "Labels": labels.join(","),
        "Name": network.name,
        "Scope": "local",
    })
}

/// Whether the network is what the filter `key=value` asks for.
fn matches(network: &Network, key: &str, value: &str) -> bool {
    match key {
        "driver" => network.driver.to_string() == value,
        "id" => network.id.starts_with(value),
        "name" => filter::name(&network.name, value),
        "scope" => value == "local",
        "type" => network.is_predefined() == (value == "builtin"),
        _ => filter::label(filter::labels(&network.labels), value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_docker_s() {
        let text = lines(&LsArgs::default(), &Network::predefined()).unwrap();
        assert_eq!(
            text,
            "NETWORK ID     NAME      DRIVER    SCOPE\n\
             b13f5d0a7c2e   host      host      local\n\
             e6029c84d1f7   none      null      local\n"
        );
        let quiet = LsArgs {
            quiet: true,
            no_trunc: true,
            ..LsArgs::default()
        };
        let text = lines(&quiet, &Network::predefined()).unwrap();
        assert!(text.lines().all(|line| line.len() == 64), "{text}");
        let template = LsArgs {
            format: Some("{{.Name}} {{.CreatedAt}}".into()),
            ..LsArgs::default()
        };
        let text = lines(&template, &Network::predefined()).unwrap();
        assert!(
            text.starts_with("host 1970-01-01 00:00:00.000000000 +0000 UTC\n"),
            "{text}"
        );
    }

    #[test]
    fn filters_of_one_key_are_alternatives() {
        let names = |texts: &[&str]| -> Vec<String> {
            let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            let filters = filters(&texts).unwrap();
            let mut networks = Network::predefined().to_vec();
            networks.retain(|network| filters.show(|key, value| matches(network, key, value)));
            networks.into_iter().map(|network| network.name).collect()
        };
        assert_eq!(names(&["driver=null"]), ["none"]);
        assert_eq!(names(&["name=host", "name=none"]), ["host", "none"]);
        assert_eq!(names(&["name=host", "driver=null"]), [""; 0]);
        assert_eq!(names(&["type=custom"]), [""; 0]);
        assert_eq!(names(&["label=a"]), [""; 0]);
        assert!(filters(&["color=red".into()]).is_err());
        assert!(filters(&["type=red".into()]).is_err());
    }
}
