//! Resource limits: how much of each thing one process may have.  getrlimit(2)
//!
//! Each limit is a pair. The *soft* one is what the kernel enforces; a process may move it, but not
//! above the *hard* one. The hard one can only be lowered, unless the process has CAP_SYS_RESOURCE.

use std::fmt;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use oci_spec::runtime::{PosixRlimit, PosixRlimitType, Process};

use crate::lesson::{Lesson, Shell};

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Sets a soft and a hard limit.
    Set {
        /// What is limited.
        resource: PosixRlimitType,
        /// The limit in force, in the resource's own unit; `u64::MAX` is none.
        soft: u64,
        /// The most that the soft limit can be set to; `u64::MAX` is none.
        hard: u64,
    },
}

/// The limits that `process` asks for; where it names one twice, the later wins.
pub fn plan(process: &Process) -> Vec<Step> {
    let step = |limit: &PosixRlimit| Step::Set {
        resource: limit.typ(),
        soft: limit.soft(),
        hard: limit.hard(),
    };
    process.rlimits().iter().flatten().map(step).collect()
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        Lesson {
            why: "the program gets the limits that were asked for instead of those of whoever started it",
            without: "limits would differ between a login shell, a service and a test machine, and so would the program",
            man: "setrlimit(2)",
        }
    }

    /// The same as perl.
    pub fn shell(&self) -> Shell {
        let Step::Set {
            resource,
            soft,
            hard,
        } = *self;
        Shell::Perl(format!(
            "sys prlimit64 => {}, 0, {}, pack('QQ', {soft}, {hard}), 0; # {resource}",
            libc::SYS_prlimit64,
            kernels(resource) as u32
        ))
    }

    /// Sets the limit for this process. Nothing takes it back: it dies with the process.
    ///
    /// # Errors
    /// Names the limit, and what the machine lacks to raise it.
    pub fn take(&self) -> Result<()> {
        let Step::Set {
            resource,
            soft,
            hard,
        } = *self;
        let Err(errno) = setrlimit(kernels(resource), soft, hard) else {
            return Ok(());
        };
        let step = || format!("set {resource} to {}:{}", amount(soft), amount(hard));
        let now = getrlimit(kernels(resource)).map_or(u64::MAX, |(_, hard)| hard);
        match errno {
            Errno::EINVAL if soft > hard => Err(errno).with_context(|| {
                format!("{}: the soft limit is above the hard one", step())
            }),
            Errno::EPERM if hard > now => Err(errno).with_context(|| {
                format!(
                    "{}: the hard limit here is {}, and raising it takes CAP_SYS_RESOURCE, which rmac was not given",
                    step(),
                    amount(now)
                )
            }),
            // fs.nr_open is the ceiling of RLIMIT_NOFILE, for everybody.
            Errno::EPERM if resource == PosixRlimitType::RlimitNofile => Err(errno).with_context(|| {
                format!("{}: more than /proc/sys/fs/nr_open allows", step())
            }),
            _ => Err(errno).with_context(step),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step::Set {
            resource,
            soft,
            hard,
        } = *self;
        write!(
            f,
            "setrlimit({resource}, {{rlim_cur={}, rlim_max={}}})",
            amount(soft),
            amount(hard)
        )
    }
}

fn amount(limit: u64) -> String {
    if limit == u64::MAX {
        "RLIM_INFINITY".to_owned()
    } else {
        limit.to_string()
    }
}

fn kernels(resource: PosixRlimitType) -> Resource {
    match resource {
        PosixRlimitType::RlimitCpu => Resource::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => Resource::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => Resource::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => Resource::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => Resource::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => Resource::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => Resource::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => Resource::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => Resource::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => Resource::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => Resource::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => Resource::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => Resource::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => Resource::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => Resource::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => Resource::RLIMIT_RTTIME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::test_support::in_child;
    use oci_spec::runtime::{PosixRlimitBuilder, ProcessBuilder};

    fn set(resource: PosixRlimitType, soft: u64, hard: u64) -> Step {
        Step::Set {
            resource,
            soft,
            hard,
        }
    }

    #[test]
    fn a_limit_is_planned_and_shown_as_strace_would() {
        let limit = PosixRlimitBuilder::default()
            .typ(PosixRlimitType::RlimitNofile)
            .soft(64u64)
            .hard(u64::MAX);
        let process = ProcessBuilder::default()
            .rlimits(vec![limit.build().unwrap()])
            .build()
            .unwrap();
        let steps = plan(&process);
        assert_eq!(steps, [set(PosixRlimitType::RlimitNofile, 64, u64::MAX)]);
        assert_eq!(
            steps[0].to_string(),
            "setrlimit(RLIMIT_NOFILE, {rlim_cur=64, rlim_max=RLIM_INFINITY})"
        );
    }

    #[test]
    fn a_limit_is_lowered_in_the_kernel() {
        let now = in_child(|| {
            set(PosixRlimitType::RlimitCore, 0, 4096).take()?;
            Ok(format!("{:?}", getrlimit(Resource::RLIMIT_CORE)?))
        });
        assert_eq!(now, "(0, 4096)");
    }

    #[test]
    fn raising_without_the_capability_names_it() {
        let error = in_child(|| {
            set(PosixRlimitType::RlimitNofile, 10, 20).take()?;
            // Gone with all others, whether the machine gives it or not.
            crate::sys::capabilities::capset(0, 0, 0)?;
            let error = set(PosixRlimitType::RlimitNofile, 10, 30)
                .take()
                .unwrap_err();
            Ok(format!("{error:#}"))
        });
        assert_eq!(
            error,
            "set RLIMIT_NOFILE to 10:30: the hard limit here is 20, and raising it takes CAP_SYS_RESOURCE, \
             which rmac was not given: EPERM: Operation not permitted"
        );
    }
}
