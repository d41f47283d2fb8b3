//! The seccomp filter: made by rmac's own profile, kept in a file as the kernel reads it.  seccomp(2)

use std::fs;

use anyhow::{Result, bail};

/// Writes the filter that rmac's default profile compiles to.
pub fn write(file: &str) -> Result<i32> {
    use rmac::kernel::{capabilities, seccomp};
    let set = capabilities::choose(capabilities::Base::Default, &[], &[])?;
    let steps = seccomp::plan_profile(&seccomp::default_profile(&set))?;
    let Some(seccomp::Step::Load(program)) = steps.first() else {
        bail!("the profile makes no filter")
    };
    let bytes: Vec<u8> = program
        .instructions
        .iter()
        .flat_map(|i| i.to_bytes())
        .collect();
    fs::write(file, bytes)?;
    Ok(0)
}

/// Reads what [`write`] wrote.
pub fn read(file: &str) -> Result<Vec<nix::libc::sock_filter>> {
    let bytes = fs::read(file)?;
    let instruction = |bytes: &[u8]| nix::libc::sock_filter {
        code: u16::from_le_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    Ok(bytes.chunks_exact(8).map(instruction).collect())
}
