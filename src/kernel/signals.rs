//! Signals: their names, what a process does with one, and a clean slate for the program.  signal(7)
//!
//! Each process decides for each signal: the *default* action (for most, to die), *ignored*, or *caught*
//! by a handler. The first process of a pid namespace is special: the kernel does not apply the default
//! action to it, so `sleep` or `sh` as PID 1 does not die of SIGTERM, and `stop` waits in vain until it
//! sends SIGKILL (pid_namespaces(7)).

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result};
use nix::unistd::Pid;

use crate::lesson::{Lesson, Shell};

/// A signal that can be sent: 1 to 31, or a real-time one, 34 to 64 (libc keeps 32 and 33 for itself).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signal(i32);

impl Signal {
    /// What `stop` sends when neither the user nor the image says otherwise.
    pub const TERM: Signal = Signal(libc::SIGTERM);
    /// The signal that cannot be caught or ignored.
    pub const KILL: Signal = Signal(libc::SIGKILL);

    /// The number on this machine.
    pub fn number(self) -> i32 {
        self.0
    }
}

/// A word that names no signal; reads as in Docker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid signal: {0}")]
pub struct InvalidSignal(pub String);

impl FromStr for Signal {
    type Err = InvalidSignal;

    /// Reads `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+1`, `RTMAX-1`.
    fn from_str(word: &str) -> Result<Self, InvalidSignal> {
        let upper = word.to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        let named = || {
            NAMES
                .iter()
                .find(|(name, _)| *name == bare)
                .map(|(_, number)| *number)
        };
        let number = plain_number(word)
            .or_else(named)
            .or_else(|| real_time(bare));
        match number {
            Some(number @ (1..=31 | RT_MIN..=RT_MAX)) => Ok(Signal(number)),
            _ => Err(InvalidSignal(word.to_owned())),
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if self.0 == RT_MIN => f.write_str("SIGRTMIN"),
            None => write!(f, "SIGRTMIN+{}", self.0 - RT_MIN),
        }
    }
}

/// What a process does with a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It asked the kernel to drop the signal.
    Ignored,
    /// The signal's default action; none where the process is PID 1 of its namespace.
    Default,
    /// It has a handler.
    Caught,
}

/// What process `pid` does with `signal` at this moment.
///
/// # Errors
/// The process is gone.
pub fn disposition(pid: Pid, signal: Signal) -> Result<Disposition> {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status"))?;
    read_disposition(&status, signal)
        .with_context(|| format!("/proc/{pid}/status has no signal masks"))
}

/// Reads a disposition out of the text of `/proc/PID/status` (proc_pid_status(5)); `None` where it has no
/// `SigIgn` and `SigCgt` lines.
pub fn read_disposition(status: &str, signal: Signal) -> Option<Disposition> {
    let mask = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let bit = 1u64 << (signal.0 - 1);
    let (ignored, caught) = (mask("SigIgn:")?, mask("SigCgt:")?);
    // Who blocks a signal waits for it with sigwaitinfo(2) or signalfd(2): rmac's own init does.
    let blocked = mask("SigBlk:").unwrap_or(0);
    Some(if ignored & bit != 0 {
        Disposition::Ignored
    } else if (caught | blocked) & bit != 0 {
        Disposition::Caught
    } else {
        Disposition::Default
    })
}

/// What the program must not inherit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Every signal gets its default action, none is blocked.
    Reset,
}

/// Every container needs it.
pub fn plan() -> Vec<Step> {
    vec![Step::Reset]
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        Lesson {
            why: "execve(2) hands ignored and blocked signals on, and both rmac and the shell that called it have some",
            without: "the program would ignore SIGPIPE, as rmac does, or be deaf to the signals that rmac blocks to read them one by one",
            man: "execve(2), signal(7)",
        }
    }

    /// The same as perl.
    pub fn shell(&self) -> Shell {
        Shell::Perl(format!(
            "my $default = pack('x32'); syscall({}, $_, $default, 0, 8) for 1 .. 64; sys rt_sigprocmask => {}, {}, pack('x8'), 0, 8;",
            libc::SYS_rt_sigaction,
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
        ))
    }

    /// Takes the step for this process.
    ///
    /// # Errors
    /// Those of rt_sigprocmask(2).
    pub fn take(&self) -> Result<()> {
        crate::sys::signals::reset().context("rt_sigprocmask(SIG_SETMASK, [])")
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rt_sigaction(1..64, {sa_handler=SIG_DFL}), rt_sigprocmask(SIG_SETMASK, [])")
    }
}

