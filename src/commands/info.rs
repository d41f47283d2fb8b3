//! `info`: what rmac finds on this machine, under the names that Docker has for it.
//!
//! What Docker tells and rmac has not (a daemon's id, swarm, plugins, proxies) is not there.

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::statfs::{self, FsType, statfs};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::image;
use crate::cli::system::InfoArgs;
use crate::kernel::cgroups::Layout;
use crate::out;
use crate::out::stream::{out, outln};
use crate::store::Home;
use crate::store::containers::{self, State};
use crate::supervise::rootless;

/// `rmac info`.
pub fn info(home: &Home, args: &InfoArgs) -> Result<u8> {
    let value = value(home)?;
    match args.format.as_deref() {
        None => out!("{}", text(&value)),
        Some("json") => outln!("{value}"),
        Some(template) => outln!("{}", out::render(template, &value)?),
    }
    Ok(0)
}

fn value(home: &Home) -> Result<Value> {
    let [running, paused, stopped] = count(home)?;
    let (driver, version) = match Layout::detect() {
        Ok(Layout::V2(_)) => ("cgroupfs", "2"),
        Ok(Layout::V1(trees)) if trees.is_empty() => ("none", "1"),
        Ok(Layout::V1(_)) => ("cgroupfs", "1"),
        Err(_) => ("none", ""),
    };
    let mut security = vec!["name=seccomp,profile=builtin"];
    if rootless::is() {
        security.push("name=rootless");
    }
    security.push("name=cgroupns");
    let system = nix::sys::utsname::uname().context("ask for the machine's name")?;
    let word = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    Ok(json!({
        "Containers": running + paused + stopped,
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": stopped,
        "Images": image::store(home)?.list()?.len(),
        "Driver": "overlay2",
        "DriverStatus": [
            ["Backing Filesystem", file_system(home)],
            ["userxattr", rootless::is().to_string()],
        ],
        "Plugins": {"Volume": ["local"], "Network": ["host", "ipvlan", "macvlan", "null"], "Log": ["json-file"]},
        "LoggingDriver": "json-file",
        "CgroupDriver": driver,
        "CgroupVersion": version,
        "KernelVersion": word(system.release()),
        "OperatingSystem": field(&release, "PRETTY_NAME").unwrap_or_else(|| "<unknown>".into()),
        "OSVersion": field(&release, "VERSION_ID").unwrap_or_default(),
        "OSType": std::env::consts::OS,
        "Architecture": word(system.machine()),
        "NCPU": processors()?,
        "MemTotal": memory(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        "DockerRootDir": home.root,
        "Name": word(system.nodename()),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "SecurityOptions": security,
    }))
}

/// How many containers run, are paused, and are neither.
fn count(home: &Home) -> Result<[usize; 3]> {
    let mut counts = [0; 3];
    for id in containers::ids(home) {
        let at = match State::load(home, &id)?.as_ref().map(State::name) {
            Some("running") => 0,
            Some("paused") => 1,
            _ => 2,
        };
        counts[at] += 1;
    }
    Ok(counts)
}

/// The value as Docker lays it out for people.
fn text(value: &Value) -> String {
    let shown = |field: &str| match &value[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let words = |list: &Value| {
        let words = list.as_array().into_iter().flatten();
        let words: Vec<&str> = words.filter_map(Value::as_str).collect();
        words.join(" ")
    };
    let mut lines = vec!["Server:".to_owned()];
    let mut tell = |indent: usize, name: &str, text: String| {
        lines.push(format!("{:indent$}{name}: {text}", ""));
    };
    tell(1, "Containers", shown("Containers"));
    for name in ["Running", "Paused", "Stopped"] {
        tell(2, name, shown(&format!("Containers{name}")));
    }
    tell(1, "Images", shown("Images"));
    tell(1, "Server Version", shown("ServerVersion"));
    tell(1, "Storage Driver", shown("Driver"));
    for pair in value["DriverStatus"].as_array().into_iter().flatten() {
        let word = |at: usize| pair[at].as_str().unwrap_or_default();
        tell(2, word(0), word(1).to_owned());
    }
    tell(1, "Logging Driver", shown("LoggingDriver"));
    tell(1, "Cgroup Driver", shown("CgroupDriver"));
    tell(1, "Cgroup Version", shown("CgroupVersion"));
    lines.push(" Plugins:".into());
    for kind in ["Volume", "Network", "Log"] {
        lines.push(format!("  {kind}: {}", words(&value["Plugins"][kind])));
    }
    lines.push(" Security Options:".into());
    for option in value["SecurityOptions"].as_array().into_iter().flatten() {
        let option = option.as_str().unwrap_or_default();
        let (name, profile) = option.split_once(",profile=").unwrap_or((option, ""));
        lines.push(format!("  {}", name.trim_start_matches("name=")));
        if !profile.is_empty() {
            lines.push(format!("   Profile: {profile}"));
        }
    }
    for (name, field) in [
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
    ] {
        lines.push(format!(" {name}: {}", shown(field)));
    }
    let memory = out::binary_size(value["MemTotal"].as_u64().unwrap_or(0));
    lines.push(format!(" Total Memory: {memory}"));
    lines.push(format!(" Name: {}", shown("Name")));
    lines.push(format!(" Docker Root Dir: {}", shown("DockerRootDir")));
    let lines: Vec<_> = lines.iter().map(|line| out::escape(line)).collect();
    format!("{}\n", lines.join("\n"))
}

/// What the layers lie on, in Docker's words.
fn file_system(home: &Home) -> &'static str {
    const NAMES: &[(FsType, &str)] = &[
        (statfs::EXT4_SUPER_MAGIC, "extfs"),
        (statfs::XFS_SUPER_MAGIC, "xfs"),
        (statfs::BTRFS_SUPER_MAGIC, "btrfs"),
        (statfs::TMPFS_MAGIC, "tmpfs"),
        (statfs::OVERLAYFS_SUPER_MAGIC, "overlayfs"),
        (statfs::F2FS_SUPER_MAGIC, "f2fs"),
    ];
    let kind = statfs(&home.images()).map(|fs| fs.filesystem_type());
    let name = NAMES.iter().find(|(magic, _)| kind == Ok(*magic));
    name.map_or("<unknown>", |(_, name)| name)
}

/// On how many processors this may run.
fn processors() -> Result<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).context("ask for the processors")?;
    let all = 0..CpuSet::count();
    Ok(all.filter(|cpu| set.is_set(*cpu) == Ok(true)).count())
}

