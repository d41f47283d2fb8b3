//! The caller's side: a terminal or three streams, connected to the monitor.  termios(3), signalfd(2)
//!
//! With a terminal, ours becomes raw: every key goes to the program's terminal, which echoes and edits.
//! It is put back on every way out. ctrl-p ctrl-q leaves the program running.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use super::{LONGEST, Message, hear};
use crate::out::stream::err;
use crate::sys;

/// How one is attached.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program has a terminal.
    pub tty: bool,
    /// Hand our input on.
    pub input: bool,
    /// Show what the program writes to its output.
    pub output: bool,
    /// Show what it writes to its errors.
    pub errors: bool,
    /// Hand signals on that we get (`--sig-proxy`); with a terminal its keys do that.
    pub proxy_signals: bool,
    /// The keys that leave the program running.
    pub detach_keys: Vec<u8>,
}

/// How being attached ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The program ended with this exit code.
    Exited(i32),
    /// The user left.
    Detached,
    /// The program could not be started.
    Failed(u8, String),
    /// The monitor has gone without a word.
    Lost,
    /// A signal told us to end; the program runs on.
    Interrupted(i32),
}

/// Docker's keys: ctrl-p ctrl-q.
pub const DETACH_KEYS: &[u8] = &[0x10, 0x11];

