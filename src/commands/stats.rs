//! `stats`: what containers use of the machine just now, by the counters of their cgroups and links.
//!
//! A counter only ever grows. So processor time in percent is a difference: what was used since the look before, of
//! the time that has passed; 100 is one processor.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::container::StatsArgs;
use crate::kernel::cgroups::{self, Layout, Usage};
use crate::out::stream::out;
use crate::out::{self, Columns, Format};
use crate::request::NetworkMode;
use crate::store::alive::Watcher;
use crate::store::containers::{self, Record, State};
use crate::store::{Home, short};
use crate::supervise::heal;

const COLUMNS: Columns = Columns {
    shown: &[
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    more: &[("Container", "CONTAINER")],
};

/// The time between two looks: Docker's.
const PAUSE: Duration = Duration::from_secs(1);

/// To the first line, and, behind what is new, the rest of the line and of the screen away.  console_codes(4)
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K\n";
const REST_OF_SCREEN: &str = "\x1b[J";

/// What a look at one container has found.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    usage: Usage,
    /// Bytes received and sent by its own links.
    links: (u64, u64),
}

/// `rmac stats`.
pub fn stats(home: &Home, args: &StatsArgs) -> Result<u8> {
    let layout = Layout::detect()?;
    let format = Format::parse(args.format.as_deref().unwrap_or_default());
    let memory = whole_memory();
    let named = named(home, args)?;
    let mut before = looks(home, &layout, &wanted(home, args, &named)?);
    loop {
        std::thread::sleep(PAUSE);
        // Others may have come and gone.
        let shown = wanted(home, args, &named)?;
        let now = looks(home, &layout, &shown);
        let rows = shown.iter().map(|shown| {
            let look = |looks: &HashMap<_, _>| looks.get(&shown.record.id).copied();
            match home.container(&shown.record.id).exists() {
                true => row(args, shown, look(&before), look(&now), memory),
                false => dashes(args, shown),
            }
        });
        let text = format.lines(&COLUMNS, &rows.collect::<Vec<_>>())?;
        if args.no_stream {
            out!("{text}");
            return Ok(0);
        }
        out!("{HOME}{}{REST_OF_SCREEN}", text.replace('\n', REST_OF_LINE));
        before = now;
    }
}

/// A container that is to be shown.
#[derive(Debug, Clone)]
struct Shown {
    /// As the user named it; otherwise its id.
    name: String,
    record: Record,
}

/// The containers that are named.
fn named(home: &Home, args: &StatsArgs) -> Result<Vec<Shown>> {
    let find = |name: &String| -> Result<Shown> {
        let record = containers::find(home, name)?;
        let name = name.clone();
        Ok(Shown { name, record })
    };
    args.containers.iter().map(find).collect()
}

/// The containers to be shown: the `named` ones, also when they are gone, or those that run, the newest first.
fn wanted(home: &Home, args: &StatsArgs, named: &[Shown]) -> Result<Vec<Shown>> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    // What does not run is not even opened, unless it is to be shown.
    let ids = match args.all {
        true => containers::ids(home),
        false => heal::sweep_and_see(&Watcher::new(home)),
    };
    let mut records = vec![];
    for id in ids {
        let up = State::load(home, &id)?.is_some_and(|state| state.status.is_up());
        if (args.all || up)
            && let Some(record) = Record::load(home, &id)?
        {
            records.push(record);
        }
    }
    records.sort_by_key(|record| std::cmp::Reverse(record.created));
    let shown = records.into_iter().map(|record| Shown {
        name: args.id(&record).to_owned(),
        record,
    });
    Ok(shown.collect())
}

/// Whether the links that the container sees are containers': its own, or those of the one whose network it shares.
fn has_links(home: &Home, record: &Record) -> bool {
    match &record.request.network {
        NetworkMode::Networks(_) => true,
        NetworkMode::Container(id) if *id != record.id => {
            Record::load(home, id).is_ok_and(|other| other.is_some_and(|it| has_links(home, &it)))
        }
        _ => false,
    }
}

