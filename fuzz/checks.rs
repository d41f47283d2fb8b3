//! What must hold for any bytes whatsoever: one function for each thing that reads what strangers wrote.
//!
//! A fuzzer calls them with bytes of its making (`fuzz/fuzz_targets/`, run by cargo-fuzz), and `tests/strangers.rs`
//! with those worth keeping (`fuzz/corpus/NAME/`), on any compiler. None may panic, hang or take much memory; what
//! else must be true, each says.

use std::fmt::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use oci_spec::image::ImageConfiguration;
use rmac::kernel::cgroups::{Layout, v1, v2};
use rmac::kernel::program::First;
use rmac::plan::wire::Client;
use rmac::plan::{Bundle, Inputs, Plan};
use rmac::request::Request;
use rootfs_fetch::{Digest, ImageName, Limits, Platform, documents, layer};
use serde_json::{Value, json};

/// Bytes to layers: nothing outside of the directory changes, and the same layers give the same tree.
///
/// The first byte says how to read the others: bit 0 repairs the headers' checksums (or hardly any header would get
/// past them), bit 1 takes overlayfs's form. The second byte is where the second layer begins, in blocks of 512.
pub fn layer(bytes: &[u8]) {
    let [flags, blocks, archive @ ..] = bytes else {
        return;
    };
    let mut archive = archive.to_vec();
    if flags & 1 != 0 {
        repair_checksums(&mut archive);
    }
    let layout = match flags & 2 {
        0 => layer::Layout::Merged,
        _ => layer::Layout::Overlay,
    };
    let (lower, upper) = archive.split_at((usize::from(*blocks) * 512).min(archive.len()));
    let first = Scratch::new();
    let second = Scratch::new();
    let outside = [first.outside(), second.outside()];
    let outcomes = [
        first.unpack(&[lower, upper], layout),
        second.unpack(&[lower, upper], layout),
    ];
    assert_eq!(outcomes[0], outcomes[1], "the same layers end differently");
    assert_eq!(
        [first.outside(), second.outside()],
        outside,
        "something outside changed"
    );
    if outcomes[0] == [true, true] {
        assert_eq!(
            first.inside(),
            second.inside(),
            "the same layers give another tree"
        );
    }
}

/// An image's name: what parses has a canonical and a familiar form that mean the same, and can do no harm in a
/// URL, a path or a terminal.
pub fn reference(bytes: &[u8]) {
    let Ok(name) = String::from_utf8_lossy(bytes).parse::<ImageName>() else {
        return;
    };
    for form in [name.canonical(), name.familiar()] {
        assert_eq!(form.parse::<ImageName>().expect(&form), name, "{form}");
        let climbs = form
            .split(['/', ':', '@'])
            .any(|part| part == "." || part == "..");
        assert!(
            form.bytes().all(|b| b.is_ascii_graphic()) && !climbs,
            "{form}"
        );
    }
}

/// A manifest or an index: what is read has digests that are digests, and names no more layers than can be stacked.
pub fn manifest(bytes: &[u8]) {
    for kind in [
        None,
        Some("application/vnd.oci.image.manifest.v1+json"),
        Some("application/vnd.oci.image.index.v1+json"),
    ] {
        match documents::parse(bytes, kind) {
            Ok(documents::Document::Index(index)) => {
                if let Ok(chosen) = Platform::host().choose(index.manifests()) {
                    let _ = documents::digest_of(chosen);
                }
            }
            Ok(documents::Document::Manifest(manifest)) => {
                let _ = documents::check_config_type(&manifest);
                let diff_id = Digest::of(b"").to_string();
                let layers = vec![diff_id; manifest.layers().len()];
                let config = json!({"architecture": "amd64", "os": "linux",
                    "rootfs": {"type": "layers", "diff_ids": layers}});
                if let Ok(image) = documents::describe(&manifest, config.to_string().into_bytes()) {
                    assert_eq!(image.layers.len(), manifest.layers().len());
                    assert!(image.layers.len() <= documents::MAX_LAYERS);
                }
            }
            Err(error) => assert_printable(&error),
        }
    }
}

/// An image's configuration: on to the spec and the plan of a container made of it.
pub fn config(bytes: &[u8]) {
    let config = match documents::parse_config(bytes) {
        Ok(config) => config,
        Err(error) => return assert_printable(&error),
    };
    let _ = documents::stack(config.rootfs().diff_ids(), vec![]);
    for layout in layouts() {
        if let Ok(plan) = plan_of(&config, &layout) {
            tell(&plan);
        }
    }
}

