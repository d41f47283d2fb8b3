//! The store: loading, importing, naming, removing, and what is left after a kill or damage.

#[path = "../common/mod.rs"]
mod common;
mod removal;

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use common::{INDEX, MANIFEST, Tar, Temp, TestImage, gzip, image, need_root, simple_image};
use rootfs_fetch::{
    Digest, ImageSource, ImportOptions, Limits, Progress, PullOptions, Store, User, unpack_merged,
};

fn nobody(_: &Digest) -> Option<User> {
    None
}

fn store(temp: &Temp) -> Store {
    need_root();
    Store::open(&temp.path("images")).unwrap()
}

/// `docker save`'s old form: configuration, layers and a list of them.
fn docker_archive(image: &TestImage, tags: &[&str]) -> Vec<u8> {
    let (config, layers) = image.blobs.split_last().unwrap();
    let names: Vec<String> = (0..layers.len())
        .map(|n| format!("l{n}/layer.tar"))
        .collect();
    let manifest = serde_json::json!([{"Config": "c.json", "RepoTags": tags, "Layers": names}]);
    let mut tar = Tar::new()
        .raw(b'0', b"c.json", b"", 0o644, &config.1)
        .file("manifest.json", &manifest.to_string());
    for (name, (_, bytes)) in names.iter().zip(layers) {
        tar = tar.raw(b'0', name.as_bytes(), b"", 0o644, bytes);
    }
    tar.end()
}

fn index_json(image: &TestImage, name: &str) -> String {
    serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": MANIFEST, "size": image.manifest.len(),
        "digest": Digest::of(&image.manifest).to_string(), "annotations": {"io.containerd.image.name": name}}]})
    .to_string()
}

fn oci_archive(image: &TestImage, name: &str) -> Vec<u8> {
    let mut tar = Tar::new()
        .file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
        .file("index.json", &index_json(image, name));
    let mut all = image.blobs.clone();
    all.push((Digest::of(&image.manifest), image.manifest.clone()));
    for (digest, bytes) in &all {
        tar = tar.raw(
            b'0',
            format!("blobs/sha256/{}", digest.hex()).as_bytes(),
            b"",
            0o644,
            bytes,
        );
    }
    tar.end()
}

fn oci_directory(dir: &Path, image: &TestImage, name: &str) {
    let blobs = dir.join("blobs/sha256");
    fs_err::create_dir_all(&blobs).unwrap();
    fs_err::write(dir.join("index.json"), index_json(image, name)).unwrap();
    fs_err::write(
        blobs.join(Digest::of(&image.manifest).hex()),
        &image.manifest,
    )
    .unwrap();
    for (digest, bytes) in &image.blobs {
        fs_err::write(blobs.join(digest.hex()), bytes).unwrap();
    }
}

#[test]
fn every_form_of_archive_loads() {
    let image = simple_image();
    let quiet = Progress::quiet();
    let forms = [
        ("docker", docker_archive(&image, &["a:1"])),
        ("docker.gz", gzip(&docker_archive(&image, &["a:1"]))),
        ("oci", oci_archive(&image, "docker.io/library/a:1")),
        ("oci.gz", gzip(&oci_archive(&image, "a:1"))),
    ];
    for (form, bytes) in forms {
        let temp = Temp::new();
        let path = temp.path("archive");
        fs_err::write(&path, &bytes).unwrap();
        let names = store(&temp)
            .load(&path, Limits::DEFAULT, &quiet)
            .unwrap_or_else(|e| panic!("{form}: {e:#}"));
        assert_eq!(names, ["a:1"], "{form}");
        let found = store(&temp).get("a:1").unwrap();
        assert_eq!(
            fs_err::read_to_string(found.layers[1].join("etc/new")).unwrap(),
            "upper"
        );
        let again = store(&temp)
            .load_reader(bytes.as_slice(), Limits::DEFAULT, &quiet)
            .unwrap();
        assert_eq!(again, ["a:1"]);
        assert_eq!(store(&temp).list().unwrap().len(), 1);
    }
    let temp = Temp::new();
    oci_directory(&temp.dir("layout"), &image, "q.io/x:2");
    assert_eq!(
        store(&temp)
            .load(&temp.path("layout"), Limits::DEFAULT, &quiet)
            .unwrap(),
        ["q.io/x:2"]
    );
    let nameless = docker_archive(&image, &[]);
    let id = image.config.clone().unwrap().to_string();
    assert_eq!(
        store(&temp)
            .load_reader(nameless.as_slice(), Limits::DEFAULT, &quiet)
            .unwrap(),
        [id]
    );
}

