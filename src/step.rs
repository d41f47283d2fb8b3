//! One step of a container's making, whatever concept it belongs to: say, take, undo.
//!
//! The concepts keep what they know (`kernel/` and `net/`); here they meet in one enum, so that a plan
//! is a list, and narrating, scripting, taking and undoing are each one loop.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::kernel::rootfs::Root;
use crate::kernel::terminal::{Pty, Stdio};
use crate::kernel::{
    attributes, capabilities, cgroups, devices, gate, hooks, identity, ids, keyring, limits,
    mounts, namespaces, program, rootfs, seccomp, signals, sysctl, terminal, user,
};
use crate::lesson::{Lesson, Shell};
use crate::net::netlink::Wires;
use crate::net::{conflict, dhcp, link};
use crate::sys::trampoline::Trampoline;

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// See [`namespaces`].
    Namespace(namespaces::Step),
    /// See [`cgroups`].
    Cgroup(cgroups::Step),
    /// See [`rootfs`].
    Rootfs(rootfs::Step),
    /// See [`mounts`].
    Mount(mounts::Step),
    /// See [`devices`].
    Device(devices::Step),
    /// See [`identity`].
    Identity(identity::Step),
    /// See [`link`].
    Link(link::Step),
    /// See [`conflict`].
    Conflict(conflict::Step),
    /// See [`dhcp`].
    Dhcp(dhcp::Step),
    /// See [`terminal`].
    Terminal(terminal::Step),
    /// See [`signals`].
    Signal(signals::Step),
    /// See [`limits`].
    Limit(limits::Step),
    /// See [`seccomp`].
    Seccomp(seccomp::Step),
    /// See [`capabilities`].
    Capability(capabilities::Step),
    /// See [`user`].
    User(user::Step),
    /// See [`program`].
    Program(program::Step),
    /// See [`ids`].
    Ids(ids::Step),
    /// See [`hooks`].
    Hook(hooks::Step),
    /// See [`sysctl`].
    Sysctl(sysctl::Step),
    /// See [`attributes`].
    Attribute(attributes::Step),
    /// See [`gate`].
    Gate(gate::Step),
    /// See [`keyring`].
    Keyring(keyring::Step),
}

/// What the steps hand on to each other on one side of the clone.
#[derive(Default)]
pub struct Place {
    /// The container's tree, once there is one.
    pub root: Option<Root>,
    /// The container's `/dev`.
    pub dev: Option<OwnedFd>,
    /// What becomes descriptors 0, 1 and 2.
    pub stdio: Option<Stdio>,
    /// The monitor's end of the terminal, to be handed over.
    pub master: Option<OwnedFd>,
    /// The sockets to the kernel's network, on the host's side.
    pub wires: Option<Wires>,
    /// The container's network namespace, on the host's side.
    pub netns: Option<OwnedFd>,
    /// What listens on for other owners of the addresses.
    pub sentinels: Vec<conflict::Sentinel>,
    /// When the LAN was asked about the addresses, where that was done ahead of the step.
    pub asked: Option<Instant>,
    /// The DHCP clients, each with its lease.
    pub clients: Vec<(dhcp::Client, dhcp::Lease)>,
    /// The container's first process, for one more that joins it.
    pub container: Option<OwnedFd>,
    /// Descriptors that are the host's alone: the child lets go of its copies at once, since a lock lives
    /// as long as any copy of it, and a socket shows its end only when all are closed.
    pub private: Vec<RawFd>,
    /// The container's first process as the host sees it, on the host's side.
    pub pid: Option<nix::unistd::Pid>,
    /// The socket at which a container waits for `start`.
    pub gate: Option<OwnedFd>,
    /// The child's end of the talk with the host.
    pub speaker: Option<OwnedFd>,
    /// The host is an ordinary user: it can open the child's network namespace, and write the table of its user
    /// namespace, only while the child lets others look into it, so the child shuts them out late. Nobody else is
    /// in the new pid namespace by then.
    pub rootless: bool,
    /// The host keeps the container's mounts until it lets go of them: taking them down takes the kernel longer than
    /// most else of an end, and the last who has them, the program as it ends, waits for it.
    pub hold_mounts: bool,
    /// User namespaces made to translate the owners of mounts, by their tables.
    pub lent: Vec<(ids::Table, OwnedFd)>,
    /// Mounts that the host has copied for the child to attach.
    pub fetched: mounts::Fetched,
    /// The tree that the host has stacked for the child to attach.
    pub tree: Option<OwnedFd>,
    /// By which the child becomes the program, where rmac's own file is to stay out of reach.
    pub trampoline: Option<Trampoline>,
    /// What hears of the calls that a seccomp agent answers, to be handed over.
    pub calls: Option<OwnedFd>,
    /// The home directory of the user that the program runs as.
    pub home: Option<String>,
}

