//! Capabilities: root's power in 41 pieces.  capabilities(7)
//!
//! A process of user 0 may do everything because it has all capabilities, not because it is called
//! root. A container's root keeps the 14 that ordinary programs need and loses the rest, so it can
//! still chown a file of its own but not load a kernel module.
//!
//! A thread has five sets. *Bounding* is the ceiling of what any execve(2) can ever give; *permitted*
//! is what it may use, *effective* what it uses now; *inheritable* and *ambient* survive execve(2) of a
//! program by a user other than root. The inheritable set of a container is empty: with a filled one,
//! any file with inheritable file capabilities would give them to an unprivileged user (CVE-2022-29162).
//!
//! Where the steps belong: [`Step::Bounding`] first, while CAP_SETPCAP is still there; [`Step::Keep`]
//! before the change of user, which otherwise empties the permitted set; then the user; then
//! [`Step::Sets`], [`Step::Ambient`] and [`Step::NoNewPrivileges`]. A seccomp filter is loaded before
//! `Sets`, since that takes CAP_SYS_ADMIN, unless no_new_privs is set: then after `NoNewPrivileges`.

use std::collections::HashSet;
use std::fmt;

use anyhow::{Context, Result};
use oci_spec::runtime::{Capabilities, Capability, Process};

use crate::lesson::{Lesson, Shell};
use crate::sys::capabilities as sys;

use numbers::{mask, number, outside, sorted};

mod choose;
mod numbers;

pub use choose::{Base, DEFAULT, all_names, choose, name, within_bounding};

/// One change of the thread's capability sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Takes everything but these out of the bounding set.
    Bounding(HashSet<Capability>),
    /// Lets the permitted set survive the change to a user other than root.
    Keep,
    /// Sets the three classic sets at once.
    Sets {
        /// What is in use.
        effective: HashSet<Capability>,
        /// What may be put to use.
        permitted: HashSet<Capability>,
        /// What execve(2) hands on to a program with inheritable file capabilities.
        inheritable: HashSet<Capability>,
    },
    /// Makes these, which must be permitted and inheritable, survive execve(2) by a plain user.
    Ambient(HashSet<Capability>),
    /// execve(2) never again gives more than the caller has: setuid bits and file capabilities are void.
    NoNewPrivileges,
}

