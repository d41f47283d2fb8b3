//! How far the wiring of a container has come, and how one process tells another.  unix(7), SCM_RIGHTS

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::talk::{MOST_DESCRIPTORS, hand_over, receive_all, said};
use super::{Failure, failure};
use crate::net::conflict::{self, Sentinel};
use crate::net::link;
use crate::net::netlink::Wires;
use crate::step::{Place, Step};

/// What has been made of the wire steps, from the first on.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// How many of them were taken.
    pub wired: usize,
    /// The time of each.
    pub times: Vec<Duration>,
    /// What listens for other owners of the addresses.
    pub sentinels: Vec<Sentinel>,
    /// When the LAN was asked about them, if it was.
    pub asked: Option<Instant>,
    /// Whether the loopback is on already.
    pub loopback: bool,
}

/// Whether what is not there yet may be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Some,
    None,
}

/// How far it came, where nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    ToItsEnd,
    ToAWait,
}

/// The datagram, beside the descriptors: of each sentinel its socket, and behind it its way's, if it has one.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    wired: usize,
    times: Vec<Duration>,
    ways: Vec<bool>,
    /// By CLOCK_MONOTONIC, which is one for all processes.
    asked: Option<Duration>,
    failed: Option<(u8, String)>,
}

impl Made {
    /// Makes links in `netns`, and asks the LAN: as far as that needs no process of the container's. The way to the kernel
    /// is left at `place`: to close it takes a while.
    pub(super) fn go_on(
        &mut self,
        wire: &[Step],
        netns: BorrowedFd<'_>,
        patience: Patience,
        place: &mut Place,
    ) -> Result<Came, Failure> {
        place.wires = Some(Wires::open(netns)?);
        for step in &wire[self.wired..] {
            let before = Instant::now();
            match step {
                Step::Link(link::Step::AwaitParent { .. }) if patience == Patience::None => {
                    return Ok(Came::ToAWait);
                }
                Step::Link(link::Step::LoopbackUp) if self.loopback => {
                    self.wired += 1;
                    self.times.push(before.elapsed());
                }
                Step::Link(_) => {
                    // As the launch has it: a step that fails has undone itself.
                    let taken = step.take(place);
                    taken.map_err(|error| failure(step, error))?;
                    self.wired += 1;
                    self.times.push(before.elapsed());
                }
                Step::Conflict(probe) => {
                    let asked = probe.ask(netns, place.wires.as_ref(), &mut self.sentinels);
                    self.asked = Some(asked.map_err(|error| failure(step, error))?);
                    break;
                }
                // Takes its time, and would hold up the clone.
                _ => break,
            }
        }
        Ok(Came::ToItsEnd)
    }

    /// Tells it over `socket`, with what went wrong.
    pub(super) fn tell(&mut self, socket: &OwnedFd, outcome: Result<(), &Failure>) -> Result<()> {
        let sockets = |sentinels: &[Sentinel]| sentinels.iter().flat_map(Sentinel::sockets).count();
        if sockets(&self.sentinels) > MOST_DESCRIPTORS {
            // Then it is the launch that asks.
            (self.sentinels, self.asked) = (vec![], None);
        }
        let fds: Vec<_> = self
            .sentinels
            .iter()
            .flat_map(Sentinel::sockets)
            .map(|fd| fd.as_raw_fd())
            .collect();
        let told = Told {
            wired: self.wired,
            times: self.times.clone(),
            ways: self.sentinels.iter().map(Sentinel::has_way).collect(),
            asked: self
                .asked
                .map(|asked| since_boot().saturating_sub(asked.elapsed())),
            failed: outcome
                .err()
                .map(|failure| (failure.code, format!("{:#}", failure.error))),
        };
        hand_over(socket, &serde_json::to_vec(&told)?, &fds)
    }

    /// Hears it; `wire` are the steps that it is about. The second is what went wrong.
    pub(super) fn hear(socket: &OwnedFd, wire: &[Step]) -> Result<(Made, Result<(), Failure>)> {
        let (datagram, fds) = receive_all(socket)?;
        ensure!(
            !datagram.is_empty(),
            "network: the command that makes it has been killed"
        );
        let told: Told = serde_json::from_slice(&datagram).context("network")?;
        ensure!(
            told.wired <= wire.len(),
            "network: more steps than there are"
        );
        let targets = match wire.get(told.wired) {
            Some(Step::Conflict(conflict::Step::Probe(targets))) => &targets[..],
            _ => &[],
        };
        let mut fds = fds.into_iter();
        let sentinels = targets.iter().zip(told.ways).map(|(target, has_way)| {
            let sentinel = Sentinel::received(target.clone(), has_way, &mut fds);
            sentinel.context("network: a socket is missing")
        });
        let made = Made {
            wired: told.wired,
            times: told.times,
            sentinels: sentinels.collect::<Result<_>>()?,
            asked: told
                .asked
                .and_then(|asked| Instant::now().checked_sub(since_boot().saturating_sub(asked))),
            ..Made::default()
        };
        let failed = told.failed.map(|(code, text)| said(code, text.as_bytes()));
        Ok((made, failed.map_or(Ok(()), Err)))
    }
}

fn since_boot() -> Duration {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map(Duration::from).unwrap_or_default()
}
