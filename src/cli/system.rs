//! The flags of `rmac system`, `info` and of all that prunes.

use clap::{Args, Subcommand};

/// The verbs of `rmac system`.
#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Show disk usage
    Df(DfArgs),
    /// Display system-wide information
    Info(InfoArgs),
    /// Remove unused data
    Prune(SystemPruneArgs),
}

/// The flags of `system df`.
#[derive(Debug, Args)]
pub struct DfArgs {
    /// Show detailed information on space usage
    #[arg(short, long, conflicts_with = "format")]
    pub verbose: bool,
    /// Format output: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// The flags of `info`.
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// Format output: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// The flags of `container prune` and `network prune`, and of each other `prune`.
#[derive(Debug, Clone, Default, Args)]
pub struct PruneArgs {
    /// Do not prompt for confirmation
    #[arg(short, long)]
    pub force: bool,
    /// Provide filter values: until=TIMESTAMP-OR-AGE, label=KEY or label=KEY=VALUE, label!=..., dangling=BOOL of images
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
}

/// The flags of `image prune`.
#[derive(Debug, Args)]
pub struct ImagePruneArgs {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    pub all: bool,
    /// Which of them, and whether to ask.
    #[command(flatten)]
    pub prune: PruneArgs,
}

/// The flags of `system prune`.
#[derive(Debug, Args)]
pub struct SystemPruneArgs {
    /// As for images alone.
    #[command(flatten)]
    pub images: ImagePruneArgs,
    /// Prune anonymous volumes
    #[arg(long)]
    pub volumes: bool,
}
