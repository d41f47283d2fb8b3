//! Groups in the running kernel, below `rmac-test-*` only.

use std::process::{Child, Command, Stdio};

use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder,
};

use super::*;
use crate::sys::test_support::in_child;

/// A place of its own for a test; removed when dropped.
struct Place {
    layout: Layout,
    top: PathBuf,
}

impl Place {
    fn new(layout: Layout, name: &str) -> Place {
        Place {
            layout,
            top: format!("/rmac-test-{name}-{}", std::process::id()).into(),
        }
    }

    fn group(&self) -> PathBuf {
        self.top.join("x")
    }

    fn take_host(&self, resources: Option<&LinuxResources>) {
        for step in plan_host(&self.layout, &self.group(), resources).unwrap() {
            step.take().unwrap();
        }
    }

    /// A sleeping process in the group, put there from outside.
    fn sleeper(&self) -> Child {
        let child = Command::new("sleep")
            .arg("60")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let file = |mount: &Path| {
            mount
                .join(self.group().strip_prefix("/").unwrap())
                .join("cgroup.procs")
        };
        let files: Vec<PathBuf> = match &self.layout {
            Layout::V1(trees) => trees.joined().map(file).collect(),
            Layout::V2(tree) => vec![file(&tree.mount)],
        };
        for file in files {
            write(&file, &child.id().to_string()).unwrap();
        }
        child
    }

    fn exists(&self) -> bool {
        let there = |mount: &Path| mount.join(self.group().strip_prefix("/").unwrap()).exists();
        match &self.layout {
            Layout::V1(trees) => trees.mounts().any(there),
            Layout::V2(tree) => there(&tree.mount),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        remove(&self.layout, &self.top).unwrap();
    }
}

/// This machine's v1, and its v2 wherever it is mounted.
fn layouts() -> Vec<Layout> {
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
    let (trees, tree) = (v1::Trees::read(&mounts), v2::Tree::find(&mounts));
    let mut found = Vec::new();
    if !trees.is_empty() {
        found.push(Layout::V1(trees));
    }
    found.extend(tree.map(|mount| Layout::V2(v2::Tree::at(&mount).unwrap())));
    if found.len() < 2 {
        eprintln!("skipped: one of cgroup v1 and v2 is not mounted: {found:?}");
    }
    found
}

fn opens(device: &str) -> String {
    match File::open(device) {
        Ok(_) => "opens".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

#[test]
fn a_v1_group_has_its_limits_and_the_child_enters_every_tree() {
    let Some(layout @ Layout::V1(_)) = layouts().into_iter().next() else {
        return eprintln!("skipped: no cgroup v1");
    };
    let place = Place::new(layout, "v1");
    let memory = LinuxMemoryBuilder::default()
        .limit(64i64 << 20)
        .build()
        .unwrap();
    let cpu = LinuxCpuBuilder::default()
        .shares(512u64)
        .cpus("0")
        .build()
        .unwrap();
    let pids = LinuxPidsBuilder::default().limit(7i64).build().unwrap();
    let resources = LinuxResourcesBuilder::default()
        .memory(memory)
        .cpu(cpu)
        .pids(pids)
        .build()
        .unwrap();
    place.take_host(Some(&resources));
    let text = in_child(|| {
        for step in plan_child(&place.layout, &place.group(), Some(&resources))? {
            step.take()?;
        }
        let own = std::fs::read_to_string("/proc/self/cgroup")?;
        let joined = own
            .lines()
            .filter(|l| l.ends_with(&*place.group().to_string_lossy()))
            .count();
        Ok(format!(
            "{joined} {} {}",
            opens("/dev/null"),
            opens("/dev/kmsg")
        ))
    });
    assert_eq!(text, "7 opens PermissionDenied");
    let Layout::V1(trees) = &place.layout else {
        panic!()
    };
    let read = |controller: &str, file: &str| {
        let dir = trees
            .mount_of(controller)
            .unwrap()
            .join(place.group().strip_prefix("/").unwrap());
        fs_err::read_to_string(dir.join(file))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(
        read("memory", "memory.limit_in_bytes"),
        (64 << 20).to_string()
    );
    assert_eq!(read("cpu", "cpu.shares"), "512");
    assert_eq!(read("cpuset", "cpuset.cpus"), "0");
    assert_eq!(read("pids", "pids.max"), "7");
    assert!(read("devices", "devices.list").contains("c 1:3 rwm"));
    remove(&place.layout, &place.group()).unwrap();
    assert!(!place.exists());
}

#[test]
fn the_v2_device_list_is_obeyed() {
    let Some(layout) = layouts().into_iter().find(|l| matches!(l, Layout::V2(_))) else {
        return eprintln!("skipped: no cgroup v2");
    };
    let place = Place::new(layout, "v2");
    place.take_host(None);
    let dir = open_v2(&place.layout, &place.group()).unwrap();
    assert!(dir.is_some());
    let Layout::V2(tree) = &place.layout else {
        panic!()
    };
    let procs = tree
        .mount
        .join(place.group().strip_prefix("/").unwrap())
        .join("cgroup.procs");
    let text = in_child(|| {
        let before = opens("/dev/kmsg");
        write(&procs, "0")?;
        Ok(format!(
            "{before} {} {}",
            opens("/dev/null"),
            opens("/dev/kmsg")
        ))
    });
    assert_eq!(text, "opens opens PermissionDenied");
}

#[test]
fn processes_are_listed_frozen_and_killed_and_all_groups_removed() {
    for layout in layouts() {
        let place = Place::new(layout, "kill");
        place.take_host(None);
        let mut sleeper = place.sleeper();
        let pid = Pid::from_raw(sleeper.id() as i32);
        assert_eq!(processes(&place.layout, &place.group()).unwrap(), [pid]);
        tidy(&place.layout, &place.group()).unwrap();
        assert!(place.exists(), "a group in use must not be tidied away");
        freeze(&place.layout, &place.group()).unwrap();
        // The program itself has made a group below its own.
        let inner = place.group().join("inner");
        plan_host(&place.layout, &inner, None).unwrap()[0]
            .take()
            .unwrap();
        remove(&place.layout, &place.group()).unwrap();
        let status = sleeper.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(libc::SIGKILL)
        );
        assert!(!place.exists());
        assert_eq!(processes(&place.layout, &place.group()).unwrap(), []);
        remove(&place.layout, &place.group()).unwrap();
        kill_all(&place.layout, &place.group()).unwrap();
    }
}

#[test]
fn undoing_kills_what_was_frozen() {
    for layout in layouts() {
        let place = Place::new(layout, "freeze");
        place.take_host(None);
        let mut sleeper = place.sleeper();
        freeze(&place.layout, &place.group()).unwrap();
        thaw(&place.layout, &place.group()).unwrap();
        // Undoing must get rid of processes that stand still, too.
        freeze(&place.layout, &place.group()).unwrap();
        let steps = plan_host(&place.layout, &place.group(), None).unwrap();
        for step in steps.iter().rev() {
            step.undo().unwrap();
        }
        assert!(!sleeper.wait().unwrap().success());
        assert!(!place.exists());
        steps.iter().for_each(|step| step.undo().unwrap());
    }
}

#[test]
fn the_root_and_what_leads_out_is_no_place() {
    let layout = Layout::V2(v2::Tree {
        mount: "/sys/fs/cgroup".into(),
        controllers: vec![],
    });
    for path in ["", "/", "/..", "/a/../..", "a/.."] {
        assert!(remove(&layout, Path::new(path)).is_err(), "{path:?}");
        assert!(
            plan_host(&layout, Path::new(path), None).is_err(),
            "{path:?}"
        );
    }
}
