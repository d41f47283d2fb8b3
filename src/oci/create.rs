//! `create`: everything but the program. Returns when the container waits at its gate.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::CloneFlags;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect,
    listen, sendmsg, socket,
};
use nix::unistd::Pid;
use oci_spec::runtime::LinuxNamespaceType;

use super::agent;
use super::bundle;
use super::cli::CreateArgs;
use super::log::Log;
use super::state::{Record, Store};
use crate::kernel::cgroups::{self, Layout};
use crate::kernel::namespaces;
use crate::kernel::program;
use crate::kernel::rootfs::{self, Top};
use crate::kernel::terminal::Stdio;
use crate::launch::{self, Failure, Listener, Side, Telling};
use crate::plan::{self, Bundle, Plan};
use crate::step::{Place, Step};
use crate::store::containers::ProcessId;

/// Makes the container; its first process.
///
/// # Errors
/// Names the step that failed; nothing is left then.
pub fn create(
    store: &Store,
    args: &CreateArgs,
    systemd: bool,
    log: &Log,
) -> Result<launch::Running> {
    reserve(args.preserve_fds)?;
    let (directory, mut spec, rootfs) = bundle::load(&args.bundle, &args.id, systemd)?;
    let linux = spec.linux().as_ref();
    let label = linux.and_then(|linux| linux.mount_label().clone());
    if let Some(process) = spec.process_mut() {
        let unheeded = bundle::unheeded(process, label.as_deref());
        unheeded.into_iter().for_each(|words| log.warn(words));
    }
    let lock = store.make(&args.id)?;
    let shared = !namespaces::listed(&spec, LinuxNamespaceType::Mount);
    let record = Record {
        id: args.id.clone(),
        beneath: shared.then(|| Top::of(&rootfs)).transpose()?,
        bundle: directory,
        rootfs,
        created: jiff::Timestamp::now().to_string(),
        process: None,
        own_keyring: !args.no_new_keyring,
        spec,
    };
    let made = make(store, args, record.clone(), &lock);
    made.inspect_err(|_| {
        let _ = record.unmount();
        drop(std::fs::remove_dir_all(store.directory(&args.id)));
    })
}

fn make(
    store: &Store,
    args: &CreateArgs,
    record: Record,
    lock: &std::fs::File,
) -> Result<launch::Running> {
    let layout = Layout::detect()?;
    let group = record.cgroup()?;
    // A container called `rmac` or `system.slice` must not share a group with what runs there: `delete` kills all.
    if group == Path::new("/").join(&record.id) && cgroups::exists(&layout, group)? {
        bail!(
            "there is a cgroup {} already: give the container another ID, or a linux.cgroupsPath",
            group.display()
        );
    }
    // Written before anything is made, so that `delete` knows what to look for.
    store.save(&record)?;
    let mut plan = plan::plan_bundle(&Bundle {
        spec: &record.spec,
        layout: &layout,
        rootfs: &record.rootfs,
        state: &record.state(),
        keyring: record.keyring(),
    })?;
    preserve(&mut plan, args.preserve_fds);
    if args.no_pivot {
        plan.change_root_by(&rootfs::Step::MoveRoot);
    }
    let terminal = record.spec.process().as_ref().and_then(|p| p.terminal()) == Some(true);
    let place = Place {
        stdio: stdio(terminal, args.console_socket.as_deref())?,
        gate: Some(gate(store, &record.id)?),
        private: vec![lock.as_raw_fd()],
        rootless: !nix::unistd::geteuid().is_root(),
        ..Place::default()
    };
    let mut keeper = Keeper { store, record };
    let running = launch::launch_at(&plan, place, Telling::Failures, &mut keeper)
        .map_err(|failure| coded(&failure))?;
    let told = || -> Result<()> {
        if let (Some(master), Some(socket)) = (&running.master, &args.console_socket) {
            hand_over(master, socket)?;
        }
        if !ProcessId::of(running.pid.as_raw()).is_ok_and(|process| process.is_alive()) {
            bail!("the container's first process died before it could be started");
        }
        write_pid(args.pid_file.as_deref(), running.pid)
    };
    if let Err(error) = told() {
        let _ = crate::sys::pidfd_send_signal(running.pidfd.as_fd(), nix::libc::SIGKILL);
        let _ = launch::undo(&plan, None);
        return Err(error);
    }
    Ok(running)
}

/// Writes down the container's first process before it does anything.
struct Keeper<'a> {
    store: &'a Store,
    record: Record,
}

