//! Who a user is: the container's own `/etc/passwd` and `/etc/group`.  passwd(5), group(5)
//!
//! A name is looked up in the *image's* files, which whoever wrote the image chose: they may be symbolic
//! links to a file of the host, a FIFO that never answers, or gigabytes long. So they are opened as the
//! container would see them (openat2(2) with `RESOLVE_IN_ROOT`), must be regular files, and are read up to
//! a limit.
//!
//! A number is never a name and must fit: a runtime that took `4294967296` modulo 2^32 would hand out
//! root (CVE-2024-40635).

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

/// Docker's upper limit of user and group numbers; 2^31 and above read as negative in old programs.
pub const LARGEST_ID: u32 = i32::MAX as u32;

/// Most bytes that are read of an image's `/etc/passwd` or `/etc/group`.
pub const LARGEST_FILE: u64 = 16 << 20;

/// A user as the program will have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User number.
    pub uid: u32,
    /// Primary group number.
    pub gid: u32,
    /// All groups that the process is in, the primary one first.
    pub groups: Vec<u32>,
    /// Home directory for `$HOME`: that of the passwd entry, else `/`.
    pub home: String,
}

/// Resolves `--user` (or the image's `User`; empty means root) and the groups `more` in the tree below `root`.
///
/// # Errors
/// Docker's words for an unknown name or a number out of range; what is wrong with a passwd or group
/// file that is not a readable, reasonably small, regular file.
pub fn resolve(wanted: &str, more: &[String], root: impl AsFd) -> Result<User> {
    let passwd = read(&root, "etc/passwd")?;
    let group = read(&root, "etc/group")?;
    let mut user = lookup(wanted, &passwd, &group)?;
    for word in more {
        let gid = find_group(word, &group)?;
        if !user.groups.contains(&gid) {
            user.groups.push(gid);
        }
    }
    Ok(user)
}

/// Resolves `--user` by the text of a passwd and a group file: pure, see [`resolve`].
///
/// # Errors
/// Docker's words for an unknown name or a number out of range.
pub fn lookup(wanted: &str, passwd: &str, group: &str) -> Result<User> {
    let (user_word, group_word) = match wanted.split_once(':') {
        Some((user, group)) => (user, group),
        None => (wanted, ""),
    };
    let asked = Asked::read(if user_word.is_empty() { "0" } else { user_word })?;
    let entry = passwd
        .lines()
        .filter_map(Entry::parse)
        .find(|e| asked.is(e.name, e.uid));
    let uid = match (&entry, asked) {
        (Some(entry), _) => entry.uid,
        (None, Asked::Number(uid)) => uid,
        (None, Asked::Name(name)) => {
            bail!("unable to find user {name}: no matching entries in passwd file")
        }
    };
    let home = entry.as_ref().map_or("", |e| e.home);
    let mut user = User {
        uid,
        gid: entry.as_ref().map_or(0, |e| e.gid),
        groups: Vec::new(),
        home: if home.is_empty() { "/" } else { home }.to_owned(),
    };
    if group_word.is_empty() {
        user.groups.push(user.gid);
        let name = entry.map_or("", |e| e.name);
        let member = |g: &Group| !name.is_empty() && g.members.split(',').any(|m| m == name);
        let more = group
            .lines()
            .filter_map(Group::parse)
            .filter(member)
            .map(|g| g.gid);
        user.groups.extend(more.filter(|gid| *gid != user.gid));
    } else {
        user.gid = find_group(group_word, group)?;
        user.groups.push(user.gid);
    }
    Ok(user)
}

/// Resolves one `--group-add` word by the text of a group file: pure.
///
/// # Errors
/// Docker's words for an unknown name or a number out of range.
pub fn find_group(word: &str, group: &str) -> Result<u32> {
    let asked = Asked::read(word)?;
    let found = group
        .lines()
        .filter_map(Group::parse)
        .find(|g| asked.is(g.name, g.gid));
    match (found, asked) {
        (Some(group), _) => Ok(group.gid),
        (None, Asked::Number(gid)) => Ok(gid),
        (None, Asked::Name(name)) => {
            bail!("unable to find group {name}: no matching entries in group file")
        }
    }
}

/// What the command line asks for.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Number(u32),
    Name(&'a str),
}

impl<'a> Asked<'a> {
    /// A word of digits, with or without a minus, is a number and must be in range; all else is a name.
    fn read(word: &'a str) -> Result<Self> {
        let digits = word.strip_prefix('-').unwrap_or(word);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Asked::Name(word));
        }
        match word.parse() {
            Ok(number @ 0..=LARGEST_ID) => Ok(Asked::Number(number)),
            _ => bail!("uids and gids must be in range 0-{LARGEST_ID}: {word}"),
        }
    }

    fn is(&self, name: &str, number: u32) -> bool {
        match *self {
            Asked::Number(wanted) => wanted == number,
            Asked::Name(wanted) => wanted == name,
        }
    }
}

/// `name:password:uid:gid:comment:home:shell`
struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Entry<'a> {
    /// `None` for a line that is no entry, which is skipped: its numbers must be plain and in range, or a
    /// name would be given a user number that the image's author did not write.
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (id(fields.next()?)?, id(fields.next()?)?);
        let (_comment, home) = (fields.next(), fields.next().unwrap_or(""));
        (!name.is_empty()).then_some(Entry {
            name,
            uid,
            gid,
            home,
        })
    }
}

/// `name:password:gid:member,member`
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, _password, gid) = (fields.next()?, fields.next()?, id(fields.next()?)?);
        let members = fields.next().unwrap_or("");
        (!name.is_empty()).then_some(Group { name, gid, members })
    }
}

