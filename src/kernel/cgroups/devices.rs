//! The cgroup's device list: which drivers the container can reach.  bpf(2), the kernel's v1/devices.rst
//!
//! A base, *deny all* or *allow all*, and exceptions to it. On v1 the list is written rule by rule into
//! `devices.allow` and `devices.deny`. On v2 there is no such file: a BPF program attached to the cgroup is
//! asked at each open(2) and mknod(2) of a device and answers yes or no: [`DeviceList::program`].

mod program;

use std::fmt;
use std::path::Path;

use anyhow::Result;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};

/// What holds for a device that no exception names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// It is refused.
    DenyAll,
    /// It is allowed, as in a privileged container.
    AllowAll,
}

/// A resolved list: the order in which the rules came no longer matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceList {
    /// For all devices without exception.
    pub base: Base,
    /// What is otherwise.
    pub exceptions: Vec<Rule>,
}

/// An exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Character or block device.
    pub kind: Kind,
    /// The driver's number; `None` is any.
    pub major: Option<u32>,
    /// The device's number; `None` is any.
    pub minor: Option<u32>,
    /// [`MKNOD`], [`READ`], [`WRITE`].
    pub access: u32,
}

/// The kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `b`.
    Block,
    /// `c`.
    Char,
}

/// Making a node (`BPF_DEVCG_ACC_MKNOD`).
pub const MKNOD: u32 = 1;
/// Opening for reading (`BPF_DEVCG_ACC_READ`).
pub const READ: u32 = 2;
/// Opening for writing (`BPF_DEVCG_ACC_WRITE`).
pub const WRITE: u32 = 4;

/// What every container may use, as in Docker and runc: making any node (which it then cannot open); null,
/// zero, full, random, urandom; tty, console, ptmx and the terminals of /dev/pts.
const ALWAYS: [(Kind, Option<u32>, Option<u32>, u32); 11] = [
    (Kind::Char, None, None, MKNOD),
    (Kind::Block, None, None, MKNOD),
    (Kind::Char, Some(1), Some(3), ALL),
    (Kind::Char, Some(1), Some(5), ALL),
    (Kind::Char, Some(1), Some(7), ALL),
    (Kind::Char, Some(1), Some(8), ALL),
    (Kind::Char, Some(1), Some(9), ALL),
    (Kind::Char, Some(5), Some(0), ALL),
    (Kind::Char, Some(5), Some(1), ALL),
    (Kind::Char, Some(5), Some(2), ALL),
    (Kind::Char, Some(136), None, ALL),
];

const ALL: u32 = MKNOD | READ | WRITE;

/// The one rule of a container without device flags ([`Base::DenyAll`]) or of a privileged one. What every
/// container may use is added by [`DeviceList::of`].
pub fn base_rule(base: Base) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(base == Base::AllowAll)
        .set_access(Some("rwm".to_owned()));
    rule
}

impl DeviceList {
    /// The list of a container with these resources: the rules in their order, a later one changing what
    /// earlier ones said, and at last what every container may use. Without any rule all else is denied.
    pub fn of(resources: Option<&LinuxResources>) -> DeviceList {
        let mut list = DeviceList {
            base: Base::DenyAll,
            exceptions: Vec::new(),
        };
        for rule in resources
            .and_then(|r| r.devices().as_ref())
            .into_iter()
            .flatten()
        {
            list.apply(rule);
        }
        for (kind, major, minor, access) in ALWAYS {
            list.change(
                Verdict::Allow,
                Rule {
                    kind,
                    major,
                    minor,
                    access,
                },
            );
        }
        list
    }

    /// Is there anything that it keeps away?
    pub fn denies_something(&self) -> bool {
        self.base == Base::DenyAll || !self.exceptions.is_empty()
    }

    /// v1's files: the one that takes `a` for the base, and the one that takes the exceptions.
    pub(super) fn file_names(&self) -> (&'static str, &'static str) {
        match self.base {
            Base::DenyAll => ("devices.deny", "devices.allow"),
            Base::AllowAll => ("devices.allow", "devices.deny"),
        }
    }

