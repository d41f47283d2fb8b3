//! What the processes of a cgroup have used: the counters beside the limits.  cgroups(7)

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Layout, relative};

/// What the processes of a cgroup have used. Where the machine does not count something, it is 0; where there is no
/// limit, it is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, nanoseconds.
    pub cpu: u64,
    /// Memory, bytes, with what is cached of files.
    pub memory: u64,
    /// The most of it that there ever was.
    pub memory_peak: u64,
    /// Of it, what is cached of files and was not touched lately: it goes when somebody wants memory.
    pub inactive_file: u64,
    /// The limit, bytes.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Their limit.
    pub pids_limit: Option<u64>,
    /// Bytes read from disks.
    pub read: u64,
    /// Bytes written to disks.
    pub written: u64,
}

/// Reads the counters of the cgroup `path`.
///
/// # Errors
/// It is no place for a cgroup.
pub fn usage(layout: &Layout, path: &Path) -> Result<Usage> {
    let below = relative(path)?;
    let group = |controller: &str| -> Option<PathBuf> {
        match layout {
            Layout::V1(trees) => Some(trees.mount_of(controller)?.join(&below)),
            Layout::V2(tree) => Some(tree.mount.join(&below)),
        }
    };
    let is_v2 = matches!(layout, Layout::V2(_));
    let text = |controller: &str, v1: &str, v2: &str| {
        let file = group(controller)?.join(if is_v2 { v2 } else { v1 });
        std::fs::read_to_string(file).ok()
    };
    let number =
        |controller, v1, v2| -> Option<u64> { text(controller, v1, v2)?.trim().parse().ok() };
    let keyed = |controller, v1, v2, key| value(&text(controller, v1, v2)?, key);
    let (read, written) = match is_v2 {
        true => disks_v2(&text("io", "", "io.stat").unwrap_or_default()),
        false => {
            disks_v1(&text("blkio", "blkio.throttle.io_service_bytes", "").unwrap_or_default())
        }
    };
    Ok(Usage {
        cpu: match is_v2 {
            true => keyed("cpu", "", "cpu.stat", "usage_usec").unwrap_or(0) * 1000,
            false => number("cpuacct", "cpuacct.usage", "").unwrap_or(0),
        },
        memory: number("memory", "memory.usage_in_bytes", "memory.current").unwrap_or(0),
        memory_peak: number("memory", "memory.max_usage_in_bytes", "memory.peak").unwrap_or(0),
        inactive_file: match is_v2 {
            true => keyed("memory", "", "memory.stat", "inactive_file"),
            false => keyed("memory", "memory.stat", "", "total_inactive_file"),
        }
        .unwrap_or(0),
        memory_limit: number("memory", "memory.limit_in_bytes", "memory.max"),
        pids: number("pids", "pids.current", "pids.current").unwrap_or(0),
        pids_limit: number("pids", "pids.max", "pids.max"),
        read,
        written,
    })
}

/// The number behind `key`, in lines of a word and a number.
fn value(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(word, _)| *word == key)?.1.trim().parse().ok()
}

/// Bytes read and written, by lines such as `8:0 Read 4096`.
fn disks_v1(text: &str) -> (u64, u64) {
    let of = |what: &str| {
        let numbers = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            (words.next()? == what).then(|| words.next()?.parse::<u64>().ok())?
        });
        numbers.sum()
    };
    (of("Read"), of("Write"))
}

/// The same by lines such as `8:0 rbytes=4096 wbytes=0 rios=1`.
fn disks_v2(text: &str) -> (u64, u64) {
    let of = |what: &str| {
        let words = text.split_whitespace();
        let numbers = words.filter_map(|word| word.strip_prefix(what)?.parse::<u64>().ok());
        numbers.sum()
    };
    (of("rbytes="), of("wbytes="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::cgroups::v2::Tree;

    #[test]
    fn the_counters_of_version_2() {
        let mount = std::env::temp_dir().join(format!("rmac-usage-{}", std::process::id()));
        let group = mount.join("rmac/x");
        std::fs::create_dir_all(&group).unwrap();
        let layout = Layout::V2(Tree {
            mount: mount.clone(),
            controllers: vec![],
        });
        let read = || usage(&layout, Path::new("/rmac/x")).unwrap();
        assert_eq!(read(), Usage::default());
        for (file, text) in [
            ("cpu.stat", "usage_usec 1500\nuser_usec 1000\n"),
            ("memory.current", "1048576\n"),
            ("memory.peak", "2097152\n"),
            ("memory.stat", "anon 4096\ninactive_file 8192\n"),
            ("memory.max", "max\n"),
            ("pids.current", "3\n"),
            ("pids.max", "100\n"),
            (
                "io.stat",
                "8:0 rbytes=4096 wbytes=1 rios=1 wios=1\n8:16 rbytes=4 wbytes=2\n",
            ),
        ] {
            std::fs::write(group.join(file), text).unwrap();
        }
        let wanted = Usage {
            cpu: 1_500_000,
            memory: 1 << 20,
            memory_peak: 2 << 20,
            inactive_file: 8192,
            memory_limit: None,
            pids: 3,
            pids_limit: Some(100),
            read: 4100,
            written: 3,
        };
        assert_eq!(read(), wanted);
        std::fs::remove_dir_all(mount).unwrap();
    }

    #[test]
    fn the_disks_of_version_1() {
        let text = "8:0 Read 4096\n8:0 Write 1\n8:0 Total 4097\n8:16 Read 4\nTotal 4101\n";
        assert_eq!(disks_v1(text), (4100, 1));
        assert_eq!(disks_v1(""), (0, 0));
    }
}
