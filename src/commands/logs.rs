//! `logs`: what the program wrote, from the container's log.

use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::cli::container::LogsArgs;
use crate::request::Restart;
use crate::store::Home;
use crate::store::claim::is_claimed;
use crate::store::containers::{self, Record, State, Status};
use crate::supervise::log::{Entry, Reader, Stream};

/// `rmac logs`.
pub fn logs(home: &Home, args: &LogsArgs) -> Result<u8> {
    let record = containers::find(home, &args.container)?;
    let tail = match args.tail.as_str() {
        "all" => None,
        number => Some(number.parse::<usize>().with_context(|| {
            format!("invalid value for \"--tail\": {number}: give a number or all")
        })?),
    };
    let window = Window {
        since: args.since.as_deref().map(moment).transpose()?,
        until: args.until.as_deref().map(moment).transpose()?,
    };
    let mut reader = Reader::new(&record.log_path(home));
    let mut kept = VecDeque::new();
    while let Some(entry) = reader.entry()? {
        if window.holds(&entry) {
            kept.push_back(entry);
            if tail.is_some_and(|tail| kept.len() > tail) {
                kept.pop_front();
            }
        }
    }
    for entry in &kept {
        if !show(entry, args)? {
            return Ok(0);
        }
    }
    if args.follow {
        follow(home, &record, &mut reader, &window, args)?;
    }
    Ok(0)
}

/// Whether what is followed goes on: as with Docker, to the end of the program, also where that will be started again.
fn goes_on(home: &Home, record: &Record, began: Option<Timestamp>) -> bool {
    let same = |state: State| state.status == Status::Running && state.started == began;
    let lives = || {
        State::load(home, &record.id)
            .ok()
            .flatten()
            .is_some_and(same)
    };
    is_claimed(home, &record.id) && (record.request.restart == Restart::No || lives())
}

/// Shows what is added until the program has come to its end.
fn follow(
    home: &Home,
    record: &Record,
    reader: &mut Reader,
    window: &Window,
    args: &LogsArgs,
) -> Result<()> {
    let changes = Changes::of(&home.container(&record.id))?;
    let began = State::load(home, &record.id)?.and_then(|state| state.started);
    loop {
        // Asked before reading: what was written before the end is read after it.
        let alive = goes_on(home, record, began);
        while let Some(entry) = reader.entry()? {
            if window.holds(&entry) && !show(&entry, args)? {
                return Ok(());
            }
        }
        if !alive {
            return Ok(());
        }
        changes.wait(Duration::from_millis(500));
    }
}

/// Writes one entry; `false` when nobody reads any more.
fn show(entry: &Entry, args: &LogsArgs) -> Result<bool> {
    let stamp = if args.timestamps {
        format!("{} ", entry.time)
    } else {
        String::new()
    };
    let text = format!("{stamp}{}", entry.log);
    let written = match entry.stream {
        Stream::Stdout => std::io::stdout()
            .write_all(text.as_bytes())
            .and_then(|()| std::io::stdout().flush()),
        Stream::Stderr => std::io::stderr().write_all(text.as_bytes()),
    };
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true).context("write the log"),
    }
}

struct Window {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Window {
    fn holds(&self, entry: &Entry) -> bool {
        self.since.is_none_or(|since| entry.time >= since)
            && self.until.is_none_or(|until| entry.time <= until)
    }
}

/// A time (RFC 3339, a date, seconds since 1970) or how long ago (`42m`, `1h30m`).
pub(super) fn moment(text: &str) -> Result<Timestamp> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp);
    }
    if let Ok(date) = text.parse::<jiff::civil::DateTime>() {
        return Ok(jiff::tz::TimeZone::UTC.to_timestamp(date)?);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(Timestamp::from_second(seconds)?);
    }
    match text.parse::<SignedDuration>() {
        Ok(ago) => Ok(Timestamp::now().checked_sub(ago)?),
        Err(_) => bail!(
            "failed to parse value as time or duration: {text:?} (such as 2026-01-02T13:23:37Z or 42m)"
        ),
    }
}

/// Changes of a directory's files (inotify(7)), with a time-out for the end of the container, which changes
/// no file of it.
struct Changes(Inotify);

impl Changes {
    fn of(directory: &Path) -> Result<Self> {
        let inotify =
            Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).context("inotify")?;
        inotify
            .add_watch(
                directory,
                AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE,
            )
            .context("watch the log")?;
        Ok(Changes(inotify))
    }

    fn wait(&self, patience: Duration) {
        let timeout =
            PollTimeout::try_from(patience.as_millis() as i32).unwrap_or(PollTimeout::ZERO);
        let _ = poll(
            &mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)],
            timeout,
        );
        while self.0.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
}
