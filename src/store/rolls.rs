//! Rolls: who is on a network just now.  flock(2), rename(2)
//!
//! One text file per network below the run root, a line a container that runs:
//!
//! ```text
//! 12345678901234567890                                    the stamp: the sum of a hash of each line below
//! CONTAINER  NETWORK,NETWORK  172.16.86.2,fd00::2  web www 0123456789ab
//! ```
//!
//! A start reads and changes one file, however many are on the network; to write the names into the others'
//! hosts files is work for each of them, and comes after the answer. The stamp in the file `NETWORK.done`
//! says which roll they have been told of: where the two differ, somebody is at it, or died at it. Who came
//! and went before anybody was told leaves the roll that the others know, and so no work.
//!
//! Who comes adds a line at the end, and who is the last takes it away again: beside a thousand, to write all of them
//! anew takes 0.4 ms. Any other change writes the file anew. Both happen under a lock, which readers share. A line
//! without its newline is one whose writer was killed on the way: it does not count. Who is killed between line
//! and stamp leaves a stamp that is not the sum any more; it changes with each line all the same, and the line of the
//! dead is on the roll until a sweep has taken it off.

mod found;
mod telling;
#[cfg(test)]
mod tests;

pub use telling::{
    is_queued, is_told, lock_telling, note_telling, note_told, queue, take_queue, try_lock_telling,
};

use std::fs::File;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use memchr::{memchr, memchr_iter};

use self::found::find;
use self::telling::done_path;
use super::{Home, lines, make_private_dir, write_running};

/// How many digits a stamp has, so that a new one can be written over it.
const STAMP: usize = 20;

/// A running container as its peers on one network see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: String,
    /// The ids of all networks that it is on.
    pub networks: Vec<String>,
    /// Its addresses on this network.
    pub addresses: Vec<IpAddr>,
    /// Its name, its aliases there, its short id.
    pub names: Vec<String>,
}

/// The roll of one network, as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roll {
    text: String,
}

/// A member as the roll has it: words, for who writes them on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its id.
    pub id: &'a str,
    /// The ids of its networks, with commas between.
    pub networks: &'a str,
    /// Its addresses, with commas between.
    pub addresses: &'a str,
    /// Its names, with spaces between.
    pub names: &'a str,
}

impl Roll {
    /// The roll of the network `network`; empty where nobody is on it.
    pub fn load(home: &Home, network: &str) -> Result<Roll> {
        let path = path(home, network);
        let text = {
            let _lock = lock_shared(home)?;
            std::fs::read_to_string(&path)
        };
        match text {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Roll::default()),
            text => {
                let mut text = text.with_context(|| format!("read {}", path.display()))?;
                text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
                ensure!(
                    text.lines().skip(1).all(|line| entry(line).is_some()),
                    "{} is damaged",
                    path.display()
                );
                Ok(Roll { text })
            }
        }
    }

    /// What it says, as a number. 0: nobody is on it.
    pub fn stamp(&self) -> u64 {
        let line = self.text.lines().next();
        line.and_then(|line| line.parse().ok()).unwrap_or(0)
    }

    /// Who is on it.
    pub fn members(&self) -> impl Iterator<Item = Entry<'_>> {
        self.text.lines().skip(1).filter_map(entry)
    }
}

impl Entry<'_> {
    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let words = self.addresses.split(',');
        words.filter_map(|word| word.parse().ok())
    }
}

/// Shows who is on the roll of `network` to `look`, one after the other: for who need not keep it.
pub fn read(home: &Home, network: &str, mut look: impl FnMut(Entry<'_>)) -> Result<()> {
    let path = path(home, network);
    let context = || format!("read {}", path.display());
    let _lock = lock_shared(home)?;
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file.with_context(context)?,
    };
    let mut damaged = false;
    lines::whole(&file, |begin, lines| {
        // The stamp has no part in it.
        let head = match begin {
            0 => memchr(b'\n', lines).map_or(0, |end| end + 1),
            _ => 0,
        };
        let text = std::str::from_utf8(&lines[head..]).unwrap_or_else(|_| {
            damaged = true;
            ""
        });
        let mut start = 0;
        for end in memchr_iter(b'\n', text.as_bytes()) {
            match entry(&text[start..end]) {
                Some(entry) => look(entry),
                None => damaged = true,
            }
            start = end + 1;
        }
    })
    .with_context(context)?;
    ensure!(!damaged, "{} is damaged", path.display());
    Ok(())
}

/// Puts `member` on the roll of `network`, in place of the line that it had; how many are on it now.
pub fn enter(home: &Home, network: &str, member: &Member) -> Result<usize> {
    change(home, network, &member.id, &line(member))
}

