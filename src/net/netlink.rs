//! The messages to the kernel: rtnetlink(7).
//!
//! Links, addresses and routes have no system calls of their own. One opens a socket of the family
//! AF_NETLINK and sends messages to the kernel; it answers each with an errno. The socket belongs to
//! the network namespace in which it was opened, so there are two: one in the caller's, where the
//! parent is, and one in the container's.
//!
//! This is the only file that knows about tokio. The crate `rtnetlink` is asynchronous; here it runs
//! on the calling thread alone, one request at a time, and when [`Wires`] is dropped no thread,
//! runtime or socket is left.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use ipnet::Ipv4Net;
use nix::errno::Errno;
use rtnetlink::packet_route::link::{
    self, InfoData, InfoKind, InfoPortKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::{
    Handle, LinkBridge, LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};
use tokio::runtime::Runtime;

use super::link::Macvlan;
use super::netns;
use super::network::MacvlanMode;

/// The kernel refused a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{request}: {errno}")]
pub struct Refused {
    /// What was asked for.
    pub request: String,
    /// The kernel's answer.
    pub errno: Errno,
}

/// The sockets to the kernel: one in a network namespace, such as a container's, and one in the
/// caller's, opened when it is first needed.
pub struct Wires {
    // In this order: the connections run on the runtime, and the sockets close with it.
    inside: Handle,
    outside: Option<Handle>,
    runtime: Runtime,
    netns: OwnedFd,
    indices: Vec<(String, u32)>,
}

/// A link, as far as it matters for a parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The number by which messages name it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is a loopback.
    pub loopback: bool,
    /// The index of the bridge or bond that it is a port of.
    pub controller: Option<u32>,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
}

impl Wires {
    /// Opens a socket in `netns`; the other one will be in the caller's network namespace.
    pub fn open(netns: BorrowedFd<'_>) -> Result<Wires> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("make an event loop for netlink")?;
        let inside = netns::within(netns, || connect(&runtime).context("open a netlink socket"))?;
        Ok(Wires {
            inside,
            outside: None,
            runtime,
            netns: netns
                .try_clone_to_owned()
                .context("duplicate a descriptor")?,
            indices: Vec::new(),
        })
    }

    /// Opens a socket in the caller's own network namespace.
    pub fn here() -> Result<Wires> {
        Wires::open(netns::own()?.as_fd())
    }

    /// Makes a macvlan in the network namespace, on a parent in the caller's.
    pub fn make_macvlan(&mut self, macvlan: &Macvlan) -> Result<(), Refused> {
        let outside = self.outside()?;
        let request = format!("make the macvlan {} on {}", macvlan.name, macvlan.parent);
        let parent = self.find(&outside, &macvlan.parent)?;
        let message = |name: &str| {
            let message = LinkMacVlan::new(name, parent.index, mode(macvlan.mode))
                .address(macvlan.mac.0.to_vec())
                .setns_by_fd(self.netns.as_raw_fd());
            match macvlan.mtu {
                Some(mtu) => message.mtu(mtu),
                None => message,
            }
            .build()
        };
        let result = self.wait(
            &request,
            outside.link().add(message(&macvlan.name)).execute(),
        );
        match result {
            // Kernels before 6.15 look for the name in the parent's network namespace, too, where
            // the host's own eth0 is: a name that nobody has, and a change of name inside.
            Err(refused) if refused.errno == Errno::EEXIST => {
                let temporary = format!("mv{:08x}", std::process::id());
                self.wait(&request, outside.link().add(message(&temporary)).execute())?;
                let renamed = self.rename(&temporary, &macvlan.name);
                if renamed.is_err() {
                    self.delete_link(&temporary)?;
                }
                renamed
            }
            result => result,
        }
    }

    /// Switches the link `name` on.
    pub fn set_up(&mut self, name: &str) -> Result<(), Refused> {
        let message = LinkUnspec::new_with_name(name).up().build();
        self.change(&format!("switch {name} on"), message)
    }

