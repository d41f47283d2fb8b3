//! Which user numbers of the host a container has: a range for each that nobody else has.  subuid(5)
//!
//! One text file, `ids/ranges`, one range a line: the first number, how many, and the container's id.
//!
//! ```text
//! 2147483648 65536 CONTAINER
//! ```
//!
//! A range belongs to its container until that is removed, since the files that it has written carry these
//! numbers. The file is changed under an exclusive flock(2) of its directory, and replaced as a whole. Lines
//! whose container is gone are dropped by the next claim, so nothing is lost with who was killed.
//!
//! Where the ranges come from is the administrator's to say, as with podman: the lines of the user `containers`
//! in `/etc/subuid` and `/etc/subgid`. Without such lines it is the upper half of the numbers, which the tools that
//! make users leave alone.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::claim::is_claimed;
use super::{Home, make_private_dir, write_whole};

/// Whose lines in `/etc/subuid` and `/etc/subgid` are for containers.
const USER: &str = "containers";

/// Without such lines: from 2^31 to what is left free below the highest number, which means "nobody".
const DEFAULT: Range<u64> = 0x8000_0000..0xffff_0000;

/// Claims `size` numbers for the container `id`, who may have them already; the first.
///
/// # Errors
/// No gap of this size is left.
pub fn claim(home: &Home, id: &str, size: u32) -> Result<u32> {
    let _lock = lock(home)?;
    let mut ranges = read(&path(home))?;
    ranges.retain(|line| {
        home.container(&line.container).exists() || is_claimed(home, &line.container)
    });
    let known = ranges.iter().find(|line| line.container == id);
    if let Some(known) = known.filter(|line| line.size == size) {
        return Ok(known.first);
    }
    ranges.retain(|line| line.container != id);
    let first = choose(&pool(), &ranges, size).with_context(|| {
        format!(
            "no {size} user numbers are free for the container: {} containers have theirs; give the user {USER:?} more in /etc/subuid and /etc/subgid, or ask for fewer (--userns auto:size=N)",
            ranges.len()
        )
    })?;
    ranges.push(Line {
        first,
        size,
        container: id.to_owned(),
    });
    write(home, &ranges)?;
    Ok(first)
}

/// Gives the numbers of the container `id` back.
pub fn release(home: &Home, id: &str) -> Result<()> {
    let _lock = lock(home)?;
    let mut ranges = read(&path(home))?;
    ranges.retain(|line| line.container != id);
    write(home, &ranges)
}

struct Line {
    first: u32,
    size: u32,
    container: String,
}

/// The lowest gap of `size` numbers in `pool` between the ranges that are taken.
fn choose(pool: &[Range<u64>], taken: &[Line], size: u32) -> Option<u32> {
    let mut taken: Vec<Range<u64>> = taken
        .iter()
        .map(|line| u64::from(line.first)..u64::from(line.first) + u64::from(line.size))
        .collect();
    taken.sort_by_key(|range| range.start);
    pool.iter().find_map(|part| {
        let mut from = part.start;
        for range in taken.iter().filter(|range| range.end > part.start) {
            if range.start >= from + u64::from(size) {
                break;
            }
            from = from.max(range.end);
        }
        let fits = from + u64::from(size) <= part.end;
        fits.then(|| u32::try_from(from).ok()).flatten()
    })
}

/// The numbers that are for containers, as users and as groups, and that this process has got itself.
fn pool() -> Vec<Range<u64>> {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let own = |path: &str| {
        let ranges = |text: &str| text.lines().filter_map(mapped).collect::<Vec<_>>();
        ranges(&text(path))
    };
    let said = both(
        &subordinate(&text("/etc/subuid"), USER),
        &subordinate(&text("/etc/subgid"), USER),
    );
    let pool = if said.is_empty() { vec![DEFAULT] } else { said };
    both(
        &both(&pool, &own("/proc/self/uid_map")),
        &own("/proc/self/gid_map"),
    )
}

