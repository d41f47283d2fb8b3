//! A link of the host's that goes into a container as it is: `linux.netDevices`.  rtnetlink(7), network_namespaces(7)

use std::os::fd::AsRawFd;

use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::LinkUnspec;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};

use super::read::link;
use super::{Refused, Wires};
use crate::net::endpoint::Probe;

impl Wires {
    /// Moves the caller's link `name` into the other network namespace and switches it on; it keeps its permanent
    /// global addresses. It is called `new` there, where `%d` stands for the first number that is free.
    ///
    /// # Errors
    /// There is no such link, it cannot be moved, or the name is taken.
    pub fn bring_link(&mut self, name: &str, new: &str) -> Result<(), Refused> {
        let outside = self.outside()?;
        let index = self.find(&outside, name)?.index;
        let wanted = outside.address().get().set_link_index_filter(index);
        let addresses = self.all(&format!("list the addresses of {name}"), wanted.execute())?;
        let before = self.names()?;
        let message = LinkUnspec::new_with_index(index)
            .name(new)
            .setns_by_fd(self.netns.as_raw_fd())
            .build();
        let request = format!("move {name} into the container as {new}");
        self.wait(&request, outside.link().change(message).execute())?;
        self.indices.clear();
        let added = self
            .names()?
            .into_iter()
            .find(|name| !before.contains(name));
        let Some(new) = added else {
            let errno = Errno::ENODEV;
            return Err(Refused { request, errno });
        };
        for address in addresses.iter().filter_map(kept) {
            self.add_address(&new, address, Probe::Off)?;
        }
        self.set_up(&new)
    }

    fn names(&mut self) -> Result<Vec<String>, Refused> {
        let links = self.all("list the links", self.inside.link().get().execute())?;
        Ok(links.iter().map(|message| link(message).name).collect())
    }
}

/// An address that goes with its link: what was given for good, and for use beyond the link.
fn kept(message: &AddressMessage) -> Option<IpNet> {
    let header = &message.header;
    let permanent = header.flags.contains(AddressHeaderFlags::Permanent);
    if !permanent || header.scope != AddressScope::Universe {
        return None;
    }
    // Beside the peer's address, where there is one, stands the local one.
    let local = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
    let address = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
    IpNet::new(local.or(address)?, header.prefix_len).ok()
}