impl Listener for Keeper<'_> {
    fn took(&mut self, _: Side, _: &Step, _: Duration) {}

    fn born(&mut self, pid: Pid) -> Result<()> {
        // Where the child was born into another's pid namespace, hooks are not to follow it.
        let link = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}"));
        if link("pid").ok() != link("pid_for_children").ok() {
            let own = std::fs::File::open("/proc/self/ns/pid").context("open our pid namespace")?;
            nix::sched::setns(own, CloneFlags::CLONE_NEWPID).context("setns back")?;
        }
        self.record.process = Some(ProcessId::of(pid.as_raw())?);
        self.store.save(&self.record)
    }

    fn filtered(&mut self, pid: Option<Pid>, calls: OwnedFd) -> Result<()> {
        agent::tell(&self.record.spec, self.record.state(), pid, &calls)
    }
}

/// A failure as it is told, with the exit code that `run` and `exec` end with.
pub fn coded(failure: &Failure) -> anyhow::Error {
    let code = match failure.code {
        126 | 127 => failure.code,
        _ => 1,
    };
    let text = format!("{:#}", failure.error);
    super::Coded { code, text }.into()
}

/// What the program reads and writes: the caller's own descriptors, or a terminal that goes to `socket`.
pub fn stdio(terminal: bool, socket: Option<&Path>) -> Result<Option<Stdio>> {
    if terminal {
        return match socket {
            Some(_) => Ok(None),
            None => bail!("a terminal was asked for, so say with --console-socket who takes it"),
        };
    }
    let own = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned();
    let all = || -> std::io::Result<[OwnedFd; 3]> {
        Ok([
            own(std::io::stdin().as_fd())?,
            own(std::io::stdout().as_fd())?,
            own(std::io::stderr().as_fd())?,
        ])
    };
    let all = all().context("hand on descriptors 0, 1 and 2")?;
    Ok(Some(Stdio::Pipes(all)))
}

/// Sends the terminal's other end to whoever listens at `path` (SCM_RIGHTS, unix(7)).
pub fn hand_over(master: &OwnedFd, path: &Path) -> Result<()> {
    let send = || -> Result<()> {
        let ours = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        connect(ours.as_raw_fd(), &UnixAddr::new(path)?)?;
        let fds = [master.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        let name = [IoSlice::new(b"/dev/ptmx")];
        sendmsg::<()>(ours.as_raw_fd(), &name, &rights, MsgFlags::empty(), None)?;
        Ok(())
    };
    send().with_context(|| format!("hand the terminal to {}", path.display()))
}

/// Writes the process number for the engine, whole or not at all.
pub fn write_pid(file: Option<&Path>, pid: Pid) -> Result<()> {
    match file {
        Some(file) => crate::store::write_whole(file, pid.to_string().as_bytes()),
        None => Ok(()),
    }
}

/// Takes the numbers of descriptors that are to be handed on and did not come with the call: otherwise one of
/// our own would get such a number and reach the program (CVE-2024-21626). What takes them is closed by execve.
pub fn reserve(count: u32) -> Result<()> {
    for number in 3..3 + i32::try_from(count).context("--preserve-fds: too many")? {
        if std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok() {
            continue;
        }
        let taken = std::fs::File::open("/dev/null")
            .with_context(|| format!("--preserve-fds {count}: take descriptor {number}"))?;
        // The lowest that is free, and kept for the life of this process.
        if taken.into_raw_fd() != number {
            bail!("--preserve-fds {count}: descriptors 0, 1 and 2 must be open");
        }
    }
    Ok(())
}

/// Lets `count` descriptors from 3 on reach the program.
pub fn preserve(plan: &mut Plan, count: u32) {
    for step in &mut plan.enter {
        if let Step::Program(program::Step::CloseOnExec { first }) = step {
            *first = 3 + count;
        }
        if let Step::Gate(crate::kernel::gate::Step::Wait { keep }) = step {
            *keep = count;
        }
    }
}

fn gate(store: &Store, id: &str) -> Result<OwnedFd> {
    let directory = store.open_directory(id)?;
    let make = || -> nix::Result<OwnedFd> {
        let gate = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        let path = format!("/proc/self/fd/{}/start", directory.as_raw_fd());
        bind(gate.as_raw_fd(), &UnixAddr::new(path.as_str())?)?;
        listen(&gate, Backlog::new(4)?)?;
        Ok(gate)
    };
    make().context("make the gate")
}
