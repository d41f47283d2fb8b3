//! The command line of the verbs that are called most, without the definitions of all others.
//!
//! clap builds the definitions of every verb and flag before it reads the first word, which is a good
//! part of a millisecond. So the verb is looked at first, and only its own flags are defined. What is
//! wrong in any way, asks for help or begins with a flag is left to the full parser, which also has the
//! words for it: the two never differ in what they accept.

use std::ffi::OsString;

use clap::{Args, FromArgMatches};

use super::{Cli, Roots, VersionArgs, container, network, run};

/// Reads the command line `words`, the program's name first; `None` where the full parser has to.
pub fn parse(words: &[OsString]) -> Option<Cli> {
    let mut verbs = words.iter().skip(1).map(|word| word.to_str());
    let verb = match verbs.next()?? {
        "network" => clap::Command::new("network").subcommand(network_flags(verbs.next()??)?),
        name => flags(name)?,
    };
    let definition = Roots::augment_args(clap::Command::new("rmac")).subcommand(verb);
    let matches = definition.try_get_matches_from(words).ok()?;
    Cli::from_arg_matches(&matches).ok()
}

/// The definition of one verb.
fn flags(name: &str) -> Option<clap::Command> {
    use clap::Command as Verb;
    Some(match name {
        "run" => run::RunArgs::augment_args(Verb::new("run")),
        "create" => run::CreateArgs::augment_args(Verb::new("create")),
        "start" => container::StartArgs::augment_args(Verb::new("start")),
        "exec" => container::ExecArgs::augment_args(Verb::new("exec")),
        "stop" => container::StopArgs::augment_args(Verb::new("stop")),
        "kill" => container::KillArgs::augment_args(Verb::new("kill")),
        "rm" => container::RmArgs::augment_args(Verb::new("rm")),
        "ps" => container::PsArgs::augment_args(Verb::new("ps")),
        "logs" => container::LogsArgs::augment_args(Verb::new("logs")),
        "inspect" => container::InspectArgs::augment_args(Verb::new("inspect")),
        "version" => VersionArgs::augment_args(Verb::new("version")),
        _ => return None,
    })
}

/// The definition of one verb of `network`.
fn network_flags(name: &str) -> Option<clap::Command> {
    match name {
        "ls" => Some(network::LsArgs::augment_args(clap::Command::new("ls"))),
        "inspect" => Some(network::InspectArgs::augment_args(clap::Command::new(
            "inspect",
        ))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn the_quick_way_reads_what_the_full_way_reads() {
        for line in [
            "rmac run alpine",
            "rmac run --rm -it --network a --ip 1.2.3.4 -e A=1 -v /a:/b --name x alpine:3 sh -c --help",
            "rmac run --root /x -d --runroot=/y alpine true",
            "rmac create --init alpine",
            "rmac start -a c",
            "rmac exec -it c ash -l",
            "rmac stop -t 3 a b",
            "rmac kill -s INT a",
            "rmac rm -f a b",
            "rmac ps -a --no-trunc -f name=x",
            "rmac logs -f --tail 3 c",
            "rmac inspect -f {{.Id}} c",
            "rmac network ls -q",
            "rmac network inspect n",
            "rmac version -f json",
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let full = Cli::try_parse_from(&words).unwrap();
            let quick = parse(&words).expect(line);
            assert_eq!(format!("{quick:?}"), format!("{full:?}"), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_or_rare_is_left_to_the_full_way() {
        for line in [
            "rmac",
            "rmac --root /x ps",
            "rmac run",
            "rmac ps --help",
            "rmac ps --nosuch",
            "rmac runn",
            "rmac network",
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert!(parse(&words).is_none(), "{line}");
        }
    }
}
