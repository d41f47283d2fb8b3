//! Text from strangers: what a server or an archive says is printed with its control characters escaped.
//!
//! A terminal obeys escape sequences (console_codes(4)), so a file name or an error message that is printed as it
//! came could move the cursor, change the window title or hide what else was printed.

use std::fmt::Write;

/// `text` with every control character, and every Unicode direction override, written as `\u{..}`; at most 300
/// characters of it.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(300));
    for (n, c) in text.chars().enumerate() {
        if n == 300 {
            out.push_str("...");
            break;
        }
        match c {
            '\n' => out.push_str("\\n"),
            c if c.is_control()
                || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}

/// The same for bytes that need not be UTF-8, such as a path in an archive.
pub fn escape_bytes(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(1200)];
    escape(&String::from_utf8_lossy(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(escape("a\x1b[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(escape("\u{202e}evil"), "\\u{202e}evil");
        assert_eq!(escape("grün"), "grün");
        assert!(escape(&"x".repeat(5000)).len() < 320);
        assert_eq!(escape_bytes(b"a\xff\x07"), "a\u{fffd}\\u{7}");
    }
}