/// The steps that `process` needs, in the order in which they must be taken; the change of user goes
/// after [`Step::Keep`] (see the top of this file).
pub fn plan(process: &Process) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(sets) = process.capabilities() {
        let of = |set: &Option<Capabilities>| set.clone().unwrap_or_default();
        steps.push(Step::Bounding(of(sets.bounding())));
        // A name is resolved in the container only; for root this changes nothing.
        let named = process
            .user()
            .username()
            .as_deref()
            .is_some_and(|name| !name.is_empty());
        if process.user().uid() != 0 || named {
            steps.push(Step::Keep);
        }
        steps.push(Step::Sets {
            effective: of(sets.effective()),
            permitted: of(sets.permitted()),
            inheritable: of(sets.inheritable()),
        });
        let ambient = of(sets.ambient());
        if !ambient.is_empty() {
            steps.push(Step::Ambient(ambient));
        }
    }
    if process.no_new_privileges() == Some(true) {
        steps.push(Step::NoNewPrivileges);
    }
    steps
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        match self {
            Step::Bounding(_) => Lesson {
                why: "the bounding set is the ceiling: no execve(2) in the container, not even of a setuid program, gives more",
                without: "the container's root could load kernel modules, set the clock or mount the host's disk",
                man: "capabilities(7)",
            },
            Step::Keep => Lesson {
                why: "setuid(2) from root to another user empties the permitted set unless the thread asks to keep it",
                without: "the capabilities that were asked for this user would be gone before they could be set",
                man: "PR_SET_KEEPCAPS(2const)",
            },
            Step::Sets { .. } => Lesson {
                why: "permitted and effective say what the program can do now; an empty inheritable set hands nothing on by way of file capabilities",
                without: "this process would keep all of the caller's power until its first execve(2), and for users other than root the wrong sets after it",
                man: "capset(2)",
            },
            Step::Ambient(_) => Lesson {
                why: "ambient capabilities survive execve(2) although the user is not root",
                without: "a plain user's program would start without the capabilities that were meant for it",
                man: "PR_CAP_AMBIENT(2const)",
            },
            Step::NoNewPrivileges => Lesson {
                why: "from here on no execve(2) adds privileges: setuid bits and file capabilities do nothing",
                without: "su, sudo or any setuid program in the image could raise a plain user to the container's root",
                man: "PR_SET_NO_NEW_PRIVS(2const)",
            },
        }
    }

    /// The same as perl.
    pub fn shell(&self) -> Shell {
        let prctl = libc::SYS_prctl;
        Shell::Perl(match self {
            Step::Bounding(keep) => {
                let numbers: Vec<String> = outside(keep).map(|c| number(c).to_string()).collect();
                format!(
                    "sys prctl => {prctl}, {}, $_, 0, 0, 0 for {}; # PR_CAPBSET_DROP",
                    libc::PR_CAPBSET_DROP,
                    perl_list(&numbers)
                )
            }
            Step::Keep => format!(
                "sys prctl => {prctl}, {}, 1, 0, 0, 0; # PR_SET_KEEPCAPS",
                libc::PR_SET_KEEPCAPS
            ),
            Step::Sets {
                effective,
                permitted,
                inheritable,
            } => {
                let (e, p, i) = (mask(effective), mask(permitted), mask(inheritable));
                format!(
                    "sys capset => {}, pack('Ll', 0x20080522, 0), pack('L6', {:#x}, {:#x}, {:#x}, {:#x}, {:#x}, {:#x}); # effective, permitted, inheritable: bits 0-31, then 32-63",
                    libc::SYS_capset,
                    e as u32,
                    p as u32,
                    i as u32,
                    e >> 32,
                    p >> 32,
                    i >> 32
                )
            }
            Step::Ambient(set) => {
                let numbers: Vec<String> = sorted(set)
                    .into_iter()
                    .map(|c| number(c).to_string())
                    .collect();
                format!(
                    "sys prctl => {prctl}, {ambient}, {}, 0, 0, 0; sys prctl => {prctl}, {ambient}, {}, $_, 0, 0 for {}; # PR_CAP_AMBIENT",
                    libc::PR_CAP_AMBIENT_CLEAR_ALL,
                    libc::PR_CAP_AMBIENT_RAISE,
                    perl_list(&numbers),
                    ambient = libc::PR_CAP_AMBIENT,
                )
            }
            Step::NoNewPrivileges => {
                format!(
                    "sys prctl => {prctl}, {}, 1, 0, 0, 0; # PR_SET_NO_NEW_PRIVS",
                    libc::PR_SET_NO_NEW_PRIVS
                )
            }
        })
    }

    /// Takes the step for this thread. Nothing takes it back: it dies with the process.
    ///
    /// # Errors
    /// Names the capability, or those that were asked for in vain.
    pub fn take(&self) -> Result<()> {
        match self {
            Step::Bounding(keep) => drop_all(outside(keep)),
            Step::Keep => nix::sys::prctl::set_keepcaps(true).context("prctl(PR_SET_KEEPCAPS)"),
            Step::Sets {
                effective,
                permitted,
                inheritable,
            } => sys::capset(mask(effective), mask(permitted), mask(inheritable)).with_context(
                || match within_bounding(permitted).1.as_slice() {
                    [] => "set the capabilities: not all of them are permitted here".to_owned(),
                    missing => format!(
                        "set the capabilities: this machine does not give {}",
                        names(missing)
                    ),
                },
            ),
            Step::Ambient(set) => raise_all(set),
            Step::NoNewPrivileges => {
                nix::sys::prctl::set_no_new_privs().context("prctl(PR_SET_NO_NEW_PRIVS)")
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Bounding(keep) => {
                let dropped: Vec<_> = outside(keep).collect();
                write!(f, "prctl(PR_CAPBSET_DROP, {})", names(&dropped))
            }
            Step::Keep => f.write_str("prctl(PR_SET_KEEPCAPS, 1)"),
            Step::Sets {
                effective,
                permitted,
                inheritable,
            } => write!(
                f,
                "capset({{effective={}, permitted={}, inheritable={}}})",
                flags(effective),
                flags(permitted),
                flags(inheritable)
            ),
            Step::Ambient(set) => write!(
                f,
                "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, {})",
                flags(set)
            ),
            Step::NoNewPrivileges => f.write_str("prctl(PR_SET_NO_NEW_PRIVS, 1)"),
        }
    }
}

fn names(list: &[Capability]) -> String {
    let names: Vec<String> = list.iter().map(|c| name(*c)).collect();
    names.join(", ")
}

fn flags(set: &HashSet<Capability>) -> String {
    match sorted(set).as_slice() {
        [] => "0".to_owned(),
        list => names(list).replace(", ", "|"),
    }
}

fn perl_list(numbers: &[String]) -> String {
    format!("({})", numbers.join(", "))
}

