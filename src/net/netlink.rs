//! The messages to the kernel: rtnetlink(7).
//!
//! Links, addresses and routes have no system calls of their own. One opens a socket of the family
//! AF_NETLINK and sends messages to the kernel; it answers each with an errno. The socket belongs to
//! the network namespace in which it was opened, so there are two: one in the caller's, where the
//! parent is, and one in the container's.
//!
//! This is the only file that knows about tokio. The crate `rtnetlink` is asynchronous; here it runs
//! on the calling thread alone, one request at a time, and when [`Wires`] is dropped no thread,
//! runtime or socket is left.
//!
//! What the messages say stands in `make` (links, addresses, routes) and in `read` (what is there).

mod change;
mod device;
mod make;
mod read;

pub use make::Membership;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{Handle, LinkUnspec};
use tokio::runtime::Runtime;

use super::host::Link;
use super::netns;
use crate::sys::mounts::FsContext;

/// The kernel refused a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{request}: {errno}")]
pub struct Refused {
    /// What was asked for.
    pub request: String,
    /// The kernel's answer.
    pub errno: Errno,
}

/// The sockets to the kernel: one in a network namespace, such as a container's, and one in the
/// caller's, opened when it is first needed.
pub struct Wires {
    // In this order: the connections run on the runtime, and the sockets close with it.
    inside: Handle,
    outside: Option<Handle>,
    runtime: Runtime,
    netns: OwnedFd,
    indices: Vec<(String, u32)>,
    /// The links that were made here, and whether they have many others beside them on their parent, if that can be known.
    made: Vec<(String, Option<bool>)>,
    /// Where the settings are, once one was written.
    proc: Option<OwnedFd>,
}

impl Wires {
    /// Opens a socket in `netns`; the other one will be in the caller's network namespace.
    pub fn open(netns: BorrowedFd<'_>) -> Result<Wires> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("make an event loop for netlink")?;
        let inside = netns::within(netns, || connect(&runtime).context("open a netlink socket"))?;
        Ok(Wires {
            inside,
            outside: None,
            runtime,
            netns: netns
                .try_clone_to_owned()
                .context("duplicate a descriptor")?,
            indices: Vec::new(),
            made: Vec::new(),
            proc: None,
        })
    }

    /// Opens a socket in the caller's own network namespace.
    pub fn here() -> Result<Wires> {
        Wires::open(netns::own()?.as_fd())
    }

    /// Switches the link `name` on.
    pub fn set_up(&mut self, name: &str) -> Result<(), Refused> {
        let message = LinkUnspec::new_with_name(name).up().build();
        self.change(&format!("switch {name} on"), message)
    }

    /// Deletes the link `name`; ENODEV where there is none. Takes some 20 ms, since the kernel waits
    /// until nobody can be looking at it any more.
    pub fn delete_link(&mut self, name: &str) -> Result<(), Refused> {
        self.indices.retain(|(known, _)| known != name);
        let message = LinkUnspec::new_with_name(name).build();
        let request = self.inside.link().del_with_message(message).execute();
        self.wait(&format!("delete the link {name}"), request)
    }

    /// Switches the link `name` of the caller's network namespace on.
    pub fn set_up_outside(&mut self, name: &str) -> Result<(), Refused> {
        let outside = self.outside()?;
        let message = LinkUnspec::new_with_name(name).up().build();
        let request = outside.link().change(message).execute();
        self.wait(&format!("switch {name} on"), request)
    }

    /// Deletes the link `name` of the caller's network namespace.
    pub fn delete_outside(&mut self, name: &str) -> Result<(), Refused> {
        let outside = self.outside()?;
        let message = LinkUnspec::new_with_name(name).build();
        let request = outside.link().del_with_message(message).execute();
        self.wait(&format!("delete the link {name}"), request)
    }

    /// Whether many sit on the parent of the link `name`, which was made here; `None` where that is not known.
    pub fn is_among_many(&self, name: &str) -> Option<bool> {
        let made = self.made.iter().rfind(|(made, _)| made == name);
        made.and_then(|(_, among_many)| *among_many)
    }

    fn among_few(&self) -> bool {
        let last = self.made.last();
        last.is_some_and(|(_, among_many)| *among_many == Some(false))
    }

