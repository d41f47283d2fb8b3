//! Who else has the processors: "idle otherwise", as a figure.  clock_getcpuclockid(3)
//!
//! A machine has programs of its own. One that looks at all processes every second, as agents for metrics do, is
//! hardly to be seen beside ten of them, and beside two thousand takes a tenth of a processor, in pieces of up to
//! 300 ms: a command that meets one is measured with half of a machine of two. So each run waits until the others have
//! been still for a moment, and is told apart if they were not while it lasted.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

/// How long they are to be still before a run: a part of the pause.
pub const STILL: Duration = Duration::from_millis(20);
/// How long that is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// What they may take of a processor in [`STILL`], and in any run, in milliseconds.
const HARMLESS: f64 = 0.2;
/// What they may take of a processor in a longer run, as a part of its time.
const HARMLESS_PART: f64 = 0.02;

/// The clocks of all programs that ran before the bench did.
pub struct Others(Vec<ClockId>);

impl Others {
    /// Looks for them: all that is not a kernel's thread, nor the bench. What is started later is the bench's.
    pub fn find() -> Result<Others> {
        let own = std::process::id();
        let entries = std::fs::read_dir("/proc").context("/proc")?;
        let clocks = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            // A kernel's thread has no program; what the kernel does is part of what is measured.
            std::fs::read_link(entry.path().join("exe")).ok()?;
            let other = pid.unsigned_abs() != own;
            other.then(|| clock_getcpuclockid(Pid::from_raw(pid)).ok())?
        });
        Ok(Others(clocks.collect()))
    }

    /// The processor time that they have taken, in milliseconds.
    fn time(&self) -> f64 {
        let times = self.0.iter().filter_map(|clock| clock.now().ok());
        times
            .map(|time| Duration::from(time).as_secs_f64())
            .sum::<f64>()
            * 1e3
    }

    /// Waits until they are still, for a while.
    pub fn wait_until_still(&self) {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let before = self.time();
            std::thread::sleep(STILL);
            if self.time() - before <= HARMLESS {
                return;
            }
        }
    }

    /// What `run` answers, a time in milliseconds, and whether they let it be.
    ///
    /// # Errors
    /// Those of `run`.
    pub fn beside(&self, run: impl FnOnce() -> Result<f64>) -> Result<(f64, bool)> {
        let before = self.time();
        let time = run()?;
        let taken = self.time() - before;
        Ok((time, taken <= HARMLESS.max(time * HARMLESS_PART)))
    }
}
