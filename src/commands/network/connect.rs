//! `rmac network connect` and `disconnect`: a container comes to a network, or leaves it, also while it
//! runs.
//!
//! The link of a running container is made from outside, through `/proc/PID/ns/net`; the program sees
//! it appear. Its monitor is told afterwards, since it watches over the links and takes them away.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cli::network::{ConnectArgs, DisconnectArgs};
use crate::commands::attach::{is_restarting, running};
use crate::commands::request::networks as words;
use crate::net::conflict::Conflict;
use crate::net::dhcp;
use crate::net::endpoint::Endpoint;
use crate::net::link;
use crate::net::netlink::Wires;
use crate::net::netns;
use crate::net::network::{Ipam, Network};
use crate::out::stream::err;
use crate::plan::wire;
use crate::request::{NetworkMode, NetworkRequest};
use crate::step::Place;
use crate::store::containers::{self, Record};
use crate::store::{Home, leases, networks};
use crate::supervise::{Message, call, claims, monitor, peers, say};

/// Connects.
pub fn connect(home: &Home, args: &ConnectArgs) -> Result<()> {
    let network = networks::load(home, &args.network)?;
    let found = containers::find(home, &args.container)?;
    let lock = containers::lock(home, &found.id)?;
    let mut record = reload(home, &found)?;
    check(&network, &record)?;
    let wanted = wanted(args)?;
    let pid = running(home, &record, "")
        .ok()
        .and_then(|state| state.process);
    let endpoint = claims::claim(home, &network, &record, &wanted)?;
    record.endpoints.push(endpoint);
    match &mut record.request.network {
        NetworkMode::Networks(networks) => networks.push(wanted),
        mode => *mode = NetworkMode::Networks(vec![wanted]),
    }
    if let Some(process) = pid {
        plug_in(home, &mut record, process.pid)
            .inspect_err(|_| drop(leases::release(home, &network.id, &record.id)))?;
    }
    record.save(home)?;
    if pid.is_some() {
        tell_monitor(home, &record);
        drop(lock);
        if network.ipam == Ipam::Dhcp {
            wait_for_address(home, &record, &network)?;
        }
        let record = reload(home, &record)?;
        peers::join(home, &record, peers::Before::Perhaps)?;
        peers::tell(home, monitor::networks(&record))?;
    }
    Ok(())
}

/// Disconnects.
pub fn disconnect(home: &Home, args: &DisconnectArgs) -> Result<()> {
    let network = networks::load(home, &args.network)?;
    let found = containers::find(home, &args.container)?;
    let lock = containers::lock(home, &found.id)?;
    let mut record = reload(home, &found)?;
    let at = record
        .endpoints
        .iter()
        .position(|e| e.network_id == network.id);
    let Some(at) = at else {
        ensure!(
            !matches!(record.request.network, NetworkMode::Host) || network.name != "host",
            "container cannot be disconnected from host network or connected to host network"
        );
        if args.force {
            return Ok(());
        }
        bail!(
            "container {} is not connected to the network {}",
            record.id,
            network.name
        );
    };
    let endpoint = record.endpoints.remove(at);
    if let NetworkMode::Networks(wanted) = &mut record.request.network {
        wanted.retain(|wanted| {
            wanted.name != network.name
                && !(wanted.name.len() >= 3 && network.id.starts_with(&wanted.name))
        });
    }
    record.save(home)?;
    let pid = running(home, &record, "")
        .ok()
        .and_then(|state| state.process);
    if let Some(process) = pid {
        // First, so that it gives a DHCP lease back while there is a link to do it by.
        tell_monitor(home, &record);
        pull_out(&endpoint, &record.endpoints, process.pid)
            .or_else(|error| if args.force { Ok(()) } else { Err(error) })?;
    }
    leases::release(home, &network.id, &record.id)?;
    if pid.is_some() || is_restarting(home, &record)? {
        drop(lock);
        peers::leave(home, &record.id, [network.id.as_str()])?;
        peers::join(home, &record, peers::Before::Perhaps)?;
        let others = monitor::networks(&record);
        peers::tell(home, others.chain([network.id.as_str()]))?;
        peers::clear(home, [network.id.as_str()])?;
        if record.endpoints.is_empty() {
            peers::forget(home, &record)?;
        }
    }
    Ok(())
}

