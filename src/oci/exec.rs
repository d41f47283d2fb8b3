//! `exec`: one more program in a container that runs.

use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use nix::sched::sched_getaffinity;
use nix::unistd::Pid;
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Process, Spec, UserBuilder};

use super::cli::ExecArgs;
use super::log::Log;
use super::state::{Record, Status, Store};
use super::{agent, bundle, create, start};
use crate::kernel::cgroups::Layout;
use crate::kernel::namespaces;
use crate::kernel::user::LARGEST_ID;
use crate::launch::{self, Telling};
use crate::out::stream::errln;
use crate::plan;
use crate::step::{Place, Step};

/// Who cannot be entered, and why.
fn check(store: &Store, record: &Record, args: &ExecArgs) -> Result<()> {
    match store.status(record) {
        Status::Created | Status::Running => (),
        Status::Paused if args.ignore_paused => (),
        Status::Paused => {
            bail!("cannot exec in a paused container (use --ignore-paused to override)")
        }
        other => bail!("cannot exec in a container that is {}", other.name()),
    }
    if record.beneath.is_some() {
        bail!("cannot exec in a container without a mount namespace: there is none to enter");
    }
    Ok(())
}

/// Runs the program; its exit code, or 0 where nobody waits for it.
///
/// # Errors
/// The container does not run, or the program cannot be started.
pub fn exec(store: &Store, args: &ExecArgs, debug: bool, log: &Log) -> Result<u8> {
    create::reserve(args.preserve_fds)?;
    let record = store.load(&args.id)?;
    check(store, &record, args)?;
    let first = record
        .process
        .as_ref()
        .context("the container has no process")?;
    let (mut process, mut spec) = (process(&record.spec, args)?, record.spec.clone());
    if args.process.is_none() {
        bundle::settle(&mut process)?;
    }
    let unheeded = bundle::unheeded(&mut process, None);
    unheeded.into_iter().for_each(|words| log.warn(words));
    enter_below(&mut spec, args.cgroup.as_deref())?;
    let mut plan = plan::plan_exec(
        &spec,
        &process,
        &Layout::detect()?,
        first.pid,
        record.keyring(),
    )?;
    create::preserve(&mut plan, args.preserve_fds);
    if !nix::unistd::geteuid().is_root() {
        user_first(&mut plan);
    }
    let signals = match args.detach {
        true => None,
        false => Some(start::catch_signals()?),
    };
    let terminal = process.terminal() == Some(true);
    let place = Place {
        stdio: create::stdio(terminal, args.console_socket.as_deref())?,
        ..Place::default()
    };
    let mut state = record.state();
    state.set_pid(Some(first.pid));
    let mut joined = agent::Joined {
        spec: &record.spec,
        state,
    };
    let running = launch::launch_at(&plan, place, Telling::Failures, &mut joined)
        .map_err(|failure| create::coded(&failure))?;
    if debug {
        errln!("rmac-oci: debug: affinity: {:#x}", affinity()?);
    }
    let told = match (&running.master, &args.console_socket) {
        (Some(master), Some(socket)) => create::hand_over(master, socket),
        _ => Ok(()),
    };
    if let Err(error) = told.and_then(|()| create::write_pid(args.pid_file.as_deref(), running.pid))
    {
        let _ = crate::sys::pidfd_send_signal(running.pidfd.as_fd(), nix::libc::SIGKILL);
        return Err(error);
    }
    match args.detach {
        true => Ok(0),
        false => start::wait(&running.pidfd, signals.as_ref()),
    }
}

/// Enters the container's user namespace before all else. What the program reads and writes is the user's already.
fn user_first(plan: &mut plan::Plan) {
    plan.host.retain(|step| !matches!(step, Step::Terminal(_)));
    let joins = plan.host.iter_mut().chain(&mut plan.prepare);
    let mut joins = joins.filter_map(|step| match step {
        Step::Namespace(step) => Some(step),
        _ => None,
    });
    if let (Some(first), Some(last)) = (joins.next(), joins.next()) {
        namespaces::user_first(first, last);
    }
}

