//! `--restart`: the monitor starts its program again, after a while, as often as the container's policy wants it.
//!
//! ```text
//! the program has ended     state: restarting, until when, or exited     by who holds the lock of the state
//! links, cgroup, mounts     taken down; claim, addresses, names stay     as with every end
//! rest                      poll(2), until then or until somebody stops it
//! launch                    by the record as it is now
//! the program runs          state: running, unless somebody has stopped it meanwhile    by who holds the lock
//! ```
//!
//! Who stops a container says so in its state first ([`stop`]), under the same lock; so whenever that comes, either the
//! monitor finds it, or he finds a program that he can end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;

use super::{Monitor, networks};
use crate::kernel::cgroups::Layout;
use crate::launch::Running;
use crate::request::Restart;
use crate::store::Home;
use crate::store::containers::{self, Record, State, Status};
use crate::supervise::pump::{Pump, Woken};
use crate::supervise::{Message, call, peers, say, sharing, start};

/// Docker's first delay. Each is twice the one before.
const FIRST: Duration = Duration::from_millis(100);
/// Docker's longest.
const LONGEST: Duration = Duration::from_secs(60);
/// A program that has run for so long begins with the first delay again.
const LONG: Duration = Duration::from_secs(10);

/// The lives of a container since somebody has started it.
#[derive(Debug)]
pub(super) struct Lives {
    /// How many times it was started again.
    restarts: u32,
    delay: Duration,
    began: Instant,
}

impl Lives {
    /// The first, which begins now.
    pub(super) fn first() -> Lives {
        Lives {
            restarts: 0,
            delay: Duration::ZERO,
            began: Instant::now(),
        }
    }

    /// Whether it was not started again yet.
    pub(super) fn is_first(&self) -> bool {
        self.restarts == 0
    }

    /// How long after its end the program is to be started again, if it is; `state` says how it ended, and is told.
    pub(super) fn end(&mut self, policy: Restart, state: &mut State) -> Option<Duration> {
        (state.status, state.restarts) = (Status::Exited, self.restarts);
        if state.stopped || !policy.again(state.exit_code, self.restarts) {
            return None;
        }
        self.delay = next_delay(self.delay, self.began.elapsed());
        self.restarts += 1;
        (state.status, state.restarts) = (Status::Restarting, self.restarts);
        Some(self.delay)
    }
}

/// The delay after `last`, for a program that ran for `ran`.
fn next_delay(last: Duration, ran: Duration) -> Duration {
    match last.is_zero() || ran >= LONG {
        true => FIRST,
        false => (last * 2).min(LONGEST),
    }
}

/// Says in the state of the container of `record` that somebody has stopped it; whether it waits for its restart just
/// now, or is at it. Then the monitor is to be [called](call_off). One without a restart policy needs no word.
pub fn stop(home: &Home, record: &Record) -> Result<bool> {
    let waits = |state: &State| state.status == Status::Restarting;
    // Its policy may have been taken away while it waited.
    if record.request.restart == Restart::No
        && !State::load(home, &record.id)?.is_some_and(|state| waits(&state))
    {
        return Ok(false);
    }
    let _lock = containers::lock(home, &record.id)?;
    let Some(mut state) = State::load(home, &record.id)?.filter(|state| state.status.is_up())
    else {
        return Ok(false);
    };
    state.stopped = true;
    state.save(home, &record.id)?;
    Ok(waits(&state))
}

/// Calls the monitor of a container that somebody has [stopped](stop), and waits for its end, at most `patience`;
/// whether that came.
pub fn call_off(home: &Home, record: &Record, patience: Duration) -> bool {
    // It may be just going.
    if let Ok(monitor) = call(&home.running(&record.id)) {
        let _ = say(&monitor, &Message::Stopped);
    }
    crate::store::claim::wait_until_free(home, &record.id, patience)
}

impl Monitor {
    /// Starts the program again `wait` from now; `None` where that has been called off, or failed: then the container
    /// has come to its end.
    pub(super) fn again(
        &mut self,
        pump: &mut Pump,
        lives: &mut Lives,
        wait: Duration,
    ) -> Option<(Running, State)> {
        let deadline = Instant::now() + wait;
        // Its peers may not know it yet, if its run was short.
        let _ = peers::pass_on(&self.home, networks(&self.record));
        let begun = self.rest_and_launch(pump, lives, deadline);
        let error = match begun {
            Ok(Some(begun)) => return Some(begun),
            Ok(None) => String::new(),
            Err(error) => format!("{error:#}"),
        };
        let _ = self.give_up(pump, error);
        None
    }