fn reload(home: &Home, record: &Record) -> Result<Record> {
    Record::load(home, &record.id)?.with_context(|| format!("No such container: {}", record.name))
}

/// Who cannot come to a network, in Docker's words.
fn check(network: &Network, record: &Record) -> Result<()> {
    match (&record.request.network, network.name.as_str()) {
        (NetworkMode::Host, _) | (_, "host") => {
            bail!("container cannot be disconnected from host network or connected to host network")
        }
        (NetworkMode::Container(_), _) => bail!(
            "container sharing network namespace with another container or host cannot be connected to any other network"
        ),
        (_, "none") => bail!(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        ),
        _ => (),
    }
    ensure!(
        record.endpoints.iter().all(|e| e.network_id != network.id),
        "endpoint with name {} already exists in network {}",
        record.name,
        network.name
    );
    Ok(())
}

fn wanted(args: &ConnectArgs) -> Result<NetworkRequest> {
    let mut wanted = NetworkRequest {
        name: args.network.clone(),
        ipv4: args.ip.as_deref().map(words::ipv4).transpose()?,
        ipv6: args.ip6.as_deref().map(words::ipv6).transpose()?,
        mac: args.mac_address.as_deref().map(words::mac).transpose()?,
        gw_priority: args.gw_priority,
        ..NetworkRequest::default()
    };
    for name in &args.alias {
        wanted.aliases.push(words::alias(name)?);
    }
    for option in &args.driver_opt {
        words::driver_option(&mut wanted, option)?;
    }
    Ok(wanted)
}

/// Makes the link of the last endpoint in the running container; takes another address where somebody
/// has this one.
fn plug_in(home: &Home, record: &mut Record, pid: i32) -> Result<()> {
    let netns = netns::of_process(nix::unistd::Pid::from_raw(pid))?;
    loop {
        let endpoint = record.endpoints.last().context("no endpoint")?.clone();
        let mut place = Place {
            wires: Some(Wires::open(netns.as_fd())?),
            netns: Some(netns.try_clone().context("duplicate a descriptor")?),
            ..Place::default()
        };
        let made = wire::wire_one(&endpoint)
            .iter()
            .try_for_each(|step| step.take(&mut place))
            .and_then(|()| {
                let wires = place.wires.as_mut().context("no socket to the kernel")?;
                routes(&record.endpoints, wires)
            });
        let Err(error) = made else { return Ok(()) };
        if let Some(wires) = &mut place.wires {
            let _ = link::undo(&endpoint, wires);
        }
        let Some(conflict) = error.downcast_ref::<Conflict>() else {
            return Err(error);
        };
        err!("{}", claims::decline(home, record, conflict)?);
    }
}

/// The default routes, which may be another endpoint's now.
fn routes(endpoints: &[Endpoint], wires: &mut Wires) -> Result<()> {
    for step in link::plan_default_routes(endpoints) {
        if let link::Step::Route(route) = step {
            wires.replace_route(&route)?;
        }
    }
    Ok(())
}

fn pull_out(endpoint: &Endpoint, others: &[Endpoint], pid: i32) -> Result<()> {
    let netns = netns::of_process(nix::unistd::Pid::from_raw(pid))?;
    let mut wires = Wires::open(netns.as_fd())?;
    link::undo(endpoint, &mut wires)?;
    routes(others, &mut wires)
}

/// Has the monitor look at the record, and waits until it has. One that does not answer has died, and
/// the container with it.
fn tell_monitor(home: &Home, record: &Record) {
    if let Ok(socket) = call(&home.running(&record.id))
        && say(&socket, &Message::Networks).is_ok()
    {
        let patience = PollTimeout::from(1000u16);
        let _ = poll(
            &mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)],
            patience,
        );
    }
}

/// The monitor asks the DHCP server.
fn wait_for_address(home: &Home, record: &Record, network: &Network) -> Result<()> {
    let deadline = Instant::now() + dhcp::PATIENCE;
    loop {
        let record = reload(home, record)?;
        let endpoint = record.endpoints.iter().find(|e| e.network_id == network.id);
        if endpoint.is_none_or(|endpoint| endpoint.ipv4.is_some()) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{} is connected, but no DHCP server has answered yet; its monitor goes on asking",
            record.name
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
