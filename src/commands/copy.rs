//! `cp`: files between a container and the host, or a tar archive on standard input or output.
//!
//! The command does the host's part, a process of its own the container's (see [`crate::files`]).

mod progress;

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, bail, ensure};
use rootfs_fetch::layer::decoder;
use rootfs_fetch::text::escape_bytes;

use crate::cli::files::CpArgs;
use crate::files::inside::{Asked, Source, pack};
use crate::files::tree::Descriptors;
use crate::files::unpack::{How, Owner, unpack};
use crate::files::view::{self, Shows, View};
use crate::files::worker::{self, nobody_reads};
use crate::files::{local, paths};
use crate::out::stream::errln;
use crate::store::Home;
use crate::store::containers::{self, Record};
use crate::supervise::rootless;
use progress::Counted;

/// `rmac cp`.
pub fn cp(home: &Home, args: &CpArgs) -> Result<u8> {
    let (source, destination) = (args.source.as_bytes(), args.destination.as_bytes());
    ensure!(!source.is_empty(), "source can not be empty");
    ensure!(!destination.is_empty(), "destination can not be empty");
    let (from, source) = paths::split_argument(source);
    let (to, destination) = paths::split_argument(destination);
    let asked = |container, path| {
        let container = std::str::from_utf8(container).context("invalid container name")?;
        Ok::<_, anyhow::Error>(Asked {
            container,
            path,
            follow: args.follow_link,
        })
    };
    match (from, to) {
        (Some(from), None) if destination == b"-" => stream_out(home, &asked(from, source)?),
        (Some(from), None) => copy_out(home, args, &asked(from, source)?, destination),
        (None, Some(to)) if source == b"-" => stream_in(home, &asked(to, destination)?),
        (None, Some(to)) => copy_in(home, args, &asked(to, destination)?, source),
        (Some(_), Some(_)) => bail!("copying between containers is not supported"),
        (None, None) => bail!("must specify at least one container source"),
    }?;
    Ok(0)
}

/// The process's standard output, without the lock and the buffer of Rust's.
pub(super) fn standard_output() -> Result<File> {
    let fd = std::io::stdout().as_fd().try_clone_to_owned();
    fd.map(File::from).context("duplicate standard output")
}

fn copy_out(home: &Home, args: &CpArgs, asked: &Asked<'_>, destination: &[u8]) -> Result<()> {
    let destination = local::absolute(destination)?;
    local::check_destination(&destination)?;
    let record = containers::find(home, asked.container)?;
    let (view, _claim) = view::of(home, &record)?;
    let (read, write) = worker::pipe()?;
    let mut worker = worker::start(&[read.as_raw_fd()], move |speaker| {
        let tree = view.enter(Shows::Everything)?;
        let (source, found) = asked.source(&tree)?;
        speaker.head(&source)?;
        pack(&tree.descriptors, found, &source.name, File::from(write)).map(drop)
    })?;
    let source: Source = worker.head()?;
    let quiet = is_quiet(args);
    let mut archive = Counted::new(File::from(read), "Copying from container - ", quiet);
    let received = receive(&mut archive, args, &source, &destination);
    if received.is_ok() && !quiet {
        let content = if source.is_dir {
            archive.bytes
        } else {
            source.size
        };
        archive.end(content, &escape_bytes(&destination));
    } else {
        drop(archive);
    }
    // Who sends knows better why an archive came to an early end.
    worker.end().and(received)
}

/// Unpacks what comes out of the container.
fn receive(
    archive: &mut impl Read,
    args: &CpArgs,
    source: &Source,
    destination: &[u8],
) -> Result<()> {
    let side = local::destination(destination)?;
    let arranged = paths::arrange(source.is_dir, &side)?;
    let into = local::directory(&arranged.directory)?;
    let how = How {
        owner: match args.archive {
            true => Owner::Archived,
            false => Owner::Ours,
        },
        rename: arranged.name.map(|name| (source.name.clone(), name)),
        shown: arranged.directory,
        no_devices: rootless::is(),
    };
    tell(&unpack(&mut *archive, into, how)?);
    // Its padding, so that who sends comes to its end.
    std::io::copy(archive, &mut std::io::sink()).context("read the archive")?;
    Ok(())
}

