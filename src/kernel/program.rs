//! The program: where it starts, what it may keep open, and execve(2).  execve(2), environ(7), close_range(2)
//!
//! The last steps of a container's making. What execve replaces is rmac's own code in the child; from
//! then on nothing of rmac runs in the container.

mod execute;

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use oci_spec::runtime::Process;

use super::init;
use super::rootfs::Root;
use crate::lesson::{Lesson, Shell};
use crate::sys::{self, trampoline::Trampoline};

pub use execute::refused;

/// What can be done about the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make the working directory where it is missing, and go there.
    WorkingDirectory(PathBuf),
    /// Die when the monitor dies: a container without its monitor would have nobody to read what it
    /// writes, to reap it and to clean up after it.
    DieWithMonitor,
    /// Stay as process 1 and run the program as a child: hand signals on, reap what is orphaned.
    Init,
    /// Look whether the program is there, so that who waits to start it hears of it before.
    Find {
        /// Its name and arguments.
        args: Vec<String>,
        /// Its environment, for `PATH`.
        env: Vec<String>,
    },
    /// Let no descriptor but 0, 1 and 2, and those that were asked for, reach the program.
    CloseOnExec {
        /// The first that does not.
        first: u32,
    },
    /// Become the program.
    Execute {
        /// Its name and arguments.
        args: Vec<String>,
        /// Its environment, `NAME=value`.
        env: Vec<String>,
    },
}

/// Why the program could not be started; each has an exit code that Docker's users know.
#[derive(Debug, thiserror::Error)]
pub enum NoProgram {
    /// There is no such file, or none of that name along `PATH`.
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotInPath(String),
    /// There is no such file.
    #[error("exec: {0:?}: stat {0}: no such file or directory")]
    NotFound(String),
    /// It is a directory.
    #[error("exec: {0:?}: is a directory: permission denied")]
    Directory(String),
    /// It may not be executed.
    #[error("exec: {0:?}: permission denied (the file is not executable)")]
    Denied(String),
    /// It exists but its interpreter or loader does not.
    #[error(
        "exec: {0:?}: no such file or directory (the file is there: its interpreter or loader is missing)"
    )]
    NoInterpreter(String),
    /// It is not a program for this machine.
    #[error(
        "exec: {0:?}: exec format error (a program for another architecture, or a script without #!)"
    )]
    Format(String),
    /// Something else.
    #[error("exec: {0:?}: {1}")]
    Other(String, Errno),
}

impl NoProgram {
    /// 127 where nothing was found, 126 where what was found cannot be executed (docker-run(1)).
    pub fn exit_code(&self) -> u8 {
        match self {
            NoProgram::NotInPath(_) | NoProgram::NotFound(_) | NoProgram::NoInterpreter(_) => 127,
            _ => 126,
        }
    }
}

/// Who is process 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// The program itself.
    Program,
    /// `--init`: a small init, which runs the program as its child.
    Init,
    /// The program itself, after it has waited for `start`: an engine looks after it, not a monitor.
    Waiting,
    /// Another process: this one joins a container that runs already.
    Other,
    /// The same, where others in the container may have hold of whatever comes in: all is done outside of its
    /// pid namespace, which the program is born into last ([`super::namespaces::Step::Birth`]).
    BornLast,
}

