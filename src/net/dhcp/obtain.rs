//! Getting the first lease: the one thing of DHCP that a start has to wait for.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Client, Event, Identity, Lease};
use crate::lesson::{Lesson, Shell};

/// How long a start waits for a server.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// What can be done about DHCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Get an address from the LAN's server.
    Obtain {
        /// Who asks.
        identity: Identity,
        /// The container's `/etc/resolv.conf`, which gets the server's name servers.
        resolv_conf: Option<PathBuf>,
        /// The network has no way out: the server's router is not for us.
        internal: bool,
    },
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        Lesson {
            why: "the LAN's own server gives out the addresses, so that nobody else gets the same one",
            without: "the link would have no address, or one that the server gives to somebody else tomorrow",
            man: "RFC 2131, dnsmasq(8)",
        }
    }

    /// The same as a command.
    pub fn shell(&self) -> Shell {
        let Step::Obtain { identity, .. } = self;
        Shell::Bash(format!(
            "nsenter -t \"$pid\" -n udhcpc -i {} -x hostname:{} -q",
            Shell::quote(&identity.dev),
            Shell::quote(&identity.hostname)
        ))
    }

    /// Takes the step in the network namespace `netns`: waits until there is a lease.
    pub fn take(&self, netns: BorrowedFd<'_>) -> Result<(Client, Lease)> {
        let Step::Obtain {
            identity,
            resolv_conf,
            internal,
        } = self;
        let mut client = Client::open(netns, identity.clone())?;
        let deadline = Instant::now() + PATIENCE;
        let mut declined = None;
        loop {
            let event = client.turn()?;
            if let Some(Event::Declined(conflict)) = &event {
                declined = Some(conflict.clone());
            }
            if let Some(Event::Bound(mut lease)) = event {
                lease.router = lease.router.filter(|_| !internal);
                if let Some(path) = resolv_conf.as_ref().filter(|_| !lease.dns.is_empty()) {
                    // In place: the file may be bound into the container already.
                    std::fs::write(path, lease.resolv_conf())
                        .with_context(|| format!("write {}", path.display()))?;
                }
                return Ok((client, lease));
            }
            let now = Instant::now();
            if let Some(conflict) = declined.take_if(|_| now >= deadline) {
                return Err(anyhow!(
                    "the DHCP server gives out addresses that are in use on this LAN: {} has {}",
                    conflict.owner,
                    conflict.address
                ));
            }
            if now >= deadline {
                return Err(anyhow!(
                    "no DHCP server has answered on {} within {} s: is there one on this LAN, and does the switch let it see {}?",
                    identity.dev,
                    PATIENCE.as_secs(),
                    identity.mac
                ));
            }
            let left = client.timeout().min(deadline - now);
            let timeout = PollTimeout::try_from(left.as_millis() as i32 + 1)?;
            match poll(
                &mut [PollFd::new(client.as_fd(), PollFlags::POLLIN)],
                timeout,
            ) {
                Ok(_) | Err(Errno::EINTR) => (),
                Err(errno) => return Err(errno).context("poll"),
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step::Obtain { identity, .. } = self;
        write!(
            f,
            "send(packet on {}, DHCPDISCOVER {{client-id={:?}, hostname={:?}}})",
            identity.dev, identity.client_id, identity.hostname
        )
    }
}
