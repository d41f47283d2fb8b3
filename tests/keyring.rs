//! Each container has a session keyring of its own, and nobody's else: keyrings belong to no namespace.

mod common;

use std::time::{Duration, Instant};

use common::Lab;

/// How many keyrings of this name the kernel has, as the host's root sees them.
fn keyrings(name: &str) -> usize {
    let keys = std::fs::read_to_string("/proc/keys").unwrap();
    keys.lines().filter(|line| line.contains(name)).count()
}

#[test]
fn a_container_has_a_session_keyring_that_ends_with_it() {
    let lab = Lab::with_image();
    let id = lab
        .rmac(&["run", "-d", "--name", "keyed", lab.image(), "sleep", "600"])
        .ok();
    let ring = format!("_ses.{}", id.trim());
    assert_eq!(keyrings(&ring), 1);
    // One more process joins it, and makes none of its own.
    lab.rmac(&["exec", "-d", "keyed", "sleep", "600"]).ok();
    // What nobody has joined is collected by then.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(keyrings(&ring), 1);
    lab.rmac(&["rm", "-f", "keyed"]).ok();
    // The kernel collects keys in the background.
    let begin = Instant::now();
    while keyrings(&ring) > 0 {
        assert!(begin.elapsed() < Duration::from_secs(5), "{ring} is left");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_callers_keys_stay_with_the_caller() {
    let lab = Lab::with_image();
    // add_key(2) into a new session keyring (keyctl(2)); what follows in the same process holds the key. The
    // container may ask for keys: it has neither filter nor masks. keyctl(KEYCTL_SEARCH) needs a program that the
    // image lacks, so the kernel is asked for what /proc/keys shows: the keys that the process possesses have `3f`.
    let run = format!(
        "exec 'rmac', 'run', '--rm', '--privileged', '{}', 'cat', '/proc/self/status', '/proc/keys'",
        lab.image()
    );
    let script = format!(
        "perl -e 'syscall(250, 1, 0) > 0 or die $!; my ($t, $d, $p) = (\"user\", \"rmac-secret\", \"x\"); \
         my $key = syscall(248, $t, $d, $p, 1, -3); $key > 0 or die $!; \
         syscall(250, 5, $key, 0x3f000000) == 0 or die $!; {}'",
        run.replace('\'', "\"")
    );
    let seen = lab.sh(&script).ok();
    assert!(seen.contains("CapEff"), "{seen}");
    // Only who possesses the key may see it.
    assert!(!seen.contains("rmac-secret"), "{seen}");
    let here = script.replace(&run.replace('\'', "\""), "exec \"cat\", \"/proc/keys\"");
    lab.sh(&here).says("rmac-secret").ended(0);
}
