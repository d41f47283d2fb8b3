//! The flags of `run` and `create`.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use super::limits::LimitArgs;
use crate::explain::Style;

/// The flags of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Run container in background and print container ID
    #[arg(short, long)]
    pub detach: bool,
    /// Proxy received signals to the process
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = ArgAction::Set)]
    pub sig_proxy: bool,
    /// Tell each step as it is taken: what, why, what breaks without it, how long it took
    #[arg(long, value_enum, value_name = "STYLE", num_args = 0..=1, require_equals = true, default_missing_value = "full")]
    pub explain: Option<Style>,
    /// Print the equivalent shell script instead of running anything
    #[arg(long)]
    pub dry_run: bool,
    /// What is run
    #[command(flatten)]
    pub container: ContainerArgs,
}

/// The flags of `create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// What is created
    #[command(flatten)]
    pub container: ContainerArgs,
}

/// What a container is like: the flags that `run` and `create` share.
#[derive(Debug, Args)]
// -h is the host name, as with Docker.
#[command(disable_help_flag = true)]
pub struct ContainerArgs {
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_name = "STREAM")]
    pub attach: Vec<String>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub interactive: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub tty: bool,
    /// Automatically remove the container when it exits
    #[arg(long)]
    pub rm: bool,
    /// Restart policy when the container exits: no, on-failure, on-failure:MOST, always or unless-stopped
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "no",
        hide_default_value = true
    )]
    pub restart: String,
    /// Assign a name to the container
    #[arg(long)]
    pub name: Option<String>,
    /// Connect a container to a network: its name, none, host, container:NAME,
    /// or name=N,ip=A,ip6=A,alias=N,mac-address=M,driver-opt=K=V,gw-priority=P
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    pub network: Vec<String>,
    /// IPv4 address (e.g., 172.16.86.30)
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// IPv6 address (e.g., fd00:86::30)
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<String>,
    /// Which of several networks has the default route: the highest
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub gw_priority: Option<i32>,
    /// Container MAC address (e.g., 92:d0:c6:0a:29:33)
    #[arg(long, value_name = "MAC")]
    pub mac_address: Option<String>,
    /// Add network-scoped alias for the container
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    pub network_alias: Vec<String>,
    /// Container host name
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Container NIS domain name
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,
    /// Note that the program listens on a port or a range of ports
    #[arg(long, value_name = "PORT")]
    pub expose: Vec<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Add additional groups to join
    #[arg(long, value_name = "GROUP")]
    pub group_add: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Username or UID, and group: name, uid, name:group or uid:gid
    #[arg(short, long)]
    pub user: Option<String>,
    /// Bind mount a volume: HOST:CONTAINER or HOST:CONTAINER:ro; a named one: NAME:CONTAINER, or CONTAINER alone
    #[arg(short, long, value_name = "BIND")]
    pub volume: Vec<String>,
    /// Attach a filesystem mount to the container: type=bind,source=..,target=..,readonly,
    /// type=volume,source=NAME,target=.. or type=tmpfs,target=..
    #[arg(long, value_name = "MOUNT")]
    pub mount: Vec<String>,
    /// Mount a tmpfs directory: DIR or DIR:OPTIONS
    #[arg(long, value_name = "DIR")]
    pub tmpfs: Vec<String>,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    pub read_only: bool,
    /// Mount volumes from the specified container(s): CONTAINER or CONTAINER:ro
    #[arg(long, value_name = "CONTAINER")]
    pub volumes_from: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub shm_size: Option<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long)]
    pub init: bool,
    /// Add Linux capabilities
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    pub cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    pub cap_drop: Vec<String>,
    /// Give extended privileges to this container
    #[arg(long)]
    pub privileged: bool,
    /// Add a host device to the container: HOST, HOST:CONTAINER or HOST:CONTAINER:rwm
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<String>,
    /// Security options: no-new-privileges, seccomp=unconfined
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// User namespace to use: host, or auto for numbers of its own, auto:size=N,uidmapping=IN:OUT:N,gidmapping=IN:OUT:N
    #[arg(long, value_name = "MODE")]
    pub userns: Option<String>,
    /// IPC mode to use: private, shareable, none, host or container:NAME
    #[arg(long, value_name = "MODE")]
    pub ipc: Option<String>,
    /// PID namespace to use: host or container:NAME
    #[arg(long, value_name = "MODE")]
    pub pid: Option<String>,
    /// UTS namespace to use: host
    #[arg(long, value_name = "MODE")]
    pub uts: Option<String>,
    /// Cgroup namespace to use: private or host
    #[arg(long, value_name = "MODE")]
    pub cgroupns: Option<String>,
    /// Optional parent cgroup for the container
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,
    /// Sysctl options: NAME=VALUE, of what each container has for itself
    #[arg(long, value_name = "SYSCTL")]
    pub sysctl: Vec<String>,
    /// Signal to stop the container
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// Timeout (in seconds) to stop a container
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub stop_timeout: Option<i64>,
    /// Pull image before running
    #[arg(long, value_enum, default_value_t = Pull::Missing)]
    pub pull: Pull,
    /// Suppress the pull output
    #[arg(short, long)]
    pub quiet: bool,
    /// Set platform, such as linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// Write the container ID to the file
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// Set meta data on a container
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,
    /// Read in a line delimited file of labels
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,
    /// Add an annotation to the container (passed through to the OCI runtime)
    #[arg(long, value_name = "NAME=VALUE")]
    pub annotation: Vec<String>,
    /// Set custom DNS servers
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<std::net::IpAddr>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Set DNS options
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_name = "HOST:IP")]
    pub add_host: Vec<String>,
    /// What it may use
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Tune container memory swappiness (0 to 100)
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub memory_swappiness: Option<i64>,
    /// Disable OOM Killer
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub oom_score_adj: Option<i32>,
    /// Limit read rate (bytes per second) from a device
    #[arg(long, value_name = "DEVICE:BYTES")]
    pub device_read_bps: Vec<String>,
    /// Limit write rate (bytes per second) to a device
    #[arg(long, value_name = "DEVICE:BYTES")]
    pub device_write_bps: Vec<String>,
    /// Limit read rate (IO per second) from a device
    #[arg(long, value_name = "DEVICE:NUMBER")]
    pub device_read_iops: Vec<String>,
    /// Limit write rate (IO per second) to a device
    #[arg(long, value_name = "DEVICE:NUMBER")]
    pub device_write_iops: Vec<String>,
    /// Ulimit options: NAME=SOFT or NAME=SOFT:HARD
    #[arg(long, value_name = "ULIMIT")]
    pub ulimit: Vec<String>,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// The command and its arguments
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<String>,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pull {
    /// Each time
    Always,
    /// When it is not there
    Missing,
    /// Not at all
    Never,
}
