//! One of the monitor's callers: who started the container, who is attached to it, who waits for it.  unix(7)

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};

/// One caller.
#[derive(Debug)]
pub struct Caller {
    /// The socket to it, of `SOCK_SEQPACKET`.
    pub socket: OwnedFd,
    /// Whether it wants to see what the program writes.
    pub attached: bool,
    /// The datagrams that it has not taken yet.
    pub waiting: VecDeque<Vec<u8>>,
    /// Whether it has hung up.
    pub gone: bool,
}

impl Caller {
    /// One that has said nothing yet.
    pub fn new(socket: OwnedFd) -> Caller {
        Caller {
            socket,
            attached: false,
            waiting: VecDeque::new(),
            gone: false,
        }
    }

    /// Sends what it takes just now.
    pub fn flush(&mut self) {
        while let Some(datagram) = self.waiting.front() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.socket.as_raw_fd(), datagram, flags) {
                Ok(_) => drop(self.waiting.pop_front()),
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => break,
                Err(_) => {
                    self.gone = true;
                    self.waiting.clear();
                }
            }
        }
    }
}
