//! The flags of `login` and `logout`.

use clap::Args;

/// The flags of `login`.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Username
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Password (others on this machine can read it: --password-stdin is better)
    #[arg(short, long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Take the password from the standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Host and port of the registry; Docker Hub if none is given
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

/// The flags of `logout`.
#[derive(Debug, Args)]
pub struct LogoutArgs {
    /// Host and port of the registry; Docker Hub if none is given
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}
