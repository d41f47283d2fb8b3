//! What the user sees of a start that failed.

use crate::kernel::program::NoProgram;
use crate::net::netlink::Refused;
use crate::step::Step;

/// Why a container could not be started.
#[derive(Debug)]
pub struct Failure {
    /// What Docker's users would see as the exit code: 125, 126 or 127.
    pub code: u8,
    /// Which step, and why.
    pub error: anyhow::Error,
}

/// What the user sees of a step that failed. A program that cannot be started is told in Docker's
/// words alone; anything else names the concept first.
pub(super) fn failure(step: &Step, error: anyhow::Error) -> Failure {
    if let Some(no_program) = error.downcast_ref::<NoProgram>() {
        return Failure {
            code: no_program.exit_code(),
            error,
        };
    }
    let error = match error.downcast_ref::<Refused>() {
        Some(_) => error,
        None => error.context(step.concept()),
    };
    Failure { code: 125, error }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure { code: 125, error }
    }
}
