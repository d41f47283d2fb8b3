//! Rolls: who is on a network just now.  flock(2), rename(2)
//!
//! One text file per network below the run root, a line a container that runs:
//!
//! ```text
//! 12345678901234567890                                    the stamp: a hash of the lines below
//! CONTAINER  NETWORK,NETWORK  172.16.86.2,fd00::2  web www 0123456789ab
//! ```
//!
//! A start reads and changes one file, however many are on the network; to write the names into the others'
//! hosts files is work for each of them, and comes after the answer. The stamp in the file `NETWORK.done`
//! says which roll they have been told of: where the two differ, somebody is at it, or died at it. Who came
//! and went before anybody was told leaves the roll that the others know, and so no work.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::hash::{DefaultHasher, Hasher};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::{Home, make_private_dir, write_running};

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
        match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Roll::default()),
            text => {
                let text = text.with_context(|| format!("read {}", path.display()))?;
                ensure!(
                    text.ends_with('\n') && text[..text.len() - 1].lines().skip(1).all(is_whole),
                    "{} is damaged",
                    path.display()
                );
                Ok(Roll { text })
            }
        }
    }

    /// A hash of the lines: what it says. 0: nobody is on it.
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

/// Puts `member` on the roll of `network`, in place of the line that it had; how many are on it now.
pub fn enter(home: &Home, network: &str, member: &Member) -> Result<usize> {
    change(home, network, &member.id, &line(member))
}

/// Takes the container `id` off the roll of `network`.
pub fn leave(home: &Home, network: &str, id: &str) -> Result<()> {
    change(home, network, id, "").map(drop)
}

/// Forgets the network.
pub fn remove(home: &Home, network: &str) {
    let _ = std::fs::remove_file(path(home, network));
    let _ = std::fs::remove_file(done_path(home, network));
}

/// Whether the members of `network` all know who is on it. Costs two reads.
pub fn is_told(home: &Home, network: &str) -> bool {
    let mut head = [0; 20];
    let read = File::open(path(home, network)).and_then(|mut file| file.read(&mut head));
    match read {
        Ok(length) => {
            let head = String::from_utf8_lossy(&head[..length]);
            head.lines().next().and_then(|line| line.parse().ok()) == told(home, network)
        }
        Err(_) => true,
    }
}

/// Notes that the members of `network` are about to be told: from here on some know more than others. For who holds
/// [`lock_telling`].
pub fn note_telling(home: &Home, network: &str) {
    let _ = std::fs::remove_file(done_path(home, network));
}

/// Notes that the members of `network` have been told of the roll with this stamp.
pub fn note_told(home: &Home, network: &str, stamp: u64) -> Result<()> {
    write_running(&done_path(home, network), stamp.to_string().as_bytes())
}

/// Waits for the right to be the one who tells.
pub fn lock_telling(home: &Home) -> Result<File> {
    lock(home, "telling.lock")
}

/// Takes the right to be the one who tells, unless somebody has it.
pub fn try_lock_telling(home: &Home) -> Result<Option<File>> {
    let file = open(home, "telling.lock")?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).context("lock telling.lock"),
    }
}

/// Asks the one who tells just now to go on with the members of `networks`. Whether he was still there to see it
/// shows whether the right can be taken afterwards.
pub fn queue(home: &Home, networks: &BTreeSet<String>) -> Result<()> {
    let mut queue = lock(home, "telling.queue")?;
    queue.seek(SeekFrom::End(0)).context("seek")?;
    let lines: String = networks.iter().map(|id| format!("{id}\n")).collect();
    queue
        .write_all(lines.as_bytes())
        .context("write telling.queue")
}

/// Whether somebody has asked so.
pub fn is_queued(home: &Home) -> bool {
    let path = home.runroot.join("networks/telling.queue");
    path.metadata().is_ok_and(|file| file.len() > 0)
}