/// As the kernel and glibc count; musl starts one higher, but the numbers on the wire are these.
const RT_MIN: i32 = 34;
const RT_MAX: i32 = 64;

/// Names without `SIG`, the preferred one of two first.
const NAMES: [(&str, i32); 34] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// Digits only: `+15` and ` 15` are no numbers.
fn plain_number(word: &str) -> Option<i32> {
    word.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| word.parse().ok())?
}

/// `RTMIN`, `RTMIN+n`, `RTMAX`, `RTMAX-n`.
fn real_time(bare: &str) -> Option<i32> {
    let span = 0..=RT_MAX - RT_MIN;
    let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
        Some(digits) => plain_number(digits).filter(|n| span.contains(n)),
        None => rest.is_empty().then_some(0),
    };
    if let Some(rest) = bare.strip_prefix("RTMIN") {
        return Some(RT_MIN + offset(rest, '+')?);
    }
    Some(RT_MAX - offset(bare.strip_prefix("RTMAX")?, '-')?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::test_support::in_child;
    use nix::sys::signal::{SigSet, Signal as NixSignal};

    #[test]
    fn names_and_numbers_are_read_as_docker_reads_them() {
        for (word, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("15", 15),
            ("9", 9),
            ("CLD", 17),
            ("64", 64),
            ("RTMIN", 34),
            ("SIGRTMIN+1", 35),
            ("rtmin+15", 49),
            ("RTMAX-14", 50),
            ("RTMAX", 64),
        ] {
            assert_eq!(word.parse::<Signal>().unwrap().number(), number, "{word}");
        }
        for word in [
            "",
            "0",
            "-9",
            "+9",
            " 9",
            "65",
            "32",
            "33",
            "99999999999",
            "SIG",
            "SIGSIGTERM",
            "FLY",
            "RTMIN-1",
            "RTMIN+31",
            "RTMAX+1",
            "RTMIN+",
            "RTMINX",
        ] {
            let error = word.parse::<Signal>().unwrap_err();
            assert_eq!(error.to_string(), format!("invalid signal: {word}"));
        }
    }

    #[test]
    fn every_signal_prints_a_name_that_reads_back() {
        for number in (1..=31).chain(34..=64) {
            assert_eq!(Signal(number).to_string().parse(), Ok(Signal(number)));
        }
        assert_eq!(Signal(6).to_string(), "SIGABRT");
        assert_eq!(Signal(35).to_string(), "SIGRTMIN+1");
    }

    #[test]
    fn dispositions_are_read_from_the_status_file() {
        let status = "Name:\tx\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000004002\n";
        let of = |word: &str| read_disposition(status, word.parse().unwrap());
        assert_eq!(of("PIPE"), Some(Disposition::Ignored));
        assert_eq!(of("TERM"), Some(Disposition::Caught));
        assert_eq!(of("HUP"), Some(Disposition::Default));
        assert_eq!(read_disposition("", Signal::TERM), None);
    }

    #[test]
    fn nothing_is_ignored_or_blocked_afterwards() {
        let lines = in_child(|| {
            // Rust itself ignores SIGPIPE before main.
            let mut blocked = SigSet::empty();
            blocked.add(NixSignal::SIGTERM);
            blocked.thread_block()?;
            let before = disposition(Pid::this(), "PIPE".parse()?)?;
            Step::Reset.take()?;
            let status = std::fs::read_to_string("/proc/self/status")?;
            let masks = status
                .lines()
                .filter(|l| ["SigBlk", "SigIgn", "SigCgt"].contains(&&l[..6.min(l.len())]));
            Ok(format!(
                "{before:?} {}",
                masks.collect::<Vec<_>>().join(" ").replace('\t', "")
            ))
        });
        assert_eq!(
            lines,
            "Ignored SigBlk:0000000000000000 SigIgn:0000000000000000 SigCgt:0000000000000000"
        );
    }
}
