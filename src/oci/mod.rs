//! The second face: an OCI runtime, which an engine such as podman or containerd calls.  OCI runtime-spec, runtime.md
//!
//! An engine unpacks an image, writes a `config.json` beside it (together: the *bundle*), and lets a runtime
//! make a container of it. This face reads the bundle and hands its `Spec` to the same plan, steps and
//! launch as `rmac run`. What differs is who looks after the container: here it is the engine, so nothing
//! of rmac stays with it. `create` returns when the container waits at its gate
//! ([`crate::kernel::gate`]); `start` opens that.
//!
//! * [`cli`]: every verb and flag; no logic
//! * [`state`]: what is kept of a container, and what it is doing now
//! * [`bundle`]: from `config.json` to a spec that the plan can follow
//! * [`create`], [`start`], [`kill`], [`exec`]: the verbs that change a container
//! * [`agent`]: the program that answers system calls of a container's
//! * [`limits`]: pause, resume, update, and what the cgroup has counted
//! * [`show`]: the verbs that only tell
//! * [`log`]: the engine's log file

pub mod agent;
pub mod bundle;
pub mod cli;
pub mod create;
pub mod exec;
pub mod kill;
pub mod limits;
pub mod log;
pub mod show;
pub mod start;
pub mod state;

use anyhow::Result;

use crate::kernel::protect;
use cli::{Cli, Command};
use state::Store;

/// A failure with an exit code of its own: what a shell would see of the program that was to run.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Coded {
    /// The exit code.
    pub code: u8,
    /// What is told.
    pub text: String,
}

/// Does what was asked; the exit code.
///
/// # Errors
/// What is to be told, once, by the caller.
pub fn run(cli: Cli) -> Result<u8> {
    if matches!(
        cli.command,
        Command::Create(_) | Command::Run(_) | Command::Exec(_)
    ) {
        match nix::unistd::geteuid().is_root() {
            true => protect::protect()?,
            false => protect::protect_own_file()?,
        }
    }
    let log = log::Log::of(&cli);
    let store = Store::new(state::root(cli.root)?);
    match cli.command {
        Command::Create(args) => create::create(&store, &args, cli.systemd_cgroup, &log).map(|_| 0),
        Command::Run(args) => start::run(&store, &args, cli.systemd_cgroup, &log),
        Command::Start(one) => start::start(&store, &one.id, &log).map(|()| 0),
        Command::State(one) => show::state(&store, &one.id).map(|()| 0),
        Command::Kill(args) => kill::kill(&store, &args).map(|()| 0),
        Command::Delete(args) => kill::delete(&store, &args.id, args.force, &log).map(|()| 0),
        Command::List(args) => show::list(&store, &args).map(|()| 0),
        Command::Ps(args) => show::ps(&store, &args).map(|()| 0),
        Command::Exec(args) => exec::exec(&store, &args, cli.debug, &log),
        Command::Pause(one) => limits::pause(&store, &one.id).map(|()| 0),
        Command::Resume(one) => limits::resume(&store, &one.id).map(|()| 0),
        Command::Update(args) => limits::update(&store, &args).map(|()| 0),
        Command::Events(args) => limits::events(&store, &args).map(|()| 0),
        Command::Features => show::features().map(|()| 0),
        Command::Spec(args) => show::spec(&args).map(|()| 0),
    }
}

/// The exit code of a failure.
pub fn code_of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Coded>().map_or(1, |coded| coded.code)
}
