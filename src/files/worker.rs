//! A process of its own for what is done in a container's tree, and what it tells the command.  fork(2), pipe(2)
//!
//! It dies with the command, and the mounts that were made for it with both: nothing is left to clean up.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::{OwnedFd, RawFd};

use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use nix::libc::SIGKILL;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid, pipe2};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::sys;

/// What the process says: one line of JSON each.
#[derive(Serialize, Deserialize)]
enum Word<T> {
    Head(T),
    Failed(String),
}

/// The process, as the command sees it.
pub struct Worker {
    /// Until it has been waited for.
    pid: Option<Pid>,
    words: BufReader<File>,
}

/// The process's way to tell the command something.
pub struct Speaker(File);

impl Speaker {
    /// Says what the command needs to know before the archive comes or goes.
    pub fn head<T: Serialize>(&mut self, head: T) -> Result<()> {
        self.say(&Word::Head(head))
    }

    fn say<T: Serialize>(&mut self, word: &Word<T>) -> Result<()> {
        let mut line = serde_json::to_vec(word)?;
        line.push(b'\n');
        self.0.write_all(&line).context("tell the command")
    }
}

/// A pipe of which both ends are closed by a program that is started.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).context("make a pipe")?;
    // More at once; where that is refused, it only takes longer.
    let _ = nix::fcntl::fcntl(&write, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1 << 20));
    Ok((read, write))
}

/// Starts `work` in a process of its own, which closes the command's descriptors `not_its_own` first.
///
/// # Errors
/// fork(2) fails.
pub fn start(
    not_its_own: &[RawFd],
    work: impl FnOnce(&mut Speaker) -> Result<()>,
) -> Result<Worker> {
    let (read, write) = pipe()?;
    let command = getpid();
    match sys::fork().context("fork")? {
        Some(pid) => Ok(Worker {
            pid: Some(pid),
            words: BufReader::new(File::from(read)),
        }),
        None => {
            // A panic must not unwind into the command's code.
            let _guard = EndOnDrop;
            drop(read);
            not_its_own.iter().for_each(|fd| sys::close(*fd));
            let mut speaker = Speaker(File::from(write));
            let done = alone(command).and_then(|()| work(&mut speaker));
            let failed = done.err().filter(|error| !nobody_reads(error));
            let failed = failed.map(|error| format!("{error:#}"));
            let code = i32::from(failed.is_some());
            if let Some(text) = failed {
                let _ = speaker.say(&Word::<()>::Failed(text));
            }
            sys::exit_now(code)
        }
    }
}

/// Whether the other end of a pipe was closed, whose holder knows better what happened.
pub fn nobody_reads(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.any(|cause| cause.kind() == ErrorKind::BrokenPipe)
}

struct EndOnDrop;

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        sys::exit_now(125);
    }
}

/// Goes with the command, and is looked into by nobody (proc(5), ptrace(2)).
fn alone(command: Pid) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("prctl(PR_SET_PDEATHSIG)")?;
    if getppid() != command {
        sys::exit_now(128 + SIGKILL);
    }
    nix::sys::prctl::set_dumpable(false).context("prctl(PR_SET_DUMPABLE)")?;
    umask(Mode::empty());
    Ok(())
}

impl Worker {
    /// Waits for what the process says first.
    ///
    /// # Errors
    /// It has failed, and said why.
    pub fn head<T: DeserializeOwned>(&mut self) -> Result<T> {
        match self.word()? {
            Some(Word::Head(head)) => Ok(head),
            Some(Word::Failed(text)) => bail!("{text}"),
            None => bail!("the process in the container has ended without a word"),
        }
    }

    /// Waits for the process's end.
    ///
    /// # Errors
    /// It has failed, and said why.
    pub fn end(mut self) -> Result<()> {
        let word = self.word::<serde_json::Value>();
        match (word?, self.wait()?) {
            (Some(Word::Failed(text)), _) => bail!("{text}"),
            (_, WaitStatus::Exited(_, 0)) => Ok(()),
            _ => bail!("the process in the container was killed"),
        }
    }

    fn wait(&mut self) -> Result<WaitStatus> {
        let pid = self.pid.take().context("it was waited for already")?;
        waitpid(pid, None).context("wait for the process in the container")
    }

    fn word<T: DeserializeOwned>(&mut self) -> Result<Option<Word<T>>> {
        let mut line = String::new();
        self.words
            .read_line(&mut line)
            .context("hear from the process in the container")?;
        match line.is_empty() {
            true => Ok(None),
            false => serde_json::from_str(&line)
                .map(Some)
                .context("an unknown word"),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(pid) = self.pid.take() {
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        }
    }
}
