//! The pipes between a program without a terminal and its monitor.  pipe(7)

use anyhow::{Context, Result};
use nix::fcntl::OFlag;

use super::pump::Ends;
use crate::kernel::terminal::Stdio;

/// Where a program's input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A terminal, which is also its output.
    Terminal,
    /// A pipe (`-i`).
    Pipe,
    /// `/dev/null`.
    Nothing,
}

/// The program's ends and ours, where it has no terminal.
pub fn pipes(input: Input) -> Result<(Ends, Option<Stdio>)> {
    let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).context("make a pipe");
    let (their_input, input) = match input {
        Input::Terminal => return Ok((Ends::default(), None)),
        Input::Pipe => pipe().map(|(read, write)| (read, Some(write)))?,
        Input::Nothing => (
            std::fs::File::open("/dev/null")
                .context("open /dev/null")?
                .into(),
            None,
        ),
    };
    let (output, their_output) = pipe()?;
    let (error, their_error) = pipe()?;
    let ends = Ends {
        master: None,
        input,
        output: Some(output),
        error: Some(error),
    };
    Ok((
        ends,
        Some(Stdio::Pipes([their_input, their_output, their_error])),
    ))
}
