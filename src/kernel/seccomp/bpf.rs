//! From a list of rules to classic BPF, the language of seccomp filters.  seccomp(2), bpf(4) of BSD
//!
//! The machine has one register, `A`, and four kinds of instruction: load a word of `seccomp_data` into A,
//! mask A, jump forward if A compares so, return a verdict. Jumps reach 255 instructions at most.
//!
//! ```text
//! arch?  -- another --> next table, at last: kill
//!   |
//! number >= 217?  -- yes --> number >= 300? ..      binary search over ranges of numbers
//!   | no                                            that have the same verdict
//! number >= 100? ..
//!   |
//! verdict, or the tests of arguments of one call, then verdict
//! ```
//!
//! The kernel checks, optimises and compiles a filter when it is loaded, and it also evaluates it for each
//! number to know which calls need no filter at all. So a short path matters: a linear list of 300
//! comparisons costs ten times as much to load as this tree.
//!
//! The program is written from its end to its beginning: then the target of each jump is known when the
//! jump is written, and one that lies too far gets a stepping stone (an unconditional jump has 32 bits).

use std::collections::HashMap;

use anyhow::{Result, bail};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg,
    LinuxSeccompFilterFlag as Flag, LinuxSeccompOperator as Operator,
};

use super::table::{Table, tables};

/// A filter as the kernel takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The instructions, first to last.
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u64,
}

/// One instruction (`struct sock_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What to do: class, size, mode, comparison.
    pub code: u16,
    /// How many instructions to skip where a comparison holds.
    pub yes: u8,
    /// How many to skip where it does not.
    pub no: u8,
    /// The operand.
    pub operand: u32,
}

impl Instruction {
    /// From the bytes that [`Instruction::to_bytes`] makes.
    pub fn from_bytes(bytes: [u8; 8]) -> Instruction {
        let [code, code_high, yes, no, operand @ ..] = bytes;
        Instruction {
            code: u16::from_le_bytes([code, code_high]),
            yes,
            no,
            operand: u32::from_le_bytes(operand),
        }
    }

    /// As the kernel's C structure.
    pub fn to_kernel(self) -> libc::sock_filter {
        libc::sock_filter {
            code: self.code,
            jt: self.yes,
            jf: self.no,
            k: self.operand,
        }
    }

    /// As it lies in memory on this machine.
    pub fn to_bytes(self) -> [u8; 8] {
        let ([c0, c1], [k0, k1, k2, k3]) = (self.code.to_ne_bytes(), self.operand.to_ne_bytes());
        [c0, c1, self.yes, self.no, k0, k1, k2, k3]
    }
}

/// Compiles `profile` for machines of the architecture `native`.
///
/// Names that an architecture does not have are skipped, as in libseccomp: a profile is written for many
/// kernels. A rule without arguments decides its call whatever other rules say of that call; among rules
/// with arguments the first that matches decides; where none does, the default action.
///
/// An architecture that the kernel could run but the profile does not list is killed. x32, which no
/// distribution switches on, looks to the program like a kernel without it (ENOSYS), listed or not.
///
/// # Errors
/// An argument index above 5.
pub fn compile(profile: &LinuxSeccomp, native: Arch) -> Result<Program> {
    let default = verdict(profile.default_action(), profile.default_errno_ret())?;
    let rules = collect(profile)?;
    let listed = profile.architectures().as_deref().unwrap_or_default();
    let mut writer = Writer::default();
    let mut next = writer.give(libc::SECCOMP_RET_KILL_PROCESS);
    for table in tables(native, listed).iter().rev() {
        let tree = table_tree(&mut writer, table, &rules, default);
        next = writer.jump(libc::BPF_JEQ, table.audit, tree, next);
    }
    writer.load(ARCH);
    writer.backwards.reverse();
    if writer.backwards.len() > libc::BPF_MAXINSNS as usize {
        bail!(
            "{} instructions, and the kernel takes {}",
            writer.backwards.len(),
            libc::BPF_MAXINSNS
        );
    }
    Ok(Program {
        instructions: writer.backwards,
        flags: flags(profile),
    })
}

/// Where the words of `struct seccomp_data` lie: number, architecture, instruction pointer, arguments.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// From this number on, x86_64's numbers are x32's; other architectures have nothing there.
const X32_BIT: u32 = 0x4000_0000;

/// A place in the program, counted from its end.
type Label = usize;

