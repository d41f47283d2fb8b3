//! The exit codes that Docker's users know.
//!
//! `run` and `exec` end with the program's own code (128 and the number for a signal); 125 means that
//! rmac itself failed, 126 that the program cannot be executed, 127 that there is none (docker-run(1)).

/// An error with an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Coded {
    /// The exit code.
    pub code: u8,
    /// What is printed.
    pub text: String,
}

/// rmac itself failed, or was called wrongly.
pub const RMAC_FAILED: u8 = 125;

/// The code to end with after `error`, where `usual` is the verb's.
pub fn code_of(error: &anyhow::Error, usual: u8) -> u8 {
    error
        .downcast_ref::<Coded>()
        .map_or(usual, |coded| coded.code)
}
