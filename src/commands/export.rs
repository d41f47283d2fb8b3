//! `export`: a container's files as a tar archive, without what is mounted over them.

use std::fs::{self, File, Permissions};
use std::io::IsTerminal;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::copy::standard_output;
use crate::cli::files::ExportArgs;
use crate::files::inside::pack;
use crate::files::view::{self, Shows};
use crate::files::worker;
use crate::store::Home;
use crate::store::containers;

/// `rmac export`.
pub fn export(home: &Home, args: &ExportArgs) -> Result<u8> {
    if args.output.is_none() && std::io::stdout().is_terminal() {
        bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
    }
    let record = containers::find(home, &args.container)?;
    let output = args.output.as_deref().map(Output::new).transpose();
    let output = output.context("failed to export container")?;
    let to = match &output {
        Some(output) => output.file.try_clone().context("duplicate a descriptor")?,
        None => standard_output()?,
    };
    let (view, claim) = view::of(home, &record)?;
    let worker = worker::start(&[], move |_| {
        let tree = view.enter(Shows::RootAlone)?;
        let top = tree.look(b"")?;
        pack(&tree.descriptors, top, b"", to).map(drop)
    })?;
    let ended = worker.end();
    drop(claim);
    ended.with_context(|| format!("Error exporting container {}", args.container))?;
    output.map(Output::keep).transpose()?;
    Ok(0)
}

/// A file that gets its name when all of it is there.
struct Output {
    file: File,
    /// What it is called until then.
    aside: PathBuf,
    path: PathBuf,
}

impl Output {
    /// # Errors
    /// Docker's, for what cannot be replaced by a file.
    fn new(path: &Path) -> Result<Output> {
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        let above = above.unwrap_or(Path::new("."));
        let shown = above.display();
        match fs::metadata(above) {
            Ok(status) if status.is_dir() => (),
            Ok(_) => bail!("invalid output path: stat {shown}: not a directory"),
            Err(_) => bail!("invalid output path: stat {shown}: no such file or directory"),
        }
        let name = path.file_name().context("cannot write to a directory")?;
        if let Ok(status) = fs::symlink_metadata(path) {
            require_file(status.file_type())?;
        }
        let mut aside = std::ffi::OsString::from(".tmp-");
        aside.push(name);
        aside.push(std::process::id().to_string());
        let aside = above.join(aside);
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside);
        let file = file.with_context(|| format!("open {}", aside.display()))?;
        Ok(Output {
            file,
            aside,
            path: path.to_owned(),
        })
    }

    fn keep(self) -> Result<()> {
        let renamed = self
            .file
            .set_permissions(Permissions::from_mode(0o600))
            .and_then(|()| fs::rename(&self.aside, &self.path));
        renamed.with_context(|| format!("write {}", self.path.display()))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Nothing, once it has its name.
        let _ = fs::remove_file(&self.aside);
    }
}

fn require_file(kind: fs::FileType) -> Result<()> {
    let what = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "directory",
        kind if kind.is_symlink() => bail!("cannot write to a symbolic link directly"),
        kind if kind.is_fifo() => "named pipe (FIFO)",
        kind if kind.is_socket() => "socket",
        kind if kind.is_char_device() => "character device file",
        _ => "block device file",
    };
    bail!("cannot write to a {what}")
}
