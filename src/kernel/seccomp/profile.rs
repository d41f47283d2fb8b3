//! Docker's default profile: which system calls a container may make.
//!
//! A list of what is allowed; everything else fails with EPERM, a call of a newer kernel too. Left out are,
//! above all, calls that change the whole machine (clock, swap, modules, reboot, kexec), that the kernel
//! does not keep apart by container (keyctl, the kernel's keyrings), or that were the way in of many attacks
//! and are of little use in a container (bpf, userfaultfd, io_uring, perf_event_open). Some come back with the
//! capability that they need anyway: who is given CAP_SYS_TIME is meant to set the clock.
//!
//! The names are those of all architectures together; one that a machine does not have is skipped.

use std::collections::HashSet;

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg,
    LinuxSeccompArgBuilder, LinuxSeccompBuilder, LinuxSeccompOperator as Operator, LinuxSyscall,
    LinuxSyscallBuilder,
};

/// Docker's default profile for a container with the capabilities `caps`.
pub fn default_profile(caps: &HashSet<Capability>) -> LinuxSeccomp {
    let mut rules = vec![allow(&ALWAYS.concat()), allow(OF_THE_ARCHITECTURE)];
    rules.extend(socket_rules());
    rules.extend(
        PERSONALITIES.map(|persona| when("personality", test(0, persona, Operator::ScmpCmpEq))),
    );
    let given = |(capability, _): &&(Capability, &str)| caps.contains(capability);
    rules.extend(
        WITH_CAPABILITY
            .iter()
            .filter(given)
            .map(|(_, names)| allow(names)),
    );
    if !caps.contains(&Capability::SysAdmin) {
        rules.extend(clone_rules());
    }
    LinuxSeccompBuilder::default()
        .default_action(Action::ScmpActErrno)
        .default_errno_ret(libc::EPERM as u32)
        .architectures(ARCHITECTURES)
        .syscalls(rules)
        .build()
        .expect("all fields have defaults")
}

#[cfg(target_arch = "x86_64")]
pub(super) const ARCHITECTURES: [Arch; 3] =
    [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32];
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURES: [Arch; 2] = [Arch::ScmpArchAarch64, Arch::ScmpArchArm];

/// Allowed to everybody, by topic.
const ALWAYS: [&str; 12] = [
    FILES,
    DIRECTORIES,
    OWNERS,
    POLLING,
    MEMORY,
    PROCESSES,
    CREDENTIALS,
    SCHEDULING,
    SIGNALS,
    TIME,
    SOCKETS,
    IPC,
];

/// Open files: read, write, seek, copy, lock, and the older asynchronous I/O; io_uring is left out.
const FILES: &str = "
    open openat openat2 creat close close_range dup dup2 dup3 read write readv writev
    pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek _llseek fcntl fcntl64 flock ioctl
    pipe pipe2 sendfile sendfile64 splice tee vmsplice copy_file_range truncate truncate64
    ftruncate ftruncate64 fallocate fadvise64 fadvise64_64 readahead sync syncfs fsync
    fdatasync sync_file_range cachestat umask io_setup io_destroy io_submit io_cancel
    io_getevents io_pgetevents io_pgetevents_time64
";

/// Names: look up, list, make, remove.
const DIRECTORIES: &str = "
    access faccessat faccessat2 stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat
    statx statfs statfs64 fstatfs fstatfs64 statmount listmount getdents getdents64 getcwd
    chdir fchdir mkdir mkdirat rmdir mknod mknodat link linkat symlink symlinkat readlink
    readlinkat unlink unlinkat rename renameat renameat2 name_to_handle_at inotify_init
    inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark
";

/// Owners, permissions, times and extended attributes of files.
const OWNERS: &str = "
    chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 fchownat lchown lchown32
    utime utimes futimesat utimensat utimensat_time64 getxattr lgetxattr fgetxattr
    getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr llistxattr flistxattr
    listxattrat removexattr lremovexattr fremovexattr removexattrat
";

/// Waiting for one of many things.
const POLLING: &str = "
    select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64 epoll_create
    epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2
    eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_settime64
    timerfd_gettime timerfd_gettime64
";

/// Address space.
const MEMORY: &str = "
    brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall
    munlock munlockall mseal remap_file_pages memfd_create memfd_secret membarrier
    pkey_alloc pkey_free pkey_mprotect map_shadow_stack process_mrelease
";

/// Making, waiting for and looking into processes. For clone see [`clone_rules`]. Tracing is safe since
/// kernel 4.8, where a tracer can no longer walk around a filter.
const PROCESSES: &str = "
    fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid
    getpgid getpgrp setpgid getsid setsid pidfd_open pidfd_send_signal prctl set_tid_address
    set_thread_area get_thread_area get_robust_list set_robust_list rseq getrusage getrlimit
    ugetrlimit setrlimit prlimit64 sysinfo uname uretprobe restart_syscall riscv_hwprobe
    ptrace process_vm_readv process_vm_writev
";

/// Users, groups, capabilities, and what a process may deny itself.
const CREDENTIALS: &str = "
    getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid
    getresuid32 getresgid getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32
    setreuid setreuid32 setregid setregid32 setresuid setresuid32 setresgid setresgid32
    setfsuid setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget capset seccomp
    landlock_create_ruleset landlock_add_rule landlock_restrict_self
";

