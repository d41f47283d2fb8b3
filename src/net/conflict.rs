//! Address conflicts: is somebody else using this address?  RFC 5227, RFC 4862 section 5.4
//!
//! A LAN has no register of its addresses. Before a station uses one it asks who has it: an ARP request
//! whose sender address is 0.0.0.0, so that nobody's cache takes harm (an ARP probe), and for IPv6 a
//! neighbour solicitation from `::` (duplicate address detection). Whoever has the address answers;
//! silence means that it is free.
//!
//! RFC 5227 asks three times and takes up to seven seconds. That is made for machines that come up once
//! a day; a container starts in some ten milliseconds. So rmac asks once, while the container's
//! first process is still preparing its file tree, and waits for [`WINDOW`], the most by which a start
//! can be later than with `-o conflict=off`. A wired station answers within a millisecond; a sleeping
//! telephone may not. For that one the socket stays open: the monitor goes on listening as long as the
//! container runs, defends the address with an announcement (RFC 5227 section 2.4 (b)), and notes down
//! who else has it.
//!
//! The socket is a packet socket, packet(7), with a filter that lets pass only what speaks of the one
//! address, so that a busy LAN does not wake the monitor.
//!
//! Where many macvlans share the parent, the question does not go to each of them: see [`beside`].

pub mod beside;
mod frames;
mod handed;

use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};

use super::announce;
use super::endpoint::Mac;
use super::netlink::Wires;
use super::netns;
use crate::lesson::{Lesson, Shell};
use crate::sys::packet::{self, Test};
use beside::{Beside, Way};
use frames::{ADVERTISEMENT, SOLICITATION, about, arp_probe, solicitation};

/// How long an answer is waited for.
pub const WINDOW: Duration = Duration::from_millis(2);

/// The least time between two defences of an address (RFC 5227, DEFEND_INTERVAL).
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// One address that is about to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The link, as the container names it.
    pub dev: String,
    /// Its hardware address.
    pub mac: Mac,
    /// The address.
    pub address: IpAddr,
    /// What it shares its parent with; `None`: nothing that matters.
    pub beside: Option<Beside>,
}

/// What can be done about conflicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask the LAN whether somebody has these addresses; all at once, since only the waiting costs time.
    Probe(Vec<Target>),
}

/// Somebody else has the address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "address {address} is in use on the LAN already: {owner} answers for it (choose another one, keep it out of the network with --aux-address, or switch this check off with -o conflict=off)"
)]
pub struct Conflict {
    /// The address.
    pub address: IpAddr,
    /// The hardware address of who has it.
    pub owner: Mac,
}

