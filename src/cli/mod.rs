//! Every verb and flag, as clap types; no logic.
//!
//! Names, letters and help follow Docker's, so that who knows the one knows the other.

pub mod container;
pub mod files;
pub mod image;
pub mod lab;
pub mod limits;
pub mod login;
pub mod mistakes;
pub mod network;
pub mod quick;
pub mod run;
pub mod system;
pub mod volume;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Where root's rmac keeps what survives a reboot; an ordinary user's lies in `$XDG_DATA_HOME/rmac`.
pub const ROOT: &str = "/var/lib/rmac";

/// Where root's rmac keeps what does not; an ordinary user's lies in `$XDG_RUNTIME_DIR/rmac`.
pub const RUNROOT: &str = "/run/rmac";

/// A minimal, daemonless container runtime with built-in macvlan networking
#[derive(Debug, Parser)]
#[command(
    name = "rmac",
    version,
    propagate_version = false,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Where rmac keeps its state
    #[command(flatten)]
    pub roots: Roots,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Where rmac keeps its state: the flags that every verb has.
#[derive(Debug, Args)]
pub struct Roots {
    /// Where rmac keeps what survives a reboot
    #[arg(
        long,
        global = true,
        env = "RMAC_ROOT",
        default_value = ROOT,
        value_name = "DIR",
        hide_env_values = true
    )]
    pub root: PathBuf,
    /// Where rmac keeps what is gone at reboot
    #[arg(
        long,
        global = true,
        env = "RMAC_RUNROOT",
        default_value = RUNROOT,
        value_name = "DIR",
        hide_env_values = true
    )]
    pub runroot: PathBuf,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create and run a new container from an image
    Run(Box<run::RunArgs>),
    /// Create a new container
    Create(Box<run::CreateArgs>),
    /// Start one or more stopped containers
    Start(container::StartArgs),
    /// Execute a command in a running container
    Exec(container::ExecArgs),
    /// Copy files/folders between a container and the local filesystem
    Cp(files::CpArgs),
    /// Inspect changes to files or directories on a container's filesystem
    Diff(files::DiffArgs),
    /// Export a container's filesystem as a tar archive
    Export(files::ExportArgs),
    /// Stop one or more running containers
    Stop(container::StopArgs),
    /// Kill one or more running containers
    Kill(container::KillArgs),
    /// Restart one or more containers
    Restart(container::StopArgs),
    /// Pause all processes within one or more containers
    Pause(container::Names),
    /// Unpause all processes within one or more containers
    Unpause(container::Names),
    /// Rename a container
    Rename(container::RenameArgs),
    /// Update configuration of one or more containers
    Update(container::UpdateArgs),
    /// Display a live stream of container(s) resource usage statistics
    Stats(container::StatsArgs),
    /// Display the running processes of a container
    Top(container::TopArgs),
    /// Block until one or more containers stop, then print their exit codes
    Wait(container::Names),
    /// Remove one or more containers
    Rm(container::RmArgs),
    /// List containers
    Ps(container::PsArgs),
    /// Fetch the logs of a container
    Logs(container::LogsArgs),
    /// Attach local standard input, output, and error streams to a running container
    Attach(container::AttachArgs),
    /// List port mappings or a specific mapping for the container
    Port(container::PortArgs),
    /// Return low-level information on containers, images and networks
    Inspect(container::InspectArgs),
    /// Manage containers
    #[command(subcommand)]
    Container(container::ContainerCommand),
    /// Download an image from a registry
    Pull(image::PullArgs),
    /// Authenticate to a registry
    Login(login::LoginArgs),
    /// Log out from a registry
    Logout(login::LogoutArgs),
    /// List images
    Images(image::ImagesArgs),
    /// Remove one or more images
    Rmi(image::RmiArgs),
    /// Show the history of an image
    History(image::HistoryArgs),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(image::TagArgs),
    /// Load images from a docker archive, an OCI archive or an OCI layout directory
    Load(image::LoadArgs),
    /// Import the contents from a tarball to create a filesystem image
    Import(image::ImportArgs),
    /// Manage images
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Manage networks
    #[command(subcommand)]
    Network(network::NetworkCommand),
    /// Manage volumes
    #[command(subcommand)]
    Volume(volume::VolumeCommand),
    /// Manage rmac: disk usage, information, what is unused
    #[command(subcommand)]
    System(system::SystemCommand),
    /// Display system-wide information
    Info(system::InfoArgs),
    /// A virtual LAN to try it all in
    Lab(lab::LabArgs),
    /// Show the rmac version information
    Version(VersionArgs),
    /// Print shell completions
    #[command(hide = true)]
    Completion(CompletionArgs),
}

/// The flags of `version`.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Format output: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// The flags of `completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// For which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definitions_hold_together() {
        super::Cli::command().debug_assert();
    }
}
