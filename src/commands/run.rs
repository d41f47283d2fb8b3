//! `run` and `create`: from flags to a container.
//!
//! The way of `run`: image, record, addresses, monitor, attach. What was made is taken back when
//! anything fails, so a run that fails leaves nothing.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use oci_spec::runtime::LinuxResources;
use rootfs_fetch::{Image, Platform, Progress, PullOptions, PullPolicy, Store};

use super::attach::follow;
use super::request;
use crate::cli::run::{ContainerArgs, CreateArgs, Pull, RunArgs};
use crate::exit::Coded;
use crate::explain::script;
use crate::kernel::capabilities::{self, Base};
use crate::kernel::cgroups::Layout;
use crate::kernel::ids::Table;
use crate::out::stream::{errln, out, outln};
use crate::request::{BlockIo, NetworkMode, Request, Streams, Userns};
use crate::spec;
use crate::store::claim::{Attempt, Claim};
use crate::store::containers::{self, Record, State};
use crate::store::{Home, ids, networks, new_id, volumes};
use crate::supervise::client::{self, Options};
use crate::supervise::monitor::OnFailure;
use crate::supervise::start::{self, Attach, How};
use crate::supervise::{self, claims, heal, names, rootless, sharing};
use crate::sys;

/// `rmac run`.
pub fn run(home: &Home, args: &RunArgs) -> Result<u8> {
    let mut request = request::request(&args.container)?;
    if args.detach {
        if !args.container.attach.is_empty() {
            bail!("Conflicting options: -a and -d");
        }
        request.attach = Streams::default();
    }
    let streams = request.attach;
    if request.tty && streams.stdin && !std::io::stdin().is_terminal() {
        bail!("the input device is not a TTY (-it needs a terminal: leave out -t to use a pipe)");
    }
    super::protect(&request)?;
    let known = if args.dry_run {
        volumes::list(home)?
    } else {
        vec![]
    };
    let own = (!args.dry_run).then_some(&request);
    let early = own.and_then(start::network_ahead);
    let (record, claim) = make(home, &args.container, request)?;
    if args.dry_run {
        return dry_run(home, &record, &known);
    }
    let mut options = options(&record.request, args.sig_proxy)?;
    (options.output, options.errors) = (streams.stdout, streams.stderr);
    let how = How {
        attach: if args.detach { Attach::No } else { Attach::Yes },
        explain: args.explain,
        on_failure: OnFailure::Discard,
    };
    let id = record.id.clone();
    let undo = record.clone();
    let signals = if args.detach {
        None
    } else {
        Some(client::catch_signals(&options)?)
    };
    let socket = start::start(home, record, claim, how, early)
        .inspect_err(|_| heal::discard(home, &undo))?;
    let pid = match client::wait_for_start(&socket)? {
        Ok(pid) => pid,
        Err(end) => return ended(end),
    };
    // As Docker: who sees nothing of the program is told which it is.
    if !streams.stdout && !streams.stderr {
        outln!("{id}");
    }
    match signals {
        None => Ok(0),
        Some(signals) => ended(client::attach(&socket, &signals, pid, &options)?),
    }
}

/// Prints the plan as a script, and takes back what was made to know it.
fn dry_run(home: &Home, record: &Record, known: &[volumes::Volume]) -> Result<u8> {
    let plan = Layout::detect().and_then(|layout| start::plan_of(home, record, &layout));
    let (directory, run) = (home.container(&record.id), home.running(&record.id));
    let script = plan.map(|plan| script::script(&plan, &record.request.image, &directory, &run));
    heal::discard(home, record);
    for name in record
        .request
        .binds
        .iter()
        .filter_map(|bind| bind.volume.as_ref())
    {
        if !known.iter().any(|volume| volume.name == *name) {
            let _ = volumes::remove(home, name);
        }
    }
    out!("{}", script?);
    Ok(0)
}

/// `rmac create`.
pub fn create(home: &Home, args: &CreateArgs) -> Result<u8> {
    let request = request::request(&args.container)?;
    let (record, _claim) = make(home, &args.container, request)?;
    State::created().save(home, &record.id)?;
    outln!("{}", record.id);
    Ok(0)
}

/// What is left to do when being attached has come to its end.
pub fn ended(end: client::End) -> Result<u8> {
    match end {
        client::End::Exited(code) => Ok(code as u8),
        client::End::Detached => Ok(0),
        client::End::Failed(code, text) => Err(Coded { code, text }.into()),
        client::End::Lost => bail!("the container's monitor was killed, and the container with it"),
        client::End::Interrupted(signal) => Ok(128 + signal as u8),
    }
}

