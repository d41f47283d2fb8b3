//! How rmac is linked: what its start need not do is done here.  ld.so(8), elf(5)
//!
//! A command of rmac that only looks something up takes about a millisecond, most of which is the dynamic linker.
//! Two things make that shorter, where the machine that builds has them; without them all works the same.
//!
//! - The unwinder (libgcc_s) is linked in statically: one library less to be found, mapped and relocated.
//! - The 9,000 relative relocations are packed (`DT_RELR`): a few hundred bytes to be read instead of 220 KiB.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    let is_native = std::env::var("HOST").ok() == std::env::var("TARGET").ok();
    if !is_native || !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    if let (Some(unwinder), Ok(out)) = (library("libgcc_eh.a"), std::env::var("OUT_DIR")) {
        // What the linker finds first under the shared library's name is this script.
        let script = format!("INPUT({} -lc)\n", unwinder.display());
        if std::fs::write(Path::new(&out).join("libgcc_s.so"), script).is_ok() {
            println!("cargo:rustc-link-search=native={out}");
        }
    }
    // A C library that cannot read them (before 2.36) has no such version.
    let version = b"GLIBC_ABI_DT_RELR";
    let reads_packed = library("libc.so.6")
        .and_then(|path| std::fs::read(path).ok())
        .is_some_and(|bytes| bytes.windows(version.len()).any(|found| found == version));
    if reads_packed {
        println!("cargo:rustc-link-arg=-Wl,-z,pack-relative-relocs");
    }
}

/// Where the C compiler, which links, has the library `name`.
fn library(name: &str) -> Option<PathBuf> {
    let asked = Command::new("cc")
        .arg(format!("-print-file-name={name}"))
        .output()
        .ok()?;
    let path = PathBuf::from(String::from_utf8(asked.stdout).ok()?.trim_end());
    // What it does not have it gives back as it was asked.
    path.is_absolute().then_some(path)
}
