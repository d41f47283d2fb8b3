//! The pump: carries what the program reads and writes between it, the log and its callers.  poll(2), pty(7)
//!
//! One loop over poll(2), no thread. A caller that does not read fast enough holds the program back, as a
//! pipe would; nothing is kept in memory without bound.

mod rest;

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, SockFlag, accept4, recv};

use super::asked::Asked;
use super::caller::Caller;
use super::chores::Chores;
use super::log::{Log, Stream};
use super::{LONGEST, Message};
use crate::sys;

pub use rest::Woken;

/// What is held for a slow caller, in messages, before the program has to wait.
const MOST_WAITING: usize = 16;
/// What is read from the program at once, in bytes. What the monitor has once used of its stack stays.
const MOST_READ: usize = 8 * 1024;
/// What is held for a program that does not read its input, in bytes, before the callers have to wait.
const MOST_INPUT: usize = 64 * 1024;

/// The monitor's ends of the program's input and output.
#[derive(Debug, Default)]
pub struct Ends {
    /// Its terminal.
    pub master: Option<OwnedFd>,
    /// The pipe that it reads.
    pub input: Option<OwnedFd>,
    /// The pipe that it writes.
    pub output: Option<OwnedFd>,
    /// The pipe that it writes errors to.
    pub error: Option<OwnedFd>,
}

/// The loop's state.
#[derive(Debug)]
pub struct Pump {
    ends: Ends,
    log: Log,
    callers: Vec<Caller>,
    listener: Option<OwnedFd>,
    input: VecDeque<u8>,
    input_ended: bool,
    chores: Option<Chores>,
    asked: Option<Asked>,
    /// Somebody says that the container's state has changed.
    called: bool,
}

impl Pump {
    /// A pump for a program with the given ends; more callers come through `listener`.
    pub fn new(ends: Ends, log: Log, listener: Option<OwnedFd>) -> Result<Self> {
        ends.never_wait()?;
        Ok(Pump {
            ends,
            log,
            callers: vec![],
            listener,
            input: VecDeque::new(),
            input_ended: false,
            chores: None,
            asked: None,
            called: false,
        })
    }

    /// Has the container's network looked after in the same loop.
    pub fn add_chores(&mut self, chores: Chores) {
        self.chores = Some(chores);
    }

    /// Passes on to the program what this process is asked for.
    pub fn add_asked(&mut self, asked: Asked) {
        self.asked = Some(asked);
    }

    /// The chores, to be ended.
    pub fn take_chores(&mut self) -> Option<Chores> {
        self.chores.take()
    }

    /// Gives back what was lent to the container's network.
    pub fn release(&mut self) {
        self.chores.iter_mut().for_each(Chores::release);
    }

    /// Takes a caller on.
    pub fn add_caller(&mut self, socket: OwnedFd) {
        self.callers.push(Caller::new(socket));
        // What it has said already comes before anything that the program writes.
        self.hear_callers();
    }

    /// Tells all callers `message`.
    pub fn tell(&mut self, message: &Message) {
        for caller in &mut self.callers {
            caller.waiting.push_back(message.encode());
        }
        self.flush();
    }

    /// Carries until the program behind `pidfd` has ended, then what is left in its pipes.
    pub fn run(&mut self, pidfd: BorrowedFd<'_>) -> Result<()> {
        while !self.turn(Some(pidfd), None)? {}
        // All processes of the pid namespace are dead by now, so nobody writes any more.
        while self.read_outputs() {
            self.flush();
        }
        self.log.finish();
        Ok(())
    }

