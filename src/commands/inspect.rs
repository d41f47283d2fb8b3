//! `inspect`: all that is known of a container or an image, in Docker's JSON shape.

mod host;
mod picture;

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::image::store;
use crate::cli::container::InspectArgs;
use crate::cli::image;
use crate::cli::network;
use crate::net::endpoint::Endpoint;
use crate::out;
use crate::out::stream::{out, outln};
use crate::request::{Bind, NetworkMode};
use crate::spec;
use crate::store::containers::{self, Record, State, Status};
use crate::store::{Home, networks, short};
use crate::supervise::heal;
use crate::supervise::start::hostname_of;

/// `rmac inspect` and `rmac container inspect`.
pub fn inspect(home: &Home, args: &InspectArgs) -> Result<u8> {
    let wanted = args.kind.as_deref();
    if let Some(kind) = wanted.filter(|kind| !["container", "image", "network"].contains(kind)) {
        bail!("\"{kind}\" is not a valid value for --type: it is container, image or network");
    }
    let is = |kind: &str| wanted.is_none_or(|wanted| wanted == kind);
    let mut found = vec![];
    let mut errors = vec![];
    for name in &args.names {
        let mut container = containers::find(home, name);
        // A network has a verb of its own, which knows its shape.
        if args.names.len() == 1
            && is("network")
            && (wanted.is_some() || (container.is_err() && networks::load(home, name).is_ok()))
        {
            let args = network::InspectArgs {
                format: args.format.clone(),
                networks: args.names.clone(),
                ..Default::default()
            };
            return super::network::inspect::inspect(home, &args).map(|()| 0);
        }
        if let Ok(record) = &container
            && heal::check(home, &record.id)
        {
            container = containers::find(home, name);
        }
        match container {
            Ok(record) if is("container") => found.push(container_value(home, &record)?),
            Err(error) if !is("image") => errors.push(format!("{error:#}")),
            _ => match store(home)?.find(name)? {
                Some(image) if is("image") => found.push(picture::value(&image)),
                _ => errors.push(format!("No such object: {name}")),
            },
        }
    }
    print(&found, args.format.as_deref())?;
    if errors.is_empty() {
        Ok(0)
    } else {
        bail!(errors.join("\nrmac: "))
    }
}

/// `rmac image inspect`.
pub fn images(home: &Home, args: &image::InspectArgs) -> Result<u8> {
    let args = InspectArgs {
        format: args.format.clone(),
        kind: Some("image".into()),
        names: args.images.clone(),
    };
    inspect(home, &args)
}

pub(super) fn print(found: &[Value], format: Option<&str>) -> Result<()> {
    match format {
        // In one piece, so that it is written by one call.
        None => out!("{}", out::json(&found) + "\n"),
        Some("json") => outln!("{}", Value::from(found)),
        Some(template) => {
            for value in found {
                outln!("{}", out::render(template, value)?);
            }
        }
    }
    Ok(())
}

/// The container in Docker's shape (API 1.52).
fn container_value(home: &Home, record: &Record) -> Result<Value> {
    let state = State::load(home, &record.id)?.unwrap_or_else(State::created);
    let directory = home.container(&record.id);
    let file = |name: &str| directory.join(name).display().to_string();
    let command = spec::args(&record.image_config, &record.request);
    let (path, arguments) = command
        .split_first()
        .map_or(("", &[][..]), |(path, arguments)| {
            (path.as_str(), arguments)
        });
    Ok(json!({
        "Id": record.id,
        "Created": record.created.to_string(),
        "Path": path,
        "Args": arguments,
        "State": state_value(&state),
        "Image": record.image_id,
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "LogPath": record.log_path(home).display().to_string(),
        "Name": format!("/{}", record.name),
        "RestartCount": state.restarts,
        "Driver": "overlay2",
        "Platform": record.platform.split('/').next(),
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host::host_config(record),
        "GraphDriver": {"Name": "overlay2", "Data": {
            "LowerDir": record.layers.iter().rev().map(|layer| layer.display().to_string()).collect::<Vec<_>>().join(":"),
            "UpperDir": file("upper"),
            "WorkDir": file("work"),
        }},
        "Mounts": mounts(record),
        "Config": config(home, record),
        "NetworkSettings": network_settings(record, &state),
    }))
}

fn state_value(state: &State) -> Value {
    let running = state.status == Status::Running;
    let time = |time: Option<Timestamp>| {
        time.map_or_else(
            || "0001-01-01T00:00:00Z".to_owned(),
            |time| time.to_string(),
        )
    };
    json!({
        "Status": state.name(),
        "Running": state.status.is_up(),
        "Paused": state.paused,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": false,
        "Pid": state.process.filter(|_| running).map_or(0, |process| process.pid),
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": time(state.started),
        "FinishedAt": time(state.finished),
    })
}

fn mounts(record: &Record) -> Vec<Value> {
    let mount = |bind: &Bind| {
        let read_only = bind.options.iter().any(|option| option == "ro");
        if let Some(name) = &bind.volume {
            return json!({
                "Type": "volume",
                "Name": name,
                "Source": bind.source.display().to_string(),
                "Destination": bind.target.display().to_string(),
                "Driver": "local",
                "Mode": if bind.options.is_empty() { "z".into() } else { bind.options.join(",") },
                "RW": !read_only,
                "Propagation": "",
            });
        }
        json!({
            "Type": "bind",
            "Source": bind.source.display().to_string(),
            "Destination": bind.target.display().to_string(),
            "Mode": bind.options.join(","),
            "RW": !read_only,
            "Propagation": "rprivate",
        })
    };
    record.request.binds.iter().map(mount).collect()
}