/// What is to be done about one call.
#[derive(Clone, PartialEq)]
enum Decision<'a> {
    Always(u32),
    /// The first of these whose tests all hold, else the default.
    ByArguments(Vec<(&'a [LinuxSeccompArg], u32)>),
}

/// What the kernel does, as a filter returns it.
fn verdict(action: Action, errno: Option<u32>) -> Result<u32> {
    let data = |usual: u32| errno.unwrap_or(usual) & libc::SECCOMP_RET_DATA;
    Ok(match action {
        Action::ScmpActKill | Action::ScmpActKillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::ScmpActKillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        Action::ScmpActTrap => libc::SECCOMP_RET_TRAP,
        Action::ScmpActErrno => libc::SECCOMP_RET_ERRNO | data(libc::EPERM as u32),
        Action::ScmpActTrace => libc::SECCOMP_RET_TRACE | data(libc::EPERM as u32),
        Action::ScmpActAllow => libc::SECCOMP_RET_ALLOW,
        Action::ScmpActLog => libc::SECCOMP_RET_LOG,
        Action::ScmpActNotify => libc::SECCOMP_RET_USER_NOTIF,
    })
}

fn flags(profile: &LinuxSeccomp) -> u64 {
    let flags = profile.flags().iter().flatten();
    flags.fold(0, |bits, flag| {
        bits | match flag {
            Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
            Flag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
            Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            // Only of use, and only accepted, with notifications.
            Flag::SeccompFilterFlagWaitKillableRecv if notifies(profile) => WAIT_KILLABLE,
            Flag::SeccompFilterFlagWaitKillableRecv => 0,
        }
    })
}

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` of Linux 5.19.
const WAIT_KILLABLE: u64 = 1 << 5;

/// The flags that a profile may have, each with what this kernel must know for it.
pub const FLAGS: [(&str, u64); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", libc::SECCOMP_FILTER_FLAG_TSYNC),
    ("SECCOMP_FILTER_FLAG_LOG", libc::SECCOMP_FILTER_FLAG_LOG),
    (
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    ),
    (
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        WAIT_KILLABLE | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
    ),
];

/// Tells whether `profile` leaves any call to an agent.
pub(super) fn notifies(profile: &LinuxSeccomp) -> bool {
    let mut rules = profile.syscalls().iter().flatten();
    rules.any(|rule| rule.action() == Action::ScmpActNotify)
}

/// The decisions by name.
fn collect(profile: &LinuxSeccomp) -> Result<HashMap<&str, Decision<'_>>> {
    let mut rules: HashMap<&str, Decision<'_>> = HashMap::with_capacity(512);
    for rule in profile.syscalls().iter().flatten() {
        let verdict = verdict(rule.action(), rule.errno_ret())?;
        let tests = rule.args().as_deref().unwrap_or_default();
        if let Some(test) = tests.iter().find(|test| test.index() > 5) {
            bail!(
                "a system call has six arguments, and there is no number {}",
                test.index()
            );
        }
        for name in rule.names() {
            match rules.get_mut(name.as_str()) {
                Some(Decision::Always(_)) => {}
                Some(Decision::ByArguments(list)) if !tests.is_empty() => {
                    list.push((tests, verdict))
                }
                _ => {
                    let decision = match tests {
                        [] => Decision::Always(verdict),
                        tests => Decision::ByArguments(vec![(tests, verdict)]),
                    };
                    rules.insert(name, decision);
                }
            }
        }
    }
    Ok(rules)
}

/// Writes the search tree of one architecture.
fn table_tree(
    writer: &mut Writer,
    table: &Table,
    rules: &HashMap<&str, Decision<'_>>,
    default: u32,
) -> Label {
    let otherwise = Decision::Always(default);
    let no_such_abi = Decision::Always(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
    // Ranges as (first number, decision); each ends where the next begins.
    let mut ranges: Vec<(u32, &Decision<'_>)> = Vec::with_capacity(table.calls.len());
    let mut add = |first: u32, decision| {
        if ranges.last().is_none_or(|(_, last)| *last != decision) {
            ranges.push((first, decision));
        }
    };
    let mut after = 0;
    for (number, name) in &table.calls {
        if *number > after {
            add(after, &otherwise);
        }
        add(*number, rules.get(name).unwrap_or(&otherwise));
        after = number + 1;
    }
    add(after, &otherwise);
    add(X32_BIT, &no_such_abi);
    let tree = writer.tree(&ranges, default);
    writer.next_is(tree);
    writer.load(NUMBER)
}

/// Writes a program from its end to its beginning.
#[derive(Default)]
struct Writer {
    backwards: Vec<Instruction>,
    /// Where the latest instruction that returns this verdict is.
    returns: HashMap<u32, Label>,
}

impl Writer {
    fn push(&mut self, code: u32, yes: u8, no: u8, operand: u32) -> Label {
        self.backwards.push(Instruction {
            code: code as u16,
            yes,
            no,
            operand,
        });
        self.backwards.len() - 1
    }

    fn load(&mut self, offset: u32) -> Label {
        self.push(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
    }

    /// Returns `verdict`; a place that is still within reach of the next jumps.
    fn give(&mut self, verdict: u32) -> Label {
        match self.returns.get(&verdict) {
            Some(label) if self.backwards.len() - label < 100 => *label,
            _ => {
                let label = self.push(libc::BPF_RET | libc::BPF_K, 0, 0, verdict);
                self.returns.insert(verdict, label);
                label
            }
        }
    }

    /// Goes to `yes` if A compares so with `operand`, else to `no`.
    fn jump(&mut self, comparison: u32, operand: u32, yes: Label, no: Label) -> Label {
        let (yes, no) = (self.within_reach(yes), self.within_reach(no));
        let here = self.backwards.len();
        let skip = |to: Label| (here - to - 1) as u8;
        self.push(
            libc::BPF_JMP | comparison | libc::BPF_K,
            skip(yes),
            skip(no),
            operand,
        )
    }

    /// `label`, or a stepping stone to it where a jump could not reach it. Some room is left for a stone
    /// that is put in between.
    fn within_reach(&mut self, label: Label) -> Label {
        let distance = self.backwards.len() - label;
        if distance < 250 {
            return label;
        }
        self.push(libc::BPF_JMP | libc::BPF_JA, 0, 0, (distance - 1) as u32)
    }

    /// Makes sure that what is written next, which comes before, runs on to `label`.
    fn next_is(&mut self, label: Label) {
        let distance = self.backwards.len() - label;
        if distance > 1 {
            self.push(libc::BPF_JMP | libc::BPF_JA, 0, 0, (distance - 1) as u32);
        }
    }

    /// Searches among `ranges`, which are not empty, with the number in A.
    fn tree(&mut self, ranges: &[(u32, &Decision<'_>)], default: u32) -> Label {
        match ranges {
            [(_, Decision::Always(verdict))] => self.give(*verdict),
            [(_, Decision::ByArguments(list))] => self.arguments(list, default),
            _ => {
                let (below, above) = ranges.split_at(ranges.len() / 2);
                let right = self.tree(above, default);
                let left = self.tree(below, default);
                self.jump(libc::BPF_JGE, above[0].0, right, left)
            }
        }
    }

    fn arguments(&mut self, list: &[(&[LinuxSeccompArg], u32)], default: u32) -> Label {
        let mut otherwise = self.give(default);
        for (tests, verdict) in list.iter().rev() {
            let mut then = self.give(*verdict);
            for test in tests.iter().rev() {
                then = self.test(test, then, otherwise);
            }
            otherwise = then;
        }
        otherwise
    }

    /// Compares a 64-bit argument in two halves, the upper one first. Both architectures are little endian:
    /// the lower half lies first.
    fn test(&mut self, test: &LinuxSeccompArg, yes: Label, no: Label) -> Label {
        let low = ARGUMENTS + 8 * test.index() as u32;
        let value = test.value();
        let halves = |value: u64| ((value >> 32) as u32, value as u32);
        match test.op() {
            Operator::ScmpCmpEq => self.equal(low, u64::MAX, value, yes, no),
            Operator::ScmpCmpNe => self.equal(low, u64::MAX, value, no, yes),
            Operator::ScmpCmpMaskedEq => {
                self.equal(low, value, test.value_two().unwrap_or(0), yes, no)
            }
            Operator::ScmpCmpGt => self.greater(low, libc::BPF_JGT, halves(value), yes, no),
            Operator::ScmpCmpGe => self.greater(low, libc::BPF_JGE, halves(value), yes, no),
            Operator::ScmpCmpLe => self.greater(low, libc::BPF_JGT, halves(value), no, yes),
            Operator::ScmpCmpLt => self.greater(low, libc::BPF_JGE, halves(value), no, yes),
        }
    }

    fn equal(&mut self, low: u32, mask: u64, value: u64, yes: Label, no: Label) -> Label {
        let mut then = yes;
        for (offset, shift) in [(low, 0), (low + 4, 32)] {
            let (mask, value) = ((mask >> shift) as u32, (value >> shift) as u32);
            if mask == 0 && value == 0 {
                continue;
            }
            self.jump(libc::BPF_JEQ, value, then, no);
            if mask != u32::MAX {
                self.push(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask);
            }
            then = self.load(offset);
        }
        then
    }

    /// `lower` compares the lower halves where the upper ones are equal.
    fn greater(
        &mut self,
        low: u32,
        lower: u32,
        (high, value): (u32, u32),
        yes: Label,
        no: Label,
    ) -> Label {
        self.jump(lower, value, yes, no);
        let halves_equal = self.load(low);
        let not_above = self.jump(libc::BPF_JEQ, high, halves_equal, no);
        self.jump(libc::BPF_JGT, high, yes, not_above);
        self.load(low + 4)
    }
}