/// How one is attached to a container with this request.
pub fn options(request: &Request, proxy_signals: bool) -> Result<Options> {
    Ok(Options {
        tty: request.tty,
        input: request.interactive,
        output: true,
        errors: true,
        proxy_signals,
        detach_keys: match &request.detach_keys {
            Some(keys) => client::parse_detach_keys(keys)?,
            None => client::DETACH_KEYS.to_vec(),
        },
    })
}

/// Makes the container: its record, its name, its addresses; nothing runs yet.
fn make(home: &Home, args: &ContainerArgs, mut request: Request) -> Result<(Record, Claim)> {
    if let Some(name) = &args.name {
        check_name(name)?;
    }
    if let Some(path) = args.cidfile.as_deref().filter(|path| path.exists()) {
        bail!(
            "container ID file found, make sure the other container isn't running or delete {}",
            path.display()
        );
    }
    if rootless::is() {
        within_reach(&mut request)?;
    }
    if let NetworkMode::Container(owner) = &mut request.network {
        *owner = owner_of_network(home, owner)?;
    }
    sharing::resolve(home, &mut request)?;
    request::volumes_from(home, &mut request)?;
    warn_of_capabilities(&request)?;
    let networks = look_up(home, &request)?;
    let image = image(home, args)?;
    check_command(&image, &request)?;
    let id = new_id()?;
    let Attempt::Mine(claim) = Claim::attempt(home, &id)? else {
        bail!("the new id {id} is in use already")
    };
    let mut record = Record {
        id,
        name: String::new(),
        created: Timestamp::now(),
        image_id: image.id.to_string(),
        platform: format!("{}/{}", image.config.os(), image.config.architecture()),
        layers: image.layers,
        image_config: image.config.config().clone().unwrap_or_default(),
        request,
        ids: None,
        endpoints: vec![],
    };
    let made = fill(home, &mut record, args, &networks);
    made.inspect_err(|_| heal::discard(home, &record))?;
    Ok((record, claim))
}

fn fill(
    home: &Home,
    record: &mut Record,
    args: &ContainerArgs,
    networks: &[crate::net::network::Network],
) -> Result<()> {
    if let Some(Userns::Auto { size, uids, gids }) = &record.request.userns {
        let first = ids::claim(home, &record.id, *size)?;
        record.ids = Some(Table::of_range(first, *size, uids, gids));
    }
    let top = record.layers.last().map(PathBuf::as_path);
    containers::make_directory(home, &record.id, top, record.ids.as_ref())?;
    match &args.name {
        Some(name) => {
            containers::claim_name(home, &record.id, name)?;
            record.name.clone_from(name);
        }
        None => record.name = names::claim_any(home, &record.id)?,
    }
    if let NetworkMode::Networks(wanted) = &record.request.network {
        for (wanted, network) in wanted.clone().iter().zip(networks) {
            let endpoint = claims::claim(home, network, record, wanted)?;
            record.endpoints.push(endpoint);
        }
    }
    if record.image_config.volumes().is_some()
        || record.request.binds.iter().any(|b| b.volume.is_some())
    {
        supervise::volumes::prepare(home, record)?;
    }
    record.save(home)?;
    require_image(home, record)?;
    volumes::require(home, record)?;
    if let Some(path) = &args.cidfile {
        write_cidfile(path, &record.id)?;
    }
    Ok(())
}

/// What an ordinary user cannot have is refused, or said where the container can do without.
fn within_reach(request: &mut Request) -> Result<()> {
    match request.network {
        NetworkMode::Networks(_) => bail!("permission denied: {}", super::LINKS_ARE_ROOTS),
        NetworkMode::Host => bail!(
            "permission denied: /sys of the host's network cannot be mounted by an ordinary user: run rmac as root (sudo), or the container with --network none"
        ),
        NetworkMode::Container(_) | NetworkMode::None => (),
    }
    if matches!(request.userns, Some(Userns::Auto { .. })) {
        bail!(
            "--userns auto takes root, who has numbers to give: an ordinary user's containers are in that user's namespace already"
        );
    }
    let disks = std::mem::take(&mut request.block_io);
    let others = request.resources.take().unwrap_or_default();
    if others != LinuxResources::default() || disks != BlockIo::default() {
        errln!(
            "WARNING: an ordinary user has no cgroups: the container runs without limits of memory, CPU and processes"
        );
    }
    Ok(())
}

