//! Names: how containers of one network find each other.  hosts(5)
//!
//! Docker runs a name server inside each container. A file does as well, and needs no process: every
//! container's `/etc/hosts` lists its peers, and who comes or goes rewrites the files of the others.
//! The C library reads that file anew for each question, so a peer is known as soon as it is written.
//!
//! The file is bound into the container, and a bind mount shows one inode. So it is never replaced but
//! rewritten in place, under a lock. What is ours stands between two marks; what the program has
//! added outside of them stays.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// The line before what is ours.
const BEGIN: &str = "# rmac: the containers on the same networks; rewritten as they come and go";
/// The line after it.
const END: &str = "# rmac: end";

/// The lines for `peers`, each with its addresses (with commas between) and its names (with spaces between), between
/// the marks.
pub fn region<'a>(peers: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut region = Region::default();
    for (addresses, names) in peers {
        region.add(addresses, names);
    }
    region.end()
}

/// A region that is still being written.
#[derive(Debug)]
pub struct Region(String);

impl Default for Region {
    fn default() -> Region {
        Region(format!("{BEGIN}\n"))
    }
}

impl Region {
    /// Adds the lines for one peer, as in [`region`].
    pub fn add(&mut self, addresses: &str, names: &str) {
        for address in addresses.split(',').filter(|word| !word.is_empty()) {
            for word in [address, "\t", names, "\n"] {
                self.0.push_str(word);
            }
        }
    }

    /// The whole of it.
    pub fn end(self) -> String {
        self.0 + END + "\n"
    }
}

/// `text` with `region` in place of an older one, or at the end.
pub fn with_region(text: &str, region: &str) -> String {
    let begin = text.find(BEGIN);
    let end = begin.and_then(|begin| {
        let end = begin + text[begin..].find(END)? + END.len();
        Some(end + usize::from(text[end..].starts_with('\n')))
    });
    match (begin, end) {
        (Some(begin), Some(end)) => format!("{}{region}{}", &text[..begin], &text[end..]),
        // A region whose end the program has cut off goes on to the end of the file.
        (Some(begin), None) => format!("{}{region}", &text[..begin]),
        (None, _) => {
            let gap = if text.is_empty() || text.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            format!("{text}{gap}{region}")
        }
    }
}

/// Writes `region` into the hosts file at `path`, in place. A file that is not there is no error: its
/// container has gone meanwhile.
pub fn rewrite(path: &Path, region: &str) -> Result<()> {
    let mut file = match std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
    {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        file => file.with_context(|| format!("open {}", path.display()))?,
    };
    rewrite_file(&mut file, region).with_context(|| format!("rewrite {}", path.display()))
}

fn rewrite_file(file: &mut File, region: &str) -> std::io::Result<()> {
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let new = with_region(&text, region);
    // Most changes are at the end: who comes last is named last.
    let same = new.bytes().zip(text.bytes()).take_while(|(a, b)| a == b);
    let same = same.count();
    if same < new.len() {
        file.seek(SeekFrom::Start(same as u64))?;
        file.write_all(&new.as_bytes()[same..])?;
    }
    if new.len() < text.len() {
        // Shortened last: a reader in between sees old lines at the end rather than none.
        file.set_len(new.len() as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_replaced_and_the_rest_stays() {
        let one = region([("172.16.86.2,fd00::2", "a web 0123456789ab")]);
        let text = with_region("127.0.0.1\tlocalhost\n", &one);
        assert!(text.contains("\n172.16.86.2\ta web 0123456789ab\nfd00::2\ta web 0123456789ab\n"));
        let edited = format!("{text}10.0.0.1\tmine\n");
        let again = with_region(&edited, &region([("172.16.86.3", "b")]));
        assert!(again.starts_with("127.0.0.1\tlocalhost\n# rmac"));
        assert!(again.ends_with("# rmac: end\n10.0.0.1\tmine\n"));
        assert!(again.contains("172.16.86.3\tb\n") && !again.contains("172.16.86.2"));
        assert_eq!(with_region(&again, &region([])).matches(BEGIN).count(), 1);
    }

    #[test]
    fn a_file_is_rewritten_in_place() {
        use std::os::unix::fs::MetadataExt;
        let path = std::env::temp_dir().join(format!("rmac-names-{}", std::process::id()));
        std::fs::write(&path, "127.0.0.1\tlocalhost\n").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        rewrite(&path, &region([("172.16.86.2", "a"), ("", "nowhere")])).unwrap();
        rewrite(&path, &region([])).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("127.0.0.1\tlocalhost\n{BEGIN}\n{END}\n"));
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
        std::fs::remove_file(&path).unwrap();
        rewrite(&path, "").unwrap();
    }
}
