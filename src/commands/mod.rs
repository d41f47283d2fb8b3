//! One verb a file: arguments in, text out.
//!
//! A verb checks what it was given, calls the core, and prints. It returns the exit code; an error is
//! printed once, by `main`.

pub mod attach;
pub mod copy;
pub mod diff;
pub mod exec;
pub mod export;
pub mod filter;
pub mod history;
pub mod image;
pub mod info;
pub mod inspect;
pub mod lab;
pub mod login;
pub mod logs;
pub mod network;
pub mod pause;
pub mod port;
pub mod prune;
pub mod ps;
pub mod rename;
pub mod request;
pub mod rm;
pub mod run;
pub mod start;
pub mod stats;
pub mod stop;
pub mod top;
pub mod update;
pub mod usage;
pub mod version;
pub mod volume;
pub mod volumes;

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::cli::container::ContainerCommand;
use crate::cli::image::ImageCommand;
use crate::cli::network::NetworkCommand;
use crate::cli::system::SystemCommand;
use crate::cli::{Cli, Command, ROOT, RUNROOT, Roots};
use crate::exit;
use crate::out::stream::outln;
use crate::request::Pids;
use crate::store::Home;
use crate::supervise::{heal, rootless};

/// The exit code of a failure of the verb itself.
pub fn usual_failure(command: &Command) -> u8 {
    match command {
        Command::Run(_) | Command::Container(ContainerCommand::Run(_)) => exit::RMAC_FAILED,
        _ => 1,
    }
}

/// Does what the command line says; the exit code.
pub fn run(cli: Cli) -> Result<u8> {
    let user = !nix::unistd::geteuid().is_root();
    let home = home(&cli.roots, user)?;
    match &cli.command {
        Command::Version(args) => return version::version(args),
        Command::Completion(args) => return version::completion(args),
        Command::Login(args) => return login::login(args),
        Command::Logout(args) => return login::logout(args),
        _ if user => {
            require_nothing_of_roots(&cli.command)?;
            if starts_programs(&cli.command) {
                crate::kernel::protect::protect_own_file()?;
            }
            rootless::enter(&home)?;
        }
        _ => (),
    }
    if needs_order(&cli.command) {
        heal::sweep(&home);
    }
    dispatch(&home, cli.command)
}

fn starts_programs(command: &Command) -> bool {
    matches!(
        command,
        Command::Run(_)
            | Command::Start(_)
            | Command::Restart(_)
            | Command::Exec(_)
            | Command::Container(
                ContainerCommand::Run(_)
                    | ContainerCommand::Start(_)
                    | ContainerCommand::Restart(_)
                    | ContainerCommand::Exec(_)
            )
    )
}

/// Whether the verb wants what dead monitors have left cleaned up first. A start does not wait for that: its
/// monitor does it afterwards. `ps` does it in passing, and `inspect` looks after what it shows.
fn needs_order(command: &Command) -> bool {
    let looks_only = matches!(
        command,
        Command::Network(NetworkCommand::Ls(_))
            | Command::Images(_)
            | Command::Inspect(_)
            | Command::History(_)
            | Command::Tag(_)
    );
    !looks_only
        && !matches!(
            command,
            Command::Run(_)
                | Command::Exec(_)
                | Command::Ps(_)
                | Command::Container(ContainerCommand::Ls(_))
                | Command::Lab(_)
        )
}

