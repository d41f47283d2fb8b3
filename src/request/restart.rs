//! `--restart`: what becomes of a container whose program has ended.  docker-run(1)

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Whether, and how often, the container is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never: the default.
    #[default]
    No,
    /// Where its exit code is not 0, at most so many times; 0: as often as it takes.
    OnFailure(u32),
    /// Whatever its exit code.
    Always,
    /// The same; what somebody has stopped stays so at the next boot, too.
    UnlessStopped,
}

impl Restart {
    /// Docker's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Restart::No => "no",
            Restart::OnFailure(_) => "on-failure",
            Restart::Always => "always",
            Restart::UnlessStopped => "unless-stopped",
        }
    }

    /// How often at most, where that is said; else 0.
    pub fn most(self) -> u32 {
        match self {
            Restart::OnFailure(most) => most,
            _ => 0,
        }
    }

    /// Whether a program that has ended with `exit_code` is started again, after it was `restarts` times.
    pub fn again(self, exit_code: i32, restarts: u32) -> bool {
        match self {
            Restart::No => false,
            Restart::OnFailure(most) => exit_code != 0 && (most == 0 || restarts < most),
            Restart::Always | Restart::UnlessStopped => true,
        }
    }

    /// Whether a container that has been started before is started at boot; `stopped`: somebody had stopped it.
    pub fn at_boot(self, stopped: bool) -> bool {
        match self {
            Restart::No | Restart::OnFailure(_) => false,
            Restart::Always => true,
            Restart::UnlessStopped => !stopped,
        }
    }
}

/// As `--restart` takes it.
impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self.most() {
            0 => Ok(()),
            most => write!(f, ":{most}"),
        }
    }
}

/// Docker's words for each mistake.
impl FromStr for Restart {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, count) = match text.split_once(':') {
            Some(("", _)) => {
                bail!("invalid restart policy format: no policy provided before colon")
            }
            Some((name, "")) => (name, 0),
            Some((name, count)) => {
                let count = count.parse::<i64>().ok().with_context(
                    || "invalid restart policy format: maximum retry count must be an integer",
                )?;
                (name, count)
            }
            None => (text, 0),
        };
        let policy = match name {
            "" | "no" => Restart::No,
            "always" => Restart::Always,
            "unless-stopped" => Restart::UnlessStopped,
            "on-failure" => match u32::try_from(count) {
                Ok(most) => return Ok(Restart::OnFailure(most)),
                Err(_) if count < 0 => {
                    bail!("invalid restart policy: maximum retry count cannot be negative")
                }
                Err(_) => bail!(
                    "invalid restart policy: maximum retry count is above {}",
                    u32::MAX
                ),
            },
            _ => bail!(
                "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            ),
        };
        match count {
            0 => Ok(policy),
            1.. => {
                bail!(
                    "invalid restart policy: maximum retry count can only be used with 'on-failure'"
                )
            }
            _ => bail!(
                "invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_as_docker_writes_them() {
        for (text, policy) in [
            ("no", Restart::No),
            ("always", Restart::Always),
            ("unless-stopped", Restart::UnlessStopped),
            ("on-failure", Restart::OnFailure(0)),
            ("on-failure:3", Restart::OnFailure(3)),
        ] {
            assert_eq!(text.parse::<Restart>().unwrap(), policy);
            assert_eq!(policy.to_string(), text);
        }
        for (text, policy) in [
            ("", Restart::No),
            ("always:0", Restart::Always),
            ("on-failure:", Restart::OnFailure(0)),
        ] {
            assert_eq!(text.parse::<Restart>().unwrap(), policy);
        }
        for (text, mistake) in [
            (":3", "no policy provided before colon"),
            ("always:2:3", "maximum retry count must be an integer"),
            ("on-failure:x", "maximum retry count must be an integer"),
            (
                "on-failure:-1",
                "policy: maximum retry count cannot be negative",
            ),
            (
                "on-failure:4294967296",
                "maximum retry count is above 4294967295",
            ),
            ("always:3", "can only be used with 'on-failure'"),
            (
                "no:-3",
                "can only be used with 'on-failure' and cannot be negative",
            ),
            (
                "sometimes",
                "unknown policy 'sometimes'; use one of 'no', 'always'",
            ),
        ] {
            let error = text.parse::<Restart>().unwrap_err().to_string();
            assert!(error.contains(mistake), "{text}: {error}");
        }
    }

    #[test]
    fn each_policy_has_its_own_idea_of_the_end() {
        let again = |policy: Restart| [0, 1].map(|code| policy.again(code, 2));
        assert_eq!(again(Restart::No), [false, false]);
        assert_eq!(again(Restart::OnFailure(0)), [false, true]);
        assert_eq!(again(Restart::OnFailure(3)), [false, true]);
        assert_eq!(again(Restart::OnFailure(2)), [false, false]);
        assert_eq!(again(Restart::Always), [true, true]);
        assert_eq!(again(Restart::UnlessStopped), [true, true]);
        let boot = |policy: Restart| [false, true].map(|stopped| policy.at_boot(stopped));
        assert_eq!(boot(Restart::No), [false, false]);
        assert_eq!(boot(Restart::OnFailure(0)), [false, false]);
        assert_eq!(boot(Restart::Always), [true, true]);
        assert_eq!(boot(Restart::UnlessStopped), [true, false]);
    }
}
