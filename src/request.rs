//! What `run` and `create` were asked for, as values; no flag of the command line is named here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxIdMapping, LinuxResources, PosixRlimit};
use serde::{Deserialize, Serialize};

/// What `run` or `create` was asked for; stored with the container, since clean-up, restart and
/// `inspect` work it out again from here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// The image as it was named.
    pub image: String,
    /// What follows the image on the command line.
    pub command: Vec<String>,
    /// `--entrypoint`: replaces the image's, and its command with it.
    pub entrypoint: Option<Vec<String>>,
    /// `-h`.
    pub hostname: Option<String>,
    /// `-e` and `--env-file`, `NAME=value`.
    pub env: Vec<String>,
    /// `-u`: `user[:group]`, names or numbers.
    pub user: Option<String>,
    /// `-w`.
    pub working_dir: Option<PathBuf>,
    /// `-t`.
    pub tty: bool,
    /// `-i`.
    pub interactive: bool,
    /// `--rm`.
    pub auto_remove: bool,
    /// Whose network the container uses.
    pub network: NetworkMode,
    /// `-v` and `--mount`.
    pub binds: Vec<Bind>,
    /// `--tmpfs`: path and options.
    pub tmpfs: Vec<(PathBuf, String)>,
    /// `--read-only`.
    pub read_only: bool,
    /// `--init`.
    pub init: bool,
    /// `--cap-add`.
    pub cap_add: Vec<String>,
    /// `--cap-drop`.
    pub cap_drop: Vec<String>,
    /// `--device`, as typed (see [`crate::kernel::devices::Mapping`]).
    pub devices: Vec<String>,
    /// `--privileged`.
    pub privileged: bool,
    /// `--security-opt no-new-privileges`.
    pub no_new_privileges: bool,
    /// `--security-opt seccomp=unconfined`.
    pub seccomp_unconfined: bool,
    /// `--stop-signal`.
    pub stop_signal: Option<String>,
    /// `--stop-timeout`, seconds.
    pub stop_timeout: Option<i64>,
    /// `-l`.
    pub labels: BTreeMap<String, String>,
    /// `--dns`.
    pub dns: Vec<IpAddr>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--dns-option`.
    pub dns_options: Vec<String>,
    /// `--add-host`.
    pub add_host: Vec<(String, IpAddr)>,
    /// `--ulimit`.
    pub rlimits: Vec<PosixRlimit>,
    /// `-m`, `--cpus`, `--pids-limit` as cgroup limits.
    pub resources: Option<LinuxResources>,
    /// `--userns`.
    pub userns: Option<Userns>,
    /// `--detach-keys`.
    pub detach_keys: Option<String>,
}

/// Whose user numbers the container's are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Userns {
    /// The host's: rmac's default.
    Host,
    /// Its own, which stand for a range of the host's that no other container has.
    Auto {
        /// How many, from 0 on.
        size: u32,
        /// What single users stand for, beside the range.
        uids: Vec<LinuxIdMapping>,
        /// The same for groups.
        gids: Vec<LinuxIdMapping>,
    },
}

/// Whose network the container uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// Its own with a loopback only: rmac's default.
    #[default]
    None,
    /// The host's.
    Host,
    /// That of another container, by its id.
    Container(String),
    /// Its own with links into these networks, by name.
    Networks(Vec<NetworkRequest>),
}

/// One `--network`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkRequest {
    /// The network's name or id.
    pub name: String,
    /// `--ip`.
    pub ipv4: Option<std::net::Ipv4Addr>,
    /// `--ip6`.
    pub ipv6: Option<std::net::Ipv6Addr>,
    /// `--mac-address`.
    pub mac: Option<String>,
    /// `--network-alias`.
    pub aliases: Vec<String>,
    /// The interface's name in the container; `None` takes the lowest free `ethN`.
    pub ifname: Option<String>,
    /// Who of several networks has the default route: the highest.
    pub gw_priority: i32,
    /// `driver-opt` as given.
    pub driver_opts: BTreeMap<String, String>,
}

/// One `-v`, `--mount type=bind` or `--mount type=volume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
    /// mount(8)'s words beside `rbind`.
    pub options: Vec<String>,
    /// The name of the volume whose directory `source` is; empty until one that nobody named has got its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
}