macro_rules! each {
    ($self:expr, $step:ident => $what:expr) => {
        match $self {
            Step::Namespace($step) => $what,
            Step::Cgroup($step) => $what,
            Step::Rootfs($step) => $what,
            Step::Mount($step) => $what,
            Step::Device($step) => $what,
            Step::Identity($step) => $what,
            Step::Link($step) => $what,
            Step::Conflict($step) => $what,
            Step::Dhcp($step) => $what,
            Step::Terminal($step) => $what,
            Step::Signal($step) => $what,
            Step::Limit($step) => $what,
            Step::Seccomp($step) => $what,
            Step::Capability($step) => $what,
            Step::User($step) => $what,
            Step::Program($step) => $what,
            Step::Ids($step) => $what,
            Step::Hook($step) => $what,
            Step::Sysctl($step) => $what,
            Step::Attribute($step) => $what,
            Step::Gate($step) => $what,
            Step::Keyring($step) => $what,
        }
    };
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        each!(self, step => step.why())
    }

    /// The same as a command.
    pub fn shell(&self) -> Shell {
        each!(self, step => step.shell())
    }

    /// The concept that the step belongs to, in one word.
    pub fn concept(&self) -> &'static str {
        match self {
            Step::Namespace(_) => "namespaces",
            Step::Cgroup(_) => "cgroup",
            Step::Rootfs(_) => "rootfs",
            Step::Mount(_) => "mounts",
            Step::Device(_) => "devices",
            Step::Identity(_) => "identity",
            Step::Link(_) | Step::Conflict(_) | Step::Dhcp(_) => "network",
            Step::Terminal(_) => "terminal",
            Step::Signal(_) => "signals",
            Step::Limit(_) => "limits",
            Step::Seccomp(_) => "seccomp",
            Step::Capability(_) => "capabilities",
            Step::User(_) => "user",
            Step::Program(_) => "program",
            Step::Ids(_) => "user namespace",
            Step::Hook(_) => "hooks",
            Step::Sysctl(_) => "sysctl",
            Step::Attribute(_) => "attributes",
            Step::Gate(_) => "gate",
            Step::Keyring(_) => "keyring",
        }
    }

    /// Takes the step at `place`.
    pub fn take(&self, place: &mut Place) -> Result<()> {
        match self {
            Step::Namespace(step) => step.take(&mut place.container),
            Step::Cgroup(step) => step.take(),
            Step::Rootfs(step) => place.take_rootfs(step),
            Step::Mount(step @ mounts::Step::Fetch(_)) => {
                step.take_fetch(&place.lent, &mut place.fetched)
            }
            Step::Mount(step) => step.take(tree(&place.root)?, &place.fetched),
            Step::Device(step) => step.take(place.dev()?.as_fd()),
            Step::Identity(step) => step.take(),
            Step::Link(step) => step.take(place.wires.as_mut().context("no network to work on")?),
            Step::Conflict(step) => place.take_conflict(step),
            Step::Dhcp(step) => place.take_dhcp(step),
            Step::Terminal(step) => place.take_terminal(step),
            Step::Signal(step) => step.take(),
            Step::Limit(step) => step.take(),
            Step::Seccomp(step) => {
                place.calls = step.take()?;
                Ok(())
            }
            Step::Capability(step) => step.take(),
            Step::User(step) => {
                place.home = step.take()?.or(place.home.take());
                Ok(())
            }
            Step::Program(step) => step.take(&program::Last {
                home: place.home.as_deref(),
                trampoline: place.trampoline.as_ref(),
                speaker: place.speaker.as_ref(),
            }),
            Step::Ids(step) => step.take(place.pid, &mut place.lent),
            // In the container's own pid namespace its first process is this one.
            Step::Hook(step) => step.take(place.pid.or_else(|| Some(nix::unistd::getpid()))),
            Step::Sysctl(step) => step.take(),
            Step::Attribute(step) => step.take(),
            Step::Keyring(step) => step.take(),
            Step::Gate(step) => {
                let gate = place.gate.take().context("no gate to wait at")?;
                (place.root, place.dev, place.stdio) = (None, None, None);
                let speaker = place.speaker.as_mut().context("nobody to tell")?;
                step.take(&gate, speaker)
            }
        }
    }

    /// Takes back what would outlive the container: its cgroup and its links. The rest (mounts,
    /// namespaces, the terminal) goes with its last process.
    pub fn undo(&self, place: &mut Place) -> Result<()> {
        match self {
            Step::Cgroup(step) => step.undo(),
            Step::Link(step) => step.undo(place.wires.as_mut().context("no network to work on")?),
            Step::Dhcp(_) => {
                let clients = place.clients.drain(..);
                clients.for_each(|(mut client, _)| client.release());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        each!(self, step => step.fmt(f))
    }
}

impl Place {
    fn dev(&mut self) -> Result<&OwnedFd> {
        let dev = match self.dev.take() {
            Some(dev) => dev,
            None => tree(&self.root)?
                .find(Path::new("/dev"))
                .context("open /dev")?,
        };
        Ok(self.dev.insert(dev))
    }

    fn take_rootfs(&mut self, step: &rootfs::Step) -> Result<()> {
        match step {
            rootfs::Step::Overlay { .. } | rootfs::Step::Directory(_) => {
                self.root = Some(step.make_root()?);
            }
            rootfs::Step::Stack { .. } => self.tree = Some(step.take_stack(&self.lent)?),
            rootfs::Step::Attach(_) => {
                let tree = self.tree.take().context("the host has stacked no tree")?;
                self.root = Some(step.attach(tree)?);
            }
            rootfs::Step::Private(_) => step.take_first()?,
            rootfs::Step::Exchange => self.root = Some(step.exchange(tree(&self.root)?)?),
            _ => step.take(tree(&self.root)?)?,
        }
        Ok(())
    }

    fn take_conflict(&mut self, step: &conflict::Step) -> Result<()> {
        let netns = self.netns.as_ref().context("no network to work on")?;
        let asked = match self.asked.take() {
            Some(asked) => asked,
            None => step.ask(netns.as_fd(), self.wires.as_ref(), &mut self.sentinels)?,
        };
        step.hear(&mut self.sentinels, asked)
    }

    /// The address of a lease goes onto the link, its router into the routes.
    fn take_dhcp(&mut self, step: &dhcp::Step) -> Result<()> {
        let netns = self.netns.as_ref().context("no network to work on")?;
        let wires = self.wires.as_mut().context("no network to work on")?;
        let (client, lease) = step.take(netns.as_fd())?;
        for step in link::plan_lease(client.dev(), &lease) {
            match step.take(wires) {
                // Another network's router has the default route already.
                Err(error) if is_there(&error) => (),
                result => result?,
            }
        }
        self.clients.push((client, lease));
        Ok(())
    }

    fn take_terminal(&mut self, step: &terminal::Step) -> Result<()> {
        match step {
            terminal::Step::Console { .. } => {
                if let Some(Pty { master, slave }) = step.take_console(tree(&self.root)?)? {
                    self.master = Some(master);
                    self.stdio = Some(Stdio::Terminal(slave));
                }
                Ok(())
            }
            terminal::Step::Pty { size } => {
                let root = nix::fcntl::open(
                    "/",
                    nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC,
                    nix::sys::stat::Mode::empty(),
                )
                .context("open the container's root")?;
                let Pty { master, slave } = terminal::open_pty(&Root::new(root), *size)?;
                self.master = Some(master);
                self.stdio = Some(Stdio::Terminal(slave));
                Ok(())
            }
            terminal::Step::Give { .. } => match &self.stdio {
                Some(stdio) => step.take_give(stdio),
                None => Ok(()),
            },
            terminal::Step::Session | terminal::Step::Descriptors => {
                step.take_session(self.stdio.as_ref().context("no input and output to take")?)
            }
        }
    }
}

fn is_there(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<crate::net::netlink::Refused>();
    refused.is_some_and(|refused| refused.errno == nix::errno::Errno::EEXIST)
}

fn tree(root: &Option<Root>) -> Result<&Root> {
    root.as_ref().context("the container has no tree yet")
}
