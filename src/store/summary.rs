//! The summary of a container: what `ps` shows of it.
//!
//! A running container's summary stands on the [board], which a list reads as a whole; record and state
//! are two files of some thousand bytes to be opened, read and understood. It is made from those two and is never more
//! than a copy: to write one of them takes it away first, to give their lock back puts it there again
//! ([`super::containers::Lock`]), and who finds none reads the two.
//!
//! Its text is the values in the order of the fields, each ended by a NUL, which no program's argument can have; moments
//! are microseconds. A list understands that where it lies.

use std::borrow::Cow;
use std::fs::File;
use std::path::PathBuf;

use jiff::Timestamp;

use super::Home;
use super::alive::Watcher;
use super::board;
use super::containers::{Record, State, Status};
use crate::request::NetworkMode;
use crate::spec;

/// What is shown of a container in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary<'a> {
    /// 64 hexadecimal digits.
    pub id: &'a str,
    /// Its name, without a slash.
    pub name: &'a str,
    /// The image, as it was asked for.
    pub image: &'a str,
    /// The digest of the image's configuration.
    pub image_id: &'a str,
    /// The program and its arguments.
    pub command: &'a str,
    /// Its networks' names, or its network mode.
    pub networks: &'a str,
    /// When it was made.
    pub created: Timestamp,
    /// Where it is in its life.
    pub status: Status,
    /// Whether its processes are frozen where they are.
    pub paused: bool,
    /// What its program returned.
    pub exit_code: i32,
    /// When its program was started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// How many labels it has.
    labels: usize,
    /// Their names and values, then the sources of its bind mounts.
    more: &'a str,
}

impl<'a> Summary<'a> {
    /// Understands `text`, which the board told ([`Watcher::told`]) or [`make`] gave. `None` where another version of
    /// rmac has written it.
    pub fn read(text: &'a str) -> Option<Summary<'a>> {
        let mut rest = text;
        let mut next = || {
            // Byte by byte: what looks for a letter of any size takes thrice as long for words as short as these.
            let end = rest.bytes().position(|byte| byte == 0)?;
            let field = &rest[..end];
            rest = &rest[end + 1..];
            Some(field)
        };
        let moment = |text: &str| Timestamp::from_microsecond(text.parse().ok()?).ok();
        Some(Summary {
            id: next()?,
            name: next()?,
            image: next()?,
            image_id: next()?,
            command: next()?,
            networks: next()?,
            created: moment(next()?)?,
            status: Status::of_name(next()?)?,
            paused: next()? == "true",
            exit_code: next()?.parse().ok()?,
            started: moment(next()?),
            finished: moment(next()?),
            labels: next()?.parse().ok()?,
            more: rest,
        })
    }

    /// Its labels: name and value.
    pub fn labels(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut words = self.more.split_terminator('\0').take(2 * self.labels);
        std::iter::from_fn(move || Some((words.next()?, words.next()?)))
    }

    /// The sources of its bind mounts.
    pub fn mounts(&self) -> impl Iterator<Item = &'a str> {
        self.more.split_terminator('\0').skip(2 * self.labels)
    }

    /// Docker's word for its state.
    pub fn state_name(&self) -> &'static str {
        self.status.name_if(self.paused)
    }
}

/// The text of the summary of the container `id`, by its record and its state; `None` where there is no such
/// container, or not yet.
pub fn make(home: &Home, id: &str) -> Option<String> {
    let record = Record::load(home, id).ok()??;
    Some(written(&record, &State::load(home, id).ok()??))
}

fn written(record: &Record, state: &State) -> String {
    let request = &record.request;
    let micros = |moment: Option<Timestamp>| {
        moment.map_or_else(String::new, |moment| moment.as_microsecond().to_string())
    };
    let mut fields: Vec<Cow<str>> = vec![
        (&record.id).into(),
        (&record.name).into(),
        (&request.image).into(),
        (&record.image_id).into(),
        spec::args(&record.image_config, request).join(" ").into(),
        networks(record).into(),
        micros(Some(record.created)).into(),
        state.status.name().into(),
        state.paused.to_string().into(),
        state.exit_code.to_string().into(),
        micros(state.started).into(),
        micros(state.finished).into(),
        request.labels.len().to_string().into(),
    ];
    for (name, value) in &request.labels {
        fields.extend([Cow::from(name), value.into()]);
    }
    let sources = request.binds.iter().map(|bind| &bind.source);
    fields.extend(sources.map(|source| source.to_string_lossy()));
    let mut text = String::new();
    for field in fields {
        text.extend([&field.replace('\0', "\u{fffd}"), "\0"]);
    }
    text
}

/// Puts the summary of the container `id` on the board, if it runs and has none there, from its record and its state.
/// For who holds the lock of both.
pub fn renew(home: &Home, id: &str) {
    if Watcher::new(home).told(id).is_some() {
        return;
    }
    let (Ok(Some(record)), Ok(Some(state))) = (Record::load(home, id), State::load(home, id))
    else {
        return;
    };
    // `ps` finds the same without it.
    if state.status == Status::Running
        && let Some(file) = board::open(home, id, true)
        // First, so that nothing is told of who has no mark.
        && File::create(mark(home, id)).is_ok()
    {
        let _ = board::put(&file, id, &written(&record, &state));
    }
}

