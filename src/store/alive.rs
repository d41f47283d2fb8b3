//! Signs of life: whether the holder of a claim lives, asked with one call for each.  fcntl(2)
//!
//! A claim's own lock ([`super::claim`]) lies on a directory of its own, so to ask for it is to open, ask and close:
//! too much for a list. So who has a claim also locks one byte of a file that all share, at a place that the container's
//! id tells. Such a lock (`F_OFD_SETLK`) belongs to the open file, as that of flock(2) does: a child that was forked
//! with it has it, too, and the kernel drops it with its last holder. `F_OFD_GETLK` tells of it to whoever has the
//! file open.
//!
//! A byte that is locked so means "lives". One that is not means nothing: the claim itself is asked. So only who stays
//! gives a sign, and not before it has nothing else to do: what runs for a moment never does.

use std::cell::OnceCell;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::Home;
use super::board::{self, Board};

/// How many files share the locks. The kernel looks through a file's locks one after the other (0.3 µs each, where it has
/// not looked at them lately) whenever one is taken and whenever the file is closed; a list opens each file.
const FILES: usize = 2;

/// A sign of life, until it is dropped.
pub type Sign = File;

/// Gives a sign of life for who has the claim of the container `id`. `None` where that cannot be: it then costs
/// others a longer look.
pub fn show(home: &Home, id: &str) -> Option<Sign> {
    // Shared, so that it never waits and never fails for another's.
    let (number, place) = place(id, libc::F_RDLCK)?;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path(home, number))
        .ok()?;
    fcntl(&file, FcntlArg::F_OFD_SETLK(&place)).ok()?;
    Some(file)
}

/// Who looks for signs of life, and for what is told: opens each file at most once, and reads it at most once.
#[derive(Debug)]
pub struct Watcher<'a> {
    /// Where the containers are.
    pub home: &'a Home,
    files: [OnceCell<Option<File>>; FILES],
    boards: [OnceCell<Option<Board>>; board::FILES],
}

impl<'a> Watcher<'a> {
    /// Nothing is opened yet.
    pub fn new(home: &'a Home) -> Self {
        Watcher {
            home,
            files: [const { OnceCell::new() }; FILES],
            boards: [const { OnceCell::new() }; board::FILES],
        }
    }

    /// Whether there is a sign of life for the container `id`.
    pub fn sees(&self, id: &str) -> bool {
        // What a lock for writing would collide with is any lock.
        let Some((number, mut place)) = place(id, libc::F_WRLCK) else {
            return false;
        };
        let open = || File::open(path(self.home, number)).ok();
        let Some(file) = self.files[number].get_or_init(open) else {
            return false;
        };
        let asked: Result<_, Errno> = fcntl(file, FcntlArg::F_OFD_GETLK(&mut place));
        asked.is_ok() && libc::c_int::from(place.l_type) != libc::F_UNLCK
    }

    /// What is told of the container `id`, if anything is.
    pub fn told(&self, id: &str) -> Option<&str> {
        let number = board::number(id)?;
        let read = || Board::read(&File::open(board::path(self.home, number)).ok()?).ok();
        let board = self.boards[number].get_or_init(read);
        board.as_ref()?.text(id)
    }
}

/// The file and the byte of the container `id`: 64 bits of its own random number, so no other container's, before or
/// after it.
fn place(id: &str, kind: libc::c_int) -> Option<(usize, libc::flock)> {
    let number = u64::from_str_radix(id.get(..16)?, 16).ok()?;
    let file = (number % FILES as u64) as usize;
    let byte = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: (number / FILES as u64) as libc::off_t,
        l_len: 1,
        l_pid: 0,
    };
    Some((file, byte))
}

fn path(home: &Home, file: usize) -> PathBuf {
    home.runroot.join(format!("alive.{file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> String {
        format!("{number:016x}{:048}", 0)
    }

    #[test]
    fn a_sign_is_seen_until_it_ends_and_is_nobody_elses() {
        let root = std::env::temp_dir().join(format!("rmac-alive-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let home = Home {
            runroot: root.clone(),
            root: root.clone(),
        };
        let seen = |number: u64| Watcher::new(&home).sees(&id(number));
        // Neighbours in the same file, and the same number in the next file.
        let others = [
            0x1000_0000_0000_0000,
            0x1000_0000_0000_0010,
            0x1000_0000_0000_0009,
            0x8,
        ];
        assert!(!seen(0x1000_0000_0000_0008));
        let sign = show(&home, &id(0x1000_0000_0000_0008)).unwrap();
        assert!(seen(0x1000_0000_0000_0008));
        for other in others {
            assert!(!seen(other), "{other:x}");
        }
        // Whoever has a copy of the descriptor keeps it up, as a forked monitor does.
        let copy = sign.try_clone().unwrap();
        drop(sign);
        assert!(seen(0x1000_0000_0000_0008));
        let largest = show(&home, &id(u64::MAX)).unwrap();
        assert!(seen(u64::MAX));
        drop((copy, largest));
        assert!(!seen(0x1000_0000_0000_0008) && !seen(u64::MAX));
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn what_is_no_containers_id_has_no_place() {
        for name in ["", "abc", "0123456789abcde", "not a number at all"] {
            assert!(place(name, libc::F_WRLCK).is_none(), "{name}");
        }
    }
}
