//! Files of lines, read in pieces: to have memory for all of it made ready would take longer than to read it.  pread(2)

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;

use memchr::{memchr_iter, memrchr};

/// How much is read at once, in bytes.
const PIECE: usize = 16 * 1024;

/// Shows `look` all whole lines of `file`, as many at once as there are, and where the first of them begins; where the
/// last one ends. What comes behind is a line whose writer was killed on the way.
///
/// # Errors
/// Where the file cannot be read.
pub fn whole(file: &File, mut look: impl FnMut(u64, &[u8])) -> Result<u64> {
    let mut piece = vec![0; PIECE];
    // Of the file, where the piece begins; of the piece, how much of it is known.
    let (mut begin, mut known) = (0, 0);
    loop {
        let read = file.read_at(&mut piece[known..], begin + known as u64)?;
        let (fresh, all) = (known, known + read);
        known = all;
        if let Some(end) = memrchr(b'\n', &piece[fresh..all]) {
            let end = fresh + end + 1;
            look(begin, &piece[..end]);
            piece.copy_within(end..all, 0);
            begin += end as u64;
            known -= end;
        }
        if all < piece.len() {
            return Ok(begin);
        }
        if known == piece.len() {
            piece.resize(2 * known, 0);
        }
    }
}

/// The same, line by line, each with its newline.
///
/// # Errors
/// As [`whole`].
pub fn each(file: &File, mut look: impl FnMut(u64, &[u8])) -> Result<u64> {
    whole(file, |begin, lines| {
        let mut start = 0;
        for end in memchr_iter(b'\n', lines) {
            look(begin + start as u64, &lines[start..=end]);
            start = end + 1;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_whole_line_is_shown_once_and_where_it_is() {
        let path = std::env::temp_dir().join(format!("rmac-lines-{}", std::process::id()));
        let long = "l".repeat(3 * PIECE);
        // A line that ends where a piece does, and others that do not; a file that ends where a piece does.
        let texts = [
            String::new(),
            "no newline".into(),
            "one\n\ntwo\n".into(),
            format!("{}\nrest", "x".repeat(PIECE - 1)),
            format!("{}\n", "x".repeat(PIECE - 1)),
            format!("short\n{long}\nshort\n{long}"),
            (0..9999).map(|number| format!("line {number}\n")).collect(),
            "y".repeat(2 * PIECE),
        ];
        for text in texts {
            std::fs::write(&path, &text).unwrap();
            let file = File::open(&path).unwrap();
            let mut seen = vec![];
            let end = each(&file, |at, line| seen.push((at, line.to_vec()))).unwrap();
            let mut at = 0;
            let mut wanted = vec![];
            for line in text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'))
            {
                wanted.push((at, line.as_bytes().to_vec()));
                at += line.len() as u64;
            }
            assert!(seen == wanted, "{} lines", wanted.len());
            assert_eq!(end, at);
        }
        std::fs::remove_file(path).unwrap();
    }
}