/// Takes the summary of the container `id` away, if it can have one: its record or its state is about to change.
pub fn outdate(home: &Home, id: &str) {
    // Made from both, there was none before there were both.
    if home.container(id).join("state.json").exists() {
        withdraw(home, id);
    }
}

/// Whether a summary of the container `id` was ever put on the board since it was started: to look for one there takes
/// longer.
pub fn was_told(home: &Home, id: &str) -> bool {
    mark(home, id).exists()
}

/// Takes the summary of the container `id` away.
pub fn withdraw(home: &Home, id: &str) {
    if let Some(file) = board::open(home, id, false) {
        let _ = board::clear(&file, id);
    }
}

fn mark(home: &Home, id: &str) -> PathBuf {
    home.running(id).join("told")
}

fn networks(record: &Record) -> String {
    match &record.request.network {
        NetworkMode::None => "none".into(),
        NetworkMode::Host => "host".into(),
        NetworkMode::Container(id) => format!("container:{}", super::short(id)),
        NetworkMode::Networks(wanted) => wanted
            .iter()
            .map(|network| network.name.as_str())
            .collect::<Vec<_>>()
            .join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Bind, Request};
    use crate::store::containers::lock;

    fn record() -> Record {
        let bind = Bind {
            source: "/a b".into(),
            target: "/b".into(),
            options: vec![],
            volume: None,
        };
        Record {
            id: "3".repeat(64),
            name: "a".into(),
            created: "2026-11-24T17:10:15.472781Z".parse().unwrap(),
            image_id: "sha256:1".into(),
            platform: "linux/amd64".into(),
            layers: vec![],
            image_config: Default::default(),
            request: Request {
                image: "alpine:3".into(),
                command: ["sh", "-c", "echo\ttab\nand é"].map(String::from).into(),
                labels: [("key", "a=\"b\""), ("other", ""), ("z", "nul \0")]
                    .map(|(name, value)| (name.into(), value.into()))
                    .into(),
                binds: vec![bind.clone(), bind],
                network: NetworkMode::Host,
                ..Request::default()
            },
            ids: None,
            endpoints: vec![],
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let mut record = record();
        let state = State {
            status: Status::Running,
            paused: true,
            exit_code: -1,
            started: Some("1969-12-31T23:59:59.5Z".parse().unwrap()),
            ..State::created()
        };
        let text = written(&record, &state);
        let read = Summary::read(&text).unwrap();
        let strings = [read.id, read.name, read.image, read.image_id, read.networks];
        assert_eq!(strings, [&*record.id, "a", "alpine:3", "sha256:1", "host"]);
        assert_eq!(read.command, "sh -c echo\ttab\nand é");
        assert_eq!(read.created, record.created);
        assert_eq!((read.started, read.finished), (state.started, None));
        assert_eq!((read.exit_code, read.state_name()), (-1, "paused"));
        let labels: Vec<_> = read.labels().collect();
        let kept = [("key", "a=\"b\""), ("other", ""), ("z", "nul \u{fffd}")];
        assert_eq!(labels, kept);
        assert_eq!(read.mounts().collect::<Vec<_>>(), ["/a b", "/a b"]);
        // Cut off anywhere in what every container has, it is none.
        let whole = text.find("3\0key").unwrap();
        assert!(
            (0..=whole)
                .all(|end| !text.is_char_boundary(end) || Summary::read(&text[..end]).is_none())
        );
        record.request = Request::default();
        let bare = written(&record, &State::created());
        let read = Summary::read(&bare).unwrap();
        assert_eq!((read.labels().count(), read.mounts().count()), (0, 0));
        assert_eq!((read.command, read.state_name()), ("", "created"));
    }

    #[test]
    fn the_board_tells_of_who_runs_as_soon_as_the_lock_is_given_back() {
        let root = std::env::temp_dir().join(format!("rmac-summary-{}", std::process::id()));
        let home = Home {
            runroot: root.join("run"),
            root,
        };
        let mut record = record();
        let id = record.id.clone();
        std::fs::create_dir_all(home.container(&id)).unwrap();
        std::fs::create_dir_all(home.running(&id)).unwrap();
        let told = || Watcher::new(&home).told(&id).map(str::to_owned);
        record.save(&home).unwrap();
        let running = State {
            status: Status::Running,
            ..State::created()
        };
        running.save(&home, &id).unwrap();
        assert_eq!(told(), None);
        assert!(!was_told(&home, &id));
        let held = lock(&home, &id).unwrap();
        assert_eq!(told(), None);
        drop(held);
        assert_eq!(told(), Some(written(&record, &running)));
        assert!(was_told(&home, &id));
        // While it changes there is none; then there is the new one.
        Record::update(&home, &id, |kept| kept.name = "b".into()).unwrap();
        record.name = "b".into();
        assert_eq!(told(), make(&home, &id));
        assert_eq!(told(), Some(written(&record, &running)));
        let exited = State {
            status: Status::Exited,
            ..running
        };
        exited.save(&home, &id).unwrap();
        drop(lock(&home, &id).unwrap());
        assert_eq!(told(), None);
        std::fs::remove_dir_all(&home.root).unwrap();
    }
}
