//! What each limit is written to in version 1.  The kernel's cgroup-v1 documents: memory.rst, cpusets.rst,
//! blkio-controller.rst, pids.rst, hugetlb.rst, net_cls.rst, net_prio.rst; sched-bwc.rst
//!
//! The files are named after their controller and lie in its tree, so a limit whose controller is not mounted
//! has no file: an error, never a container without the limit.

use std::path::Path;

use anyhow::{Result, bail};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice,
};

use super::Trees;
use crate::kernel::cgroups::Step;

/// The files to write for `resources` in the cgroup `below` of each tree.
///
/// # Errors
/// A limit whose controller is not mounted, or one that version 2 alone has.
pub(in crate::kernel::cgroups) fn limits(
    trees: &Trees,
    below: &Path,
    resources: &LinuxResources,
) -> Result<Vec<Step>> {
    let mut limits = Limits {
        trees,
        below,
        steps: Vec::new(),
    };
    if let Some(memory) = resources.memory() {
        limits.memory(memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        limits.cpu(cpu)?;
    }
    if let Some(pids) = resources.pids() {
        let max = if pids.limit() > 0 {
            pids.limit().to_string()
        } else {
            "max".to_owned()
        };
        limits.set("pids", "pids.max", max)?;
    }
    if let Some(io) = resources.block_io() {
        limits.block_io(io)?;
    }
    for page in resources.hugepage_limits().iter().flatten() {
        let file = |what: &str| format!("hugetlb.{}.{what}", page.page_size());
        limits.set("hugetlb", &file("limit_in_bytes"), page.limit())?;
        limits.add("hugetlb", &file("rsvd.limit_in_bytes"), page.limit());
    }
    if let Some(network) = resources.network() {
        if let Some(class) = network.class_id() {
            limits.set("net_cls", "net_cls.classid", class)?;
        }
        for priority in network.priorities().iter().flatten() {
            limits.set(
                "net_prio",
                "net_prio.ifpriomap",
                format!("{} {}", priority.name(), priority.priority()),
            )?;
        }
    }
    if resources
        .unified()
        .as_ref()
        .is_some_and(|files| !files.is_empty())
    {
        bail!(
            "limits by file name (linux.resources.unified) need cgroup v2, and this machine has v1"
        );
    }
    Ok(limits.steps)
}

/// Collects the control files to write.
struct Limits<'a> {
    trees: &'a Trees,
    below: &'a Path,
    steps: Vec<Step>,
}

impl Limits<'_> {
    fn set(&mut self, controller: &str, file: &str, value: impl ToString) -> Result<()> {
        let Some(mount) = self.trees.mount_of(controller) else {
            bail!("{file} cannot be limited: {}", self.trees.lacks(controller));
        };
        self.steps.push(Step::Set {
            file: mount.join(self.below).join(file),
            value: value.to_string(),
        });
        Ok(())
    }

    /// What the kernel may not have, beside what it has: the specification wants huge pages limited when they are
    /// reserved, where it can (since Linux 5.7), and when they are used.
    fn add(&mut self, controller: &str, file: &str, value: impl ToString) {
        self.steps.extend(
            self.trees
                .mount_of(controller)
                .map(|mount| Step::SetIfThere {
                    file: mount.join(self.below).join(file),
                    value: value.to_string(),
                }),
        );
    }

    fn set_if(&mut self, controller: &str, file: &str, value: Option<impl ToString>) -> Result<()> {
        value.map_or(Ok(()), |value| self.set(controller, file, value))
    }

    fn memory(&mut self, memory: &LinuxMemory) -> Result<()> {
        // The kernel wants memory <= memory + swap at any moment: in a new group, memory first.
        self.set_if("memory", "memory.limit_in_bytes", memory.limit())?;
        self.set_if("memory", "memory.memsw.limit_in_bytes", memory.swap())?;
        self.set_if("memory", "memory.soft_limit_in_bytes", memory.reservation())?;
        self.set_if(
            "memory",
            "memory.kmem.tcp.limit_in_bytes",
            memory.kernel_tcp(),
        )?;
        self.set_if("memory", "memory.swappiness", memory.swappiness())?;
        let no_killer = memory.disable_oom_killer().filter(|disable| *disable);
        self.set_if("memory", "memory.oom_control", no_killer.map(u8::from))
    }

    fn cpu(&mut self, cpu: &LinuxCpu) -> Result<()> {
        self.set_if(
            "cpu",
            "cpu.shares",
            cpu.shares().filter(|shares| *shares > 0),
        )?;
        self.set_if(
            "cpu",
            "cpu.cfs_period_us",
            cpu.period().filter(|period| *period > 0),
        )?;
        self.set_if(
            "cpu",
            "cpu.cfs_quota_us",
            cpu.quota().filter(|quota| *quota != 0),
        )?;
        self.set_if("cpu", "cpu.cfs_burst_us", cpu.burst())?;
        self.set_if("cpu", "cpu.rt_period_us", cpu.realtime_period())?;
        self.set_if("cpu", "cpu.rt_runtime_us", cpu.realtime_runtime())?;
        self.set_if("cpu", "cpu.idle", cpu.idle())?;
        self.set_if("cpuset", "cpuset.cpus", cpu.cpus().as_ref())?;
        self.set_if("cpuset", "cpuset.mems", cpu.mems().as_ref())
    }

    fn block_io(&mut self, io: &LinuxBlockIo) -> Result<()> {
        self.set_if(
            "blkio",
            "blkio.weight",
            io.weight().filter(|weight| *weight > 0),
        )?;
        self.set_if(
            "blkio",
            "blkio.leaf_weight",
            io.leaf_weight().filter(|weight| *weight > 0),
        )?;
        let weight = |d: &LinuxWeightDevice| {
            d.weight()
                .map(|w| format!("{}:{} {w}", d.major(), d.minor()))
        };
        for value in io.weight_device().iter().flatten().filter_map(weight) {
            self.set("blkio", "blkio.weight_device", value)?;
        }
        for (file, devices) in [
            (
                "blkio.throttle.read_bps_device",
                io.throttle_read_bps_device(),
            ),
            (
                "blkio.throttle.write_bps_device",
                io.throttle_write_bps_device(),
            ),
            (
                "blkio.throttle.read_iops_device",
                io.throttle_read_iops_device(),
            ),
            (
                "blkio.throttle.write_iops_device",
                io.throttle_write_iops_device(),
            ),
        ] {
            let rate =
                |d: &LinuxThrottleDevice| format!("{}:{} {}", d.major(), d.minor(), d.rate());
            for value in devices.iter().flatten().map(rate) {
                self.set("blkio", file, value)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{plan_host, trees::tests::MOUNTS};
    use super::*;
    use oci_spec::runtime::{LinuxPidsBuilder, LinuxResourcesBuilder};

    #[test]
    fn a_limit_without_its_controller_is_a_clear_error() {
        let pids = LinuxPidsBuilder::default().limit(5i64).build().unwrap();
        let resources = LinuxResourcesBuilder::default().pids(pids).build().unwrap();
        let error = plan_host(&Trees::read(MOUNTS), Path::new("x"), Some(&resources)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "pids.max cannot be limited: this machine has no pids controller (see /proc/cgroups)"
        );
    }
}
