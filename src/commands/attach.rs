//! `attach` and `wait`: callers of a monitor that somebody else started.

use std::io::IsTerminal;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signalfd::SignalFd;

use super::run::{ended, options};
use crate::cli::container::{AttachArgs, Names};
use crate::store::Home;
use crate::store::claim;
use crate::store::containers::{self, Record, State, Status};
use crate::supervise::client::{self, End, Options};
use crate::supervise::{Message, call, hear, say};

/// `rmac attach`.
pub fn attach(home: &Home, args: &AttachArgs) -> Result<u8> {
    let record = containers::find(home, &args.container)?;
    if is_restarting(home, &record)? {
        bail!("You cannot attach to a restarting container, wait until it is running");
    }
    let state = running(
        home,
        &record,
        "You cannot attach to a stopped container, start it first",
    )?;
    let mut options = options(&record.request, args.sig_proxy)?;
    options.input &= !args.no_stdin;
    if let Some(keys) = &args.detach_keys {
        options.detach_keys = client::parse_detach_keys(keys)?;
    }
    if options.tty && options.input && !std::io::stdin().is_terminal() {
        bail!("the input device is not a TTY");
    }
    let signals = client::catch_signals(&options)?;
    let socket = call(&home.running(&record.id))?;
    say(&socket, &Message::Attach).context("attach")?;
    let pid = state.process.map_or(0, |process| process.pid);
    match client::attach(&socket, &signals, pid, &options)? {
        // It ended between our look and our call.
        End::Lost => Ok(final_code(home, &record)? as u8),
        end => ended(end),
    }
}

/// `rmac wait`.
pub fn wait(home: &Home, args: &Names) -> Result<u8> {
    super::each(&args.containers, |name| {
        let record = containers::find(home, name)?;
        let state = State::load(home, &record.id)?;
        if state.is_some_and(|state| state.status == Status::Created) {
            // As Docker: a container that never ran is waited for until it has.
            while State::load(home, &record.id)?
                .is_some_and(|state| state.status == Status::Created)
            {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(wait_for_end(home, &record)?.to_string())
    })
}

/// Waits until the container's program has ended; its exit code.
pub fn wait_for_end(home: &Home, record: &Record) -> Result<i32> {
    if let Ok(socket) = call(&home.running(&record.id)) {
        while let Some(message) = hear(&socket)? {
            if let Message::Exited(code) = message {
                return Ok(code);
            }
        }
    }
    final_code(home, record)
}

/// What a container that is not running any more has left as its exit code.
fn final_code(home: &Home, record: &Record) -> Result<i32> {
    claim::wait_until_free(home, &record.id, client::PATIENCE);
    let state = State::load(home, &record.id)?;
    Ok(state
        .with_context(|| format!("No such container: {}", record.name))?
        .exit_code)
}

/// Whether the container waits to be started again, by its restart policy.
pub fn is_restarting(home: &Home, record: &Record) -> Result<bool> {
    let state = State::load(home, &record.id)?;
    Ok(state.is_some_and(|state| state.status == Status::Restarting))
}

/// The state of a container that runs.
///
/// # Errors
/// `otherwise` where it does not; Docker's words where it waits to be started again.
pub fn running(home: &Home, record: &Record, otherwise: &str) -> Result<State> {
    let state = State::load(home, &record.id)?;
    let alive = |state: &State| {
        state.status == Status::Running && state.process.is_some_and(|process| process.is_alive())
    };
    if state
        .as_ref()
        .is_some_and(|state| state.status == Status::Restarting)
    {
        bail!(
            "Container {} is restarting, wait until the container is running",
            record.id
        );
    }
    state.filter(alive).with_context(|| otherwise.to_owned())
}

/// After a start: waits for the monitor's word, then stays attached where that is wanted.
pub fn follow(socket: &OwnedFd, attached: Option<(&SignalFd, &Options)>) -> Result<u8> {
    let pid = match client::wait_for_start(socket)? {
        Ok(pid) => pid,
        Err(end) => return ended(end),
    };
    match attached {
        Some((signals, options)) => ended(client::attach(socket, signals, pid, options)?),
        None => Ok(0),
    }
}
