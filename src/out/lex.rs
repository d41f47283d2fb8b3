//! The words of a Go template: text outside `{{ }}`, and the tokens inside.
//!
//! See [text/template](https://pkg.go.dev/text/template): `{{- ` and ` -}}` trim the white space
//! beside an action, `{{/* */}}` is a comment, strings are `"quoted"` or `` `raw` ``, a character
//! constant is its number, and `.Name` written without a space before it belongs to the operand
//! on its left.

use super::template::Fault;

/// What is found in a template, with the byte at which it starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// The kind, and the text or value.
    pub kind: Kind,
    /// Offset of the first byte in the template.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
    /// Whether white space stands before the token (`.A .B` are two operands, `.A.B` is one).
    pub spaced: bool,
}

/// The kinds of tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Text outside of actions, printed as it is.
    Text(String),
    /// `{{`, where an action starts.
    Open,
    /// `}}`, where it ends.
    Close,
    /// `.Name`.
    Field(String),
    /// `.` alone.
    Dot,
    /// `$` or `$name`.
    Variable(String),
    /// A keyword, a function, `true`, `false` or `nil`.
    Word(String),
    /// A string, unquoted.
    Quoted(String),
    /// A whole number or the code of a character constant.
    Integer(i64),
    /// A number with a point or an exponent.
    Float(f64),
    /// One of `( ) | , = :=`.
    Mark(&'static str),
}

/// Splits `source` into tokens.
pub fn lex(source: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut trim_left = false;
    loop {
        let rest = &source[at..];
        let open = rest.find("{{").unwrap_or(rest.len());
        let (text, action) = rest.split_at(open);
        let trims = action
            .strip_prefix("{{-")
            .is_some_and(|a| a.starts_with(is_space));
        let mut shown = text;
        if trim_left {
            shown = shown.trim_start_matches(is_space);
        }
        if trims {
            shown = shown.trim_end_matches(is_space);
        }
        if !shown.is_empty() {
            let kind = Kind::Text(shown.to_owned());
            tokens.push(Token {
                kind,
                start: at,
                end: at + open,
                spaced: false,
            });
        }
        if action.is_empty() {
            return Ok(tokens);
        }
        let start = at + open;
        let inside = start + if trims { 3 } else { 2 };
        let mut action = Action {
            source,
            at: inside,
            tokens: &mut tokens,
        };
        (at, trim_left) = match action.comment(start)? {
            Some(end) => end,
            None => action.action(start)?,
        };
    }
}

/// The state within one action.
struct Action<'a> {
    source: &'a str,
    at: usize,
    tokens: &'a mut Vec<Token>,
}

