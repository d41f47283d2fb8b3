//! The flags of the verbs about volumes.

use clap::{Args, Subcommand};

/// The verbs of `volume`.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// Create a volume
    Create(CreateArgs),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Display detailed information on one or more volumes
    Inspect(InspectArgs),
    /// Remove one or more volumes
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Remove unused local volumes
    Prune(VolumePruneArgs),
}

/// The flags of `volume create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Specify volume driver name: local
    #[arg(short, long, default_value = "local")]
    pub driver: String,
    /// Set metadata for a volume
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,
    /// Its name
    #[arg(value_name = "VOLUME")]
    pub name: Option<String>,
}

/// The flags of `volume ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Only display volume names
    #[arg(short, long)]
    pub quiet: bool,
    /// Filter output: dangling, driver, label, name
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Format output: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// The flags of `volume inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Format output: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Names
    #[arg(value_name = "VOLUME", required = true)]
    pub volumes: Vec<String>,
}

/// The flags of `volume rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Let it be no error that a volume is not there
    #[arg(short, long)]
    pub force: bool,
    /// Names
    #[arg(value_name = "VOLUME", required = true)]
    pub volumes: Vec<String>,
}

/// The flags of `volume prune`.
#[derive(Debug, Args)]
pub struct VolumePruneArgs {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short, long)]
    pub all: bool,
    /// Which of them, and whether to ask.
    #[command(flatten)]
    pub prune: super::system::PruneArgs,
}
