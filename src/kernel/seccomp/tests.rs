//! Compiled filters against a naive reading of the same profile, in an interpreter and in the kernel.

use std::collections::HashSet;
use std::io::Error;

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator as Operator, LinuxSyscall, LinuxSyscallBuilder,
};
use proptest::prelude::*;

use super::table::{Table, tables};
use super::*;
use crate::kernel::capabilities::DEFAULT;
use crate::sys::test_support::in_child;

const X32_BIT: u32 = 0x4000_0000;

/// `struct seccomp_data` as 16 words.
fn data(arch: u32, number: u32, args: [u64; 6]) -> [u32; 16] {
    let mut words = [0; 16];
    (words[0], words[1]) = (number, arch);
    for (i, arg) in args.into_iter().enumerate() {
        (words[4 + 2 * i], words[5 + 2 * i]) = (arg as u32, (arg >> 32) as u32);
    }
    words
}

/// Runs the program as the kernel would.
fn run(program: &[Instruction], data: &[u32; 16]) -> u32 {
    let (mut a, mut at) = (0u32, 0usize);
    loop {
        let i = program[at];
        let skip = |holds: bool| usize::from(if holds { i.yes } else { i.no });
        at += 1 + match i.code {
            0x20 => {
                a = data[i.operand as usize / 4];
                0
            }
            0x54 => {
                a &= i.operand;
                0
            }
            0x05 => i.operand as usize,
            0x15 => skip(a == i.operand),
            0x25 => skip(a > i.operand),
            0x35 => skip(a >= i.operand),
            0x06 => return i.operand,
            code => panic!("instruction {code:#x}"),
        };
    }
}

fn holds(test: &LinuxSeccompArg, args: &[u64; 6]) -> bool {
    let (arg, value) = (args[test.index()], test.value());
    match test.op() {
        Operator::ScmpCmpNe => arg != value,
        Operator::ScmpCmpLt => arg < value,
        Operator::ScmpCmpLe => arg <= value,
        Operator::ScmpCmpEq => arg == value,
        Operator::ScmpCmpGe => arg >= value,
        Operator::ScmpCmpGt => arg > value,
        Operator::ScmpCmpMaskedEq => arg & value == test.value_two().unwrap_or(0),
    }
}

/// What the profile says, rule by rule.
fn expected(profile: &LinuxSeccomp, table: &Table, number: u32, args: &[u64; 6]) -> u32 {
    if number >= X32_BIT {
        return libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    }
    let name = table
        .calls
        .iter()
        .find(|(n, _)| *n == number)
        .map(|(_, name)| *name);
    let rules: Vec<&LinuxSyscall> = profile
        .syscalls()
        .iter()
        .flatten()
        .filter(|rule| rule.names().iter().any(|n| Some(n.as_str()) == name))
        .collect();
    let tests = |rule: &LinuxSyscall| rule.args().clone().unwrap_or_default();
    let always = rules.iter().find(|rule| tests(rule).is_empty());
    let matching = || {
        rules
            .iter()
            .find(|rule| tests(rule).iter().all(|test| holds(test, args)))
    };
    match always.or_else(matching) {
        Some(rule) => rule.action().as_u32(rule.errno_ret()),
        None => profile.default_action().as_u32(profile.default_errno_ret()),
    }
}

fn agree(
    profile: &LinuxSeccomp,
    native: Arch,
    listed: &[Arch],
    numbers: impl Iterator<Item = u32> + Clone,
    args: &[[u64; 6]],
) {
    let program = compile(profile, native).unwrap().instructions;
    for table in tables(native, listed) {
        for number in numbers.clone() {
            for args in args {
                let got = run(&program, &data(table.audit, number, *args));
                let want = expected(profile, &table, number, args);
                assert_eq!(
                    got, want,
                    "arch {:#x}, call {number}, {args:x?}",
                    table.audit
                );
            }
        }
    }
    let foreign = run(&program, &data(0x8000_0016, 1, [0; 6]));
    assert_eq!(
        foreign,
        libc::SECCOMP_RET_KILL_PROCESS,
        "an architecture that is not listed"
    );
}

fn all_numbers() -> impl Iterator<Item = u32> + Clone {
    (0..700).chain([
        0xf0001,
        0xf0005,
        X32_BIT - 1,
        X32_BIT,
        X32_BIT + 59,
        u32::MAX,
    ])
}

/// Around all values that the default profile compares with, in either half.
fn sample_args() -> Vec<[u64; 6]> {
    let values = [
        0,
        1,
        8,
        9,
        37,
        38,
        39,
        40,
        41,
        0x11,
        0x20000,
        0x20008,
        0x0202_0000,
        0x1000_0011,
        0x7e02_0000,
        0xffff_ffff,
        1 << 32,
        (1 << 32) + 39,
        (1 << 33) + 0xffff_ffff,
        u64::MAX,
    ];
    values.map(|v| [v, 0, v, 0, 0, v]).to_vec()
}