/// Reads `--detach-keys`, such as `ctrl-p,ctrl-q` or `a`.
pub fn parse_detach_keys(text: &str) -> Result<Vec<u8>> {
    let key = |word: &str| -> Result<u8> {
        match (word.strip_prefix("ctrl-"), word.as_bytes()) {
            (None, [key]) => Ok(*key),
            (Some(key), _) => match key.as_bytes() {
                [letter @ b'a'..=b'z'] => Ok(letter - b'a' + 1),
                [sign @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => Ok(sign - b'@'),
                _ => bail!("invalid detach keys: Unknown character: '{word}'"),
            },
            _ => bail!("invalid detach keys: Unknown character: '{word}'"),
        }
    };
    text.split(',').map(key).collect()
}

/// The size of the caller's terminal, where it has one.
pub fn terminal_size() -> Option<(u16, u16)> {
    let stdout = std::io::stdout();
    let stdin = std::io::stdin();
    [stdout.as_fd(), stdin.as_fd()]
        .into_iter()
        .find_map(|fd| sys::window_size(fd).ok())
}

/// Waits until the monitor has started the program, printing what it tells meanwhile.
pub fn wait_for_start(socket: &OwnedFd) -> Result<Result<i32, End>> {
    loop {
        match hear(socket)? {
            Some(Message::Started(pid)) => return Ok(Ok(pid)),
            Some(Message::Told(line)) => err!("{line}"),
            Some(Message::Failed(code, text)) => return Ok(Err(End::Failed(code, text))),
            Some(_) => (),
            None => return Ok(Err(End::Lost)),
        }
    }
}

/// Blocks the signals that [`attach`] reads from a descriptor; done before the program starts, so that
/// none is lost.
pub fn catch_signals(options: &Options) -> Result<SignalFd> {
    let mut caught = SigSet::empty();
    let mut wanted = vec![
        Signal::SIGWINCH,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
    ];
    if options.proxy_signals && !options.tty {
        wanted.extend([
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGCONT,
            Signal::SIGALRM,
        ]);
    }
    wanted.into_iter().for_each(|signal| caught.add(signal));
    caught.thread_block().context("block signals")?;
    SignalFd::with_flags(&caught, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("signalfd")
}

/// Carries between our streams and the program until it ends or the user leaves. `pid` is the
/// program's, for signals that are handed on.
pub fn attach(socket: &OwnedFd, signals: &SignalFd, pid: i32, options: &Options) -> Result<End> {
    let raw = options.tty && options.input && std::io::stdin().is_terminal();
    let _restored = raw.then(RawTerminal::enter).transpose()?;
    let proxy = options.proxy_signals && !options.tty;
    let pidfd = proxy
        .then(|| sys::pidfd_open(nix::unistd::Pid::from_raw(pid)).ok())
        .flatten();
    let mut outbox = Outbox::default();
    outbox.resize(options);
    let stdin = std::io::stdin();
    let mut input = options.input;
    let mut keys = Detector {
        keys: options.detach_keys.clone(),
        matched: 0,
    };
    loop {
        outbox.flush(socket);
        let mut flags = PollFlags::POLLIN;
        flags.set(PollFlags::POLLOUT, !outbox.0.is_empty());
        let mut fds = vec![
            PollFd::new(socket.as_fd(), flags),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        if input && outbox.0.is_empty() {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other.context("poll")?,
        };
        let ready: Vec<_> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        let readable = fds[0]
            .revents()
            .is_some_and(|events| events != PollFlags::POLLOUT);
        drop(fds);
        if ready[0]
            && readable
            && let Some(end) = take_message(socket, options)?
        {
            return Ok(end);
        }
        if ready[1]
            && let Some(end) = take_signal(signals, &mut outbox, pidfd.as_ref(), options)?
        {
            return Ok(end);
        }
        if ready.get(2) == Some(&true) {
            match read_input(&stdin, &mut outbox, &mut keys)? {
                Input::Data => (),
                Input::End => input = false,
                Input::Detach => {
                    outbox.flush(socket);
                    return Ok(End::Detached);
                }
            }
        }
    }
}

/// What is to be said to the monitor. It is never waited for: the monitor may itself be waiting for us to
/// take what the program writes.
#[derive(Default)]
struct Outbox(VecDeque<Message>);

impl Outbox {
    fn resize(&mut self, options: &Options) {
        if options.tty
            && let Some((rows, columns)) = terminal_size()
        {
            self.0.push_back(Message::Resize(rows, columns));
        }
    }

    fn flush(&mut self, socket: &OwnedFd) {
        while let Some(message) = self.0.front() {
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            match send(socket.as_raw_fd(), &message.encode(), flags) {
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => return,
                // A monitor that has gone is noticed when it is read from.
                Ok(_) | Err(_) => drop(self.0.pop_front()),
            }
        }
    }
}

enum Input {
    Data,
    End,
    Detach,
}

fn read_input(stdin: &std::io::Stdin, outbox: &mut Outbox, keys: &mut Detector) -> Result<Input> {
    let mut buffer = vec![0; LONGEST];
    let length = match nix::unistd::read(stdin, &mut buffer) {
        Err(Errno::EINTR | Errno::EAGAIN) => return Ok(Input::Data),
        Err(Errno::EIO) | Ok(0) => {
            outbox.0.push_back(Message::InputEnd);
            return Ok(Input::End);
        }
        other => other.context("read the standard input")?,
    };
    let (data, detach) = keys.filter(&buffer[..length]);
    if !data.is_empty() {
        outbox.0.push_back(Message::Input(data));
    }
    if detach {
        outbox.0.push_back(Message::Detach);
        return Ok(Input::Detach);
    }
    Ok(Input::Data)
}

fn take_message(socket: &OwnedFd, options: &Options) -> Result<Option<End>> {
    match hear(socket)? {
        Some(Message::Output(data)) if options.output => show(&mut std::io::stdout(), &data),
        Some(Message::ErrorOutput(data)) if options.errors => show(&mut std::io::stderr(), &data),
        Some(Message::Told(line)) => err!("{line}"),
        Some(Message::Exited(code)) => return Ok(Some(End::Exited(code))),
        Some(Message::Failed(code, text)) => return Ok(Some(End::Failed(code, text))),
        Some(_) => (),
        None => return Ok(Some(End::Lost)),
    }
    Ok(None)
}

/// Our reader may have gone (`| head`): the program runs on, as with Docker.
fn show(stream: &mut dyn Write, data: &[u8]) {
    let _ = stream.write_all(data).and_then(|()| stream.flush());
}

fn take_signal(
    signals: &SignalFd,
    outbox: &mut Outbox,
    pidfd: Option<&OwnedFd>,
    options: &Options,
) -> Result<Option<End>> {
    let Some(info) = signals.read_signal().context("read a signal")? else {
        return Ok(None);
    };
    let number = info.ssi_signo as i32;
    if number == Signal::SIGWINCH as i32 {
        outbox.resize(options);
        return Ok(None);
    }
    match pidfd {
        Some(pidfd) => {
            let _ = sys::pidfd_send_signal(pidfd.as_fd(), number);
            Ok(None)
        }
        None => Ok(Some(End::Interrupted(number))),
    }
}

/// Finds the detach keys in what is typed. Keys that begin the sequence are held back until it is
/// clear that it does not follow; a lone ctrl-p so reaches the program with the next key.
struct Detector {
    keys: Vec<u8>,
    matched: usize,
}

impl Detector {
    fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = vec![];
        for &key in typed {
            if self.keys.get(self.matched) == Some(&key) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(self.keys.first() == Some(&key));
            if self.matched == 0 {
                passed.push(key);
            }
        }
        (passed, false)
    }
}

/// The caller's terminal in raw mode; as it was when dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> Result<Self> {
        let before = tcgetattr(std::io::stdin()).context("read the terminal's settings")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &raw).context("make the terminal raw")?;
        Ok(RawTerminal(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.0);
    }
}

/// The time that a lost monitor's container is given to be cleaned up by whoever noticed.
pub const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_found_across_reads_and_held_back_keys_are_passed_on() {
        let mut keys = Detector {
            keys: DETACH_KEYS.to_vec(),
            matched: 0,
        };
        assert_eq!(keys.filter(b"ls\n"), (b"ls\n".to_vec(), false));
        assert_eq!(keys.filter(&[0x10]), (vec![], false));
        assert_eq!(keys.filter(b"x"), (vec![0x10, b'x'], false));
        assert_eq!(keys.filter(&[0x10, 0x10]), (vec![0x10], false));
        assert_eq!(keys.filter(&[0x11]), (vec![], true));
    }

    #[test]
    fn detach_keys_are_read_as_docker_writes_them() {
        assert_eq!(parse_detach_keys("ctrl-p,ctrl-q").unwrap(), DETACH_KEYS);
        assert_eq!(parse_detach_keys("a,ctrl-\\").unwrap(), [b'a', 0x1c]);
        assert!(parse_detach_keys("ctrl-ä").is_err());
    }
}
