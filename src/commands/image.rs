//! `pull`, `images`, `rmi`, `tag`, `load`, `import`: the image store, which is rootfs-fetch's.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use rootfs_fetch::{
    Digest, Force, Image, ImageName, ImportOptions, Limits, Progress, PullOptions, Store, User,
};
use serde_json::{Value, json};

use super::filter::{self, Filters};
use crate::cli::image::{ImagesArgs, ImportArgs, LoadArgs, PullArgs, RmiArgs, TagArgs};
use crate::out::stream::{out, outln};
use crate::out::{self, Columns, Format};
use crate::store::containers::{self, Record, State};
use crate::store::{Home, short};
use crate::sys;

const COLUMNS: Columns = Columns {
    shown: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
    ],
    more: &[("CreatedAt", "CREATED AT"), ("Digest", "DIGEST")],
};

const WITH_DIGESTS: Columns = Columns {
    shown: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
    ],
    more: &[("CreatedAt", "CREATED AT")],
};

/// `rmac pull`.
pub fn pull(home: &Home, args: &PullArgs) -> Result<u8> {
    let progress = progress(args.quiet);
    let mut options = PullOptions::new(&progress);
    options.before_lookup = sys::resolver::limit_to_files_and_dns;
    options.platform = args.platform.as_deref().map(str::parse).transpose()?;
    let name: ImageName = args.image.parse()?;
    store(home)?.pull(&args.image, &options)?;
    outln!("{}", name.canonical());
    Ok(0)
}

/// `rmac images`.
pub fn images(home: &Home, args: &ImagesArgs) -> Result<u8> {
    let store = store(home)?;
    let mut images = store.list()?;
    images.sort_by_key(|image| std::cmp::Reverse(image.created));
    let filters = Filters::parse(&args.filter, &["dangling", "label", "before", "since"])?;
    let moments = Moments::read(&store, &filters)?;
    images.retain(|image| filters.show(|key, value| matches(image, key, value, &moments)));
    let now = Timestamp::now();
    let mut rows: Vec<Value> = images
        .iter()
        .flat_map(|image| rows_at(image, args.no_trunc, now))
        .collect();
    if let Some(wanted) = &args.repository {
        let (repository, tag) = match wanted.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (wanted.as_str(), None),
        };
        rows.retain(|row| {
            row["Repository"] == repository && tag.is_none_or(|tag| row["Tag"] == tag)
        });
    }
    let format = match Format::parse(args.format.as_deref().unwrap_or_default()) {
        Format::Table if args.quiet => Format::parse("{{.ID}}"),
        format => format,
    };
    out!(
        "{}",
        format.lines(
            if args.digests {
                &WITH_DIGESTS
            } else {
                &COLUMNS
            },
            &rows
        )?
    );
    Ok(0)
}

/// When the images were built that `before` and `since` name.
struct Moments(BTreeMap<String, Option<Timestamp>>);

impl Moments {
    /// # Errors
    /// An image that there is not; a value of `dangling` that is none.
    fn read(store: &Store, filters: &Filters) -> Result<Moments> {
        filters.require_truth("dangling")?;
        let names = filters.values("before").chain(filters.values("since"));
        let built = |name: &str| Ok((name.to_owned(), store.get(name)?.created));
        names.map(built).collect::<Result<_>>().map(Moments)
    }
}

fn matches(image: &Image, key: &str, value: &str, moments: &Moments) -> bool {
    let other = || moments.0.get(value).copied().flatten();
    match key {
        "dangling" => {
            filter::truth(key, value).is_ok_and(|wanted| wanted == image.names.is_empty())
        }
        "before" => image.created < other(),
        "since" => image.created > other(),
        _ => {
            let config = image.config.config().as_ref();
            let labels = config.and_then(|config| config.labels().as_ref());
            let labels = labels.into_iter().flatten();
            filter::label(
                labels.map(|(key, value)| (key.as_str(), value.as_str())),
                value,
            )
        }
    }
}

/// `rmac rmi`.
pub fn rmi(home: &Home, args: &RmiArgs) -> Result<u8> {
    let store = store(home)?;
    let force = if args.force { Force::Yes } else { Force::No };
    super::each(&args.images, |name| {
        let removed = store.remove(name, force, &|id| user(home, id))?;
        let lines = removed.iter().map(ToString::to_string);
        Ok(lines.collect::<Vec<_>>().join("\n"))
    })
}

/// `rmac tag`.
pub fn tag(home: &Home, args: &TagArgs) -> Result<u8> {
    let invalid =
        |text: &str| format!("error parsing reference: {text:?} is not a valid repository/tag");
    let target: ImageName = args.target.parse().with_context(|| invalid(&args.target))?;
    if target.digest.is_some() {
        bail!("refusing to create a tag with a digest reference");
    }
    store(home)?.tag(&args.source, &target)?;
    Ok(0)
}

