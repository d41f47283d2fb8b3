//! `rmac lab`: a virtual LAN, built, entered and taken away.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::cli::lab::{LabArgs, LabCommand, On};
use crate::kernel::cgroups::{self, Layout};
use crate::lab::{HOST, Lab, ROUTER, Station, Up, is_inside};
use crate::out::stream::{errln, out, outln};
use crate::store::Home;
use crate::supervise::heal;

/// Does what the command says; the exit code is that of a command that could not be executed, since
/// one that could takes the place of this process.
pub fn run(home: &Home, args: &LabArgs) -> Result<u8> {
    ensure!(
        !is_inside(home),
        "this command runs inside a lab: leave its shell first"
    );
    let lab = Lab::named(home, &args.name)?;
    match &args.command {
        LabCommand::Up => up(&lab),
        LabCommand::Down => down(&lab),
        LabCommand::Status => status(&lab),
        LabCommand::Shell { on } => {
            let shell = std::env::var_os("SHELL").unwrap_or_else(|| OsString::from("/bin/sh"));
            exec(&lab, *on, &[shell])
        }
        LabCommand::Run { on, command } => exec(&lab, *on, command),
    }
}

fn up(lab: &Lab) -> Result<u8> {
    let name = lab.name();
    match lab.up()? {
        Up::Already => outln!("The lab {name:?} is up already."),
        Up::Made => out!("{}", picture(lab)),
    }
    Ok(0)
}

fn down(lab: &Lab) -> Result<u8> {
    if let Some(cure) = lab.down_elsewhere() {
        bail!(
            "the lab {:?} is not here: it was built with other directories: {cure}",
            lab.name()
        );
    }
    lab.end_processes()?;
    // The containers' cgroups are not in the lab, and nobody is left to remove them.
    heal::sweep(lab.home());
    lab.down()?;
    // The directory that all containers' cgroups lie in goes with the last of them.
    if let Ok(layout) = Layout::detect() {
        let _ = cgroups::tidy(&layout, Path::new("/rmac"));
    }
    Ok(0)
}

fn picture(lab: &Lab) -> String {
    let name = lab.name();
    let flag = match name {
        "lab" => String::new(),
        _ => format!(" --name {name}"),
    };
    let (vlan, note) = match lab.has_trunk() {
        true => (
            format!(
                "router10                      |\n    \
                 eth0 {ROUTER}/24 ---- VLAN 10 on the same cable\n    "
            ),
            String::new(),
        ),
        false => (
            String::new(),
            "This kernel has no 802.1Q: no VLAN 10 here (scripts/vm has one).\n".to_owned(),
        ),
    };
    format!(
        "The lab {name:?} is up: a LAN made of network namespaces.\n\
         \n    \
         router                    switch                    host\n    \
         eth0 {ROUTER}/24 ---- [ br0 ] ---- eth0 {HOST}/24\n    {vlan}                                      \
         |\n                                          \
         `- the parent of your containers\n\
         \n\
         rmac lab shell{flag}       a shell on the host: its eth0 is plugged into the switch\n\
         rmac lab run{flag} CMD     one command there; with --on router, on the router\n\
         rmac lab down{flag}        takes it all away\n{note}"
    )
}

fn status(lab: &Lab) -> Result<u8> {
    if !lab.is_up() {
        outln!("The lab {:?} is not up.", lab.name());
        return Ok(1);
    }
    out!("{}", picture(lab));
    let rows: Vec<Vec<String>> = lab
        .processes()?
        .into_iter()
        .map(|process| {
            let station = process.station.map_or("container", Station::name);
            let name = crate::out::escape(&process.name).into_owned();
            vec![process.pid.to_string(), station.to_owned(), name]
        })
        .collect();
    if !rows.is_empty() {
        out!(
            "\n{}",
            crate::out::table(&["PID", "WHERE", "COMMAND"], &rows)
        );
    }
    Ok(0)
}

fn exec(lab: &Lab, on: On, command: &[OsString]) -> Result<u8> {
    let station = match on {
        On::Host => Station::Host,
        On::Router => Station::Router,
        On::Router10 => Station::Router10,
        On::Switch => Station::Switch,
    };
    let Some((program, arguments)) = command.split_first() else {
        anyhow::bail!("no command given");
    };
    let error = lab.exec(station, program, arguments)?;
    errln!("rmac: execute {}: {error}", program.display());
    Ok(match error.kind() {
        ErrorKind::NotFound => 127,
        _ => 126,
    })
}
