//! rmac: a minimal, daemonless container runtime with built-in macvlan networking.
//!
//! The modules, in the order in which they are best read:
//!
//! * [`lesson`]: what a step tells about itself
//! * [`out`]: what is printed: tables, JSON, Go templates, ages and sizes
//! * [`store`]: where everything lies

pub mod lesson;
pub mod out;
pub mod store;
