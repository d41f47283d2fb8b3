//! Cgroups version 1: a tree for each controller.  cgroups(7), "Cgroups version 1"
//!
//! Each controller, or a few together such as `cpu,cpuacct`, is a file system of its own, and a process has
//! a place in each of them. A container joins `devices`, `memory`, `pids`, `cpu`, `cpuacct` and `freezer`;
//! the others only where a limit asks for them, since each costs a directory and an entry at every start.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice,
};

use super::Step;
use super::devices::DeviceList;

/// What a container joins wherever it is mounted.
const JOINED: [&str; 6] = ["devices", "memory", "pids", "cpu", "cpuacct", "freezer"];

/// All that rmac can make use of.
const CONTROLLERS: [&str; 11] = [
    "devices", "memory", "pids", "cpu", "cpuacct", "freezer", "cpuset", "blkio", "hugetlb",
    "net_cls", "net_prio",
];

/// What a new cpuset must have before a process can enter.
const CPUSET_FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Mount options that stand among the controllers' names.
const OPTIONS: [&str; 7] = [
    "",
    "rw",
    "ro",
    "xattr",
    "noprefix",
    "clone_children",
    "cpuset_v2_mode",
];

/// Which controllers are mounted where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trees(Vec<(PathBuf, Vec<String>)>);

impl Trees {
    /// Reads the text of `/proc/self/mountinfo` (proc_pid_mountinfo(5)). Named hierarchies such as
    /// systemd's have no controller and are left out.
    pub fn read(mounts: &str) -> Trees {
        let mut trees = Trees::default();
        for line in mounts.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let mut right = right.split(' ');
            let (kind, mount) = (right.next(), left.split(' ').nth(4));
            let (Some("cgroup"), Some(mount), Some(options)) = (kind, mount, right.nth(1)) else {
                continue;
            };
            if options.contains("name=") {
                continue;
            }
            let is_controller = |word: &&str| !OPTIONS.contains(word) && !word.contains('=');
            let found: Vec<String> = options
                .split(',')
                .filter(is_controller)
                .map(str::to_owned)
                .collect();
            // A tree that is mounted twice, as in a chroot, is one tree; the first name does.
            let known = |c: &String| trees.mount_of(c).is_some();
            if !found.is_empty() && !found.iter().any(known) {
                trees.0.push((PathBuf::from(mount), found));
            }
        }
        trees
    }

    /// Looks for trees below `base`, such as `/sys/fs/cgroup`, under the controllers' names, where every
    /// distribution has them. Costs a dozen stat(2), a tenth of what the list of all mounts costs.
    pub fn below(base: &Path) -> Trees {
        let device = |path: &Path| path.metadata().ok().map(|meta| meta.dev());
        let around = device(base);
        let mut found: Vec<(u64, PathBuf, Vec<String>)> = Vec::new();
        for controller in CONTROLLERS {
            let path = base.join(controller);
            // A directory on the file system around it is no mount.
            let Some(own) = device(&path).filter(|own| Some(*own) != around) else {
                continue;
            };
            // Two names of one file system are controllers that are mounted together.
            match found.iter_mut().find(|(device, ..)| *device == own) {
                Some((.., controllers)) => controllers.push(controller.to_owned()),
                None => found.push((own, path, vec![controller.to_owned()])),
            }
        }
        Trees(
            found
                .into_iter()
                .map(|(_, mount, controllers)| (mount, controllers))
                .collect(),
        )
    }

    /// Is nothing mounted at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Why there is no such controller, for an error.
    pub fn lacks(&self, controller: &str) -> String {
        match self.is_empty() {
            true => "cgroups are root's here, and this is an ordinary user".into(),
            false => format!("this machine has no {controller} controller (see /proc/cgroups)"),
        }
    }

    /// Where `controller` is mounted.
    pub fn mount_of(&self, controller: &str) -> Option<&Path> {
        let has = |(_, found): &&(PathBuf, Vec<String>)| found.iter().any(|c| c == controller);
        self.0.iter().find(has).map(|(mount, _)| mount.as_path())
    }

    /// All trees.
    pub(super) fn mounts(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(mount, _)| mount.as_path())
    }

    /// The trees that every container joins.
    pub(super) fn joined(&self) -> impl Iterator<Item = &Path> {
        self.holding(&JOINED)
    }

    fn holding<'a>(&'a self, wanted: &'a [&str]) -> impl Iterator<Item = &'a Path> {
        let wants = move |found: &Vec<String>| found.iter().any(|c| wanted.contains(&c.as_str()));
        self.0
            .iter()
            .filter(move |(_, found)| wants(found))
            .map(|(mount, _)| mount.as_path())
    }
}

