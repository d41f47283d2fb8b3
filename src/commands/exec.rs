//! `exec`: one more process in a running container.

use std::io::IsTerminal;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{BoxBuilder, Process, Spec, UserBuilder};

use super::attach::{follow, running};
use super::request;
use crate::cli::container::ExecArgs;
use crate::exit;
use crate::kernel::capabilities::{self, Base};
use crate::kernel::seccomp;
use crate::store::Home;
use crate::store::containers;
use crate::supervise::client::{self, Options};
use crate::supervise::start::{Attach, spec_of};
use crate::supervise::stdio::Input;
use crate::supervise::{exec as monitor, heal, peers, sharing};

/// `rmac exec`.
pub fn exec(home: &Home, args: &ExecArgs) -> Result<u8> {
    if args.tty && args.interactive && !args.detach && !std::io::stdin().is_terminal() {
        bail!("the input device is not a TTY");
    }
    let record = containers::find(home, &args.container)?;
    let state = running(
        home,
        &record,
        &format!("container {} is not running", record.id),
    )
    .inspect_err(|_| heal::sweep(home))?;
    super::protect(&record.request)?;
    let pid = state.process.context("the container has no process")?.pid;
    let mut spec = spec_of(home, &record)?;
    sharing::tell_of_watchers(home, &record, &mut spec);
    let process = process(&mut spec, args)?;
    // What was started before this is known by its name in there.
    peers::settle(home, &record)?;
    let options = Options {
        tty: args.tty,
        input: args.interactive,
        output: true,
        errors: true,
        proxy_signals: false,
        detach_keys: match &args.detach_keys {
            Some(keys) => client::parse_detach_keys(keys)?,
            None => client::DETACH_KEYS.to_vec(),
        },
    };
    let input = if args.interactive && !args.detach {
        Input::Pipe
    } else {
        Input::Nothing
    };
    let attach = if args.detach { Attach::No } else { Attach::Yes };
    let signals = if args.detach {
        None
    } else {
        Some(client::catch_signals(&options)?)
    };
    let socket = monitor::exec(&spec, &process, pid, input, attach)?;
    let code = follow(&socket, signals.as_ref().map(|signals| (signals, &options)));
    code.map_err(|error| match error.downcast_ref::<exit::Coded>() {
        // It ended while we were on our way in.
        Some(_) if !state.process.is_some_and(|process| process.is_alive()) => {
            anyhow::anyhow!("container {} is not running", record.id)
        }
        // A step that failed is a failure of rmac's, which exec tells from the program's own.
        Some(coded) if coded.code == exit::RMAC_FAILED => anyhow::anyhow!("{}", coded.text),
        _ => error,
    })
}

/// The container's own process, with what the flags change.
fn process(spec: &mut Spec, args: &ExecArgs) -> Result<Process> {
    let mut process = spec.process().clone().context("the spec has no process")?;
    process.set_args(Some(args.command.clone()));
    process.set_terminal(Some(args.tty));
    let size = client::terminal_size().filter(|_| args.tty);
    let size = size
        .map(|(rows, columns)| BoxBuilder::default().height(rows).width(columns).build())
        .transpose()?;
    process.set_console_size(size);
    let mut env = process.env().clone().unwrap_or_default();
    if args.tty && !env.iter().any(|pair| pair.starts_with("TERM=")) {
        env.push("TERM=xterm".into());
    }
    for pair in request::environment(&args.env_file, &args.env)? {
        let name = format!("{}=", pair.split('=').next().unwrap_or_default());
        env.retain(|known| !known.starts_with(&name));
        if pair.contains('=') {
            env.push(pair);
        }
    }
    process.set_env(Some(env));
    if let Some(directory) = &args.workdir {
        process.set_cwd(request::working_dir(directory)?);
    }
    if let Some(user) = &args.user {
        process.set_user(
            UserBuilder::default()
                .uid(0u32)
                .gid(0u32)
                .username(user.clone())
                .build()?,
        );
    }
    if args.privileged {
        let all = capabilities::choose(Base::Privileged, &[], &[])?;
        if let Some(mut sets) = process.capabilities().clone() {
            sets.set_bounding(Some(all.clone()))
                .set_effective(Some(all.clone()))
                .set_permitted(Some(all));
            process.set_capabilities(Some(sets));
        }
        if let Some(linux) = spec.linux_mut() {
            linux.set_seccomp(None);
        }
        if let Some(annotations) = spec.annotations_mut() {
            annotations.remove(&seccomp::default_mark().0);
        }
    }
    Ok(process)
}
