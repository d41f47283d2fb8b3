//! `system df`: how much of the disk images, containers and volumes take, and how much of that nobody uses.
//!
//! A layer lies on the disk once, however many images have it, and is counted once.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use anyhow::Result;
use rootfs_fetch::Image;
use serde_json::{Value, json};

use super::{image, ps};
use crate::cli::system::DfArgs;
use crate::out::stream::out;
use crate::out::{self, Columns, Format};
use crate::store::containers::{self, Record, State};
use crate::store::{Home, bytes_below, volumes};

const COLUMNS: Columns = Columns {
    shown: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    more: &[],
};

const IMAGES: Columns = Columns {
    shown: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ],
    more: &[],
};

const CONTAINERS: Columns = Columns {
    shown: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ],
    more: &[],
};

const VOLUMES: Columns = Columns {
    shown: &[
        ("Name", "VOLUME NAME"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
    ],
    more: &[],
};

/// `rmac system df`.
pub fn df(home: &Home, args: &DfArgs) -> Result<u8> {
    let used = Used::look(home)?;
    if args.verbose {
        out!("{}", used.in_detail(home)?);
        return Ok(0);
    }
    let format = Format::parse(args.format.as_deref().unwrap_or_default());
    out!("{}", format.lines(&COLUMNS, &used.rows())?);
    Ok(0)
}

/// What is there.
struct Used {
    images: Vec<Image>,
    containers: Vec<Container>,
    volumes: Vec<Volume>,
}

/// What counts of a container.
struct Container {
    id: String,
    image: String,
    volumes: Vec<String>,
    bytes: u64,
    is_up: bool,
}

/// What counts of a volume.
struct Volume {
    name: String,
    links: usize,
    bytes: u64,
}

impl Used {
    fn look(home: &Home) -> Result<Used> {
        let containers: Vec<Container> = containers::ids(home)
            .iter()
            .filter_map(|id| Container::look(home, id))
            .collect();
        let volume = |volume: volumes::Volume| Volume {
            links: containers
                .iter()
                .filter(|container| container.volumes.contains(&volume.name))
                .count(),
            bytes: bytes_below(&volumes::data(home, &volume.name)),
            name: volume.name,
        };
        Ok(Used {
            images: image::store(home)?.list()?,
            volumes: volumes::list(home)?.into_iter().map(volume).collect(),
            containers,
        })
    }

    /// A line for each kind of thing.
    fn rows(&self) -> [Value; 3] {
        let in_use = self.images.iter().filter(|image| self.users(image) > 0);
        let kept = layers(in_use.clone()).values().sum();
        let images = layers(self.images.iter()).values().sum();
        let up = self.containers.iter().filter(|container| container.is_up);
        let linked = self.volumes.iter().filter(|volume| volume.links > 0);
        [
            row("Images", self.images.len(), in_use.count(), images, kept),
            row(
                "Containers",
                self.containers.len(),
                up.clone().count(),
                self.containers.iter().map(|one| one.bytes).sum(),
                up.map(|one| one.bytes).sum(),
            ),
            row(
                "Local Volumes",
                self.volumes.len(),
                linked.clone().count(),
                self.volumes.iter().map(|one| one.bytes).sum(),
                linked.map(|one| one.bytes).sum(),
            ),
        ]
    }

    /// How many containers have the image.
    fn users(&self, image: &Image) -> usize {
        let id = image.id.to_string();
        let users = self.containers.iter().filter(|one| one.image == id);
        users.count()
    }

    /// A table for each kind, of what there is one by one.
    fn in_detail(&self, home: &Home) -> Result<String> {
        let table = |columns, rows: &[Value]| Format::Table.lines(columns, rows);
        let images = table(&IMAGES, &self.images_in_detail())?;
        let mut containers = ps::all(home);
        for (id, row) in &mut containers {
            if let Some(one) = self.containers.iter().find(|one| one.id == *id) {
                row["LocalVolumes"] = json!(one.volumes.len());
                row["Size"] = json!(out::size(one.bytes));
            }
        }
        let containers: Vec<Value> = containers.into_iter().map(|(_, row)| row).collect();
        let containers = table(&CONTAINERS, &containers)?;
        let volume = |volume: &Volume| json!({"Name": volume.name, "Links": volume.links, "Size": out::size(volume.bytes)});
        let volumes: Vec<Value> = self.volumes.iter().map(volume).collect();
        let volumes = table(&VOLUMES, &volumes)?;
        Ok(format!(
            "Images space usage:\n\n{images}\nContainers space usage:\n\n{containers}\nLocal Volumes space usage:\n\n{volumes}"
        ))
    }

    fn images_in_detail(&self) -> Vec<Value> {
        let mut rows = vec![];
        for image in &self.images {
            let others = self.images.iter().filter(|other| other.id != image.id);
            let others: HashSet<&PathBuf> = others.flat_map(|other| &other.layers).collect();
            let own = layers([image].into_iter());
            let shared = own.iter().filter(|(layer, _)| others.contains(*layer));
            let shared: u64 = shared.map(|(_, bytes)| bytes).sum();
            for mut row in image::rows(image) {
                row["SharedSize"] = json!(out::size(shared));
                row["UniqueSize"] = json!(out::size(own.values().sum::<u64>() - shared));
                row["Containers"] = json!(self.users(image));
                rows.push(row);
            }
        }
        rows
    }
}

impl Container {
    fn look(home: &Home, id: &str) -> Option<Container> {
        let record = Record::load(home, id).ok()??;
        let state = State::load(home, id).ok().flatten();
        let binds = record.request.binds.into_iter();
        Some(Container {
            id: id.to_owned(),
            image: record.image_id,
            volumes: binds.filter_map(|bind| bind.volume).collect(),
            bytes: bytes_below(&home.container(id).join("upper")),
            is_up: state.is_some_and(|state| state.status.is_up()),
        })
    }
}

/// The layers of all `images`, each once, with their bytes.
fn layers<'a>(images: impl Iterator<Item = &'a Image>) -> HashMap<&'a PathBuf, u64> {
    let sizes = images.flat_map(|image| image.layers.iter().zip(image.layer_sizes()));
    sizes
        .map(|(layer, bytes)| (layer, bytes.unwrap_or(0)))
        .collect()
}

/// `bytes` in all, of which `kept` are in use.
fn row(kind: &str, total: usize, active: usize, bytes: u64, kept: u64) -> Value {
    let free = bytes.saturating_sub(kept);
    let percent = |free: u64| (u128::from(free) * 100).checked_div(u128::from(bytes));
    let free = match percent(free) {
        Some(percent) => format!("{} ({percent}%)", out::size(free)),
        None => out::size(free),
    };
    json!({
        "Active": active.to_string(),
        "Reclaimable": free,
        "Size": out::size(bytes),
        "TotalCount": total.to_string(),
        "Type": kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_has_its_part_of_the_whole() {
        let free = |bytes, kept| row("Images", 2, 1, bytes, kept)["Reclaimable"].clone();
        assert_eq!(free(16_430_000, 4_800_000), "11.6MB (70%)");
        assert_eq!(free(212, 0), "212B (100%)");
        assert_eq!(free(36, 36), "0B (0%)");
        assert_eq!(free(0, 0), "0B");
        assert_eq!(free(u64::MAX, 0), "18.4EB (100%)");
    }
}
