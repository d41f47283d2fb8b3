//! The kernel's numbers of the capabilities.  linux/capability.h

use std::collections::HashSet;

use oci_spec::runtime::Capability;

/// All capabilities in the order of their numbers (linux/capability.h): the index is the number.
pub const ALL: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// The capability's number.
pub fn number(capability: Capability) -> u8 {
    let position = ALL.iter().position(|c| *c == capability);
    position.expect("ALL lists every capability") as u8
}

/// The set as the kernel takes it: bit n is capability n.
pub fn mask(set: &HashSet<Capability>) -> u64 {
    set.iter().fold(0, |mask, c| mask | 1 << number(*c))
}

/// The set in the order of the numbers.
pub fn sorted(set: &HashSet<Capability>) -> Vec<Capability> {
    ALL.into_iter().filter(|c| set.contains(c)).collect()
}

/// What the set lacks, in the order of the numbers.
pub fn outside(set: &HashSet<Capability>) -> impl Iterator<Item = Capability> + '_ {
    ALL.into_iter().filter(|c| !set.contains(c))
}
