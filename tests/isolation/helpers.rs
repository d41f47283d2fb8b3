//! The attacker's programs, and containers whose image was made by him: for both faces.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::common::bundle::{Bundle, RMAC_OCI};
use crate::common::{Lab, Output, run};

/// A program of `tests/helpers`, compiled so that it runs in any image; `scripts/vm-test`, in whose machine there
/// is no compiler, says where they are with `RMAC_ATTACKERS`.
pub fn program(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        if let Some(directory) = std::env::var_os("RMAC_ATTACKERS") {
            return directory.into();
        }
        let built = Path::new(crate::common::RMAC).parent().unwrap();
        let directory = built.join("attackers");
        std::fs::create_dir_all(&directory).unwrap();
        for (name, flags) in [
            ("worst", "-C target-feature=+crt-static"),
            ("tracer", "-C target-feature=+crt-static -C opt-level=2"),
            (
                "loader",
                "-C panic=abort -C opt-level=2 -C relocation-model=static -C link-arg=-nostartfiles \
                 -C link-arg=-nostdlib -C link-arg=-static",
            ),
        ] {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/helpers/{name}.rs"));
            // Written under another name first: two tests may build at once.
            let new = directory.join(format!("{name}-{}", std::process::id()));
            let mut rustc = Command::new("rustc");
            rustc.args(["--edition", "2024", "-o"]).arg(&new).arg(source);
            run(rustc.args(flags.split_whitespace())).ok();
            std::fs::rename(new, directory.join(name)).unwrap();
        }
        directory
    });
    directory.join(name)
}

/// A container of a hostile image, for both faces.
pub struct Hostile<'a> {
    /// What the image's author has done to the tree.
    pub image: &'a dyn Fn(&Path),
    /// More words for `rmac create`.
    pub words: &'a str,
    /// More of `config.json`.
    pub spec: &'a dyn Fn(&mut Value),
    /// What runs.
    pub command: &'a [&'a str],
}

impl Default for Hostile<'_> {
    fn default() -> Self {
        Hostile {
            image: &|_| (),
            words: "",
            spec: &|_| (),
            command: &["true"],
        }
    }
}

impl Hostile<'_> {
    /// What `rmac` makes of it: the container's upper directory is as good as one more layer of the image.
    pub fn with_rmac(&self, lab: &Lab) -> Output {
        let mut words = vec!["create", "--network", "none"];
        words.extend(self.words.split_whitespace());
        words.push(lab.image());
        words.extend(self.command);
        let id = lab.rmac(&words).ok().trim().to_owned();
        (self.image)(&lab.root().join("containers").join(&id).join("upper"));
        let output = lab.rmac(&["start", "-a", &id]);
        lab.rmac(&["rm", "-f", &id]).ok();
        output
    }

    /// What `rmac-oci` makes of it.
    pub fn with_oci(&self) -> Output {
        let bundle = Bundle::new(RMAC_OCI, "");
        (self.image)(&bundle.rootfs());
        bundle.change(|spec| {
            spec["root"]["readonly"] = false.into();
            spec["process"]["args"] = self.command.into();
            (self.spec)(spec);
        });
        bundle.call(&["run", "--bundle", ".", "$ID"])
    }

    /// Both answers.
    pub fn with_both(&self, lab: &Lab) -> [(&'static str, Output); 2] {
        [("rmac", self.with_rmac(lab)), ("rmac-oci", self.with_oci())]
    }
}

/// Puts a file into a tree.
pub fn put(tree: &Path, path: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let file = tree.join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let _ = std::fs::remove_file(&file);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Puts a symbolic link in the place of whatever is there.
pub fn link(tree: &Path, path: &str, target: impl AsRef<Path>) {
    let file = tree.join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let _ = std::fs::remove_dir_all(&file);
    let _ = std::fs::remove_file(&file);
    std::os::unix::fs::symlink(target, file).unwrap();
}

/// All names below a directory of the host's, with sizes and modes: the same before and after, or somebody
/// has got there.
pub fn digest(directory: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut found = vec![];
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let own = std::fs::symlink_metadata(&directory).unwrap();
        found.push(format!(
            "{} {:o} {}",
            directory.display(),
            own.mode(),
            own.uid()
        ));
        for entry in std::fs::read_dir(&directory).unwrap().flatten() {
            let status = entry.metadata().unwrap();
            if status.is_dir() {
                open.push(entry.path());
                continue;
            }
            let text = std::fs::read(entry.path()).unwrap_or_default();
            let line = (
                entry.path(),
                status.mode(),
                status.uid(),
                status.mtime_nsec(),
                text,
            );
            found.push(format!("{line:?}"));
        }
    }
    found.sort();
    found
}

#[test]
fn the_attackers_run_anywhere() {
    // A program that names a loader wants the one of the machine on which it was built.
    for name in ["worst", "tracer", "loader"] {
        let text = std::fs::read(program(name)).unwrap();
        assert!(text.starts_with(b"\x7fELF"), "{name}");
        let loader = text.windows(8).any(|word| word == b"/ld-linu");
        assert!(!loader, "{name}");
    }
}
