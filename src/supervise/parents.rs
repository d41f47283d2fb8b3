//! The parents of a running container's links: has one gone, is it back?
//!
//! Where a link has a sentinel ([`crate::net::conflict`]), the kernel tells that one when the link goes, and nothing
//! else need listen; for others there is [`crate::net::watch`].
//!
//! A link that is missing went with its parent, unless the parent is there under the number that it had: then the
//! container's own program has deleted the link, and that is its affair.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::net::if_::if_nametoindex;

use crate::net::endpoint::Endpoint;
use crate::net::netns;
use crate::net::watch::{For, Watch};

/// How long after a link went down its absence is looked for: between the two the kernel may wait for all processors.
const LOOKS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// What is known of them, and the ear that is open.
#[derive(Debug, Default)]
pub struct Parents {
    watch: Option<(Watch, For)>,
    /// When to look.
    looks: Vec<Instant>,
    /// By the name of the container's link: the number of its parent, when it was there the last time.
    numbers: BTreeMap<String, u32>,
}

impl Parents {
    /// What becomes readable when it is time to look.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(|(watch, _)| watch.as_fd())
    }

    /// When it is time to look without that.
    pub fn next_look(&self) -> Option<Instant> {
        self.looks.iter().min().copied()
    }

    /// A link went down, and may be about to go away: that is seen a little later.
    pub fn look_soon(&mut self) {
        let now = Instant::now();
        self.looks = LOOKS.iter().map(|after| now + *after).collect();
    }

    /// Listens for what is to come next: that a link of `endpoints` goes, whose container lives in `netns`, or
    /// where one has gone that its parent comes back. For a link that `has_sentinel`, who hears of the first calls
    /// [`Parents::look_soon`].
    pub fn listen(
        &mut self,
        netns: BorrowedFd<'_>,
        endpoints: &[Endpoint],
        has_sentinel: impl Fn(&str) -> bool,
    ) -> Result<()> {
        self.watch = None;
        if endpoints.is_empty() {
            return Ok(());
        }
        // The ear before the look, and the parent's number before the link's: what changes in between is noticed.
        let inside = match endpoints.iter().all(|e| has_sentinel(&e.ifname)) {
            true => None,
            false => Some(netns::within(netns, || Watch::open(For::Gone))?),
        };
        let numbers = endpoints.iter().map(|e| if_nametoindex(&*e.parent.link));
        let numbers: Vec<Option<u32>> = numbers.map(Result::ok).collect();
        let there = there(netns, endpoints)?;
        for ((endpoint, number), there) in endpoints.iter().zip(numbers).zip(there) {
            if let Some(number) = number.filter(|_| there) {
                self.numbers.insert(endpoint.ifname.clone(), number);
            }
        }
        self.watch = match self.lost(netns, endpoints)?.is_empty() {
            true => inside.map(|watch| (watch, For::Gone)),
            false => Some((Watch::open(For::There)?, For::There)),
        };
        Ok(())
    }

    /// The link of `endpoint` has been made anew.
    pub fn note(&mut self, endpoint: &Endpoint) {
        if let Ok(number) = if_nametoindex(&*endpoint.parent.link) {
            self.numbers.insert(endpoint.ifname.clone(), number);
        }
    }

    /// Reads what has been heard; whether it is time to look.
    pub fn is_time(&mut self, endpoints: &[Endpoint]) -> bool {
        let now = Instant::now();
        let due = self.looks.extract_if(.., |look| *look <= now).count() > 0;
        let Some((watch, what)) = &self.watch else {
            return due;
        };
        let names = endpoints.iter().flat_map(|endpoint| match what {
            For::Gone => vec![endpoint.ifname.as_str()],
            For::There => vec![
                endpoint.parent.link.as_str(),
                endpoint.parent.segment.base.as_str(),
            ],
        });
        watch.changed(&names.collect::<Vec<_>>()) || due
    }

    /// Those of `endpoints` whose link went with its parent.
    pub fn lost(&self, netns: BorrowedFd<'_>, endpoints: &[Endpoint]) -> Result<Vec<Endpoint>> {
        let there = there(netns, endpoints)?;
        let missing = endpoints.iter().zip(there).filter(|(_, there)| !there);
        let lost = missing.filter(|(endpoint, _)| {
            let number = if_nametoindex(&*endpoint.parent.link).ok();
            number.is_none() || number != self.numbers.get(&endpoint.ifname).copied()
        });
        Ok(lost.map(|(endpoint, _)| endpoint.clone()).collect())
    }
}

/// Which of the links of `endpoints` are in `netns`.
fn there(netns: BorrowedFd<'_>, endpoints: &[Endpoint]) -> Result<Vec<bool>> {
    netns::within(netns, || {
        let there = |endpoint: &Endpoint| if_nametoindex(&*endpoint.ifname).is_ok();
        Ok(endpoints.iter().map(there).collect())
    })
}
