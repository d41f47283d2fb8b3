//! Writing to standard output and standard error, which may be a pipe that nobody reads any more.  pipe(7)
//!
//! `rmac ps | head -1` closes its end after a line. Rust ignores SIGPIPE before main, and its `println!` panics
//! on the error that comes instead; other programs just end, and so do we.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// The exit code of a program that SIGPIPE has killed, as a shell tells it: 128 and the signal's number.
const BROKEN_PIPE: i32 = 128 + libc::SIGPIPE;

/// Writes to standard output. Where nobody reads it the process ends as one that SIGPIPE has killed, without a
/// word; where it cannot be written (a full disk) it ends with one.
pub fn write_out(text: Arguments) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = stdout.write_fmt(text).and_then(|()| stdout.flush()) {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(BROKEN_PIPE);
        }
        write_err(format_args!("rmac: write standard output: {error}\n"));
        std::process::exit(1);
    }
}

/// Writes to standard error. Who does not want to hear it does not have to.
pub fn write_err(text: Arguments) {
    let _ = std::io::stderr().lock().write_fmt(text);
}

/// As `println!`, see [`write_out`].
macro_rules! outln {
    ($($words:tt)*) => {
        $crate::out::stream::write_out(format_args!("{}\n", format_args!($($words)*)))
    };
}

/// As `print!`, see [`write_out`].
macro_rules! out {
    ($($words:tt)*) => { $crate::out::stream::write_out(format_args!($($words)*)) };
}

/// As `eprintln!`, see [`write_err`].
macro_rules! errln {
    ($($words:tt)*) => {
        $crate::out::stream::write_err(format_args!("{}\n", format_args!($($words)*)))
    };
}

/// As `eprint!`, see [`write_err`].
macro_rules! err {
    ($($words:tt)*) => { $crate::out::stream::write_err(format_args!($($words)*)) };
}

pub(crate) use {err, errln, out, outln};
