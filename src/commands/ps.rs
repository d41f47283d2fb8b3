//! `ps`: the containers, one a line.

mod wanted;

use std::collections::HashSet;
use std::fmt::{self, Write};

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;

use crate::cli::container::PsArgs;
use crate::out::stream::out;
use crate::out::{self, Columns, Format, Row};
use crate::store::alive::Watcher;
use crate::store::containers::{self, Status};
use crate::store::summary::{self, Summary};
use crate::store::{Home, short};
use crate::supervise::heal;
use wanted::Wanted;

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
    let wanted = Wanted::read(home, &args.filter)?;
    let any_status = wanted.any_status();
    let all = args.all || args.latest || args.last.is_some() || any_status;
    // One look at each that runs tells whether its monitor lives, and what is to be shown of it. What does not
    // run is not even opened, unless it is to be shown.
    let watcher = Watcher::new(home);
    let live = heal::sweep_and_see(&watcher);
    let mut found = Vec::with_capacity(live.len());
    let mut rest = vec![];
    for id in &live {
        match watcher.told(id).and_then(Summary::read) {
            Some(summary) => found.push(summary),
            None => rest.push(id.clone()),
        }
    }
    if all {
        let live: HashSet<&String> = live.iter().collect();
        let others = containers::ids(home).into_iter();
        rest.extend(others.filter(|id| !live.contains(id)));
    }
    let made = rest.iter().filter_map(|id| summary::make(home, id));
    let made: Vec<String> = made.collect();
    found.extend(made.iter().filter_map(|text| Summary::read(text)));
    found.retain(|summary| (all || summary.status.is_up()) && wanted.has(home, summary));
    found.sort_by_key(|summary| std::cmp::Reverse(summary.created));
    let most = if args.latest { Some(1) } else { args.last };
    found.truncate(most.unwrap_or(usize::MAX));
    let now = Timestamp::now();
    let line = |summary| Line { args, summary, now };
    let lines: Vec<Line> = found.iter().map(line).collect();
    match Format::parse(args.format.as_deref().unwrap_or_default()) {
        Format::Table if args.quiet => {
            let ids: String = found
                .iter()
                .flat_map(|summary| [id(args, summary), "\n"])
                .collect();
            out!("{ids}");
        }
        format => out!("{}", format.lines(&COLUMNS, &lines)?),
    }
    Ok(0)
}

/// All containers, the newest first: the id of each, and what a list shows of it.
pub(super) fn all(home: &Home) -> Vec<(String, Value)> {
    let texts = containers::ids(home).into_iter();
    let texts: Vec<String> = texts.filter_map(|id| summary::make(home, &id)).collect();
    let mut found: Vec<Summary> = texts
        .iter()
        .filter_map(|text| Summary::read(text))
        .collect();
    found.sort_by_key(|summary| std::cmp::Reverse(summary.created));
    let (args, now) = (PsArgs::default(), Timestamp::now());
    let line = |summary: &Summary| {
        let line = Line {
            args: &args,
            summary,
            now,
        };
        (summary.id.to_owned(), line.object(&COLUMNS).into_owned())
    };
    found.iter().map(line).collect()
}

fn id<'a>(args: &PsArgs, summary: &Summary<'a>) -> &'a str {
    match args.no_trunc {
        true => summary.id,
        false => short(summary.id),
    }
}

/// One container.
struct Line<'a> {
    args: &'a PsArgs,
    summary: &'a Summary<'a>,
    now: Timestamp,
}

impl Row for Line<'_> {
    fn cell(&self, field: &str, text: &mut String) {
        // A text takes whatever is written to it.
        let _ = self.write(field, text);
    }
}

impl Line<'_> {
    fn write(&self, field: &str, text: &mut String) -> fmt::Result {
        let Line { args, summary, now } = self;
        match field {
            "ID" => text.push_str(id(args, summary)),
            "Image" => text.push_str(summary.image),
            "Command" => {
                let command = match args.no_trunc {
                    true => summary.command.into(),
                    false => out::ellipsis(summary.command, 20),
                };
                text.extend(["\"", &out::escape(&command), "\""]);
            }
            "RunningFor" => write!(text, "{} ago", out::ago(summary.created, *now))?,
            "Status" => self.status(text)?,
            "Names" => text.push_str(summary.name),
            "CreatedAt" => {
                let created = summary.created.strftime("%Y-%m-%d %H:%M:%S +0000 UTC");
                write!(text, "{created}")?;
            }
            "Labels" => {
                let labels = summary.labels();
                let labels: Vec<String> = labels
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                text.push_str(&labels.join(","));
            }
            "LocalVolumes" => text.push('0'),
            "Mounts" => text.push_str(&summary.mounts().collect::<Vec<_>>().join(",")),
            "Networks" => text.push_str(summary.networks),
            "Size" => text.push_str("0B"),
            "State" => text.push_str(summary.state_name()),
            // Ports: a container on a LAN publishes none.
            _ => (),
        }
        Ok(())
    }

    /// What has become of the container, in Docker's words: `Up 5 minutes`, `Exited (0) 2 hours ago`.
    fn status(&self, text: &mut String) -> fmt::Result {
        let Line { summary, now, .. } = self;
        match (summary.status, summary.started, summary.finished) {
            (Status::Created, ..) => text.push_str("Created"),
            (Status::Running, Some(started), _) => {
                let paused = if summary.paused { " (Paused)" } else { "" };
                write!(text, "Up {}{paused}", out::ago(started, *now))?;
            }
            (Status::Running, None, _) => text.push_str("Up"),
            (Status::Restarting, _, Some(finished)) => {
                let code = summary.exit_code;
                write!(text, "Restarting ({code}) {} ago", out::ago(finished, *now))?;
            }
            (Status::Restarting, _, None) => write!(text, "Restarting ({})", summary.exit_code)?,
            (Status::Exited, _, Some(finished)) => {
                let code = summary.exit_code;
                write!(text, "Exited ({code}) {} ago", out::ago(finished, *now))?;
            }
            (Status::Exited, _, None) => write!(text, "Exited ({})", summary.exit_code)?,
        }
        Ok(())
    }
}
