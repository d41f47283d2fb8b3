//! Cgroups version 2: one tree.  cgroups(7), "Cgroups version 2"; the kernel's cgroup-v2.rst
//!
//! A directory has the files of those controllers that its parent hands down (`cgroup.subtree_control`), and
//! a directory that hands controllers down may hold no processes itself ("no internal processes"; the root
//! is exempt). So rmac's containers lie in `/sys/fs/cgroup/rmac/ID`: the root and `rmac` hand down, and
//! only the leaves hold processes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use super::Step;
use super::devices::DeviceList;

/// The file that hands controllers down.
pub(super) const SUBTREE_CONTROL: &str = "cgroup.subtree_control";

/// What is handed down wherever it is there, so that usage can be read and limits can be changed later.
const USED: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// The tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The controllers that its root offers.
    pub controllers: Vec<String>,
}

impl Tree {
    /// Reads what the tree mounted at `mount` offers.
    ///
    /// # Errors
    /// It is no v2 tree.
    pub fn at(mount: &Path) -> Result<Tree> {
        let controllers = fs_err::read_to_string(mount.join("cgroup.controllers"))?;
        Ok(Tree {
            mount: mount.to_owned(),
            controllers: controllers.split_whitespace().map(str::to_owned).collect(),
        })
    }

    /// Finds the tree's mount point in the text of `/proc/self/mountinfo`.
    pub(super) fn find(mounts: &str) -> Option<PathBuf> {
        let is_v2 = |line: &&str| {
            line.split_once(" - ")
                .is_some_and(|(_, right)| right.starts_with("cgroup2 "))
        };
        let line = mounts.lines().find(is_v2)?;
        line.split(' ').nth(4).map(PathBuf::from)
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

/// See [`super::plan_host`].
pub(super) fn plan_host(
    tree: &Tree,
    below: &Path,
    resources: Option<&LinuxResources>,
) -> Result<Vec<Step>> {
    let dir = tree.mount.join(below);
    let mut steps = vec![Step::Create(dir.clone())];
    let hugetlb = resources.is_some_and(|r| {
        r.hugepage_limits()
            .as_ref()
            .is_some_and(|pages| !pages.is_empty())
    });
    let used = |c: &&String| USED.contains(&c.as_str()) || (hugetlb && *c == "hugetlb");
    let controllers: Vec<String> = tree.controllers.iter().filter(used).cloned().collect();
    if !controllers.is_empty() {
        let mut levels: Vec<&Path> = below.ancestors().skip(1).collect();
        levels.reverse();
        let enable = |level: &Path| Step::Enable {
            // Joining with the empty path of the root would leave a trailing slash.
            dir: if level.as_os_str().is_empty() {
                tree.mount.clone()
            } else {
                tree.mount.join(level)
            },
            controllers: controllers.clone(),
        };
        steps.extend(levels.into_iter().map(enable));
    }
    if let Some(resources) = resources {
        steps.extend(limits(tree, below, resources)?);
    }
    let list = DeviceList::of(resources);
    if list.denies_something() {
        steps.push(Step::DeviceProgram { dir, list });
    }
    Ok(steps)
}

/// The limits alone.
pub(super) fn limits(tree: &Tree, below: &Path, resources: &LinuxResources) -> Result<Vec<Step>> {
    let mut limits = Limits {
        tree,
        dir: tree.mount.join(below),
        steps: Vec::new(),
    };
    if let Some(memory) = resources.memory() {
        limits.memory(memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        limits.cpu(cpu)?;
    }
    if let Some(pids) = resources.pids() {
        limits.set("pids", "pids.max", number_or_max(pids.limit()))?;
    }
    if let Some(io) = resources.block_io() {
        limits.block_io(io)?;
    }
    for page in resources.hugepage_limits().iter().flatten() {
        let file = |what: &str| format!("hugetlb.{}.{what}", page.page_size());
        limits.set("hugetlb", &file("max"), page.limit())?;
        // The specification: when they are reserved, where the kernel can (since Linux 5.7), and when they are used.
        limits.steps.push(Step::SetIfThere {
            file: limits.dir.join(file("rsvd.max")),
            value: page.limit().to_string(),
        });
    }
    let mut files: Vec<_> = resources.unified().iter().flatten().collect();
    files.sort();
    for (file, value) in files {
        if file.contains('/') {
            bail!("linux.resources.unified: {file:?} is not the name of a file");
        }
        let controller = file.split('.').next().unwrap_or(file);
        limits.set(controller, file, value)?;
    }
    Ok(limits.steps)
}

/// Docker's weight of processor time, 2 to 262144 with 1024 as the usual, on v2's scale, 1 to 10000 with
/// 100 as the usual. The curve is a parabola of the logarithm through (2, 1), (1024, 100), (262144, 10000).
fn weight_of_shares(shares: u64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    // The curve misses whole numbers by less than a billionth at the three points.
    (10f64.powf(exponent) - 1e-9).ceil() as u64
}

/// v1's weight of disk time, 10 to 1000, on v2's scale, 1 to 10000.
fn weight_of_io(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

fn number_or_max(limit: i64) -> String {
    if limit > 0 {
        limit.to_string()
    } else {
        "max".to_owned()
    }
}

/// Collects the control files to write.
struct Limits<'a> {
    tree: &'a Tree,
    dir: PathBuf,
    steps: Vec<Step>,
}

impl Limits<'_> {
    fn set(&mut self, controller: &str, file: &str, value: impl ToString) -> Result<()> {
        // "cgroup" is no controller: every directory has its files.
        if controller != "cgroup" && !self.tree.has(controller) {
            bail!(
                "{file} cannot be limited: this machine's cgroups have no {controller} controller (see {}/cgroup.controllers)",
                self.tree.mount.display()
            );
        }
        self.steps.push(Step::Set {
            file: self.dir.join(file),
            value: value.to_string(),
        });
        Ok(())
    }

    fn set_if(&mut self, controller: &str, file: &str, value: Option<impl ToString>) -> Result<()> {
        value.map_or(Ok(()), |value| self.set(controller, file, value))
    }

    fn memory(&mut self, memory: &LinuxMemory) -> Result<()> {
        self.set_if(
            "memory",
            "memory.max",
            memory.limit().filter(|l| *l != 0).map(number_or_max),
        )?;
        // Docker's number is memory and swap together, v2's is swap alone.
        match (memory.swap(), memory.limit()) {
            // Without a limit of memory there is none of both together.
            (None, Some(..0)) => self.set("memory", "memory.swap.max", "max")?,
            (None | Some(0), _) => {}
            (Some(..0), _) => self.set("memory", "memory.swap.max", "max")?,
            (Some(both), Some(limit @ 1..)) => {
                let swap = both.checked_sub(limit).filter(|swap| *swap >= 0);
                let swap =
                    swap.context("the limit of memory and swap together is below that of memory")?;
                self.set("memory", "memory.swap.max", swap)?;
            }
            (Some(_), _) => bail!("a limit of swap needs a limit of memory"),
        }
        self.set_if(
            "memory",
            "memory.low",
            memory.reservation().filter(|l| *l != 0).map(number_or_max),
        )
    }

    fn cpu(&mut self, cpu: &LinuxCpu) -> Result<()> {
        let shares = cpu.shares().filter(|shares| *shares > 0);
        self.set_if("cpu", "cpu.weight", shares.map(weight_of_shares))?;
        let quota = cpu.quota().filter(|quota| *quota != 0).map(number_or_max);
        let max = match (quota, cpu.period().filter(|period| *period > 0)) {
            (None, None) => None,
            (quota, None) => quota,
            (quota, Some(period)) => {
                Some(format!("{} {period}", quota.as_deref().unwrap_or("max")))
            }
        };
        self.set_if("cpu", "cpu.max", max)?;
        self.set_if("cpu", "cpu.max.burst", cpu.burst())?;
        self.set_if("cpu", "cpu.idle", cpu.idle())?;
        self.set_if("cpuset", "cpuset.cpus", cpu.cpus().as_ref())?;
        self.set_if("cpuset", "cpuset.mems", cpu.mems().as_ref())
    }

    fn block_io(&mut self, io: &LinuxBlockIo) -> Result<()> {
        self.set_if(
            "io",
            "io.weight",
            io.weight().filter(|w| *w > 0).map(weight_of_io),
        )?;
        for device in io.weight_device().iter().flatten() {
            let line = |w| format!("{}:{} {}", device.major(), device.minor(), weight_of_io(w));
            self.set_if("io", "io.weight", device.weight().map(line))?;
        }
        for (key, devices) in [
            ("rbps", io.throttle_read_bps_device()),
            ("wbps", io.throttle_write_bps_device()),
            ("riops", io.throttle_read_iops_device()),
            ("wiops", io.throttle_write_iops_device()),
        ] {
            for device in devices.iter().flatten() {
                let (major, minor, rate) = (device.major(), device.minor(), device.rate());
                self.set("io", "io.max", format!("{major}:{minor} {key}={rate}"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{
        LinuxCpuBuilder, LinuxHugepageLimitBuilder, LinuxMemoryBuilder, LinuxPidsBuilder,
        LinuxResourcesBuilder,
    };

    fn tree(controllers: &[&str]) -> Tree {
        Tree {
            mount: "/sys/fs/cgroup".into(),
            controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
        }
    }

    #[test]
    fn huge_pages_are_limited_when_used_and_when_reserved() {
        let page = LinuxHugepageLimitBuilder::default()
            .page_size("2MB")
            .limit(4 << 20);
        let resources = LinuxResourcesBuilder::default()
            .hugepage_limits(vec![page.build().unwrap()])
            .build()
            .unwrap();
        let steps = limits(&tree(&["hugetlb"]), Path::new("x"), &resources).unwrap();
        let file = |name: &str| Path::new("/sys/fs/cgroup/x").join(name);
        let value = "4194304".to_owned();
        let wanted = [
            Step::Set {
                file: file("hugetlb.2MB.max"),
                value: value.clone(),
            },
            Step::SetIfThere {
                file: file("hugetlb.2MB.rsvd.max"),
                value,
            },
        ];
        assert_eq!(steps, wanted);
    }

    #[test]
    fn a_file_that_the_kernel_has_not_is_passed_over_and_another_is_written() {
        let dir = std::env::temp_dir().join(format!("rmac-if-there-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let step = |name: &str| Step::SetIfThere {
            file: dir.join(name),
            value: "7".into(),
        };
        step("absent").take().unwrap();
        std::fs::write(dir.join("present"), "").unwrap();
        step("present").take().unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("present")).unwrap(), "7");
        assert!(!dir.join("absent").exists());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn controllers_are_handed_down_and_limits_written() {
        let memory = LinuxMemoryBuilder::default()
            .limit(1i64 << 20)
            .swap(3i64 << 20)
            .build()
            .unwrap();
        let cpu = LinuxCpuBuilder::default()
            .quota(50000i64)
            .period(100000u64)
            .shares(1024u64)
            .build()
            .unwrap();
        let pids = LinuxPidsBuilder::default().limit(-1i64).build().unwrap();
        let resources = LinuxResourcesBuilder::default()
            .memory(memory)
            .cpu(cpu)
            .pids(pids)
            .build()
            .unwrap();
        let tree = tree(&["cpuset", "cpu", "memory", "rdma", "pids"]);
        let steps = plan_host(&tree, Path::new("rmac/x"), Some(&resources)).unwrap();
        let shown: Vec<String> = steps
            .iter()
            .map(|s| s.to_string().replace("/sys/fs/cgroup", ""))
            .collect();
        assert_eq!(
            shown[..8],
            [
                r#"mkdir("/rmac/x", 0755)"#,
                r#"write("/cgroup.subtree_control", "+cpuset +cpu +memory +pids")"#,
                r#"write("/rmac/cgroup.subtree_control", "+cpuset +cpu +memory +pids")"#,
                r#"write("/rmac/x/memory.max", "1048576")"#,
                r#"write("/rmac/x/memory.swap.max", "2097152")"#,
                r#"write("/rmac/x/cpu.weight", "100")"#,
                r#"write("/rmac/x/cpu.max", "50000 100000")"#,
                r#"write("/rmac/x/pids.max", "max")"#,
            ]
        );
        assert!(matches!(steps[8], Step::DeviceProgram { .. }));
    }

    #[test]
    fn weights_are_converted_at_their_three_points() {
        assert_eq!([2, 1024, 262_144].map(weight_of_shares), [1, 100, 10_000]);
        assert_eq!(
            [0, 1, 512, u64::MAX].map(weight_of_shares),
            [1, 1, 59, 10_000]
        );
        assert_eq!([10, 500, 1000].map(weight_of_io), [1, 4950, 10_000]);
    }

    #[test]
    fn a_limit_without_its_controller_is_a_clear_error() {
        let pids = LinuxPidsBuilder::default().limit(5i64).build().unwrap();
        let resources = LinuxResourcesBuilder::default().pids(pids).build().unwrap();
        let error = plan_host(&tree(&["cpu"]), Path::new("rmac/x"), Some(&resources)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "pids.max cannot be limited: this machine's cgroups have no pids controller (see /sys/fs/cgroup/cgroup.controllers)"
        );
    }
}
