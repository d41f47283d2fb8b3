//! DHCP: an address from the LAN's own server.  RFC 2131
//!
//! ```text
//! client                          server
//! DISCOVER  (broadcast) --------> who has an address for me?
//!           <-------------------- OFFER    this one is free
//! REQUEST   (broadcast) --------> I take it
//!           <-------------------- ACK      it is yours for so long
//! ...       at T1, half of that: REQUEST to the server: renewed
//! ...       at T2, 7/8: REQUEST to everybody: rebound
//! RELEASE   --------------------> when the container ends
//! ```
//!
//! Before an address is used, the LAN is asked whether somebody has it all the same (section 3.1, item 5;
//! [`super::conflict`]): one who has typed it in by hand, say. Then the client declines it, and the server
//! gives another one.
//!
//! The client is a state machine without a thread: the container's monitor waits for its socket and
//! its time-out together with everything else. The crates that there are bring an asynchronous runtime
//! with them, which would stay in every monitor for one packet an hour. A lease belongs to the client's
//! name (option 61), so the same container gets the same address again, whatever its MAC is.

mod lease;
pub mod message;
mod obtain;

pub use lease::Lease;
pub use obtain::{PATIENCE, Step};

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;

use super::conflict::{Conflict, Sentinel, Target, WINDOW};
use super::endpoint::{Mac, Probe};
use super::netns;
use crate::sys::packet::{self, Test};
use lease::{half, lease};
use message::{Incoming, Kind, Outgoing};

/// The first wait for an answer, doubled each time: a LAN's server answers in milliseconds.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// How many addresses are declined in a row before the client waits: RFC 2131 section 3.1 asks for ten
/// seconds each time, against loops, but here a container's start waits.
const DECLINES: u32 = 3;
/// The wait after that.
const AFTER_DECLINE: Duration = Duration::from_secs(10);
/// The longest wait between two questions.
const LONGEST_WAIT: Duration = Duration::from_secs(64);
/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The link, as the container names it.
    pub dev: String,
    /// Its hardware address.
    pub mac: Mac,
    /// By what the server knows the client again: the container's name.
    pub client_id: String,
    /// The container's host name, for the server's own names.
    pub hostname: String,
    /// The address that it had the last time.
    pub last: Option<Ipv4Addr>,
    /// Whether the LAN is asked for an address before it is used.
    pub probe: Probe,
}

/// What has become of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// There is one, or it has been renewed.
    Bound(Lease),
    /// It has expired, or the server takes it back.
    Lost,
    /// Somebody on the LAN has the address that the server gave; it is asked for another one.
    Declined(Conflict),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Selecting,
    Requesting(Ipv4Addr, Ipv4Addr),
    /// The LAN is asked whether somebody has the address.
    Checking,
    Bound,
    Renewing,
    Rebinding,
}

/// The client of one link.
#[derive(Debug)]
pub struct Client {
    identity: Identity,
    socket: OwnedFd,
    phase: Phase,
    lease: Option<Lease>,
    /// Ours if nobody on the LAN has it.
    offered: Option<Lease>,
    /// Listens for other owners of the lease's address.
    sentinel: Option<Sentinel>,
    declined: u32,
    netns: OwnedFd,
    transaction: u32,
    began: Instant,
    wait: Duration,
    next: Instant,
}

impl Client {
    /// A client for a link in `netns` that is on; it begins with its first [`Client::turn`].
    pub fn open(netns: BorrowedFd<'_>, identity: Identity) -> Result<Client> {
        // UDP, and the client's port.
        let tests = [(12, 2, 0x0800), (23, 1, 17), (36, 2, 68)];
        let filter = packet::accept_if(&tests.map(|(offset, size, value)| Test {
            offset,
            size,
            value,
        }));
        let socket = netns::within(netns, || {
            let index = nix::net::if_::if_nametoindex(identity.dev.as_str())
                .with_context(|| format!("look for the link {}", identity.dev))?;
            packet::open(nix::libc::ETH_P_IP as u16, index, &filter)
                .with_context(|| format!("open a packet socket on {}", identity.dev))
        })?;
        let now = Instant::now();
        Ok(Client {
            identity,
            socket,
            phase: Phase::Selecting,
            lease: None,
            offered: None,
            sentinel: None,
            declined: 0,
            netns: netns
                .try_clone_to_owned()
                .context("duplicate a descriptor")?,
            transaction: transaction()?,
            began: now,
            wait: FIRST_WAIT,
            next: now,
        })
    }

