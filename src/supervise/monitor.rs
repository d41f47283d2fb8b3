//! The monitor: the one process of rmac's that lives as long as its container.
//!
//! It makes the container, carries its input and output, waits for its end and cleans up. Its caller is
//! answered as soon as the answer is known; what the caller need not wait for (deleting a link takes the
//! kernel some 19 ms) comes after.

mod again;
mod watch;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, bind, listen, socket};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::chores::Chores;
use super::log::Log;
use super::pump::{Ends, Pump};
use super::stdio::{Input, pipes};
use super::{Message, address_in, claims, heal, peers, rootless, say};
use crate::kernel::cgroups::Layout;
use crate::launch::{self, Ahead, Failure, Listener, Running, Side, Silent, Telling};
use crate::net::conflict::Conflict;
use crate::plan::Plan;
use crate::plan::wire::{self, Client};
use crate::request::NetworkMode;
use crate::step::{Place, Step};
use crate::store::claim::Claim;
use crate::store::containers::Record;
use crate::store::{Home, ids, leases};
use crate::sys;
use crate::{exit, explain};
use again::Lives;

pub use again::{call_off, stop};

/// What becomes of a container that could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It is removed: `run`.
    Discard,
    /// It stays as it was: `start`.
    Keep,
}

/// All that the monitor needs; what it does follows from this.
#[derive(Debug)]
pub struct Monitor {
    /// Where everything lies.
    pub home: Home,
    /// The container.
    pub record: Record,
    /// How it is made.
    pub plan: Plan,
    /// The right to do so.
    pub claim: Claim,
    /// Its network, as far as that has been made already.
    pub ahead: Ahead,
    /// The socket to who started it.
    pub caller: OwnedFd,
    /// How much the caller wants to be told.
    pub explain: Option<explain::Style>,
    /// What to do when it cannot be started.
    pub on_failure: OnFailure,
}