/// See [`super::plan_host`].
pub(super) fn plan_host(
    trees: &Trees,
    below: &Path,
    resources: Option<&LinuxResources>,
) -> Result<Vec<Step>> {
    let wanted = wanted(resources);
    let mut mounts: Vec<&Path> = trees.holding(&wanted).collect();
    // The freezer last, so that it is the first to be undone: a process that stands still cannot die.
    mounts.sort_by_key(|mount| trees.mount_of("freezer") == Some(*mount));
    let create = |mount: &Path| Step::Create(mount.join(below));
    let mut steps: Vec<Step> = mounts.into_iter().map(create).collect();
    if wanted.contains(&"cpuset")
        && let Some(mount) = trees.mount_of("cpuset")
    {
        // Each level on the way, from the top, since each takes its value from the one above.
        let mut levels: Vec<&Path> = below
            .ancestors()
            .filter(|p| !p.as_os_str().is_empty())
            .collect();
        levels.reverse();
        for level in levels {
            let dir = mount.join(level);
            steps.extend(CPUSET_FILES.map(|file| Step::Inherit {
                dir: dir.clone(),
                file,
            }));
        }
    }
    if let Some(resources) = resources {
        steps.extend(limits(trees, below, resources)?);
    }
    let list = DeviceList::of(resources);
    match trees.mount_of("devices") {
        Some(mount) => steps.push(Step::DeviceFiles {
            dir: mount.join(below),
            list,
        }),
        // Who has no cgroups at all, an ordinary user, cannot open the host's disks anyway.
        None if list.denies_something() && !trees.is_empty() => bail!(
            "this machine has no devices controller: it cannot keep a container from the host's disks"
        ),
        None => {}
    }
    Ok(steps)
}

/// See [`super::plan_child`].
pub(super) fn plan_child(
    trees: &Trees,
    below: &Path,
    resources: Option<&LinuxResources>,
) -> Result<Vec<Step>> {
    let enter = |mount: &Path| Step::Enter(mount.join(below).join("tasks"));
    Ok(trees.holding(&wanted(resources)).map(enter).collect())
}

/// The trees that a container with these limits is in: where each is mounted, and its controllers.
pub fn joined<'a>(
    trees: &'a Trees,
    resources: Option<&LinuxResources>,
) -> Vec<&'a (PathBuf, Vec<String>)> {
    let wanted = wanted(resources);
    let mounts: Vec<&Path> = trees.holding(&wanted).collect();
    let all = trees.0.iter();
    all.filter(|(mount, _)| mounts.contains(&mount.as_path()))
        .collect()
}

