//! rmac: a minimal, daemonless container runtime with built-in macvlan networking.
//!
//! The modules, in the order in which they are best read:
//!
//! * [`lesson`]: what a step tells about itself
//! * [`store`]: where everything lies

pub mod kernel;
pub mod lesson;
pub mod spec;
pub mod store;
pub mod sys;