/// Bytes of memory in all, as `/proc/meminfo` has it.  proc_meminfo(5)
fn memory(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

/// A field of os-release(5), without its quotes.
fn field(release: &str, name: &str) -> Option<String> {
    let value = release
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_machine_are_read() {
        let release =
            "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nVERSION_ID='13'\n";
        assert_eq!(
            field(release, "PRETTY_NAME").as_deref(),
            Some("Debian GNU/Linux 13 (trixie)")
        );
        assert_eq!(field(release, "VERSION_ID").as_deref(), Some("13"));
        assert_eq!(field(release, "ID"), None);
        assert_eq!(memory("MemFree: 1 kB\nMemTotal:       8 kB\n"), 8192);
        assert_eq!(memory(""), 0);
    }

    #[test]
    fn the_layout_is_dockers() {
        let value = json!({
            "Containers": 3, "ContainersRunning": 1, "ContainersPaused": 0, "ContainersStopped": 2,
            "Images": 4, "Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]],
            "Plugins": {"Volume": ["local"], "Network": ["ipvlan", "macvlan"], "Log": ["json-file"]},
            "LoggingDriver": "json-file", "CgroupDriver": "cgroupfs", "CgroupVersion": "2",
            "KernelVersion": "6.18", "OperatingSystem": "Debian", "OSType": "linux",
            "Architecture": "x86_64", "NCPU": 2, "MemTotal": 8_218_214_400u64, "Name": "host",
            "DockerRootDir": "/var/lib/rmac", "ServerVersion": "1.0",
            "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
        });
        assert_eq!(
            text(&value),
            "Server:\n Containers: 3\n  Running: 1\n  Paused: 0\n  Stopped: 2\n Images: 4\n Server Version: 1.0\n \
             Storage Driver: overlay2\n  Backing Filesystem: extfs\n Logging Driver: json-file\n Cgroup Driver: cgroupfs\n \
             Cgroup Version: 2\n Plugins:\n  Volume: local\n  Network: ipvlan macvlan\n  Log: json-file\n \
             Security Options:\n  seccomp\n   Profile: builtin\n  cgroupns\n Kernel Version: 6.18\n \
             Operating System: Debian\n OSType: linux\n Architecture: x86_64\n CPUs: 2\n Total Memory: 7.654GiB\n \
             Name: host\n Docker Root Dir: /var/lib/rmac\n"
        );
    }
}
