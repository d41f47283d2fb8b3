//! `state`, `list`, `ps`, `features`, `spec`: the verbs that only tell.

use std::io::Write;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use super::cli::{Format, ListArgs, PsArgs, SpecArgs};
use super::state::{Record, Status, Store};
use crate::kernel::cgroups::{self, Layout};
use crate::kernel::seccomp;
use crate::out;

/// Prints the state of a container.
///
/// # Errors
/// There is none of that id.
pub fn state(store: &Store, id: &str) -> Result<()> {
    let record = store.load(id)?;
    let status = store.status(&record);
    print(&out::json(&describe(&record, status)))
}

fn describe(record: &Record, status: Status) -> Value {
    let pid = match (&record.process, status) {
        (Some(process), Status::Created | Status::Running | Status::Paused) => process.pid,
        _ => 0,
    };
    json!({
        "ociVersion": record.spec.version(),
        "id": record.id,
        "pid": pid,
        "status": status.name(),
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": record.created,
        "annotations": record.spec.annotations().clone().unwrap_or_default(),
        "owner": "",
    })
}

/// Lists all containers.
pub fn list(store: &Store, args: &ListArgs) -> Result<()> {
    let records = store
        .ids()
        .into_iter()
        .filter_map(|id| store.load(&id).ok());
    let all: Vec<(Record, Status)> = records
        .map(|record| {
            let status = store.status(&record);
            (record, status)
        })
        .collect();
    if args.quiet {
        let ids: Vec<&str> = all.iter().map(|(record, _)| record.id.as_str()).collect();
        return print(&ids.join("\n"));
    }
    let described: Vec<Value> = all
        .iter()
        .map(|(record, status)| describe(record, *status))
        .collect();
    if args.format == Format::Json {
        return print(&Value::from(described).to_string());
    }
    let rows: Vec<Vec<String>> = described
        .iter()
        .map(|one| {
            let word = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
            vec![
                word("id"),
                one["pid"].to_string(),
                word("status"),
                word("bundle"),
                word("created"),
            ]
        })
        .collect();
    print(out::table(&["ID", "PID", "STATUS", "BUNDLE", "CREATED"], &rows).trim_end())
}

/// Lists the processes of a container: their numbers, or what ps(1) of the host says of them.
///
/// # Errors
/// There is no such container, or no ps(1).
pub fn ps(store: &Store, args: &PsArgs) -> Result<()> {
    let record = store.load(&args.id)?;
    let pids = cgroups::processes(&Layout::detect()?, record.cgroup()?)?;
    let pids: Vec<i32> = pids.iter().map(|pid| pid.as_raw()).collect();
    if args.format == Format::Json {
        return print(&json!(pids).to_string());
    }
    let options = match args.options.is_empty() {
        true => &["-ef".to_owned()][..],
        false => &args.options,
    };
    let output = std::process::Command::new("ps").args(options).output();
    let output = output.context("start ps(1)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let Some(column) = header.split_whitespace().position(|word| word == "PID") else {
        bail!("ps {}: there is no column PID", options.join(" "));
    };
    let ours = lines.filter(|line| {
        let pid = line
            .split_whitespace()
            .nth(column)
            .and_then(|word| word.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    });
    let all: Vec<&str> = std::iter::once(header).chain(ours).collect();
    print(&all.join("\n"))
}

/// Prints what this runtime can do, whatever this host has (OCI runtime-spec, features.md).
pub fn features() -> Result<()> {
    let [known, supported] = seccomp::flags();
    let features = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": crate::kernel::mounts::option_words(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": crate::kernel::capabilities::all_names(),
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": false },
            "seccomp": {
                "enabled": true,
                "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                            "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
                "operators": ["SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE",
                              "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"],
                "archs": seccomp::architectures(),
                "knownFlags": known,
                "supportedFlags": supported,
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": false },
            "memoryPolicy": {
                "modes": ["MPOL_DEFAULT", "MPOL_PREFERRED", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_LOCAL",
                          "MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE"],
                "flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
            },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
        // The one that it heeds, rmac.seccomp, adds a filter where there is none.
        "potentiallyUnsafeConfigAnnotations": [],
        "annotations": { "org.rmac.version": env!("CARGO_PKG_VERSION") },
    });
    print(&out::json(&features))
}

/// Writes a `config.json` to begin with: a shell in the directory `rootfs`.
///
/// # Errors
/// There is one already.
pub fn spec(args: &SpecArgs) -> Result<()> {
    let path = args.bundle.join("config.json");
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let mut spec = match args.rootless {
        true => Spec::rootless(uid.as_raw(), gid.as_raw()),
        false => Spec::default(),
    };
    spec.set_version("1.2.0".into());
    if let Some(process) = spec.process_mut() {
        process.set_terminal(Some(true));
    }
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path);
    let mut file = file.with_context(|| format!("make {}", path.display()))?;
    file.write_all(out::json(&spec).as_bytes())
        .with_context(|| format!("write {}", path.display()))
}

fn print(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    match writeln!(output, "{}", text.trim_end()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("print"),
    }
}