/// Processor time and priorities.
const SCHEDULING: &str = "
    sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr
    sched_getparam sched_setparam sched_getscheduler sched_setscheduler
    sched_get_priority_max sched_get_priority_min sched_rr_get_interval
    sched_rr_get_interval_time64 getpriority setpriority ioprio_get ioprio_set getcpu
";

/// Signals.
const SIGNALS: &str = "
    kill tkill tgkill pause sigaltstack sigprocmask sigreturn rt_sigaction rt_sigpending
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo
";

/// Reading clocks, sleeping, timers. Reading the state of the clock's discipline goes by adjtimex, which asks for
/// a capability only where it changes something.
const TIME: &str = "
    time times gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64
    clock_nanosleep clock_nanosleep_time64 nanosleep alarm getitimer setitimer timer_create
    timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
    timer_settime64 adjtimex clock_adjtime clock_adjtime64
";

/// The network; for socket itself see [`socket_rules`]. 32-bit x86 has all of it behind socketcall, too, where a
/// filter cannot see the address family.
const SOCKETS: &str = "
    socketpair socketcall bind listen accept accept4 connect shutdown getsockname
    getpeername getsockopt setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg
    recvmmsg recvmmsg_time64
";

/// Between processes: futexes, System V and POSIX objects, randomness.
const IPC: &str = "
    futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue ipc semget semop
    semctl semtimedop semtimedop_time64 shmget shmat shmdt shmctl msgget msgsnd msgrcv
    msgctl mq_open mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedsend_time64
    mq_timedreceive mq_timedreceive_time64 getrandom
";

/// What only this kind of processor has.
#[cfg(target_arch = "x86_64")]
const OF_THE_ARCHITECTURE: &str = "
    arch_prctl modify_ldt
";
#[cfg(target_arch = "aarch64")]
const OF_THE_ARCHITECTURE: &str = "
    arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls
";

/// Execution domains: Linux, Linux as 32 bits would see it, each with and without the old uname; and the question
/// which it is. The others are for foreign systems, and one of them switches off address randomisation.
const PERSONALITIES: [u64; 5] = [0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// What comes back with a capability.
const WITH_CAPABILITY: [(Capability, &str); 14] = [
    (Capability::DacReadSearch, "open_by_handle_at"),
    (
        Capability::SysAdmin,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie \
         lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr \
         move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
         sethostname setns syslog umount umount2 unshare",
    ),
    (Capability::SysBoot, "reboot"),
    (Capability::SysChroot, "chroot"),
    (
        Capability::SysModule,
        "delete_module init_module finit_module",
    ),
    (Capability::SysPacct, "acct"),
    (Capability::SysPtrace, "kcmp pidfd_getfd process_madvise"),
    (Capability::SysRawio, "iopl ioperm"),
    (
        Capability::SysTime,
        "settimeofday stime clock_settime clock_settime64",
    ),
    (Capability::SysTtyConfig, "vhangup"),
    (
        Capability::SysNice,
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    (Capability::Syslog, "syslog"),
    (Capability::Bpf, "bpf"),
    (Capability::Perfmon, "perf_event_open"),
];

/// Every address family but AF_ALG (38), the kernel's cryptography with a long record of bugs, and AF_VSOCK
/// (40), which talks to the hypervisor and knows no network namespaces.
///
/// Docker allows all that is greater than 40. But the kernel looks at the lower half of the argument only, so
/// with a bit of the upper half set, 40 is greater than 40. Hence the families one by one (the last today is 45).
fn socket_rules() -> Vec<LinuxSyscall> {
    let (alg, vsock) = (libc::AF_ALG as u64, libc::AF_VSOCK as u64);
    let families = (alg + 1..48).filter(|family| *family != vsock);
    let mut rules = vec![when("socket", test(0, alg, Operator::ScmpCmpLt))];
    rules.extend(families.map(|family| when("socket", test(0, family, Operator::ScmpCmpEq))));
    rules
}

/// New processes and threads, but not in new namespaces: inside a new user namespace everybody has all
/// capabilities, and with them reaches code of the kernel that only root was meant to reach. clone3's flags lie in
/// memory, where a filter cannot see them; told that there is no such call, libc falls back to clone.
fn clone_rules() -> [LinuxSyscall; 2] {
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWCGROUP;
    let no_clone3 = LinuxSyscallBuilder::default()
        .names(["clone3".to_owned()])
        .action(Action::ScmpActErrno)
        .errno_ret(libc::ENOSYS as u32);
    [
        when(
            "clone",
            test(0, namespaces as u64, Operator::ScmpCmpMaskedEq),
        ),
        no_clone3.build().expect("all fields have defaults"),
    ]
}

/// `names` are separated by white space.
fn allow(names: &str) -> LinuxSyscall {
    let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
    let rule = LinuxSyscallBuilder::default()
        .names(names)
        .action(Action::ScmpActAllow);
    rule.build().expect("all fields have defaults")
}

fn when(name: &str, test: LinuxSeccompArg) -> LinuxSyscall {
    let rule = LinuxSyscallBuilder::default()
        .names([name.to_owned()])
        .action(Action::ScmpActAllow);
    rule.args([test]).build().expect("all fields have defaults")
}

/// For a masked comparison `value` is the mask, and what remains must be zero.
fn test(index: usize, value: u64, op: Operator) -> LinuxSeccompArg {
    let test = LinuxSeccompArgBuilder::default()
        .index(index)
        .value(value)
        .value_two(0u64)
        .op(op);
    test.build().expect("all fields have defaults")
}
