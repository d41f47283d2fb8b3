//! What is printed: tables, JSON, Go templates, ages and sizes, in the shape Docker gives them.
//!
//! Scripts read the output of `docker`, so the shape is an interface: a table's columns are set off
//! by three spaces and have no borders, `inspect` indents by four spaces, `--format` takes a
//! [Go template](https://pkg.go.dev/text/template) ([`render`]), ages are rounded ("2 hours") and
//! sizes are decimal ("8.31MB"). Text that somebody else wrote (an image's labels, a server's
//! answer) goes through [`escape`], since a terminal obeys the control characters in it.

use anyhow::{Context, Result, bail};
use std::borrow::Cow;
use std::fmt::{Display, Formatter};

use jiff::Timestamp;
use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub mod eval;
pub mod format;
pub mod functions;
pub mod lex;
pub mod parse;
pub mod stream;
pub mod table;
pub mod template;

pub use format::{Columns, Format, Row};
pub use table::Table;
pub use template::render;

/// A table as Docker prints it: every column as wide as its widest cell and three spaces, ten at
/// the least; no borders. Each line, the last one too, ends in a line feed.
///
/// Widths are those of a terminal ([`unicode_width`]). A row shorter than the header is filled up.
pub fn table<H: AsRef<str>, R: AsRef<[String]>>(header: &[H], rows: &[R]) -> String {
    let mut table = Table::with_header(header);
    rows.iter().for_each(|row| table.row(row.as_ref()));
    table.finish()
}

/// `value` as JSON indented by four spaces, as `docker inspect` prints it; no line feed at the end.
pub fn json<T: Serialize + ?Sized>(value: &T) -> String {
    let mut text = Vec::new();
    let indented = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, indented);
    match value.serialize(&mut writer) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        // Only a map with keys that are no strings gets here; none of ours is one.
        Err(error) => format!("\"{}\"", escape(&error.to_string())),
    }
}

/// How long before `now` the moment `then` was, rounded as Docker rounds it: "Less than a second",
/// "5 minutes", "About an hour", "3 weeks". A moment in the future is "Less than a second".
pub fn ago(then: Timestamp, now: Timestamp) -> Ago {
    Ago(now.as_second().saturating_sub(then.as_second()))
}

/// What [`ago`] gives to be written: so many seconds.
#[derive(Debug, Clone, Copy)]
pub struct Ago(i64);

impl Display for Ago {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        let seconds = self.0;
        let hours = (seconds + 1800) / 3600;
        let (number, unit) = match (seconds, hours) {
            (..1, _) => return f.write_str("Less than a second"),
            (1, _) => return f.write_str("1 second"),
            (..60, _) => (seconds, "seconds"),
            (..120, _) => return f.write_str("About a minute"),
            (..3600, _) => (seconds / 60, "minutes"),
            (_, 1) => return f.write_str("About an hour"),
            (_, ..48) => (hours, "hours"),
            (_, ..336) => (hours / 24, "days"),
            (_, ..1440) => (hours / 24 / 7, "weeks"),
            (_, ..17520) => (hours / 24 / 30, "months"),
            _ => (seconds / 3600 / 24 / 365, "years"),
        };
        write!(f, "{number} {unit}")
    }
}

/// A number of bytes as `docker images` shows it: three significant digits in the largest decimal
/// unit that leaves at least one before the point, "8.31MB".
pub fn size(bytes: u64) -> String {
    in_units(bytes, 1000.0, 3, ["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// A number of bytes as `docker stats` shows memory: four significant digits in a binary unit, "7.656GiB".
pub fn binary_size(bytes: u64) -> String {
    in_units(
        bytes,
        1024.0,
        4,
        ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"],
    )
}

fn in_units(bytes: u64, step: f64, significant: usize, units: [&str; 7]) -> String {
    let (mut number, mut unit) = (bytes as f64, 0);
    // 999.5 and more of decimal ones would be shown as 1000.
    let most = if step == 1000.0 { 999.5 } else { step };
    while number >= most && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    // As many as leave that number of digits, also when it is rounded up.
    let fits = |decimals: &usize| {
        let before = 10f64.powi((significant - decimals) as i32);
        number < before - 0.5 / 10f64.powi(*decimals as i32)
    };
    let decimals = (0..significant).rev().find(fits).unwrap_or(0);
    let digits = format!("{number:.decimals$}");
    let digits = match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => &digits,
    };
    format!("{digits}{}", units[unit])
}

/// A size such as `512m`, in bytes; the letters stand for powers of 1024, as with Docker.
///
/// # Errors
/// It is none.
pub fn read_size(text: &str) -> Result<i64> {
    let lower = text.to_lowercase();
    let number = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match lower[number.len()..].trim_end_matches('b') {
        "" => 0,
        "k" | "ki" => 10,
        "m" | "mi" => 20,
        "g" | "gi" => 30,
        "t" | "ti" => 40,
        _ => bail!("invalid size: '{text}'"),
    };
    let number: f64 = number
        .trim()
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number >= 0.0)
        .with_context(|| format!("invalid size: '{text}'"))?;
    Ok((number * (1u64 << shift) as f64) as i64)
}

/// `text` cut to `width` columns of a terminal, the last of them "…" where something was cut off.
pub fn ellipsis(text: &str, width: usize) -> Cow<'_, str> {
    if width_of(text) <= width {
        return Cow::Borrowed(text);
    }
    let mut cut = String::new();
    let mut used = 1;
    for letter in text.chars() {
        used += letter.width().unwrap_or(0);
        if used > width {
            break;
        }
        cut.push(letter);
    }
    if width > 0 {
        cut.push('…');
    }
    Cow::Owned(cut)
}

