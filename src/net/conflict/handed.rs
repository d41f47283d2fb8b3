//! A sentinel on its way to another process, or to its end: the sockets that it consists of.  unix(7), SCM_RIGHTS

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::beside::Way;
use super::{Sentinel, Target};

impl Sentinel {
    /// Its own socket, and its way's, for another process.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let lan = self.way.as_ref().map(|way| way.lan.as_fd());
        [self.socket.as_fd()].into_iter().chain(lan)
    }

    /// Whether there are two of them.
    pub fn has_way(&self) -> bool {
        self.way.is_some()
    }

    /// What another process has opened for `target`, by its [`Sentinel::sockets`].
    pub fn received(
        target: Target,
        has_way: bool,
        sockets: &mut impl Iterator<Item = OwnedFd>,
    ) -> Option<Sentinel> {
        let socket = sockets.next()?;
        let lan = has_way.then(|| sockets.next()).flatten();
        Some(Sentinel {
            socket,
            way: lan.map(Way::through),
            target,
            defended: None,
            down: false,
        })
    }
}

/// The sockets, to be closed when nobody waits for it.
impl From<Sentinel> for Vec<OwnedFd> {
    fn from(sentinel: Sentinel) -> Vec<OwnedFd> {
        let lan = sentinel.way.map(|way| way.lan);
        lan.into_iter().chain([sentinel.socket]).collect()
    }
}
