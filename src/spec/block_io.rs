//! What a container may read from and write to the host's disks.

use anyhow::Result;
use oci_spec::runtime::{
    LinuxBlockIo, LinuxBlockIoBuilder, LinuxThrottleDevice, LinuxThrottleDeviceBuilder,
};

use crate::kernel::devices::disk;
use crate::request::{BlockIo, Rate};

/// The limits that `wanted` comes to on this machine; a rate of 0 is none.
///
/// # Errors
/// Names what is no disk.
pub(super) fn block_io(wanted: &BlockIo) -> Result<LinuxBlockIo> {
    let mut builder = LinuxBlockIoBuilder::default()
        .throttle_read_bps_device(throttles(&wanted.read_bps)?)
        .throttle_write_bps_device(throttles(&wanted.write_bps)?)
        .throttle_read_iops_device(throttles(&wanted.read_iops)?)
        .throttle_write_iops_device(throttles(&wanted.write_iops)?);
    if wanted.weight > 0 {
        builder = builder.weight(wanted.weight);
    }
    Ok(builder.build()?)
}

fn throttles(rates: &[Rate]) -> Result<Vec<LinuxThrottleDevice>> {
    let throttle = |rate: &Rate| {
        let (major, minor) = disk::number(&rate.path)?;
        let builder = LinuxThrottleDeviceBuilder::default();
        Ok(builder.major(major).minor(minor).rate(rate.rate).build()?)
    };
    let limited = rates.iter().filter(|rate| rate.rate > 0);
    limited.map(throttle).collect()
}