impl Monitor {
    /// Lives the monitor's life; the caller of this function then exits.
    pub fn run(mut self) -> Result<()> {
        leave_the_caller()?;
        if rootless::is() && self.record.request.network == NetworkMode::None {
            // To work on the container's links one goes there and back, and the way back to the host's network is
            // its root's.
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).context("unshare the network")?;
        }
        match self.start() {
            Ok((running, pump)) => self.keep(running, pump),
            Err(failure) => {
                let message = Message::Failed(failure.code, format!("{:#}", failure.error));
                if self.on_failure == OnFailure::Discard {
                    heal::discard(&self.home, &self.record);
                }
                drop(self.claim);
                say(&self.caller, &message).context("tell the caller")
            }
        }
    }

    fn start(&mut self) -> Result<(Running, Pump), Failure> {
        let listener = self.listen()?;
        let (mut running, ends) = self.make()?;
        match self.pump(&mut running, ends, listener) {
            Ok(pump) => Ok((running, pump)),
            Err(error) => {
                let _ = self.abandon(&running);
                Err(error.into())
            }
        }
    }

    fn pump(&mut self, running: &mut Running, ends: Ends, listener: OwnedFd) -> Result<Pump> {
        self.note_leases(running)?;
        let log = Log::new(self.record.log_path(&self.home));
        let mut pump = Pump::new(ends, log, Some(listener))?;
        pump.add_chores(self.chores(running)?);
        Ok(pump)
    }

    /// Ends a program that nobody would look after, and takes down what it had.
    fn abandon(&mut self, running: &Running) -> Result<()> {
        let _ = sys::pidfd_send_signal(running.pidfd.as_fd(), nix::libc::SIGKILL);
        let _ = exit_code(&running.pidfd);
        self.plan.wire = wire::wire(&self.record.endpoints, &Client::default(), &[]);
        launch::undo(&self.plan, running.netns.as_ref())
    }

    /// Launches, with other addresses where somebody on the LAN has those.
    fn make(&mut self) -> Result<(Running, Ends), Failure> {
        loop {
            let failure = match self.launch() {
                Ok(made) => {
                    launch::forget(&mut self.plan);
                    return Ok(made);
                }
                Err(failure) => failure,
            };
            // Somebody on the LAN has the address: the next one, unless it was asked for.
            let Some(conflict) = failure.error.downcast_ref::<Conflict>() else {
                return Err(failure);
            };
            let told = claims::decline(&self.home, &mut self.record, conflict)?;
            let _ = say(&self.caller, &Message::Told(told));
            self.plan = super::start::plan_of(&self.home, &self.record, &Layout::detect()?)?;
        }
    }

    /// What the monitor does for the container's network while it runs.
    fn chores(&self, running: &mut Running) -> Result<Chores> {
        let netns = running.netns.as_ref().map(OwnedFd::try_clone).transpose();
        Ok(Chores::new(
            &self.home,
            &self.record,
            netns.context("duplicate a descriptor")?,
            std::mem::take(&mut running.sentinels),
            running
                .clients
                .drain(..)
                .map(|(client, _)| client)
                .collect(),
        ))
    }

    /// Keeps what a DHCP server has given with the record.
    fn note_leases(&mut self, running: &Running) -> Result<()> {
        if running.clients.is_empty() {
            return Ok(());
        }
        for (client, lease) in &running.clients {
            let mut endpoints = self.record.endpoints.iter_mut();
            if let Some(endpoint) = endpoints.find(|endpoint| endpoint.ifname == client.dev()) {
                endpoint.ipv4 = Some(lease.address);
                endpoint.gateway = lease.router.filter(|_| !endpoint.internal);
            }
        }
        self.record.save(&self.home)
    }

    fn launch(&mut self) -> Result<(Running, Ends), Failure> {
        let input = match (self.record.request.tty, self.record.request.interactive) {
            (true, _) => Input::Terminal,
            (false, true) => Input::Pipe,
            (false, false) => Input::Nothing,
        };
        let (mut ends, stdio) = pipes(input)?;
        let mut narrator = Narrator {
            caller: &self.caller,
            style: self.explain.unwrap_or_default(),
            number: 0,
        };
        let mut silent = Silent;
        let (telling, told): (_, &mut dyn Listener) = match self.explain {
            Some(_) => (Telling::Steps, &mut narrator),
            None => (Telling::Failures, &mut silent),
        };
        let private = self.claim.lock_fds().chain([self.caller.as_raw_fd()]);
        let place = Place {
            stdio,
            private: private.collect(),
            trampoline: Some(sys::trampoline::open().context("make the program in memory")?),
            rootless: rootless::is(),
            // What the user has bound in is free when the container has ended: the next command may unmount it.
            hold_mounts: self.record.request.binds.is_empty(),
            ..Place::default()
        };
        let ahead = std::mem::take(&mut self.ahead);
        let mut running = launch::launch_from(&self.plan, place, ahead, telling, told)?;
        ends.master = running.master.take();
        Ok((running, ends))
    }

    fn listen(&self) -> Result<OwnedFd> {
        let directory = std::fs::File::open(self.claim.directory())
            .context("open the container's run directory")?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
            .context("make a socket")?;
        bind(listener.as_raw_fd(), &address_in(&directory.into())?)
            .context("bind the monitor's socket")?;
        listen(&listener, Backlog::new(16)?).context("listen")?;
        Ok(listener)
    }

    /// From the started program to the clean end. Whatever goes wrong on the way ends the container.
    fn keep(mut self, mut running: Running, mut pump: Pump) -> Result<()> {
        let mut lives = Lives::first();
        let mut begun = self.begin(&running, &mut pump);
        let (chores, failed, ended) = loop {
            let watched =
                begun.and_then(|state| self.watch(&running, &mut pump, state, &mut lives));
            // The caller has its answer: now the mounts may take their time.
            drop(running.mounts.take());
            let chores = pump.take_chores();
            // It may have been connected and disconnected since.
            self.plan.wire = wire::wire(&self.record.endpoints, &Client::default(), &[]);
            if let Err(error) = &watched {
                let _ = sys::pidfd_send_signal(running.pidfd.as_fd(), nix::libc::SIGKILL);
                let _ = exit_code(&running.pidfd);
                pump.farewell(&Message::Failed(exit::RMAC_FAILED, format!("{error:#}")));
                let _ = peers::leave(&self.home, &self.record.id, networks(&self.record));
            }
            let undone = launch::undo(&self.plan, running.netns.as_ref());
            let wait = match (watched, undone) {
                (Ok(Some(wait)), Ok(())) => wait,
                (Ok(Some(_)), Err(error)) => {
                    let _ = self.give_up(&mut pump, format!("{error:#}"));
                    break (chores, false, Err(error));
                }
                (watched, undone) => break (chores, watched.is_err(), watched.and(undone)),
            };
            // Nothing of it is left when it begins anew.
            drop((chores, running));
            match self.again(&mut pump, &mut lives, wait) {
                Some((next, state)) => {
                    (running, begun) = (next, Ok(state));
                    self.on_failure = OnFailure::Keep;
                }
                None => break (None, false, Ok(())),
            }
        };
        let discard = match failed {
            true => self.on_failure == OnFailure::Discard,
            false => self.record.request.auto_remove,
        };
        if discard {
            heal::discard(&self.home, &self.record);
        }
        let cleared = peers::clear(&self.home, networks(&self.record));
        // Here the claim goes: the next may start.
        drop(self.claim);
        // `exec` sees to it itself that its container knows who has gone.
        let told = peers::pass_on(&self.home, networks(&self.record));
        // Kept up to here: closing their sockets takes the kernel some 10 ms each.
        drop(chores);
        ended.and(cleared).and(told)
    }
}

