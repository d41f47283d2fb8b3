//! From what was asked for to the one description of a container: the OCI runtime `Spec`.
//!
//! Pure: an image's configuration and a [`Request`] go in, a `Spec` comes out, and nothing is asked of
//! the kernel. The defaults are Docker's: its mounts, its devices, its capabilities, its masked paths.
//! (OCI runtime-spec, config.md and config-linux.md)

mod block_io;
mod mounts;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use oci_spec::image::Config;
use oci_spec::runtime::{
    BoxBuilder, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxDevice, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxResources, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
    get_default_maskedpaths, get_default_readonly_paths,
};

use crate::kernel::cgroups::devices::{Base, base_rule};
use crate::kernel::devices::Mapping;
use crate::kernel::ids::Table;
use crate::kernel::{capabilities, seccomp, user};
use crate::request::{BlockIo, Ipc, NetworkMode, Pids, Request};

/// What the spec of a container needs beside image and request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Its directory, which holds `hosts`, `hostname` and `resolv.conf`.
    pub directory: &'a Path,
    /// The host's name, which a container on the host's network carries.
    pub host_name: &'a str,
    /// The table of its user namespace, if it has one.
    pub ids: Option<&'a Table>,
    /// The container whose network it shares.
    pub shared: Option<Shared<'a>>,
    /// The first process of the container whose IPC it shares.
    pub ipc: Option<i32>,
    /// The first process of the container whose process numbers it shares.
    pub pids: Option<i32>,
}

/// Another container's network: who shares it has its name and its files, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared<'a> {
    /// Its network namespace, `/proc/PID/ns/net`.
    pub netns: &'a Path,
    /// Its directory, which holds `hosts`, `hostname` and `resolv.conf`.
    pub directory: &'a Path,
    /// Its host name.
    pub hostname: &'a str,
}

/// Docker's search path where neither image nor request has one.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The description of the container that `request` asks for of an image with the configuration `image`.
///
/// # Errors
/// Names the flag that cannot be followed.
pub fn spec(image: &Config, request: &Request, place: &Place<'_>) -> Result<Spec> {
    let process = process(image, request, place)?;
    let linux = linux(request, place)?;
    let filtered = !request.privileged && !request.seccomp_unconfined;
    let mut annotations: HashMap<String, String> =
        request.annotations.clone().into_iter().collect();
    annotations.extend(filtered.then(seccomp::default_mark));
    annotations.extend(user::mark(&request.group_add));
    let root = RootBuilder::default()
        .path("rootfs")
        .readonly(request.read_only)
        .build()?;
    let mut spec = SpecBuilder::default()
        .version("1.2.0")
        .hostname(hostname(request, place))
        .root(root)
        .process(process)
        .mounts(mounts::mounts(request, place)?)
        .linux(linux)
        .annotations(annotations)
        .build()
        .context("put the runtime spec together")?;
    spec.set_domainname(request.domainname.clone());
    Ok(spec)
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
    match (&request.hostname, &request.network, place.shared) {
        (Some(name), ..) => name.clone(),
        (None, _, Some(shared)) => shared.hostname.to_owned(),
        (None, NetworkMode::Host, _) => place.host_name.to_owned(),
        _ if request.uts_of_host => place.host_name.to_owned(),
        (None, ..) => place.id[..place.id.len().min(12)].to_owned(),
    }
}

/// The environment, a later value replacing an earlier one: Docker's own, the image's, the request's.
pub fn environment(image: &Config, request: &Request, hostname: &str) -> Vec<String> {
    let own = [PATH.to_owned(), format!("HOSTNAME={hostname}")];
    let terminal = request.tty.then(|| "TERM=xterm".to_owned());
    let mut all: Vec<Option<&String>> = Vec::new();
    // Where each name stands: an image may bring half a million of them, too many to look through for each.
    let mut places: HashMap<&str, usize> = HashMap::new();
    let more = image.env().iter().flatten().chain(&request.env);
    for pair in own.iter().chain(&terminal).chain(more) {
        let name = pair.split('=').next().unwrap_or_default();
        match places.get(name) {
            // `-e NAME` of a variable that the caller has not got takes it away.
            Some(&at) if !pair.contains('=') => {
                all[at] = None;
                places.remove(name);
            }
            Some(&at) => all[at] = Some(pair),
            None if pair.contains('=') => {
                places.insert(name, all.len());
                all.push(Some(pair));
            }
            None => (),
        }
    }
    all.into_iter().flatten().cloned().collect()
}