#[test]
fn the_default_profile_is_compiled_to_what_it_says() {
    let sets: [HashSet<Capability>; 3] = [
        HashSet::new(),
        DEFAULT.into(),
        [Capability::SysAdmin, Capability::SysTime, Capability::Bpf].into(),
    ];
    for caps in sets {
        let profile = default_profile(&caps);
        let listed = profile.architectures().clone().unwrap();
        agree(&profile, NATIVE, &listed, all_numbers(), &sample_args());
    }
}

#[test]
fn arm_is_compiled_too() {
    let rules = vec![rule(&["openat", "clone"], Action::ScmpActAllow, vec![])];
    let listed = vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm];
    let profile = LinuxSeccompBuilder::default()
        .default_action(Action::ScmpActErrno)
        .architectures(listed.clone())
        .syscalls(rules)
        .build()
        .unwrap();
    agree(
        &profile,
        Arch::ScmpArchAarch64,
        &listed,
        all_numbers(),
        &[[0; 6]],
    );
}

fn rule(names: &[&str], action: Action, args: Vec<LinuxSeccompArg>) -> LinuxSyscall {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    LinuxSyscallBuilder::default()
        .names(names)
        .action(action)
        .errno_ret(7u32)
        .args(args)
        .build()
        .unwrap()
}

#[test]
fn what_cannot_be_done_is_said() {
    let profile = |action, index: usize| {
        let test = LinuxSeccompArgBuilder::default()
            .index(index)
            .build()
            .unwrap();
        let rules = vec![rule(&["read"], action, vec![test])];
        LinuxSeccompBuilder::default()
            .syscalls(rules)
            .build()
            .unwrap()
    };
    let error = |action, index: usize| {
        compile(&profile(action, index), NATIVE)
            .unwrap_err()
            .to_string()
    };
    let agent = plan_profile(&profile(Action::ScmpActNotify, 0)).unwrap_err();
    assert!(agent.to_string().contains("needs listenerPath"));
    assert!(error(Action::ScmpActAllow, 6).contains("six arguments"));
    let empty = compile(&LinuxSeccompBuilder::default().build().unwrap(), NATIVE).unwrap();
    assert_eq!(
        run(
            &empty.instructions,
            &data(tables(NATIVE, &[])[0].audit, 1, [0; 6])
        ),
        libc::SECCOMP_RET_ALLOW
    );
}

fn any_action() -> impl Strategy<Value = Action> {
    prop::sample::select(vec![
        Action::ScmpActKill,
        Action::ScmpActKillProcess,
        Action::ScmpActTrap,
        Action::ScmpActErrno,
        Action::ScmpActTrace,
        Action::ScmpActLog,
        Action::ScmpActAllow,
    ])
}

/// Few values, so that they meet; some differ in one half only.
fn any_value() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![
        0,
        1,
        2,
        5,
        0xffff_ffff,
        1 << 32,
        (1 << 32) + 1,
        (1 << 32) + 5,
        2 << 32,
        u64::MAX,
    ])
}

fn any_test() -> impl Strategy<Value = LinuxSeccompArg> {
    let ops = prop::sample::select(vec![
        Operator::ScmpCmpNe,
        Operator::ScmpCmpLt,
        Operator::ScmpCmpLe,
        Operator::ScmpCmpEq,
        Operator::ScmpCmpGe,
        Operator::ScmpCmpGt,
        Operator::ScmpCmpMaskedEq,
    ]);
    (0usize..3, any_value(), any_value(), ops).prop_map(|(index, value, two, op)| {
        LinuxSeccompArgBuilder::default()
            .index(index)
            .value(value)
            .value_two(two)
            .op(op)
            .build()
            .unwrap()
    })
}

