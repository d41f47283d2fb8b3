//! `ps`: the containers, one a line.

mod wanted;

use std::collections::HashSet;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;

use crate::cli::container::PsArgs;
use crate::out::stream::{out, outln};
use crate::out::{self, Columns, Format};
use crate::store::containers::{self, Status};
use crate::store::summary::Summary;
use crate::store::{Home, short};
use crate::supervise::heal;
use wanted::Wanted;

const SHOWN: [(&str, &str); 7] = [
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
];

const COLUMNS: Columns = Columns {
    shown: &SHOWN,
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
    let wanted = Wanted::read(home, &args.filter)?;
    let any_status = wanted.any_status();
    let all = args.all || args.latest || args.last.is_some() || any_status;
    // One look at each that runs tells whether its monitor lives, and what is to be shown of it. What does not
    // run is not even opened, unless it is to be shown.
    let mut found: Vec<Summary> = vec![];
    heal::sweep_and_see(home, |id, all| {
        found.extend(Summary::load_at(home, id, all).ok().flatten());
    });
    if all {
        let seen: HashSet<String> = found.iter().map(|summary| summary.id.clone()).collect();
        let others = containers::ids(home).into_iter();
        let others = others.filter(|id| !seen.contains(id));
        found.extend(others.filter_map(|id| Summary::load(home, &id).ok()?));
    }
    found.retain(|summary| (all || summary.status == Status::Running) && wanted.has(home, summary));
    found.sort_by_key(|summary| std::cmp::Reverse(summary.created));
    let most = if args.latest { Some(1) } else { args.last };
    found.truncate(most.unwrap_or(usize::MAX));
    let now = Timestamp::now();
    let format = match Format::parse(args.format.as_deref().unwrap_or_default()) {
        Format::Table if args.quiet => {
            found
                .iter()
                .for_each(|summary| outln!("{}", id(args, summary)));
            return Ok(0);
        }
        Format::Table => {
            let header = SHOWN.map(|(_, title)| title);
            let cells = found.iter().map(|summary| cells(args, summary, now));
            out!("{}", out::table(&header, &cells.collect::<Vec<_>>()));
            return Ok(0);
        }
        format => format,
    };
    let rows: Vec<Value> = found
        .iter()
        .map(|summary| row(args, summary, now))
        .collect();
    out!("{}", format.lines(&COLUMNS, &rows)?);
    Ok(0)
}

/// What has become of the container, in Docker's words: `Up 5 minutes`, `Exited (0) 2 hours ago`.
fn status(summary: &Summary, now: Timestamp) -> String {
    match (summary.status, summary.started, summary.finished) {
        (Status::Created, ..) => "Created".into(),
        (Status::Running, Some(started), _) => {
            let paused = if summary.paused { " (Paused)" } else { "" };
            format!("Up {}{paused}", out::ago(started, now))
        }
        (Status::Running, None, _) => "Up".into(),
        (Status::Exited, _, Some(finished)) => format!(
            "Exited ({}) {} ago",
            summary.exit_code,
            out::ago(finished, now)
        ),
        (Status::Exited, _, None) => format!("Exited ({})", summary.exit_code),
    }
}

fn id<'a>(args: &PsArgs, summary: &'a Summary) -> &'a str {
    if args.no_trunc {
        &summary.id
    } else {
        short(&summary.id)
    }
}

/// What a table shows if nothing else is asked for, in the order of its columns.
fn cells(args: &PsArgs, summary: &Summary, now: Timestamp) -> [String; SHOWN.len()] {
    let command = match args.no_trunc {
        true => summary.command.clone(),
        false => out::ellipsis(&summary.command, 20),
    };
    [
        id(args, summary).to_owned(),
        summary.image.clone(),
        format!("\"{}\"", out::escape(&command)),
        format!("{} ago", out::ago(summary.created, now)),
        status(summary, now),
        String::new(),
        summary.name.clone(),
    ]
}

/// All that can be asked for.
fn row(args: &PsArgs, summary: &Summary, now: Timestamp) -> Value {
    let shown = SHOWN.iter().zip(cells(args, summary, now));
    let mut row: Value = shown
        .map(|((field, _), cell)| ((*field).to_owned(), Value::from(cell)))
        .collect();
    let labels: Vec<String> = summary
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mounts: Vec<String> = summary
        .mounts
        .iter()
        .map(|source| source.display().to_string())
        .collect();
    row["CreatedAt"] = summary
        .created
        .strftime("%Y-%m-%d %H:%M:%S +0000 UTC")
        .to_string()
        .into();
    row["Labels"] = labels.join(",").into();
    row["LocalVolumes"] = "0".into();
    row["Mounts"] = mounts.join(",").into();
    row["Networks"] = summary.networks.as_str().into();
    row["Size"] = "0B".into();
    row["State"] = summary.state_name().into();
    // As Docker has them in JSON.
    row.sort_all_objects();
    row
}
