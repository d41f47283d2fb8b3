//! What is expected of the plan and of the refusals of [`super`].

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
