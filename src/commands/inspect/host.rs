//! `HostConfig` of `inspect`: what the container was asked to be on this host.

use std::borrow::Cow;

use oci_spec::runtime::PosixRlimit;
use serde_json::{Map, Value, json};

use crate::kernel::devices::Mapping;
use crate::request::{Bind, NetworkMode, Request, Userns};
use crate::store::containers::Record;

pub(super) fn host_config(record: &Record) -> Value {
    let request = &record.request;
    let resources = request.resources.clone().unwrap_or_default();
    let memory = resources
        .memory()
        .as_ref()
        .and_then(|memory| memory.limit());
    let quota = resources.cpu().as_ref().and_then(|cpu| cpu.quota());
    let hosts = request.add_host.iter();
    let hosts: Vec<String> = hosts
        .map(|(name, address)| format!("{name}:{address}"))
        .collect();
    let tmpfs = request.tmpfs.iter();
    let tmpfs: Map<String, Value> = tmpfs
        .map(|(path, options)| (path.display().to_string(), json!(options)))
        .collect();
    json!({
        "Binds": nothing_or(&request.binds.iter().map(bind_text).collect::<Vec<_>>()),
        "NetworkMode": mode(record),
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": request.auto_remove,
        "CapAdd": nothing_or(&request.cap_add),
        "CapDrop": nothing_or(&request.cap_drop),
        "Devices": devices(request),
        "Dns": request.dns,
        "DnsOptions": request.dns_options,
        "DnsSearch": request.dns_search,
        "ExtraHosts": nothing_or(&hosts),
        "Privileged": request.privileged,
        "ReadonlyRootfs": request.read_only,
        "SecurityOpt": nothing_or(&security_options(request)),
        "Tmpfs": if tmpfs.is_empty() { Value::Null } else { tmpfs.into() },
        "ShmSize": 64 << 20,
        "Init": request.init,
        "Memory": memory.unwrap_or(0),
        "NanoCpus": quota.unwrap_or(0) * 10_000,
        "PidsLimit": resources.pids().as_ref().map(|pids| pids.limit()),
        "UsernsMode": userns_mode(request),
        "Ulimits": request.rlimits.iter().map(ulimit_value).collect::<Vec<_>>(),
    })
}

/// Docker shows an empty list that nobody asked for as null.
fn nothing_or(list: &[String]) -> Value {
    if list.is_empty() {
        Value::Null
    } else {
        json!(list)
    }
}

fn bind_text(bind: &Bind) -> String {
    let options = match bind.options.as_slice() {
        [] => String::new(),
        options => format!(":{}", options.join(",")),
    };
    format!(
        "{}:{}{options}",
        bind.volume
            .clone()
            .unwrap_or_else(|| bind.source.display().to_string()),
        bind.target.display()
    )
}

fn security_options(request: &Request) -> Vec<String> {
    let wanted = [
        (request.no_new_privileges, "no-new-privileges"),
        (request.seccomp_unconfined, "seccomp=unconfined"),
    ];
    let wanted = wanted.into_iter().filter(|(on, _)| *on);
    wanted.map(|(_, option)| option.to_owned()).collect()
}

/// As it was given, for `--userns`.
fn userns_mode(request: &Request) -> String {
    match &request.userns {
        None => String::new(),
        Some(Userns::Host) => "host".into(),
        Some(Userns::Auto { .. }) => "auto".into(),
    }
}

fn ulimit_value(limit: &PosixRlimit) -> Value {
    let name = limit.typ().to_string();
    let name = name.trim_start_matches("RLIMIT_").to_lowercase();
    json!({"Name": name, "Hard": limit.hard(), "Soft": limit.soft()})
}

fn mode(record: &Record) -> Cow<'_, str> {
    match &record.request.network {
        NetworkMode::None => "none".into(),
        NetworkMode::Host => "host".into(),
        NetworkMode::Container(id) => format!("container:{id}").into(),
        NetworkMode::Networks(wanted) => wanted
            .first()
            .map_or("none", |network| network.name.as_str())
            .into(),
    }
}

fn devices(request: &Request) -> Value {
    let mappings = request.devices.iter().filter_map(|text| text.parse().ok());
    let devices: Vec<Value> = mappings
        .map(|mapping: Mapping| {
            json!({
                "PathOnHost": mapping.host,
                "PathInContainer": mapping.container,
                "CgroupPermissions": mapping.access,
            })
        })
        .collect();
    if devices.is_empty() {
        Value::Null
    } else {
        devices.into()
    }
}
