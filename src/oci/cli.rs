//! Every verb and flag of the OCI face, as clap types; no logic. The names are those that engines call.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What `--version` says after the name; engines look for these lines.
const VERSION: &str = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.2.0");

/// An OCI runtime on rmac's core
#[derive(Debug, Parser)]
#[command(name = "rmac-oci", version = VERSION, disable_help_subcommand = true)]
pub struct Cli {
    /// Where the state of containers is kept: by default /run/rmac-oci, for an ordinary user
    /// $XDG_RUNTIME_DIR/rmac-oci
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// A file that errors are also written to
    #[arg(long, global = true, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// How they are written there
    #[arg(long, global = true, default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Tell more on the standard error output: with exec, the processors that the program began on
    #[arg(long, global = true)]
    pub debug: bool,
    /// Take a cgroupsPath of systemd's form; needs systemd, which rmac-oci does not talk to
    #[arg(long, global = true)]
    pub systemd_cgroup: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// How errors are written to the log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `time=... level=error msg=...`
    Text,
    /// One JSON object a line.
    Json,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a container, which waits for `start`
    Create(CreateArgs),
    /// Make a container, start it, and wait for its end
    Run(RunArgs),
    /// Let a created container run its program
    Start(One),
    /// Print the state of a container
    State(One),
    /// Send a signal to a container
    Kill(KillArgs),
    /// Remove what is left of a stopped container
    Delete(DeleteArgs),
    /// List containers
    List(ListArgs),
    /// List the processes of a container
    Ps(PsArgs),
    /// Run one more program in a running container
    Exec(ExecArgs),
    /// Let all processes of a container stand still
    Pause(One),
    /// Let them run again
    Resume(One),
    /// Change the limits of a container
    Update(UpdateArgs),
    /// Print what a container has used
    Events(EventsArgs),
    /// Print what this runtime can do
    Features,
    /// Write a config.json to begin with
    Spec(SpecArgs),
}

/// A container.
#[derive(Debug, Args)]
pub struct One {
    /// The container's id
    pub id: String,
}

/// The flags of `create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The container's id
    pub id: String,
    /// The directory of config.json
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    pub bundle: PathBuf,
    /// Where to write the first process's number
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// A socket that takes the terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Hand on this many descriptors beyond 0, 1 and 2
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub preserve_fds: u32,
    /// Change the root without pivot_root(2), as a root on a ramdisk needs
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the caller's session keyring, which may hold keys of the host's
    #[arg(long)]
    pub no_new_keyring: bool,
}

/// The flags of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Those of `create`
    #[command(flatten)]
    pub create: CreateArgs,
    /// Do not wait for its end
    #[arg(short, long)]
    pub detach: bool,
    /// Do not remove it when it has ended
    #[arg(long)]
    pub keep: bool,
}

/// The flags of `kill`.
#[derive(Debug, Args)]
pub struct KillArgs {
    /// The container's id
    pub id: String,
    /// A signal by name or number
    #[arg(default_value = "SIGTERM")]
    pub signal: String,
    /// To all processes of the container
    #[arg(short, long)]
    pub all: bool,
}

/// The flags of `delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The container's id
    pub id: String,
    /// Kill it first where it runs; absence is no error
    #[arg(short, long)]
    pub force: bool,
}

/// How lists are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns.
    Table,
    /// JSON.
    Json,
}

/// The flags of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// How
    #[arg(short, long, default_value = "table")]
    pub format: Format,
    /// Ids only
    #[arg(short, long)]
    pub quiet: bool,
}

/// The flags of `ps`.
#[derive(Debug, Args)]
pub struct PsArgs {
    /// The container's id
    pub id: String,
    /// How
    #[arg(short, long, default_value = "table")]
    pub format: Format,
    /// Arguments of ps(1)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<String>,
}

/// The flags of `exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The container's id
    pub id: String,
    /// A file with the process as in config.json
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Do not wait for its end
    #[arg(short, long)]
    pub detach: bool,
    /// Where to write the process's number
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// With a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// A socket that takes the terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Where it starts
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// A variable, NAME=value
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Its user, UID or UID:GID
    #[arg(short, long, value_name = "UID or UID:GID")]
    pub user: Option<String>,
    /// More groups
    #[arg(short = 'g', long, value_name = "GID")]
    pub additional_gids: Vec<u32>,
    /// One more capability
    #[arg(short, long, value_name = "CAP")]
    pub cap: Vec<String>,
    /// No new privileges
    #[arg(long)]
    pub no_new_privs: bool,
    /// A cgroup below the container's
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
    /// Hand on this many descriptors beyond 0, 1 and 2
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub preserve_fds: u32,
    /// Also in a paused container
    #[arg(long)]
    pub ignore_paused: bool,
    /// Accepted for engines that pass it
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// Accepted for engines that pass it
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// The flags of `update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The container's id
    pub id: String,
    /// A file with linux.resources as in config.json; `-` is the standard input
    #[arg(short, long, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// Bytes, or such as 50M; -1 takes the limit away, here and below
    #[arg(long, value_name = "BYTES", value_parser = size, allow_negative_numbers = true)]
    pub memory: Option<i64>,
    /// Bytes of memory and swap together
    #[arg(long, value_name = "BYTES", value_parser = size, allow_negative_numbers = true)]
    pub memory_swap: Option<i64>,
    /// Bytes that are left to it when memory is short
    #[arg(long, value_name = "BYTES", value_parser = size, allow_negative_numbers = true)]
    pub memory_reservation: Option<i64>,
    /// Share against other containers
    #[arg(long, value_name = "N")]
    pub cpu_share: Option<u64>,
    /// Microseconds in each period
    #[arg(long, value_name = "US", allow_negative_numbers = true)]
    pub cpu_quota: Option<i64>,
    /// Microseconds
    #[arg(long, value_name = "US")]
    pub cpu_period: Option<u64>,
    /// Microseconds beyond the quota that were saved before
    #[arg(long, value_name = "US")]
    pub cpu_burst: Option<u64>,
    /// 1: only what nobody else wants
    #[arg(long, value_name = "0|1", allow_negative_numbers = true)]
    pub cpu_idle: Option<i64>,
    /// Processors, such as 0-3
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes, such as 0-1
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Share of disk time, 10 to 1000
    #[arg(long, value_name = "N")]
    pub blkio_weight: Option<u16>,
    /// Processes
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
}

fn size(text: &str) -> Result<i64, String> {
    match text {
        "-1" => Ok(-1),
        text => crate::out::read_size(text).map_err(|error| error.to_string()),
    }
}

/// The flags of `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// The container's id
    pub id: String,
    /// Once
    #[arg(long)]
    pub stats: bool,
    /// How often, in seconds, without --stats
    #[arg(long, default_value = "5s", value_name = "TIME")]
    pub interval: String,
}

/// The flags of `spec`.
#[derive(Debug, Args)]
pub struct SpecArgs {
    /// Where config.json is written
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    pub bundle: PathBuf,
    /// For an ordinary user: in a user namespace, of which that user is root
    #[arg(long)]
    pub rootless: bool,
}
