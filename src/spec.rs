//! From what was asked for to the one description of a container: the OCI runtime `Spec`.
//!
//! Pure: an image's configuration and a [`Request`] go in, a `Spec` comes out, and nothing is asked of
//! the kernel. The defaults are Docker's: its mounts, its devices, its capabilities, its masked paths.
//! (OCI runtime-spec, config.md and config-linux.md)

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::image::Config;
use oci_spec::runtime::{
    BoxBuilder, Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxResources, Mount, MountBuilder, PosixRlimit, Process, ProcessBuilder,
    RootBuilder, Spec, SpecBuilder, get_default_maskedpaths, get_default_readonly_paths,
};
use serde::{Deserialize, Serialize};

use crate::kernel::{capabilities, seccomp};

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
    /// `--detach-keys`.
    pub detach_keys: Option<String>,
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
    /// `--mac-address`.
    pub mac: Option<String>,
    /// `--network-alias`.
    pub aliases: Vec<String>,
}

/// One `-v` or `--mount type=bind`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
    /// mount(8)'s words beside `rbind`.
    pub options: Vec<String>,
}

/// What the spec of a container needs beside image and request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Its directory, which holds `hosts`, `hostname` and `resolv.conf`.
    pub directory: &'a Path,
    /// The host's name, which a container on the host's network carries.
    pub host_name: &'a str,
}

/// Docker's search path where neither image nor request has one.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The description of the container that `request` asks for of an image with the configuration `image`.
///
/// # Errors
/// Names the flag that cannot be followed.
pub fn spec(image: &Config, request: &Request, place: &Place<'_>) -> Result<Spec> {
    let process = process(image, request, place)?;
    let linux = linux(request, place, &process)?;
    let root = RootBuilder::default()
        .path("rootfs")
        .readonly(request.read_only)
        .build()?;
    SpecBuilder::default()
        .version("1.2.0")
        .hostname(hostname(request, place))
        .root(root)
        .process(process)
        .mounts(mounts(request, place)?)
        .linux(linux)
        .build()
        .context("put the runtime spec together")
}

/// The program and its arguments: entry point and command, of the request or else of the image. An
/// entry point of the request also drops the image's command, as with Docker.
pub fn args(image: &Config, request: &Request) -> Vec<String> {
    let image_command = || image.cmd().clone().unwrap_or_default();
    let (entrypoint, default) = match &request.entrypoint {
        Some(entrypoint) => (entrypoint.clone(), vec![]),
        None => (
            image.entrypoint().clone().unwrap_or_default(),
            image_command(),
        ),
    };
    let command = if request.command.is_empty() {
        default
    } else {
        request.command.clone()
    };
    entrypoint
        .into_iter()
        .filter(|word| !word.is_empty())
        .chain(command)
        .collect()
}

/// The host name inside: `-h`, the host's own on the host's network, else the short id.
pub fn hostname(request: &Request, place: &Place<'_>) -> String {
    match (&request.hostname, &request.network) {
        (Some(name), _) => name.clone(),
        (None, NetworkMode::Host) => place.host_name.to_owned(),
        (None, _) => place.id[..place.id.len().min(12)].to_owned(),
    }
}

