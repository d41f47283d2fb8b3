//! `volume`: directories with a name, made, listed, looked at and removed.

use std::collections::HashSet;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::filter::{self, Filters};
use super::{prune, request};
use crate::cli::volume::{CreateArgs, InspectArgs, LsArgs, VolumeCommand, VolumePruneArgs};
use crate::out::stream::{errln, out, outln};
use crate::out::{Columns, Format};
use crate::store::containers::{self, Record};
use crate::store::volumes::{self, Volume};
use crate::store::{Home, bytes_below, new_id};

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
    filters.require_truth("dangling")?;
    let mut volumes = volumes::list(home)?;
    volumes.retain(|volume| {
        filters.show(|key, value| match key {
            "dangling" => {
                filter::truth(key, value).is_ok_and(|free| free != used.contains(&volume.name))
            }
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

fn prune(home: &Home, args: &VolumePruneArgs) -> Result<u8> {
    let filters = prune::Filters::parse(&args.prune.filter)?;
    let what = if args.all {
        "all local volumes"
    } else {
        "anonymous local volumes"
    };
    let warning = format!("WARNING! This will remove {what} not used by at least one container.");
    if args.prune.force || prune::confirmed(&warning)? {
        remove_unused(home, args.all, &filters)?.tell();
    }
    Ok(0)
}

/// Removes what no container has, of all volumes or of those without a name.
pub(super) fn remove_unused(
    home: &Home,
    all: bool,
    filters: &prune::Filters,
) -> Result<prune::Gone> {
    let (mut names, mut bytes) = (vec![], 0);
    for volume in volumes::list(home)? {
        if (all || volume.anonymous)
            && filters.match_map(volume.created, &volume.labels)
            && volumes::users(home, &volume.name).is_empty()
        {
            let held = bytes_below(&volumes::data(home, &volume.name));
            match volumes::remove(home, &volume.name) {
                Ok(()) => {
                    bytes += held;
                    names.push(volume.name);
                }
                // Somebody came to use it just then.
                Err(error) => errln!("WARNING: {error:#}"),
            }
        }
    }
    Ok(prune::Gone::new("Volumes", &names, bytes))
}
