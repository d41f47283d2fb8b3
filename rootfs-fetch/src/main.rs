//! `rootfs-fetch IMAGE DIR`: fetches an image and unpacks it into a plain directory, all layers merged.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use rootfs_fetch::{ImageSource, Limits, Platform, Progress, PullOptions, unpack_merged};

/// Fetch a container image and unpack it into a directory.
#[derive(Parser)]
#[command(
    version,
    after_help = "As another user than root, owners are not kept and devices are left out."
)]
struct Args {
    /// A name as in `docker pull`, or oci:PATH, oci-archive:PATH, docker-archive:PATH, tar:PATH
    image: String,
    /// Where to put the files; must be empty or absent
    dir: PathBuf,
    /// The machine to fetch for, as in linux/arm64/v8
    #[arg(long)]
    platform: Option<Platform>,
    /// Write the image's configuration (JSON) to this file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The most bytes a layer may unpack to [default: 4 GiB or 100 times its size, whichever is more]
    #[arg(long, value_name = "BYTES")]
    max_unpacked: Option<u64>,
    /// Say nothing
    #[arg(short, long)]
    quiet: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing more can be done if even this cannot be written.
            let _ = writeln!(std::io::stderr(), "rootfs-fetch: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let progress = match (args.quiet, std::io::stderr().is_terminal()) {
        (true, _) => Progress::quiet(),
        (false, true) => Progress::bars(std::io::stderr()),
        (false, false) => Progress::lines(std::io::stderr()),
    };
    let options = PullOptions {
        platform: args.platform.clone(),
        limits: Limits {
            unpacked_bytes: args.max_unpacked,
        },
        ..PullOptions::new(&progress)
    };
    let source: ImageSource = args.image.parse()?;
    let config = unpack_merged(&source, &args.dir, &options)?;
    if let (Some(path), Some(config)) = (&args.config, config) {
        fs_err::write(path, serde_json::to_vec_pretty(&config)?)?;
    }
    Ok(())
}
