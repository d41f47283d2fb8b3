//! Mistakes on the command line, in Docker's words where it has some.

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Cli;
use crate::{exit, out};

/// What to print after the command line could not be read; `None` where clap says it best.
pub fn in_dockers_words(error: &clap::Error) -> Option<String> {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.clone()),
        _ => None,
    };
    let verb = verb(error);
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let typed = word(ContextKind::InvalidSubcommand)?;
            let verbs = Cli::command();
            let verbs = verbs.get_subcommands().map(clap::Command::get_name);
            let near = near(out::did_you_mean(&typed, verbs));
            Some(format!(
                "rmac: '{typed}' is not a rmac command{near}.\nSee 'rmac --help'"
            ))
        }
        ErrorKind::UnknownArgument => {
            let typed = word(ContextKind::InvalidArg)?;
            let kind = if typed.starts_with("--") {
                "flag"
            } else {
                "shorthand flag"
            };
            let near = match cure(&typed) {
                Some(cure) => format!(" ({cure})"),
                None => near(word(ContextKind::SuggestedArg).as_deref()),
            };
            Some(format!(
                "rmac: unknown {kind}: {typed}{near}\nSee '{verb} --help'"
            ))
        }
        ErrorKind::MissingRequiredArgument => {
            let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
                return None;
            };
            let (count, missing) = (missing.len(), missing.join(" "));
            let plural = if count == 1 { "" } else { "s" };
            Some(format!(
                "rmac: '{verb}' requires at least {count} argument{plural}: {missing}\nSee '{verb} --help'"
            ))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let (typed, flag) = (
                word(ContextKind::InvalidValue)?,
                word(ContextKind::InvalidArg)?,
            );
            let flag = flag.split(' ').next()?;
            let known = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(known)) => {
                    format!(": it is one of {}", known.join(", "))
                }
                _ => {
                    std::error::Error::source(error).map_or(String::new(), |why| format!(": {why}"))
                }
            };
            Some(format!(
                "rmac: invalid argument {typed:?} for \"{flag}\" flag{known}\nSee '{verb} --help'"
            ))
        }
        _ => None,
    }
}

/// What to do instead of a flag that Docker has.
fn cure(flag: &str) -> Option<&'static str> {
    Some(match flag {
        "-p" | "--publish" | "-P" | "--publish-all" => {
            "ports need no publishing: a container on the LAN is reached at its own address, as in http://172.16.86.2:80; see: rmac inspect"
        }
        "--link" => "containers on one network know each other by name: --name, --network-alias",
        "--link-local-ip" => "the kernel gives out one by itself",
        _ => return None,
    })
}

/// The exit code after the command line could not be read: Docker's 125 for flags, 1 for an unknown verb,
/// 0 for help.
pub fn usage_code(error: &clap::Error) -> u8 {
    match error.kind() {
        ErrorKind::InvalidSubcommand => 1,
        _ if error.use_stderr() => exit::RMAC_FAILED,
        _ => 0,
    }
}

fn near(name: Option<&str>) -> String {
    name.map_or(String::new(), |name| format!(" (did you mean {name}?)"))
}

/// The verb that was being read, out of clap's line of usage: `rmac network create`.
fn verb(error: &clap::Error) -> String {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => return "rmac".into(),
    };
    let words = usage.trim_start_matches("Usage:").split_whitespace();
    let verb: Vec<&str> = words
        .take_while(|word| word.chars().all(|c| c.is_ascii_alphanumeric()))
        .collect();
    verb.join(" ")
}
