//! What the program reads and writes: a pseudo-terminal or three pipes.  pty(7), credentials(7), pipe(7)
//!
//! With `-t` the program gets a terminal: the container's own devpts makes a pair, the program holds
//! one end, the monitor the other. Without it, three pipes (or `/dev/null` for input).

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use nix::unistd::{Gid, Uid};
use oci_spec::runtime::Process;

use super::rootfs::Root;
use crate::lesson::{Lesson, Shell};
use crate::sys;

/// What can be done about the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make a pseudo-terminal of `rows` and `columns` and show it at `/dev/console`.
    Console {
        /// Its size, where the caller's is known.
        size: Option<(u16, u16)>,
    },
    /// Make a pseudo-terminal in a container that runs already.
    Pty {
        /// Its size, where the caller's is known.
        size: Option<(u16, u16)>,
    },
    /// Host: give the program's pipes to the container's root, who could not open `/dev/stdout` again.
    Give {
        /// Its user number outside.
        uid: u32,
        /// Its group number outside.
        gid: u32,
    },
    /// Begin a session and make descriptors 0, 1 and 2 the program's.
    Session,
    /// The latter only: the session begins with the program's birth ([`super::namespaces::Step::Birth`]).
    Descriptors,
}

/// The two ends of a pseudo-terminal.
#[derive(Debug)]
pub struct Pty {
    /// The monitor's end.
    pub master: OwnedFd,
    /// The program's end.
    pub slave: OwnedFd,
}

/// What becomes the program's descriptors 0, 1 and 2.
#[derive(Debug)]
pub enum Stdio {
    /// All three are the terminal.
    Terminal(OwnedFd),
    /// Three of their own.
    Pipes([OwnedFd; 3]),
}

/// The terminal that `process` wants, if it wants one.
pub fn plan(process: &Process) -> Option<Step> {
    (process.terminal() == Some(true)).then(|| Step::Console {
        size: size(process),
    })
}

/// The terminal of one more process in a running container.
pub fn plan_pty(process: &Process) -> Option<Step> {
    (process.terminal() == Some(true)).then(|| Step::Pty {
        size: size(process),
    })
}

/// Makes a pseudo-terminal in the devpts of the tree `root`.
pub fn open_pty(root: &Root, size: Option<(u16, u16)>) -> Result<Pty> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
    let master = root
        .open(Path::new("/dev/pts/ptmx"), flags)
        .context("open /dev/pts/ptmx")?;
    // A directory of the image in place of devpts could hold any device (CVE-2025-52565).
    let status = nix::sys::stat::fstat(&master).context("fstat /dev/pts/ptmx")?;
    let is_device = status.st_mode & nix::libc::S_IFMT == nix::libc::S_IFCHR;
    if !is_device || status.st_rdev != nix::sys::stat::makedev(5, 2) {
        bail!("/dev/pts/ptmx in the container is not the pseudo-terminal multiplexer");
    }
    let slave = sys::open_terminal_peer(master.as_fd()).context("open the terminal's other end")?;
    if let Some(size) = size {
        sys::set_window_size(master.as_fd(), size).context("set the terminal's size")?;
    }
    Ok(Pty { master, slave })
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        match self {
            Step::Console { .. } | Step::Pty { .. } => Lesson {
                why: "-t: the program gets a terminal of the container's own devpts; its other end is the monitor's",
                without: "a shell would show no prompt and no job control, and ctrl-c would not reach it",
                man: "pty(7), ioctl_tty(2)",
            },
            Step::Give { .. } => Lesson {
                why: "the pipes were made by the host's root, who is nobody in the container's user namespace",
                without: "`echo > /dev/stdout` would fail: permission denied",
                man: "pipe(7), user_namespaces(7)",
            },
            Step::Descriptors => Lesson {
                why: "the program's descriptors 0, 1 and 2 become the container's before it is born in there",
                without: "it would read and write what its caller does",
                man: "dup2(2)",
            },
            Step::Session => Lesson {
                why: "a session of its own cuts the program off from the caller's terminal; its descriptors 0, 1 and 2 \
                      become the container's",
                without: "the program could type into the caller's terminal (TIOCSTI)",
                man: "setsid(2), credentials(7)",
            },
        }
    }

    /// The same as a command.
    pub fn shell(&self) -> Shell {
        match self {
            Step::Console { .. } | Step::Pty { .. } => Shell::Note(
                "open(\"/dev/pts/ptmx\"): a script has no use for a second terminal; the program keeps this one".into(),
            ),
            Step::Give { .. } => Shell::Note(format!("{self}: left out, since the program keeps your terminal")),
            Step::Descriptors => Shell::Note("dup2(): left out, since the program keeps your terminal".into()),
            Step::Session => Shell::Note("setsid(): left out, so that the program keeps your terminal".into()),
        }
    }

    /// Takes [`Step::Console`] in the tree `root`.
    pub fn take_console(&self, root: &Root) -> Result<Option<Pty>> {
        let Step::Console { size } = self else {
            return Ok(None);
        };
        let pty = open_pty(root, *size)?;
        let console = root.make_file(Path::new("/dev/console"))?;
        let flags = nix::libc::OPEN_TREE_CLONE | nix::libc::AT_EMPTY_PATH as u32;
        let tree = sys::mounts::open_tree(pty.slave.as_fd(), Path::new(""), flags)
            .context("open_tree the terminal")?;
        sys::mounts::move_mount(tree.as_fd(), console.as_fd())
            .context("move_mount onto /dev/console")?;
        Ok(Some(pty))
    }

    /// Takes [`Step::Give`] with `stdio`.
    pub fn take_give(&self, stdio: &Stdio) -> Result<()> {
        let (Step::Give { uid, gid }, Stdio::Pipes(pipes)) = (self, stdio) else {
            return Ok(());
        };
        let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
        for pipe in pipes {
            let status = nix::sys::stat::fstat(pipe).context("fstat")?;
            // Not /dev/null, which is everybody's.
            if status.st_mode & nix::libc::S_IFMT == nix::libc::S_IFIFO {
                nix::unistd::fchown(pipe, Some(uid), Some(gid)).context("fchown a pipe")?;
            }
        }
        Ok(())
    }

    /// Takes [`Step::Session`] or [`Step::Descriptors`] with `stdio`.
    pub fn take_session(&self, stdio: &Stdio) -> Result<()> {
        let begins = *self == Step::Session;
        if begins {
            nix::unistd::setsid().context("setsid")?;
        }
        let [input, output, error] = match stdio {
            Stdio::Terminal(slave) => {
                if begins {
                    sys::take_terminal(slave.as_fd())
                        .context("make it the controlling terminal")?;
                }
                [slave; 3]
            }
            Stdio::Pipes(pipes) => pipes.each_ref(),
        };
        nix::unistd::dup2_stdin(input).context("dup2 to 0")?;
        nix::unistd::dup2_stdout(output).context("dup2 to 1")?;
        nix::unistd::dup2_stderr(error).context("dup2 to 2")
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Console { .. } | Step::Pty { .. } => {
                write!(f, "open(\"/dev/pts/ptmx\"), ioctl(TIOCGPTPEER)")
            }
            Step::Give { uid, gid } => write!(f, "fchown(the program's pipes, {uid}, {gid})"),
            Step::Session => write!(f, "setsid(), dup2(.., 0|1|2)"),
            Step::Descriptors => write!(f, "dup2(.., 0|1|2)"),
        }
    }
}

fn size(process: &Process) -> Option<(u16, u16)> {
    let size = process.console_size()?;
    Some((size.height() as u16, size.width() as u16))
}
