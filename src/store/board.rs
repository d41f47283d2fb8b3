//! The board: what is told of the containers of one file, each at a place of its own.  pread(2), flock(2)
//!
//! A list of a hundred containers would read a file for each. So what is told of a container stands in one of four files
//! below the run root, too, and a list reads those, however many there are.
//!
//! A place has the container's id, a checksum and the text, or nothing. Who writes a text holds the file's lock, so no
//! two take the same place; who reads holds nothing: half a text does not have its checksum, and is as if there were
//! none. To take a text away needs no lock either, so nobody who is stopped in the middle of it holds others up. All
//! that can go wrong is that a text is missing, and then what it was made from is read.

use std::fs::{File, TryLockError};
use std::io::Result;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use super::Home;

/// How many files share the places: who changes a container reads through one of them, a list reads each.
pub const FILES: usize = 4;

/// The bytes of a place. What does not fit stays out.
const PLACE: usize = 1024;
/// Where its parts begin: the id is at the front.
const SUM: usize = 64;
const LENGTH: usize = SUM + 8;
const TEXT: usize = LENGTH + 2;

/// The bytes that are read at once: little that has to be made ready first, and few calls where there are many.
const PIECE: usize = 16 * PLACE;

/// All that the file tells.
#[derive(Debug)]
pub struct Board(Vec<u8>);

/// The file for the container `id`, by a digit of its random number; `None` for what is none.
pub fn number(id: &str) -> Option<usize> {
    let number = u64::from_str_radix(id.get(..16)?, 16).ok()?;
    Some((number % FILES as u64) as usize)
}

/// The path of the file `number`.
pub fn path(home: &Home, number: usize) -> PathBuf {
    home.runroot.join(format!("board.{number}"))
}

impl Board {
    /// Reads `file`.
    pub fn read(file: &File) -> Result<Board> {
        // What is written behind it meanwhile is another list's.
        let mut all = vec![0; file.metadata()?.len() as usize];
        let mut length = 0;
        while length < all.len() {
            match file.read_at(&mut all[length..], length as u64)? {
                0 => break,
                read => length += read,
            }
        }
        all.truncate(length);
        Ok(Board(all))
    }

    /// What is told of the container `id`.
    pub fn text(&self, id: &str) -> Option<&str> {
        let mut all = self.places().iter();
        let place = all.find(|place| place[..SUM] == *id.as_bytes())?;
        let length = u16::from_le_bytes(place[LENGTH..TEXT].try_into().ok()?);
        let text = place.get(TEXT..TEXT + usize::from(length))?;
        let sum = u64::from_le_bytes(place[SUM..LENGTH].try_into().ok()?);
        if sum != checksum(id.as_bytes(), text) {
            return None;
        }
        std::str::from_utf8(text).ok()
    }

    fn places(&self) -> &[[u8; PLACE]] {
        self.0.as_chunks().0
    }
}

/// Opens the file for the container `id`, for who writes. `None` where that cannot be.
pub fn open(home: &Home, id: &str, create: bool) -> Option<File> {
    let mut options = File::options();
    options.read(true).write(true).create(create).mode(0o600);
    options.open(path(home, number(id)?)).ok()
}

/// Puts `text` on the board in `file` as what is told of the container `id`. What is too long for a place stays out,
/// and so does everything where another writer does not come to an end.
pub fn put(file: &File, id: &str, text: &str) -> Result<()> {
    let mut place = [0; PLACE];
    if id.len() != SUM || text.len() > PLACE - TEXT {
        return Ok(());
    }
    place[..SUM].copy_from_slice(id.as_bytes());
    place[SUM..LENGTH].copy_from_slice(&checksum(id.as_bytes(), text.as_bytes()).to_le_bytes());
    place[LENGTH..TEXT].copy_from_slice(&(text.len() as u16).to_le_bytes());
    place[TEXT..TEXT + text.len()].copy_from_slice(text.as_bytes());
    if !lock(file)? {
        return Ok(());
    }
    let put = || -> Result<()> {
        let board = Board::read(file)?;
        let places = board.places();
        let free = |place: &[u8; PLACE]| place[0] == 0;
        let own = |place: &[u8; PLACE]| place[..SUM] == *id.as_bytes();
        // The first that is free, so that there are few to be read; free ones at the end are given back.
        let number = places.iter().position(own);
        let number = number.or_else(|| places.iter().position(free));
        let number = number.unwrap_or(places.len());
        let used = places.iter().rposition(|place| !free(place));
        let wanted = used.map_or(0, |last| last + 1).max(number + 1);
        file.write_all_at(&place, (number * PLACE) as u64)?;
        match wanted < places.len() {
            true => file.set_len((wanted * PLACE) as u64),
            false => Ok(()),
        }
    };
    let done = put();
    file.unlock()?;
    done
}

/// Takes away what is told of the container `id` in `file`. Each change of a container's state begins with this, so it
/// does not read more at once than it has to.
pub fn clear(file: &File, id: &str) -> Result<()> {
    let mut piece = vec![0; PIECE];
    let mut begin = 0;
    loop {
        let read = file.read_at(&mut piece, begin)?;
        let (places, _) = piece[..read].as_chunks::<PLACE>();
        for (number, place) in places.iter().enumerate() {
            if place[..SUM] == *id.as_bytes() {
                file.write_all_at(&[0; PLACE], begin + (number * PLACE) as u64)?;
            }
        }
        if read < piece.len() {
            return Ok(());
        }
        begin += read as u64;
    }
}

