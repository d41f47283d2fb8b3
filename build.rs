//! How rmac is linked: what its start need not do is done here.  ld.so(8), elf(5)
//!
//! A command of rmac that only looks something up takes about two milliseconds, a third of which would be the
//! dynamic linker's. Two things make that shorter, where the machine that builds has them; without them all works the
//! same.
//!
//! - The C library and the unwinder (libc.a, libgcc_eh.a) are linked in: nothing to be found, mapped and bound at each
//!   start. It still is a program that lies anywhere in memory (`-static-pie`).
//! - The 9,000 relative relocations are packed (`DT_RELR`): a few hundred bytes to be read instead of 220 KiB.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What the linker finds first under a shared library's name is a script that names these instead.  ld(1)
const STATIC: [(&str, &[&str]); 3] = [
    ("libc.so", &["libc.a", "libgcc_eh.a"]),
    ("libm.so", &["libm.a"]),
    ("libgcc_s.so", &["libgcc_eh.a", "libc.a"]),
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(static_libc)");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    let is_native = std::env::var("HOST").ok() == std::env::var("TARGET").ok();
    if !is_native || !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    if let Some(scripts) = static_libraries() {
        println!("cargo:rustc-cfg=static_libc");
        // Tests need no quick start. The floor (an example) is what rmac is compared with.
        for kind in ["bins", "examples"] {
            println!("cargo:rustc-link-arg-{kind}=-L{}", scripts.display());
            println!("cargo:rustc-link-arg-{kind}=-static-pie");
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

/// The directory of the scripts, if there is an archive of each library and what a static program begins with.
fn static_libraries() -> Option<PathBuf> {
    library("rcrt1.o")?;
    let directory = Path::new(&std::env::var_os("OUT_DIR")?).join("static");
    std::fs::create_dir_all(&directory).ok()?;
    for (name, archives) in STATIC {
        let paths: Option<Vec<_>> = archives.iter().map(|name| library(name)).collect();
        let paths: Vec<_> = paths?
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let script = format!("GROUP({})\n", paths.join(" "));
        std::fs::write(directory.join(name), script).ok()?;
    }
    Some(directory)
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
