//! From a record to a running container: works out the plan, forks the monitor, waits for its word.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use oci_spec::runtime::{BoxBuilder, Capabilities, Process};

use super::client;
use super::monitor::{self, Monitor, OnFailure};
use super::{Message, peers, rootless, say, sharing};
use crate::explain;
use crate::kernel::capabilities;
use crate::kernel::cgroups::Layout;
use crate::kernel::identity;
use crate::kernel::mounts::Access;
use crate::kernel::program::First;
use crate::kernel::rootfs::{self, Marks, exchange_is_better};
use crate::launch::{self, Begun, Early};
use crate::net::allow::Allowed;
use crate::net::names;
use crate::plan::wire::Client;
use crate::plan::{self, Inputs, Plan};
use crate::request::{NetworkMode, Pids, Request, Userns};
use crate::spec::{self, Place, Shared};
use crate::store::Home;
use crate::store::claim::Claim;
use crate::store::containers::{Record, State};
use crate::sys;

/// The container's description.
pub fn spec_of(home: &Home, record: &Record) -> Result<oci_spec::runtime::Spec> {
    let Record {
        image_config,
        request,
        ..
    } = record;
    let mut spec = at_place(home, record, |place| {
        spec::spec(image_config, request, place)
    })?;
    if let Some(process) = spec.process_mut() {
        keep_within_bounding(process);
    }
    if let (Some(process), Some((rows, columns))) = (spec.process_mut(), client::terminal_size())
        && process.terminal() == Some(true)
    {
        process.set_console_size(Some(
            BoxBuilder::default().height(rows).width(columns).build()?,
        ));
    }
    Ok(spec)
}

/// The container's host name, which its description has.
pub fn hostname_of(home: &Home, record: &Record) -> String {
    at_place(home, record, |place| spec::hostname(&record.request, place))
}

/// Does `work` with what the container's description needs beside image and request.
fn at_place<T>(home: &Home, record: &Record, work: impl FnOnce(&Place) -> T) -> T {
    let host_name = nix::unistd::gethostname().unwrap_or_default();
    let directory = home.container(&record.id);
    let owner = owner(home, record);
    let (ipc, pids) = sharing::processes(home, &record.request);
    work(&Place {
        id: &record.id,
        directory: &directory,
        host_name: &host_name.to_string_lossy(),
        ids: record.ids.as_ref(),
        shared: owner.as_ref().map(|owner| Shared {
            netns: &owner.netns,
            directory: &owner.directory,
            hostname: &owner.hostname,
        }),
        ipc,
        pids,
    })
}

/// The container whose network another one uses.
struct Owner {
    netns: PathBuf,
    directory: PathBuf,
    hostname: String,
}

/// Whose network the container uses, if it is another container's. One that is gone, or that does not
/// run, is still named: its namespace is looked for when it is entered.
fn owner(home: &Home, record: &Record) -> Option<Owner> {
    let NetworkMode::Container(id) = &record.request.network else {
        return None;
    };
    let state = State::load(home, id).ok().flatten();
    let pid = state
        .and_then(|state| state.process)
        .map_or(0, |process| process.pid);
    let directory = home.container(id);
    let hostname = std::fs::read_to_string(directory.join("hostname")).unwrap_or_default();
    Some(Owner {
        netns: format!("/proc/{pid}/ns/net").into(),
        hostname: hostname.trim_end().to_owned(),
        directory,
    })
}

/// "All capabilities" means those that this machine gives: a container or VM that rmac itself runs in may
/// hold some back.
fn keep_within_bounding(process: &mut Process) {
    let Some(mut sets) = process.capabilities().clone() else {
        return;
    };
    let given = |set: &Option<Capabilities>| {
        let wanted = set.clone().unwrap_or_default();
        Some(capabilities::within_bounding(&wanted).0)
    };
    let (bounding, effective) = (given(sets.bounding()), given(sets.effective()));
    let permitted = given(sets.permitted());
    sets.set_bounding(bounding)
        .set_effective(effective)
        .set_permitted(permitted);
    process.set_capabilities(Some(sets));
}

