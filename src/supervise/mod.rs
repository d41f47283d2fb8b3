//! What stays with a container: one monitor process, and what its callers say to it.
//!
//! rmac has no daemon. Each running container has a monitor of its own: a copy of the `rmac` that
//! started it, which reads what the program writes, logs it, hands it to whoever is attached, reaps the
//! program and cleans up after it. `run` without `-d` is a caller like any other: it talks to the
//! monitor over a socket, so a terminal can be left and found again.
//!
//! Each message is one datagram (`SOCK_SEQPACKET`, unix(7)): a byte that says what it is, then its content.

pub mod asked;
pub mod caller;
pub mod chores;
pub mod claims;
pub mod client;
pub mod exec;
pub mod heal;
pub mod log;
pub mod monitor;
pub mod names;
pub mod parents;
pub mod peers;
pub mod pump;
pub mod rootless;
pub mod sharing;
pub mod start;
pub mod stdio;
pub mod volumes;

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket,
};
use nix::sys::stat::Mode;

/// Longest content of one message, in bytes; longer data goes in several.
pub const LONGEST: usize = 32 * 1024;

/// What is said over the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Caller: send me what the program writes.
    Attach,
    /// Caller: for the program's input.
    Input(Vec<u8>),
    /// Caller: there is no more input.
    InputEnd,
    /// Caller: I leave; the program runs on.
    Detach,
    /// Caller: the container's networks have changed; look at its record. Monitor: I have.
    Networks,
    /// Caller: the container's state says now that somebody has stopped it; look at it.
    Stopped,
    /// Caller: my terminal has this many rows and columns.
    Resize(u16, u16),
    /// Monitor: the program runs; its process number.
    Started(i32),
    /// Monitor: the program could not be started; exit code and reason.
    Failed(u8, String),
    /// Monitor: the program wrote this to its output.
    Output(Vec<u8>),
    /// Monitor: the program wrote this to its error output.
    ErrorOutput(Vec<u8>),
    /// Monitor: a step was taken; a line for who watches.
    Told(String),
    /// Monitor: the program has ended with this exit code.
    Exited(i32),
}

impl Message {
    /// The datagram.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, content): (u8, Vec<u8>) = match self {
            Message::Attach => (b'a', vec![]),
            Message::Input(data) => (b'i', data.clone()),
            Message::InputEnd => (b'e', vec![]),
            Message::Detach => (b'd', vec![]),
            Message::Networks => (b'n', vec![]),
            Message::Stopped => (b's', vec![]),
            Message::Resize(rows, columns) => {
                (b'w', [rows.to_le_bytes(), columns.to_le_bytes()].concat())
            }
            Message::Started(pid) => (b'S', pid.to_le_bytes().to_vec()),
            Message::Failed(code, text) => (b'F', [&[*code], text.as_bytes()].concat()),
            Message::Output(data) => (b'o', data.clone()),
            Message::ErrorOutput(data) => (b'r', data.clone()),
            Message::Told(text) => (b't', text.clone().into_bytes()),
            Message::Exited(code) => (b'X', code.to_le_bytes().to_vec()),
        };
        let mut datagram = vec![kind];
        datagram.extend(content.into_iter().take(LONGEST));
        datagram
    }

    /// Reads a datagram.
    pub fn decode(datagram: &[u8]) -> Result<Self> {
        let number = |bytes: &[u8]| -> Result<i32> {
            Ok(i32::from_le_bytes(
                bytes.try_into().context("a number of four bytes")?,
            ))
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(match datagram {
            [b'a'] => Message::Attach,
            [b'i', data @ ..] => Message::Input(data.to_vec()),
            [b'e'] => Message::InputEnd,
            [b'd'] => Message::Detach,
            [b'n'] => Message::Networks,
            [b's'] => Message::Stopped,
            [b'w', a, b, c, d] => {
                Message::Resize(u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]))
            }
            [b'S', pid @ ..] => Message::Started(number(pid)?),
            [b'F', code, reason @ ..] => Message::Failed(*code, text(reason)),
            [b'o', data @ ..] => Message::Output(data.to_vec()),
            [b'r', data @ ..] => Message::ErrorOutput(data.to_vec()),
            [b't', line @ ..] => Message::Told(text(line)),
            [b'X', code @ ..] => Message::Exited(number(code)?),
            _ => bail!("a message of an unknown kind"),
        })
    }
}

/// Sends one message; waits while the other side is slow.
pub fn say(socket: &OwnedFd, message: &Message) -> nix::Result<()> {
    loop {
        match send(
            socket.as_raw_fd(),
            &message.encode(),
            MsgFlags::MSG_NOSIGNAL,
        ) {
            Err(Errno::EINTR) => (),
            other => return other.map(drop),
        }
    }
}

/// Waits for one message; `None` when the other side has gone.
pub fn hear(socket: &OwnedFd) -> Result<Option<Message>> {
    let mut buffer = vec![0; LONGEST + 1];
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(0) => return Ok(None),
            Ok(length) => return Message::decode(&buffer[..length]).map(Some),
            // The other side closed with something of ours unread: told once, and what it said before
            // that is still to be heard.
            Err(Errno::EINTR | Errno::ECONNRESET) => (),
            Err(errno) => return Err(errno).context("hear from the monitor"),
        }
    }
}

/// Connects to the monitor whose socket lies in `directory`.
///
/// A socket's address holds 107 bytes at most, which a long path could exceed; the way through
/// `/proc/self/fd` is always short.
pub fn call(directory: &Path) -> Result<OwnedFd> {
    let directory = nix::fcntl::openat(
        AT_FDCWD,
        directory,
        OFlag::O_PATH | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .with_context(|| format!("open {}", directory.display()))?;
    let ours = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .context("make a socket")?;
    let address = address_in(&directory)?;
    connect(ours.as_raw_fd(), &address).context("connect to the container's monitor")?;
    Ok(ours)
}

/// The address of the monitor's socket in `directory`.
pub fn address_in(directory: &OwnedFd) -> Result<UnixAddr> {
    let path = format!("/proc/self/fd/{}/attach", directory.as_raw_fd());
    UnixAddr::new(path.as_str()).context("name the socket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_went() {
        for message in [
            Message::Attach,
            Message::Input(b"ls\n".to_vec()),
            Message::InputEnd,
            Message::Detach,
            Message::Networks,
            Message::Stopped,
            Message::Resize(50, 132),
            Message::Started(4711),
            Message::Failed(127, "no such file".into()),
            Message::Output(vec![0, 255]),
            Message::ErrorOutput(vec![]),
            Message::Told("step".into()),
            Message::Exited(-1),
        ] {
            assert_eq!(Message::decode(&message.encode()).unwrap(), message);
        }
        assert!(Message::decode(b"?").is_err());
        assert!(Message::decode(b"w1").is_err());
        assert!(Message::decode(b"").is_err());
    }
}