    /// Writes the list into v1's files: first the base, then one exception a write.
    pub(super) fn write_files(&self, dir: &Path) -> Result<()> {
        let (base, exceptions) = self.file_names();
        super::write(&dir.join(base), "a")?;
        let rules: Vec<String> = self.exceptions.iter().map(Rule::to_string).collect();
        if rules.is_empty() {
            Ok(())
        } else {
            super::write_each(&dir.join(exceptions), &rules)
        }
    }

    /// Takes over one rule of a specification.
    fn apply(&mut self, rule: &LinuxDeviceCgroup) {
        let verdict = if rule.allow() {
            Verdict::Allow
        } else {
            Verdict::Deny
        };
        let number = |n: Option<i64>| n.and_then(|n| u32::try_from(n).ok());
        let (major, minor) = (number(rule.major()), number(rule.minor()));
        let kinds: &[Kind] = match rule.typ().unwrap_or_default() {
            LinuxDeviceType::B => &[Kind::Block],
            LinuxDeviceType::C | LinuxDeviceType::U => &[Kind::Char],
            LinuxDeviceType::A if (major, minor) == (None, None) => {
                self.exceptions.clear();
                self.base = if rule.allow() {
                    Base::AllowAll
                } else {
                    Base::DenyAll
                };
                return;
            }
            LinuxDeviceType::A => &[Kind::Block, Kind::Char],
            // A FIFO has no driver.
            LinuxDeviceType::P => return,
        };
        let letters = rule.access().as_deref().unwrap_or("rwm");
        let bit = |letter, bit| if letters.contains(letter) { bit } else { 0 };
        let access = bit('m', MKNOD) | bit('r', READ) | bit('w', WRITE);
        for &kind in kinds {
            self.change(
                verdict,
                Rule {
                    kind,
                    major,
                    minor,
                    access,
                },
            );
        }
    }

    /// Adds to the exceptions, or takes away from one with the same numbers, as the v1 kernel does.
    fn change(&mut self, verdict: Verdict, rule: Rule) {
        let exception = match self.base {
            Base::DenyAll => Verdict::Allow,
            Base::AllowAll => Verdict::Deny,
        };
        let same = |r: &Rule| (r.kind, r.major, r.minor) == (rule.kind, rule.major, rule.minor);
        match self.exceptions.iter().position(same) {
            Some(at) if verdict == exception => self.exceptions[at].access |= rule.access,
            Some(at) => {
                self.exceptions[at].access &= !rule.access;
                self.exceptions.retain(|r| r.access != 0);
            }
            None if verdict == exception => self.exceptions.push(rule),
            None => {}
        }
    }
}

impl fmt::Display for DeviceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.base {
            Base::DenyAll => "deny all but ",
            Base::AllowAll if self.exceptions.is_empty() => return f.write_str("allow all"),
            Base::AllowAll => "allow all but ",
        })?;
        let rules: Vec<String> = self.exceptions.iter().map(Rule::to_string).collect();
        f.write_str(&rules.join(", "))
    }
}

