//! From the flags of `run` and `create` to what is asked for: words become values, and each mistake has
//! its text.

pub mod networks;
pub mod userns;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, PosixRlimit,
    PosixRlimitBuilder, PosixRlimitType,
};

use super::volume;
use crate::cli::run::ContainerArgs;
use crate::kernel::{capabilities, devices::Mapping, signals::Signal};
use crate::request::Request;
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
        labels: labels(&args.label),
        dns: args.dns.clone(),
        dns_search: args.dns_search.clone(),
        dns_options: args.dns_option.clone(),
        add_host: args
            .add_host
            .iter()
            .map(|text| host(text))
            .collect::<Result<_>>()?,
        rlimits: args
            .ulimit
            .iter()
            .map(|text| ulimit(text))
            .collect::<Result<_>>()?,
        resources: resources(args)?,
        userns: args.userns.as_deref().map(userns::userns).transpose()?,
        detach_keys: args.detach_keys.clone(),
    };
    userns::check(&request)?;
    Ok(request)
}

/// The variables of the files, then those of the flags. A name without a value takes the caller's; one
/// that the caller has not got is passed on without `=`, which takes it away.
pub fn environment(files: &[std::path::PathBuf], flags: &[String]) -> Result<Vec<String>> {
    let mut all = vec![];
    for file in files {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("open {}", file.display()))?;
        for line in text.lines() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.split('=').next().unwrap_or_default();
            if name.is_empty() {
                bail!(
                    "invalid environment variable: no variable name on line '{line}' of {}",
                    file.display()
                );
            }
            if name.contains(char::is_whitespace) {
                bail!(
                    "variable '{name}' contains whitespaces ({})",
                    file.display()
                );
            }
            all.push(line.to_owned());
        }
    }
    for flag in flags {
        if flag.is_empty() || flag.starts_with('=') {
            bail!("invalid environment variable: {flag}");
        }
        all.push(flag.clone());
    }
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

fn resources(args: &ContainerArgs) -> Result<Option<LinuxResources>> {
    let mut resources = LinuxResources::default();
    if let Some(text) = &args.memory {
        let limit = crate::out::read_size(text)?;
        if limit < 6 << 20 {
            bail!("Minimum memory limit allowed is 6MB");
        }
        // As Docker: as much swap again.
        resources.set_memory(Some(
            LinuxMemoryBuilder::default()
                .limit(limit)
                .swap(limit.saturating_mul(2))
                .build()?,
        ));
    }
    if let Some(text) = &args.cpus {
        let number: f64 = text
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite() && *number > 0.0)
            .with_context(|| format!("invalid --cpus: {text}"))?;
        let period = 100_000u64;
        resources.set_cpu(Some(
            LinuxCpuBuilder::default()
                .period(period)
                .quota((number * period as f64) as i64)
                .build()?,
        ));
    }
    if let Some(limit) = args.pids_limit.filter(|limit| *limit > 0) {
        resources.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build()?));
    }
    Ok(Some(resources))
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
