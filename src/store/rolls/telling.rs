//! Telling: whether the members of a network know who is on it, and who tells them.  flock(2)
//!
//! Who finds somebody else telling leaves his networks in a queue, and goes: one works for all who come at once.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{STAMP, lock, lock_shared, open, path};
use crate::store::{Home, write_running};

/// Whether the members of `network` all know who is on it. Costs two reads.
pub fn is_told(home: &Home, network: &str) -> bool {
    let mut head = [0; STAMP];
    let read = lock_shared(home)
        .and_then(|_lock| Ok(File::open(path(home, network))?.read_at(&mut head, 0)?));
    match read {
        Ok(length) => {
            let head = String::from_utf8_lossy(&head[..length]);
            head.lines().next().and_then(|line| line.parse().ok()) == told(home, network)
        }
        Err(_) => true,
    }
}

/// Notes that the members of `network` are about to be told: from here on some know more than others. For who holds
/// [`lock_telling`].
pub fn note_telling(home: &Home, network: &str) {
    let _ = std::fs::remove_file(done_path(home, network));
}

/// Notes that the members of `network` have been told of the roll with this stamp.
pub fn note_told(home: &Home, network: &str, stamp: u64) -> Result<()> {
    write_running(&done_path(home, network), stamp.to_string().as_bytes())
}

/// Waits for the right to be the one who tells.
pub fn lock_telling(home: &Home) -> Result<File> {
    lock(home, "telling.lock")
}

/// Takes the right to be the one who tells, unless somebody has it.
pub fn try_lock_telling(home: &Home) -> Result<Option<File>> {
    let file = open(home, "telling.lock")?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).context("lock telling.lock"),
    }
}

/// Asks the one who tells just now to go on with the members of `networks`. Whether he was still there to see it
/// shows whether the right can be taken afterwards.
pub fn queue(home: &Home, networks: &BTreeSet<String>) -> Result<()> {
    let mut queue = lock(home, "telling.queue")?;
    queue.seek(SeekFrom::End(0)).context("seek")?;
    let lines: String = networks.iter().map(|id| format!("{id}\n")).collect();
    queue
        .write_all(lines.as_bytes())
        .context("write telling.queue")
}

/// Whether somebody has asked so.
pub fn is_queued(home: &Home) -> bool {
    let path = home.runroot.join("networks/telling.queue");
    path.metadata().is_ok_and(|file| file.len() > 0)
}

/// What has been asked for, which is up to the caller now: he holds [`lock_telling`].
pub fn take_queue(home: &Home) -> Result<BTreeSet<String>> {
    if !is_queued(home) {
        return Ok(BTreeSet::new());
    }
    let mut queue = lock(home, "telling.queue")?;
    let mut text = String::new();
    queue
        .read_to_string(&mut text)
        .and_then(|_| queue.set_len(0))
        .context("read telling.queue")?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn told(home: &Home, network: &str) -> Option<u64> {
    let text = std::fs::read_to_string(done_path(home, network)).ok()?;
    text.trim_end().parse().ok()
}

pub(super) fn done_path(home: &Home, network: &str) -> PathBuf {
    home.runroot
        .join("networks")
        .join(format!("{network}.done"))
}
