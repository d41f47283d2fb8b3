//! rmac: a minimal, daemonless container runtime with built-in macvlan networking.
//!
//! The modules, in the order in which they are best read:
//!
//! * [`lesson`]: what a step tells about itself
//! * [`net`]: networks, addresses, links
//! * [`lab`]: a virtual LAN to try it all in
//! * [`store`]: where everything lies

pub mod lab;
pub mod lesson;
pub mod net;
pub mod store;
