//! `ps`: the containers, one a line.

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::container::PsArgs;
use crate::out::{self, Columns, Format};
use crate::request::NetworkMode;
use crate::spec;
use crate::store::claim;
use crate::store::containers::{self, Record, State, Status};
use crate::store::{Home, short};

const COLUMNS: Columns = Columns {
    shown: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Ports", "PORTS"),
        ("Names", "NAMES"),
    ],
    more: &[
        ("CreatedAt", "CREATED AT"),
        ("Labels", "LABELS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Mounts", "MOUNTS"),
        ("Networks", "NETWORKS"),
        ("Size", "SIZE"),
        ("State", "STATE"),
    ],
};

/// `rmac ps`.
pub fn ps(home: &Home, args: &PsArgs) -> Result<u8> {
    let filters = args
        .filter
        .iter()
        .map(|text| Filter::parse(text))
        .collect::<Result<Vec<_>>>()?;
    let any_status = filters.iter().any(|filter| filter.key == "status");
    let all = args.all || args.latest || args.last.is_some() || any_status;
    // What does not run is not even opened, unless it is to be shown.
    let ids = if all {
        containers::ids(home)
    } else {
        claim::claimed(home)
    };
    let mut found: Vec<(Record, State)> = ids
        .iter()
        .filter_map(|id| Some((Record::load(home, id).ok()??, State::load(home, id).ok()??)))
        .collect();
    found.retain(|(record, state)| {
        (all || state.status == Status::Running)
            && filters.iter().all(|filter| filter.matches(record, state))
    });
    found.sort_by_key(|(record, _)| std::cmp::Reverse(record.created));
    let most = if args.latest { Some(1) } else { args.last };
    found.truncate(most.unwrap_or(usize::MAX));
    let now = Timestamp::now();
    let rows: Vec<Value> = found
        .iter()
        .map(|(record, state)| row(args, record, state, now))
        .collect();
    let format = match Format::parse(args.format.as_deref().unwrap_or_default()) {
        Format::Table if args.quiet => Format::parse("{{.ID}}"),
        format => format,
    };
    print!("{}", format.lines(&COLUMNS, &rows)?);
    Ok(0)
}

/// What has become of the container, in Docker's words: `Up 5 minutes`, `Exited (0) 2 hours ago`.
pub fn status(state: &State, now: Timestamp) -> String {
    match (state.status, state.started, state.finished) {
        (Status::Created, ..) => "Created".into(),
        (Status::Running, Some(started), _) => {
            let paused = if state.paused { " (Paused)" } else { "" };
            format!("Up {}{paused}", out::ago(started, now))
        }
        (Status::Running, None, _) => "Up".into(),
        (Status::Exited, _, Some(finished)) => format!(
            "Exited ({}) {} ago",
            state.exit_code,
            out::ago(finished, now)
        ),
        (Status::Exited, _, None) => format!("Exited ({})", state.exit_code),
    }
}

fn row(args: &PsArgs, record: &Record, state: &State, now: Timestamp) -> Value {
    let command = spec::args(&record.image_config, &record.request).join(" ");
    let command = if args.no_trunc {
        command
    } else {
        out::ellipsis(&command, 20)
    };
    let labels: Vec<String> = record
        .request
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let binds: Vec<String> = record
        .request
        .binds
        .iter()
        .map(|bind| bind.source.display().to_string())
        .collect();
    json!({
        "Command": format!("\"{}\"", out::escape(&command)),
        "CreatedAt": record.created.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        "ID": if args.no_trunc { record.id.as_str() } else { short(&record.id) },
        "Image": record.request.image,
        "Labels": labels.join(","),
        "LocalVolumes": "0",
        "Mounts": binds.join(","),
        "Names": record.name,
        "Networks": networks(record),
        "Ports": "",
        "RunningFor": format!("{} ago", out::ago(record.created, now)),
        "Size": "0B",
        "State": state.name(),
        "Status": status(state, now),
    })
}

fn networks(record: &Record) -> String {
    match &record.request.network {
        NetworkMode::None => "none".into(),
        NetworkMode::Host => "host".into(),
        NetworkMode::Container(id) => format!("container:{}", short(id)),
        NetworkMode::Networks(wanted) => wanted
            .iter()
            .map(|network| network.name.as_str())
            .collect::<Vec<_>>()
            .join(","),
    }
}

/// `-f KEY=VALUE`.
struct Filter {
    key: String,
    value: String,
}

impl Filter {
    fn parse(text: &str) -> Result<Self> {
        let Some((key, value)) = text.split_once('=') else {
            bail!("invalid argument {text:?} for \"-f, --filter\" flag: it should be KEY=VALUE");
        };
        if ![
            "id", "name", "status", "label", "ancestor", "network", "exited",
        ]
        .contains(&key)
        {
            bail!(
                "invalid filter '{key}'; known are: ancestor, exited, id, label, name, network, status"
            );
        }
        Ok(Filter {
            key: key.into(),
            value: value.into(),
        })
    }

    fn matches(&self, record: &Record, state: &State) -> bool {
        match self.key.as_str() {
            "id" => record.id.starts_with(&self.value),
            "name" => record.name.contains(self.value.trim_start_matches('/')),
            "status" => state.name() == self.value,
            "exited" => state.status == Status::Exited && state.exit_code.to_string() == self.value,
            "ancestor" => {
                record.request.image == self.value || record.image_id.contains(&self.value)
            }
            "network" => networks(record).split(',').any(|name| name == self.value),
            _ => match self.value.split_once('=') {
                Some((name, value)) => record
                    .request
                    .labels
                    .get(name)
                    .is_some_and(|label| label == value),
                None => record.request.labels.contains_key(&self.value),
            },
        }
    }
}
