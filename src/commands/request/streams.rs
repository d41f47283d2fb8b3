//! `-a`: which of the program's streams `run` is attached to.

use anyhow::{Result, bail};

use crate::cli::run::ContainerArgs;
use crate::request::Streams;

/// The streams that `-a` names; without it the program's output and errors. `-i` attaches its input in any case.
pub(super) fn attach(args: &ContainerArgs) -> Result<Streams> {
    let mut streams = Streams {
        stdin: args.interactive,
        stdout: args.attach.is_empty(),
        stderr: args.attach.is_empty(),
    };
    for word in &args.attach {
        match word.to_lowercase().as_str() {
            "stdin" => streams.stdin = true,
            "stdout" => streams.stdout = true,
            "stderr" => streams.stderr = true,
            _ => bail!(
                "invalid argument {word:?} for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR"
            ),
        }
    }
    Ok(streams)
}
