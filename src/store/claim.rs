//! The claim: who may change a container just now, and whether it is still alive.  flock(2), rename(2)
//!
//! While anything happens to a container (it is made, it runs, it is removed) there is a directory of
//! its name below the run root, and the process in charge holds a lock on it. The directory says "this
//! container is somebody's"; the lock, which the kernel drops with its last holder, says "and that
//! somebody lives". A directory without a lock so tells of a process that was killed, and whoever
//! comes next cleans up after it. After a reboot the run root is empty.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2};
use nix::sys::stat::Mode;
use nix::unistd::gettid;

use super::alive::{self, Sign, Watcher};
use super::{Home, make_private_dir};

/// The right to change a container; given back when dropped.
#[derive(Debug)]
pub struct Claim {
    directory: PathBuf,
    lock: Option<File>,
    /// The same for who looks at many, once it is given.
    sign: Option<Sign>,
}

/// What came of an attempt to claim a container.
#[derive(Debug)]
pub enum Attempt {
    /// It is ours.
    Mine(Claim),
    /// It was another process's, which has died: it is ours, and to be cleaned up first.
    Orphan(Claim),
    /// It is another process's.
    Busy,
}

impl Claim {
    /// Tries to claim the container `id`.
    pub fn attempt(home: &Home, id: &str) -> Result<Attempt> {
        let directory = home.running(id);
        // Made aside and locked before it shows under its name: nobody ever sees it unlocked.
        let aside = directory.with_file_name(format!(".{}.{}", gettid(), super::short(id)));
        let lock = match make_locked(&aside) {
            Ok(lock) => lock,
            Err(_) => {
                make_private_dir(&home.runroot.join("containers"))?;
                make_locked(&aside)?
            }
        };
        match renameat2(
            AT_FDCWD,
            &aside,
            AT_FDCWD,
            &directory,
            RenameFlags::RENAME_NOREPLACE,
        ) {
            Ok(()) => {
                return Ok(Attempt::Mine(Claim {
                    sign: None,
                    directory,
                    lock: Some(lock),
                }));
            }
            Err(Errno::EEXIST) => remove(&aside)?,
            Err(errno) => {
                remove(&aside)?;
                return Err(errno).with_context(|| format!("make {}", directory.display()));
            }
        }
        Claim::adopt(home, id)
    }

    /// Takes the claim of the container `id` over, if there is one that nobody holds.
    pub fn adopt(home: &Home, id: &str) -> Result<Attempt> {
        let directory = home.running(id);
        let Ok(lock) = File::open(&directory) else {
            return Ok(Attempt::Busy);
        };
        if lock.try_lock().is_err() || !still_there(&lock, &directory) {
            return Ok(Attempt::Busy);
        }
        Ok(Attempt::Orphan(Claim {
            sign: None,
            directory,
            lock: Some(lock),
        }))
    }

    /// Claims the container `id`, waiting up to `patience` while another process has it; `None` when
    /// it still does then.
    pub fn wait(home: &Home, id: &str, patience: Duration) -> Result<Option<Attempt>> {
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_micros(200);
        loop {
            match Claim::attempt(home, id)? {
                Attempt::Busy if Instant::now() >= deadline => return Ok(None),
                Attempt::Busy => std::thread::sleep(pause),
                claimed => return Ok(Some(claimed)),
            }
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    /// The directory below the run root.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Lets whoever looks at many containers see that the claim of this one, `id`, is held. For who holds it for longer:
    /// it is not needed, only quicker for those.
    pub fn show(&mut self, home: &Home, id: &str) {
        if self.sign.is_none() {
            self.sign = alive::show(home, id);
        }
    }

    /// The descriptors that hold its locks, which a further child must let go of.
    pub fn lock_fds(&self) -> impl Iterator<Item = RawFd> {
        let both = self.lock.iter().chain(&self.sign);
        both.map(AsRawFd::as_raw_fd)
    }

    /// Leaves the claim to a child that was forked with it: this process lets go without ending it.
    pub fn leave_to_child(mut self) {
        self.lock.take();
        self.sign.take();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // The directory goes while it is locked, so nobody finds it without its lock.
            let _ = remove(&self.directory);
        }
    }
}

/// Tells whether a live process has the container `id` just now.
pub fn is_claimed(home: &Home, id: &str) -> bool {
    File::open(home.running(id)).is_ok_and(|file| file.try_lock_shared().is_err())
}

/// Waits until nobody has the container `id`, at most `patience`; tells whether that came.
pub fn wait_until_free(home: &Home, id: &str, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_micros(200);
    while is_claimed(home, id) {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
    true
}

/// What a look at all containers that something happens to has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The ids of those that a living process holds.
    pub live: Vec<String>,
    /// Those whose holders have died.
    pub orphans: Vec<String>,
}

/// Looks once at each container that something happens to.
///
/// What a process left that was killed between making a claim's directory and giving it its name is removed: the
/// directory's own name has the number of that process, or of its thread.
pub fn look(watcher: &Watcher) -> Seen {
    let mut seen = Seen::default();
    let path = watcher.home.runroot.join("containers");
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let Ok(mut all) = Dir::open(&path, flags, Mode::empty()) else {
        return seen;
    };
    // The names first: the directory is not read while things in it change.
    let names = all.iter().filter_map(|entry| {
        let name = entry.ok()?.file_name().to_str().ok()?.to_owned();
        Some(name).filter(|name| name != "." && name != "..")
    });
    let names: Vec<String> = names.collect();
    for id in names {
        if let Some(aside) = id.strip_prefix('.') {
            let pid = aside.split('.').next().filter(|pid| !pid.is_empty());
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = std::fs::remove_dir(path.join(id));
            }
            continue;
        }
        if watcher.sees(&id) {
            seen.live.push(id);
            continue;
        }
        // No sign of life: the claim itself tells.
        let Ok(directory) = nix::fcntl::openat(&all, id.as_str(), flags, Mode::empty()) else {
            continue;
        };
        match File::from(directory).try_lock() {
            Ok(()) => seen.orphans.push(id),
            Err(_) => seen.live.push(id),
        }
    }
    seen
}