impl Action<'_> {
    /// Skips a comment; the answer is where the action ends and whether it trims what follows.
    fn comment(&mut self, start: usize) -> Result<Option<(usize, bool)>, Fault> {
        let rest = &self.source[self.at..];
        let skipped = rest.trim_start_matches(is_space);
        let Some(comment) = skipped.strip_prefix("/*") else {
            return Ok(None);
        };
        let Some(length) = comment.find("*/") else {
            return Err(Fault::parse(self.source, start, "unclosed comment"));
        };
        let end = self.source.len() - comment.len() + length + 2;
        let rest = &self.source[end..];
        if rest.starts_with("}}") {
            return Ok(Some((end + 2, false)));
        }
        let trimmed = rest.trim_start_matches(is_space);
        if trimmed.len() < rest.len() && trimmed.starts_with("-}}") {
            return Ok(Some((self.source.len() - trimmed.len() + 3, true)));
        }
        let text = "comment ends before closing delimiter";
        Err(Fault::parse(self.source, start, text))
    }

    /// Reads the tokens up to `}}`.
    fn action(&mut self, start: usize) -> Result<(usize, bool), Fault> {
        self.push(Kind::Open, start, false);
        loop {
            let rest = &self.source[self.at..];
            let skipped = rest.trim_start_matches(is_space);
            let spaced = skipped.len() < rest.len();
            self.at += rest.len() - skipped.len();
            let trims = spaced && skipped.starts_with("-}}");
            if trims || skipped.starts_with("}}") {
                let start = self.at;
                self.at += if trims { 3 } else { 2 };
                self.push(Kind::Close, start, spaced);
                return Ok((self.at, trims));
            }
            let Some(first) = skipped.chars().next() else {
                return Err(Fault::parse(self.source, start, "unclosed action"));
            };
            let start = self.at;
            let kind = self.token(first)?;
            self.push(kind, start, spaced);
        }
    }

    /// Reads one token that starts with `first`.
    fn token(&mut self, first: char) -> Result<Kind, Fault> {
        for mark in [":=", "=", "(", ")", "|", ","] {
            if self.source[self.at..].starts_with(mark) {
                self.at += mark.len();
                return Ok(Kind::Mark(mark));
            }
        }
        match first {
            '"' | '\'' | '`' => self.quoted(first),
            '$' => {
                self.at += 1;
                Ok(Kind::Variable(self.name()))
            }
            '.' if !self.digit_at(1) => {
                self.at += 1;
                Ok(match self.name() {
                    name if name.is_empty() => Kind::Dot,
                    name => Kind::Field(name),
                })
            }
            '0'..='9' | '.' | '+' | '-' => self.number(),
            _ if first == '_' || first.is_alphabetic() => Ok(Kind::Word(self.name())),
            _ => {
                let text = format!("unexpected {first:?} in command");
                Err(Fault::parse(
                    self.source,
                    self.at,
                    &text.replace('\'', "\""),
                ))
            }
        }
    }

    fn name(&mut self) -> String {
        let rest = &self.source[self.at..];
        let end = rest.find(|c: char| c != '_' && !c.is_alphanumeric());
        let name = &rest[..end.unwrap_or(rest.len())];
        self.at += name.len();
        name.to_owned()
    }

    fn digit_at(&self, offset: usize) -> bool {
        let byte = self.source.as_bytes().get(self.at + offset);
        byte.is_some_and(u8::is_ascii_digit)
    }

    fn number(&mut self) -> Result<Kind, Fault> {
        let rest = &self.source[self.at..];
        let is_part = |c: char| c.is_alphanumeric() || "._+-".contains(c);
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let text = &rest[..end];
        let plain = text.replace('_', "");
        let (sign, digits) = match plain.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", plain.strip_prefix('+').unwrap_or(&plain)),
        };
        let whole = [("0x", 16), ("0X", 16), ("0b", 2), ("0o", 8)]
            .iter()
            .find_map(|(prefix, base)| Some((digits.strip_prefix(prefix)?, *base)))
            .unwrap_or((digits, 10));
        let kind = match i64::from_str_radix(&format!("{sign}{}", whole.0), whole.1) {
            Ok(number) if !whole.0.starts_with(['+', '-']) => Some(Kind::Integer(number)),
            _ if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
                let number = plain.parse().ok().filter(|n: &f64| n.is_finite());
                number.map(Kind::Float)
            }
            _ => None,
        };
        let bad = || {
            Fault::parse(
                self.source,
                self.at,
                &format!("bad number syntax: {text:?}"),
            )
        };
        let kind = kind.ok_or_else(bad)?;
        self.at += end;
        Ok(kind)
    }

    fn quoted(&mut self, quote: char) -> Result<Kind, Fault> {
        let body = &self.source[self.at + 1..];
        let mut escaped = false;
        let end = body.char_indices().find(|&(_, c)| {
            let ends = (c == quote && !escaped) || (c == '\n' && quote != '`');
            escaped = c == '\\' && !escaped && quote != '`';
            ends
        });
        let unclosed = match quote {
            '`' => "unterminated raw quoted string",
            '"' => "unterminated quoted string",
            _ => "unterminated character constant",
        };
        let end = match end {
            Some((end, found)) if found == quote => end,
            _ => return Err(Fault::parse(self.source, self.at, unclosed)),
        };
        let raw = &body[..end];
        let bad = || Fault::parse(self.source, self.at, "invalid syntax");
        let kind = match quote {
            '`' => Kind::Quoted(raw.to_owned()),
            '"' => Kind::Quoted(unquote(raw).ok_or_else(bad)?),
            _ => {
                let text = unquote(raw).ok_or_else(bad)?;
                let mut letters = text.chars();
                match (letters.next(), letters.next()) {
                    (Some(letter), None) => Kind::Integer(i64::from(u32::from(letter))),
                    _ => return Err(bad()),
                }
            }
        };
        self.at += end + 2;
        Ok(kind)
    }

    fn push(&mut self, kind: Kind, start: usize, spaced: bool) {
        let end = self.at;
        self.tokens.push(Token {
            kind,
            start,
            end,
            spaced,
        });
    }
}

/// White space as Go's lexer has it.
fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}

/// Resolves the escapes of a Go string; `None` where one is wrong.
fn unquote(raw: &str) -> Option<String> {
    let mut text = String::new();
    let mut letters = raw.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            text.push(letter);
            continue;
        }
        text.push(match letters.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            escaped @ ('\\' | '"' | '\'') => escaped,
            'x' => number(&mut letters, 2)?,
            'u' => number(&mut letters, 4)?,
            'U' => number(&mut letters, 8)?,
            _ => return None,
        });
    }
    Some(text)
}

/// The character whose number the next `count` hexadecimal digits are.
fn number(letters: &mut std::str::Chars<'_>, count: usize) -> Option<char> {
    let digits: String = letters.by_ref().take(count).collect();
    let all = digits.len() == count && digits.bytes().all(|b| b.is_ascii_hexdigit());
    char::from_u32(u32::from_str_radix(&digits, 16).ok().filter(|_| all)?)
}