    /// Gives the link `name` the address, with the broadcast address that goes with it.
    pub fn add_address(&mut self, name: &str, address: Ipv4Net) -> Result<(), Refused> {
        let index = self.index(name)?;
        let (ip, prefix) = (address.addr().into(), address.prefix_len());
        let request = self.inside.address().add(index, ip, prefix).execute();
        self.wait(&format!("give {name} the address {address}"), request)
    }

    /// Sends everything that has no better way to `via`, through the link `name`.
    pub fn add_default_route(&mut self, via: Ipv4Addr, name: &str) -> Result<(), Refused> {
        let message = RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(via)
            .output_interface(self.index(name)?)
            // As ip-route(8) has it: a route made by hand.
            .protocol(RouteProtocol::Boot)
            .build();
        let request = self.inside.route().add(message).execute();
        self.wait(
            &format!("add the default route via {via} dev {name}"),
            request,
        )
    }

    /// Deletes the link `name`; ENODEV where there is none. Takes some 20 ms, since the kernel waits
    /// until nobody can be looking at it any more.
    pub fn delete_link(&mut self, name: &str) -> Result<(), Refused> {
        self.indices.retain(|(known, _)| known != name);
        let message = LinkUnspec::new_with_name(name).build();
        let request = self.inside.link().del_with_message(message).execute();
        self.wait(&format!("delete the link {name}"), request)
    }

    /// Writes a setting below /proc/sys/net of the network namespace. A kernel that does not have it
    /// is content.
    pub fn write_setting_if_there(&mut self, path: &str, value: &str) -> Result<()> {
        netns::within(self.netns.as_fd(), || match std::fs::write(path, value) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("write {value} to {path}"))
            }
            _ => Ok(()),
        })
    }

    /// Makes a bridge (a switch) in the network namespace.
    pub fn make_bridge(&mut self, name: &str) -> Result<(), Refused> {
        let request = self.inside.link().add(LinkBridge::new(name).build());
        self.wait(&format!("make the bridge {name}"), request.execute())
    }

    /// Makes a veth pair (a cable): one end in the network namespace, the other in `far`.
    pub fn make_veth(
        &mut self,
        name: &str,
        peer: &str,
        far: BorrowedFd<'_>,
    ) -> Result<(), Refused> {
        let mut peer_message = LinkUnspec::new_with_name(peer).build();
        let far = LinkAttribute::NetNsFd(far.as_raw_fd());
        peer_message.attributes.push(far);
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer_message)))
            .build();
        let request = self.inside.link().add(message).execute();
        self.wait(&format!("make the veth pair {name}, {peer}"), request)
    }

    /// Plugs the link `name` into the bridge `bridge`.
    pub fn plug(&mut self, name: &str, bridge: &str) -> Result<(), Refused> {
        let bridge_index = self.index(bridge)?;
        let message = LinkUnspec::new_with_name(name)
            .controller(bridge_index)
            .build();
        self.change(&format!("plug {name} into {bridge}"), message)
    }

    /// Looks for the link `name` of the caller's network namespace.
    pub fn parent(&mut self, name: &str) -> Result<Option<Link>, Refused> {
        let outside = self.outside()?;
        match self.find(&outside, name) {
            Err(refused) if refused.errno == Errno::ENODEV => Ok(None),
            result => result.map(Some),
        }
    }

    /// The bridge or bond that the caller's link `name` is a port of, if it is one.
    pub fn bridge_of(&mut self, name: &str) -> Result<Option<String>, Refused> {
        let Some(index) = self.parent(name)?.and_then(|link| link.controller) else {
            return Ok(None);
        };
        let outside = self.outside()?;
        let request = outside.link().get().match_index(index).execute();
        let message = self.first(&format!("look for link {index}"), request)?;
        Ok(Some(read(&message).name))
    }

    fn rename(&mut self, old: &str, new: &str) -> Result<(), Refused> {
        let index = self.index(old)?;
        self.indices.clear();
        let message = LinkUnspec::new_with_index(index).name(new).build();
        self.change(&format!("rename {old} to {new}"), message)
    }

    fn change(&self, request: &str, message: LinkMessage) -> Result<(), Refused> {
        self.wait(request, self.inside.link().change(message).execute())
    }

    /// The index of the link `name` inside; asked for once.
    fn index(&mut self, name: &str) -> Result<u32, Refused> {
        if let Some((_, index)) = self.indices.iter().find(|(known, _)| known == name) {
            return Ok(*index);
        }
        let index = self.find(&self.inside, name)?.index;
        self.indices.push((name.to_owned(), index));
        Ok(index)
    }

    /// One link by name: much less work for the kernel than the list of all links.
    fn find(&self, wire: &Handle, name: &str) -> Result<Link, Refused> {
        let request = wire.link().get().match_name(name).execute();
        let message = self.first(&format!("look for the link {name}"), request)?;
        Ok(read(&message))
    }

    /// The socket in the caller's network namespace.
    fn outside(&mut self) -> Result<Handle, Refused> {
        if self.outside.is_none() {
            let connected = connect(&self.runtime).map_err(|error| Refused {
                request: "open a netlink socket".to_owned(),
                errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
            })?;
            self.outside = Some(connected);
        }
        match &self.outside {
            Some(handle) => Ok(handle.clone()),
            None => unreachable!("it was opened just now"),
        }
    }

    /// Runs `answer` to its end on this thread.
    fn wait<T>(
        &self,
        request: &str,
        answer: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, Refused> {
        self.runtime
            .block_on(answer)
            .map_err(|error| refused(request, &error))
    }

    /// The first message of an answer.
    fn first(
        &self,
        request: &str,
        answer: impl futures_core::Stream<Item = Result<LinkMessage, rtnetlink::Error>>,
    ) -> Result<LinkMessage, Refused> {
        let mut answer = std::pin::pin!(answer);
        let next = std::future::poll_fn(|context| answer.as_mut().poll_next(context));
        self.wait(request, async {
            next.await.unwrap_or(Err(rtnetlink::Error::RequestFailed))
        })
    }
}