    /// Carries until `deadline`; tells whether the program has ended by then. [`Pump::run`] is to follow.
    pub fn run_until(&mut self, pidfd: BorrowedFd<'_>, deadline: Instant) -> Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            if self.turn(Some(pidfd), Some(left))? {
                return Ok(true);
            }
        }
    }

    /// Tells all callers `message` and lets them go.
    pub fn farewell(&mut self, message: &Message) {
        self.tell(message);
        // A caller that never reads must not keep the monitor from cleaning up.
        for _ in 0..20 {
            self.flush();
            if self
                .callers
                .iter()
                .all(|caller| caller.waiting.is_empty() || caller.gone)
            {
                break;
            }
            let mut fds: Vec<_> = self
                .callers
                .iter()
                .filter(|c| !c.waiting.is_empty())
                .map(|c| PollFd::new(c.socket.as_fd(), PollFlags::POLLOUT))
                .collect();
            let _ = poll(&mut fds, PollTimeout::from(100u8));
        }
        self.callers.clear();
    }

    /// One turn of the loop, which waits at most `most`; tells whether the program has ended.
    fn turn(&mut self, pidfd: Option<BorrowedFd<'_>>, most: Option<Duration>) -> Result<bool> {
        let (read_more, take_input) = (self.reads_more(), self.takes_input());
        let mut fds = self.descriptors(pidfd);
        let others = fds.len();
        let chores = self.chores.iter().flat_map(Chores::fds);
        let asked = self.asked.iter().map(Asked::as_fd);
        fds.extend(
            chores
                .chain(asked)
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN)),
        );
        let timeout = self.chores.as_ref().and_then(Chores::timeout);
        match sys::rest::wait(&mut fds, time_out(timeout.into_iter().chain(most).min())) {
            Ok(_) | Err(Errno::EINTR) => (),
            Err(errno) => return Err(errno).context("poll"),
        }
        let ended = pidfd.is_some() && fds[0].any() == Some(true);
        let called = fds[others..].iter().any(|fd| fd.any() == Some(true));
        drop(fds);
        if let Some(chores) = &mut self.chores
            && (called || chores.timeout().is_some_and(|left| left.is_zero()))
        {
            chores.turn();
        }
        if let (true, Some(asked)) = (called, &mut self.asked) {
            asked.turn(pidfd);
        }
        self.accept();
        if read_more {
            self.read_outputs();
        }
        if take_input {
            self.hear_callers();
        }
        self.write_input();
        self.flush();
        Ok(ended)
    }

    /// Whether all callers keep up with what the program writes.
    fn reads_more(&self) -> bool {
        self.callers
            .iter()
            .all(|caller| caller.waiting.len() < MOST_WAITING)
    }

    /// Whether the program keeps up with its input.
    fn takes_input(&self) -> bool {
        self.input.len() < MOST_INPUT
    }

    /// What is waited for, but for the chores; the program's end first.
    fn descriptors<'a>(&'a self, pidfd: Option<BorrowedFd<'a>>) -> Vec<PollFd<'a>> {
        let mut fds = vec![];
        if let Some(pidfd) = pidfd {
            fds.push(PollFd::new(pidfd, PollFlags::POLLIN));
        }
        if let Some(listener) = &self.listener {
            fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        }
        let wants_input = !self.input.is_empty();
        for end in [&self.ends.master, &self.ends.output, &self.ends.error]
            .into_iter()
            .flatten()
        {
            if self.reads_more() {
                fds.push(PollFd::new(end.as_fd(), PollFlags::POLLIN));
            }
        }
        if let Some(end) = self
            .ends
            .input
            .as_ref()
            .or(self.ends.master.as_ref())
            .filter(|_| wants_input)
        {
            fds.push(PollFd::new(end.as_fd(), PollFlags::POLLOUT));
        }
        for caller in &self.callers {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, self.takes_input());
            flags.set(PollFlags::POLLOUT, !caller.waiting.is_empty());
            fds.push(PollFd::new(caller.socket.as_fd(), flags));
        }
        fds
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        while let Ok(fd) = accept4(
            listener.as_raw_fd(),
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        ) {
            if let Ok(socket) = sys::inherited_fd(fd) {
                self.callers.push(Caller::new(socket));
            }
        }
    }

    /// Reads once from each of the program's outputs; tells whether there was anything.
    fn read_outputs(&mut self) -> bool {
        let mut any = false;
        let Ends {
            master,
            output,
            error,
            ..
        } = &mut self.ends;
        for (end, stream) in [
            (master, Stream::Stdout),
            (output, Stream::Stdout),
            (error, Stream::Stderr),
        ] {
            let Some(fd) = end else { continue };
            let mut buffer = [0; MOST_READ];
            match nix::unistd::read(fd, &mut buffer) {
                // EIO: the last process has closed the terminal; another may open it again.
                Ok(0) | Err(Errno::EIO) => *end = None,
                Ok(length) => {
                    any = true;
                    self.log.add(stream, &buffer[..length]);
                    let message = match stream {
                        Stream::Stdout => Message::Output(buffer[..length].to_vec()),
                        Stream::Stderr => Message::ErrorOutput(buffer[..length].to_vec()),
                    };
                    let datagram = message.encode();
                    for caller in self.callers.iter_mut().filter(|caller| caller.attached) {
                        caller.waiting.push_back(datagram.clone());
                    }
                }
                Err(_) => (),
            }
        }
        any
    }

    fn hear_callers(&mut self) {
        for at in 0..self.callers.len() {
            let socket = self.callers[at].socket.as_raw_fd();
            // How long it is, first: mostly a byte or an end, for which no large buffer is made.
            let look = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
            let length = recv(socket, &mut [], look).unwrap_or(0);
            let mut buffer = vec![0; length.clamp(1, LONGEST + 1)];
            let length = match recv(socket, &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNRESET) => continue,
                Err(_) | Ok(0) => {
                    self.callers[at].gone = true;
                    continue;
                }
                Ok(length) => length,
            };
            match Message::decode(&buffer[..length]) {
                Ok(Message::Attach) => self.callers[at].attached = true,
                Ok(Message::Input(data)) => self.input.extend(data),
                Ok(Message::InputEnd) => self.input_ended = true,
                Ok(Message::Stopped) => self.called = true,
                Ok(Message::Networks) => {
                    self.reload();
                    // Who told us waits until it is so.
                    let done = Message::Networks.encode();
                    self.callers[at].waiting.push_back(done);
                }
                Ok(Message::Resize(rows, columns)) => {
                    if let Some(master) = &self.ends.master {
                        let _ = sys::set_window_size(master.as_fd(), (rows, columns));
                    }
                }
                Ok(_) | Err(_) => self.callers[at].gone = true,
            }
        }
        self.callers.retain(|caller| !caller.gone);
    }

    fn write_input(&mut self) {
        let Some(end) = self.ends.input.as_ref().or(self.ends.master.as_ref()) else {
            self.input.clear();
            return;
        };
        while !self.input.is_empty() {
            match nix::unistd::write(end, self.input.as_slices().0) {
                Ok(length) => drop(self.input.drain(..length)),
                Err(Errno::EAGAIN | Errno::EINTR) => return,
                // The program has closed its input.
                Err(_) => self.input.clear(),
            }
        }
        if self.input_ended {
            self.ends.input = None;
        }
    }

    fn flush(&mut self) {
        for caller in &mut self.callers {
            caller.flush();
        }
        self.callers.retain(|caller| !caller.gone);
    }
}

/// The time until `left` is over, rounded up: a poll that ends early would turn in circles.
fn time_out(left: Option<std::time::Duration>) -> PollTimeout {
    match left {
        None => PollTimeout::NONE,
        Some(left) => {
            let most = std::time::Duration::from_secs(3600);
            let milliseconds = left.min(most).as_micros().div_ceil(1000);
            PollTimeout::try_from(milliseconds as i32).unwrap_or(PollTimeout::NONE)
        }
    }
}
