//! execve(2): which file it is, how it is become, and why that could not be.  execvp(3), execveat(2)

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, fcntl};

use super::NoProgram;
use crate::sys::{
    self,
    trampoline::{self, Trampoline},
};

pub(super) fn execute(args: &[String], env: &[String]) -> Result<std::convert::Infallible> {
    let Some(name) = args.first().filter(|name| !name.is_empty()) else {
        bail!("no command specified: the image has no default, so give one after the image's name");
    };
    let words = c_strings(args)?;
    let variables = c_strings(env)?;
    if name.contains('/') {
        let errno = nix::unistd::execve(&words[0], &words, &variables).unwrap_err();
        return Err(explain(name, Path::new(name), errno).into());
    }
    let path = env.iter().find_map(|pair| pair.strip_prefix("PATH="));
    let mut found = None;
    for directory in path
        .unwrap_or_default()
        .split(':')
        .filter(|directory| !directory.is_empty())
    {
        let candidate = Path::new(directory).join(name);
        let file = CString::new(candidate.as_os_str().as_bytes())?;
        match nix::unistd::execve(&file, &words, &variables).unwrap_err() {
            Errno::ENOENT if !candidate.exists() => (),
            Errno::ENOTDIR => (),
            // As execvp(3): a file that may not be executed is remembered, and the search goes on.
            errno => found = found.or(Some(explain(name, &candidate, errno))),
        }
    }
    Err(found
        .unwrap_or_else(|| NoProgram::NotInPath(name.clone()))
        .into())
}

/// The same search without the last call.
pub(super) fn find(args: &[String], env: &[String]) -> Result<PathBuf> {
    let Some(name) = args.first().filter(|name| !name.is_empty()) else {
        bail!("no command specified: the image has no default, so give one after the image's name");
    };
    let usable = |file: &Path| -> Result<(), Errno> {
        nix::unistd::access(file, nix::unistd::AccessFlags::X_OK)?;
        match file.is_dir() {
            true => Err(Errno::EISDIR),
            false => Ok(()),
        }
    };
    if name.contains('/') {
        let file = Path::new(name);
        usable(file).map_err(|errno| explain(name, file, errno))?;
        return Ok(file.to_owned());
    }
    let path = env.iter().find_map(|pair| pair.strip_prefix("PATH="));
    let mut found = None;
    for directory in path
        .unwrap_or_default()
        .split(':')
        .filter(|d| !d.is_empty())
    {
        let file = Path::new(directory).join(name);
        match usable(&file) {
            Ok(()) => return Ok(file),
            Err(Errno::ENOENT | Errno::ENOTDIR) => (),
            Err(errno) => found = found.or(Some(explain(name, &file, errno))),
        }
    }
    Err(found
        .unwrap_or_else(|| NoProgram::NotInPath(name.clone()))
        .into())
}

fn explain(name: &str, file: &Path, errno: Errno) -> NoProgram {
    let name = name.to_owned();
    match errno {
        Errno::ENOENT | Errno::ENOTDIR if !file.exists() => NoProgram::NotFound(name),
        Errno::ENOENT => NoProgram::NoInterpreter(name),
        Errno::EACCES | Errno::EISDIR if file.is_dir() => NoProgram::Directory(name),
        Errno::EACCES => NoProgram::Denied(name),
        Errno::ENOEXEC => NoProgram::Format(name),
        other => NoProgram::Other(name, other),
    }
}

fn c_strings(words: &[String]) -> Result<Vec<CString>> {
    let c_string = |word: &String| {
        CString::new(word.as_bytes())
            .with_context(|| format!("{:?} holds a zero byte", OsStr::new(word)))
    };
    words.iter().map(c_string).collect()
}

/// Becomes the program by way of `trampoline` (see [`crate::sys::trampoline`]): what fails from there on the
/// host hears over `speaker`. Returns only with an error.
pub(super) fn execute_through(
    trampoline: &Trampoline,
    speaker: &OwnedFd,
    args: &[String],
    env: &[String],
) -> Result<std::convert::Infallible> {
    let path = find(args, env)?;
    let mut words = vec![CString::new(path.as_os_str().as_bytes())?];
    words.extend(c_strings(args)?);
    let variables = c_strings(env)?;
    // Both out of the way of the descriptor by which the trampoline speaks.
    let above = |fd: &OwnedFd| -> Result<OwnedFd> {
        let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(trampoline.speaker + 1))?;
        Ok(sys::inherited_fd(number)?)
    };
    let file = above(&trampoline.file).context("duplicate a descriptor")?;
    let speaker = above(speaker).context("duplicate a descriptor")?;
    trampoline::speak_with(speaker.as_fd(), trampoline.speaker).context("dup2 the socket")?;
    let flags = AtFlags::AT_EMPTY_PATH;
    let Err(errno) = nix::unistd::execveat(&file, c"", &words, &variables, flags);
    Err(errno).context("execveat the trampoline")
}

/// What the host says when the trampoline of the program `name` came back with `errno`: the file was there
/// and could be executed before.
pub fn refused(name: &str, errno: Errno) -> NoProgram {
    let name = name.to_owned();
    match errno {
        Errno::ENOENT => NoProgram::NoInterpreter(name),
        Errno::EACCES => NoProgram::Denied(name),
        Errno::ENOEXEC => NoProgram::Format(name),
        other => NoProgram::Other(name, other),
    }
}
