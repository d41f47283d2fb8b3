//! The flags of `rmac lab`.

use std::ffi::OsString;

use clap::{Args, Subcommand, ValueEnum};

/// A virtual LAN to try it all in
#[derive(Debug, Clone, Args)]
pub struct LabArgs {
    /// Which lab, as there may be several
    #[arg(long, global = true, env = "RMAC_LAB", default_value = "lab")]
    pub name: String,
    /// What to do
    #[command(subcommand)]
    pub command: LabCommand,
}

/// The verbs of `rmac lab`.
#[derive(Debug, Clone, Subcommand)]
pub enum LabCommand {
    /// Build the lab: a switch, a router and a host
    Up,
    /// Take the lab away, with its containers and their state
    Down,
    /// Start a shell on the lab's host
    Shell {
        /// The station to start it on
        #[arg(long, value_enum, default_value_t = On::Host)]
        on: On,
    },
    /// Run a command on the lab's host
    Run {
        /// The station to run it on
        #[arg(long, value_enum, default_value_t = On::Host)]
        on: On,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Show the lab and what runs in it
    Status,
}

/// A station of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum On {
    /// The machine that containers run on
    Host,
    /// The LAN's router
    Router,
    /// The router of VLAN 10
    Router10,
    /// The switch
    Switch,
}