    /// Writes the setting `path`, a file below /proc/sys/net of the network namespace. A kernel that does not have it
    /// is content.
    pub fn write_setting_if_there(&mut self, path: &str, value: &str) -> Result<()> {
        let context = || format!("write {value} to {path}");
        let proc = match self.proc.take() {
            Some(proc) => proc,
            None if self.among_few() => File::open("/proc").with_context(context)?.into(),
            None => own_proc().with_context(context)?,
        };
        let name = path.strip_prefix("/proc/").unwrap_or(path);
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let written = netns::within(self.netns.as_fd(), || {
            match openat(&proc, name, flags, Mode::empty()) {
                Err(Errno::ENOENT) => Ok(()),
                file => File::from(file.with_context(context)?)
                    .write_all(value.as_bytes())
                    .with_context(context),
            }
        });
        self.proc = Some(proc);
        written
    }

    fn rename(&mut self, old: &str, new: &str) -> Result<(), Refused> {
        let index = self.index(old)?;
        self.indices.clear();
        let message = LinkUnspec::new_with_index(index).name(new).build();
        self.change(&format!("rename {old} to {new}"), message)
    }

    fn change(&self, request: &str, message: LinkMessage) -> Result<(), Refused> {
        self.wait(request, self.inside.link().change(message).execute())
    }

    /// The index of the link `name` inside; asked for once.
    fn index(&mut self, name: &str) -> Result<u32, Refused> {
        if let Some((_, index)) = self.indices.iter().find(|(known, _)| known == name) {
            return Ok(*index);
        }
        let index = self.find(&self.inside, name)?.index;
        self.indices.push((name.to_owned(), index));
        Ok(index)
    }

    /// One link by name: much less work for the kernel than the list of all links.
    fn find(&self, wire: &Handle, name: &str) -> Result<Link, Refused> {
        let request = wire.link().get().match_name(name).execute();
        let message = self.first(&format!("look for the link {name}"), request)?;
        Ok(read::link(&message))
    }

    /// The socket in the caller's network namespace.
    fn outside(&mut self) -> Result<Handle, Refused> {
        if self.outside.is_none() {
            let connected = connect(&self.runtime).map_err(|error| Refused {
                request: "open a netlink socket".to_owned(),
                errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
            })?;
            self.outside = Some(connected);
        }
        match &self.outside {
            Some(handle) => Ok(handle.clone()),
            None => unreachable!("it was opened just now"),
        }
    }

    /// Runs `answer` to its end on this thread.
    fn wait<T>(
        &self,
        request: &str,
        answer: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, Refused> {
        self.runtime
            .block_on(answer)
            .map_err(|error| refused(request, &error))
    }

    /// The first message of an answer.
    fn first<T>(
        &self,
        request: &str,
        answer: impl futures_core::Stream<Item = Result<T, rtnetlink::Error>>,
    ) -> Result<T, Refused> {
        let mut answer = std::pin::pin!(answer);
        let next = std::future::poll_fn(|context| answer.as_mut().poll_next(context));
        self.wait(request, async {
            next.await.unwrap_or(Err(rtnetlink::Error::RequestFailed))
        })
    }

    /// All messages of an answer.
    fn all<T>(
        &self,
        request: &str,
        answer: impl futures_core::Stream<Item = Result<T, rtnetlink::Error>>,
    ) -> Result<Vec<T>, Refused> {
        let mut answer = std::pin::pin!(answer);
        let mut messages = Vec::new();
        self.wait(request, async {
            loop {
                let next = std::future::poll_fn(|context| answer.as_mut().poll_next(context));
                match next.await {
                    Some(message) => messages.push(message?),
                    None => return Ok(()),
                }
            }
        })?;
        Ok(messages)
    }
}

/// The root of a procfs of our own, mounted nowhere, or of the one at /proc where that is not to be had.
///
/// In the one at /proc the names below `sys/net` of all network namespaces lie in one chain of the kernel's cache, and
/// each name on it is looked at: beside a thousand containers a path takes 1 ms. In a new one there is nothing yet, but
/// it takes 0.1 ms itself, with the end of the mount, which does not pay among few.
fn own_proc() -> std::io::Result<OwnedFd> {
    let own = FsContext::open("proc").and_then(|proc| proc.mount(0));
    own.or_else(|_| File::open("/proc").map(OwnedFd::from))
}

/// Opens a socket in the network namespace that the thread is in, served by `runtime`.
fn connect(runtime: &Runtime) -> std::io::Result<Handle> {
    let _context = runtime.enter();
    let (connection, handle, _) = rtnetlink::new_connection()?;
    runtime.spawn(connection);
    Ok(handle)
}

fn refused(request: &str, error: &rtnetlink::Error) -> Refused {
    let (request, errno) = match error {
        rtnetlink::Error::NetlinkError(message) => {
            let errno = message.code.map_or(0, |code| -code.get());
            (request.to_owned(), Errno::from_raw(errno))
        }
        other => (format!("{request}: {other}"), Errno::EIO),
    };
    Refused { request, errno }
}