/// Looks at each of those that run.
fn looks(home: &Home, layout: &Layout, shown: &[Shown]) -> HashMap<String, Look> {
    let look = |Shown { record, .. }: &Shown| {
        let state = State::load(home, &record.id).ok()??;
        let process = state.process.filter(|process| process.is_alive())?;
        let usage = cgroups::usage(layout, &record.request.cgroup(&record.id)).ok()?;
        let links = match has_links(home, record) {
            true => std::fs::read_to_string(format!("/proc/{}/net/dev", process.pid)),
            false => Ok(String::new()),
        };
        let look = Look {
            at: Instant::now(),
            usage,
            links: traffic(&links.unwrap_or_default()),
        };
        Some((record.id.clone(), look))
    };
    shown.iter().filter_map(look).collect()
}

/// The bytes that came in and went out by all links but the loopback.  proc_pid_net(5)
fn traffic(text: &str) -> (u64, u64) {
    let links = text.lines().filter_map(|line| line.split_once(':'));
    let others = links.filter(|(name, _)| name.trim() != "lo");
    others.fold((0, 0), |(received, sent), (_, numbers)| {
        let number = |at| -> u64 {
            let word = numbers.split_whitespace().nth(at);
            word.and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        (received + number(0), sent + number(8))
    })
}

/// A container's line. Of one that does not run, or that came just now, Docker's zeros.
fn row(
    args: &StatsArgs,
    shown: &Shown,
    before: Option<Look>,
    now: Option<Look>,
    whole: u64,
) -> Value {
    let Shown { name, record } = shown;
    let processor = match (before, now) {
        (Some(before), Some(now)) => {
            let used = now.usage.cpu.saturating_sub(before.usage.cpu);
            used as f64 / (now.at - before.at).as_nanos() as f64 * 100.0
        }
        _ => 0.0,
    };
    let usage = now.map(|now| now.usage).unwrap_or_default();
    let memory = usage.memory.saturating_sub(usage.inactive_file);
    let limit = match now {
        Some(_) => usage.memory_limit.unwrap_or(whole).min(whole),
        None => 0,
    };
    let share = match limit {
        0 => 0.0,
        limit => memory as f64 / limit as f64 * 100.0,
    };
    let (received, sent) = now.map(|now| now.links).unwrap_or_default();
    let both = |first, second| format!("{} / {}", out::size(first), out::size(second));
    json!({
        "BlockIO": both(usage.read, usage.written),
        "CPUPerc": format!("{processor:.2}%"),
        "Container": name,
        "ID": args.id(record),
        "MemPerc": format!("{share:.2}%"),
        "MemUsage": format!("{} / {}", out::binary_size(memory), out::binary_size(limit)),
        "Name": record.name,
        "NetIO": both(received, sent),
        "PIDs": usage.pids.to_string(),
    })
}

/// The line of one that was removed.
fn dashes(args: &StatsArgs, Shown { name, record }: &Shown) -> Value {
    json!({
        "BlockIO": "--",
        "CPUPerc": "--",
        "Container": name,
        "ID": args.id(record),
        "MemPerc": "--",
        "MemUsage": "-- / --",
        "Name": record.name,
        "NetIO": "--",
        "PIDs": "--",
    })
}

impl StatsArgs {
    /// The id of a container, in the length that is asked for.
    fn id<'a>(&self, record: &'a Record) -> &'a str {
        match self.no_trunc {
            true => &record.id,
            false => short(&record.id),
        }
    }
}

/// The machine's memory, bytes.  proc_meminfo(5)
fn whole_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|word| word.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_no_traffic() {
        let text = "Inter-|   Receive                            |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n    \
             lo:     100       1    0    0    0     0          0         0      100       1 0 0 0 0 0 0\n  \
             eth0:    1000       1    0    0    0     0          0         0       20       1 0 0 0 0 0 0\n  \
             eth1:       5       1    0    0    0     0          0         0        7       1 0 0 0 0 0 0\n";
        assert_eq!(traffic(text), (1005, 27));
        assert_eq!(traffic(""), (0, 0));
    }
}
