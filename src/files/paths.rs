//! The path rules of `cp`, which are Docker's: what a trailing `/` or `/.` means, and what the copy is called.
//!
//! Pure. A path here is text: bytes, since a file's name need not be UTF-8. Where a link leads, others look.

use anyhow::{Result, bail};
use rootfs_fetch::root::join;

/// One side of a copy, as far as it has been looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Side {
    /// Its path, with the end that was typed.
    pub path: Vec<u8>,
    /// Is there anything?
    pub exists: bool,
    /// Is that a directory?
    pub is_dir: bool,
}

/// Where an archive is unpacked, and what its uppermost entry is called there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arranged {
    /// The directory.
    pub directory: Vec<u8>,
    /// The new name; `None` leaves the archive's.
    pub name: Option<Vec<u8>>,
}

/// Splits `CONTAINER:PATH`. A path of the host's that has a colon itself begins with `/` or `.`.
pub fn split_argument(argument: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let colon = argument.iter().position(|byte| *byte == b':');
    match colon {
        Some(at) if at > 0 && !argument.starts_with(b"/") && !argument.starts_with(b".") => {
            (Some(&argument[..at]), &argument[at + 1..])
        }
        Some(0) => (None, &argument[1..]),
        _ => (None, argument),
    }
}

/// `path` from the root on, without `.`, `..` and empty parts, but with the `/` or `/.` at its end that says that a
/// directory is meant, or what is in it.
pub fn absolute(path: &[u8]) -> Vec<u8> {
    let mut clean = [b"/".as_slice(), &join(b"", path)].concat();
    let slash = |path: &[u8]| path.ends_with(b"/");
    if is_current(path) {
        if !slash(&clean) {
            clean.push(b'/');
        }
        clean.push(b'.');
    } else if slash(path) && !slash(&clean) {
        clean.push(b'/');
    }
    clean
}

/// Whether the last part is `.`: the content of a directory is meant, not the directory.
pub fn is_current(path: &[u8]) -> bool {
    base(path) == b"."
}

/// Whether the end says that a directory is meant.
pub fn asserts_directory(path: &[u8]) -> bool {
    path.ends_with(b"/") || is_current(path)
}

/// The last part; `.` where there is none, `/` of the root.
pub fn base(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/');
    match end {
        None if path.is_empty() => b".",
        None => b"/",
        Some(end) => {
            let path = &path[..=end];
            let start = path.iter().rposition(|byte| *byte == b'/');
            &path[start.map_or(0, |at| at + 1)..]
        }
    }
}

/// The directory that an entry lies in, and its name there; that of `/a/.` is `.` in `/a`.
pub fn split_entry(path: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let clean = join(b"", path);
    let root = |path: &[u8]| [b"/".as_slice(), path].concat();
    if is_current(path) {
        return (root(&clean), b".".to_vec());
    }
    match clean.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (root(&clean[..at]), clean[at + 1..].to_vec()),
        None if clean.is_empty() => (root(b""), b"/".to_vec()),
        None => (root(b""), clean),
    }
}

/// Where the archive of `source` is unpacked so that it becomes `destination`.
///
/// # Errors
/// Docker's words: a directory cannot become a file, and a file cannot become a directory that is to be there.
pub fn arrange(source_is_dir: bool, destination: &Side) -> Result<Arranged> {
    if destination.exists && destination.is_dir {
        return Ok(Arranged {
            directory: destination.path.clone(),
            name: None,
        });
    }
    if source_is_dir && destination.exists {
        bail!("cannot copy directory");
    }
    if !source_is_dir && !destination.exists && asserts_directory(&destination.path) {
        bail!("no such directory");
    }
    let (directory, name) = split_entry(&destination.path);
    Ok(Arranged {
        directory,
        name: Some(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: impl AsRef<[u8]>) -> String {
        String::from_utf8(bytes.as_ref().to_vec()).unwrap()
    }

    #[test]
    fn a_colon_ends_the_containers_name_unless_a_path_came_first() {
        for (typed, container, path) in [
            ("web:/etc", Some("web"), "/etc"),
            ("web:etc:x", Some("web"), "etc:x"),
            ("web:", Some("web"), ""),
            ("/a:b", None, "/a:b"),
            ("./a:b", None, "./a:b"),
            ("../a:b", None, "../a:b"),
            (".a:b", None, ".a:b"),
            ("plain", None, "plain"),
            ("-", None, "-"),
            (":/x", None, "/x"),
        ] {
            let (is, rest) = split_argument(typed.as_bytes());
            assert_eq!(is.map(text).as_deref(), container, "{typed}");
            assert_eq!(text(rest), path, "{typed}");
        }
    }

    #[test]
    fn the_end_of_a_path_is_kept() {
        for (typed, is) in [
            ("/a/b", "/a/b"),
            ("a//b/", "/a/b/"),
            ("/a/.", "/a/."),
            ("/a/./", "/a/."),
            ("/a/./b", "/a/b"),
            ("/a/../..", "/"),
            ("../../etc", "/etc"),
            ("/", "/"),
            ("/.", "/."),
            ("./", "/."),
            (".", "/."),
        ] {
            assert_eq!(text(absolute(typed.as_bytes())), is, "{typed}");
        }
    }

    #[test]
    fn an_entry_has_a_directory_and_a_name() {
        for (path, directory, name) in [
            ("/a/b", "/a", "b"),
            ("/a/b/", "/a", "b"),
            ("/a/b/.", "/a/b", "."),
            ("/a", "/", "a"),
            ("a", "/", "a"),
            ("/", "/", "/"),
            ("/.", "/", "."),
        ] {
            let (above, last) = split_entry(path.as_bytes());
            assert_eq!((text(above), text(last)), (directory.into(), name.into()));
        }
        assert_eq!(text(base(b"/a/b//")), "b");
        assert_eq!(text(base(b"")), ".");
        assert_eq!(text(base(b"//")), "/");
    }

    #[test]
    fn what_becomes_of_a_source_depends_on_the_destination() {
        let side = |path: &str, exists, is_dir| Side {
            path: path.into(),
            exists,
            is_dir,
        };
        let placed = |directory: &str, name: Option<&str>| Arranged {
            directory: directory.into(),
            name: name.map(|name| name.as_bytes().to_vec()),
        };
        let (file, directory) = (false, true);
        // Docker's cases A to J, where a directory's own name or `.` makes no difference here.
        for (source, destination, is) in [
            (file, side("/x/y", false, false), placed("/x", Some("y"))),
            (file, side("/x/y", true, false), placed("/x", Some("y"))),
            (file, side("/x/y/", true, true), placed("/x/y/", None)),
            (
                directory,
                side("/x/y", false, false),
                placed("/x", Some("y")),
            ),
            (
                directory,
                side("/x/y/", false, false),
                placed("/x", Some("y")),
            ),
            (directory, side("/x", true, true), placed("/x", None)),
        ] {
            assert_eq!(arrange(source, &destination).unwrap(), is);
        }
        for (source, destination, words) in [
            (file, side("/x/y/", false, false), "no such directory"),
            (file, side("/x/.", false, false), "no such directory"),
            (
                directory,
                side("/x/y", true, false),
                "cannot copy directory",
            ),
        ] {
            let error = arrange(source, &destination).unwrap_err();
            assert_eq!(error.to_string(), words);
        }
    }
}
