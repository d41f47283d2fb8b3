//! rmac: a minimal, daemonless container runtime with built-in macvlan networking.
//!
//! The modules, in the order in which they are best read:
//!
//! * [`cli`]: every verb and flag; no logic
//! * [`commands`]: one verb a file: arguments in, text out
//! * [`oci`]: the second face, which engines such as podman call
//! * [`exit`]: the exit codes
//! * [`lesson`]: what a step tells about itself
//! * [`request`]: what `run` was asked for
//! * [`spec`]: from what was asked for to the one description of a container
//! * [`plan`]: from the description to the list of steps: THE ORDER
//! * [`step`]: one step, whatever concept it belongs to
//! * [`launch`]: takes the steps, on both sides of the clone
//! * [`files`]: files copied into a container and out of it, and what it has changed
//! * [`supervise`]: what stays with a container, and what its callers say to it
//! * [`explain`]: the steps, told or written as a script
//! * [`kernel`]: the kernel's concepts, one file each
//! * [`net`]: networks, addresses, links
//! * [`lab`]: a virtual LAN to try it all in
//! * [`store`]: where everything lies
//! * [`out`]: what is printed: tables, JSON, Go templates, ages and sizes
//! * [`sys`]: the system calls that nix does not wrap

// A pipe that nobody reads is no reason to panic: out::stream.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod cli;
pub mod commands;
pub mod exit;
pub mod explain;
pub mod files;
pub mod kernel;
pub mod lab;
pub mod launch;
pub mod lesson;
pub mod net;
pub mod oci;
pub mod out;
pub mod plan;
pub mod request;
pub mod spec;
pub mod step;
pub mod store;
pub mod supervise;
pub mod sys;
