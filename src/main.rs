//! rmac, the command: parse, dispatch, print the error chain once, exit.

use std::process::ExitCode;

use clap::Parser;
use rmac::cli::{Cli, mistakes, quick};
use rmac::out::error_text;
use rmac::out::stream::write_err;
use rmac::{commands, exit};

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let cli = match quick::parse(&words).map_or_else(|| Cli::try_parse_from(&words), Ok) {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(text) = mistakes::in_dockers_words(&error) {
                write_err(format_args!("{text}\n"));
            } else {
                let _ = error.print();
            }
            return ExitCode::from(mistakes::usage_code(&error));
        }
    };
    let usual = commands::usual_failure(&cli.command);
    match commands::run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // What an image or a server has written into it must not reach the terminal as it is.
            write_err(format_args!("rmac: {}\n", error_text(&error)));
            ExitCode::from(exit::code_of(&error, usual))
        }
    }
}
