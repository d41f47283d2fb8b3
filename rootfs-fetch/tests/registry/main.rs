//! Pulling from registries that are strict, slow, broken or hostile; each is a server in this process.

mod access;
#[path = "../common/mod.rs"]
mod common;
mod documents;
mod lines;
mod plain;

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::server::{Answer, Server};
use common::{INDEX, MANIFEST, Tar, Temp, TestImage, gzip, image, need_root, simple_image};
use rootfs_fetch::{
    Digest, Error, Image, Patience, Platform, Progress, PullOptions, PullPolicy, Store,
};

const QUICK: Patience = Patience {
    connect: Duration::from_secs(2),
    stall: Duration::from_millis(700),
    pause: Duration::from_millis(5),
    attempts: 3,
    total: Duration::from_secs(5),
};

/// `NO_PROXY` and empty configuration, so that the machine's settings do not matter.
fn isolate() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    need_root();
    ONCE.call_once(|| {
        let dir = std::env::temp_dir().join(format!("rootfs-fetch-none-{}", std::process::id()));
        #[allow(unsafe_code)]
        // SAFETY: called once, before any test of this program starts a thread that reads the environment.
        unsafe {
            std::env::set_var("NO_PROXY", "*");
            std::env::set_var("DOCKER_CONFIG", &dir);
            std::env::set_var("CONTAINERS_REGISTRIES_CONF", "/dev/null");
        }
    });
}

fn pull(store: &Path, name: &str) -> anyhow::Result<Image> {
    pull_with(store, name, |_| {})
}

fn pull_with(
    store: &Path,
    name: &str,
    change: impl FnOnce(&mut PullOptions),
) -> anyhow::Result<Image> {
    isolate();
    let progress = Progress::quiet();
    let mut options = PullOptions {
        patience: QUICK,
        platform: Some("linux/amd64".parse().unwrap()),
        ..PullOptions::new(&progress)
    };
    change(&mut options);
    Store::open(store)?.ensure(name, &options)
}

/// One failing pull: the text of the error, after checking that the store is as before and no time was lost.
fn refused(server: &Server, tag: &str) -> String {
    let temp = Temp::new();
    let start = Instant::now();
    let error = pull(
        &temp.path("images"),
        &format!("{}/app:{tag}", server.address),
    )
    .unwrap_err();
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "took {:?}",
        start.elapsed()
    );
    assert!(
        Store::open(&temp.path("images"))
            .unwrap()
            .list()
            .unwrap()
            .is_empty()
    );
    assert!(
        !temp.path("images/tmp").exists(),
        "nothing unpacked is left"
    );
    format!("{error:#}")
}

fn big_image() -> TestImage {
    let mut noise: u32 = 1;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    })
    .take(400_000)
    .collect();
    let layer = Tar::new().raw(b'0', b"big", b"", 0o644, &bytes).end();
    image(&[(layer.clone(), gzip(&layer))], "amd64")
}
