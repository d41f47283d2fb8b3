//! One image, many ways to get it, one tree: compared file by file (kind, mode, owner, time, link,
//! device, content, attributes, inodes) with what `umoci unpack` makes of it.
//!
//! The registry is Debian's docker-registry, see `scripts/fixture`. Needs root, for owners and devices.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// `user:secret` in base64, for the registry at the port.
const LOGIN: &str = "dXNlcjpzZWNyZXQ=";

#[test]
fn from_a_registry() {
    let registry = Registry::start(&[]);
    for tag in ["latest", "two", "layers"] {
        compare(
            &registry.fetch(&format!("library/{}:{tag}", name()), None),
            tag,
        );
    }
}

#[test]
fn from_a_registry_with_basic_authentication() {
    let registry = Registry::start(&["--auth", "basic"]);
    let image = format!("private/{}:layers", name());
    compare(&registry.fetch(&image, Some(LOGIN)), "layers");
    registry.refuses(&image, None);
    registry.refuses(&image, Some("dXNlcjp3cm9uZw=="));
}

#[test]
fn from_a_registry_with_bearer_authentication() {
    let registry = Registry::start(&["--auth", "bearer"]);
    compare(
        &registry.fetch(&format!("library/{}:layers", name()), None),
        "layers",
    );
    let image = format!("private/{}:two", name());
    compare(&registry.fetch(&image, Some(LOGIN)), "two");
    registry.refuses(&image, None);
    registry.refuses(&image, Some("dXNlcjp3cm9uZw=="));
}

#[test]
fn from_a_mirror() {
    let registry = Registry::start(&["--as", "mirror"]);
    compare(
        &registry.fetch(&format!("library/{}:layers", name()), None),
        "layers",
    );
}

#[test]
fn for_another_platform() {
    let registry = Registry::start(&[]);
    let image = format!("library/{}:two", name());
    let target = registry.dir.join("arm64");
    let mut fetch = registry.command(&image, &target, None);
    ok(fetch.args(["--platform", "linux/arm64"]));
    assert_eq!(
        std::fs::read_to_string(target.join("ARM64")).unwrap(),
        "arm64\n"
    );
}