/// What has been asked for, which is up to the caller now: he holds [`lock_telling`].
pub fn take_queue(home: &Home) -> Result<BTreeSet<String>> {
    if !is_queued(home) {
        return Ok(BTreeSet::new());
    }
    let mut queue = lock(home, "telling.queue")?;
    let mut text = String::new();
    queue
        .read_to_string(&mut text)
        .and_then(|_| queue.set_len(0))
        .context("read telling.queue")?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Waits for the right to change the host's own links to the networks.
pub fn lock_access(home: &Home) -> Result<File> {
    lock(home, "access.lock")
}

fn told(home: &Home, network: &str) -> Option<u64> {
    let text = std::fs::read_to_string(done_path(home, network)).ok()?;
    text.trim_end().parse().ok()
}

/// Puts `line` in the place of the one of the container `id`, or at the end; how many lines there are now.
fn change(home: &Home, network: &str, id: &str, line: &str) -> Result<usize> {
    let _lock = lock(home, "rolls.lock")?;
    let roll = Roll::load(home, network)?;
    let head = roll.text.find('\n').map_or(0, |end| end + 1);
    let old = &roll.text[head..];
    let is_its = |line: &&str| line.starts_with(id) && line[id.len()..].starts_with('\t');
    let mut at = 0;
    let its = old.split_inclusive('\n').find_map(|line| {
        let start = at;
        at += line.len();
        is_its(&line).then_some(start..at)
    });
    let its = its.unwrap_or(old.len()..old.len());
    if old[its.clone()] == *line {
        return Ok(old.lines().count());
    }
    if old.len() + line.len() == its.len() {
        remove(home, network);
        return Ok(0);
    }
    let new = [&old[..its.start], line, &old[its.end..]].concat();
    let text = format!("{}\n{new}", stamp(&new));
    write_running(&path(home, network), text.as_bytes())?;
    Ok(new.lines().count())
}

/// A hash of the roll's lines. Where another build of rmac counts it otherwise, everybody is told once more.
fn stamp(lines: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(lines.as_bytes());
    hasher.finish()
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
    let mut fields = line.split('\t');
    Some(Entry {
        id: fields.next()?,
        networks: fields.next()?,
        addresses: fields.next()?,
        names: fields.next()?,
    })
}

fn is_whole(line: &str) -> bool {
    entry(line).is_some_and(|entry| {
        let mut words = entry.addresses.split(',').filter(|word| !word.is_empty());
        words.all(|word| word.parse::<IpAddr>().is_ok())
    })
}

fn path(home: &Home, network: &str) -> PathBuf {
    home.runroot.join("networks").join(network)
}

fn done_path(home: &Home, network: &str) -> PathBuf {
    home.runroot
        .join("networks")
        .join(format!("{network}.done"))
}

fn lock(home: &Home, name: &str) -> Result<File> {
    let file = open(home, name)?;
    file.lock().with_context(|| format!("lock {name}"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, address: &str) -> Member {
        Member {
            id: id.into(),
            networks: vec!["net".into(), "other".into()],
            addresses: vec![address.parse().unwrap()],
            names: vec![format!("name-{id}"), "www".into()],
        }
    }

    #[test]
    fn who_enters_is_there_until_it_leaves() {
        let root = std::env::temp_dir().join(format!("rmac-rolls-{}", std::process::id()));
        let home = Home {
            runroot: root.join("run"),
            root: root.clone(),
        };
        let load = || Roll::load(&home, "net").unwrap();
        assert!(is_told(&home, "net"));
        enter(&home, "net", &member("a", "10.0.0.2")).unwrap();
        let first = load();
        assert!(!is_told(&home, "net"));
        note_told(&home, "net", first.stamp()).unwrap();
        assert!(is_told(&home, "net"));

        enter(&home, "net", &member("b", "fd00::3")).unwrap();
        assert_eq!(enter(&home, "net", &member("a", "10.0.0.9")).unwrap(), 2);
        let roll = load();
        let [a, b] = [0, 1].map(|at| roll.members().nth(at).unwrap());
        assert_eq!(
            (a.id, a.networks, a.names),
            ("a", "net,other", "name-a www")
        );
        assert_eq!(
            a.addresses().collect::<Vec<_>>(),
            [IpAddr::from([10, 0, 0, 9])]
        );
        assert_eq!((b.id, b.addresses), ("b", "fd00::3"));
        assert_eq!(roll.members().count(), 2);
        assert!(roll.stamp() != first.stamp() && !is_told(&home, "net"));
        // What changes nothing is no change; an id that begins as another one is another one.
        enter(&home, "net", &member("b", "fd00::3")).unwrap();
        leave(&home, "net", "").unwrap();
        leave(&home, "net", "bb").unwrap();
        assert_eq!(load(), roll);
        // Who comes and goes before anybody was told leaves nothing to tell, unless somebody has begun.
        note_told(&home, "net", roll.stamp()).unwrap();
        enter(&home, "net", &member("c", "10.0.0.4")).unwrap();
        assert!(!is_told(&home, "net"));
        leave(&home, "net", "c").unwrap();
        assert!(is_told(&home, "net"));
        note_telling(&home, "net");
        assert!(!is_told(&home, "net"));

        leave(&home, "net", "a").unwrap();
        leave(&home, "net", "b").unwrap();
        assert_eq!(load(), Roll::default());
        assert!(!path(&home, "net").exists() && !done_path(&home, "net").exists());
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn what_is_queued_is_taken_once() {
        let root = std::env::temp_dir().join(format!("rmac-queue-{}", std::process::id()));
        let home = Home {
            runroot: root.join("run"),
            root: root.clone(),
        };
        let set = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let held = lock_telling(&home).unwrap();
        assert!(try_lock_telling(&home).unwrap().is_none() && !is_queued(&home));
        queue(&home, &set(&["a", "b"])).unwrap();
        queue(&home, &set(&["b", "c"])).unwrap();
        assert!(is_queued(&home));
        assert_eq!(take_queue(&home).unwrap(), set(&["a", "b", "c"]));
        assert!(!is_queued(&home) && take_queue(&home).unwrap().is_empty());
        drop(held);
        assert!(try_lock_telling(&home).unwrap().is_some());
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_member_without_an_address_has_a_line_too() {
        let member = Member {
            addresses: vec![],
            ..member("a", "10.0.0.2")
        };
        let line = line(&member);
        let entry = entry(line.trim_end()).unwrap();
        assert_eq!((entry.addresses, entry.names), ("", "name-a www"));
        assert!(
            is_whole(line.trim_end()) && !is_whole("a\tnet\t10.0.0") && !is_whole("a\tb\tc\td")
        );
    }
}
