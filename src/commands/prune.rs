//! `container prune`, `image prune` and `system prune`: what nobody uses goes.
//!
//! What is in use is looked at again for each thing, by whoever guards it: the claim of a container, the lock of the
//! image store, the leases of a network. So a `run` beside it keeps what it has.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead, Write as _};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use rootfs_fetch::{Image, Removed};

use super::filter::truth;
use super::logs::moment;
use super::{image, network, volumes};
use crate::cli::system::{ImagePruneArgs, PruneArgs, SystemPruneArgs};
use crate::out;
use crate::out::stream::{out, outln};
use crate::store::claim::{Attempt, Claim};
use crate::store::containers::{self, Record, State};
use crate::store::{Home, bytes_below};
use crate::supervise::heal;

/// What was removed: a heading and a line each, or nothing; and how many bytes that was.
#[derive(Debug, Default)]
pub(super) struct Gone {
    text: String,
    bytes: u64,
}

impl Gone {
    /// `what` is the heading's last word.
    pub(super) fn new(what: &str, lines: &[String], bytes: u64) -> Gone {
        let text = match lines {
            [] => String::new(),
            lines => format!("Deleted {what}:\n{}\n\n", lines.join("\n")),
        };
        Gone { text, bytes }
    }

    /// Heading, lines and an empty line; nothing where nothing was removed.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Adds what was removed after it.
    fn add(&mut self, other: Gone) {
        self.text += &other.text;
        self.bytes += other.bytes;
    }

    /// Prints it, as all verbs do that free space.
    pub(super) fn tell(self) {
        let Gone { text, bytes } = self;
        outln!("{text}Total reclaimed space: {}", out::size(bytes));
    }
}

/// `rmac container prune`.
pub fn containers(home: &Home, args: &PruneArgs) -> Result<u8> {
    let filters = Filters::parse(&args.filter)?;
    if args.force || confirmed("WARNING! This will remove all stopped containers.")? {
        remove_containers(home, &filters)?.tell();
    }
    Ok(0)
}

/// `rmac image prune`.
pub fn images(home: &Home, args: &ImagePruneArgs) -> Result<u8> {
    let filters = Filters::parse(&args.prune.filter)?;
    // Docker's filter for the same as -a.
    let all = args.all || filters.dangling == Some(false);
    let what = if all { UNUSED } else { DANGLING };
    if args.prune.force || confirmed(&format!("WARNING! This will remove {what}."))? {
        remove_images(home, all, &filters)?.tell();
    }
    Ok(0)
}

const UNUSED: &str = "all images without at least one container associated to them";
const DANGLING: &str = "all dangling images";

/// `rmac system prune`.
pub fn system(home: &Home, args: &SystemPruneArgs) -> Result<u8> {
    let SystemPruneArgs { images, volumes } = args;
    let filters = Filters::parse(&images.prune.filter)?;
    if *volumes && filters.until.is_some() {
        bail!("the \"until\" filter is not supported with \"--volumes\"");
    }
    if !images.prune.force && !confirmed(&warning(args))? {
        return Ok(0);
    }
    let mut gone = remove_containers(home, &filters)?;
    gone.add(network::prune::remove_unused(home, &filters)?);
    if *volumes {
        gone.add(volumes::remove_unused(home, false, &filters)?);
    }
    gone.add(remove_images(home, images.all, &filters)?);
    gone.tell();
    Ok(0)
}

fn warning(args: &SystemPruneArgs) -> String {
    let mut warning = "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n".to_owned();
    if args.volumes {
        warning += "  - all anonymous volumes not used by at least one container\n";
    }
    let images = if args.images.all { UNUSED } else { DANGLING };
    // A text takes whatever is written to it.
    let _ = writeln!(warning, "  - {images}");
    let mut filters = args.images.prune.filter.clone();
    filters.sort();
    if !filters.is_empty() {
        let filters = filters.join("\n  - ");
        let _ = writeln!(
            warning,
            "\n  Items to be pruned will be filtered with:\n  - {filters}"
        );
    }
    warning
}

fn remove_containers(home: &Home, filters: &Filters) -> Result<Gone> {
    let (mut ids, mut bytes) = (vec![], 0);
    for id in containers::ids(home) {
        if !is_wanted(home, &id, filters)? {
            continue;
        }
        let claim = match Claim::attempt(home, &id)? {
            Attempt::Mine(claim) => claim,
            Attempt::Orphan(claim) => {
                heal::heal(home, &id, &claim);
                claim
            }
            // It is just being started, or removed.
            Attempt::Busy => continue,
        };
        // It may have been started and have ended, or be gone, since it was looked at.
        if is_wanted(home, &id, filters)?
            && let Some(record) = Record::load(home, &id)?
        {
            bytes += bytes_below(&home.container(&id).join("upper"));
            match record.request.auto_remove {
                true => heal::discard(home, &record),
                false => heal::discard_but_volumes(home, &record),
            }
            ids.push(id);
        }
        drop(claim);
    }
    Ok(Gone::new("Containers", &ids, bytes))
}

/// Whether the container does not run, and the filters name it.
fn is_wanted(home: &Home, id: &str, filters: &Filters) -> Result<bool> {
    let Some(record) = Record::load(home, id)? else {
        return Ok(false);
    };
    let state = State::load(home, id)?;
    let label = |key: &str| {
        let own = record.request.labels.get(key);
        own.or_else(|| record.image_config.labels().as_ref()?.get(key))
            .map(String::as_str)
    };
    Ok(state.is_some_and(|state| !state.status.is_up())
        && filters.match_all(Some(record.created), label))
}