    fn rest_and_launch(
        &mut self,
        pump: &mut Pump,
        lives: &mut Lives,
        deadline: Instant,
    ) -> Result<Option<(Running, State)>> {
        loop {
            match pump.rest(deadline)? {
                Woken::Asked => return Ok(None),
                Woken::Called if self.is_stopped()? => return Ok(None),
                Woken::Called => (),
                Woken::InTime => break,
            }
        }
        if self.is_stopped()? {
            return Ok(None);
        }
        self.record = Record::load(&self.home, &self.record.id)?.context("the record is gone")?;
        sharing::check(&self.home, &self.record)?;
        self.plan = start::plan_of(&self.home, &self.record, &Layout::detect()?)?;
        self.explain = None;
        let (mut running, ends) = self.make().map_err(|failure| failure.error)?;
        lives.began = Instant::now();
        let noted = self.note_leases(&running);
        let begun = noted
            .and_then(|()| pump.renew(ends))
            .and_then(|()| self.begin_again(&mut running, pump));
        if let Ok(Some(state)) = begun {
            return Ok(Some((running, state)));
        }
        drop(pump.take_chores());
        self.abandon(&running)?;
        begun.map(|_| None)
    }

    /// Notes that the program runs again; `None` where somebody has stopped it meanwhile.
    fn begin_again(&mut self, running: &mut Running, pump: &mut Pump) -> Result<Option<State>> {
        pump.add_chores(self.chores(running)?);
        let lock = containers::lock(&self.home, &self.record.id)?;
        let before = State::load(&self.home, &self.record.id)?.context("the state is gone")?;
        if before.stopped {
            return Ok(None);
        }
        let state = State {
            restarts: before.restarts,
            finished: before.finished,
            ..self.running_state(running)?
        };
        state.save(&self.home, &self.record.id)?;
        let record = Record::load(&self.home, &self.record.id)?.context("the record is gone")?;
        drop(lock);
        // Connected since we looked: who did that has found nothing that ran.
        let as_launched = std::mem::replace(&mut self.record, record);
        if as_launched.endpoints != self.record.endpoints {
            pump.reload();
        }
        Ok(Some(state))
    }

    fn is_stopped(&self) -> Result<bool> {
        let state = State::load(&self.home, &self.record.id)?;
        Ok(state.is_none_or(|state| state.stopped))
    }

    /// The container that waits to be started again has come to its end, for the reason `error`, if there is one.
    pub(super) fn give_up(&self, pump: &mut Pump, error: String) -> Result<()> {
        let lock = containers::lock(&self.home, &self.record.id)?;
        let mut state = State::load(&self.home, &self.record.id)?.context("the state is gone")?;
        ensure!(state.status == Status::Restarting, "it does not wait");
        (state.status, state.error) = (Status::Exited, error);
        state.finished = state.finished.or(Some(Timestamp::now()));
        state.save(&self.home, &self.record.id)?;
        drop(lock);
        pump.close();
        let left = peers::leave(&self.home, &self.record.id, networks(&self.record));
        pump.farewell(&Message::Exited(state.exit_code));
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_minute_and_begin_again_after_a_long_run() {
        let mut delay = Duration::ZERO;
        let mut all = vec![];
        for _ in 0..12 {
            delay = next_delay(delay, Duration::from_secs(1));
            all.push(delay.as_millis());
        }
        let doubled = [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200];
        assert_eq!(all[..10], doubled);
        assert_eq!(all[10..], [60_000, 60_000]);
        assert_eq!(next_delay(delay, LONG), FIRST);
        assert_eq!(next_delay(Duration::ZERO, Duration::ZERO), FIRST);
    }

    #[test]
    fn an_end_is_counted_and_who_was_stopped_stays_so() {
        let mut lives = Lives::first();
        let mut failed = State {
            exit_code: 1,
            ..State::created()
        };
        let policy = Restart::OnFailure(2);
        assert_eq!(lives.end(policy, &mut failed), Some(FIRST));
        assert_eq!((failed.status, failed.restarts), (Status::Restarting, 1));
        assert_eq!(lives.end(policy, &mut failed), Some(2 * FIRST));
        assert_eq!(lives.end(policy, &mut failed), None);
        assert_eq!((failed.status, failed.restarts), (Status::Exited, 2));
        failed.stopped = true;
        assert_eq!(lives.end(Restart::Always, &mut failed), None);
        assert_eq!(lives.end(Restart::UnlessStopped, &mut failed), None);
    }
}
