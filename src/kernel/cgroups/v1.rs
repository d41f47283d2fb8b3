//! Cgroups version 1: a tree for each controller.  cgroups(7), "Cgroups version 1"
//!
//! Each controller, or a few together such as `cpu,cpuacct`, is a file system of its own, and a process has
//! a place in each of them ([`Trees`]). A container joins `devices`, `memory`, `pids`, `cpu`, `cpuacct` and `freezer`;
//! the others only where a limit asks for them, since each costs a directory and an entry at every start.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::LinuxResources;

use super::Step;
use super::devices::DeviceList;

mod limits;
mod trees;

pub(super) use limits::limits;
use trees::JOINED;
pub use trees::Trees;

/// What a new cpuset must have before a process can enter.
const CPUSET_FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// The processor time for real-time tasks: a new group has none, and cannot give what it does not have.
pub(super) const RT_RUNTIME: &str = "cpu.rt_runtime_us";

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
    // Each level on the way, from the top, since each takes its value from the one above.
    let mut levels: Vec<&Path> = below
        .ancestors()
        .filter(|p| !p.as_os_str().is_empty())
        .collect();
    levels.reverse();
    if wanted.contains(&"cpuset")
        && let Some(mount) = trees.mount_of("cpuset")
    {
        for level in &levels {
            let dir = mount.join(level);
            steps.extend(CPUSET_FILES.map(|file| Step::Inherit {
                dir: dir.clone(),
                file,
            }));
        }
    }
    let cpu = resources.and_then(|resources| resources.cpu().as_ref());
    if cpu.is_some_and(|cpu| cpu.realtime_runtime().is_some_and(|runtime| runtime > 0))
        && let Some(mount) = trees.mount_of("cpu")
    {
        // The last level is the container's own, with the limit that it is to have.
        steps.extend(
            levels
                .iter()
                .rev()
                .skip(1)
                .rev()
                .map(|level| Step::Inherit {
                    dir: mount.join(level),
                    file: RT_RUNTIME,
                }),
        );
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

/// What a file that can be inherited holds in a new group.
pub(super) fn unset(file: &str) -> &'static str {
    if file == RT_RUNTIME { "0" } else { "" }
}

/// Gives `file` of the new group `dir` the value of its parent's, unless it has one.
pub(super) fn inherit(dir: &Path, file: &str) -> Result<()> {
    let own = fs_err::read_to_string(dir.join(file))?;
    if own.trim() != unset(file) {
        return Ok(());
    }
    let parent = dir.parent().context("a group has a parent")?;
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

#[cfg(test)]
mod tests {
    use super::trees::tests::MOUNTS;
    use super::*;
    use oci_spec::runtime::{LinuxCpuBuilder, LinuxMemoryBuilder, LinuxResourcesBuilder};

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
    fn real_time_is_handed_down_to_the_level_above() {
        let cpu = LinuxCpuBuilder::default().realtime_runtime(1000i64);
        let resources = LinuxResourcesBuilder::default().cpu(cpu.build().unwrap());
        let steps = plan_host(
            &Trees::read(MOUNTS),
            Path::new("rmac/x"),
            Some(&resources.build().unwrap()),
        );
        let shown: Vec<String> = steps.unwrap().iter().map(Step::to_string).collect();
        let base = "/sys/fs/cgroup/cpu,cpuacct/rmac";
        let inherit = format!("write(\"{base}/cpu.rt_runtime_us\", <{base}/../cpu.rt_runtime_us>)");
        let set = format!("write(\"{base}/x/cpu.rt_runtime_us\", \"1000\")");
        let at = |line: &str| shown.iter().position(|s| s == line).unwrap();
        assert_eq!(at(&inherit) + 1, at(&set), "{shown:?}");
        let all = shown.iter().filter(|s| s.contains("rt_runtime"));
        assert_eq!(all.count(), 2, "{shown:?}");
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
}