fn any_rule() -> impl Strategy<Value = LinuxSyscall> {
    let names = prop::collection::vec(
        prop::sample::select(tables(NATIVE, &[])[0].calls.clone()),
        1..4,
    );
    (names, any_action(), prop::collection::vec(any_test(), 0..4)).prop_map(
        |(names, action, args)| {
            let names: Vec<&str> = names.into_iter().map(|(_, name)| name).collect();
            rule(&names, action, args)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Up to 250 rules make programs of thousands of instructions, beyond the reach of one jump.
    #[test]
    fn any_profile_is_compiled_to_what_it_says(
        default in any_action(),
        rules in prop::collection::vec(any_rule(), 0..250),
        args in prop::collection::vec([any_value(), any_value(), any_value()], 4),
    ) {
        let profile = LinuxSeccompBuilder::default()
            .default_action(default)
            .default_errno_ret(38u32)
            .syscalls(rules)
            .build()
            .unwrap();
        let args: Vec<[u64; 6]> = args.into_iter().map(|[a, b, c]| [a, b, c, 0, 0, 0]).collect();
        match compile(&profile, NATIVE) {
            Ok(_) => agree(&profile, NATIVE, &[], (0..480).chain([X32_BIT]), &args),
            Err(error) => prop_assert!(error.to_string().contains("instructions"), "{error:#}"),
        }
    }
}

fn load_default() -> anyhow::Result<()> {
    let caps = DEFAULT.into();
    plan_profile(&default_profile(&caps))?
        .iter()
        .try_for_each(|step| step.take().map(drop))
}

/// The errno of a raw system call, 0 for success.
fn errno(number: i64, args: [i64; 3]) -> i32 {
    match crate::sys::test_support::raw(number, args) {
        ..0 => Error::last_os_error().raw_os_error().unwrap_or(0),
        _ => 0,
    }
}

#[test]
fn the_kernel_takes_the_filter_and_obeys_it() {
    let text = in_child(|| {
        load_default()?;
        let answers = [
            errno(libc::SYS_mount, [0, 0, 0]),
            errno(libc::SYS_keyctl, [0, -3, 0]),
            errno(libc::SYS_bpf, [0, 0, 0]),
            errno(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0]),
            errno(libc::SYS_clone3, [0, 0, 0]),
            errno(
                libc::SYS_socket,
                [libc::AF_VSOCK.into(), libc::SOCK_STREAM.into(), 0],
            ),
            // AF_VSOCK with a bit that the kernel does not look at.
            errno(
                libc::SYS_socket,
                [
                    1 << 32 | i64::from(libc::AF_VSOCK),
                    libc::SOCK_STREAM.into(),
                    0,
                ],
            ),
            errno(libc::SYS_personality, [0x0040000, 0, 0]),
            errno(
                libc::SYS_socket,
                [libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0],
            ),
            errno(libc::SYS_personality, [0xffff_ffff, 0, 0]),
            errno(libc::SYS_getpid, [0, 0, 0]),
        ];
        // A thread is made with clone, as there is no clone3.
        let thread = std::thread::spawn(|| std::fs::read_to_string("/proc/self/comm").is_ok());
        Ok(format!("{answers:?} {:?}", thread.join().ok()))
    });
    assert_eq!(text, "[1, 1, 1, 1, 38, 1, 1, 1, 0, 0, 0] Some(true)");
}

/// Numbers of 32-bit x86: 20 is getpid there, 21 mount, 288 keyctl, 310 unshare, 435 clone3. On x86_64, 21 is
/// access and 20 is writev, which the filter allows.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_32_bit_entrance_has_a_guard_of_its_own() {
    use crate::sys::test_support::{raw, raw_32bit};
    let text = in_child(|| {
        if raw_32bit(20, [0; 3]) != i64::from(std::process::id()) {
            return Ok("skipped: kernel without 32-bit programs".to_owned());
        }
        load_default()?;
        let answers = [21, 288, 310, 435].map(|number| raw_32bit(number, [0x1000_0000, 0, 0]));
        let own = raw_32bit(20, [0; 3]) == i64::from(std::process::id());
        let x32 = errno(i64::from(X32_BIT) | libc::SYS_getpid, [0; 3]);
        Ok(format!(
            "{answers:?} {own} {x32} {}",
            raw(libc::SYS_getpid, [0; 3]) > 0
        ))
    });
    if text.starts_with("skipped") {
        return eprintln!("{text}");
    }
    assert_eq!(text, "[-1, -1, -1, -38] true 38 true");
}

#[test]
fn without_privilege_the_error_says_what_is_missing() {
    let text = in_child(|| {
        crate::sys::capabilities::capset(0, 0, 0)?;
        let error = load_default().unwrap_err();
        nix::sys::prctl::set_no_new_privs()?;
        load_default()?;
        Ok(format!("{error:#}"))
    });
    assert_eq!(
        text,
        "load the seccomp filter: this takes CAP_SYS_ADMIN or no_new_privs: Permission denied (os error 13)"
    );
}

#[test]
fn perl_loads_the_same_filter() {
    let step = &plan_profile(&default_profile(&DEFAULT.into())).unwrap()[0];
    let Shell::Perl(load) = step.shell() else {
        panic!()
    };
    let script = format!(
        "sub sys {{ my ($name, @call) = @_; syscall($call[0], @call[1 .. $#call]) >= 0 or die \"$name: $!\\n\" }} {load} \
         print syscall({}, 0) < 0 ? $!+0 : 0, ' ', getppid() > 0;",
        libc::SYS_unshare
    );
    match std::process::Command::new("perl")
        .args(["-e", &script])
        .output()
    {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "1 1", "{output:?}"),
        Err(error) => eprintln!("skipped: perl: {error}"),
    }
}
