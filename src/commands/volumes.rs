//! `volume`: directories with a name, made, listed, looked at and removed.

use std::collections::HashSet;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::filter::{self, Filters};
use super::request;
use crate::cli::volume::{CreateArgs, InspectArgs, LsArgs, PruneArgs, VolumeCommand};
use crate::out::stream::{out, outln};
use crate::out::{self, Columns, Format};
use crate::store::containers::{self, Record};
use crate::store::volumes::{self, Volume};
use crate::store::{Home, new_id};

const COLUMNS: Columns = Columns {
    shown: &[("Driver", "DRIVER"), ("Name", "VOLUME NAME")],
    more: &[
        ("Labels", "LABELS"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Scope", "SCOPE"),
    ],
};

/// Does what the command says.
pub fn run(home: &Home, command: &VolumeCommand) -> Result<u8> {
    match command {
        VolumeCommand::Create(args) => create(home, args),
        VolumeCommand::Ls(args) => ls(home, args),
        VolumeCommand::Inspect(args) => inspect(home, args),
        VolumeCommand::Rm(args) => super::each(&args.volumes, |name| {
            if !(args.force && volumes::load(home, name).is_err()) {
                volumes::remove(home, name)?;
            }
            Ok(name.to_owned())
        }),
        VolumeCommand::Prune(args) => prune(home, args),
    }
}

fn create(home: &Home, args: &CreateArgs) -> Result<u8> {
    if args.driver != "local" {
        bail!(
            "error looking up volume plugin {0}: plugin {0:?} not found: the only driver is local",
            args.driver
        );
    }
    let (name, anonymous) = match &args.name {
        Some(name) => (name.clone(), false),
        None => (new_id()?, true),
    };
    volumes::ensure(home, &name, request::labels(&args.label), anonymous)?;
    outln!("{name}");
    Ok(0)
}

fn ls(home: &Home, args: &LsArgs) -> Result<u8> {
    let filters = Filters::parse(&args.filter, &["dangling", "driver", "label", "name"])?;
    let used = match filters.values("dangling").next() {
        Some(_) => used(home),
        None => HashSet::new(),
    };
    let truth = |value: &str| match value {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    };
    if let Some(value) = filters
        .values("dangling")
        .find(|value| truth(value).is_none())
    {
        bail!("invalid filter 'dangling={value}': it is true or false");
    }
    let mut volumes = volumes::list(home)?;
    volumes.retain(|volume| {
        filters.show(|key, value| match key {
            "dangling" => truth(value) != Some(used.contains(&volume.name)),
            "driver" => value == "local",
            "label" => filter::label(filter::labels(&volume.labels), value),
            _ => filter::name(&volume.name, value),
        })
    });
    let rows: Vec<Value> = volumes
        .iter()
        .map(|volume| {
            let labels = volume.labels.iter();
            let labels: Vec<String> = labels
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            json!({
                "Driver": "local",
                "Labels": labels.join(","),
                "Mountpoint": volumes::data(home, &volume.name),
                "Name": volume.name,
                "Scope": "local",
            })
        })
        .collect();
    let text = match Format::parse(args.format.as_deref().unwrap_or("")) {
        Format::Table if args.quiet => Format::parse("{{.Name}}").lines(&COLUMNS, &rows),
        format => format.lines(&COLUMNS, &rows),
    };
    out!("{}", text?);
    Ok(0)
}

/// The names of the volumes that containers have.
fn used(home: &Home) -> HashSet<String> {
    let ids = containers::ids(home).into_iter();
    let records = ids.filter_map(|id| Record::load(home, &id).ok()?);
    let binds = records.flat_map(|record| record.request.binds);
    binds.filter_map(|bind| bind.volume).collect()
}

fn inspect(home: &Home, args: &InspectArgs) -> Result<u8> {
    let (mut found, mut errors) = (vec![], vec![]);
    for name in &args.volumes {
        match volumes::load(home, name) {
            Ok(volume) => found.push(value(home, &volume)),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    super::inspect::print(&found, args.format.as_deref())?;
    if errors.is_empty() {
        return Ok(0);
    }
    bail!(errors.join("\nrmac: "))
}

fn value(home: &Home, volume: &Volume) -> Value {
    let labels = (!volume.labels.is_empty()).then_some(&volume.labels);
    json!({
        "CreatedAt": volume.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "Driver": "local",
        "Labels": labels,
        "Mountpoint": volumes::data(home, &volume.name),
        "Name": volume.name,
        "Options": null,
        "Scope": "local",
    })
}

fn prune(home: &Home, args: &PruneArgs) -> Result<u8> {
    let what = if args.all {
        "all local volumes"
    } else {
        "anonymous local volumes"
    };
    let warning = format!("WARNING! This will remove {what} not used by at least one container.");
    if !args.force && !super::network::prune::confirmed(&warning)? {
        return Ok(0);
    }
    let (mut names, mut bytes) = (vec![], 0);
    for volume in volumes::list(home)? {
        if (args.all || volume.anonymous) && volumes::users(home, &volume.name).is_empty() {
            bytes += size(&volumes::data(home, &volume.name));
            volumes::remove(home, &volume.name)?;
            names.push(volume.name);
        }
    }
    if !names.is_empty() {
        outln!("Deleted Volumes:\n{}\n", names.join("\n"));
    }
    outln!("Total reclaimed space: {}", out::size(bytes));
    Ok(0)
}

/// How many bytes the files below `directory` hold.
fn size(directory: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