fn remove_images(home: &Home, all: bool, filters: &Filters) -> Result<Gone> {
    let wanted = |image: &Image| {
        let config = image.config.config().as_ref();
        let labels = config.and_then(|config| config.labels().as_ref());
        let label = |key: &str| labels.and_then(|labels: &HashMap<_, _>| labels.get(key));
        (all || image.names.is_empty())
            && filters.match_all(image.created, |key| label(key).map(String::as_str))
    };
    let pruned = image::store(home)?.prune(&wanted, &|id| image::user(home, id))?;
    let line = |removed: &Removed| match removed {
        Removed::Untagged(name) => format!("untagged: {name}"),
        Removed::Deleted(digest) => format!("deleted: {digest}"),
    };
    let lines: Vec<String> = pruned.removed.iter().map(line).collect();
    Ok(Gone::new("Images", &lines, pruned.bytes))
}

/// Asks the user, after the warning `warning`.
pub(super) fn confirmed(warning: &str) -> Result<bool> {
    out!("{warning}\nAre you sure you want to continue? [y/N] ");
    std::io::stdout().flush().context("write the question")?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("read the answer")?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

/// `--filter`: what is removed must match all.
#[derive(Debug, Default)]
pub(super) struct Filters {
    /// `until=TIMESTAMP` or an age: made by then.
    until: Option<Timestamp>,
    /// `label=KEY[=VALUE]`, and `label!=`: the key, the value if one is given, and whether it is to be there.
    labels: Vec<(String, Option<String>, bool)>,
    /// `dangling=BOOL`, of images.
    dangling: Option<bool>,
}

impl Filters {
    pub(super) fn parse(texts: &[String]) -> Result<Filters> {
        let mut filters = Filters::default();
        for text in texts {
            let Some((key, value)) = text.split_once('=') else {
                bail!("invalid argument {text:?} for \"--filter\" flag: it should be KEY=VALUE");
            };
            match key {
                "until" if filters.until.is_some() => bail!("more than one until filter specified"),
                "until" => filters.until = Some(moment(value)?),
                "label" | "label!" => {
                    let (name, wanted) = match value.split_once('=') {
                        Some((name, wanted)) => (name, Some(wanted.to_owned())),
                        None => (value, None),
                    };
                    let label = (name.to_owned(), wanted, key == "label");
                    filters.labels.push(label);
                }
                "dangling" => filters.dangling = Some(truth(key, value)?),
                _ => bail!("invalid filter '{key}'; known are: label, label!, until"),
            }
        }
        Ok(filters)
    }

    /// Whether they name what was made at the time `created`, as far as that is known, and has the labels that `label`
    /// gives by their keys.
    pub(super) fn match_all<'a>(
        &self,
        created: Option<Timestamp>,
        label: impl Fn(&str) -> Option<&'a str>,
    ) -> bool {
        self.until
            .is_none_or(|until| created.is_some_and(|created| created <= until))
            && self.labels.iter().all(|(key, value, present)| {
                let has =
                    label(key).is_some_and(|had| value.as_ref().is_none_or(|value| had == value));
                has == *present
            })
    }

    /// The same for what has its labels in a map.
    pub(super) fn match_map(&self, created: Timestamp, labels: &BTreeMap<String, String>) -> bool {
        self.match_all(Some(created), |key| labels.get(key).map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: &[&str]) -> Result<Filters> {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        Filters::parse(&texts)
    }

    #[test]
    fn all_filters_must_match() {
        let labels = BTreeMap::from([("keep".to_owned(), "yes".to_owned())]);
        let old = "2020-01-01T00:00:00Z".parse().unwrap();
        for (texts, matched) in [
            (&[][..], true),
            (&["label=keep"], true),
            (&["label=keep=yes", "until=1h"], true),
            (&["label=keep=no"], false),
            (&["label!=keep"], false),
            (&["label!=keep=no", "label!=other"], true),
            (&["label=keep", "label=other"], false),
            (&["until=2019-01-01"], false),
            (&["until=2020-01-02T00:00:00Z"], true),
        ] {
            let filters = filters(texts).unwrap();
            assert_eq!(filters.match_map(old, &labels), matched, "{texts:?}");
        }
        assert!(!filters(&["until=1h"]).unwrap().match_all(None, |_| None));
        assert!(
            !filters(&["until=1h"])
                .unwrap()
                .match_map(Timestamp::now(), &labels)
        );
    }

    #[test]
    fn what_is_no_filter_is_told() {
        for (texts, part) in [
            (&["keep"][..], "it should be KEY=VALUE"),
            (&["color=red"], "invalid filter 'color'"),
            (&["until=never"], "failed to parse value as time"),
            (&["until=1h", "until=2h"], "more than one until"),
            (&["dangling=perhaps"], "true or false"),
        ] {
            let error = filters(texts).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_warning_is_dockers() {
        let args = SystemPruneArgs {
            images: ImagePruneArgs {
                all: false,
                prune: PruneArgs {
                    force: false,
                    filter: vec!["until=24h".into(), "label!=a".into()],
                },
            },
            volumes: true,
        };
        assert_eq!(
            warning(&args),
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  - all anonymous volumes not used by at least one container\n  - all dangling images\n\n  Items to be pruned will be filtered with:\n  - label!=a\n  - until=24h\n"
        );
    }
}
