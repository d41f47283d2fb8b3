//! The network: what a container's `eth0` is, who gives it an address, and how it gets there.
//!
//! In reading order:
//!
//! * [`endpoint`]: one container's place in one network: address, MAC, interface (pure)
//! * [`network`]: a network as it was declared (pure)
//! * [`kind`]: macvlan, ipvlan and their modes (pure)
//! * [`host`]: the host's links, as far as a network's parent is concerned (pure)
//! * [`lower`]: the links of the host that rmac makes: VLANs, and those that lead nowhere
//! * [`declare`]: every check of what a user may declare (pure)
//! * [`ipam`]: which address comes next (pure)
//! * [`link`]: the steps that give a network namespace its loopback, macvlan, address and route
//! * [`netns`]: entering and pinning network namespaces, network_namespaces(7)
//! * [`netlink`]: the messages to the kernel, rtnetlink(7): the only file that is asynchronous
//! * [`announce`]: telling the LAN who has the address now, RFC 5227 section 3
//!
//! Nothing here knows where state is kept or which flags a command has.

pub mod announce;
pub mod declare;
pub mod endpoint;
pub mod host;
pub mod ipam;
pub mod kind;
pub mod link;
pub mod lower;
pub mod netlink;
pub mod netns;
pub mod network;
