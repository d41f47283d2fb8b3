//! `version` and `completion`.

use anyhow::Result;
use clap::CommandFactory;
use serde_json::json;

use crate::cli::{Cli, CompletionArgs, VersionArgs};
use crate::out;
use crate::out::stream::outln;

/// `rmac version`.
pub fn version(args: &VersionArgs) -> Result<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let platform = format!(
        "{}/{}",
        std::env::consts::OS,
        rootfs_fetch::Platform::host().architecture
    );
    let value = json!({"Client": {"Version": version, "Os": std::env::consts::OS, "Arch": rootfs_fetch::Platform::host().architecture}});
    match args.format.as_deref() {
        None => outln!("rmac:\n Version:  {version}\n OS/Arch:  {platform}"),
        Some("json") => outln!("{value}"),
        Some(template) => outln!("{}", out::render(template, &value)?),
    }
    Ok(0)
}

/// `rmac completion`.
pub fn completion(args: &CompletionArgs) -> Result<u8> {
    clap_complete::generate(
        args.shell,
        &mut Cli::command(),
        "rmac",
        &mut std::io::stdout(),
    );
    Ok(0)
}