/// How the container is made: a pure function of its record and of what this machine has.
pub fn plan_of(home: &Home, record: &Record, layout: &Layout) -> Result<Plan> {
    let spec = spec_of(home, record)?;
    let request = &record.request;
    let directory = home.container(&record.id);
    let on_host = request.network == NetworkMode::Host;
    let read = |name: &str| std::fs::read_to_string(name).unwrap_or_default();
    let hosts = if on_host {
        read("/etc/hosts")
    } else {
        let own: Vec<_> = record
            .endpoints
            .iter()
            .flat_map(|endpoint| endpoint.addresses().map(|net| net.addr()))
            .collect();
        let hosts = identity::hosts(
            spec.hostname().as_deref().unwrap_or_default(),
            &own,
            &request.add_host,
        );
        match record.endpoints.is_empty() {
            true => hosts,
            false => names::with_region(&hosts, &peers::region(home, record)),
        }
    };
    let resolv_conf = identity::resolv_conf(
        &read("/etc/resolv.conf"),
        &request.dns,
        &request.dns_search,
        &request.dns_options,
    );
    plan::plan(&Inputs {
        spec: &spec,
        layout,
        layers: &record.layers,
        directory: &directory,
        attach_at: &home.running(&record.id),
        endpoints: &record.endpoints,
        client: &client_of(home, record),
        allowed: &allowed(request),
        hosts: &hosts,
        resolv_conf: &resolv_conf,
        marks: match rootless::is() {
            true => Marks::User,
            false => Marks::Trusted,
        },
        // Where it is not process 1, others look after orphans.
        first: match request.init && request.pid == Pids::Own {
            true => First::Init,
            false => First::Program,
        },
    })
}

/// What programs may do on a network of the container's own.
fn allowed(request: &Request) -> Vec<Allowed> {
    let own_users = rootless::is() || matches!(request.userns, Some(Userns::Auto { .. }));
    Allowed::beside(request.sysctls.keys(), own_users)
}

/// Who the container is to a DHCP server.
pub fn client_of(home: &Home, record: &Record) -> Client {
    let request = &record.request;
    let own_servers = request.dns.is_empty() && request.dns_search.is_empty();
    Client {
        name: record.name.clone(),
        hostname: request.hostname.clone().unwrap_or(record.name.clone()),
        resolv_conf: own_servers.then(|| home.container(&record.id).join("resolv.conf")),
    }
}

/// Whether the caller wants what the program writes, from its first byte on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// It does.
    Yes,
    /// It only wants to know whether the program has started.
    No,
}

/// How a container is started.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Whether the caller is attached.
    pub attach: Attach,
    /// How much the caller wants to be told of the steps.
    pub explain: Option<explain::Style>,
    /// What becomes of the container when it cannot be started.
    pub on_failure: OnFailure,
}

/// Begins to make the network of a container that is asked for so, if it will have one of its own that is the host's
/// root's: nothing takes longer.
pub fn network_ahead(request: &Request) -> Option<Early> {
    let own = matches!(
        request.network,
        NetworkMode::Networks(_) | NetworkMode::None
    );
    let fits = own && request.userns.is_none() && !rootless::is();
    let sysfs = match request.privileged {
        true => Access::ReadWrite,
        false => Access::ReadOnly,
    };
    fits.then(|| Early::begin(sysfs)).flatten()
}

/// Starts the container: forks its monitor, which makes it, and makes the network meanwhile, which may have been begun.
/// Returns the socket on which the monitor will say how that went.
pub fn start(
    home: &Home,
    record: Record,
    claim: Claim,
    how: How,
    early: Option<Early>,
) -> Result<OwnedFd> {
    sharing::check(home, &record)?;
    let early = early.or_else(|| network_ahead(&record.request));
    let layout = Layout::detect()?;
    let mut plan = plan_of(home, &record, &layout)?;
    // Who watches sees the call that is to be known.
    if how.explain.is_none() && plan.map.is_empty() && exchange_is_better() {
        plan.change_root_by(&rootfs::Step::Exchange);
    }
    let (ours, caller) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .context("make the socket to the monitor")?;
    if how.attach == Attach::Yes {
        // Said before the program can write anything.
        say(&ours, &Message::Attach).context("attach")?;
    }
    // The one who is copied must be alone.
    let begun = early.map(Early::finish).transpose()?;
    let begun = begun.filter(|_| launch::fits(&plan));
    match sys::fork().context("fork the monitor")? {
        Some(_) => {
            claim.leave_to_child();
            begun.into_iter().for_each(|begun| begun.wire(&plan.wire));
            Ok(ours)
        }
        None => {
            drop(ours);
            let How {
                explain,
                on_failure,
                ..
            } = how;
            let monitor = Monitor {
                home: home.clone(),
                record,
                plan,
                claim,
                ahead: begun.map(Begun::into_ahead).unwrap_or_default(),
                caller,
                explain,
                on_failure,
            };
            monitor::end(&monitor.run())
        }
    }
}