fn stream_out(home: &Home, asked: &Asked<'_>) -> Result<()> {
    let record = containers::find(home, asked.container)?;
    let (view, _claim) = view::of(home, &record)?;
    let out = standard_output()?;
    let worker = worker::start(&[], move |_| {
        let tree = view.enter(Shows::Everything)?;
        let (source, found) = asked.source(&tree)?;
        let name = asked.own_name(&tree, &source, &found);
        pack(&tree.descriptors, found, &name, out).map(drop)
    })?;
    worker.end()
}

fn copy_in(home: &Home, args: &CpArgs, asked: &Asked<'_>, source: &[u8]) -> Result<()> {
    let record = containers::find(home, asked.container)?;
    let (found, name) = local::source(&local::absolute(source)?, asked.follow)?;
    let (view, _claim) = view::of(home, &record)?;
    let (read, write) = worker::pipe()?;
    let owner = match args.archive {
        true => Owner::Archived,
        false => Owner::Root,
    };
    let (is_dir, archived) = (found.is_dir(), name.clone());
    let mut worker = worker::start(&[write.as_raw_fd()], |speaker| {
        let no_devices = has_no_devices(&record);
        let tree = view.enter(Shows::Everything)?;
        let side = asked.destination(&tree)?;
        speaker.head(&side.path)?;
        let arranged = paths::arrange(is_dir, &side)?;
        let directory = arranged.directory;
        let how = How {
            owner,
            rename: arranged.name.map(|name| (archived, name)),
            shown: directory.clone(),
            no_devices,
        };
        tell(&asked.unpack(&tree, File::from(read), &directory, &record.request, how)?);
        Ok(())
    })?;
    let path: Vec<u8> = worker.head()?;
    let quiet = is_quiet(args);
    let mut archive = Counted::new(File::from(write), "Copying to container - ", quiet);
    let descriptors = Descriptors::of_this_process()?;
    let packed = pack(&descriptors, found, &name, &mut archive);
    // The end of the archive, for who reads it.
    let archive = archive.close();
    let ended = worker.end();
    match packed {
        Err(error) if !nobody_reads(&error) => Err(error),
        packed => {
            ended?;
            if !quiet {
                let destination = format!("{}:{}", asked.container, escape_bytes(&path));
                archive.end(packed?, &destination);
            }
            Ok(())
        }
    }
}

fn stream_in(home: &Home, asked: &Asked<'_>) -> Result<()> {
    let record = containers::find(home, asked.container)?;
    let (view, _claim) = view::of(home, &record)?;
    let input = std::io::stdin().as_fd().try_clone_to_owned();
    let input = File::from(input.context("duplicate standard input")?);
    let worker = worker::start(&[], move |_| unpack_stream(view, input, asked, &record))?;
    worker.end()
}

/// The container's part of `cp - CONTAINER:DEST`: the archive says whose the files are.
fn unpack_stream(view: View, input: File, asked: &Asked<'_>, record: &Record) -> Result<()> {
    let no_devices = has_no_devices(record);
    let tree = view.enter(Shows::Everything)?;
    let side = asked.destination(&tree)?;
    ensure!(
        side.is_dir,
        "destination \"{}:{}\" must be a directory",
        asked.container,
        escape_bytes(asked.path)
    );
    let how = How {
        owner: Owner::Archived,
        rename: None,
        shown: side.path.clone(),
        no_devices,
    };
    let archive = decoder(input)?;
    tell(&asked.unpack(&tree, archive, &side.path, &record.request, how)?);
    Ok(())
}

/// In a user namespace nobody may make devices.
fn has_no_devices(record: &Record) -> bool {
    record.ids.is_some() || rootless::is()
}

/// As Docker: where nobody sees standard output, nothing is told.
fn is_quiet(args: &CpArgs) -> bool {
    args.quiet || !std::io::stdout().is_terminal()
}

fn tell(left_out: &[String]) {
    for line in left_out {
        errln!("rmac: {line}, and is left out");
    }
}