/// Cuts the cord to the process that forked the monitor: its session, its directory, its terminal.
pub fn leave_the_caller() -> Result<()> {
    rootless::stay()?;
    nix::unistd::setsid().context("setsid")?;
    nix::unistd::chdir("/").context("chdir")?;
    // What the program inherits is Docker's, whatever the caller's is.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("open /dev/null")?;
    nix::unistd::dup2_stdin(&null).context("dup2")?;
    nix::unistd::dup2_stdout(&null).context("dup2")?;
    nix::unistd::dup2_stderr(&null).context("dup2")?;
    nix::sys::prctl::set_name(c"rmac-monitor").context("prctl(PR_SET_NAME)")?;
    Ok(())
}

/// The exit code of the process, which has ended: its own, or 128 and the signal's number.
pub fn exit_code(pidfd: &OwnedFd) -> Result<i32> {
    loop {
        match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => (),
            Err(errno) => return Err(errno).context("wait for the program"),
        }
    }
}

/// The ids of the container's networks.
pub fn networks(record: &Record) -> impl Iterator<Item = &str> {
    let endpoints = record.endpoints.iter();
    endpoints.map(|endpoint| endpoint.network_id.as_str())
}

/// Gives the container's addresses and user numbers back.
pub fn release(home: &Home, record: &Record) {
    if record.ids.is_some() {
        let _ = ids::release(home, &record.id);
    }
    for endpoint in &record.endpoints {
        let _ = leases::release(home, &endpoint.network_id, &record.id);
    }
}

/// Sends what is told of each step to the caller.
struct Narrator<'a> {
    caller: &'a OwnedFd,
    style: explain::Style,
    number: usize,
}

impl Listener for Narrator<'_> {
    fn took(&mut self, side: Side, step: &Step, time: Duration) {
        self.number += 1;
        let text = explain::tell(self.style, self.number, side, step, time);
        let _ = say(self.caller, &Message::Told(text));
    }
}

/// Ends the monitor's process without a word to anybody: its caller's exit handlers are not its own.
pub fn end(result: &Result<()>) -> ! {
    sys::exit_now(i32::from(result.is_err()))
}
