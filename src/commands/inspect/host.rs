//! `HostConfig` of `inspect`: what the container was asked to be on this host.

use std::borrow::Cow;

use oci_spec::runtime::PosixRlimit;
use serde_json::{Map, Value, json};

use crate::kernel::devices::Mapping;
use crate::request::{Bind, Ipc, NetworkMode, Pids, Rate, Request, Userns};
use crate::store::containers::Record;

pub(super) fn host_config(record: &Record) -> Value {
    let request = &record.request;
    let hosts = request.add_host.iter();
    let hosts: Vec<String> = hosts
        .map(|(name, address)| format!("{name}:{address}"))
        .collect();
    let tmpfs = request.tmpfs.iter();
    let tmpfs: Map<String, Value> = tmpfs
        .map(|(path, options)| (path.display().to_string(), json!(options)))
        .collect();
    let mut value = json!({
        "Binds": nothing_or(&request.binds.iter().map(bind_text).collect::<Vec<_>>()),
        "NetworkMode": mode(record),
        "RestartPolicy": {"Name": request.restart.name(), "MaximumRetryCount": request.restart.most()},
        "AutoRemove": request.auto_remove,
        "VolumesFrom": nothing_or(&request.volumes_from),
        "CapAdd": nothing_or(&request.cap_add),
        "CapDrop": nothing_or(&request.cap_drop),
        "CgroupnsMode": if request.cgroupns_of_host { "host" } else { "private" },
        "CgroupParent": request.cgroup_parent.as_deref().unwrap_or_default(),
        "Devices": devices(request),
        "Dns": request.dns,
        "DnsOptions": request.dns_options,
        "DnsSearch": request.dns_search,
        "ExtraHosts": nothing_or(&hosts),
        "GroupAdd": nothing_or(&request.group_add),
        "IpcMode": ipc_mode(&request.ipc),
        "OomScoreAdj": request.oom_score_adj.unwrap_or(0),
        "PidMode": pid_mode(&request.pid),
        "Privileged": request.privileged,
        "ReadonlyRootfs": request.read_only,
        "SecurityOpt": nothing_or(&security_options(request)),
        "Tmpfs": if tmpfs.is_empty() { Value::Null } else { tmpfs.into() },
        "UTSMode": if request.uts_of_host { "host" } else { "" },
        "UsernsMode": userns_mode(request),
        "ShmSize": request.shm_size.filter(|size| *size > 0).unwrap_or(64 << 20),
        "Init": request.init,
    });
    if let Value::Object(all) = &mut value {
        if !request.sysctls.is_empty() {
            all.insert("Sysctls".into(), json!(request.sysctls));
        }
        if !request.annotations.is_empty() {
            all.insert("Annotations".into(), json!(request.annotations));
        }
        all.extend(limits(request));
    }
    value
}

/// What the container may use of the machine.
fn limits(request: &Request) -> Map<String, Value> {
    let resources = request.resources.clone().unwrap_or_default();
    let memory = resources.memory().unwrap_or_default();
    let cpu = resources.cpu().clone().unwrap_or_default();
    // What `--cpus` comes to is no period and no quota that somebody has asked for.
    let as_given = request.nano_cpus == 0;
    let quota = cpu.quota().filter(|_| as_given);
    let period = cpu.period().filter(|_| as_given);
    let all = json!({
        "CpuShares": cpu.shares().unwrap_or(0),
        "Memory": memory.limit().unwrap_or(0),
        "NanoCpus": request.nano_cpus,
        "CpuPeriod": period.unwrap_or(0),
        "CpuQuota": quota.unwrap_or(0),
        "CpusetCpus": cpu.cpus().clone().unwrap_or_default(),
        "CpusetMems": cpu.mems().clone().unwrap_or_default(),
        "MemoryReservation": memory.reservation().unwrap_or(0),
        "MemorySwap": memory.swap().unwrap_or(0),
        "MemorySwappiness": memory.swappiness(),
        "OomKillDisable": memory.disable_oom_killer().unwrap_or(false),
        "BlkioWeight": request.block_io.weight,
        "BlkioDeviceReadBps": rates(&request.block_io.read_bps),
        "BlkioDeviceWriteBps": rates(&request.block_io.write_bps),
        "BlkioDeviceReadIOps": rates(&request.block_io.read_iops),
        "BlkioDeviceWriteIOps": rates(&request.block_io.write_iops),
        "PidsLimit": resources.pids().as_ref().map(|pids| pids.limit()),
        "Ulimits": request.rlimits.iter().map(ulimit_value).collect::<Vec<_>>(),
    });
    match all {
        Value::Object(all) => all,
        _ => Map::new(),
    }
}

fn rates(rates: &[Rate]) -> Value {
    let rates = rates.iter();
    rates
        .map(|rate| json!({"Path": rate.path, "Rate": rate.rate}))
        .collect()
}

fn ipc_mode(ipc: &Ipc) -> Cow<'_, str> {
    match ipc {
        Ipc::Private => "private".into(),
        Ipc::Shareable => "shareable".into(),
        Ipc::None => "none".into(),
        Ipc::Host => "host".into(),
        Ipc::Container(id) => format!("container:{id}").into(),
    }
}

fn pid_mode(pid: &Pids) -> Cow<'_, str> {
    match pid {
        Pids::Own => "".into(),
        Pids::Host => "host".into(),
        Pids::Container(id) => format!("container:{id}").into(),
    }
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