/// The environment, a later value replacing an earlier one: Docker's own, the image's, the request's.
pub fn environment(image: &Config, request: &Request, hostname: &str) -> Vec<String> {
    let mut all = vec![PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if request.tty {
        all.push("TERM=xterm".into());
    }
    let more = image.env().iter().flatten().chain(&request.env);
    for pair in more {
        let name = pair.split('=').next().unwrap_or_default();
        let same = |known: &String| known.split('=').next() == Some(name);
        match all.iter().position(same) {
            // `-e NAME` of a variable that the caller has not got takes it away.
            Some(at) if !pair.contains('=') => drop(all.remove(at)),
            Some(at) => all[at].clone_from(pair),
            None if pair.contains('=') => all.push(pair.clone()),
            None => (),
        }
    }
    all
}

fn process(image: &Config, request: &Request, place: &Place<'_>) -> Result<Process> {
    let base = if request.privileged {
        capabilities::Base::Privileged
    } else {
        capabilities::Base::Default
    };
    let set = capabilities::choose(base, &request.cap_add, &request.cap_drop)?;
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable([])
        .ambient([])
        .build()?;
    let user = request.user.as_ref().or(image.user().as_ref());
    let user = oci_spec::runtime::UserBuilder::default()
        .uid(0u32)
        .gid(0u32)
        .username(user.cloned().unwrap_or_default())
        .build()?;
    let directory = request
        .working_dir
        .clone()
        .or_else(|| image.working_dir().as_ref().map(PathBuf::from));
    let mut builder = ProcessBuilder::default()
        .terminal(request.tty)
        .user(user)
        .args(args(image, request))
        .env(environment(image, request, &hostname(request, place)))
        .cwd(
            directory
                .filter(|path| !path.as_os_str().is_empty())
                .unwrap_or_else(|| "/".into()),
        )
        .capabilities(capabilities)
        .no_new_privileges(request.no_new_privileges)
        .rlimits(request.rlimits.clone());
    if request.tty {
        // The caller's size comes with the first message of its terminal.
        builder = builder.console_size(BoxBuilder::default().height(24u64).width(80u64).build()?);
    }
    builder.build().context("put the process together")
}

fn linux(
    request: &Request,
    place: &Place<'_>,
    process: &Process,
) -> Result<oci_spec::runtime::Linux> {
    let mut kinds = vec![
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Cgroup,
    ];
    if request.network != NetworkMode::Host {
        kinds.push(LinuxNamespaceType::Network);
    }
    let namespaces: Result<Vec<_>, _> = kinds
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect();
    let mut builder = LinuxBuilder::default()
        .namespaces(namespaces?)
        .cgroups_path(Path::new("/rmac").join(place.id))
        .resources(request.resources.clone().unwrap_or_default());
    if !request.privileged {
        builder = builder
            .masked_paths(get_default_maskedpaths())
            .readonly_paths(get_default_readonly_paths());
        if !request.seccomp_unconfined {
            let held = process
                .capabilities()
                .as_ref()
                .and_then(|sets| sets.bounding().clone());
            builder = builder.seccomp(seccomp::default_profile(&held.unwrap_or_default()));
        }
    } else {
        builder = builder.masked_paths(vec![]).readonly_paths(vec![]);
    }
    builder.build().context("put the Linux part together")
}

fn mounts(request: &Request, place: &Place<'_>) -> Result<Vec<Mount>> {
    let sys = if request.privileged { "rw" } else { "ro" };
    let mut all = vec![
        mount("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"])?,
        mount(
            "tmpfs",
            "tmpfs",
            "/dev",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        )?,
        mount(
            "devpts",
            "devpts",
            "/dev/pts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        )?,
        mount(
            "sysfs",
            "sysfs",
            "/sys",
            &["nosuid", "noexec", "nodev", sys],
        )?,
        mount(
            "cgroup",
            "cgroup",
            "/sys/fs/cgroup",
            &["nosuid", "noexec", "nodev", "relatime", sys],
        )?,
        mount(
            "mqueue",
            "mqueue",
            "/dev/mqueue",
            &["nosuid", "noexec", "nodev"],
        )?,
        mount(
            "tmpfs",
            "shm",
            "/dev/shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        )?,
    ];
    for name in ["resolv.conf", "hostname", "hosts"] {
        let source = place.directory.join(name);
        all.push(mount(
            "bind",
            &source.to_string_lossy(),
            &format!("/etc/{name}"),
            &["rbind", "rprivate"],
        )?);
    }
    for (path, options) in &request.tmpfs {
        let mut words = vec!["nosuid", "nodev", "noexec"];
        // Docker: what the user says comes after the defaults and so wins.
        words.extend(options.split(',').filter(|word| !word.is_empty()));
        all.push(mount("tmpfs", "tmpfs", &path.to_string_lossy(), &words)?);
    }
    for bind in &request.binds {
        let mut words = vec!["rbind"];
        words.extend(bind.options.iter().map(String::as_str));
        all.push(mount(
            "bind",
            &bind.source.to_string_lossy(),
            &bind.target.to_string_lossy(),
            &words,
        )?);
    }
    override_defaults(&mut all);
    Ok(all)
}

/// A volume at `/dev/shm`, say, takes the default's place instead of lying on top of it.
fn override_defaults(all: &mut Vec<Mount>) {
    let mut at = 0;
    while at < all.len() {
        let later = all[at + 1..]
            .iter()
            .any(|other| other.destination() == all[at].destination());
        if later {
            all.remove(at);
        } else {
            at += 1;
        }
    }
}

fn mount(kind: &str, source: &str, target: &str, options: &[&str]) -> Result<Mount> {
    if !target.starts_with('/') {
        bail!("invalid mount path: '{target}' mount path must be absolute");
    }
    MountBuilder::default()
        .typ(kind)
        .source(source)
        .destination(target)
        .options(options.iter().map(ToString::to_string).collect::<Vec<_>>())
        .build()
        .with_context(|| format!("put the mount at {target} together"))
}

/// The capabilities that `spec` grants.
pub fn granted(spec: &Spec) -> impl Iterator<Item = Capability> {
    let sets = spec
        .process()
        .as_ref()
        .and_then(|process| process.capabilities().as_ref());
    sets.and_then(|sets| sets.bounding().clone())
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(entrypoint: &[&str], cmd: &[&str], env: &[&str]) -> Config {
        let own = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut image = Config::default();
        image.set_entrypoint(Some(own(entrypoint)));
        image.set_cmd(Some(own(cmd)));
        image.set_env(Some(own(env)));
        image
    }

    #[test]
    fn an_entry_point_of_the_request_drops_the_images_command() {
        let image = image(&["/entry"], &["serve"], &[]);
        let mut request = Request::default();
        assert_eq!(args(&image, &request), ["/entry", "serve"]);
        request.command = vec!["other".into()];
        assert_eq!(args(&image, &request), ["/entry", "other"]);
        request.entrypoint = Some(vec!["/mine".into()]);
        request.command = vec![];
        assert_eq!(args(&image, &request), ["/mine"]);
        request.entrypoint = Some(vec![]);
        request.command = vec!["ash".into()];
        assert_eq!(args(&image, &request), ["ash"]);
    }

    #[test]
    fn a_later_variable_replaces_an_earlier_one_in_its_place() {
        let image = image(&[], &[], &["PATH=/bin", "A=1"]);
        let request = Request {
            env: vec!["A=2".into(), "HOSTNAME".into(), "B=3".into()],
            ..Request::default()
        };
        assert_eq!(
            environment(&image, &request, "c"),
            ["PATH=/bin", "A=2", "B=3"]
        );
    }

    #[test]
    fn a_volume_takes_the_place_of_a_default_mount() {
        let bind = Bind {
            source: "/srv".into(),
            target: "/dev/shm".into(),
            options: vec![],
        };
        let request = Request {
            binds: vec![bind],
            ..Request::default()
        };
        let place = Place {
            id: "abc",
            directory: Path::new("/c"),
            host_name: "h",
        };
        let mounts = mounts(&request, &place).unwrap();
        let shm: Vec<_> = mounts
            .iter()
            .filter(|mount| mount.destination() == Path::new("/dev/shm"))
            .collect();
        assert_eq!(shm.len(), 1);
        assert_eq!(shm[0].typ().as_deref(), Some("bind"));
    }
}