/// Opens a socket in the network namespace that the thread is in, served by `runtime`.
fn connect(runtime: &Runtime) -> std::io::Result<Handle> {
    let _context = runtime.enter();
    let (connection, handle, _) = rtnetlink::new_connection()?;
    runtime.spawn(connection);
    Ok(handle)
}

fn refused(request: &str, error: &rtnetlink::Error) -> Refused {
    let (request, errno) = match error {
        rtnetlink::Error::NetlinkError(message) => {
            let errno = message.code.map_or(0, |code| -code.get());
            (request.to_owned(), Errno::from_raw(errno))
        }
        other => (format!("{request}: {other}"), Errno::EIO),
    };
    Refused { request, errno }
}

fn read(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        loopback: message.header.link_layer_type == link::LinkLayerType::Loopback,
        controller: None,
        mtu: None,
    };
    let vrf = LinkInfo::PortKind(InfoPortKind::Vrf);
    let mut is_vrf = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Controller(index) => link.controller = Some(*index),
            LinkAttribute::LinkInfo(infos) => is_vrf |= infos.contains(&vrf),
            LinkAttribute::Mtu(mtu) => link.mtu = Some(*mtu),
            _ => {}
        }
    }
    // A VRF routes, it does not take its ports' frames.
    link.controller = link.controller.filter(|_| !is_vrf);
    link
}

fn mode(mode: MacvlanMode) -> link::MacVlanMode {
    match mode {
        MacvlanMode::Bridge => link::MacVlanMode::Bridge,
        MacvlanMode::Private => link::MacVlanMode::Private,
        MacvlanMode::Vepa => link::MacVlanMode::Vepa,
        MacvlanMode::Passthru => link::MacVlanMode::Passthrough,
    }
}
