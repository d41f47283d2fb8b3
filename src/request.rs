//! What `run` and `create` were asked for, as values; no flag of the command line is named here.

mod restart;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, LinuxResources, PosixRlimit};
use serde::{Deserialize, Serialize};

pub use restart::Restart;

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
    /// `-l` and `--label-file`.
    pub labels: BTreeMap<String, String>,
    /// `--annotation`: what the runtime is told beside.
    #[serde(skip_serializing_if = "is_absent")]
    pub annotations: BTreeMap<String, String>,
    /// `-a`, or what is attached without it; nothing with `-d`.
    #[serde(skip_serializing_if = "is_absent")]
    pub attach: Streams,
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
    /// `-m`, `--cpus`, `--pids-limit` and their kin as cgroup limits.
    pub resources: Option<LinuxResources>,
    /// `--cpus` in billionths; 0 where it was not given. The limit itself is among `resources`.
    #[serde(skip_serializing_if = "is_absent")]
    pub nano_cpus: i64,
    /// `--cgroup-parent`: where the container's cgroup lies, from the root of the tree.
    #[serde(skip_serializing_if = "is_absent")]
    pub cgroup_parent: Option<String>,
    /// `--blkio-weight`, `--device-read-bps` and their kin.
    #[serde(skip_serializing_if = "is_absent")]
    pub block_io: BlockIo,
    /// `--oom-score-adj`.
    #[serde(skip_serializing_if = "is_absent")]
    pub oom_score_adj: Option<i32>,
    /// `--group-add`: names or numbers.
    #[serde(skip_serializing_if = "is_absent")]
    pub group_add: Vec<String>,
    /// `--domainname`.
    #[serde(skip_serializing_if = "is_absent")]
    pub domainname: Option<String>,
    /// `--sysctl`.
    #[serde(skip_serializing_if = "is_absent")]
    pub sysctls: BTreeMap<String, String>,
    /// `--shm-size`, bytes.
    #[serde(skip_serializing_if = "is_absent")]
    pub shm_size: Option<i64>,
    /// `--ipc`.
    #[serde(skip_serializing_if = "is_absent")]
    pub ipc: Ipc,
    /// `--pid`.
    #[serde(skip_serializing_if = "is_absent")]
    pub pid: Pids,
    /// `--uts host`: the host's name is the container's.
    #[serde(skip_serializing_if = "is_absent")]
    pub uts_of_host: bool,
    /// `--cgroupns host`: the container sees where on the host its cgroup lies.
    #[serde(skip_serializing_if = "is_absent")]
    pub cgroupns_of_host: bool,
    /// `--volumes-from`, as typed; the volumes themselves are among `binds`.
    #[serde(skip_serializing_if = "is_absent")]
    pub volumes_from: Vec<String>,
    /// `--expose`, each port as `80/tcp`.
    #[serde(skip_serializing_if = "is_absent")]
    pub expose: Vec<String>,
    /// `--userns`.
    pub userns: Option<Userns>,
    /// `--detach-keys`.
    pub detach_keys: Option<String>,
    /// `--restart`.
    #[serde(skip_serializing_if = "is_absent")]
    pub restart: Restart,
}

impl Request {
    /// The cgroup of the container `id`, from the root of the tree.
    pub fn cgroup(&self, id: &str) -> PathBuf {
        let parent = self.cgroup_parent.as_deref().unwrap_or("rmac");
        // As with Docker a path that is not absolute begins where process 1 is: at the root, too.
        Path::new("/").join(parent).join(id)
    }
}

/// What nobody asked for is not kept.
fn is_absent<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Which of a program's streams somebody is attached to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// Its input.
    pub stdin: bool,
    /// Its output.
    pub stdout: bool,
    /// Its errors.
    pub stderr: bool,
}

/// What a container may use of the host's disks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockIo {
    /// Its share among others, 10 to 1000; 0 is the kernel's default.
    pub weight: u16,
    /// Bytes a second that it may read.
    pub read_bps: Vec<Rate>,
    /// Bytes a second that it may write.
    pub write_bps: Vec<Rate>,
    /// Operations a second by which it may read.
    pub read_iops: Vec<Rate>,
    /// Operations a second by which it may write.
    pub write_iops: Vec<Rate>,
}

/// A limit of one disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// The disk's file in the host's `/dev`.
    pub path: PathBuf,
    /// How much a second.
    pub rate: u64,
}

/// Whose System V IPC, message queues and shared memory the container uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ipc {
    /// Its own, closed to other containers: the default.
    #[default]
    Private,
    /// Its own, open to containers that ask for it.
    Shareable,
    /// Its own, without `/dev/shm`.
    None,
    /// The host's.
    Host,
    /// That of another container, by its id.
    Container(String),
}

/// Whose process numbers the container uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pids {
    /// Its own: the default.
    #[default]
    Own,
    /// The host's.
    Host,
    /// Those of another container, by its id.
    Container(String),
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
