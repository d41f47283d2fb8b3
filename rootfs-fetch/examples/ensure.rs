//! `ensure STORE IMAGE`: finds an image in a store or pulls it, and prints its layers' directories, topmost first.
//!
//! The shortest use of the store; good for looking at with strace(1), and for killing at any moment.

use std::path::Path;

use rootfs_fetch::{Progress, PullOptions, Store};

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ensure: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, store, name] = &args[..] else {
        anyhow::bail!("usage: ensure STORE IMAGE");
    };
    let progress = Progress::lines(std::io::stderr());
    let image = Store::open(Path::new(store))?.ensure(name, &PullOptions::new(&progress))?;
    for layer in image.layers.iter().rev() {
        println!("{}", layer.display());
    }
    Ok(())
}
