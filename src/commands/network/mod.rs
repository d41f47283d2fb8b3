//! `rmac network`: networks are declared, listed, looked at and forgotten.

use anyhow::Result;

use crate::cli::network::NetworkCommand;
use crate::store::Home;
use crate::store::claim::is_claimed;
use crate::store::containers::State;
use crate::store::leases::{self, Lease};

pub mod connect;
pub mod create;
pub mod inspect;
pub mod ls;
pub mod prune;
pub mod rm;

/// Does what the command says.
pub fn run(home: &Home, command: &NetworkCommand) -> Result<()> {
    match command {
        NetworkCommand::Create(args) => create::create(home, args),
        NetworkCommand::Ls(args) => ls::ls(home, args),
        NetworkCommand::Inspect(args) => inspect::inspect(home, args),
        NetworkCommand::Rm(args) => rm::rm(home, args),
        NetworkCommand::Connect(args) => connect::connect(home, args),
        NetworkCommand::Disconnect(args) => connect::disconnect(home, args),
        NetworkCommand::Prune(args) => prune::prune(home, args),
    }
}

/// Whether the lease's container runs just now.
fn runs(home: &Home, lease: &Lease) -> Result<bool> {
    Ok(lease.state == leases::State::Held
        && is_claimed(home, &lease.container)
        && State::load(home, &lease.container)?.is_some_and(|state| state.status.is_up()))
}

/// One error out of those of several arguments, a line each; none if there are none.
fn all_or_errors(errors: Vec<anyhow::Error>) -> Result<()> {
    if errors.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = errors.iter().map(|error| format!("{error:#}")).collect();
    Err(anyhow::anyhow!(lines.join("\nrmac: ")))
}
