//! Helpers: temporary directories that vanish, layers built by hand, images built from layers.
#![allow(dead_code)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rootfs_fetch::Digest;

pub mod server;
pub mod tls;
pub mod world;

/// A directory that is deleted at the end of the test, also when it fails.
pub struct Temp(pub PathBuf);

impl Temp {
    pub fn new() -> Temp {
        static N: AtomicU32 = AtomicU32::new(0);
        let n = N.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("rootfs-fetch-test-{}-{n}", std::process::id()));
        fs_err::create_dir(&dir).unwrap();
        Temp(dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn dir(&self, name: &str) -> PathBuf {
        let dir = self.path(name);
        fs_err::create_dir_all(&dir).unwrap();
        dir
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let removed = rootfs_fetch::root::remove_tree(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

/// These tests make devices, owners and trusted attributes.
pub fn need_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test must run as root"
    );
}

/// A tar archive written byte by byte, so that it can be as wrong as an attacker likes.
#[derive(Default, Clone)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    pub fn new() -> Tar {
        Tar::default()
    }

    /// A header with the path as it is (at most 100 bytes), then the data.
    pub fn raw(mut self, kind: u8, path: &[u8], link: &[u8], mode: u32, data: &[u8]) -> Tar {
        self.0.extend_from_slice(&header(
            kind,
            path,
            link,
            mode,
            data.len() as u64,
            (0, 0),
            (0, 0),
        ));
        self.data(data)
    }

    pub fn data(mut self, data: &[u8]) -> Tar {
        self.0.extend_from_slice(data);
        let padded = self.0.len().next_multiple_of(512);
        self.0.resize(padded, 0);
        self
    }

    pub fn file(self, path: &str, data: &str) -> Tar {
        self.raw(b'0', path.as_bytes(), b"", 0o644, data.as_bytes())
    }

    pub fn dir(self, path: &str, mode: u32) -> Tar {
        self.raw(b'5', path.as_bytes(), b"", mode, b"")
    }

    pub fn symlink(self, path: &str, to: &str) -> Tar {
        self.raw(b'2', path.as_bytes(), to.as_bytes(), 0o777, b"")
    }

    pub fn link(self, path: &str, to: &str) -> Tar {
        self.raw(b'1', path.as_bytes(), to.as_bytes(), 0o644, b"")
    }

    pub fn owned(mut self, path: &str, mode: u32, owner: (u32, u32)) -> Tar {
        self.0
            .extend_from_slice(&header(b'0', path.as_bytes(), b"", mode, 0, owner, (0, 0)));
        self
    }

    pub fn device(mut self, kind: u8, path: &str, device: (u32, u32)) -> Tar {
        self.0.extend_from_slice(&header(
            kind,
            path.as_bytes(),
            b"",
            0o666,
            0,
            (0, 0),
            device,
        ));
        self
    }

    /// PAX records for the entry that follows.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Tar {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.raw(b'x', b"pax", b"", 0o644, &data)
    }

    /// A header with these bytes at these places, as no tar program would write it, then the data.
    pub fn patched(
        mut self,
        kind: u8,
        path: &[u8],
        patches: &[(usize, &[u8])],
        data: &[u8],
    ) -> Tar {
        let mut header = header(kind, path, b"", 0o644, data.len() as u64, (0, 0), (0, 0));
        for (at, bytes) in patches {
            header[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        checksum(&mut header);
        self.0.extend_from_slice(&header);
        self.data(data)
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn header(
    kind: u8,
    path: &[u8],
    link: &[u8],
    mode: u32,
    size: u64,
    owner: (u32, u32),
    device: (u32, u32),
) -> [u8; 512] {
    let mut h = [0u8; 512];
    h[..path.len().min(100)].copy_from_slice(&path[..path.len().min(100)]);
    let mut put = |at: usize, text: String| h[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(100, format!("{mode:07o}"));
    put(108, format!("{:07o}", owner.0));
    put(116, format!("{:07o}", owner.1));
    put(124, format!("{size:011o}"));
    put(136, format!("{:011o}", 1_600_000_000));
    put(257, "ustar\x0000".to_owned());
    put(329, format!("{:07o}", device.0));
    put(337, format!("{:07o}", device.1));
    h[156] = kind;
    h[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
    checksum(&mut h);
    h
}

pub fn checksum(h: &mut [u8; 512]) {
    h[148..156].copy_from_slice(b"        ");
    let sum: u32 = h.iter().map(|b| u32::from(*b)).sum();
    h[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

/// An image: its blobs by digest, and the digest of its manifest.
#[derive(Clone, Default)]
pub struct TestImage {
    pub blobs: Vec<(Digest, Vec<u8>)>,
    pub manifest: Vec<u8>,
    pub config: Digest0,
}

/// A digest that may not be known yet.
pub type Digest0 = Option<Digest>;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Builds an image of these layers: (plain archive, blob as it is sent).
pub fn image(layers: &[(Vec<u8>, Vec<u8>)], architecture: &str) -> TestImage {
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|(plain, _)| Digest::of(plain).to_string())
        .collect();
    let config = serde_json::to_vec(&serde_json::json!({
        "architecture": architecture, "os": "linux", "created": "2024-01-02T03:04:05Z",
        "config": {"Cmd": ["/bin/sh"], "Env": ["A=b"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}}))
    .unwrap();
    let describe = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
    let list: Vec<_> = layers
        .iter()
        .map(|(_, blob)| describe("application/vnd.oci.image.layer.v1.tar+gzip", blob))
        .collect();
    let manifest = serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": describe("application/vnd.oci.image.config.v1+json", &config), "layers": list}))
    .unwrap();
    let mut blobs: Vec<_> = layers
        .iter()
        .map(|(_, blob)| (Digest::of(blob), blob.clone()))
        .collect();
    let id = Digest::of(&config);
    blobs.push((id.clone(), config));
    TestImage {
        blobs,
        manifest,
        config: Some(id),
    }
}

pub fn simple_image() -> TestImage {
    let lower = Tar::new()
        .dir("etc", 0o755)
        .file("etc/hostname", "lower")
        .file("etc/gone", "x")
        .end();
    let upper = Tar::new()
        .file("etc/.wh.gone", "")
        .file("etc/new", "upper")
        .link("etc/also", "etc/hostname")
        .end();
    image(
        &[(lower.clone(), gzip(&lower)), (upper.clone(), gzip(&upper))],
        "amd64",
    )
}

/// Every path below `dir` with what it is, for comparing.
pub fn listing(dir: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let mut out = String::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs_err::symlink_metadata(&path).unwrap();
        let _ = writeln!(
            out,
            "{} {:o} {} {} {}",
            path.display(),
            meta.mode(),
            meta.uid(),
            meta.mtime(),
            meta.len()
        );
        if meta.is_dir() {
            let mut inside: Vec<_> = fs_err::read_dir(&path)
                .unwrap()
                .map(|e| e.unwrap().path())
                .collect();
            inside.sort();
            todo.extend(inside.into_iter().rev());
        }
    }
    out
}