/// The value of a `WWW-Authenticate` header: what is found in it was there.
pub fn challenge(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let found = rootfs_fetch::auth::challenges([text.as_ref()]);
    assert!(found.len() <= text.len());
    for challenge in found {
        if let rootfs_fetch::auth::Challenge::Bearer { realm, .. } = challenge {
            assert!(realm.chars().all(|c| text.contains(c)), "{realm}");
        }
    }
}

/// A bundle's `config.json`: on to the plan, for either kind of cgroups, and to all that is told of its steps.
pub fn bundle(bytes: &[u8]) {
    let bundle = Scratch::new();
    std::fs::create_dir(bundle.0.join("rootfs")).expect("make the bundle");
    std::fs::write(bundle.0.join("config.json"), bytes).expect("write the bundle");
    let Ok((path, spec, rootfs)) = rmac::oci::bundle::load(&bundle.0, "id", false) else {
        return;
    };
    let record = rmac::oci::state::Record {
        own_keyring: true,
        id: "id".to_owned(),
        bundle: path,
        rootfs,
        created: String::new(),
        process: None,
        spec,
        beneath: None,
    };
    for layout in layouts() {
        let plan = rmac::plan::plan_bundle(&Bundle {
            spec: &record.spec,
            layout: &layout,
            rootfs: &record.rootfs,
            state: &record.state(),
            keyring: Some("id"),
        });
        if let Ok(plan) = plan {
            tell(&plan);
        }
    }
}

/// A template of `--format`, and after a NUL the data to fill it with, else a container's.
pub fn template(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (template, data) = text.split_once('\0').unwrap_or((&text, ""));
    let data = serde_json::from_str(data).unwrap_or_else(|_| container());
    let _ = rmac::out::template::render(template, &data);
    let _ = rmac::out::format::Format::parse(template);
}