/// A container with rights that look through a process's walls (CAP_SYS_PTRACE), or whose process 1 is rmac's
/// own (`--init`), meets rmac only as a file on a mount that cannot be written. Others never meet its file at
/// all (see [`crate::sys::trampoline`]), so they are spared the second start of the program.
fn protect(request: &crate::request::Request) -> Result<()> {
    let more = request.init
        || request.privileged
        || !request.cap_add.is_empty()
        || request.pid != Pids::Own;
    // An ordinary user's has been copied where he may write to it.
    if more && !rootless::is() {
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
        Command::Cp(args) => copy::cp(home, &args),
        Command::Diff(args) => diff::diff(home, &args),
        Command::Export(args) => export::export(home, &args),
        Command::Stop(args) => stop::stop(home, &args),
        Command::Kill(args) => stop::kill(home, &args),
        Command::Restart(args) => start::restart(home, &args),
        Command::Pause(args) => pause::pause(home, &args),
        Command::Unpause(args) => pause::unpause(home, &args),
        Command::Rename(args) => rename::rename(home, &args),
        Command::Update(args) => update::update(home, &args),
        Command::Stats(args) => stats::stats(home, &args),
        Command::Top(args) => top::top(home, &args),
        Command::Wait(args) => attach::wait(home, &args),
        Command::Rm(args) => rm::rm(home, &args),
        Command::Ps(args) => ps::ps(home, &args),
        Command::Logs(args) => logs::logs(home, &args),
        Command::Attach(args) => attach::attach(home, &args),
        Command::Port(args) => port::port(home, &args),
        Command::Inspect(args) => inspect::inspect(home, &args),
        Command::Container(command) => container(home, command),
        Command::Pull(args) => image::pull(home, &args),
        Command::Login(args) => login::login(&args),
        Command::Logout(args) => login::logout(&args),
        Command::Images(args) => image::images(home, &args),
        Command::Rmi(args) => image::rmi(home, &args),
        Command::History(args) => history::history(home, &args),
        Command::Tag(args) => image::tag(home, &args),
        Command::Load(args) => image::load(home, &args),
        Command::Import(args) => image::import(home, &args),
        Command::Image(command) => images(home, command),
        Command::Network(command) => network::run(home, &command).map(|()| 0),
        Command::Volume(command) => volumes::run(home, &command),
        Command::Info(args) => info::info(home, &args),
        Command::System(command) => system(home, &command),
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
        ContainerCommand::Cp(args) => copy::cp(home, &args),
        ContainerCommand::Diff(args) => diff::diff(home, &args),
        ContainerCommand::Export(args) => export::export(home, &args),
        ContainerCommand::Stop(args) => stop::stop(home, &args),
        ContainerCommand::Kill(args) => stop::kill(home, &args),
        ContainerCommand::Restart(args) => start::restart(home, &args),
        ContainerCommand::Pause(args) => pause::pause(home, &args),
        ContainerCommand::Unpause(args) => pause::unpause(home, &args),
        ContainerCommand::Rename(args) => rename::rename(home, &args),
        ContainerCommand::Update(args) => update::update(home, &args),
        ContainerCommand::Stats(args) => stats::stats(home, &args),
        ContainerCommand::Top(args) => top::top(home, &args),
        ContainerCommand::Wait(args) => attach::wait(home, &args),
        ContainerCommand::Rm(args) => rm::rm(home, &args),
        ContainerCommand::Port(args) => port::port(home, &args),
        ContainerCommand::Prune(args) => prune::containers(home, &args),
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
        ImageCommand::History(args) => history::history(home, &args),
        ImageCommand::Prune(args) => prune::images(home, &args),
        ImageCommand::Tag(args) => image::tag(home, &args),
        ImageCommand::Load(args) => image::load(home, &args),
        ImageCommand::Import(args) => image::import(home, &args),
        ImageCommand::Inspect(args) => inspect::images(home, &args),
    }
}

fn system(home: &Home, command: &SystemCommand) -> Result<u8> {
    match command {
        SystemCommand::Df(args) => usage::df(home, args),
        SystemCommand::Info(args) => info::info(home, args),
        SystemCommand::Prune(args) => prune::system(home, args),
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
            Ok(line) => outln!("{line}"),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    if errors.is_empty() {
        Ok(0)
    } else {
        bail!(errors.join("\nrmac: "))
    }
}

/// The same, side by side as Docker does it, for what waits for containers to end. The lines come in the order of
/// `names` all the same. What `act` does must not make a process, which wants a single thread.
///
/// # Errors
/// All errors, a line each.
pub fn each_at_once(names: &[String], act: impl Fn(&str) -> Result<String> + Sync) -> Result<u8> {
    /// As many as Docker's.
    const MOST: usize = 50;
    let mut done = vec![];
    for names in names.chunks(MOST) {
        match names {
            [name] => done.push(act(name)),
            _ => std::thread::scope(|scope| {
                let threads: Vec<_> = names.iter().map(|name| scope.spawn(|| act(name))).collect();
                done.extend(threads.into_iter().map(|thread| match thread.join() {
                    Ok(line) => line,
                    Err(panic) => std::panic::resume_unwind(panic),
                }));
            }),
        }
    }
    let mut done = done.into_iter();
    each(names, |_| done.next().context("nothing was done")?)
}

/// Where rmac keeps its state; an ordinary user's where nothing else is said.
fn home(roots: &Roots, user: bool) -> Result<Home> {
    let (root, runroot) = (absolute(&roots.root)?, absolute(&roots.runroot)?);
    let (own_root, own_runroot) = (root == Path::new(ROOT), runroot == Path::new(RUNROOT));
    if !user || !(own_root || own_runroot) {
        return Ok(Home { root, runroot });
    }
    let own = rootless::home()?;
    Ok(Home {
        root: if own_root { own.root } else { root },
        runroot: if own_runroot { own.runroot } else { runroot },
    })
}

/// What an ordinary user cannot do whatever the namespace.
fn require_nothing_of_roots(command: &Command) -> Result<()> {
    if matches!(command, Command::Lab(_)) {
        bail!(
            "permission denied: the lab's bridge and links belong to the host's network, which is root's (try sudo)"
        );
    }
    let makes_links = matches!(
        command,
        Command::Network(NetworkCommand::Create(_) | NetworkCommand::Connect(_))
    );
    if makes_links {
        bail!("permission denied: {LINKS_ARE_ROOTS}");
    }
    Ok(())
}

/// Why an ordinary user has no macvlan.
const LINKS_ARE_ROOTS: &str = "a macvlan link is made from its parent, a link of the host, which belongs to root: run rmac as root (sudo), or the container with --network none";

fn absolute(path: &Path) -> Result<std::path::PathBuf> {
    Ok(std::path::absolute(path)?)
}
