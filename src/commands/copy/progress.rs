//! How much has gone through a pipe, shown while it does where somebody watches.

use std::io::{IsTerminal, Read, Result, Write};
use std::time::{Duration, Instant};

use crate::out;
use crate::out::stream::{err, errln};

/// Between two looks at it, as with Docker.
const STEP: Duration = Duration::from_millis(75);

/// A pipe's end that counts.
pub struct Counted<T> {
    inner: T,
    /// Bytes so far.
    pub bytes: u64,
    /// What is shown before them, if anything is.
    header: Option<&'static str>,
    shown: Instant,
}

impl<T> Counted<T> {
    /// Counts what goes through `inner`, and shows it after `header` unless it is `quiet`.
    pub fn new(inner: T, header: &'static str, quiet: bool) -> Self {
        Counted {
            inner,
            bytes: 0,
            header: (!quiet && std::io::stderr().is_terminal()).then_some(header),
            shown: Instant::now(),
        }
    }

    /// Closes the pipe; what was counted stays.
    pub fn close(self) -> Counted<()> {
        let Counted {
            bytes,
            header,
            shown,
            ..
        } = self;
        Counted {
            inner: (),
            bytes,
            header,
            shown,
        }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if let Some(header) = self.header
            && self.shown.elapsed() >= STEP
        {
            self.shown = Instant::now();
            err!("\r\x1b[K{header}{}", out::size(self.bytes));
        }
    }

    /// Says what was copied where: `content` bytes, of which more may have gone through the pipe.
    pub fn end(self, content: u64, destination: &str) {
        if self.header.is_some() {
            err!("\r\x1b[K");
        }
        let transferred = match content == self.bytes {
            true => String::new(),
            false => format!(" (transferred {})", out::size(self.bytes)),
        };
        let content = out::size(content);
        errln!("Successfully copied {content}{transferred} to {destination}");
    }
}

impl<T: Read> Read for Counted<T> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.add(bytes);
        Ok(bytes)
    }
}

impl<T: Write> Write for Counted<T> {
    fn write(&mut self, buffer: &[u8]) -> Result<usize> {
        let bytes = self.inner.write(buffer)?;
        self.add(bytes);
        Ok(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.inner.flush()
    }
}