    /// What becomes readable when the server speaks.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The link, as the container names it.
    pub fn dev(&self) -> &str {
        &self.identity.dev
    }

    /// When [`Client::turn`] is due without that.
    pub fn timeout(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// What listens for other owners of the address, to be listened to from now on.
    pub fn take_sentinel(&mut self) -> Option<Sentinel> {
        match self.phase {
            Phase::Checking => None,
            _ => self.sentinel.take(),
        }
    }

    /// Hears what has come in and says what is due.
    pub fn turn(&mut self) -> Result<Option<Event>> {
        let mut frame = [0; 1514];
        loop {
            let received = nix::sys::socket::recv(
                self.socket.as_raw_fd(),
                &mut frame,
                nix::sys::socket::MsgFlags::MSG_DONTWAIT,
            );
            match received {
                Ok(length) => {
                    let message = Incoming::read(&frame[..length], self.identity.mac);
                    if let Some(event) = message.and_then(|message| self.hear(&message)) {
                        return Ok(Some(event));
                    }
                }
                Err(Errno::EINTR) => (),
                Err(_) => break,
            }
        }
        if self.next <= Instant::now() {
            return self.act();
        }
        Ok(None)
    }

    /// Gives the address back.
    pub fn release(&mut self) {
        if let Some(lease) = self.lease.take() {
            let to = Some((lease.server_mac, lease.server));
            self.say(
                Kind::Release,
                lease.address.addr(),
                None,
                Some(lease.server),
                to,
            );
        }
    }

    fn hear(&mut self, message: &Incoming) -> Option<Event> {
        if message.transaction != self.transaction {
            return None;
        }
        match (self.phase, message.kind) {
            (Phase::Selecting, Kind::Offer) => {
                self.phase = Phase::Requesting(message.address, message.server?);
                self.wait = FIRST_WAIT;
                self.ask();
                None
            }
            (Phase::Requesting(..) | Phase::Renewing | Phase::Rebinding, Kind::Ack) => {
                let lease = lease(message, Instant::now())?;
                if self.is_to_be_checked(&lease) && self.ask_the_lan(&lease).is_ok() {
                    self.offered = Some(lease);
                    self.phase = Phase::Checking;
                    self.next = Instant::now() + WINDOW;
                    return None;
                }
                Some(self.bind(lease))
            }
            (Phase::Requesting(..) | Phase::Renewing | Phase::Rebinding, Kind::Nak) => {
                // What the last time's address was is of no use on this LAN.
                self.identity.last = None;
                self.start_again()
            }
            _ => None,
        }
    }

    /// What is due at [`Client::timeout`].
    fn act(&mut self) -> Result<Option<Event>> {
        let now = Instant::now();
        if let Some(lease) = self.offered.take() {
            let owner = self.sentinel.as_mut().and_then(Sentinel::hear);
            return Ok(Some(match owner {
                Some(owner) => self.decline(&lease, owner),
                None => self.bind(lease),
            }));
        }
        match (self.phase, &self.lease) {
            (_, Some(lease)) if now >= lease.expires => return Ok(self.start_again()),
            (Phase::Bound, Some(lease)) if now >= lease.renew => {
                self.transaction = transaction()?;
                self.began = now;
                self.phase = Phase::Renewing;
            }
            (Phase::Renewing, Some(lease)) if now >= lease.rebind => self.phase = Phase::Rebinding,
            // A server that has offered and then does not confirm is left for another.
            (Phase::Requesting(..), _) if self.wait >= FIRST_WAIT * 8 => {
                self.phase = Phase::Selecting;
            }
            _ => (),
        }
        self.ask();
        Ok(None)
    }

    fn bind(&mut self, lease: Lease) -> Event {
        self.phase = Phase::Bound;
        self.declined = 0;
        self.next = lease.renew;
        self.lease = Some(lease.clone());
        Event::Bound(lease)
    }

    /// An address that is new to us; that which is renewed is in use.
    fn is_to_be_checked(&self, lease: &Lease) -> bool {
        let has = self.lease.as_ref().map(|lease| lease.address.addr());
        self.identity.probe == Probe::On && has != Some(lease.address.addr())
    }

    fn ask_the_lan(&mut self, lease: &Lease) -> Result<()> {
        let target = Target {
            dev: self.identity.dev.clone(),
            mac: self.identity.mac,
            address: lease.address.addr().into(),
            beside: None,
        };
        let mut sentinel = netns::within(self.netns.as_fd(), || Sentinel::open(target))?;
        sentinel.probe(None)?;
        self.sentinel = Some(sentinel);
        Ok(())
    }

    /// Tells the server that somebody has the address, and begins anew.
    fn decline(&mut self, lease: &Lease, owner: Mac) -> Event {
        let address = lease.address.addr();
        self.say(
            Kind::Decline,
            Ipv4Addr::UNSPECIFIED,
            Some(address),
            Some(lease.server),
            None,
        );
        self.sentinel = None;
        self.identity.last = None;
        self.start_again();
        self.declined += 1;
        if self.declined >= DECLINES {
            self.declined = 0;
            self.next = Instant::now() + AFTER_DECLINE;
        }
        Event::Declined(Conflict {
            address: address.into(),
            owner,
        })
    }

    fn start_again(&mut self) -> Option<Event> {
        self.phase = Phase::Selecting;
        self.wait = FIRST_WAIT;
        self.next = Instant::now();
        self.began = self.next;
        self.lease.take().map(|_| Event::Lost)
    }

    /// Asks what the phase asks for, and sets the time for asking again.
    fn ask(&mut self) {
        let none = Ipv4Addr::UNSPECIFIED;
        let now = Instant::now();
        match (self.phase, self.lease.clone()) {
            (Phase::Renewing, Some(lease)) => {
                let to = Some((lease.server_mac, lease.server));
                self.say(Kind::Request, lease.address.addr(), None, None, to);
                self.next = now + half(lease.rebind.min(lease.expires), now);
            }
            (Phase::Rebinding, Some(lease)) => {
                self.say(Kind::Request, lease.address.addr(), None, None, None);
                self.next = now + half(lease.expires, now);
            }
            (Phase::Requesting(address, server), _) => {
                self.say(Kind::Request, none, Some(address), Some(server), None);
                self.next = now + self.wait;
                self.wait *= 2;
            }
            _ => {
                self.say(Kind::Discover, none, self.identity.last, None, None);
                self.next = now + self.wait;
                self.wait = (self.wait * 2).min(LONGEST_WAIT);
            }
        }
    }

    fn say(
        &self,
        kind: Kind,
        current: Ipv4Addr,
        requested: Option<Ipv4Addr>,
        server: Option<Ipv4Addr>,
        to: Option<(Mac, Ipv4Addr)>,
    ) {
        let message = Outgoing {
            kind,
            transaction: self.transaction,
            seconds: self.began.elapsed().as_secs().min(u16::MAX.into()) as u16,
            mac: self.identity.mac,
            current,
            requested,
            server,
            client_id: &self.identity.client_id,
            hostname: &self.identity.hostname,
        };
        // A link that is down, or a parent that is: asked again when it is due.
        let _ = nix::unistd::write(&self.socket, &message.frame(to));
    }
}

/// The socket, to be closed when nobody waits for it.
impl From<Client> for OwnedFd {
    fn from(client: Client) -> OwnedFd {
        client.socket
    }
}

fn transaction() -> Result<u32> {
    let mut bytes = [0; 4];
    let mut urandom = std::fs::File::open("/dev/urandom").context("open /dev/urandom")?;
    std::io::Read::read_exact(&mut urandom, &mut bytes).context("read /dev/urandom")?;
    Ok(u32::from_be_bytes(bytes))
}