impl fmt::Display for Rule {
    /// As v1's control files take it: `c 1:3 rwm`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let kind = if self.kind == Kind::Block { 'b' } else { 'c' };
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        for (bit, letter) in [(READ, "r"), (WRITE, "w"), (MKNOD, "m")] {
            if self.access & bit != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    Deny,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::bpf::Instruction;
    use oci_spec::runtime::{LinuxDeviceCgroupBuilder, LinuxResourcesBuilder};

    fn rule(allow: bool, text: &str) -> LinuxDeviceCgroup {
        let words: Vec<&str> = text.split([' ', ':']).collect();
        let mut rule = LinuxDeviceCgroupBuilder::default()
            .allow(allow)
            .access(words[3]);
        rule = rule.typ(words[0].parse::<LinuxDeviceType>().unwrap());
        if let Ok(major) = words[1].parse::<i64>() {
            rule = rule.major(major);
        }
        if let Ok(minor) = words[2].parse::<i64>() {
            rule = rule.minor(minor);
        }
        rule.build().unwrap()
    }

    fn list(rules: Vec<LinuxDeviceCgroup>) -> DeviceList {
        DeviceList::of(Some(
            &LinuxResourcesBuilder::default()
                .devices(rules)
                .build()
                .unwrap(),
        ))
    }

    #[test]
    fn the_default_list_is_dockers() {
        assert_eq!(
            list(vec![base_rule(Base::DenyAll)]).to_string(),
            "deny all but c *:* m, b *:* m, c 1:3 rwm, c 1:5 rwm, c 1:7 rwm, c 1:8 rwm, c 1:9 rwm, \
             c 5:0 rwm, c 5:1 rwm, c 5:2 rwm, c 136:* rwm"
        );
        assert_eq!(DeviceList::of(None), list(vec![base_rule(Base::DenyAll)]));
        let all = list(vec![base_rule(Base::AllowAll)]);
        assert_eq!(
            (all.to_string().as_str(), all.denies_something()),
            ("allow all", false)
        );
    }

    #[test]
    fn a_later_rule_changes_an_earlier_one() {
        let rules = vec![
            rule(true, "b 8:0 r"),
            rule(true, "b 8:0 w"),
            rule(false, "b 8:0 r"),
            rule(true, "c 10:200 rw"),
        ];
        let list = list(rules);
        assert!(
            list.to_string()
                .starts_with("deny all but b 8:0 w, c 10:200 rw, c *:* m"),
            "{list}"
        );
    }

    /// What the program answers, by a small interpreter of the instructions that it is made of.
    fn answer(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> i64 {
        let asked = [access << 16 | kind, major, minor];
        let (mut r, mut at) = ([0i64; 11], 0usize);
        loop {
            let i = program[at];
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            let jump = match i.code {
                0x61 => {
                    r[to] = i64::from(asked[i.offset as usize / 4]);
                    false
                }
                0xbf => {
                    r[to] = r[from];
                    false
                }
                0x77 => {
                    r[to] >>= i.operand;
                    false
                }
                0x57 => {
                    r[to] &= i64::from(i.operand);
                    false
                }
                0xb7 => {
                    r[to] = i64::from(i.operand);
                    false
                }
                0x56 => r[to] as u32 != i.operand as u32,
                0x16 => r[to] as u32 == i.operand as u32,
                0x46 => r[to] as u32 & i.operand as u32 != 0,
                0x95 => return r[0],
                code => panic!("instruction {code:#x}"),
            };
            at += 1 + if jump { i.offset as usize } else { 0 };
        }
    }

    #[test]
    fn the_program_says_what_the_list_says() {
        let lists = [
            list(vec![]),
            list(vec![rule(true, "b 8:* rw"), rule(false, "c 1:3 w")]),
            list(vec![
                base_rule(Base::AllowAll),
                rule(false, "b 8:0 w"),
                rule(false, "c 10:* rwm"),
            ]),
        ];
        for list in &lists {
            let program = list.program();
            for kind in [1, 2] {
                for access in 1..8 {
                    for (major, minor) in
                        [(1, 3), (1, 1), (5, 2), (8, 0), (8, 1), (10, 200), (136, 7)]
                    {
                        let matches = |r: &&Rule| {
                            (r.kind == Kind::Block) == (kind == 1)
                                && r.major.is_none_or(|m| m == major)
                                && r.minor.is_none_or(|m| m == minor)
                        };
                        let mut hits = list.exceptions.iter().filter(matches);
                        let expected = match list.base {
                            Base::DenyAll => hits.any(|r| access & !r.access == 0),
                            Base::AllowAll => !hits.any(|r| access & r.access != 0),
                        };
                        let got = answer(&program, kind, access, major, minor);
                        assert_eq!(
                            got,
                            i64::from(expected),
                            "{list}: {kind} {access} {major}:{minor}"
                        );
                    }
                }
            }
        }
    }
}