/// The process that was asked for: a file's, or the container's own with what the flags change.
fn process(spec: &Spec, args: &ExecArgs) -> Result<Process> {
    let own = spec.process().as_ref().context("the spec has no process")?;
    if let Some(file) = &args.process {
        let mut process = bundle::load_process(file)?;
        if process.capabilities().is_none() {
            process.set_capabilities(own.capabilities().clone());
        }
        process.set_terminal(Some(process.terminal() == Some(true) || args.tty));
        return Ok(process);
    }
    if args.command.is_empty() {
        bail!("exec needs a program: after the container's id, or with --process");
    }
    let mut process = own.clone();
    process
        .set_args(Some(args.command.clone()))
        .set_terminal(Some(args.tty))
        .set_oom_score_adj(None);
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    let env = process.env_mut().get_or_insert_default();
    for pair in &args.env {
        let name = |pair: &str| pair.split('=').next().map(str::to_owned);
        // getenv(3) finds the first of two.
        env.retain(|known| name(known) != name(pair));
        env.push(pair.clone());
    }
    if let Some(user) = &args.user {
        let (uid, gid) = read_user(user)?;
        let user = UserBuilder::default()
            .uid(uid)
            .gid(gid)
            .additional_gids(vec![]);
        process.set_user(user.build()?);
    }
    if !args.additional_gids.is_empty() {
        process
            .user_mut()
            .set_additional_gids(Some(args.additional_gids.clone()));
    }
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    add_capabilities(&mut process, &args.cap)?;
    Ok(process)
}

/// The processors that the program began on, the first 64 of them: they were the caller's own.
fn affinity() -> Result<u64> {
    let set = sched_getaffinity(Pid::from_raw(0)).context("sched_getaffinity")?;
    let has = |cpu: &usize| set.is_set(*cpu).unwrap_or(false);
    Ok((0..64).filter(has).map(|cpu| 1 << cpu).sum())
}

fn read_user(word: &str) -> Result<(u32, u32)> {
    let number = |word: &str| -> Result<u32> {
        let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        match word.parse() {
            Ok(number @ 0..=LARGEST_ID) if plain => Ok(number),
            _ => bail!("--user {word:?}: UID[:GID], each a number up to {LARGEST_ID}"),
        }
    };
    match word.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, number(gid)?)),
        None => Ok((number(word)?, 0)),
    }
}

/// Never inheritable or ambient: those would outlive a change of user (CVE-2022-29162).
fn add_capabilities(process: &mut Process, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut more = Capabilities::new();
    for name in names {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let Ok(capability) = bare.parse::<Capability>() else {
            bail!("unknown capability {name:?}");
        };
        more.insert(capability);
    }
    let mut sets: LinuxCapabilities = process.capabilities().clone().unwrap_or_default();
    let with = |set: &Option<Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.extend(more.iter().copied());
        Some(set)
    };
    let (bounding, effective) = (with(sets.bounding()), with(sets.effective()));
    let permitted = with(sets.permitted());
    sets.set_bounding(bounding)
        .set_effective(effective)
        .set_permitted(permitted);
    process.set_capabilities(Some(sets));
    Ok(())
}

/// `--cgroup [CONTROLLER:]PATH`: below the container's own group, which exists already.
fn enter_below(spec: &mut Spec, below: Option<&str>) -> Result<()> {
    let Some(below) = below else { return Ok(()) };
    let below = below
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .trim_matches('/');
    if below.split('/').any(|part| part == "..") {
        bail!("--cgroup {below:?} leads out of the container's group");
    }
    let path = plan::cgroups_path(spec)?.join(below);
    if let Some(linux) = spec.linux_mut() {
        linux.set_cgroups_path(Some(path));
    }
    Ok(())
}
