//! The flags of the verbs about the files in a container.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// The flags of `cp`.
#[derive(Debug, Args)]
#[command(
    override_usage = "rmac cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n       rmac cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    after_help = "Use '-' as the source to read a tar archive from stdin and extract it to a directory destination in a \
                  container. Use '-' as the destination to stream a tar archive of a container source to stdout."
)]
pub struct CpArgs {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    pub archive: bool,
    /// Always follow symlinks in SRC_PATH
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached
    #[arg(short, long)]
    pub quiet: bool,
    /// CONTAINER:PATH, a path of the host, or '-' for stdin
    #[arg(value_name = "SRC")]
    pub source: OsString,
    /// CONTAINER:PATH, a path of the host, or '-' for stdout
    #[arg(value_name = "DEST")]
    pub destination: OsString,
}

/// The flags of `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Name or ID
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// The flags of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Name or ID
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}
