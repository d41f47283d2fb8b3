//! What the child says to the host, and how it is heard: one datagram each, over `SOCK_SEQPACKET`.  unix(7), recvmsg(2)

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};

use super::Failure;
use crate::kernel::program;
use crate::plan::Plan;
use crate::step::Step;
use crate::sys;

/// What the child says: one datagram each, so nothing needs a length.
pub(super) const READY: u8 = b'r';
pub(super) const TOOK: u8 = b't';
pub(super) const TERMINAL: u8 = b'p';
pub(super) const CALLS: u8 = b'c';
pub(super) const FAILED: u8 = b'f';
/// As many descriptors as one datagram carries (SCM_MAX_FD of the kernel).
pub(super) const MOST_DESCRIPTORS: usize = 253;
/// Longest datagram: an error text is cut there.
pub(super) const LONGEST: usize = 4096;
/// What one who tells of many steps may need.
const LONGEST_TOLD: usize = 32 * 1024;

/// The two ends over which host and child talk; execve closes the child's.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let (domain, flags) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
    socketpair(domain, SockType::SeqPacket, None, flags)
        .context("make the socket between host and child")
}

pub(super) fn said(code: u8, text: &[u8]) -> Failure {
    Failure {
        code,
        error: anyhow!("{}", String::from_utf8_lossy(text)),
    }
}

/// The trampoline of the plan's program came back with this errno, the lowest byte first.
pub(super) fn not_executed(plan: &Plan, errno: &[u8]) -> Failure {
    let errno = errno
        .first_chunk()
        .map_or(0, |low| i32::from_le_bytes(*low));
    let name = plan.enter.iter().rev().find_map(|step| match step {
        Step::Program(program::Step::Execute { args, .. }) => args.first(),
        _ => None,
    });
    let error = program::refused(name.map_or("", |name| name), Errno::from_raw(errno));
    Failure {
        code: error.exit_code(),
        error: error.into(),
    }
}

/// The child could not be made. Born into its cgroup (v2), it may be one too many there.
pub(super) fn not_cloned(plan: &Plan, error: std::io::Error) -> Failure {
    let full = plan.cgroup.is_some() && error.raw_os_error() == Some(nix::libc::EAGAIN);
    match full {
        true => Failure {
            code: 126,
            error: anyhow!(
                "{}: {error}: the container needs room for one more process (--pids-limit)",
                plan.clone
            ),
        },
        false => anyhow::Error::from(error)
            .context(plan.clone.to_string())
            .into(),
    }
}

/// The trampoline could not bear the program's process.
pub(super) fn not_born(errno: &[u8]) -> Failure {
    let errno = errno
        .first_chunk()
        .map_or(0, |low| i32::from_le_bytes(*low));
    let error = anyhow!(
        "clone: {}: a container with CAP_SYS_PTRACE needs room for two more processes (--pids-limit, --ulimit \
         nproc), and a seccomp profile that knows clone and setsid",
        Errno::from_raw(errno)
    );
    Failure { code: 126, error }
}

/// Lets a container go on that waits at its gate; `caller` is connected to it. Returns when the program
/// has started.
///
/// # Errors
/// As [`super::launch`].
pub fn open_gate(caller: &OwnedFd) -> Result<(), Failure> {
    nix::sys::socket::send(caller.as_raw_fd(), b"g", MsgFlags::MSG_NOSIGNAL)
        .context("tell the container to go on")?;
    let mut buffer = vec![0; LONGEST];
    match receive(caller, &mut buffer)? {
        (0, _) => Ok(()),
        (length, _) => match &buffer[..length] {
            [FAILED, code, text @ ..] => Err(said(*code, text)),
            _ => Err(anyhow!("the container said something unknown").into()),
        },
    }
}

/// The next datagram in `buffer`, and the descriptor that came with it.
pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let (length, fds) = receive_with(socket, buffer, &mut space)?;
    Ok((length, fds.into_iter().next()))
}

/// The next datagram, and all descriptors that came with it; an empty one is the end of the socket.
pub(super) fn receive_all(socket: &OwnedFd) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let mut buffer = vec![0; LONGEST_TOLD];
    let (length, fds) = receive_with(socket, &mut buffer, &mut space)?;
    buffer.truncate(length);
    Ok((buffer, fds))
}

fn receive_with(
    socket: &OwnedFd,
    buffer: &mut [u8],
    space: &mut [u8],
) -> Result<(usize, Vec<OwnedFd>)> {
    let mut parts = [std::io::IoSliceMut::new(buffer)];
    loop {
        match recvmsg::<()>(
            socket.as_raw_fd(),
            &mut parts,
            Some(space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Ok(message) => {
                let fds =
                    message
                        .cmsgs()
                        .into_iter()
                        .flatten()
                        .filter_map(|control| match control {
                            ControlMessageOwned::ScmRights(fds) => Some(fds),
                            _ => None,
                        });
                let fds = fds.flatten().map(sys::inherited_fd);
                return Ok((message.bytes, fds.collect::<std::io::Result<_>>()?));
            }
            // A child that ends with our word unread resets the socket: told once, before what it said.
            Err(Errno::EINTR | Errno::ECONNRESET) => (),
            Err(errno) => return Err(errno).context("hear from the child"),
        }
    }
}

/// Hands descriptors over with a word that says what they are.
pub(super) fn hand_over(socket: &OwnedFd, word: &[u8], fds: &[RawFd]) -> Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let rights = if fds.is_empty() { &[][..] } else { &rights };
    let parts = [IoSlice::new(word)];
    let sent = sendmsg::<()>(
        socket.as_raw_fd(),
        &parts,
        rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    );
    sent.map(drop).context("hand a descriptor over")
}
