//! Hooks: programs of the engine's that run at fixed moments of a container's life.  OCI config.md, "POSIX-platform Hooks"
//!
//! Each hook gets the container's state as JSON on its standard input. Where it runs depends on the moment:
//! some run on the host, some in the container's namespaces, once with the host's files still in reach
//! (before the pivot) and once without.

use std::fmt;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use oci_spec::runtime::{ContainerState, Hook, Spec, State};

use crate::lesson::{Lesson, Shell};
use crate::sys;

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// On the host, when the namespaces and mounts are there (an older name for `CreateRuntime`).
    Prestart,
    /// On the host, when the namespaces and mounts are there, before the pivot.
    CreateRuntime,
    /// In the container's namespaces, before the pivot: its path is the host's.
    CreateContainer,
    /// In the container, when `start` has come.
    StartContainer,
    /// On the host, after the program has started.
    Poststart,
    /// On the host, after the container was deleted.
    Poststop,
}

/// What can be done about hooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Run one and wait for its end.
    Run {
        /// When.
        moment: Moment,
        /// What.
        hook: Hook,
        /// What it is told; the process number is added when it runs.
        state: State,
    },
}

/// The hooks of `spec` for `moment`; `state` says which container it is.
pub fn plan(spec: &Spec, moment: Moment, state: &State) -> Vec<Step> {
    let Some(hooks) = spec.hooks() else {
        return vec![];
    };
    #[allow(deprecated)]
    let (list, status) = match moment {
        Moment::Prestart => (hooks.prestart(), ContainerState::Created),
        Moment::CreateRuntime => (hooks.create_runtime(), ContainerState::Creating),
        Moment::CreateContainer => (hooks.create_container(), ContainerState::Creating),
        Moment::StartContainer => (hooks.start_container(), ContainerState::Created),
        Moment::Poststart => (hooks.poststart(), ContainerState::Running),
        Moment::Poststop => (hooks.poststop(), ContainerState::Stopped),
    };
    let mut state = state.clone();
    state.set_status(status);
    let process = spec.process().as_ref();
    let run = |hook: &Hook| {
        let mut hook = hook.clone();
        // What runs in the container's place gets the program's environment, unless it has its own.
        if moment == Moment::StartContainer && hook.env().is_none() {
            hook.set_env(process.and_then(|process| process.env().clone()));
        }
        let state = state.clone();
        Step::Run {
            moment,
            hook,
            state,
        }
    };
    list.iter().flatten().map(run).collect()
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        Lesson {
            why: "the engine asked for this program to run at this moment, such as to wire a network or to add a device",
            without: "what the engine adds to its containers would be missing",
            man: "OCI runtime-spec, config.md, \"POSIX-platform Hooks\"",
        }
    }

    /// The same as a command.
    pub fn shell(&self) -> Shell {
        let Step::Run { hook, moment, .. } = self;
        Shell::Note(format!("{moment:?}: {}", hook.path().display()))
    }

    /// Runs the hook; `pid` is the container's first process where the hook runs.
    ///
    /// # Errors
    /// It cannot be started, ends with anything but 0, or does not end in time.
    pub fn take(&self, pid: Option<Pid>) -> Result<()> {
        let Step::Run { hook, state, .. } = self;
        let mut state = state.clone();
        state.set_pid(pid.map(Pid::as_raw));
        let state = serde_json::to_vec(&state).context("put the state into JSON")?;
        run(hook, &state).with_context(|| self.to_string())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step::Run { hook, moment, .. } = self;
        write!(f, "execve({:?}) [{moment:?} hook]", hook.path())
    }
}

fn run(hook: &Hook, state: &[u8]) -> Result<()> {
    let mut command = Command::new(hook.path());
    if let Some([name, rest @ ..]) = hook.args().as_deref() {
        command.arg0(name).args(rest);
    }
    let pairs = hook.env().iter().flatten();
    command
        .env_clear()
        .envs(pairs.filter_map(|pair| pair.split_once('=')))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("start it")?;
    if let Some(mut input) = child.stdin.take() {
        // Whoever does not read its state has no use for it.
        let _ = input.write_all(state);
    }
    let ended = wait(&mut child, hook.timeout());
    if ended.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().context("wait for it")?;
    ended?;
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(error) = child.stderr.take() {
        let _ = error.take(1024).read_to_string(&mut said);
    }
    bail!("{status} {}", said.trim())
}

fn wait(child: &mut Child, timeout: Option<i64>) -> Result<()> {
    let Some(seconds) = timeout.filter(|seconds| *seconds > 0) else {
        return Ok(());
    };
    let pidfd = sys::pidfd_open(Pid::from_raw(child.id() as i32)).context("pidfd_open it")?;
    let limit = Duration::from_secs(seconds as u64);
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let mut ends = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    match poll(&mut ends, limit).context("wait for it")? {
        0 => bail!("it did not end within {seconds} s"),
        _ => Ok(()),
    }
}