fn id(field: &str) -> Option<u32> {
    let plain = field.bytes().all(|b| b.is_ascii_digit());
    field.parse().ok().filter(|id| plain && *id <= LARGEST_ID)
}

/// The text of `path` below `root`; empty where there is no such file, as in an image from scratch.
fn read(root: &impl AsFd, path: &str) -> Result<String> {
    let how = OpenHow::new()
        // NONBLOCK: opening a FIFO must not wait for a writer.
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = match openat2(root, path, how) {
        Ok(fd) => File::from(fd),
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(String::new()),
        Err(errno) => return Err(errno).with_context(|| format!("open the image's /{path}")),
    };
    let kind = file
        .metadata()
        .with_context(|| format!("stat the image's /{path}"))?;
    if !kind.is_file() {
        bail!("the image's /{path} is not a regular file");
    }
    let mut bytes = Vec::with_capacity(kind.len().min(LARGEST_FILE) as usize + 1);
    let mut capped = file.take(LARGEST_FILE + 1);
    capped
        .read_to_end(&mut bytes)
        .with_context(|| format!("read the image's /{path}"))?;
    if bytes.len() as u64 > LARGEST_FILE {
        bail!(
            "the image's /{path} is larger than {} MiB",
            LARGEST_FILE >> 20
        );
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/ash\n\
        # a comment\n\
        bad:x:4294967296:0::/:/bin/sh\n\
        worse:x:+0:0::/:/bin/sh\n\
        daemon:x:2:2:daemon:/sbin:/sbin/nologin\n\
        7:x:99:98:a name of digits:/seven:/bin/sh\n\
        alice:x:1000:1001::/home/alice:/bin/ash\n";
    const GROUP: &str = "root:x:0:root\nbin:x:1:root,daemon\nwheel:x:10:root,alice\nalice:x:1001:alice\n\
        5:x:55:\n";

    fn found(wanted: &str) -> (u32, u32, Vec<u32>, String) {
        let user = lookup(wanted, PASSWD, GROUP).unwrap();
        (user.uid, user.gid, user.groups, user.home)
    }

    fn refused(wanted: &str) -> String {
        lookup(wanted, PASSWD, GROUP).unwrap_err().to_string()
    }

    #[test]
    fn names_and_numbers_are_found() {
        assert_eq!(found(""), (0, 0, vec![0, 1, 10], "/root".into()));
        assert_eq!(found("0"), found("root"));
        assert_eq!(
            found("alice"),
            (1000, 1001, vec![1001, 10], "/home/alice".into())
        );
        assert_eq!(found("1000"), found("alice"));
        assert_eq!(found("alice:bin"), (1000, 1, vec![1], "/home/alice".into()));
        assert_eq!(
            found("1000:12345"),
            (1000, 12345, vec![12345], "/home/alice".into())
        );
        assert_eq!(found("4242"), (4242, 0, vec![0], "/".into()));
        assert_eq!(found(":wheel"), (0, 10, vec![10], "/root".into()));
    }

    #[test]
    fn a_number_is_never_a_name() {
        assert_eq!(found("7"), (7, 0, vec![0], "/".into()));
        assert_eq!(found("0:5").1, 5);
    }

    #[test]
    fn what_is_neither_is_refused_in_dockers_words() {
        let unknown =
            |name| format!("unable to find user {name}: no matching entries in passwd file");
        for name in ["nobody", "0x0", " 0", "0 ", "+0", "bad", "worse", "-"] {
            assert_eq!(refused(name), unknown(name));
        }
        assert_eq!(
            refused("0:staff"),
            "unable to find group staff: no matching entries in group file"
        );
        for number in [
            "4294967296",
            "4294967295",
            "2147483648",
            "-1",
            "99999999999999999999",
        ] {
            assert_eq!(
                refused(number),
                format!("uids and gids must be in range 0-2147483647: {number}")
            );
            assert!(lookup(&format!("0:{number}"), PASSWD, GROUP).is_err());
        }
    }

    /// A directory that stands for an image's root; gone when dropped.
    struct Root(std::path::PathBuf);

    impl Root {
        fn new(name: &str) -> Root {
            let path =
                std::env::temp_dir().join(format!("rmac-test-user-{name}-{}", std::process::id()));
            std::fs::create_dir_all(path.join("etc")).unwrap();
            Root(path)
        }

        fn resolve(&self, wanted: &str) -> Result<User> {
            resolve(wanted, &[], File::open(&self.0).unwrap())
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn links_stay_inside_the_root_and_only_files_are_read() {
        let root = Root::new("tricks");
        assert_eq!(root.resolve("").unwrap().home, "/", "no passwd file at all");
        std::fs::write(root.0.join("inside"), "eve:x:5:6::/eve:\n").unwrap();
        symlink("/inside", root.0.join("etc/passwd")).unwrap();
        assert_eq!(root.resolve("eve").unwrap().uid, 5);
        std::fs::remove_file(root.0.join("etc/passwd")).unwrap();
        symlink("../../../../../../etc/passwd", root.0.join("etc/passwd")).unwrap();
        assert!(
            root.resolve("daemon").is_err(),
            "the host's passwd was read (or the link loops)"
        );
        std::fs::remove_file(root.0.join("etc/passwd")).unwrap();
        nix::unistd::mkfifo(&root.0.join("etc/passwd"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = root.resolve("daemon").unwrap_err().to_string();
        assert_eq!(error, "the image's /etc/passwd is not a regular file");
        std::fs::remove_file(root.0.join("etc/passwd")).unwrap();
        File::create(root.0.join("etc/passwd"))
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        let error = root.resolve("daemon").unwrap_err().to_string();
        assert_eq!(error, "the image's /etc/passwd is larger than 16 MiB");
    }
}
