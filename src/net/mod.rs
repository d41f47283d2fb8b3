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
//! * [`allow`]: what every program of a network namespace may do without a capability
//! * [`netns`]: entering and pinning network namespaces, network_namespaces(7)
//! * [`netlink`]: the messages to the kernel, rtnetlink(7): the only file that is asynchronous
//! * [`announce`]: telling the LAN who has the address now, RFC 5227 section 3
//! * [`conflict`]: asking the LAN whether somebody has it already, RFC 5227 section 2
//! * [`dhcp`]: an address from the LAN's own server, RFC 2131
//! * [`host_access`]: how the host reaches the containers on its own link
//! * [`names`]: how containers find each other, hosts(5)
//! * [`watch`]: hearing of changes of the host's links
//!
//! Nothing here knows where state is kept or which flags a command has.

pub mod allow;
pub mod announce;
pub mod conflict;
pub mod declare;
pub mod dhcp;
pub mod endpoint;
pub mod host;
pub mod host_access;
pub mod ipam;
pub mod kind;
pub mod link;
pub mod lower;
pub mod names;
pub mod netlink;
pub mod netns;
pub mod network;
pub mod preflight;
pub mod watch;
