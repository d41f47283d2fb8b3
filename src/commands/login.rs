//! `login` and `logout`: what `pull` shows to a registry, in the file that docker has for it.

use std::io::{IsTerminal, Read, Write};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use rootfs_fetch::credentials::{self, Credentials, Kept};
use rootfs_fetch::{Patience, login as registry};

use crate::cli::login::{LoginArgs, LogoutArgs};
use crate::exit::Coded;
use crate::out::stream::{errln, out, outln};
use crate::sys;

/// `rmac login`.
pub fn login(args: &LoginArgs) -> Result<u8> {
    let server = credentials::registry_of(args.server.as_deref().unwrap_or("docker.io"));
    let given = given(args)?;
    if args.username.is_none() && given.is_none() && known_is_right(server)? {
        outln!("Login Succeeded");
        return Ok(0);
    }
    let (user, password) = match (&args.username, given) {
        (Some(user), Some(password)) => (user.clone(), password),
        (user, password) => ask(user.clone(), password)?,
    };
    check(
        server,
        &Credentials::Password(user.clone(), password.clone()),
    )?;
    if let Kept::File(path) = credentials::keep(server, &user, &password)? {
        errln!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            path.display()
        );
    }
    outln!("Login Succeeded");
    Ok(0)
}

/// `rmac logout`.
pub fn logout(args: &LogoutArgs) -> Result<u8> {
    let server = credentials::registry_of(args.server.as_deref().unwrap_or("docker.io"));
    outln!(
        "Removing login credentials for {}",
        credentials::filed_under(server)
    );
    credentials::forget(server)?;
    Ok(0)
}

/// The password, if the command line has it or says where it is.
fn given(args: &LoginArgs) -> Result<Option<String>> {
    if args.password.is_some() {
        errln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        ensure!(
            !args.password_stdin,
            "--password and --password-stdin are mutually exclusive"
        );
        return Ok(args.password.clone());
    }
    if !args.password_stdin {
        return Ok(None);
    }
    ensure!(
        args.username.as_ref().is_some_and(|name| !name.is_empty()),
        "Must provide --username with --password-stdin"
    );
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .read_to_string(&mut text)
        .context("read the password")?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    ensure!(!text.is_empty(), "password is empty");
    Ok(Some(text.to_owned()))
}

/// Whether there are credentials that the registry takes.
fn known_is_right(server: &str) -> Result<bool> {
    let Some(known) = credentials::credentials(server)? else {
        return Ok(false);
    };
    match &known {
        Credentials::Password(user, _) => {
            outln!("Authenticating with existing credentials... [Username: {user}]")
        }
        _ => outln!("Authenticating with existing credentials..."),
    }
    match check(server, &known) {
        Ok(()) => Ok(true),
        Err(error) if std::io::stdin().is_terminal() => {
            errln!("Login did not succeed, error: {error:#}");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn check(server: &str, credentials: &Credentials) -> Result<()> {
    let lookup = sys::resolver::limit_to_files_and_dns;
    registry::check(server, credentials, Patience::default(), lookup)
}

/// Asks for what is missing.
fn ask(user: Option<String>, password: Option<String>) -> Result<(String, String)> {
    ensure!(
        std::io::stdin().is_terminal(),
        "Error: Cannot perform an interactive login from a non TTY device"
    );
    let user = match user.filter(|user| !user.is_empty()) {
        Some(user) => user,
        None => {
            say("Username: ")?;
            let mut line = String::new();
            std::io::stdin()
                .read_line(&mut line)
                .context("read the user's name")?;
            line.trim().to_owned()
        }
    };
    ensure!(!user.is_empty(), "Error: Non-null Username Required");
    let password = match password {
        Some(password) => password,
        None => {
            let _hidden = Hidden::begin()?;
            say("Password: ")?;
            let typed = typed(std::io::stdin().lock().bytes());
            outln!("");
            typed?
        }
    };
    ensure!(!password.is_empty(), "Error: Password Required");
    Ok((user, password))
}

fn say(text: &str) -> Result<()> {
    out!("{text}");
    std::io::stdout().flush().context("write the question")
}

/// A terminal that shows nothing of what is typed, and hands over each key at once: also the one that would end this
/// program, since that must put the terminal back first.  termios(3)
struct Hidden(Termios);

impl Hidden {
    fn begin() -> Result<Hidden> {
        let before = tcgetattr(std::io::stdin()).context("ask for the terminal's settings")?;
        let mut hidden = before.clone();
        let all = LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG;
        hidden.local_flags.remove(all);
        tcsetattr(std::io::stdin(), SetArg::TCSAFLUSH, &hidden).context("hide what is typed")?;
        Ok(Hidden(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}

/// A line out of single keys, with those that a terminal knows for editing.
///
/// # Errors
/// ctrl-c, with its exit code; what is no UTF-8.
fn typed(keys: impl Iterator<Item = std::io::Result<u8>>) -> Result<String> {
    let mut line = vec![];
    for key in keys {
        match key.context("read the password")? {
            b'\r' | b'\n' | 0x04 => break,
            0x03 => {
                let text = "the login has been cancelled".into();
                return Err(Coded { code: 130, text }.into());
            }
            0x08 | 0x7f => {
                // A letter may have several bytes; all but its first begin with the bits 10.
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            0x15 => line.clear(),
            byte => line.push(byte),
        }
    }
    match String::from_utf8(line) {
        Ok(line) => Ok(line),
        Err(_) => bail!("the password is not UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_typed_as_in_a_terminal() {
        let typed = |keys: &str| typed(keys.bytes().map(Ok));
        for (keys, line) in [
            ("secret\n", "secret"),
            ("secret\rmore", "secret"),
            ("secrex\x7ft\n", "secret"),
            ("ü\x7fa\x7f\x7f\x7fb\n", "b"),
            ("wrong\x15right\n", "right"),
            ("end\x04", "end"),
            ("", ""),
        ] {
            assert_eq!(typed(keys).unwrap(), line, "{keys:?}");
        }
        let error = typed("sec\x03ret\n").unwrap_err();
        assert_eq!(crate::exit::code_of(&error, 1), 130);
    }
}
