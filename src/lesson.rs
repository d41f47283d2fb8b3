//! What a step tells about itself: its lesson and its shell twin.
//!
//! Every kernel concept in rmac is an `enum Step` in a file of its own, and every such enum has the
//! same face, so that who has read one can read them all:
//!
//! ```text
//! plan(..) -> Vec<Step>    which steps THIS container needs: pure, no kernel
//! step.to_string()         the call as strace would print it, with the real arguments
//! step.why() -> Lesson     the reason, what breaks without it, the man page
//! step.shell() -> Shell    the same thing as a command, for --dry-run
//! step.take(..)            the system calls
//! step.undo(..)            takes it back; "already gone" is no error
//! ```

/// Why a step is taken. Printed by `run --explain`, and beside an error when the step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lesson {
    /// The reason, in one or two sentences.
    pub why: &'static str,
    /// What a container without this step would look like.
    pub without: &'static str,
    /// Where to read on: a man page such as `mount(2)`, an RFC, or a section of the OCI specification.
    pub man: &'static str,
}

/// A step as a command of the script that `run --dry-run` prints.
///
/// The script has three parts. The host's part and the container's part are bash. The last calls,
/// from `pivot_root(2)` to `execve(2)`, must come from one and the same program, since a shell starts
/// a new program for each command and the host's programs are out of reach once the root has been
/// changed; that part is perl, which every Debian has and which can make any system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shell {
    /// Lines of bash. `$root` is the container's root directory before the pivot; `$pid` is, in the
    /// host's part, the container's first process; `$dir` is the container's own directory.
    Bash(String),
    /// Statements of perl for the last part; `sys NAME => NUMBER, ARGS...` makes a checked system call.
    Perl(String),
    /// Nothing to do in a script; the text says why.
    Note(String),
}

impl Shell {
    /// Quotes `word` for bash, leaving plain words as they are.
    pub fn quote(word: &str) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+^".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.to_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_keeps_plain_words_and_guards_the_rest() {
        assert_eq!(Shell::quote("/a/b-c.d"), "/a/b-c.d");
        assert_eq!(Shell::quote("a b"), "'a b'");
        assert_eq!(Shell::quote("it's"), r"'it'\''s'");
        assert_eq!(Shell::quote(""), "''");
    }
}
