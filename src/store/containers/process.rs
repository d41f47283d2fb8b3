//! A process and its number, which another one may have later.  proc_pid_stat(5)

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A process that can be told from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number in the host's pid namespace.
    pub pid: i32,
    /// When it was started, in clock ticks since boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
}

impl ProcessId {
    /// The process that now has the number `pid`.
    pub fn of(pid: i32) -> Result<Self> {
        let (_, start_time) = look_at(pid).with_context(|| format!("process {pid} is gone"))?;
        Ok(ProcessId { pid, start_time })
    }

    /// Tells whether that process is still there.
    pub fn is_alive(&self) -> bool {
        look_at(self.pid).is_some_and(|(state, start_time)| {
            start_time == self.start_time && !matches!(state, 'Z' | 'X')
        })
    }
}

/// The state and the start time of a process. A zombie still has both.
fn look_at(pid: i32) -> Option<(char, u64)> {
    let text =
        std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The second field is the command in brackets and may itself hold spaces and brackets.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}
