//! The monitor's chores for its container's network, between two reads of the program's output.
//!
//! All wait in the one poll(2) of [`super::pump`]: announcements have a time, the others a descriptor.
//!
//! ```text
//! announce      the addresses, twice more, a second apart
//! sentinels     does somebody else claim an address of ours?      net::conflict
//! dhcp          renew, rebind, release                            net::dhcp
//! parents       has one gone, is it back?                         super::parents
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::net::announce::{self, Voice};
use crate::net::conflict::{Conflict, Sentinel};
use crate::net::dhcp::{self, Client, Event};
use crate::net::endpoint::{Announce, Endpoint, Probe};
use crate::net::link;
use crate::net::netlink::Wires;
use crate::net::netns;
use crate::net::network::Ipam;
use crate::plan::wire;
use crate::step::{Place, Step};
use crate::store::Home;
use crate::store::containers::{self, Record, State};
use crate::supervise::parents::Parents;
use crate::supervise::{peers, start};

/// What is to be done for the network of a running container.
#[derive(Debug)]
pub struct Chores {
    home: Home,
    id: String,
    netns: Option<OwnedFd>,
    endpoints: Vec<Endpoint>,
    sentinels: Vec<Sentinel>,
    clients: Vec<Client>,
    parents: Parents,
    announcements: Vec<Announcement>,
    voice: Option<Voice>,
    /// Sockets of no use any more, to be closed when nobody waits: that takes the kernel some 10 ms each.
    closing: Vec<OwnedFd>,
}

/// Announcements of one link that are still to come.
#[derive(Debug)]
struct Announcement {
    dev: String,
    left: u32,
    next: Instant,
    interval: Duration,
}

impl Chores {
    /// Those of the container of `record`, which lives in `netns`, with what its start has opened.
    pub fn new(
        home: &Home,
        record: &Record,
        netns: Option<OwnedFd>,
        mut sentinels: Vec<Sentinel>,
        mut clients: Vec<Client>,
    ) -> Chores {
        sentinels.extend(clients.iter_mut().filter_map(Client::take_sentinel));
        let mut chores = Chores {
            home: home.clone(),
            id: record.id.clone(),
            netns: netns.filter(|_| !record.endpoints.is_empty()),
            endpoints: record.endpoints.clone(),
            sentinels,
            clients,
            parents: Parents::default(),
            announcements: vec![],
            voice: None,
            closing: vec![],
        };
        for endpoint in record.endpoints.clone() {
            chores.announce(&endpoint);
        }
        chores.listen();
        chores
    }

