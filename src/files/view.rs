//! A container's tree, entered by a process that looks at nothing else from then on.  setns(2), mount_namespaces(7)
//!
//! Of a container that runs it is the tree that its programs see, with volumes and all: its mount namespace is
//! entered, whose root a program of the container's cannot change. Of one that does not run, the steps of its
//! plan that make the tree are taken once more in a new mount namespace: layers and volumes, not the kernel's file
//! systems nor those in memory. Nobody can start or remove it meanwhile.
//!
//! Where the container has a user namespace, the process becomes root of that one, or of one with the same table: it
//! can do what the container's root can, and the numbers of users are those inside.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::libc::OPEN_TREE_CLONE;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use rootfs_fetch::root::Root;

use super::tree::{Descriptors, Tree};
use crate::kernel::cgroups::Layout;
use crate::kernel::{ids, mounts};
use crate::plan::Plan;
use crate::step::{Place, Step};
use crate::store::Home;
use crate::store::claim::{Attempt, Claim};
use crate::store::containers::{ProcessId, Record, State, Status};
use crate::supervise::{heal, start};
use crate::sys;

/// How much of the tree is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// All that the container sees.
    Everything,
    /// The layers and what was changed in them, without what is mounted over that.
    RootAlone,
}

/// What it takes to enter the tree.
pub struct View {
    how: How,
    /// It has a user namespace of its own.
    mapped: bool,
    /// Where volumes and the like are mounted in it.
    binds: Vec<PathBuf>,
    /// The container's directory.
    directory: PathBuf,
}

enum How {
    Running(ProcessId),
    Stopped(Box<Plan>),
}

/// Finds out how the container's tree is entered; waits while it is being made or started, or looked into by somebody
/// else. The claim, which a container has that does not run, is to be kept until that is over.
///
/// # Errors
/// The container is removed meanwhile, or waits to be started again.
pub fn of(home: &Home, record: &Record) -> Result<(View, Option<Claim>)> {
    let (how, claim) = find(home, record)?;
    let files = ["hosts", "hostname", "resolv.conf"];
    let files = files.map(|name| Path::new("/etc").join(name));
    let targets = record.request.binds.iter().map(|bind| bind.target.clone());
    let view = View {
        how,
        mapped: record.ids.is_some(),
        binds: targets.chain(files).collect(),
        directory: home.container(&record.id),
    };
    Ok((view, claim))
}

fn find(home: &Home, record: &Record) -> Result<(How, Option<Claim>)> {
    loop {
        let state = State::load(home, &record.id)?;
        match state.as_ref().map(|state| (state.status, state.process)) {
            Some((Status::Running, Some(process))) if process.is_alive() => {
                return Ok((How::Running(process), None));
            }
            Some((Status::Restarting, _)) => bail!(
                "Container {} is restarting, wait until the container is running",
                record.id
            ),
            _ => (),
        }
        match Claim::wait(home, &record.id, Duration::from_millis(20))? {
            Some(Attempt::Mine(claim)) => {
                // It may have been removed while we waited.
                Record::load(home, &record.id)?
                    .with_context(|| format!("No such container: {}", record.name))?;
                let plan = start::plan_of(home, record, &Layout::detect()?)?;
                return Ok((How::Stopped(Box::new(plan)), Some(claim)));
            }
            Some(Attempt::Orphan(claim)) => heal::heal(home, &record.id, &claim),
            Some(Attempt::Busy) | None => (),
        }
    }
}

impl View {
    /// Goes in, for good: what this process names from now on, it names in there.
    ///
    /// # Errors
    /// The container has ended; its tree cannot be made.
    pub fn enter(self, shows: Shows) -> Result<Tree> {
        let descriptors = Descriptors::of_this_process()?;
        let top = match &self.how {
            How::Running(process) => self.join(*process, shows)?,
            How::Stopped(plan) => self.make(plan, shows)?,
        };
        // A user namespace's root is another user, which makes a process dumpable or not as the machine is set up.
        nix::sys::prctl::set_dumpable(false).context("prctl(PR_SET_DUMPABLE)")?;
        Ok(Tree {
            root: Root::at(top),
            descriptors,
        })
    }

    fn join(&self, process: ProcessId, shows: Shows) -> Result<OwnedFd> {
        let pidfd = sys::pidfd_open(Pid::from_raw(process.pid)).context("pidfd_open")?;
        // Looked at once it is held: the number may be another process's by now.
        ensure!(process.is_alive(), "the container has just ended");
        let mut namespaces = CloneFlags::CLONE_NEWNS;
        if self.mapped {
            namespaces |= CloneFlags::CLONE_NEWUSER;
        }
        setns(&pidfd, namespaces).context("enter the container's mount namespace")?;
        if self.mapped {
            ids::Step::BecomeRoot.take(None, &mut vec![])?;
        }
        match shows {
            Shows::Everything => top(),
            Shows::RootAlone => sys::mounts::open_tree(AT_FDCWD, Path::new("/"), OPEN_TREE_CLONE)
                .context("open_tree the container's root"),
        }
    }

    fn make(&self, plan: &Plan, shows: Shows) -> Result<OwnedFd> {
        let mut place = Place::default();
        let wanted = |step: &&Step| self.is_of_tree(step, shows);
        for step in plan.host.iter().filter(wanted) {
            step.take(&mut place)?;
        }
        if self.mapped {
            let (_, lender) = place
                .lent
                .first()
                .context("no user namespace to become root of")?;
            setns(lender, CloneFlags::CLONE_NEWUSER).context("setns(CLONE_NEWUSER)")?;
        }
        unshare(CloneFlags::CLONE_NEWNS).context("unshare(CLONE_NEWNS)")?;
        let steps = plan.prepare.iter().chain(&plan.enter);
        for step in steps.filter(wanted) {
            step.take(&mut place)?;
        }
        let root = place.root.context("the plan makes no tree")?;
        root.top().try_clone().context("duplicate a descriptor")
    }

    fn is_of_tree(&self, step: &Step, shows: Shows) -> bool {
        match step {
            Step::Rootfs(_) => true,
            Step::Ids(step) => matches!(step, ids::Step::Lend(_) | ids::Step::BecomeRoot),
            Step::Mount(mounts::Step::Fetch(bind) | mounts::Step::Attach(bind)) => {
                shows == Shows::Everything && self.is_wanted(bind)
            }
            Step::Mount(bind @ mounts::Step::Bind { .. }) => {
                shows == Shows::Everything && self.is_wanted(bind)
            }
            _ => false,
        }
    }

    /// A volume, or one of the files that say who the container is: those are there once it has been started.
    fn is_wanted(&self, bind: &mounts::Step) -> bool {
        let mounts::Step::Bind { source, target, .. } = bind else {
            return false;
        };
        let written = !source.starts_with(&self.directory) || source.exists();
        written && self.binds.contains(target)
    }
}

fn top() -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open("/", flags, Mode::empty()).context("open the container's root")
}