fn drop_all(capabilities: impl Iterator<Item = Capability>) -> Result<()> {
    for capability in capabilities {
        match sys::drop_bounding(number(capability)) {
            // A kernel that does not know the capability cannot give it either.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            answer => {
                answer.with_context(|| format!("prctl(PR_CAPBSET_DROP, {})", name(capability)))?
            }
        }
    }
    Ok(())
}

fn raise_all(set: &HashSet<Capability>) -> Result<()> {
    sys::clear_ambient().context("prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)")?;
    for capability in sorted(set) {
        sys::raise_ambient(number(capability)).with_context(|| {
            format!(
                "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, {})",
                name(capability)
            )
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::numbers::ALL;
    use super::*;
    use crate::sys::test_support::in_child;
    use oci_spec::runtime::{LinuxCapabilitiesBuilder, ProcessBuilder, UserBuilder};

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|w| (*w).to_owned()).collect()
    }

    fn chosen(add: &[&str], drop: &[&str]) -> String {
        flags(&choose(Base::Default, &words(add), &words(drop)).unwrap())
    }

    #[test]
    fn the_table_is_in_the_kernels_order() {
        for (number, capability) in ALL.into_iter().enumerate() {
            let theirs: caps::Capability = name(capability).parse().unwrap();
            assert_eq!(usize::from(theirs.index()), number, "{capability}");
        }
        assert_eq!(
            mask(&DEFAULT.into()),
            0xa804_25fb,
            "the CapBnd that a Docker container shows"
        );
    }

    #[test]
    fn adding_and_dropping_follows_docker() {
        assert_eq!(mask(&choose(Base::Default, &[], &[]).unwrap()), 0xa804_25fb);
        assert_eq!(
            chosen(&["net_admin", "CAP_sys_time"], &["all"]),
            "CAP_NET_ADMIN|CAP_SYS_TIME"
        );
        assert_eq!(chosen(&[], &["ALL"]), "0");
        let all = choose(Base::Default, &words(&["ALL"]), &words(&["MKNOD"])).unwrap();
        assert_eq!((all.len(), all.contains(&Capability::Mknod)), (40, false));
        assert_eq!(
            choose(Base::Privileged, &[], &words(&["ALL"]))
                .unwrap()
                .len(),
            41
        );
        let error = choose(Base::Default, &words(&["flying"]), &[]).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "invalid CapAdd: unknown capability: \"CAP_FLYING\""
        );
    }

    fn process(uid: u32, set: &[Capability], ambient: &[Capability]) -> Process {
        let set: HashSet<_> = set.iter().copied().collect();
        let ambient: HashSet<_> = ambient.iter().copied().collect();
        let capabilities = LinuxCapabilitiesBuilder::default()
            .bounding(set.clone())
            .effective(set.clone())
            .permitted(set)
            .inheritable(ambient.clone())
            .ambient(ambient)
            .build()
            .unwrap();
        ProcessBuilder::default()
            .user(UserBuilder::default().uid(uid).build().unwrap())
            .capabilities(capabilities)
            .no_new_privileges(uid != 0)
            .build()
            .unwrap()
    }

    #[test]
    fn root_needs_two_steps_and_a_user_with_ambient_five() {
        let steps = plan(&process(0, &[Capability::Chown], &[]));
        assert_eq!(steps.len(), 2);
        assert_eq!(
            steps[1].to_string(),
            "capset({effective=CAP_CHOWN, permitted=CAP_CHOWN, inheritable=0})"
        );
        let steps = plan(&process(7, &[Capability::Kill], &[Capability::Kill]));
        let last: Vec<String> = steps[1..].iter().map(Step::to_string).collect();
        assert_eq!(
            last,
            [
                "prctl(PR_SET_KEEPCAPS, 1)",
                "capset({effective=CAP_KILL, permitted=CAP_KILL, inheritable=CAP_KILL})",
                "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL)",
                "prctl(PR_SET_NO_NEW_PRIVS, 1)",
            ]
        );
    }

    fn cap_lines() -> anyhow::Result<String> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let lines = status
            .lines()
            .filter(|l| l.starts_with("Cap") || l.starts_with("NoNew"));
        Ok(lines
            .map(|l| l.replace(":\t", "="))
            .collect::<Vec<_>>()
            .join(" "))
    }

    #[test]
    fn the_kernel_has_the_default_set_afterwards() {
        let lines = in_child(|| {
            for step in plan(&process(0, &DEFAULT, &[])) {
                step.take()?;
            }
            cap_lines()
        });
        assert_eq!(
            lines,
            "CapInh=0000000000000000 CapPrm=00000000a80425fb CapEff=00000000a80425fb \
             CapBnd=00000000a80425fb CapAmb=0000000000000000 NoNewPrivs=0"
        );
    }

    #[test]
    fn a_plain_user_keeps_ambient_capabilities() {
        let lines = in_child(|| {
            for step in plan(&process(1000, &[Capability::NetRaw], &[Capability::NetRaw])) {
                let keep = step == Step::Keep;
                step.take()?;
                if keep {
                    nix::unistd::setuid(1000.into())?;
                }
            }
            cap_lines()
        });
        assert_eq!(
            lines,
            "CapInh=0000000000002000 CapPrm=0000000000002000 CapEff=0000000000002000 \
             CapBnd=0000000000002000 CapAmb=0000000000002000 NoNewPrivs=1"
        );
    }

    #[test]
    fn what_the_bounding_set_lacks_is_told_apart() {
        let text = in_child(|| {
            sys::drop_bounding(number(Capability::SysTime))?;
            let wanted = [Capability::SysTime, Capability::Chown].into();
            let (kept, left_out) = within_bounding(&wanted);
            Ok(format!("{} {}", flags(&kept), names(&left_out)))
        });
        assert_eq!(text, "CAP_CHOWN CAP_SYS_TIME");
    }

    /// The credentials, limits and signals of a process that took these steps, in Rust and as the script.
    #[test]
    fn the_script_does_what_the_steps_do() {
        use crate::kernel::{limits, signals, user};
        let process = {
            let mut process = process(
                1000,
                &[Capability::NetRaw, Capability::Kill],
                &[Capability::Kill],
            );
            process
                .user_mut()
                .set_gid(1001)
                .set_additional_gids(Some(vec![1001, 10]));
            let limit = oci_spec::runtime::PosixRlimitBuilder::default();
            let limit = limit
                .typ(oci_spec::runtime::PosixRlimitType::RlimitNofile)
                .soft(77u64)
                .hard(99u64);
            process.set_rlimits(Some(vec![limit.build().unwrap()]));
            process
        };
        let (mut before, mut after) = (plan(&process), Vec::new());
        if let Some(at) = before.iter().position(|step| *step == Step::Keep) {
            after = before.split_off(at + 1);
        }
        let wanted = |text: String| {
            let keys = [
                "Uid", "Gid", "Groups", "SigBlk", "SigIgn", "SigCgt", "Cap", "NoNew", "Max open",
            ];
            let lines = text
                .lines()
                .filter(|l| keys.iter().any(|k| l.starts_with(k)));
            lines.map(str::trim_end).collect::<Vec<_>>().join("\n")
        };
        let files = ["/proc/self/status", "/proc/self/limits"];
        let ours = in_child(|| {
            signals::plan()[0].take()?;
            limits::plan(&process)
                .iter()
                .try_for_each(limits::Step::take)?;
            before.iter().try_for_each(Step::take)?;
            user::plan(&oci_spec::runtime::Spec::default(), &process)[0].take()?;
            after.iter().try_for_each(Step::take)?;
            Ok(wanted(
                files
                    .map(|f| std::fs::read_to_string(f).unwrap_or_default())
                    .concat(),
            ))
        });
        let mut shells = vec![signals::plan()[0].shell()];
        shells.extend(limits::plan(&process).iter().map(limits::Step::shell));
        shells.extend(before.iter().map(Step::shell));
        shells.push(user::plan(&oci_spec::runtime::Spec::default(), &process)[0].shell());
        shells.extend(after.iter().map(Step::shell));
        let mut script = String::from(
            "sub sys { my ($name, @call) = @_; \
             syscall($call[0], @call[1 .. $#call]) >= 0 or die qq($name: $!\\n) }\n",
        );
        for shell in shells {
            let Shell::Perl(line) = shell else {
                panic!("{shell:?}")
            };
            script.push_str(&format!("{line}\n"));
        }
        script.push_str("for (qw(/proc/self/status /proc/self/limits)) { open F, $_; print <F> }");
        match std::process::Command::new("perl")
            .args(["-e", &script])
            .output()
        {
            Ok(output) => {
                let theirs = wanted(String::from_utf8_lossy(&output.stdout).into_owned());
                assert_eq!(theirs, ours, "{output:?}\n{script}");
            }
            Err(error) => eprintln!("skipped: perl: {error}"),
        }
        assert!(
            ours.contains("CapAmb:\t0000000000000020") && ours.contains("77"),
            "{ours}"
        );
    }
}