    /// What becomes readable when there is something to do.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let sentinels = self.sentinels.iter().map(Sentinel::as_fd);
        let clients = self.clients.iter().map(Client::as_fd);
        let parents = self.parents.as_fd();
        sentinels.chain(clients).chain(parents).collect()
    }

    /// When there is something to do without that; `None`: never.
    pub fn timeout(&self) -> Option<Duration> {
        if !self.closing.is_empty() {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let announcements = self.announcements.iter();
        announcements
            .map(|announcement| announcement.next)
            .chain(self.parents.next_look())
            .chain(self.sentinels.iter().filter_map(Sentinel::next_turn))
            .map(|next| next.saturating_duration_since(now))
            .chain(self.clients.iter().map(Client::timeout))
            .min()
    }

    /// Does what is to be done. What fails is tried again when it is due again: the container runs on.
    pub fn turn(&mut self) {
        self.closing.clear();
        let conflicts: Vec<Conflict> = self
            .sentinels
            .iter_mut()
            .filter_map(Sentinel::turn)
            .collect();
        for conflict in conflicts {
            self.note(&format!(
                "address {} is used by {} too: one of the two has to go",
                conflict.address, conflict.owner
            ));
        }
        self.turn_clients();
        let sentinels = self.sentinels.iter_mut();
        if sentinels.fold(false, |down, sentinel| sentinel.went_down() | down) {
            self.parents.look_soon();
        }
        if self.parents.is_time(&self.endpoints) {
            self.look_after_links();
        }
        let now = Instant::now();
        for at in 0..self.announcements.len() {
            if self.announcements[at].next <= now {
                self.announcements[at].left -= 1;
                self.announcements[at].next = now + self.announcements[at].interval;
                let dev = self.announcements[at].dev.clone();
                // A link that is down, or gone, has nobody to tell.
                let _ = self.send(&dev);
            }
        }
        self.announcements
            .retain(|announcement| announcement.left > 0);
    }

    /// The container has been connected to a network, or disconnected from one.
    pub fn reload(&mut self) {
        let Ok(Some(record)) = Record::load(&self.home, &self.id) else {
            return;
        };
        let old = std::mem::replace(&mut self.endpoints, record.endpoints);
        let is_there = |dev: &str| self.endpoints.iter().any(|e| e.ifname == dev);
        for sentinel in self
            .sentinels
            .extract_if(.., |sentinel| !is_there(sentinel.dev()))
        {
            self.closing.extend(Vec::from(sentinel));
        }
        for mut client in self
            .clients
            .extract_if(.., |client| !is_there(client.dev()))
        {
            client.release();
            self.closing.push(client.into());
        }
        self.announcements
            .retain(|announcement| is_there(&announcement.dev));
        for endpoint in self.endpoints.clone() {
            if old
                .iter()
                .all(|other| other.endpoint_id != endpoint.endpoint_id)
            {
                let _ = self.take_on(&endpoint);
            }
        }
        self.look_after_links();
    }

    /// Gives back what was lent: for the end.
    pub fn release(&mut self) {
        self.clients.iter_mut().for_each(Client::release);
    }

    fn listen(&mut self) {
        if let Some(netns) = &self.netns {
            let sentinels = &self.sentinels;
            let has_sentinel = |dev: &str| sentinels.iter().any(|sentinel| sentinel.dev() == dev);
            let parents = &mut self.parents;
            let _ = parents.listen(netns.as_fd(), &self.endpoints, has_sentinel);
        }
    }

    /// Makes the links anew that went with their parents, and listens for what is to come next.
    fn look_after_links(&mut self) {
        self.listen();
        // Not for ever: the program in the container may delete what is made for it.
        for _ in 0..3 {
            if !self.rebuild().unwrap_or(false) {
                break;
            }
            self.listen();
        }
    }

    fn turn_clients(&mut self) {
        for at in 0..self.clients.len() {
            let dev = self.clients[at].dev().to_owned();
            match self.clients[at].turn() {
                Ok(Some(Event::Bound(lease))) => {
                    if let Some(sentinel) = self.clients[at].take_sentinel() {
                        self.drop_sentinels(|dev_of| dev_of == dev);
                        self.sentinels.push(sentinel);
                    }
                    let _ = self.readdress(&dev, Some(&lease));
                }
                Ok(Some(Event::Lost)) => {
                    self.drop_sentinels(|dev_of| dev_of == dev);
                    self.note(&format!("the DHCP lease of {dev} has expired"));
                    let _ = self.readdress(&dev, None);
                }
                Ok(Some(Event::Declined(conflict))) => self.note(&format!(
                    "the DHCP server gives out {}, which {} has already: asked for another one",
                    conflict.address, conflict.owner
                )),
                Ok(None) | Err(_) => (),
            }
        }
    }

    /// Stops listening on the links that `gone` names.
    fn drop_sentinels(&mut self, gone: impl Fn(&str) -> bool) {
        for sentinel in self
            .sentinels
            .extract_if(.., |sentinel| gone(sentinel.dev()))
        {
            self.closing.extend(Vec::from(sentinel));
        }
    }

    /// Puts what the DHCP server says into the kernel, the record and the peers' files, where it differs.
    fn readdress(&mut self, dev: &str, lease: Option<&dhcp::Lease>) -> Result<()> {
        let Some(endpoint) = self.endpoints.iter_mut().find(|e| e.ifname == dev) else {
            return Ok(());
        };
        let before = endpoint.clone();
        endpoint.ipv4 = lease.map(|lease| lease.address);
        endpoint.gateway = lease
            .and_then(|lease| lease.router)
            .filter(|_| !before.internal);
        if *endpoint == before {
            return Ok(());
        }
        let after = endpoint.clone();
        let netns = self.netns.as_ref().context("no network namespace")?;
        let mut wires = Wires::open(netns.as_fd())?;
        if let Some(address) = before.ipv4 {
            // With it the kernel drops the routes that start from it.
            let _ = wires.delete_address(dev, address.into());
        }
        if let Some(address) = after.ipv4 {
            wires.add_address(dev, address.into(), Probe::Off)?;
        }
        for step in link::plan_default_routes(&self.endpoints) {
            let _ = step.take(&mut wires);
        }
        drop(wires);
        Record::update(&self.home, &self.id, |record| {
            if let Some(endpoint) = record.endpoints.iter_mut().find(|e| e.ifname == dev) {
                *endpoint = after.clone();
            }
        })?;
        self.announce(&after);
        let record = Record::load(&self.home, &self.id)?.context("the record is gone")?;
        peers::join(&self.home, &record, peers::Before::Perhaps)?;
        peers::pass_on(&self.home, [after.network_id.as_str()])
    }

    /// Makes the links anew that went with their parents, where the parents are back; whether it made one.
    fn rebuild(&mut self) -> Result<bool> {
        // A link may also be missing because it is just being connected or disconnected; who does that
        // holds the lock, and tells us afterwards.
        let Some(_lock) = containers::try_lock(&self.home, &self.id)? else {
            return Ok(false);
        };
        let record = Record::load(&self.home, &self.id)?.context("the record is gone")?;
        self.endpoints = record.endpoints;
        let netns = self.netns.as_ref().context("no network namespace")?;
        let there = |link: &str| nix::net::if_::if_nametoindex(link).is_ok();
        let mut lost = self.parents.lost(netns.as_fd(), &self.endpoints)?;
        lost.retain(|endpoint| {
            let parent = &endpoint.parent;
            there(&parent.link) || (!parent.made.is_empty() && there(&parent.segment.base))
        });
        for endpoint in &lost {
            self.rewire(endpoint)?;
            self.parents.note(endpoint);
            self.take_on(endpoint)?;
        }
        Ok(!lost.is_empty())
    }

    fn rewire(&self, endpoint: &Endpoint) -> Result<()> {
        let netns = self.netns.as_ref().context("no network namespace")?;
        let mut place = Place {
            wires: Some(Wires::open(netns.as_fd())?),
            ..Place::default()
        };
        // Without a probe: it is the address that the container has all along.
        let steps = link::plan_link(&Endpoint {
            probe: Probe::Off,
            ..wire::without_lease(endpoint)
        });
        let routes = link::plan_default_routes(&self.endpoints);
        let ours = |step: &link::Step| match step {
            link::Step::Route(route) => route.dev == endpoint.ifname,
            _ => false,
        };
        let steps = steps.into_iter().chain(routes.into_iter().filter(ours));
        for step in steps.map(Step::Link) {
            if let Err(error) = step.take(&mut place) {
                if let Some(wires) = &mut place.wires {
                    let _ = link::undo(endpoint, wires);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Begins with what a link needs that was made after the start.
    fn take_on(&mut self, endpoint: &Endpoint) -> Result<()> {
        let dev = endpoint.ifname.as_str();
        self.drop_sentinels(|gone| gone == dev);
        let netns = self.netns.as_ref().context("no network namespace")?;
        if endpoint.probe == Probe::On {
            let targets = wire::targets(endpoint);
            let opened = netns::within(netns.as_fd(), || {
                targets
                    .into_iter()
                    .map(Sentinel::open)
                    .collect::<Result<Vec<_>>>()
            })?;
            self.sentinels.extend(opened);
        }
        let record = Record::load(&self.home, &self.id)?.context("the record is gone")?;
        let client = start::client_of(&self.home, &record);
        if let Some(identity) = wire::dhcp_identity(endpoint, &client) {
            self.clients.retain(|client| client.dev() != dev);
            self.clients.push(Client::open(netns.as_fd(), identity)?);
        }
        self.announce(endpoint);
        Ok(())
    }

    fn announce(&mut self, endpoint: &Endpoint) {
        if endpoint.kind.is_layer_3() || endpoint.addresses().next().is_none() {
            return;
        }
        let Announce { count, interval } = endpoint.announce;
        let interval = Duration::from_millis(interval.into());
        // The kernel makes the first itself where the link came up with its address.
        let (left, wait) = match (endpoint.probe, endpoint.ipam) {
            (Probe::Off, Ipam::Default) => (count.saturating_sub(1), interval),
            _ => (count, announce::FIRST),
        };
        self.announcements
            .retain(|other| other.dev != endpoint.ifname);
        if left > 0 {
            self.announcements.push(Announcement {
                dev: endpoint.ifname.clone(),
                left,
                next: Instant::now() + wait,
                interval,
            });
        }
    }

    fn send(&mut self, dev: &str) -> Result<()> {
        let netns = self.netns.as_ref().context("no network namespace")?;
        let voice = match self.voice.take() {
            Some(voice) => voice,
            None => Voice::open(netns.as_fd())?,
        };
        let endpoint = self.endpoints.iter().find(|e| e.ifname == dev);
        let said = endpoint.map(|endpoint| voice.announce(netns.as_fd(), endpoint));
        self.voice = Some(voice);
        said.unwrap_or(Ok(()))
    }

    /// Writes down, for `inspect`, what the user should know.
    fn note(&self, text: &str) {
        let _lock = containers::try_lock(&self.home, &self.id);
        if let Ok(Some(mut state)) = State::load(&self.home, &self.id) {
            text.clone_into(&mut state.error);
            let _ = state.save(&self.home, &self.id);
        }
    }
}
