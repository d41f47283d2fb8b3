//! The monitor: the one process of rmac's that lives as long as its container.
//!
//! It makes the container, carries its input and output, waits for its end and cleans up. Its caller is
//! answered as soon as the answer is known; what the caller need not wait for (deleting a link takes the
//! kernel some 19 ms) comes after.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, bind, listen, socket};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::log::Log;
use super::pump::{Ends, Pump};
use super::{Message, address_in, heal, say};
use crate::kernel::terminal::Stdio;
use crate::launch::{self, Failure, Listener, Running, Side, Silent, Telling};
use crate::plan::Plan;
use crate::step::{Place, Step};
use crate::store::claim::Claim;
use crate::store::containers::{self, ProcessId, Record, State, Status};
use crate::store::{Home, leases};
use crate::sys;
use crate::{exit, explain};

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
    /// The socket to who started it.
    pub caller: OwnedFd,
    /// How much the caller wants to be told.
    pub explain: Option<explain::Style>,
    /// What to do when it cannot be started.
    pub on_failure: OnFailure,
}

impl Monitor {
    /// Lives the monitor's life; the caller of this function then exits.
    pub fn run(self) -> Result<()> {
        leave_the_caller()?;
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

    fn start(&self) -> Result<(Running, Pump), Failure> {
        let listener = self.listen()?;
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
        let private = [self.claim.lock_fd(), Some(self.caller.as_raw_fd())];
        let place = Place {
            stdio,
            private: private.into_iter().flatten().collect(),
            ..Place::default()
        };
        let mut running = launch::launch_at(&self.plan, place, telling, told)?;
        ends.master = running.master.take();
        let pump = Pump::new(
            ends,
            Log::new(self.record.log_path(&self.home)),
            Some(listener),
        )?;
        Ok((running, pump))
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
    fn keep(self, running: Running, mut pump: Pump) -> Result<()> {
        let watched = self.watch(&running, &mut pump);
        let discard = match &watched {
            Ok(()) => self.record.request.auto_remove,
            Err(error) => {
                let _ = sys::pidfd_send_signal(running.pidfd.as_fd(), nix::libc::SIGKILL);
                let _ = exit_code(&running.pidfd);
                pump.farewell(&Message::Failed(exit::RMAC_FAILED, format!("{error:#}")));
                self.on_failure == OnFailure::Discard
            }
        };
        let undone = launch::undo(&self.plan, running.netns.as_ref());
        if discard {
            heal::discard(&self.home, &self.record);
        }
        watched.and(undone)
    }

    fn watch(&self, running: &Running, pump: &mut Pump) -> Result<()> {
        pump.add_caller(
            self.caller
                .try_clone()
                .context("duplicate the caller's socket")?,
        );
        let mut state = State {
            status: Status::Running,
            process: Some(ProcessId::of(running.pid.as_raw())?),
            monitor: std::process::id() as i32,
            started: Some(Timestamp::now()),
            ..State::created()
        };
        state.save(&self.home, &self.record.id)?;
        pump.tell(&Message::Started(running.pid.as_raw()));
        // What others have left behind is cleared while nobody waits for us.
        heal::sweep(&self.home);

        pump.run(running.pidfd.as_fd())?;
        state.exit_code = exit_code(&running.pidfd)?;
        state.status = Status::Exited;
        state.process = None;
        state.finished = Some(Timestamp::now());
        if self.record.request.auto_remove {
            // The name is free at once; the addresses are when the link is gone, and say so meanwhile.
            for endpoint in &self.record.endpoints {
                let _ = leases::releasing(&self.home, &endpoint.network_id, &self.record.id);
            }
            containers::free_name(&self.home, &self.record.id, &self.record.name);
            containers::forget_record(&self.home, &self.record.id);
        } else {
            state.save(&self.home, &self.record.id)?;
        }
        pump.farewell(&Message::Exited(state.exit_code));
        Ok(())
    }
}

/// Cuts the cord to the process that forked the monitor: its session, its directory, its terminal.
pub fn leave_the_caller() -> Result<()> {
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

/// Where a program's input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A terminal, which is also its output.
    Terminal,
    /// A pipe (`-i`).
    Pipe,
    /// `/dev/null`.
    Nothing,
}

/// The program's ends and ours, where it has no terminal.
pub fn pipes(input: Input) -> Result<(Ends, Option<Stdio>)> {
    let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).context("make a pipe");
    let (their_input, input) = match input {
        Input::Terminal => return Ok((Ends::default(), None)),
        Input::Pipe => pipe().map(|(read, write)| (read, Some(write)))?,
        Input::Nothing => (
            std::fs::File::open("/dev/null")
                .context("open /dev/null")?
                .into(),
            None,
        ),
    };
    let (output, their_output) = pipe()?;
    let (error, their_error) = pipe()?;
    let ends = Ends {
        master: None,
        input,
        output: Some(output),
        error: Some(error),
    };
    Ok((
        ends,
        Some(Stdio::Pipes([their_input, their_output, their_error])),
    ))
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

/// Gives the container's addresses back.
pub fn release(home: &Home, record: &Record) {
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