/// `rmac load`.
pub fn load(home: &Home, args: &LoadArgs) -> Result<u8> {
    let progress = progress(args.quiet);
    let store = store(home)?;
    let loaded = match &args.input {
        Some(path) => store.load(path, Limits::default(), &progress)?,
        None if std::io::stdin().is_terminal() => {
            bail!("requested load from stdin, but stdin is empty (give a file with -i)")
        }
        None => store.load_reader(std::io::stdin().lock(), Limits::default(), &progress)?,
    };
    for name in loaded {
        match name.starts_with("sha256:") {
            true => outln!("Loaded image ID: {name}"),
            false => outln!("Loaded image: {name}"),
        }
    }
    Ok(0)
}

/// `rmac import`.
pub fn import(home: &Home, args: &ImportArgs) -> Result<u8> {
    let options = ImportOptions {
        name: args.name.as_deref().map(str::parse).transpose()?,
        ..ImportOptions::default()
    };
    let store = store(home)?;
    let progress = progress(true);
    let id = if args.source == Path::new("-") {
        // The standard input's own lock cannot be sent to the thread that reads.
        store.import(std::io::stdin(), &options, &progress)?
    } else {
        let file = std::fs::File::open(&args.source)
            .with_context(|| format!("open {}", args.source.display()))?;
        store.import(file, &options, &progress)?
    };
    outln!("{id}");
    Ok(0)
}

/// The image store.
pub fn store(home: &Home) -> Result<Store> {
    Store::open(&home.images())
}

/// A container that uses the image `id`; one that runs, if any does.
pub(super) fn user(home: &Home, id: &Digest) -> Option<User> {
    let id = id.to_string();
    let mut stopped = None;
    for container in containers::ids(home) {
        match Record::load(home, &container) {
            Ok(Some(record)) if record.image_id == id => {
                let state = State::load(home, &container).ok().flatten();
                let user = User {
                    container: short(&container).to_owned(),
                    running: state.is_some_and(|state| state.status.is_up()),
                };
                match user.running {
                    true => return Some(user),
                    false => stopped = Some(user),
                }
            }
            _ => (),
        }
    }
    stopped
}

fn progress(quiet: bool) -> Progress {
    if quiet {
        Progress::quiet()
    } else if std::io::stdout().is_terminal() {
        Progress::bars(std::io::stdout())
    } else {
        Progress::lines(std::io::stdout())
    }
}

/// The lines of the image, as a list that cuts ids short has them.
pub(super) fn rows(image: &Image) -> Vec<Value> {
    rows_at(image, false, Timestamp::now())
}

/// A line for each tag of the image, and one for each repository that only has a digest of it; one with neither has
/// `<none>`.
fn rows_at(image: &Image, no_trunc: bool, now: Timestamp) -> Vec<Value> {
    let id = image.id.to_string();
    let hex = id.strip_prefix("sha256:").unwrap_or(&id);
    let row = |(repository, tag, digest): (&str, &str, &str)| {
        json!({
            "CreatedAt": image.created.map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()),
            "CreatedSince": image.created.map_or_else(|| "N/A".to_owned(), |time| format!("{} ago", out::ago(time, now))),
            "Digest": digest,
            "ID": if no_trunc { id.as_str() } else { short(hex) },
            "Repository": repository,
            "Size": out::size(image.size),
            "Tag": tag,
        })
    };
    lines(&image.names, &image.repo_digests)
        .into_iter()
        .map(row)
        .collect()
}

/// Repository, tag and digest of each line.
fn lines<'a>(names: &'a [String], digests: &'a [String]) -> Vec<(&'a str, &'a str, &'a str)> {
    const NONE: &str = "<none>";
    let mut known: BTreeMap<&str, &str> = BTreeMap::new();
    for (repository, digest) in digests.iter().filter_map(|name| name.split_once('@')) {
        known.entry(repository).or_insert(digest);
    }
    let mut lines = vec![];
    for (repository, tag) in names.iter().filter_map(|name| name.rsplit_once(':')) {
        lines.push((repository, tag, *known.get(repository).unwrap_or(&NONE)));
    }
    for (repository, digest) in known {
        if !lines.iter().any(|(other, ..)| *other == repository) {
            lines.push((repository, NONE, digest));
        }
    }
    if lines.is_empty() {
        lines.push((NONE, NONE, NONE));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tag_has_a_line_and_the_digest_of_its_repository() {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let names = owned(&["a:1", "a:2", "localhost:5000/b:1"]);
        let digests = owned(&["a@sha256:11", "c@sha256:22"]);
        assert_eq!(
            lines(&names, &digests),
            [
                ("a", "1", "sha256:11"),
                ("a", "2", "sha256:11"),
                ("localhost:5000/b", "1", "<none>"),
                ("c", "<none>", "sha256:22"),
            ]
        );
        assert_eq!(lines(&[], &[]), [("<none>", "<none>", "<none>")]);
    }
}
