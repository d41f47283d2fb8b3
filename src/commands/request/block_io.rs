//! `--blkio-weight`, `--device-read-bps` and their kin: how much a container may read from and write to disks, in
//! Docker's units and words.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::cli::run::ContainerArgs;
use crate::kernel::cgroups::Layout;
use crate::out;
use crate::out::stream::errln;
use crate::request::{BlockIo, Rate};

/// What `args` ask for.
pub(super) fn block_io(args: &ContainerArgs) -> Result<BlockIo> {
    let bytes = |words: &[String], flag: &str| rates(words, flag, Unit::Bytes);
    let operations = |words: &[String], flag: &str| rates(words, flag, Unit::Operations);
    Ok(BlockIo {
        weight: weight(args.limits.blkio_weight.unwrap_or(0))?,
        read_bps: bytes(&args.device_read_bps, "device-read-bps")?,
        write_bps: bytes(&args.device_write_bps, "device-write-bps")?,
        read_iops: operations(&args.device_read_iops, "device-read-iops")?,
        write_iops: operations(&args.device_write_iops, "device-write-iops")?,
    })
}

/// A weight that the kernel has no file for is said and left out, as Docker does.
pub fn weight(weight: u16) -> Result<u16> {
    if weight == 0 {
        return Ok(0);
    }
    let there = match Layout::detect()? {
        Layout::V1(trees) => trees
            .mount_of("blkio")
            .map(|mount| mount.join("blkio.weight")),
        // The weights of version 2 are those of the controller whose costs stand in the root.
        Layout::V2(tree) => Some(tree.mount.join("io.cost.qos")),
    };
    if !there.is_some_and(|file| file.exists()) {
        errln!(
            "WARNING: Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded."
        );
        return Ok(0);
    }
    ensure!(
        (10..=1000).contains(&weight),
        "Range of blkio weight is from 10 to 1000"
    );
    Ok(weight)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Operations,
}

fn rates(words: &[String], flag: &str, unit: Unit) -> Result<Vec<Rate>> {
    let rate = |word: &String| {
        rate(word, unit).with_context(|| format!("invalid argument {word:?} for \"--{flag}\" flag"))
    };
    words.iter().map(rate).collect()
}

/// `/dev/DISK:NUMBER`.
fn rate(word: &str, unit: Unit) -> Result<Rate> {
    let (path, number) = word
        .split_once(':')
        .with_context(|| format!("bad format: {word}"))?;
    if !path.starts_with("/dev/") {
        bail!("bad format for device path: {word}");
    }
    let (rate, format) = match unit {
        Unit::Bytes => (
            out::read_size(number)
                .ok()
                .and_then(|rate| u64::try_from(rate).ok()),
            "<device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb",
        ),
        Unit::Operations => (
            number.parse().ok(),
            "<device-path>:<number>. Number must be a positive integer",
        ),
    };
    let rate = rate.with_context(|| {
        format!("invalid rate for device: {word}. The correct format is {format}")
    })?;
    let path = PathBuf::from(path);
    Ok(Rate { path, rate })
}