/// Puts `member`, who is not on it, at the end of the roll of `network`; about how many are on it now. What a container
/// that is started for the first time knows: its id is new, or who took its claim over has seen to it.
pub fn add(home: &Home, network: &str, member: &Member) -> Result<usize> {
    let line = line(member);
    let added = at_the_end(home, network, |file| found::add(file, &member.id, &line))?;
    match added.flatten() {
        Some(length) => Ok(length as usize / line.len()),
        None => change(home, network, &member.id, &line),
    }
}

/// Takes the container `id` off the roll of `network`.
pub fn leave(home: &Home, network: &str, id: &str) -> Result<()> {
    match at_the_end(home, network, |file| found::take_last(file, id))? {
        Some(true) => Ok(()),
        _ => change(home, network, id, "").map(drop),
    }
}

/// What `act` makes of the roll of `network`, whose end alone it looks at; `None` where there is no roll.
fn at_the_end<T>(
    home: &Home,
    network: &str,
    act: impl FnOnce(&File) -> std::io::Result<T>,
) -> Result<Option<T>> {
    let _lock = lock(home, "rolls.lock")?;
    let path = path(home, network);
    match File::options().read(true).write(true).open(&path) {
        Ok(file) => {
            let made = act(&file).with_context(|| format!("change {}", path.display()))?;
            Ok(Some(made))
        }
        Err(_) => Ok(None),
    }
}

/// Forgets the network.
pub fn remove(home: &Home, network: &str) {
    let _ = std::fs::remove_file(path(home, network));
    let _ = std::fs::remove_file(done_path(home, network));
}

/// Waits for the right to change the host's own links to the networks.
pub fn lock_access(home: &Home) -> Result<File> {
    lock(home, "access.lock")
}

/// Puts `line` in the place of the one of the container `id`, or at the end; how many lines there are now.
fn change(home: &Home, network: &str, id: &str, line: &str) -> Result<usize> {
    let _lock = lock(home, "rolls.lock")?;
    let path = path(home, network);
    let context = || format!("change {}", path.display());
    let file = match File::options().read(true).write(true).open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        file => Some(file.with_context(context)?),
    };
    let found = file.as_ref().map(|file| find(file, id)).transpose();
    let found = found.with_context(context)?.unwrap_or_default();
    match (&found.line, line) {
        (None, "") => return Ok(found.count),
        (Some((_, old)), line) if old == line => return Ok(found.count),
        (Some(_), "") if found.count == 1 => {
            remove(home, network);
            return Ok(0);
        }
        _ => (),
    }
    let in_place = file.as_ref().map(|file| found.change(file, line));
    if !in_place.transpose().with_context(context)?.unwrap_or(false) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        write_running(&path, found.whole(&text, line).as_bytes())?;
    }
    let more = usize::from(!line.is_empty());
    Ok(found.count + more - usize::from(found.line.is_some()))
}

fn line(member: &Member) -> String {
    let addresses: Vec<String> = member.addresses.iter().map(ToString::to_string).collect();
    let (networks, names) = (member.networks.join(","), member.names.join(" "));
    format!(
        "{}\t{networks}\t{}\t{names}\n",
        member.id,
        addresses.join(",")
    )
}

fn entry(line: &str) -> Option<Entry<'_>> {
    let mut tabs = memchr_iter(b'\t', line.as_bytes());
    let (first, second, third) = (tabs.next()?, tabs.next()?, tabs.next()?);
    Some(Entry {
        id: &line[..first],
        networks: &line[first + 1..second],
        addresses: &line[second + 1..third],
        names: &line[third + 1..tabs.next().unwrap_or(line.len())],
    })
}

fn path(home: &Home, network: &str) -> PathBuf {
    home.runroot.join("networks").join(network)
}

fn lock(home: &Home, name: &str) -> Result<File> {
    let file = open(home, name)?;
    file.lock().with_context(|| format!("lock {name}"))?;
    Ok(file)
}

/// The right to read rolls, which many may have.
fn lock_shared(home: &Home) -> Result<File> {
    let file = open(home, "rolls.lock")?;
    file.lock_shared().context("lock rolls.lock")?;
    Ok(file)
}

fn open(home: &Home, name: &str) -> Result<File> {
    let directory = home.runroot.join("networks");
    let path = directory.join(name);
    let open = || {
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
    };
    let file = match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_private_dir(&directory)?;
            open()
        }
        file => file,
    };
    file.with_context(|| format!("open {}", path.display()))
}
