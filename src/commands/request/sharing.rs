//! `--ipc`, `--pid`, `--uts`, `--cgroupns` and `--sysctl`: which of the kernel's tables the container has to itself, and
//! what it sets in those.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use crate::cli::run::ContainerArgs;
use crate::kernel::sysctl;
use crate::request::{Ipc, NetworkMode, Pids, Request, Userns};

/// `--ipc`.
pub(super) fn ipc(text: Option<&str>) -> Result<Ipc> {
    Ok(match text.unwrap_or_default() {
        "" | "private" => Ipc::Private,
        "shareable" => Ipc::Shareable,
        "none" => Ipc::None,
        "host" => Ipc::Host,
        other => match other.strip_prefix("container:") {
            Some(name) if !name.is_empty() => Ipc::Container(name.to_owned()),
            _ => bail!("invalid IPC mode: {other}"),
        },
    })
}

/// `--pid`.
pub(super) fn pid(text: Option<&str>) -> Result<Pids> {
    Ok(match text.unwrap_or_default() {
        "" => Pids::Own,
        "host" => Pids::Host,
        other => match other.strip_prefix("container:") {
            Some(name) if !name.is_empty() => Pids::Container(name.to_owned()),
            _ => bail!("--pid: invalid PID mode: {other}: it is host or container:NAME"),
        },
    })
}

/// `--uts`: is the host's name the container's?
pub(super) fn uts(args: &ContainerArgs) -> Result<bool> {
    match args.uts.as_deref().unwrap_or_default() {
        "" => Ok(false),
        "host" => {
            ensure!(
                args.hostname.is_none(),
                "conflicting options: hostname and the UTS mode"
            );
            ensure!(
                args.domainname.is_none(),
                "conflicting options: domainname and the UTS mode"
            );
            Ok(true)
        }
        other => bail!("--uts: invalid UTS mode: {other}: it is host"),
    }
}

/// `--cgroupns`: does the container see where its cgroup lies?
pub(super) fn cgroupns(text: Option<&str>) -> Result<bool> {
    match text.unwrap_or_default() {
        "" | "private" => Ok(false),
        "host" => Ok(true),
        other => bail!("--cgroupns: invalid CGROUP mode: {other}: it is private or host"),
    }
}

/// `--sysctl NAME=VALUE`, of those alone that each container has for itself.
pub(super) fn sysctls(words: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |word: &String| {
        let pair = word.split_once('=');
        let (name, value) = pair
            .filter(|(name, _)| sysctl::is_containers(name))
            .with_context(|| {
                format!(
                    "invalid argument {word:?} for \"--sysctl\" flag: sysctl '{word}' is not allowed"
                )
            })?;
        // The link may not be there yet when the others are set.
        let parts: Vec<&str> = name.splitn(5, '.').collect();
        if let ["net", _, _, link, _] = parts[..] {
            ensure!(
                !link.starts_with("eth"),
                "interface specific sysctl setting {name:?} must be supplied using driver option 'com.docker.network.endpoint.sysctls' \
                 (--network name=NETWORK,driver-opt=com.docker.network.endpoint.sysctls=...)"
            );
        }
        Ok((name.to_owned(), value.to_owned()))
    };
    words.iter().map(pair).collect()
}

/// What cannot be had together, in Docker's words.
pub(super) fn check(request: &Request) -> Result<()> {
    let of_host = |prefixes: &[&str]| {
        let mut names = request.sysctls.keys();
        names.find(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
    };
    if request.network == NetworkMode::Host
        && let Some(name) = of_host(&["net."])
    {
        bail!("sysctl {name:?} not allowed in host network namespace");
    }
    if request.ipc == Ipc::Host
        && let Some(name) = of_host(&["kernel.", "fs.mqueue."])
    {
        bail!("sysctl {name:?} is not allowed in the hosts ipc namespace");
    }
    if matches!(request.userns, Some(Userns::Auto { .. })) {
        let why = "when user namespaces are enabled";
        match request.pid {
            Pids::Own => (),
            Pids::Host => bail!("cannot share the host PID namespace {why}"),
            Pids::Container(_) => bail!("cannot share another container's PID namespace {why}"),
        }
        match request.ipc {
            Ipc::Host => bail!("cannot share the host's IPC namespace {why}"),
            Ipc::Container(_) => bail!("cannot share another container's IPC namespace {why}"),
            _ => (),
        }
    }
    Ok(())
}