/// Waits for other writers, each of whom needs some 10 µs; but not for one who is stopped.
fn lock(file: &File) -> Result<bool> {
    for _ in 0..20 {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_micros(200)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

/// Tells a whole text from one of which a part is another's; eight bytes at a time, since a list counts all.
fn checksum(id: &[u8], text: &[u8]) -> u64 {
    let mut sum = text.len() as u64;
    let mut count = |word: [u8; 8]| {
        // An odd number of many ones: each bit of the word moves the bits above it, and the turn brings those down.
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        sum = sum.rotate_left(29);
    };
    for part in [id, text] {
        let (words, rest) = part.as_chunks();
        words.iter().for_each(|word| count(*word));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        count(last);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> String {
        format!("{number:064x}")
    }

    fn file(name: &str) -> (std::path::PathBuf, File) {
        let path = std::env::temp_dir().join(format!("rmac-board-{name}-{}", std::process::id()));
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        (path, file)
    }

    fn told(file: &File, number: u64) -> Option<String> {
        let board = Board::read(file).unwrap();
        board.text(&id(number)).map(str::to_owned)
    }

    #[test]
    fn what_is_put_is_told_until_it_is_taken_away() {
        let (path, file) = file("told");
        for number in 1..=3 {
            put(&file, &id(number), &format!("text {number}")).unwrap();
        }
        put(&file, &id(2), "another").unwrap();
        clear(&file, &id(1)).unwrap();
        assert_eq!(told(&file, 1), None);
        assert_eq!(told(&file, 2).as_deref(), Some("another"));
        assert_eq!(told(&file, 3).as_deref(), Some("text 3"));
        // Who comes next takes the place that is free, and what is free at the end is given back.
        put(&file, &id(4), "text 4").unwrap();
        assert_eq!(file.metadata().unwrap().len(), 3 * PLACE as u64);
        clear(&file, &id(2)).unwrap();
        clear(&file, &id(3)).unwrap();
        put(&file, &id(4), "").unwrap();
        assert_eq!(told(&file, 4).as_deref(), Some(""));
        assert_eq!(file.metadata().unwrap().len(), PLACE as u64);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn many_are_found_one_and_all() {
        let (path, file) = file("many");
        (1..=40).for_each(|number| put(&file, &id(number), "text").unwrap());
        for number in 1..=40 {
            assert_eq!(told(&file, number).as_deref(), Some("text"));
            clear(&file, &id(number)).unwrap();
            assert_eq!(told(&file, number), None);
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_has_no_place_is_not_told() {
        let (path, file) = file("long");
        let most = "a".repeat(PLACE - TEXT);
        put(&file, &id(1), &most).unwrap();
        put(&file, &id(2), &format!("{most}a")).unwrap();
        put(&file, "abc", "no id").unwrap();
        assert_eq!(told(&file, 1), Some(most));
        assert_eq!(told(&file, 2), None);
        assert_eq!(file.metadata().unwrap().len(), PLACE as u64);
        // A writer who is stopped: nobody waits for him for long, and what is told can still be taken away.
        let other = File::open(&path).unwrap();
        other.lock().unwrap();
        put(&file, &id(3), "text").unwrap();
        clear(&file, &id(1)).unwrap();
        assert_eq!((told(&file, 1), told(&file, 3)), (None, None));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn half_a_text_is_as_if_there_were_none() {
        let (path, file) = file("torn");
        let (old, new) = ("running, 12 seconds", "exited, 120 seconds");
        put(&file, &id(1), old).unwrap();
        let before = std::fs::read(&path).unwrap();
        put(&file, &id(1), new).unwrap();
        let after = std::fs::read(&path).unwrap();
        let changed = (0..PLACE).filter(|&at| before[at] != after[at]);
        let changed: Vec<usize> = changed.collect();
        assert!(changed.len() > 8, "{changed:?}");
        for &at in &changed[1..] {
            for (first, second) in [(&before, &after), (&after, &before)] {
                let torn = [&first[..at], &second[at..]].concat();
                assert_eq!(Board(torn).text(&id(1)), None, "{at}");
            }
        }
        // The file's end in the middle of a place, and a length that leads out of it.
        assert_eq!(Board(after[..PLACE - 1].to_vec()).text(&id(1)), None);
        let mut long = after.clone();
        long[LENGTH..TEXT].copy_from_slice(&u16::MAX.to_le_bytes());
        assert_eq!(Board(long).text(&id(1)), None);
        assert_eq!(Board(after).text(&id(1)), Some(new));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn readers_and_writers_beside_each_other_see_whole_texts() {
        let (path, file) = file("beside");
        let done = std::sync::atomic::AtomicBool::new(false);
        let texts = [1, 2, 3].map(|digit: u64| digit.to_string().repeat(700));
        std::thread::scope(|scope| {
            let writers: Vec<_> = (1..=4)
                .map(|number| {
                    let (path, texts) = (&path, &texts);
                    scope.spawn(move || {
                        let file = std::fs::OpenOptions::new();
                        let file = { file }.read(true).write(true).open(path).unwrap();
                        for round in 0..300 {
                            put(&file, &id(number), &texts[round % 3]).unwrap();
                            clear(&file, &id(number)).unwrap();
                        }
                        put(&file, &id(number), &texts[0]).unwrap();
                    })
                })
                .collect();
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    for number in 1..=4 {
                        if let Some(text) = told(&file, number) {
                            assert!(texts.contains(&text), "{text}");
                        }
                    }
                }
            });
            let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(ended.iter().all(|end| end.is_ok()));
        });
        for number in 1..=4 {
            assert!(told(&file, number).is_none_or(|text| text == texts[0]));
        }
        std::fs::remove_file(path).unwrap();
    }
}
