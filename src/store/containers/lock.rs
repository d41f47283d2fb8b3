//! The lock of a container's record and state.  flock(2)
//!
//! It lies on the container's directory, and the kernel drops it with its holder.

use std::fs::{File, TryLockError};

use anyhow::{Context, Result};

use crate::store::{Home, summary};

/// The right to change the record and the state of a container: one that runs is its monitor's, but may be connected
/// to a network meanwhile. When it is given back, the container's [`Summary`](summary::Summary) says what the two say.
#[derive(Debug)]
pub struct Lock {
    home: Home,
    id: String,
    _directory: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        summary::renew(&self.home, &self.id);
    }
}

/// Waits for the right to change the record and the state of the container `id`.
pub fn lock(home: &Home, id: &str) -> Result<Lock> {
    let directory = open(home, id)?;
    let locked = directory.lock();
    locked.with_context(|| format!("lock {}", home.container(id).display()))?;
    Ok(held(home, id, directory))
}

/// As [`lock`]; `None` where somebody else has it.
pub fn try_lock(home: &Home, id: &str) -> Result<Option<Lock>> {
    let directory = open(home, id)?;
    match directory.try_lock() {
        Ok(()) => Ok(Some(held(home, id, directory))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("lock {}", home.container(id).display()))
        }
    }
}

fn open(home: &Home, id: &str) -> Result<File> {
    let path = home.container(id);
    File::open(&path).with_context(|| format!("open {}", path.display()))
}

fn held(home: &Home, id: &str, directory: File) -> Lock {
    Lock {
        home: home.clone(),
        id: id.to_owned(),
        _directory: directory,
    }
}
