//! Where the trees of version 1 are: which controllers are mounted in which place.  cgroups(7), "Mounting v1 controllers"
//!
//! The list of all mounts tells it for sure. It is long on a busy machine, so the usual place is looked at first:
//! every distribution mounts each controller at `/sys/fs/cgroup/CONTROLLER`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a container joins wherever it is mounted.
pub(super) const JOINED: [&str; 6] = ["devices", "memory", "pids", "cpu", "cpuacct", "freezer"];

/// All that rmac can make use of.
const CONTROLLERS: [&str; 11] = [
    "devices", "memory", "pids", "cpu", "cpuacct", "freezer", "cpuset", "blkio", "hugetlb",
    "net_cls", "net_prio",
];

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
pub struct Trees(pub(super) Vec<(PathBuf, Vec<String>)>);

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
    pub(in crate::kernel::cgroups) fn mounts(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(mount, _)| mount.as_path())
    }

    /// The trees that every container joins.
    pub(in crate::kernel::cgroups) fn joined(&self) -> impl Iterator<Item = &Path> {
        self.holding(&JOINED)
    }

    /// The trees that have one of the controllers `wanted`.
    pub(super) fn holding<'a>(&'a self, wanted: &'a [&str]) -> impl Iterator<Item = &'a Path> {
        let wants = move |found: &Vec<String>| found.iter().any(|c| wanted.contains(&c.as_str()));
        self.0
            .iter()
            .filter(move |(_, found)| wants(found))
            .map(|(mount, _)| mount.as_path())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What mountinfo says on a machine of the "hybrid" kind.
    pub const MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
36 31 0:33 / /mnt/again rw,relatime - cgroup cgroup rw,devices
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

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
}
