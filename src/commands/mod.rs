//! One verb a file: arguments in, text out.
//!
//! A verb checks what it was given, calls the core, and prints. It returns the exit code; an error is
//! printed once, by `main`.

pub mod attach;
pub mod exec;
pub mod image;
pub mod inspect;
pub mod lab;
pub mod logs;
pub mod network;
pub mod pause;
pub mod ps;
pub mod rename;
pub mod request;
pub mod rm;
pub mod run;
pub mod start;
pub mod stop;
pub mod top;
pub mod version;
pub mod volume;

use anyhow::{Result, bail};

use crate::cli::container::ContainerCommand;
use crate::cli::image::ImageCommand;
use crate::cli::network::NetworkCommand;
use crate::cli::{Cli, Command};
use crate::exit;
use crate::store::Home;
use crate::supervise::heal;

/// The exit code of a failure of the verb itself.
pub fn usual_failure(command: &Command) -> u8 {
    match command {
        Command::Run(_) | Command::Container(ContainerCommand::Run(_)) => exit::RMAC_FAILED,
        _ => 1,
    }
}

/// Does what the command line says; the exit code.
pub fn run(cli: Cli) -> Result<u8> {
    let home = Home {
        root: absolute(&cli.roots.root)?,
        runroot: absolute(&cli.roots.runroot)?,
    };
    match &cli.command {
        Command::Version(args) => return version::version(args),
        Command::Completion(args) => return version::completion(args),
        _ => require_root()?,
    }
    if needs_order(&cli.command) {
        heal::sweep(&home);
    }
    dispatch(&home, cli.command)
}

/// Whether the verb wants what dead monitors have left cleaned up first. A start does not wait for that: its
/// monitor does it afterwards. `inspect` looks after what it shows.
fn needs_order(command: &Command) -> bool {
    let looks_only = matches!(
        command,
        Command::Network(NetworkCommand::Ls(_)) | Command::Images(_) | Command::Inspect(_)
    );
    !looks_only
        && !matches!(
            command,
            Command::Run(_) | Command::Exec(_) | Command::Lab(_)
        )
}

/// A container with rights that look through a process's walls (CAP_SYS_PTRACE), or whose process 1 is rmac's
/// own (`--init`), meets rmac only as a file on a mount that cannot be written. Others never meet its file at
/// all (see [`crate::sys::trampoline`]), so they are spared the second start of the program.
fn protect(request: &crate::request::Request) -> Result<()> {
    if request.init || request.privileged || !request.cap_add.is_empty() {
        crate::kernel::protect::protect()?;
    }
    Ok(())
}

fn dispatch(home: &Home, command: Command) -> Result<u8> {
    match command {
        Command::Run(args) => run::run(home, &args),
        Command::Create(args) => run::create(home, &args),
        Command::Start(args) => start::start(home, &args),
        Command::Exec(args) => exec::exec(home, &args),
        Command::Stop(args) => stop::stop(home, &args),
        Command::Kill(args) => stop::kill(home, &args),
        Command::Restart(args) => start::restart(home, &args),
        Command::Pause(args) => pause::pause(home, &args),
        Command::Unpause(args) => pause::unpause(home, &args),
        Command::Rename(args) => rename::rename(home, &args),
        Command::Top(args) => top::top(home, &args),
        Command::Wait(args) => attach::wait(home, &args),
        Command::Rm(args) => rm::rm(home, &args),
        Command::Ps(args) => ps::ps(home, &args),
        Command::Logs(args) => logs::logs(home, &args),
        Command::Attach(args) => attach::attach(home, &args),
        Command::Inspect(args) => inspect::inspect(home, &args),
        Command::Container(command) => container(home, command),
        Command::Pull(args) => image::pull(home, &args),
        Command::Images(args) => image::images(home, &args),
        Command::Rmi(args) => image::rmi(home, &args),
        Command::Load(args) => image::load(home, &args),
        Command::Import(args) => image::import(home, &args),
        Command::Image(command) => images(home, command),
        Command::Network(command) => network::run(home, &command).map(|()| 0),
        Command::Lab(args) => lab::run(home, &args),
        Command::Version(args) => version::version(&args),
        Command::Completion(args) => version::completion(&args),
    }
}

fn container(home: &Home, command: ContainerCommand) -> Result<u8> {
    match command {
        ContainerCommand::Run(args) => run::run(home, &args),
        ContainerCommand::Create(args) => run::create(home, &args),
        ContainerCommand::Start(args) => start::start(home, &args),
        ContainerCommand::Exec(args) => exec::exec(home, &args),
        ContainerCommand::Stop(args) => stop::stop(home, &args),
        ContainerCommand::Kill(args) => stop::kill(home, &args),
        ContainerCommand::Restart(args) => start::restart(home, &args),
        ContainerCommand::Pause(args) => pause::pause(home, &args),
        ContainerCommand::Unpause(args) => pause::unpause(home, &args),
        ContainerCommand::Rename(args) => rename::rename(home, &args),
        ContainerCommand::Top(args) => top::top(home, &args),
        ContainerCommand::Wait(args) => attach::wait(home, &args),
        ContainerCommand::Rm(args) => rm::rm(home, &args),
        ContainerCommand::Ls(args) => ps::ps(home, &args),
        ContainerCommand::Logs(args) => logs::logs(home, &args),
        ContainerCommand::Attach(args) => attach::attach(home, &args),
        ContainerCommand::Inspect(args) => inspect::inspect(
            home,
            &crate::cli::container::InspectArgs {
                kind: Some("container".into()),
                ..args
            },
        ),
    }
}

fn images(home: &Home, command: ImageCommand) -> Result<u8> {
    match command {
        ImageCommand::Ls(args) => image::images(home, &args),
        ImageCommand::Pull(args) => image::pull(home, &args),
        ImageCommand::Rm(args) => image::rmi(home, &args),
        ImageCommand::Load(args) => image::load(home, &args),
        ImageCommand::Import(args) => image::import(home, &args),
        ImageCommand::Inspect(args) => inspect::images(home, &args),
    }
}

/// Does `act` for each of `names`, printing what it returns; goes on after an error, as Docker does.
///
/// # Errors
/// All errors, a line each.
pub fn each(names: &[String], mut act: impl FnMut(&str) -> Result<String>) -> Result<u8> {
    let mut errors = vec![];
    for name in names {
        match act(name) {
            Ok(line) => println!("{line}"),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    if errors.is_empty() {
        Ok(0)
    } else {
        bail!(errors.join("\nrmac: "))
    }
}

fn require_root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "permission denied: rmac makes namespaces, mounts and links, which takes root (try sudo)"
        );
    }
    Ok(())
}

fn absolute(path: &std::path::Path) -> Result<std::path::PathBuf> {
    Ok(std::path::absolute(path)?)
}
