//! What is inside stays inside: attacks of record against both faces, a program that tries everything, and
//! races for paths. Each test fails when its defence is taken away.
//!
//! | attack | defence | test |
//! |---|---|---|
//! | CVE-2019-5736 the runtime's file as entry point, interpreter | `sys/trampoline.rs`, `kernel/protect.rs` | `cve::nobody_runs_the_runtimes_own_file` |
//! | CVE-2016-9962, CVE-2019-5736 looking into who enters | not dumpable: `launch/child.rs` | `cve::who_execs_cannot_be_looked_into`, `oci` |
//! | the same with CAP_SYS_PTRACE or `--init` | read-only mount: `kernel/protect.rs` | `cve::with_more_rights_the_file_is_read_only` |
//! | the same with CAP_SYS_PTRACE, for what it holds | born last: `kernel/namespaces.rs`, `sys/trampoline.rs` | `ptrace::*` |
//! | CVE-2019-16884, -19921, CVE-2026-41579 links for /proc, /sys, /dev | `kernel/mounts/attach.rs` | `cve::a_link_is_no_place_for_the_kernels_files`, `oci` |
//! | CVE-2021-30465, CVE-2023-28642, CVE-2024-45310 mount targets raced | `kernel/rootfs/root.rs` (openat2, move_mount) | `races::*` |
//! | CVE-2021-43784 messages that overflow | one datagram each: `launch/talk.rs` | `cve::words_of_any_length_arrive` |
//! | CVE-2022-29162 inheritable capabilities, open descriptors | `kernel/capabilities.rs`, `kernel/program.rs` | `cve::no_descriptor_and_no_inheritable_right`, `oci` |
//! | CVE-2022-0492, CVE-2023-25809 cgroup files | read-only mount, own namespace: `spec/mounts.rs` | `worst::*` |
//! | CVE-2024-21626 the host's descriptor as directory | `kernel/program.rs` | `cve::no_working_directory_is_a_descriptor`, `oci` |
//! | WorkingDir made through a link | `Root::make_directory` | `cve::a_working_directory_is_made_inside`, `races::*` |
//! | CVE-2025-31133 /dev/null replaced | the host's, by descriptor: `kernel/mounts/attach.rs` | `cve::a_mask_is_the_null_device` |
//! | CVE-2025-52565 /dev/console, /dev/pts replaced | `kernel/terminal.rs` | `cve::a_terminal_comes_from_devpts` |
//! | CVE-2025-52881 writes to /proc led astray | `kernel/sysctl.rs`, `kernel/attributes.rs` | `cve::settings_are_written_to_the_real_proc` |
//! | CVE-2025-24965, CVE-2019-18837 /etc/hosts and others as links, FIFOs | `Root::make_file`, bound by descriptor | `cve::files_of_identity_stay_inside` |
//! | passwd a FIFO, device, link, huge | `kernel/user/lookup.rs` | `cve::a_strange_passwd_file_ends_nothing_but_the_start` |
//! | CVE-2024-40635, CVE-2026-30892, CVE-2016-3697 users that overflow | `kernel/user/lookup.rs` | `cve::a_user_is_a_small_plain_number`, `oci` |
//! | CVE-2020-15257 abstract sockets, CVE-2021-41091 the store | 0700 directories: `store/mod.rs` | `cve::nothing_of_rmacs_is_open_to_others` |
//! | LD_PRELOAD and the like in the image | its environment goes to execve(2) only | `cve::the_images_environment_is_its_programs` |
//! | the host's kernel keyring | own session keyring: `kernel/attributes.rs` | `cve::the_hosts_keyring_is_out_of_reach` |
//! | the same, where the engine wants to share it | the record says so: `oci/state.rs` | `cve::the_engines_keyring_is_kept_where_it_was_asked_for` |
//! | escape codes in names that errors tell | `error_text` in both mains | `cve::an_image_cannot_write_to_the_terminal_by_a_failure` |
//! | CVE-2018-15664, CVE-2019-14271 `cp` | in a process whose root is the container's: `files/` | `races::a_container_that_swaps_under_cp`, `copy` |
//! | CVE-2020-13401 router advertisements | `net/link.rs` | `net_link`, `net_macvlan` |
//! | layers, registries, manifests | `rootfs-fetch` | its own tests |

#[path = "../common/mod.rs"]
mod common;

mod cve;
mod helpers;
mod ptrace;
mod races;
mod worst;