/// The ranges of the user `name` in the text of `/etc/subuid` or `/etc/subgid`: `name:first:size`.
pub fn subordinate(text: &str, name: &str) -> Vec<Range<u64>> {
    let range = |line: &str| {
        let rest = line.strip_prefix(name)?.strip_prefix(':')?;
        let (first, size) = rest.split_once(':')?;
        let (first, size): (u64, u64) = (first.parse().ok()?, size.trim().parse().ok()?);
        Some(first..first.checked_add(size)?)
    };
    text.lines().filter_map(range).collect()
}

/// A line of `/proc/PID/uid_map`: inside, outside, size.
fn mapped(line: &str) -> Option<Range<u64>> {
    let mut words = line.split_whitespace();
    let first: u64 = words.next()?.parse().ok()?;
    let size: u64 = words.nth(1)?.parse().ok()?;
    Some(first..first + size)
}

/// What is in both lists.
fn both(some: &[Range<u64>], others: &[Range<u64>]) -> Vec<Range<u64>> {
    let common = |a: &Range<u64>, b: &Range<u64>| a.start.max(b.start)..a.end.min(b.end);
    some.iter()
        .flat_map(|a| others.iter().map(move |b| common(a, b)))
        .filter(|range| !range.is_empty())
        .collect()
}

fn path(home: &Home) -> PathBuf {
    home.root.join("ids").join("ranges")
}

fn lock(home: &Home) -> Result<File> {
    let directory = home.root.join("ids");
    make_private_dir(&directory)?;
    let file = File::open(&directory).with_context(|| format!("open {}", directory.display()))?;
    file.lock()
        .with_context(|| format!("lock {}", directory.display()))?;
    Ok(file)
}

fn read(path: &Path) -> Result<Vec<Line>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        result => result.with_context(|| format!("read {}", path.display()))?,
    };
    let parse = |line: &str| {
        let mut words = line.split(' ');
        Some(Line {
            first: words.next()?.parse().ok()?,
            size: words.next()?.parse().ok()?,
            container: words.next()?.to_owned(),
        })
    };
    let Some(lines) = text.lines().map(parse).collect() else {
        bail!("{} is damaged", path.display());
    };
    Ok(lines)
}

fn write(home: &Home, ranges: &[Line]) -> Result<()> {
    let line = |line: &Line| format!("{} {} {}\n", line.first, line.size, line.container);
    write_whole(
        &path(home),
        ranges.iter().map(line).collect::<String>().as_bytes(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(first: u32, size: u32) -> Line {
        Line {
            first,
            size,
            container: String::new(),
        }
    }

    #[test]
    fn the_lowest_gap_is_given() {
        let pool = [100..200, 1000..2000];
        assert_eq!(choose(&pool, &[], 100), Some(100));
        assert_eq!(choose(&pool, &[], 101), Some(1000));
        assert_eq!(
            choose(&pool, &[line(130, 10), line(100, 10)], 20),
            Some(110)
        );
        assert_eq!(
            choose(&pool, &[line(130, 10), line(100, 10)], 21),
            Some(140)
        );
        assert_eq!(choose(&pool, &[line(150, 10)], 60), Some(1000));
        assert_eq!(choose(&pool, &[line(1000, 1000), line(100, 100)], 1), None);
    }

    #[test]
    fn the_administrator_says_which_numbers_are_for_containers() {
        let text = "root:1:2\ncontainers:100000:65536\ncontainersx:5:5\ncontainers:bad:1\n";
        let ours: Vec<_> = subordinate(text, "containers");
        assert_eq!((ours.len(), &ours[0]), (1, &(100_000..165_536)));
        assert_eq!(
            both(&[0..10, 20..30], &[5..7, 8..25]),
            [5..7, 8..10, 20..25]
        );
        assert_eq!(mapped("         0       1000          1"), Some(0..1));
    }
}
