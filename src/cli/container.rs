//! The flags of the verbs about containers.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

use super::files::{CpArgs, DiffArgs, ExportArgs};
use super::limits::LimitArgs;
use super::run::{CreateArgs, RunArgs};
use crate::explain::Style;

/// The flags of `start`.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    pub attach: bool,
    /// Attach container's STDIN
    #[arg(short, long)]
    pub interactive: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Tell each step as it is taken
    #[arg(long, value_enum, value_name = "STYLE", num_args = 0..=1, require_equals = true, default_missing_value = "full")]
    pub explain: Option<Style>,
    /// Start what its restart policy wants to run, as a daemon would when the machine has come up: always, and
    /// unless-stopped where nobody has stopped it
    #[arg(long, conflicts_with_all = ["containers", "attach", "interactive"])]
    pub at_boot: bool,
    /// Names or IDs
    #[arg(value_name = "CONTAINER", required_unless_present = "at_boot")]
    pub containers: Vec<String>,
}

/// The flags of `exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    pub detach: bool,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub interactive: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub tty: bool,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Username or UID, and group: name, uid, name:group or uid:gid
    #[arg(short, long)]
    pub user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Give extended privileges to the command
    #[arg(long)]
    pub privileged: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Name or ID
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// The command and its arguments
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<String>,
}

/// The flags of `stop`, and of `restart`, which stops first.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Signal to send to the container
    #[arg(short, long, value_name = "SIGNAL")]
    pub signal: Option<String>,
    /// Seconds to wait before killing the container (-1: for ever)
    #[arg(
        short,
        long,
        visible_alias = "time",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    pub timeout: Option<i64>,
    /// Names or IDs
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// The flags of `kill`.
#[derive(Debug, Args)]
pub struct KillArgs {
    /// Signal to send to the container
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    pub signal: String,
    /// Names or IDs
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// Names of containers and nothing else.
#[derive(Debug, Args)]
pub struct Names {
    /// Names or IDs
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// The flags of `update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// What it may use
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Restart policy to apply when the container exits
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<String>,
    /// Names or IDs
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// The flags of `stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    pub all: bool,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    pub no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Names or IDs
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// The flags of `rename`.
#[derive(Debug, Args)]
pub struct RenameArgs {
    /// Name or ID
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// The new name
    #[arg(value_name = "NEW_NAME")]
    pub new: String,
}

/// The flags of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Name or ID
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// The flags of `rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    pub force: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    pub volumes: bool,
    /// Names or IDs
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// The flags of `ps`.
#[derive(Debug, Default, Args)]
pub struct PsArgs {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    pub all: bool,
    /// Only display container IDs
    #[arg(short, long)]
    pub quiet: bool,
    /// Don't truncate output
    #[arg(long)]
    pub no_trunc: bool,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    pub latest: bool,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "NUMBER")]
    pub last: Option<usize>,
    /// Filter output: id, name, status, exited, label, ancestor, network, volume, before, since, health
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Format output: table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// The flags of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Follow log output
    #[arg(short, long)]
    pub follow: bool,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, value_name = "NUMBER", default_value = "all")]
    pub tail: String,
    /// Show timestamps
    #[arg(short, long)]
    pub timestamps: bool,
    /// Show logs since a time (e.g. 2026-01-02T13:23:37Z) or so long ago (e.g. 42m)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Show logs before a time, or so long ago
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Name or ID
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// The flags of `port`.
#[derive(Debug, Args)]
pub struct PortArgs {
    /// Name or ID
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// A port of the container, tcp's where nothing else is said
    #[arg(value_name = "PRIVATE_PORT[/PROTO]")]
    pub port: Option<String>,
}

/// The flags of `attach`.
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// Do not attach STDIN
    #[arg(long)]
    pub no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = ArgAction::Set)]
    pub sig_proxy: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Name or ID
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// The flags of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Format output: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Only look for objects of this type: container, image or network
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Names or IDs
    #[arg(value_name = "NAME|ID", required = true)]
    pub names: Vec<String>,
}

/// The verbs of `rmac container`: the same as those at the top.
#[derive(Debug, Subcommand)]
pub enum ContainerCommand {
    /// Create and run a new container from an image
    Run(Box<RunArgs>),
    /// Create a new container
    Create(Box<CreateArgs>),
    /// Start one or more stopped containers
    Start(StartArgs),
    /// Execute a command in a running container
    Exec(ExecArgs),
    /// Copy files/folders between a container and the local filesystem
    Cp(CpArgs),
    /// Inspect changes to files or directories on a container's filesystem
    Diff(DiffArgs),
    /// Export a container's filesystem as a tar archive
    Export(ExportArgs),
    /// Stop one or more running containers
    Stop(StopArgs),
    /// Kill one or more running containers
    Kill(KillArgs),
    /// Restart one or more containers
    Restart(StopArgs),
    /// Pause all processes within one or more containers
    Pause(Names),
    /// Unpause all processes within one or more containers
    Unpause(Names),
    /// Rename a container
    Rename(RenameArgs),
    /// Update configuration of one or more containers
    Update(UpdateArgs),
    /// Display a live stream of container(s) resource usage statistics
    Stats(StatsArgs),
    /// Display the running processes of a container
    Top(TopArgs),
    /// Block until one or more containers stop, then print their exit codes
    Wait(Names),
    /// Remove one or more containers
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// List port mappings or a specific mapping for the container
    Port(PortArgs),
    /// Remove all stopped containers
    Prune(super::system::PruneArgs),
    /// List containers
    #[command(visible_aliases = ["ps", "list"])]
    Ls(PsArgs),
    /// Fetch the logs of a container
    Logs(LogsArgs),
    /// Attach local streams to a running container
    Attach(AttachArgs),
    /// Display detailed information on one or more containers
    Inspect(InspectArgs),
}
