//! Rolls: who is on a network just now.  flock(2), rename(2)
//!
//! One text file per network below the run root, a line a container that runs:
//!
//! ```text
//! 1764000000123456789                                     when it was last changed
//! CONTAINER  NETWORK,NETWORK  172.16.86.2,fd00::2  web www 0123456789ab
//! ```
//!
//! A start reads and changes one file, however many are on the network; to write the names into the others'
//! hosts files is work for each of them, and comes after the answer. The stamp in the file `NETWORK.done`
//! says up to which change that has been done: where the two differ, somebody is at it, or died at it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::{Home, make_private_dir, write_whole};

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

/// All members of one network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roll {
    /// When it was last changed, in nanoseconds of the clock; 0: it never was.
    pub stamp: u64,
    /// The lines.
    pub members: Vec<Member>,
}

impl Roll {
    /// The roll of the network `network`; empty where nobody is on it.
    pub fn load(home: &Home, network: &str) -> Result<Roll> {
        let path = path(home, network);
        match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Roll::default()),
            text => {
                let text = text.with_context(|| format!("read {}", path.display()))?;
                parse(&text).with_context(|| format!("{} is damaged", path.display()))
            }
        }
    }
}

/// Puts `member` on the roll of `network`, in place of the line that it had.
pub fn enter(home: &Home, network: &str, member: Member) -> Result<Roll> {
    change(home, network, |members| {
        match members.iter_mut().find(|other| other.id == member.id) {
            Some(other) => *other = member,
            None => members.push(member),
        }
    })
}

/// Takes the container `id` off the roll of `network`.
pub fn leave(home: &Home, network: &str, id: &str) -> Result<Roll> {
    change(home, network, |members| {
        members.retain(|member| member.id != id);
    })
}

/// Forgets the network.
pub fn remove(home: &Home, network: &str) {
    let _ = std::fs::remove_file(path(home, network));
    let _ = std::fs::remove_file(done_path(home, network));
}

/// Whether the members of `network` have all been told of the last change. Costs two reads.
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

/// Notes that the members of `network` have been told of all changes up to `stamp`.
pub fn note_told(home: &Home, network: &str, stamp: u64) -> Result<()> {
    write_whole(&done_path(home, network), stamp.to_string().as_bytes())
}

/// Waits for the right to be the one who tells.
pub fn lock_telling(home: &Home) -> Result<File> {
    lock(home, "telling.lock")
}

fn told(home: &Home, network: &str) -> Option<u64> {
    let text = std::fs::read_to_string(done_path(home, network)).ok()?;
    text.trim_end().parse().ok()
}

fn change(home: &Home, network: &str, change: impl FnOnce(&mut Vec<Member>)) -> Result<Roll> {
    let _lock = lock(home, "rolls.lock")?;
    let mut roll = Roll::load(home, network)?;
    let before = roll.members.clone();
    change(&mut roll.members);
    if roll.members == before {
        return Ok(roll);
    }
    if roll.members.is_empty() {
        remove(home, network);
        return Ok(Roll::default());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    // The clock may have been set back: a change is always later than the one before.
    roll.stamp = now
        .map_or(0, |now| now.as_nanos() as u64)
        .max(roll.stamp + 1);
    write_whole(&path(home, network), text(&roll).as_bytes())?;
    Ok(roll)
}

fn text(roll: &Roll) -> String {
    let mut text = format!("{}\n", roll.stamp);
    for member in &roll.members {
        let addresses: Vec<String> = member.addresses.iter().map(ToString::to_string).collect();
        let (networks, names) = (member.networks.join(","), member.names.join(" "));
        let _ = writeln!(
            text,
            "{}\t{networks}\t{}\t{names}",
            member.id,
            addresses.join(",")
        );
    }
    text
}

fn parse(text: &str) -> Option<Roll> {
    let mut lines = text.lines();
    let stamp = lines.next()?.parse().ok()?;
    let words = |text: &str, by: char| -> Vec<String> {
        let words = text.split(by).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let member = |line: &str| {
        let mut fields = line.split('\t');
        Some(Member {
            id: fields.next()?.to_owned(),
            networks: words(fields.next()?, ','),
            addresses: fields
                .next()?
                .split(',')
                .filter(|word| !word.is_empty())
                .map(|word| word.parse().ok())
                .collect::<Option<_>>()?,
            names: words(fields.next()?, ' '),
        })
    };
    let members = lines.map(member).collect::<Option<_>>()?;
    Some(Roll { stamp, members })
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
    let directory = home.runroot.join("networks");
    let path = directory.join(name);
    let open = || {
        File::options()
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
    let file = file.with_context(|| format!("open {}", path.display()))?;
    file.lock()
        .with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
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
        assert!(is_told(&home, "net"));
        let first = enter(&home, "net", member("a", "10.0.0.2")).unwrap();
        assert!(!is_told(&home, "net"));
        note_told(&home, "net", first.stamp).unwrap();
        assert!(is_told(&home, "net"));

        enter(&home, "net", member("b", "fd00::3")).unwrap();
        let roll = enter(&home, "net", member("a", "10.0.0.9")).unwrap();
        assert_eq!(
            roll.members,
            [member("a", "10.0.0.9"), member("b", "fd00::3")]
        );
        assert_eq!(Roll::load(&home, "net").unwrap(), roll);
        assert!(roll.stamp > first.stamp && !is_told(&home, "net"));
        // What changes nothing is no change.
        assert_eq!(
            enter(&home, "net", member("b", "fd00::3")).unwrap().stamp,
            roll.stamp
        );

        leave(&home, "net", "a").unwrap();
        assert_eq!(leave(&home, "net", "b").unwrap(), Roll::default());
        assert!(!path(&home, "net").exists() && !done_path(&home, "net").exists());
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_member_without_an_address_has_a_line_too() {
        let roll = Roll {
            stamp: 7,
            members: vec![Member {
                addresses: vec![],
                ..member("a", "10.0.0.2")
            }],
        };
        assert_eq!(parse(&text(&roll)), Some(roll));
    }
}