fn config(home: &Home, record: &Record) -> Value {
    let request = &record.request;
    let image = &record.image_config;
    let hostname = hostname_of(home, record);
    let mut labels: Map<String, Value> = image
        .labels()
        .iter()
        .flatten()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    labels.extend(
        request
            .labels
            .iter()
            .map(|(name, value)| (name.clone(), json!(value))),
    );
    let command = if request.command.is_empty() && request.entrypoint.is_none() {
        image.cmd().clone()
    } else {
        Some(request.command.clone()).filter(|command| !command.is_empty())
    };
    let mut value = json!({
        "Hostname": hostname,
        "Domainname": request.domainname.as_deref().unwrap_or_default(),
        "User": request.user.as_ref().or(image.user().as_ref()).cloned().unwrap_or_default(),
        "AttachStdin": request.attach.stdin,
        "AttachStdout": request.attach.stdout,
        "AttachStderr": request.attach.stderr,
        "Tty": request.tty,
        "OpenStdin": request.interactive,
        "StdinOnce": request.interactive && request.attach.stdin,
        "Env": spec::environment(image, request, &hostname),
        "Cmd": command,
        "Image": request.image,
        "Volumes": null,
        "WorkingDir": spec::working_dir(image, request).display().to_string(),
        "Entrypoint": request.entrypoint.as_ref().or(image.entrypoint().as_ref()),
        "Labels": labels,
    });
    let ports = exposed(record);
    if !ports.is_empty() {
        value["ExposedPorts"] = ports.into();
    }
    if let Some(signal) = request
        .stop_signal
        .as_ref()
        .or(image.stop_signal().as_ref())
    {
        value["StopSignal"] = json!(signal);
    }
    if let Some(timeout) = request.stop_timeout {
        value["StopTimeout"] = json!(timeout);
    }
    value
}

/// The ports that the image and `--expose` name, as Docker writes them: each with nothing to tell.
fn exposed(record: &Record) -> Map<String, Value> {
    let image = record.image_config.exposed_ports().iter().flatten();
    let ports = image.chain(&record.request.expose);
    ports.map(|port| (port.clone(), json!({}))).collect()
}

/// The block of Docker's macvlan tutorial: its thirteen keys in its order, newer ones after them.
fn network_settings(record: &Record, state: &State) -> Value {
    let running = state.status == Status::Running;
    let networks: Map<String, Value> = match &record.request.network {
        NetworkMode::Networks(_) => record
            .endpoints
            .iter()
            .map(|endpoint| {
                (
                    endpoint.network.clone(),
                    endpoint_value(record, endpoint, running),
                )
            })
            .collect(),
        _ => Map::new(),
    };
    json!({
        "SandboxID": if running { record.id.as_str() } else { "" },
        "SandboxKey": state.process.filter(|_| running).map_or_else(String::new, |process| format!("/proc/{}/ns/net", process.pid)),
        "Ports": {},
        "Networks": networks,
    })
}

fn endpoint_value(record: &Record, endpoint: &Endpoint, running: bool) -> Value {
    let own = short(&record.id).to_owned();
    let mut ipam = Map::new();
    if let Some(address) = endpoint.requested_ipv4 {
        ipam.insert("IPv4Address".into(), json!(address));
    }
    if let Some(address) = endpoint.requested_ipv6 {
        ipam.insert("IPv6Address".into(), json!(address));
    }
    let ipam = (!ipam.is_empty()).then_some(ipam);
    let driver_opts = (!endpoint.driver_opts.is_empty()).then_some(&endpoint.driver_opts);
    let mut aliases = endpoint.aliases.clone();
    aliases.push(own.clone());
    let mut names = vec![record.name.clone()];
    names.extend(aliases.iter().cloned());
    // As Docker: an endpoint of a container that does not run has no address yet.
    let text = |value: Option<String>| value.filter(|_| running).unwrap_or_default();
    json!({
        "IPAMConfig": ipam,
        "Links": null,
        "Aliases": aliases,
        "NetworkID": endpoint.network_id,
        "EndpointID": if running { endpoint.endpoint_id.as_str() } else { "" },
        "Gateway": text(endpoint.gateway.map(|gateway| gateway.to_string())),
        "IPAddress": text(endpoint.ipv4.map(|address| address.addr().to_string())),
        "IPPrefixLen": endpoint.ipv4.filter(|_| running).map_or(0, |address| address.prefix_len()),
        "IPv6Gateway": text(endpoint.ipv6_gateway.map(|gateway| gateway.to_string())),
        "GlobalIPv6Address": text(endpoint.ipv6.map(|address| address.addr().to_string())),
        "GlobalIPv6PrefixLen": endpoint.ipv6.filter(|_| running).map_or(0, |address| address.prefix_len()),
        "MacAddress": text(endpoint.mac.map(|mac| mac.to_string())),
        "DriverOpts": driver_opts,
        "GwPriority": endpoint.gw_priority,
        "DNSNames": names,
    })
}
