//! System call numbers: each architecture has a table of its own.  syscall(2)
//!
//! A 64-bit kernel also runs 32-bit programs, whose calls have other numbers: 5 is `open` for them and
//! `fstat` for the rest. A filter that knew only one table could be walked around with the other.

use oci_spec::runtime::Arch;

/// The architecture that rmac was built for.
#[cfg(target_arch = "x86_64")]
pub const NATIVE: Arch = Arch::ScmpArchX86_64;
/// The architecture that rmac was built for.
#[cfg(target_arch = "aarch64")]
pub const NATIVE: Arch = Arch::ScmpArchAarch64;

/// A calling convention that a filter can tell apart.
pub struct Table {
    /// How `seccomp_data.arch` says it (`AUDIT_ARCH_*`, linux/audit.h).
    pub audit: u32,
    /// All calls as (number, name), ascending.
    pub calls: Vec<(u32, &'static str)>,
}

/// The tables that a filter for `native` is to cover: its own, and those of `listed` that this kernel
/// could run. x32 shares x86_64's `audit` number and has no table: see [`super::bpf`].
pub fn tables(native: Arch, listed: &[Arch]) -> Vec<Table> {
    let (own, compat) = match native {
        Arch::ScmpArchAarch64 => (aarch64(), Arch::ScmpArchArm),
        _ => (x86_64(), Arch::ScmpArchX86),
    };
    let mut tables = vec![own];
    if listed.contains(&compat) {
        tables.push(if compat == Arch::ScmpArchArm {
            arm()
        } else {
            x86()
        });
    }
    tables
}

macro_rules! table {
    ($name:ident, $audit:expr) => {
        fn $name() -> Table {
            // The crate's iterator stops before the last one.
            let last = syscalls::$name::Sysno::last();
            let calls = syscalls::$name::Sysno::iter().filter(|call| *call != last);
            let calls = calls.chain([last]);
            Table {
                audit: $audit,
                calls: calls.map(|call| (call.id() as u32, call.name())).collect(),
            }
        }
    };
}

table!(x86_64, 0xc000_003e);
table!(x86, 0x4000_0003);
table!(aarch64, 0xc000_00b7);
table!(arm, 0x4000_0028);