/// The candidate that was probably meant by `name`: the one that the fewest edits (insert, delete,
/// replace, swap of neighbours) lead to, `None` where more than a third of the name would change.
pub fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let allowed = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|&(distance, _)| distance > 0 && distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `text` with its control characters made visible (`\n`, `\x1b`, `\u{202e}`), so that text from an
/// image or a server can neither move the cursor nor reorder or hide what stands beside it.
pub fn escape(text: &str) -> Cow<'_, str> {
    if is_plain(text) || !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\n' | '\t' | '\r' => safe.extend(letter.escape_default()),
            _ if !is_control(letter) => safe.push(letter),
            '\0'..='\u{ff}' => safe.push_str(&format!("\\x{:02x}", letter as u32)),
            _ => safe.extend(letter.escape_unicode()),
        }
    }
    Cow::Owned(safe)
}

/// An error and its causes as [`escape`] leaves them. Line breaks stay: some of Docker's messages have one, and
/// several errors are told one below the other.
pub fn error_text(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let lines: Vec<_> = text.split('\n').map(escape).collect();
    lines.join("\n")
}

/// Control characters of terminals (C0, DEL, C1) and those of Unicode that reorder or hide text.
fn is_control(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Whether there is nothing in `text` but the visible letters of ASCII and blanks, as in most.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// How many columns of a terminal `text` takes; most is plain, where that is its length.
fn width_of(text: &str) -> usize {
    match is_plain(text) {
        true => text.len(),
        false => text.width(),
    }
}

/// The optimal string alignment distance: Levenshtein's, with swapped neighbours as one edit.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_dockers() {
        let rows = vec![
            vec!["alpine".into(), "latest".into(), "8.31MB".into()],
            vec!["日本語のイメージ".into(), "3".into()],
        ];
        assert_eq!(
            table(&["REPOSITORY", "TAG", "SIZE"], &rows),
            "REPOSITORY         TAG       SIZE\n\
             alpine             latest    8.31MB\n\
             日本語のイメージ   3         \n"
        );
    }

    #[test]
    fn json_is_indented_by_four() {
        let value = serde_json::json!([{"Id": "a", "Links": null, "Empty": []}]);
        assert_eq!(
            json(&value),
            "[\n    {\n        \"Id\": \"a\",\n        \"Links\": null,\n        \"Empty\": []\n    }\n]"
        );
    }

    #[test]
    fn ages_are_rounded_as_docker_rounds_them() {
        let now = Timestamp::from_second(2_000_000_000).unwrap();
        for (seconds, text) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400, "2 weeks"),
            (60 * 86400, "2 months"),
            (730 * 86400, "2 years"),
        ] {
            let then = Timestamp::from_second(now.as_second() - seconds).unwrap();
            assert_eq!(ago(then, now).to_string(), text, "{seconds} s");
        }
    }

    #[test]
    fn sizes_have_dockers_units() {
        assert_eq!(read_size("512m").unwrap(), 512 << 20);
        assert_eq!(read_size("1.5GiB").unwrap(), 3 << 29);
        assert_eq!(read_size("100").unwrap(), 100);
        assert_eq!(read_size("7kb").unwrap(), 7 << 10);
        assert!(read_size("many").is_err());
        assert!(read_size("1x").is_err());
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1500, "1.5kB"),
            (8_312_345, "8.31MB"),
            (12_345_678, "12.3MB"),
            (123_456_789, "123MB"),
            (999_999, "1MB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1_572_864, "1.5MiB"),
            (8_218_214_400, "7.654GiB"),
            (1_073_741_823, "1024MiB"),
            (10_736_369_664, "9.999GiB"),
            (10_737_000_000, "10GiB"),
            (u64::MAX, "16EiB"),
        ] {
            assert_eq!(binary_size(bytes), text);
        }
    }

    #[test]
    fn long_text_ends_in_an_ellipsis() {
        assert_eq!(
            ellipsis("\"/bin/sh -c 'sleep 1000'\"", 20),
            "\"/bin/sh -c 'sleep …"
        );
        assert_eq!(ellipsis("short", 5), "short");
        assert_eq!(ellipsis("日本語", 5), "日本…");
        assert_eq!(ellipsis("abc", 0), "");
    }

    #[test]
    fn the_nearest_name_is_offered() {
        let names = ["network", "run", "rm", "start", "stop"];
        assert_eq!(did_you_mean("netwrok", names), Some("network"));
        assert_eq!(did_you_mean("stat", names), Some("start"));
        assert_eq!(did_you_mean("kubernetes", names), None);
        assert_eq!(did_you_mean("run", ["run"]), None);
    }

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(escape("plain ü"), "plain ü");
        let error = anyhow::anyhow!("a\n\u{1b}[2J").context("b");
        assert_eq!(error_text(&error), "b: a\n\\x1b[2J");
        assert_eq!(escape("a\n\u{1b}[2J\u{9b}b"), r"a\n\x1b[2J\x9bb");
        assert_eq!(escape("\u{202e}gpj.exe"), r"\u{202e}gpj.exe");
    }
}
