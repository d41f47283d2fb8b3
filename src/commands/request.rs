//! From the flags of `run` and `create` to what is asked for: words become values, and each mistake has
//! its text.

pub mod block_io;
mod files;
pub mod networks;
pub mod resources;
mod sharing;
mod streams;
pub mod userns;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};

use super::volume;
use crate::cli::run::ContainerArgs;
use crate::kernel::{capabilities, devices::Mapping, signals::Signal};
use crate::request::{Request, Restart};
use crate::store::{Home, containers};
use crate::supervise::client;

/// What `args` asks for.
pub fn request(args: &ContainerArgs) -> Result<Request> {
    let base = capabilities::Base::Default;
    capabilities::choose(base, &args.cap_add, &args.cap_drop)?;
    if let Some(signal) = &args.stop_signal {
        signal.parse::<Signal>()?;
    }
    for device in &args.device {
        device.parse::<Mapping>()?;
    }
    if let Some(keys) = &args.detach_keys {
        client::parse_detach_keys(keys)?;
    }
    let (binds, tmpfs) = volume::mounts(&args.volume, &args.mount, &args.tmpfs)?;
    let (no_new_privileges, seccomp_unconfined) = security(&args.security_opt)?;
    let request = Request {
        image: args.image.clone(),
        command: args.command.clone(),
        entrypoint: args
            .entrypoint
            .clone()
            .map(|word| if word.is_empty() { vec![] } else { vec![word] }),
        hostname: args.hostname.clone().map(hostname).transpose()?,
        env: environment(&args.env_file, &args.env)?,
        user: args.user.clone(),
        working_dir: args.workdir.as_deref().map(working_dir).transpose()?,
        tty: args.tty,
        interactive: args.interactive,
        auto_remove: args.rm,
        network: networks::network(args)?,
        binds,
        tmpfs,
        read_only: args.read_only,
        init: args.init,
        cap_add: args.cap_add.clone(),
        cap_drop: args.cap_drop.clone(),
        privileged: args.privileged,
        devices: args.device.clone(),
        no_new_privileges,
        seccomp_unconfined,
        stop_signal: args.stop_signal.clone(),
        stop_timeout: args.stop_timeout,
        labels: labels(&with_files(&args.label_file, &args.label)?),
        annotations: labels(&args.annotation),
        attach: streams::attach(args)?,
        dns: args.dns.clone(),
        dns_search: args.dns_search.clone(),
        dns_options: args.dns_option.clone(),
        add_host: args
            .add_host
            .iter()
            .map(|text| host(text))
            .collect::<Result<_>>()?,
        userns: args.userns.as_deref().map(userns::userns).transpose()?,
        detach_keys: args.detach_keys.clone(),
        restart: restart(args)?,
        ..Request::default()
    };
    let request = use_of_the_machine(args, request)?;
    userns::check(&request)?;
    sharing::check(&request)?;
    Ok(request)
}

/// `--restart`, which would bring nobody back who has removed himself.
fn restart(args: &ContainerArgs) -> Result<Restart> {
    let policy: Restart = args.restart.parse()?;
    if args.rm && policy != Restart::No {
        bail!("conflicting options: cannot specify both --restart and --rm");
    }
    Ok(policy)
}

/// What the container uses of the machine, and of other containers, beside its network.
fn use_of_the_machine(args: &ContainerArgs, request: Request) -> Result<Request> {
    Ok(Request {
        resources: Some(resources::resources(args)?),
        rlimits: args
            .ulimit
            .iter()
            .map(|text| ulimit(text))
            .collect::<Result<_>>()?,
        nano_cpus: resources::nano_cpus(&args.limits)?,
        block_io: block_io::block_io(args)?,
        cgroup_parent: resources::cgroup_parent(args.cgroup_parent.as_deref())?,
        oom_score_adj: args.oom_score_adj.map(oom_score).transpose()?,
        group_add: args.group_add.clone(),
        domainname: args.domainname.clone(),
        sysctls: sharing::sysctls(&args.sysctl)?,
        shm_size: args.shm_size.as_deref().map(shm_size).transpose()?,
        ipc: sharing::ipc(args.ipc.as_deref())?,
        pid: sharing::pid(args.pid.as_deref())?,
        uts_of_host: sharing::uts(args)?,
        cgroupns_of_host: sharing::cgroupns(args.cgroupns.as_deref())?,
        volumes_from: args.volumes_from.clone(),
        expose: expose(&args.expose)?,
        ..request
    })
}

/// The variables of the files, then those of the flags. A name without a value takes the caller's; one
/// that the caller has not got is passed on without `=`, which takes it away.
pub fn environment(from: &[std::path::PathBuf], flags: &[String]) -> Result<Vec<String>> {
    if let Some(flag) = flags
        .iter()
        .find(|flag| flag.is_empty() || flag.starts_with('='))
    {
        bail!("invalid environment variable: {flag}");
    }
    let all = with_files(from, flags)?;
    let filled = all.into_iter().map(|pair| match std::env::var(&pair) {
        Ok(value) if !pair.contains('=') => format!("{pair}={value}"),
        _ => pair,
    });
    Ok(filled.collect())
}

/// `-w`, which must be absolute.
pub fn working_dir(text: &str) -> Result<std::path::PathBuf> {
    if !Path::new(text).is_absolute() {
        bail!("the working directory '{text}' is invalid, it needs to be an absolute path");
    }
    Ok(text.into())
}

/// The lines of the files, then the words of the flags, which count more.
fn with_files(from: &[std::path::PathBuf], flags: &[String]) -> Result<Vec<String>> {
    let mut all = vec![];
    for file in from {
        all.extend(files::lines(file)?);
    }
    all.extend_from_slice(flags);
    Ok(all)
}