/// Nothing that a stranger wrote may reach a terminal as it is.
fn assert_printable(error: &anyhow::Error) {
    let text = format!("{error:#}");
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

fn container() -> Value {
    json!({"ID": "0123456789ab", "Names": ["web", "old"], "State": {"Running": true, "Pid": 17, "ExitCode": 0},
        "Mounts": [], "Ports": null, "Labels": {"a": "b", "c": ""}, "Size": 1.5})
}

/// Every step with all that is said of it, as `--explain` and `--dry-run` do.
fn tell(plan: &Plan) {
    for step in plan.steps() {
        let _ = step.to_string();
        let _ = step.why();
        let _ = step.shell();
    }
}

/// The plan of a container of this image, run without flags.
fn plan_of(image: &ImageConfiguration, layout: &Layout) -> anyhow::Result<Plan> {
    let directory = Path::new("/containers/id");
    let place = rmac::spec::Place {
        id: "0123456789abcdef",
        directory,
        host_name: "host",
        ids: None,
        shared: None,
        ipc: None,
        pids: None,
    };
    let config = image.config().clone().unwrap_or_default();
    rmac::kernel::user::lookup(config.user().as_deref().unwrap_or_default(), "", "")?;
    let spec = rmac::spec::spec(&config, &Request::default(), &place)?;
    let client = Client {
        name: "name".to_owned(),
        hostname: "host".to_owned(),
        resolv_conf: None,
    };
    rmac::plan::plan(&Inputs {
        spec: &spec,
        layout,
        layers: &[],
        marks: rmac::kernel::rootfs::Marks::Trusted,
        directory,
        attach_at: Path::new("/run/id"),
        endpoints: &[],
        client: &client,
        allowed: &[],
        hosts: "",
        resolv_conf: "",
        first: First::Program,
    })
}

fn layouts() -> [Layout; 2] {
    let controllers = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb", "rdma"];
    let mounts: String = [
        "cpu", "cpuset", "memory", "pids", "devices", "freezer", "blkio",
    ]
    .iter()
    .map(|name| format!("30 23 0:26 / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n"))
    .collect();
    [
        Layout::V2(v2::Tree {
            mount: PathBuf::from("/sys/fs/cgroup"),
            controllers: controllers.map(str::to_owned).to_vec(),
        }),
        Layout::V1(v1::Trees::read(&mounts)),
    ]
}

/// Makes the checksum of every header right. Where headers are, the sizes in them say. tar(5)
fn repair_checksums(archive: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = archive.get_mut(at..at + 512) {
        at += 512;
        if header.iter().all(|b| *b == 0) {
            continue;
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let digits = header[124..136].iter().filter(|b| b.is_ascii_digit());
        let size = digits.fold(0usize, |n, b| n.saturating_mul(8) + usize::from(b - b'0'));
        at = at.saturating_add(size.min(1 << 30).next_multiple_of(512));
    }
}

/// A directory with a place to unpack in and neighbours that must stay as they are; deleted in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rmac-check-{}-{number}", std::process::id());
        let scratch = Scratch(std::env::temp_dir().join(name));
        for name in ["in", "out/d"] {
            std::fs::create_dir_all(scratch.0.join(name)).expect("make a directory");
        }
        std::fs::write(scratch.0.join("out/victim"), "untouched").expect("write a file");
        std::os::unix::fs::symlink("out", scratch.0.join("link")).expect("make a link");
        scratch
    }

    /// Unpacks layers on top of each other; which ones succeeded.
    fn unpack(&self, layers: &[&[u8]], layout: layer::Layout) -> Vec<bool> {
        let limits = Limits {
            unpacked_bytes: Some(1 << 20),
        };
        let mut lowers: Vec<PathBuf> = Vec::new();
        let mut outcomes = Vec::new();
        for (number, bytes) in layers.iter().enumerate() {
            let directory = match layout {
                layer::Layout::Merged => self.0.join("in/tree"),
                layer::Layout::Overlay => self.0.join("in").join(number.to_string()),
            };
            std::fs::create_dir_all(&directory).expect("make a directory");
            let unpacked = layer::unpack(*bytes, &directory, layout, limits, None);
            let settled = unpacked.and_then(|unpacked| match layout {
                layer::Layout::Merged => unpacked.settle(&[]),
                layer::Layout::Overlay => unpacked.settle(&lowers),
            });
            if let Err(error) = &settled {
                assert_printable(error);
            }
            outcomes.push(settled.is_ok());
            lowers.insert(0, directory);
        }
        outcomes
    }

    /// All that must not change: everything but what lies in `in`.
    fn outside(&self) -> String {
        listing(&self.0, Path::new("in"))
    }

    fn inside(&self) -> String {
        listing(&self.0.join("in"), Path::new(""))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let deleted = rootfs_fetch::root::remove_tree(&self.0);
        assert!(deleted.is_ok() || std::thread::panicking(), "{deleted:?}");
    }
}

/// Everything below `top` with type, mode, owner, size, time and content, but for what lies in `top/except`.
fn listing(top: &Path, except: &Path) -> String {
    let mut out = String::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let full = top.join(&path);
        let Ok(meta) = std::fs::symlink_metadata(&full) else {
            // A path longer than one system call takes; its parent is listed.
            continue;
        };
        // A directory's size says how it came to be, not what it is.
        let size = if meta.is_dir() { 0 } else { meta.size() };
        let (mode, user, group) = (meta.mode(), meta.uid(), meta.gid());
        let (time, fraction, device) = (meta.mtime(), meta.mtime_nsec(), meta.rdev());
        let _ = write!(out, "{path:?} {mode:o} {user} {group} {size} {device}");
        let excepted = !except.as_os_str().is_empty() && path == except;
        // A directory that an archive only implies, or a whiteout, is as old as the unpacking.
        let may_be_new = meta.is_dir() || meta.file_type().is_char_device();
        let implied = except.as_os_str().is_empty() && may_be_new && is_recent(&meta);
        if !excepted && !implied {
            let _ = write!(out, " {time}.{fraction}");
        }
        if meta.is_file() && size < 1 << 16 {
            let _ = write!(
                out,
                " {}",
                Digest::of(&std::fs::read(&full).unwrap_or_default())
            );
        }
        if meta.is_symlink() {
            let _ = write!(out, " {:?}", std::fs::read_link(&full).unwrap_or_default());
        }
        out.push('\n');
        if meta.is_dir() && !excepted {
            let mut names: Vec<PathBuf> = std::fs::read_dir(&full)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| path.join(entry.file_name()))
                .collect();
            names.sort();
            todo.extend(names);
        }
    }
    out
}

fn is_recent(meta: &std::fs::Metadata) -> bool {
    let age = meta.modified().map(|time| time.elapsed());
    matches!(age, Ok(Ok(age)) if age.as_secs() < 3600)
}
