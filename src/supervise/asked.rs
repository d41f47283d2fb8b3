//! The monitor itself is asked to end: it passes that on to its container.  signalfd(2), alarm(2)
//!
//! At a shutdown the init system sends SIGTERM to all that runs, the monitors among them, and SIGKILL some time
//! later. A monitor that died of the first would take its container with it, and nobody would write down how
//! that ended. So it does what `stop` does, and ends when the program has ended.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::kernel::signals::Signal;
use crate::store::containers::Record;
use crate::sys;

/// How long a program has to end in, in seconds, before it is killed: Docker's.
const DEFAULT_TIMEOUT: i64 = 10;

/// How the container wants to be stopped: by which signal, and after how many seconds it is killed (below 0:
/// never), where nobody says otherwise. docker-stop(1)
pub fn how(record: &Record) -> Result<(Signal, i64)> {
    let request = &record.request;
    let image = record.image_config.stop_signal();
    let wanted = request.stop_signal.as_deref().or(image.as_deref());
    let signal = wanted.unwrap_or("SIGTERM").parse()?;
    Ok((signal, request.stop_timeout.unwrap_or(DEFAULT_TIMEOUT)))
}

/// Hears the signals that ask the monitor to end.
#[derive(Debug)]
pub struct Asked {
    signals: SignalFd,
    signal: Signal,
    timeout: i64,
    heard: bool,
}

impl Asked {
    /// From now on SIGTERM does not end this process but is for [`Asked::turn`].
    pub fn listen(record: &Record) -> Result<Asked> {
        let (signal, timeout) = how(record)?;
        let mut set = SigSet::empty();
        set.add(Number::SIGTERM);
        set.add(Number::SIGALRM);
        set.thread_block().context("block SIGTERM")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&set, flags).context("signalfd")?;
        Ok(Asked {
            signals,
            signal,
            timeout,
            heard: false,
        })
    }

    /// What becomes readable when a signal has come.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Whether a signal has come.
    pub fn was_heard(&self) -> bool {
        self.heard
    }

    /// Passes what has come on to the program behind `pidfd`, if there is one just now: first the stop signal, and when
    /// its time is over SIGKILL.
    pub fn turn(&mut self, pidfd: Option<BorrowedFd<'_>>) {
        while let Ok(Some(heard)) = self.signals.read_signal() {
            self.heard = true;
            let Some(pidfd) = pidfd else { continue };
            let number = match heard.ssi_signo as i32 {
                libc::SIGALRM => libc::SIGKILL,
                _ => self.signal.number(),
            };
            let _ = sys::pidfd_send_signal(pidfd, number);
            if number != libc::SIGKILL && self.timeout >= 0 {
                // 0 would mean no alarm at all.
                nix::unistd::alarm::set(u32::try_from(self.timeout).unwrap_or(u32::MAX).max(1));
            }
        }
    }
}