/// An open ear for one address, which outlives the start.
#[derive(Debug)]
pub struct Sentinel {
    socket: OwnedFd,
    /// What it has asked through.
    way: Option<Way>,
    target: Target,
    defended: Option<Instant>,
    down: bool,
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        Lesson {
            why: "a LAN has no register of its addresses, so one asks, before using one, whether anybody answers for it",
            without: "two stations with one address take each other's packets, and both seem broken now and then",
            man: "RFC 5227, RFC 4862 section 5.4, arping(8)",
        }
    }

    /// The same as a command.
    pub fn shell(&self) -> Shell {
        let Step::Probe(targets) = self;
        let ask = |target: &Target| match target.address {
            IpAddr::V4(address) => format!(
                "! command -v arping > /dev/null || nsenter -t \"$pid\" -n arping -D -q -c 1 -w 1 -I {} {address}    # of iputils",
                Shell::quote(&target.dev)
            ),
            IpAddr::V6(_) => {
                "# the kernel does this by itself for IPv6 (duplicate address detection)".to_owned()
            }
        };
        Shell::Bash(targets.iter().map(ask).collect::<Vec<_>>().join("\n"))
    }

    /// Asks, in the network namespace `netns`, of which `wires` may know who is there. The sockets go to `sentinels`, to
    /// be kept. Returns when that was.
    ///
    /// # Errors
    /// Where a link is gone.
    pub fn ask(
        &self,
        netns: BorrowedFd<'_>,
        wires: Option<&Wires>,
        sentinels: &mut Vec<Sentinel>,
    ) -> Result<Instant> {
        let Step::Probe(targets) = self;
        let mut opened = netns::within(netns, || {
            targets
                .iter()
                .cloned()
                .map(Sentinel::open)
                .collect::<Result<Vec<_>>>()
        })?;
        for sentinel in &mut opened {
            let among_many = wires.and_then(|wires| wires.is_among_many(sentinel.dev()));
            sentinel.probe(among_many)?;
        }
        sentinels.append(&mut opened);
        Ok(Instant::now())
    }

    /// Waits for the answers to what was `asked` then. Who is to be asked besides the LAN is asked only here.
    ///
    /// # Errors
    /// A [`Conflict`] when somebody has one of the addresses.
    pub fn hear(&self, sentinels: &mut [Sentinel], mut asked: Instant) -> Result<()> {
        for sentinel in &mut *sentinels {
            if sentinel.probe_strangers()? {
                asked = Instant::now();
            }
        }
        match wait(sentinels, asked + WINDOW)? {
            Some(conflict) => Err(conflict.into()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step::Probe(targets) = self;
        for (at, target) in targets.iter().enumerate() {
            let gap = if at == 0 { "" } else { ", " };
            match target.address {
                IpAddr::V4(address) => write!(
                    f,
                    "{gap}send(packet on {}, ARP who-has {address} tell 0.0.0.0)",
                    target.dev
                )?,
                IpAddr::V6(address) => write!(
                    f,
                    "{gap}send(packet on {}, ICMPv6 neighbour solicitation for {address} from ::)",
                    target.dev
                )?,
            }
        }
        Ok(())
    }
}

impl Sentinel {
    /// Opens an ear for `target`, in the network namespace that the thread is in.
    pub fn open(target: Target) -> Result<Sentinel> {
        let index = nix::net::if_::if_nametoindex(target.dev.as_str())
            .with_context(|| format!("look for the link {}", target.dev))?;
        let (protocol, tests) = match target.address {
            // An ARP packet whose sender has our address.
            IpAddr::V4(address) => {
                let sender = Test {
                    offset: 28,
                    size: 4,
                    value: u32::from(address),
                };
                (nix::libc::ETH_P_ARP as u16, vec![sender])
            }
            // A neighbour solicitation or advertisement for our address.
            IpAddr::V6(address) => (nix::libc::ETH_P_IPV6 as u16, about(address)),
        };
        let filter = packet::accept_if(&tests);
        let socket = packet::open(protocol, index, &filter)
            .with_context(|| format!("open a packet socket on {}", target.dev))?;
        Ok(Sentinel {
            socket,
            way: None,
            target,
            defended: None,
            down: false,
        })
    }

    /// Asks for the address; whether it is `among_many` on its parent may be known.
    ///
    /// # Errors
    /// Where the link is gone.
    pub fn probe(&mut self, among_many: Option<bool>) -> Result<()> {
        let mac = self.target.mac;
        let address = match self.target.address {
            IpAddr::V4(address) => address,
            // To the group of the address: a macvlan hands it to those only who are in it.
            IpAddr::V6(address) => return self.send(&solicitation(mac, address)),
        };
        // Without a way of its own it is a broadcast, which is asking all the same.
        let beside = self.target.beside.as_ref();
        self.way = beside.and_then(|beside| beside.way(among_many).ok().flatten());
        let lan = self.way.as_ref().map_or(&self.socket, |way| &way.lan);
        self.send_on(lan, &arp_probe(mac, address))
    }

    /// Asks those on the parent whom [`Sentinel::probe`] has passed over; whether there are any.
    ///
    /// # Errors
    /// Where the link is gone.
    pub fn probe_strangers(&mut self) -> Result<bool> {
        let target = &self.target;
        let (Some(way), Some(beside), IpAddr::V4(address)) =
            (&mut self.way, &target.beside, target.address)
        else {
            return Ok(false);
        };
        let strangers = way.strangers(beside, target.mac, address);
        // Everybody, where it is not known whom.
        let strangers = strangers.unwrap_or_else(|_| vec![Mac([0xff; 6])]);
        let mut frame = arp_probe(target.mac, address);
        for stranger in &strangers {
            frame[..6].copy_from_slice(&stranger.0);
            self.send(&frame)?;
        }
        Ok(!strangers.is_empty())
    }

    /// Tells everybody that the address is ours.
    pub fn announce(&self) -> Result<()> {
        match self.target.address {
            IpAddr::V4(address) => self.send(&announce::frame(self.target.mac, address)),
            IpAddr::V6(address) => self.send(&announce::advertisement(self.target.mac, address)),
        }
    }

    /// The link, as the container names it.
    pub fn dev(&self) -> &str {
        &self.target.dev
    }

    /// What is becoming readable when somebody speaks of the address.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// When [`Sentinel::turn`] has something to do though nothing has come in.
    pub fn next_turn(&self) -> Option<Instant> {
        self.way.as_ref().map(Way::end)
    }

    /// Reads what has come in; who else has the address, if that turned out. Defends it then.
    pub fn turn(&mut self) -> Option<Conflict> {
        self.way.take_if(|way| way.end() <= Instant::now());
        let owner = self.hear()?;
        if self
            .defended
            .is_none_or(|at| at.elapsed() > DEFEND_INTERVAL)
        {
            self.defended = Some(Instant::now());
            // A link that is down cannot defend anything.
            let _ = self.announce();
        }
        Some(Conflict {
            address: self.target.address,
            owner,
        })
    }

    fn send(&self, frame: &[u8]) -> Result<()> {
        self.send_on(&self.socket, frame)
    }

    fn send_on(&self, socket: &OwnedFd, frame: &[u8]) -> Result<()> {
        match nix::unistd::write(socket, frame) {
            Ok(_) => Ok(()),
            // The parent is down: then nobody can be asked, and the start goes on.
            Err(Errno::ENETDOWN | Errno::ENOBUFS | Errno::ENXIO) => Ok(()),
            Err(errno) => Err(errno).with_context(|| format!("send on {}", self.target.dev)),
        }
    }

    /// The hardware address of the first other station that has the address, among what has come in so far.
    pub fn hear(&mut self) -> Option<Mac> {
        let mut frame = [0; 128];
        loop {
            let received = nix::sys::socket::recv(
                self.socket.as_raw_fd(),
                &mut frame,
                nix::sys::socket::MsgFlags::MSG_DONTWAIT,
            );
            match received {
                Ok(length) => {
                    let owner = self.owner(&frame[..length]);
                    if owner.is_some() {
                        return owner;
                    }
                }
                Err(Errno::EINTR) => (),
                Err(Errno::ENETDOWN) => self.down = true,
                Err(_) => return None,
            }
        }
    }

    /// Whether the link went down, or away, since this was asked last: the kernel tells its sockets (packet(7)).
    pub fn went_down(&mut self) -> bool {
        std::mem::take(&mut self.down)
    }

    /// Who claims the address in this frame, if somebody else does.
    fn owner(&self, frame: &[u8]) -> Option<Mac> {
        let mac = |at: usize| -> Option<Mac> { Some(Mac(frame.get(at..at + 6)?.try_into().ok()?)) };
        let owner = match self.target.address {
            IpAddr::V4(address) => (frame.get(28..32)? == address.octets()).then(|| mac(22))?,
            IpAddr::V6(_) => match *frame.get(54)? {
                ADVERTISEMENT => mac(6),
                // Somebody else is asking for it too, before using it.
                SOLICITATION if frame.get(22..38)? == [0; 16] => mac(6),
                _ => None,
            },
        };
        owner.filter(|owner| *owner != self.target.mac)
    }
}

/// Waits until `deadline` for an answer to any of them.
fn wait(sentinels: &mut [Sentinel], deadline: Instant) -> Result<Option<Conflict>> {
    loop {
        for sentinel in sentinels.iter_mut() {
            if let Some(owner) = sentinel.hear() {
                return Ok(Some(Conflict {
                    address: sentinel.target.address,
                    owner,
                }));
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let mut fds: Vec<_> = sentinels
            .iter()
            .map(|sentinel| PollFd::new(sentinel.as_fd(), PollFlags::POLLIN))
            .collect();
        // poll(2) counts in milliseconds, of which there are two.
        match ppoll(&mut fds, Some(left.into()), None) {
            Ok(_) | Err(Errno::EINTR) => (),
            Err(errno) => return Err(errno).context("ppoll"),
        }
    }
}
