//! The session keyring: the keys and tickets that the kernel keeps for a login.  keyrings(7), session-keyring(7)
//!
//! Keyrings belong to no namespace. A process inherits its session keyring from who started it, so without one of
//! its own a container would hold the keys of the host's login: its file systems' passphrases, its Kerberos tickets.

use std::fmt;

use anyhow::{Context, Result};

use crate::lesson::{Lesson, Shell};
use crate::sys::keys;

/// What can be done about keyrings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Change to the session keyring of this name, which is made for the container's first process.
    Join {
        /// As `/proc/keys` of the host shows it.
        name: String,
    },
}

/// `KEY_POS_ALL`, and for the owner `KEY_USR_VIEW`, `READ`, `SEARCH` and `LINK`. Search is what the kernel leaves
/// out; without it one more process of the container could not find the keyring by its name.
const PERMISSIONS: u32 = 0x3f1b_0000;

/// The session keyring of the container `id`.
pub fn plan(id: &str) -> Step {
    Step::Join {
        name: format!("_ses.{id}"),
    }
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        Lesson {
            why: "keyrings belong to no namespace: a process has the keys of whoever started it until it changes to another session keyring",
            without: "the container would hold the keys of the host's login, such as Kerberos tickets",
            man: "keyctl_join_session_keyring(3), session-keyring(7)",
        }
    }

    /// The same as perl.
    pub fn shell(&self) -> Shell {
        let Step::Join { name } = self;
        let name = name.replace('\'', "");
        Shell::Perl(format!(
            "my $session = '{name}'; my $ring = syscall({call}, 1, $session); syscall({call}, 5, $ring, {PERMISSIONS:#x}) if $ring > 0;",
            call = libc::SYS_keyctl
        ))
    }

    /// Takes the step. Nothing takes it back: the keyring goes with the last process that has it.
    ///
    /// # Errors
    /// EDQUOT, where the user has as many keys as it may (`/proc/sys/kernel/keys`).
    pub fn take(&self) -> Result<()> {
        let Step::Join { name } = self;
        match keys::join_session_keyring(name) {
            // A kernel without keyrings has none to hide; and where a filter forbids the call to rmac, as in
            // another engine's container, it forbids it to the program.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                Ok(())
            }
            joined => joined
                .and_then(|number| keys::set_permissions(number, PERMISSIONS))
                .with_context(|| self.to_string()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step::Join { name } = self;
        write!(f, "keyctl(KEYCTL_JOIN_SESSION_KEYRING, {name:?})")
    }
}