/// The networks, before anything is made or pulled for a name that does not exist.
fn look_up(home: &Home, request: &Request) -> Result<Vec<crate::net::network::Network>> {
    match &request.network {
        NetworkMode::Networks(wanted) => wanted
            .iter()
            .map(|wanted| networks::load(home, &wanted.name))
            .collect(),
        NetworkMode::None | NetworkMode::Host | NetworkMode::Container(_) => Ok(vec![]),
    }
}

/// The container whose network is to be shared: its id.
///
/// # Errors
/// Docker's words where it does not run, or has no network of its own.
fn owner_of_network(home: &Home, reference: &str) -> Result<String> {
    let owner = containers::find(home, reference)?;
    super::attach::running(
        home,
        &owner,
        &format!(
            "cannot join network of a non running container: {}",
            owner.id
        ),
    )?;
    match &owner.request.network {
        NetworkMode::Host => bail!(
            "conflicting options: the container {reference} is on the host's network itself: use --network host"
        ),
        NetworkMode::Container(other) => Ok(other.clone()),
        _ => Ok(owner.id),
    }
}

fn image(home: &Home, args: &ContainerArgs) -> Result<Image> {
    let progress = if args.quiet {
        Progress::quiet()
    } else if std::io::stderr().is_terminal() {
        Progress::bars(std::io::stderr())
    } else {
        Progress::lines(std::io::stderr())
    };
    let mut options = PullOptions::new(&progress);
    options.before_lookup = sys::resolver::limit_to_files_and_dns;
    options.policy = match args.pull {
        Pull::Always => PullPolicy::Always,
        Pull::Missing => PullPolicy::Missing,
        Pull::Never => PullPolicy::Never,
    };
    if let Some(platform) = &args.platform {
        options.platform = Some(platform.parse::<Platform>()?);
    }
    Store::open(&home.images())?.ensure(&args.image, &options)
}

/// From now on nobody removes the image of `record`, which says that it is used; until now somebody could.
fn require_image(home: &Home, record: &Record) -> Result<()> {
    if Store::open(&home.images())?.still_has(&record.image_id.parse()?)? {
        return Ok(());
    }
    bail!(
        "No such image: {} (it has just been removed)",
        record.request.image
    )
}

fn check_command(image: &Image, request: &Request) -> Result<()> {
    let config = image.config.config().clone().unwrap_or_default();
    if spec::args(&config, request).is_empty() {
        bail!(
            "no command specified: the image {} has no default, so give one after the image's name",
            request.image
        );
    }
    Ok(())
}

/// What was asked for by name and this machine cannot give is said, not refused: Docker would fail in the
/// middle of the start.
fn warn_of_capabilities(request: &Request) -> Result<()> {
    if !request.privileged && request.cap_add.is_empty() {
        return Ok(());
    }
    let base = if request.privileged {
        Base::Privileged
    } else {
        Base::Default
    };
    let wanted = capabilities::choose(base, &request.cap_add, &request.cap_drop)?;
    let (_, missing) = capabilities::within_bounding(&wanted);
    if !missing.is_empty() {
        let names: Vec<String> = missing.into_iter().map(capabilities::name).collect();
        errln!(
            "WARNING: this machine does not give {}; the container goes without",
            names.join(", ")
        );
    }
    Ok(())
}

/// Docker's rule for names.
pub fn check_name(name: &str) -> Result<()> {
    let first = name
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if !first || !rest || name.len() < 2 || name.len() > 200 {
        bail!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    }
    Ok(())
}

fn write_cidfile(path: &Path, id: &str) -> Result<()> {
    let mut file = std::fs::File::create_new(path)
        .with_context(|| format!("failed to create the container ID file {}", path.display()))?;
    std::io::Write::write_all(&mut file, id.as_bytes()).context("write the container ID file")
}

/// Starts a container that exists and is ours: for `start`.
pub fn start_existing(
    home: &Home,
    record: Record,
    claim: Claim,
    how: How,
    options: Option<&Options>,
) -> Result<u8> {
    let signals = options.map(client::catch_signals).transpose()?;
    let socket = start::start(home, record, claim, how, None)?;
    follow(&socket, signals.as_ref().zip(options))
}
