//! rmac-oci, the command: an OCI runtime for podman, containerd and other engines. Parse, dispatch, tell the
//! error once, exit.

use std::process::ExitCode;

use clap::Parser;
use rmac::oci;
use rmac::oci::cli::Cli;
use rmac::out::error_text;
use rmac::out::stream::write_err;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = oci::log::Log::of(&cli);
    match oci::run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // What an image has written into it must not reach the terminal as it is.
            write_err(format_args!("rmac-oci: error: {}\n", error_text(&error)));
            log.error(&format!("{error:#}"));
            ExitCode::from(oci::code_of(&error))
        }
    }
}