/// The last steps for `process`: where it starts; what it keeps open, to be settled before a seccomp filter is
/// loaded that may know no close_range(2); and those after the user has changed.
pub fn plan(process: &Process, first: First) -> ([Step; 2], Vec<Step>) {
    let mut last = vec![];
    if matches!(first, First::Program | First::Init) {
        // A change of user takes this setting back, so it follows that.
        last.push(Step::DieWithMonitor);
    }
    if first == First::Init {
        last.push(Step::Init);
    }
    last.push(Step::Execute {
        args: process.args().clone().unwrap_or_default(),
        env: process.env().clone().unwrap_or_default(),
    });
    let directory = Step::WorkingDirectory(process.cwd().clone());
    ([directory, Step::CloseOnExec { first: 3 }], last)
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        match self {
            Step::WorkingDirectory(_) => Lesson {
                why: "-w or the image says where the program starts; the place is checked to lie inside the container",
                without: "a directory descriptor that was left open would be a way out (CVE-2024-21626)",
                man: "chdir(2), getcwd(2)",
            },
            Step::DieWithMonitor => Lesson {
                why: "the monitor reads the program's output and cleans up after it; the kernel kills the container should \
                      the monitor be killed",
                without: "a container would run on with nobody to stop it, and its addresses would stay taken",
                man: "prctl(2), PR_SET_PDEATHSIG",
            },
            Step::Init => Lesson {
                why: "process 1 gets every orphan of its pid namespace and only the signals that it handles; a small init \
                      reaps the one and hands on the other",
                without: "a program that is no init would ignore SIGTERM and collect zombies",
                man: "pid_namespaces(7)",
            },
            Step::Find { .. } => Lesson {
                why: "a program that is missing is told when the container is made, not when it is started",
                without: "an engine would record a container that can never run",
                man: "access(2)",
            },
            Step::CloseOnExec { .. } => Lesson {
                why: "descriptors survive execve unless they are marked; only 0, 1 and 2 are the program's",
                without: "the program would hold rmac's files and sockets, and through them the host's",
                man: "close_range(2)",
            },
            Step::Execute { .. } => Lesson {
                why: "the child's code is replaced by the program, which keeps the process, its namespaces and its limits",
                without: "there would be a container with nothing in it",
                man: "execve(2)",
            },
        }
    }

    /// The same as a command.
    pub fn shell(&self) -> Shell {
        match self {
            Step::WorkingDirectory(path) => {
                let path = perl_quote(&path.to_string_lossy());
                Shell::Perl(format!("mkdir {path}; chdir {path} or die \"chdir: $!\";"))
            }
            Step::DieWithMonitor => {
                Shell::Note("prctl(PR_SET_PDEATHSIG): a script has no monitor".into())
            }
            Step::Init => Shell::Note(
                "--init: unshare --fork would have to stay as process 1; left out".into(),
            ),
            Step::Find { args, .. } => Shell::Note(format!("command -v {args:?}")),
            Step::CloseOnExec { .. } => Shell::Note(
                "close_range(3, ..., CLOSE_RANGE_CLOEXEC): perl marks its descriptors itself"
                    .into(),
            ),
            Step::Execute { args, env } => {
                let variables: Vec<_> = env
                    .iter()
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(name, value)| format!("{} => {}", perl_quote(name), perl_quote(value)))
                    .collect();
                let words: Vec<_> = args.iter().map(|word| perl_quote(word)).collect();
                Shell::Perl(format!(
                    "%ENV = ({});\n$ENV{{HOME}} //= $home;\nexec {} or die \"exec: $!\";",
                    variables.join(", "),
                    words.join(", ")
                ))
            }
        }
    }

    /// Takes the step. [`Step::Execute`] returns only with an error.
    pub fn take(&self, last: &Last<'_>) -> Result<()> {
        match self {
            Step::WorkingDirectory(path) => change_directory(path),
            Step::DieWithMonitor => {
                nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
                    .context("prctl(PR_SET_PDEATHSIG)")
            }
            Step::Init => init::begin(),
            Step::Find { args, env } => execute::find(args, env).map(drop),
            Step::CloseOnExec { first } => sys::close_on_exec_from(*first).context("close_range"),
            Step::Execute { args, env } => {
                let mut env = env.clone();
                let has_home = env.iter().any(|pair| pair.starts_with("HOME="));
                if let Some(home) = last.home.filter(|_| !has_home) {
                    env.push(format!("HOME={home}"));
                }
                let never = match (last.trampoline, last.speaker) {
                    (Some(trampoline), Some(speaker)) => {
                        execute::execute_through(trampoline, speaker, args, &env)?
                    }
                    _ => execute::execute(args, &env)?,
                };
                match never {}
            }
        }
    }
}

/// What the last steps need of those before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Last<'a> {
    /// The user's home directory.
    pub home: Option<&'a str>,
    /// By which the program is become, where rmac's own file is to stay out of reach.
    pub trampoline: Option<&'a Trampoline>,
    /// The socket to the host.
    pub speaker: Option<&'a OwnedFd>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::WorkingDirectory(path) => write!(f, "chdir({path:?})"),
            Step::DieWithMonitor => write!(f, "prctl(PR_SET_PDEATHSIG, SIGKILL)"),
            Step::Init => write!(f, "fork()"),
            Step::Find { args, .. } => write!(
                f,
                "access({:?}, X_OK)",
                args.first().map_or("", String::as_str)
            ),
            Step::CloseOnExec { first } => {
                write!(f, "close_range({first}, ~0, CLOSE_RANGE_CLOEXEC)")
            }
            Step::Execute { args, env } => {
                write!(
                    f,
                    "execve({:?}, {args:?}, [{} variables])",
                    args.first().map_or("", String::as_str),
                    env.len()
                )
            }
        }
    }
}

/// Goes to `path`, which is made where it is missing as Docker does; but neither goes nor makes anything
/// through one of `/proc`'s magic links to an open descriptor. And proves that it lies inside: the kernel
/// answers getcwd(2) with "(unreachable)" for a directory outside the root.
fn change_directory(path: &Path) -> Result<()> {
    if !path.is_absolute() {
        bail!(
            "the working directory {:?} is invalid, it needs to be an absolute path",
            path
        );
    }
    let top = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let top = nix::fcntl::open("/", top, nix::sys::stat::Mode::empty())
        .context("open the container's root")?;
    let directory = Root::new(top).make_directory(path);
    let directory = directory.with_context(|| format!("chdir to {}", path.display()))?;
    nix::unistd::fchdir(directory.as_fd())
        .with_context(|| format!("chdir to {}", path.display()))?;
    match nix::unistd::getcwd() {
        Ok(here) if here.is_absolute() => Ok(()),
        _ => bail!(
            "the working directory {} lies outside the container",
            path.display()
        ),
    }
}

/// Quotes `text` for perl.
pub fn perl_quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}