#[test]
fn hostile_archives_are_refused() {
    let temp = Temp::new();
    let good = simple_image();
    let mut flipped = good.clone();
    let middle = flipped.blobs[0].1.len() / 2;
    flipped.blobs[0].1[middle] ^= 1;
    let outside = Tar::new()
        .file("manifest.json", r#"[{"Config":"c","Layers":[]}]"#)
        .symlink("c", "/etc/hostname")
        .end();
    let layers = Tar::new()
        .file(
            "manifest.json",
            r#"[{"Config":"../../../etc/hostname","Layers":[]}]"#,
        )
        .end();
    let deep = Tar::new().file("index.json", &"[".repeat(100_000)).end();
    for (name, bytes) in [
        ("flipped", docker_archive(&flipped, &["a"])),
        ("oci flipped", oci_archive(&flipped, "a")),
        ("link", outside),
        ("dots", layers),
        ("deep", deep),
        ("empty", Tar::new().end()),
        ("noise", vec![3; 5000]),
    ] {
        assert!(
            store(&temp)
                .load_reader(bytes.as_slice(), Limits::DEFAULT, &Progress::quiet())
                .is_err(),
            "{name}"
        );
        assert!(store(&temp).list().unwrap().is_empty(), "{name}");
    }
    let layout = temp.dir("layout");
    oci_directory(&layout, &good, "a");
    let blob = layout.join("blobs/sha256").join(good.blobs[0].0.hex());
    fs_err::remove_file(&blob).unwrap();
    nix::unistd::mkfifo(&blob, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    let error = store(&temp)
        .load(&layout, Limits::DEFAULT, &Progress::quiet())
        .unwrap_err();
    assert!(
        format!("{error:#}").contains("no regular file"),
        "a FIFO does not block: {error:#}"
    );
}

#[test]
fn a_bare_tree_is_imported() {
    let temp = Temp::new();
    let options = ImportOptions {
        name: Some("mine:1".parse().unwrap()),
        ..ImportOptions::default()
    };
    let tar = Tar::new().dir("etc", 0o755).file("etc/x", "y").end();
    let id = store(&temp)
        .import(gzip(&tar).as_slice(), &options, &Progress::quiet())
        .unwrap();
    let image = store(&temp).get("mine:1").unwrap();
    assert_eq!(image.id, id);
    assert_eq!(
        image.config.rootfs().diff_ids()[0],
        Digest::of(&tar).to_string()
    );
    assert_eq!(
        fs_err::read_to_string(image.layers[0].join("etc/x")).unwrap(),
        "y"
    );
}

#[test]
fn a_damaged_index_says_what_to_do() {
    let temp = Temp::new();
    let store = store(&temp);
    for (text, part) in [
        ("", "damaged"),
        ("{\"version\":1,\"ima", "damaged"),
        (r#"{"version":2,"images":[]}"#, "newer program"),
    ] {
        fs_err::write(temp.path("images/images.json"), text).unwrap();
        let error = format!("{:#}", store.find("a").unwrap_err());
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_merged_tree_is_what_an_overlay_mount_shows() {
    let temp = Temp::new();
    let lower = Tar::new()
        .dir("a", 0o755)
        .file("a/low", "1")
        .file("a/gone", "1")
        .dir("o", 0o700)
        .file("o/low", "1")
        .file("f", "1")
        .dir("d", 0o755)
        .file("d/x", "1")
        .file("h", "hard")
        .end();
    let middle = Tar::new()
        .file("a/.wh.gone", "")
        .file("a/mid", "2")
        .file("o/.wh..wh..opq", "")
        .file("o/mid", "2")
        .file(".wh.d", "")
        .link("l", "h")
        .end();
    let upper = Tar::new()
        .file("a/low", "3")
        .dir("d", 0o711)
        .file("d/y", "3")
        .file(".wh.f", "")
        .dir("f", 0o755)
        .file("f/g", "3")
        .end();
    let layers: Vec<_> = [lower, middle, upper]
        .into_iter()
        .map(|l| (l.clone(), gzip(&l)))
        .collect();
    let archive = docker_archive(&image(&layers, "amd64"), &["a"]);
    fs_err::write(temp.path("archive"), &archive).unwrap();
    let progress = Progress::quiet();
    let source: ImageSource = format!("docker-archive:{}", temp.path("archive").display())
        .parse()
        .unwrap();
    unpack_merged(&source, &temp.path("merged"), &PullOptions::new(&progress)).unwrap();
    let store = store(&temp);
    store
        .load(&temp.path("archive"), Limits::DEFAULT, &progress)
        .unwrap();
    let image = store.get("a").unwrap();
    let lowers: Vec<String> = image
        .layers
        .iter()
        .rev()
        .map(|l| l.display().to_string())
        .collect();
    let mount = temp.dir("mount");
    let mounted = nix::mount::mount(
        Some("overlay"),
        &mount,
        Some("overlay"),
        nix::mount::MsFlags::MS_RDONLY,
        Some(format!("lowerdir={}", lowers.join(":")).as_str()),
    );
    mounted.expect("this test mounts an overlay");
    let shown = |dir: &Path| {
        let list = common::listing(dir).replace(&dir.display().to_string(), "");
        // Sizes of directories and times that no layer sets are the file system's business.
        let line = |l: &str| l.split(' ').take(3).collect::<Vec<_>>().join(" ");
        list.lines().map(line).collect::<Vec<_>>().join("\n")
    };
    let (a, b) = (shown(&mount), shown(&temp.path("merged")));
    nix::mount::umount(&mount).unwrap();
    assert_eq!(a, b);
    assert!(!temp.path("merged/d/x").exists() && temp.path("merged/f/g").exists());
    assert!(
        !fs_err::symlink_metadata(temp.path("merged/f"))
            .unwrap()
            .file_type()
            .is_char_device()
    );
}