/// `-l NAME[=VALUE]`.
pub fn labels(words: &[String]) -> BTreeMap<String, String> {
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (word.clone(), String::new()),
    };
    words.iter().map(pair).collect()
}

fn hostname(name: String) -> Result<String> {
    let valid = !name.is_empty()
        && name.len() <= 63
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if !valid {
        bail!("invalid hostname format: {name}");
    }
    Ok(name)
}

fn host(text: &str) -> Result<(String, std::net::IpAddr)> {
    let (name, address) =
        text.split_once([':', '=']).with_context(|| format!("invalid argument \"{text}\" for \"--add-host\" flag: bad format for add-host: \"{text}\""))?;
    let address = address.trim_matches(['[', ']']);
    let address = address
        .parse()
        .ok()
        .with_context(|| format!("invalid IP address in add-host: \"{address}\""))?;
    Ok((name.to_owned(), address))
}

fn security(options: &[String]) -> Result<(bool, bool)> {
    let (mut no_new_privileges, mut unconfined) = (false, false);
    for option in options {
        match option.replace(':', "=").as_str() {
            "no-new-privileges" | "no-new-privileges=true" => no_new_privileges = true,
            "no-new-privileges=false" => no_new_privileges = false,
            "seccomp=unconfined" => unconfined = true,
            "apparmor=unconfined" | "label=disable" => (),
            _ => bail!(
                "invalid --security-opt: \"{option}\"; known are no-new-privileges and seccomp=unconfined"
            ),
        }
    }
    Ok((no_new_privileges, unconfined))
}

fn ulimit(text: &str) -> Result<PosixRlimit> {
    let invalid = || format!("invalid ulimit argument: {text}");
    let (name, values) = text.split_once('=').with_context(invalid)?;
    let kind: PosixRlimitType =
        serde_json::from_value(format!("RLIMIT_{}", name.to_uppercase()).into())
            .ok()
            .with_context(|| format!("invalid ulimit type: {name}"))?;
    let value = |word: &str| match word.parse::<i64>() {
        Ok(-1) => Ok(u64::MAX),
        Ok(number @ 0..) => Ok(number as u64),
        _ => bail!(invalid()),
    };
    let (soft, hard) = match values.split_once(':') {
        Some((soft, hard)) => (value(soft)?, value(hard)?),
        None => (value(values)?, value(values)?),
    };
    if soft > hard {
        bail!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}");
    }
    Ok(PosixRlimitBuilder::default()
        .typ(kind)
        .soft(soft)
        .hard(hard)
        .build()?)
}

/// `--volumes-from CONTAINER[:ro]`: its bind mounts and volumes at the same places, but where something else was
/// asked for.
pub fn volumes_from(home: &Home, request: &mut Request) -> Result<()> {
    for text in request.volumes_from.clone() {
        if text.is_empty() {
            bail!("volumes-from specification cannot be an empty string");
        }
        let (name, mode) = text.split_once(':').unwrap_or((&text, "rw"));
        if !["", "rw", "ro", "z", "Z"].contains(&mode) {
            bail!("invalid mode: {mode}");
        }
        for mut bind in containers::find(home, name)?.request.binds {
            let targets = request.binds.iter().map(|other| &other.target);
            let mut taken = targets.chain(request.tmpfs.iter().map(|(path, _)| path));
            if taken.any(|target| *target == bind.target) {
                continue;
            }
            // Whether its owners are translated follows from the container that has it.
            if bind.volume.is_some() {
                bind.options.retain(|word| word != "idmap");
            }
            if mode == "ro" && !bind.options.iter().any(|word| word == "ro") {
                bind.options.retain(|word| word != "rw");
                bind.options.push("ro".into());
            }
            request.binds.push(bind);
        }
    }
    Ok(())
}

/// `--shm-size`, bytes; Docker takes 0 for "as usual".
fn shm_size(text: &str) -> Result<i64> {
    if text.starts_with('-') {
        bail!("SHM size can not be less than 0");
    }
    crate::out::read_size(text)
}

/// `--oom-score-adj`.
fn oom_score(score: i32) -> Result<i32> {
    if !(-1000..=1000).contains(&score) {
        bail!("Invalid value {score}, range for oom score adj is [-1000, 1000]");
    }
    Ok(score)
}

/// `--expose PORT[-PORT][/PROTOCOL]`: each port for itself.
fn expose(words: &[String]) -> Result<Vec<String>> {
    let mut all = vec![];
    for word in words {
        let (ports, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |text: &str, which: &str| {
            let port: Option<u16> = text.parse().ok();
            port.with_context(|| {
                format!(
                    "invalid range format for --expose: invalid {which} port '{text}': invalid syntax"
                )
            })
        };
        let (from, to) = (port(first, "start")?, port(last, "end")?);
        if from > to {
            bail!("invalid range format for --expose: invalid port range: {word}");
        }
        let protocol = protocol.to_lowercase();
        all.extend((from..=to).map(|port| format!("{port}/{protocol}")));
    }
    all.sort();
    all.dedup();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_the_process_are_checked() {
        assert_eq!(ulimit("nofile=10:20").unwrap().soft(), 10);
        assert_eq!(ulimit("nofile=10").unwrap().hard(), 10);
        assert_eq!(ulimit("core=-1").unwrap().hard(), u64::MAX);
        assert_eq!(
            ulimit("nofile=20:10").unwrap_err().to_string(),
            "ulimit soft limit must be less than or equal to hard limit: 20 > 10"
        );
        assert_eq!(
            ulimit("nosuch=1").unwrap_err().to_string(),
            "invalid ulimit type: nosuch"
        );
    }
}