/// The directory in which the program starts, the request's before the image's.
pub fn working_dir(image: &Config, request: &Request) -> PathBuf {
    let of_image = || image.working_dir().as_ref().map(PathBuf::from);
    let directory = request.working_dir.clone().or_else(of_image);
    let named = directory.filter(|path| !path.as_os_str().is_empty());
    named.unwrap_or_else(|| "/".into())
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
    let mut builder = ProcessBuilder::default()
        .terminal(request.tty)
        .user(user)
        .args(args(image, request))
        .env(environment(image, request, &hostname(request, place)))
        .cwd(working_dir(image, request))
        .capabilities(capabilities)
        .no_new_privileges(request.no_new_privileges)
        .rlimits(request.rlimits.clone());
    if request.tty {
        // The caller's size comes with the first message of its terminal.
        builder = builder.console_size(BoxBuilder::default().height(24u64).width(80u64).build()?);
    }
    if let Some(score) = request.oom_score_adj {
        builder = builder.oom_score_adj(score);
    }
    builder.build().context("put the process together")
}

fn linux(request: &Request, place: &Place<'_>) -> Result<oci_spec::runtime::Linux> {
    let file = |process: Option<i32>, name| process.map(|pid| format!("/proc/{pid}/ns/{name}"));
    // What the container has for itself, or enters; the others are the host's.
    let kinds = [
        (LinuxNamespaceType::Mount, true, None),
        (
            LinuxNamespaceType::Pid,
            request.pid != Pids::Host,
            file(place.pids, "pid").map(PathBuf::from),
        ),
        (
            LinuxNamespaceType::Ipc,
            request.ipc != Ipc::Host,
            file(place.ipc, "ipc").map(PathBuf::from),
        ),
        (LinuxNamespaceType::Uts, !request.uts_of_host, None),
        (LinuxNamespaceType::Cgroup, !request.cgroupns_of_host, None),
        (
            LinuxNamespaceType::Network,
            request.network != NetworkMode::Host,
            place.shared.map(|shared| shared.netns.to_owned()),
        ),
        (LinuxNamespaceType::User, place.ids.is_some(), None),
    ];
    let namespace = |(kind, _, path): (_, _, Option<PathBuf>)| {
        let builder = LinuxNamespaceBuilder::default().typ(kind);
        match path {
            Some(path) => builder.path(path),
            None => builder,
        }
        .build()
    };
    let kinds = kinds.into_iter().filter(|(_, listed, _)| *listed);
    let namespaces: Result<Vec<_>, _> = kinds.map(namespace).collect();
    let mut builder = LinuxBuilder::default()
        .namespaces(namespaces?)
        .cgroups_path(request.cgroup(place.id));
    let (nodes, resources) = devices_and_resources(request)?;
    builder = builder.resources(resources);
    if !nodes.is_empty() {
        builder = builder.devices(nodes);
    }
    if !request.sysctls.is_empty() {
        let pairs = request.sysctls.clone().into_iter();
        builder = builder.sysctl(pairs.collect::<HashMap<_, _>>());
    }
    if let Some(Table { uids, gids }) = place.ids {
        builder = builder
            .uid_mappings(uids.clone())
            .gid_mappings(gids.clone());
    }
    if !request.privileged {
        builder = builder
            .masked_paths(get_default_maskedpaths())
            .readonly_paths(get_default_readonly_paths());
    } else {
        builder = builder.masked_paths(vec![]).readonly_paths(vec![]);
    }
    builder.build().context("put the Linux part together")
}

/// The host's devices that the container gets, and what it may use of the machine; `--privileged` gives all and opens
/// every other one whose node it makes.
fn devices_and_resources(request: &Request) -> Result<(Vec<LinuxDevice>, LinuxResources)> {
    let mut nodes = vec![];
    let mut rules = vec![];
    for text in &request.devices {
        let found = text.parse::<Mapping>()?.resolve()?;
        for (node, rule) in found {
            nodes.push(node);
            rules.push(rule);
        }
    }
    let mut resources = request.resources.clone().unwrap_or_default();
    if request.privileged {
        rules = vec![base_rule(Base::AllowAll)];
        nodes.splice(0..0, Mapping::all()?);
    }
    if request.block_io != BlockIo::default() {
        resources.set_block_io(Some(block_io::block_io(&request.block_io)?));
    }
    if !rules.is_empty() {
        resources.set_devices(Some(rules));
    }
    Ok((nodes, resources))
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
}