fn make_locked(path: &Path) -> Result<File> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("make {}", path.display()));
        }
        _ => (),
    }
    let lock = File::open(path).with_context(|| format!("open {}", path.display()))?;
    lock.lock()
        .with_context(|| format!("lock {}", path.display()))?;
    Ok(lock)
}

/// Between open and lock the directory may have been removed, and even made anew.
fn still_there(lock: &File, directory: &Path) -> bool {
    match (lock.metadata(), std::fs::metadata(directory)) {
        (Ok(held), Ok(named)) => held.ino() == named.ino() && held.dev() == named.dev(),
        _ => false,
    }
}

fn remove(directory: &Path) -> Result<()> {
    match std::fs::remove_dir(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(_) => std::fs::remove_dir_all(directory)
            .with_context(|| format!("remove {}", directory.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> Home {
        let root = std::env::temp_dir().join(format!(
            "rmac-claim-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        Home {
            runroot: root.join("run"),
            root,
        }
    }

    #[test]
    fn a_claim_is_exclusive_and_ends_with_its_holder() {
        let home = home();
        let Attempt::Mine(claim) = Claim::attempt(&home, "abc").unwrap() else {
            panic!("not mine")
        };
        assert_eq!(seen(&home), (vec!["abc".into()], vec![]));
        assert!(is_claimed(&home, "abc"));
        assert!(matches!(
            Claim::attempt(&home, "abc").unwrap(),
            Attempt::Busy
        ));
        drop(claim);
        assert!(!is_claimed(&home, "abc"));
        assert_eq!(seen(&home), (vec![], vec![]));
        std::fs::remove_dir_all(&home.root).unwrap();
    }

    /// Who lives, and who has died.
    fn seen(home: &Home) -> (Vec<String>, Vec<String>) {
        let Seen { live, orphans } = look(&Watcher::new(home));
        (live, orphans)
    }

    #[test]
    fn a_directory_without_its_lock_is_an_orphan() {
        let home = home();
        std::fs::create_dir_all(home.running("abc")).unwrap();
        assert_eq!(seen(&home), (vec![], vec!["abc".into()]));
        assert!(matches!(
            Claim::attempt(&home, "abc").unwrap(),
            Attempt::Orphan(_)
        ));
        assert_eq!(seen(&home), (vec![], vec![]));
        std::fs::remove_dir_all(&home.root).unwrap();
    }

    #[test]
    fn what_was_made_aside_by_a_dead_process_is_removed() {
        let home = home();
        let aside = |pid: u32| home.running(&format!(".{pid}.abc"));
        // No process has this number: it is above the kernel's limit.
        std::fs::create_dir_all(aside(4_194_305)).unwrap();
        std::fs::create_dir_all(aside(std::process::id())).unwrap();
        assert_eq!(look(&Watcher::new(&home)), Seen::default());
        assert!(!aside(4_194_305).exists());
        assert!(aside(std::process::id()).exists());
        std::fs::remove_dir_all(&home.root).unwrap();
    }
}
