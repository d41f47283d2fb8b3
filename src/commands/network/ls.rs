//! `rmac network ls`: the networks, one a line.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::cli::network::LsArgs;
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
    let filters = args
        .filter
        .iter()
        .map(|text| Filter::parse(text))
        .collect::<Result<Vec<_>>>()?;
    let mut networks = networks::list(home)?;
    networks.retain(|network| Filter::all_match(&filters, network));
    out!("{}", lines(args, &networks)?);
    Ok(())
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

/// `-f KEY=VALUE`.
struct Filter {
    key: String,
    value: String,
}

impl Filter {
    fn parse(text: &str) -> Result<Filter> {
        let Some((key, value)) = text.split_once('=') else {
            bail!("invalid argument {text:?} for \"-f, --filter\" flag: it should be KEY=VALUE");
        };
        let key = key.trim().to_lowercase();
        if !["driver", "id", "label", "name", "scope", "type"].contains(&key.as_str()) {
            bail!("invalid filter '{key}'; known are: driver, id, label, name, scope, type");
        }
        if key == "type" && !["builtin", "custom"].contains(&value) {
            bail!("invalid filter 'type={value}'; known are: builtin, custom");
        }
        Ok(Filter {
            key,
            value: value.trim().to_owned(),
        })
    }

    /// Several values of one key are alternatives (labels excepted), several keys must all match.
    fn all_match(filters: &[Filter], network: &Network) -> bool {
        filters.iter().all(|filter| {
            let mut alternatives = filters
                .iter()
                .filter(|other| other.key == filter.key && filter.key != "label");
            filter.matches(network) || alternatives.any(|other| other.matches(network))
        })
    }

    fn matches(&self, network: &Network) -> bool {
        let value = self.value.as_str();
        match self.key.as_str() {
            "driver" => network.driver.to_string() == value,
            "id" => network.id.starts_with(value),
            "name" => network.name.contains(value),
            "scope" => value == "local",
            "type" => network.is_predefined() == (value == "builtin"),
            _ => match value.split_once('=') {
                Some((key, value)) => network.labels.get(key).is_some_and(|had| had == value),
                None => network.labels.contains_key(value),
            },
        }
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
            let filters: Vec<Filter> = texts.iter().map(|t| Filter::parse(t).unwrap()).collect();
            let mut networks = Network::predefined().to_vec();
            networks.retain(|network| Filter::all_match(&filters, network));
            networks.into_iter().map(|network| network.name).collect()
        };
        assert_eq!(names(&["driver=null"]), ["none"]);
        assert_eq!(names(&["name=host", "name=none"]), ["host", "none"]);
        assert_eq!(names(&["name=host", "driver=null"]), [""; 0]);
        assert_eq!(names(&["type=custom"]), [""; 0]);
        assert_eq!(names(&["label=a"]), [""; 0]);
        assert!(Filter::parse("color=red").is_err());
    }
}