#[test]
fn from_an_oci_layout() {
    let dir = temporary("layout");
    for tag in ["latest", "two", "layers"] {
        // A layout with this one image.
        let layout = dir.join(tag);
        ok(Command::new("cp")
            .args(["-r"])
            .arg(images().join("oci"))
            .arg(&layout));
        let index = std::fs::read(layout.join("index.json")).unwrap();
        let mut index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let wanted = format!("{}:{tag}", name());
        let manifests = index["manifests"].as_array_mut().unwrap();
        manifests.retain(|m| m["annotations"]["org.opencontainers.image.ref.name"] == wanted);
        std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
        let target = dir.join(format!("{tag}-tree"));
        ok(fetch(&format!("oci:{}", layout.display()), &target));
        compare(&target, tag);
        let archive = dir.join(format!("{tag}.tar"));
        ok(Command::new("tar")
            .arg("-C")
            .arg(&layout)
            .arg("-cf")
            .arg(&archive)
            .arg("."));
        let target = dir.join(format!("{tag}-archive-tree"));
        ok(fetch(
            &format!("oci-archive:{}", archive.display()),
            &target,
        ));
        compare(&target, tag);
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn from_a_docker_archive() {
    let dir = temporary("archive");
    for (archive, tag) in [
        (format!("{}.tar", name()), "latest"),
        ("layers.tar".to_owned(), "layers"),
    ] {
        let target = dir.join(tag);
        ok(fetch(
            &format!("docker-archive:{}", images().join(archive).display()),
            &target,
        ));
        compare(&target, tag);
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn from_a_tarball() {
    let dir = temporary("tarball");
    ok(fetch(
        &format!("tar:{}", images().join("rootfs.tar").display()),
        &dir.join("tree"),
    ));
    compare(&dir.join("tree"), "latest");
    std::fs::remove_dir_all(dir).unwrap();
}

/// A registry on a loopback port of its own, stopped when dropped.
struct Registry {
    dir: PathBuf,
    port: u16,
}

impl Registry {
    fn start(options: &[&str]) -> Registry {
        static PORT: AtomicU16 = AtomicU16::new(0);
        // Two ports each, the second for tokens; other test processes start elsewhere. Below those that the kernel
        // gives to who connects (32768 on): a connection to such a port can come to itself, so that it seems
        // somebody listens there.
        let base = 20_000 + (std::process::id() % 1_200) as u16 * 10;
        let port = base + PORT.fetch_add(2, Ordering::Relaxed);
        let dir = temporary(&format!("registry-{port}"));
        images();
        let mut start = Command::new(script());
        ok(start
            .arg("registry")
            .arg(&dir)
            .arg(port.to_string())
            .args(options));
        Registry { dir, port }
    }

    fn fetch(&self, image: &str, login: Option<&str>) -> PathBuf {
        let target = self.dir.join(image.replace(['/', ':'], "-"));
        ok(&mut self.command(image, &target, login));
        target
    }

    fn refuses(&self, image: &str, login: Option<&str>) {
        let target = self.dir.join("refused");
        let output = self.command(image, &target, login).output().unwrap();
        assert!(!output.status.success(), "{image} was given to {login:?}");
        assert!(!target.exists());
    }

    fn command(&self, image: &str, target: &Path, login: Option<&str>) -> Command {
        let auths = match login {
            Some(login) => format!(
                r#"{{"auths":{{"127.0.0.1:{}":{{"auth":"{login}"}}}}}}"#,
                self.port
            ),
            None => "{}".to_owned(),
        };
        std::fs::write(self.dir.join("config.json"), auths).unwrap();
        let mut command = fetch(image, target);
        command
            .env(
                "CONTAINERS_REGISTRIES_CONF",
                self.dir.join("registries.conf"),
            )
            .env("DOCKER_CONFIG", &self.dir);
        command
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = Command::new(script()).arg("stop").arg(&self.dir).status();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[track_caller]
fn compare(tree: &Path, tag: &str) {
    let (ours, theirs) = (listing(tree), listing(&reference(tag)));
    let only = |a: &str, b: &str| -> Vec<String> {
        let known: std::collections::HashSet<&str> = b.lines().collect();
        a.lines()
            .filter(|line| !known.contains(line))
            .map(str::to_owned)
            .collect()
    };
    let (ours_only, theirs_only) = (only(&ours, &theirs), only(&theirs, &ours));
    assert!(theirs.lines().count() > 50, "{theirs}");
    assert!(
        ours_only.is_empty() && theirs_only.is_empty(),
        "{tag}\nours:\n  {}\numoci's:\n  {}",
        ours_only.join("\n  "),
        theirs_only.join("\n  ")
    );
}

/// What umoci makes of the image, unpacked once.
fn reference(tag: &str) -> PathBuf {
    static TREES: OnceLock<PathBuf> = OnceLock::new();
    let dir = TREES.get_or_init(|| {
        let dir = images().parent().unwrap().join("umoci");
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        for tag in ["latest", "layers"] {
            let image = format!("{}:{}:{tag}", images().join("oci").display(), name());
            ok(Command::new("umoci")
                .args(["unpack", "--image", &image])
                .arg(dir.join(tag)));
        }
        dir
    });
    dir.join(if tag == "two" { "latest" } else { tag })
        .join("rootfs")
}

fn listing(tree: &Path) -> String {
    let script = repository().join("tests/fixtures/tree.py");
    let output = ok(Command::new("python3").arg(script).arg(tree));
    String::from_utf8(output.stdout).unwrap()
}

fn fetch(image: &str, target: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootfs-fetch"));
    command.arg("--quiet").arg(image).arg(target);
    command
}

fn images() -> &'static Path {
    static IMAGES: OnceLock<PathBuf> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let output = ok(Command::new(script()).arg("alpine"));
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

fn name() -> String {
    std::fs::read_to_string(images().join("name"))
        .unwrap()
        .trim()
        .to_owned()
}

fn temporary(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("rootfs-fetch-{name}-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    dir
}

fn script() -> PathBuf {
    repository().join("scripts/fixture")
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[track_caller]
fn ok(command: impl std::borrow::BorrowMut<Command>) -> Output {
    let mut command = command;
    let output = command.borrow_mut().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{:?}: {said}",
        command.borrow_mut()
    );
    output
}