/// The limits alone.
pub(super) fn limits(trees: &Trees, below: &Path, resources: &LinuxResources) -> Result<Vec<Step>> {
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
        limits.set(
            "hugetlb",
            &format!("hugetlb.{}.limit_in_bytes", page.page_size()),
            page.limit(),
        )?;
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

/// Gives the empty `file` of the new cpuset `dir` the value of its parent's.
pub(super) fn inherit(dir: &Path, file: &str) -> Result<()> {
    let own = fs_err::read_to_string(dir.join(file))?;
    if !own.trim().is_empty() {
        return Ok(());
    }
    let parent = dir.parent().context("a cpuset has a parent")?;
    let value = fs_err::read_to_string(parent.join(file))?;
    super::write(&dir.join(file), value.trim())
}

/// The controllers that a container with these limits joins.
fn wanted(resources: Option<&LinuxResources>) -> Vec<&'static str> {
    let mut wanted = JOINED.to_vec();
    let Some(resources) = resources else {
        return wanted;
    };
    let cpu = resources.cpu().as_ref();
    if cpu.is_some_and(|cpu| cpu.cpus().is_some() || cpu.mems().is_some()) {
        wanted.push("cpuset");
    }
    if resources.block_io().is_some() {
        wanted.push("blkio");
    }
    if resources
        .hugepage_limits()
        .as_ref()
        .is_some_and(|pages| !pages.is_empty())
    {
        wanted.push("hugetlb");
    }
    if let Some(network) = resources.network() {
        wanted.extend(network.class_id().map(|_| "net_cls"));
        wanted.extend(network.priorities().as_ref().map(|_| "net_prio"));
    }
    wanted
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
    use super::*;
    use oci_spec::runtime::{
        LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder,
    };

    const MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
36 31 0:33 / /mnt/again rw,relatime - cgroup cgroup rw,devices
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    fn resources() -> LinuxResources {
        let memory = LinuxMemoryBuilder::default()
            .limit(1i64 << 20)
            .swap(2i64 << 20)
            .build()
            .unwrap();
        let cpu = LinuxCpuBuilder::default()
            .quota(50000i64)
            .period(100000u64)
            .cpus("0")
            .build()
            .unwrap();
        LinuxResourcesBuilder::default()
            .memory(memory)
            .cpu(cpu)
            .build()
            .unwrap()
    }

    #[test]
    fn trees_are_found_once_and_named_ones_are_left_out() {
        let trees = Trees::read(MOUNTS);
        let mounts: Vec<_> = trees.mounts().map(|m| m.display().to_string()).collect();
        assert_eq!(
            mounts,
            ["cpu,cpuacct", "cpuset", "memory", "devices"].map(|m| format!("/sys/fs/cgroup/{m}"))
        );
        assert_eq!(
            trees.mount_of("cpuacct"),
            Some(Path::new("/sys/fs/cgroup/cpu,cpuacct"))
        );
        assert_eq!(trees.joined().count(), 3);
    }

    #[test]
    fn both_ways_find_the_same_on_this_machine() {
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
        let (by_name, by_list) = (
            Trees::below(Path::new("/sys/fs/cgroup")),
            Trees::read(&mounts),
        );
        let sorted = |trees: Trees| {
            let mut list = trees.0;
            list.retain_mut(|(_, controllers)| {
                controllers.retain(|c| CONTROLLERS.contains(&c.as_str()));
                controllers.sort();
                !controllers.is_empty()
            });
            list.sort();
            list
        };
        assert_eq!(sorted(by_name), sorted(by_list));
    }

    #[test]
    fn limits_become_writes_after_the_directories() {
        let trees = Trees::read(MOUNTS);
        let steps = plan_host(&trees, Path::new("rmac/x"), Some(&resources())).unwrap();
        let shown: Vec<String> = steps
            .iter()
            .map(|s| s.to_string().replace("/sys/fs/cgroup/", ""))
            .collect();
        assert_eq!(
            shown[..13],
            [
                r#"mkdir("cpu,cpuacct/rmac/x", 0755)"#,
                r#"mkdir("cpuset/rmac/x", 0755)"#,
                r#"mkdir("memory/rmac/x", 0755)"#,
                r#"mkdir("devices/rmac/x", 0755)"#,
                r#"write("cpuset/rmac/cpuset.cpus", <cpuset/rmac/../cpuset.cpus>)"#,
                r#"write("cpuset/rmac/cpuset.mems", <cpuset/rmac/../cpuset.mems>)"#,
                r#"write("cpuset/rmac/x/cpuset.cpus", <cpuset/rmac/x/../cpuset.cpus>)"#,
                r#"write("cpuset/rmac/x/cpuset.mems", <cpuset/rmac/x/../cpuset.mems>)"#,
                r#"write("memory/rmac/x/memory.limit_in_bytes", "1048576")"#,
                r#"write("memory/rmac/x/memory.memsw.limit_in_bytes", "2097152")"#,
                r#"write("cpu,cpuacct/rmac/x/cpu.cfs_period_us", "100000")"#,
                r#"write("cpu,cpuacct/rmac/x/cpu.cfs_quota_us", "50000")"#,
                r#"write("cpuset/rmac/x/cpuset.cpus", "0")"#,
            ]
        );
        let (list, len) = (&shown[13], shown.len());
        let start = r#"write("devices/rmac/x/devices.deny", "a"), write("devices/rmac/x/devices.allow", ..)"#;
        assert!(list.starts_with(start) && len == 14, "{list}");
        let child = plan_child(&trees, Path::new("rmac/x"), Some(&resources())).unwrap();
        assert_eq!(child.len(), 4);
        assert_eq!(
            child[0],
            Step::Enter("/sys/fs/cgroup/cpu,cpuacct/rmac/x/tasks".into())
        );
    }

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
