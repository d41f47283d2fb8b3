//! `pull`, `images`, `rmi`, `load`, `import`: the image store, which is rootfs-fetch's.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use rootfs_fetch::{
    Digest, Force, Image, ImageName, ImportOptions, Limits, Progress, PullOptions, Store,
};
use serde_json::{Value, json};

use crate::cli::image::{ImagesArgs, ImportArgs, LoadArgs, PullArgs, RmiArgs};
use crate::out::stream::{out, outln};
use crate::out::{self, Columns, Format};
use crate::store::containers::{self, Record};
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
    let mut images = store(home)?.list()?;
    images.sort_by_key(|image| std::cmp::Reverse(image.created));
    let now = Timestamp::now();
    let mut rows: Vec<Value> = images
        .iter()
        .flat_map(|image| rows(image, args, now))
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

/// `rmac rmi`.
pub fn rmi(home: &Home, args: &RmiArgs) -> Result<u8> {
    let store = store(home)?;
    let users = users(home);
    let force = if args.force { Force::Yes } else { Force::No };
    super::each(&args.images, |name| {
        let removed = store.remove(name, force, &|id: &Digest| {
            users.get(&id.to_string()).cloned()
        })?;
        Ok(removed
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"))
    })
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

/// Which container uses which image.
fn users(home: &Home) -> HashMap<String, String> {
    let records = containers::ids(home)
        .into_iter()
        .filter_map(|id| Record::load(home, &id).ok()?);
    records
        .map(|record| (record.image_id, short(&record.id).to_owned()))
        .collect()
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

/// A line for each name of the image; one without a name has `<none>`.
fn rows(image: &Image, args: &ImagesArgs, now: Timestamp) -> Vec<Value> {
    let digest = image
        .repo_digests
        .first()
        .and_then(|name| name.rsplit_once('@'))
        .map_or("<none>", |(_, digest)| digest);
    let id = image.id.to_string();
    let hex = id.strip_prefix("sha256:").unwrap_or(&id);
    let row = |repository: &str, tag: &str| {
        json!({
            "CreatedAt": image.created.map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()),
            "CreatedSince": image.created.map_or_else(|| "N/A".to_owned(), |time| format!("{} ago", out::ago(time, now))),
            "Digest": digest,
            "ID": if args.no_trunc { id.as_str() } else { short(hex) },
            "Repository": repository,
            "Size": out::size(image.size),
            "Tag": tag,
        })
    };
    if image.names.is_empty() {
        return vec![row("<none>", "<none>")];
    }
    image
        .names
        .iter()
        .map(|name| {
            name.rsplit_once(':').map_or_else(
                || row(name, "<none>"),
                |(repository, tag)| row(repository, tag),
            )
        })
        .collect()
}
