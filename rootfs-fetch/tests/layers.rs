//! Hostile layers: whatever an archive says, nothing outside its directory is read, written, changed or linked.

mod common;

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::{Tar, Temp, listing, need_root};
use rootfs_fetch::Limits;
use rootfs_fetch::layer::{Layout, unpack};

type Outcome = anyhow::Result<Vec<String>>;

fn put(archive: &[u8], dir: &Path, layout: Layout, lowers: &[PathBuf]) -> Outcome {
    unpack(archive, dir, layout, Limits::DEFAULT, None)?.settle(lowers)
}

/// Unpacks layers on top of each other in `root/in`, with `root/out` beside it that must stay as it is.
fn merged(layers: &[Vec<u8>]) -> (Temp, Vec<Outcome>) {
    need_root();
    let temp = Temp::new();
    let (inside, outside) = (temp.dir("in"), temp.dir("out"));
    fs_err::write(outside.join("victim"), "untouched").unwrap();
    fs_err::create_dir(outside.join("d")).unwrap();
    let before = listing(&outside);
    let top_before = fs_err::read_dir(&temp.0).unwrap().count();
    let outcomes = layers
        .iter()
        .map(|l| put(l, &inside, Layout::Merged, &[]))
        .collect();
    assert_eq!(listing(&outside), before, "something outside changed");
    assert_eq!(
        fs_err::read_dir(&temp.0).unwrap().count(),
        top_before,
        "something was made outside"
    );
    (temp, outcomes)
}

/// Unpacks layers in overlay form, each in its own directory; returns them lowest first.
fn overlay(layers: &[Vec<u8>]) -> (Temp, Vec<PathBuf>, Vec<Outcome>) {
    need_root();
    let temp = Temp::new();
    let mut dirs: Vec<PathBuf> = Vec::new();
    let mut outcomes = Vec::new();
    for (n, layer) in layers.iter().enumerate() {
        let dir = temp.dir(&n.to_string());
        let lowers: Vec<PathBuf> = dirs.iter().rev().cloned().collect();
        outcomes.push(put(layer, &dir, Layout::Overlay, &lowers));
        dirs.push(dir);
    }
    (temp, dirs, outcomes)
}

fn succeeded(outcome: &Outcome) {
    outcome.as_ref().unwrap();
}

fn read(path: impl AsRef<Path>) -> String {
    fs_err::read_to_string(path.as_ref()).unwrap()
}

fn is_whiteout(path: &Path) -> bool {
    fs_err::symlink_metadata(path).is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == 0)
}

fn is_opaque(path: &Path) -> bool {
    xattr::get(path, "trusted.overlay.opaque")
        .unwrap()
        .as_deref()
        == Some(b"y")
}

#[test]
fn paths_are_clamped_into_the_root() {
    let long = format!("../../{}x", "../".repeat(50));
    let layer = Tar::new()
        .file("../out/victim", "bad")
        .file("/out/victim2", "bad")
        .file("a/../../out/v3", "bad")
        .dir("..", 0o777)
        .pax(&[("path", b"../../out/victim")])
        .file("x", "pax")
        .pax(&[("path", long.as_bytes())])
        .file("x", "pax")
        .raw(b'L', b"././@LongLink", b"", 0o644, b"../out/gnu\0")
        .file("x", "gnu")
        .end();
    let (temp, outcomes) = merged(&[layer]);
    outcomes[0].as_ref().unwrap();
    assert_eq!(read(temp.path("in/out/victim")), "pax");
    assert_eq!(read(temp.path("in/out/gnu")), "gnu");
}

#[test]
fn the_root_stays_a_directory() {
    let layer = Tar::new()
        .symlink(".", "/etc")
        .file("./", "x")
        .symlink("/", "out")
        .dir("./", 0o711)
        .file("a", "b")
        .end();
    let (temp, outcomes) = merged(&[layer]);
    assert!(!outcomes[0].as_ref().unwrap().is_empty(), "told");
    assert_eq!(
        fs_err::metadata(temp.path("in")).unwrap().mode() & 0o7777,
        0o711
    );
}

#[test]
fn impossible_paths_are_refused() {
    for (name, path) in [
        ("long part", vec![b'x'; 300]),
        ("long path", "a/".repeat(3000).into_bytes()),
        ("nul", b"a\0b".to_vec()),
    ] {
        let (_temp, outcomes) = merged(&[Tar::new().pax(&[("path", &path)]).file("x", "y").end()]);
        let error = outcomes[0].as_ref().expect_err(name);
        assert!(format!("{error:#}").contains("path"), "{error:#}");
    }
}

#[test]
fn odd_names_are_kept_as_they_are() {
    let (temp, outcomes) = merged(&[Tar::new()
        .raw(b'0', b"-rf\n\x1b[31m\xff", b"", 0o644, b"x")
        .end()]);
    outcomes[0].as_ref().unwrap();
    let name = fs_err::read_dir(temp.path("in"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name();
    assert_eq!(
        std::os::unix::ffi::OsStrExt::as_bytes(name.as_os_str()),
        b"-rf\n\x1b[31m\xff"
    );
}

#[test]
fn nothing_goes_through_a_symlink_out() {
    for target in [
        "../out",
        "/out",
        "/../../out",
        "../../../../../../../../tmp",
    ] {
        let first = Tar::new()
            .symlink("l", target)
            .symlink("f", &format!("{target}/victim"))
            .end();
        let second = Tar::new()
            .file("l/victim", "bad")
            .dir("l/d", 0o777)
            .file("f", "new")
            .owned("l/x", 0o4777, (1, 1))
            .file("l/.wh.victim", "")
            .file("l/.wh..wh..opq", "")
            .symlink("l/s", "x")
            .link("l/h", "f")
            .device(b'6', "l/p", (0, 0))
            .end();
        let (temp, outcomes) = merged(&[first, second]);
        outcomes.iter().for_each(succeeded);
        assert_eq!(read(temp.path("in/f")), "new", "{target}");
        assert!(
            fs_err::symlink_metadata(temp.path("in/f"))
                .unwrap()
                .is_file()
        );
    }
}

#[test]
fn a_lower_layers_links_are_followed_inside() {
    let first = Tar::new()
        .dir("run", 0o755)
        .dir("var", 0o755)
        .symlink("var/run", "/run")
        .end();
    let (temp, outcomes) = merged(&[first, Tar::new().file("var/run/pid", "1").end()]);
    outcomes[1].as_ref().unwrap();
    assert_eq!(read(temp.path("in/run/pid")), "1");
    let dangling = Tar::new().symlink("a", "later/on").file("a/b", "c").end();
    let (temp, outcomes) = merged(&[dangling]);
    outcomes[0].as_ref().unwrap();
    assert_eq!(read(temp.path("in/later/on/b")), "c");
    let (_temp, outcomes) = merged(&[Tar::new()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/x", "y")
        .end()]);
    outcomes[0].as_ref().unwrap();
}

#[test]
fn hard_links_stay_inside() {
    for target in ["../out/victim", "/out/victim", "l/victim"] {
        let (_temp, outcomes) =
            merged(&[Tar::new().symlink("l", "../out").link("h", target).end()]);
        assert!(outcomes[0].is_err(), "{target}");
    }
    let (_temp, outcomes) = merged(&[Tar::new().dir("d", 0o755).link("h", "d").end()]);
    assert!(format!("{:#}", outcomes[0].as_ref().unwrap_err()).contains("directory"));
    let (_temp, outcomes) = merged(&[Tar::new().link("h", "/").end()]);
    assert!(outcomes[0].is_err());
    let layer = Tar::new()
        .file("a", "x")
        .link("a", "a")
        .link("b", "a")
        .link("a", "b")
        .symlink("s", "/nowhere")
        .link("t", "s")
        .end();
    let (temp, outcomes) = merged(&[layer]);
    outcomes[0].as_ref().unwrap();
    assert_eq!(fs_err::metadata(temp.path("in/a")).unwrap().nlink(), 2);
    assert!(
        fs_err::symlink_metadata(temp.path("in/t"))
            .unwrap()
            .is_symlink(),
        "the link itself is linked"
    );
}

#[test]
fn overlay_hard_links_reach_lower_layers() {
    let lower = Tar::new()
        .dir("d", 0o700)
        .raw(b'0', b"d/f", b"", 0o4755, b"data")
        .symlink("d/s", "f")
        .end();
    let upper = Tar::new()
        .link("x/h", "d/f")
        .link("h2", "x/h")
        .link("hs", "d/s")
        .end();
    let (_temp, dirs, outcomes) = overlay(&[lower.clone(), upper]);
    outcomes.iter().for_each(succeeded);
    let (copy, link) = (
        fs_err::metadata(dirs[1].join("d/f")).unwrap(),
        fs_err::metadata(dirs[1].join("h2")).unwrap(),
    );
    assert_eq!(
        (copy.ino(), copy.mode() & 0o7777, copy.nlink()),
        (link.ino(), 0o4755, 3)
    );
    assert_eq!(
        fs_err::metadata(dirs[1].join("d")).unwrap().mode() & 0o7777,
        0o700,
        "implied directory as below"
    );
    assert!(
        fs_err::symlink_metadata(dirs[1].join("hs"))
            .unwrap()
            .is_symlink()
    );
    for upper in [
        Tar::new().link("h", "nothing").end(),
        Tar::new().file("d/.wh.f", "").link("h", "d/f").end(),
        Tar::new().file("d/.wh..wh..opq", "").link("h", "d/f").end(),
        Tar::new().link("h", "d").end(),
    ] {
        let (_temp, _, outcomes) = overlay(&[lower.clone(), upper]);
        assert!(outcomes[1].is_err());
    }
}

#[test]
fn implied_directories_look_as_below() {
    let lower = Tar::new()
        .dir("./", 0o711)
        .dir("a", 0o1777)
        .pax(&[("SCHILY.xattr.user.k", b"v")])
        .dir("a/b", 0o750)
        .end();
    let (_temp, dirs, outcomes) = overlay(&[
        lower,
        Tar::new().file("z", "").end(),
        Tar::new().file("a/b/c/d", "x").end(),
    ]);
    outcomes.iter().for_each(succeeded);
    let mode = |p: &str| fs_err::metadata(dirs[2].join(p)).unwrap().mode() & 0o7777;
    assert_eq!(
        (mode(""), mode("a"), mode("a/b"), mode("a/b/c")),
        (0o711, 0o1777, 0o750, 0o755)
    );
    assert_eq!(
        xattr::get(dirs[2].join("a/b"), "user.k").unwrap().unwrap(),
        b"v"
    );
    assert_eq!(
        fs_err::metadata(dirs[2].join("a")).unwrap().mtime(),
        1_600_000_000
    );
}

#[test]
fn merged_whiteouts_hide_lower_layers_only() {
    let lower = Tar::new()
        .file("d/a", "low")
        .file("d/b", "low")
        .file("e/x", "low")
        .file("f", "low")
        .file("g/low", "")
        .end();
    let upper = Tar::new()
        .file("d/new", "up")
        .file("d/.wh..wh..opq", "")
        .file("d/late", "up")
        .file("e/.wh.x", "")
        .file("f", "up")
        .file(".wh.f", "")
        .file("g/up", "")
        .file(".wh.g", "")
        .file(".wh.absent", "")
        .end();
    let (temp, outcomes) = merged(&[lower, upper]);
    outcomes[1].as_ref().unwrap();
    let has = |p: &str| temp.path("in").join(p).exists();
    assert!(has("d/new") && has("d/late") && !has("d/a") && !has("d/b"));
    assert!(has("e") && !has("e/x") && has("g/up") && !has("g/low"));
    assert_eq!(read(temp.path("in/f")), "up");
}

#[test]
fn overlay_whiteouts_have_the_kernels_form() {
    let layer = Tar::new()
        .file("d/.wh.x", "")
        .file("d/.wh.idle", "")
        .file("o/.wh..wh..opq", "")
        .file("o/y", "")
        .file(".wh.r", "")
        .dir("r", 0o755)
        .dir("s", 0o755)
        .file(".wh.s", "")
        .file("t", "")
        .file(".wh.t", "")
        .file("u", "")
        .dir("u", 0o755)
        .file(".wh.v", "")
        .file("v/w", "")
        .end();
    let lower = Tar::new().file("d/x", "").end();
    let (_temp, dirs, outcomes) = overlay(&[lower, layer]);
    outcomes[1].as_ref().unwrap();
    let at = |p: &str| dirs[1].join(p);
    assert!(
        !at("d/idle").exists() && fs_err::symlink_metadata(at("d/idle")).is_err(),
        "hides nothing"
    );
    assert!(is_whiteout(&at("d/x")) && !is_opaque(&at("d")));
    for opaque in ["o", "r", "s", "u", "v"] {
        assert!(is_opaque(&at(opaque)), "{opaque}");
    }
    assert!(at("t").is_file() && at("v/w").is_file());
}

#[test]
fn whiteouts_with_tricky_names_harm_nothing() {
    for name in [
        ".wh.",
        ".wh..",
        ".wh...",
        "d/.wh.",
        "d/.wh..",
        "d/.wh...",
        ".wh..wh.plnk",
        ".wh..wh.aufs/x",
        ".wh.d/x",
    ] {
        let upper = Tar::new()
            .file(name, "")
            .dir(&format!("{name}/"), 0o755)
            .symlink(name, "/out")
            .end();
        let lower = Tar::new().file("d/a", "x").end();
        let (temp, outcomes) = merged(&[lower.clone(), upper.clone()]);
        assert!(outcomes[1].is_ok(), "{name}");
        assert_eq!(read(temp.path("in/d/a")), "x", "{name}");
        let (_temp, dirs, outcomes) = overlay(&[lower, upper]);
        assert!(outcomes[1].is_ok(), "{name}");
        assert!(
            !is_whiteout(&dirs[1].join("d")) && !is_opaque(&dirs[1]),
            "{name}"
        );
    }
}

#[test]
fn overlays_own_marks_cannot_be_forged() {
    let layer = Tar::new()
        .device(b'3', "gone", (0, 0))
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.security.selinux", b"x"),
            ("SCHILY.xattr.user.mine", b"1"),
        ])
        .dir("d", 0o755)
        .end();
    let (_temp, dirs, outcomes) = overlay(&[layer]);
    assert!(outcomes[0].as_ref().unwrap()[0].contains("0:0"));
    assert!(!dirs[0].join("gone").exists());
    let left: Vec<_> = xattr::list(dirs[0].join("d")).unwrap().collect();
    assert_eq!(left, ["user.mine"]);
}

#[test]
fn special_files_are_made_and_never_opened() {
    let layer = Tar::new()
        .device(b'3', "null", (1, 3))
        .device(b'4', "disk", (8, 0))
        .device(b'6', "pipe", (0, 0))
        .file("pipe", "now a file")
        .device(b'6', "fifo", (0, 0))
        .raw(b'Z', b"odd", b"", 0o644, b"data")
        .end();
    let (temp, outcomes) = merged(&[layer]);
    assert!(outcomes[0].as_ref().unwrap()[0].contains("unknown type"));
    let meta = |p: &str| fs_err::symlink_metadata(temp.path("in").join(p)).unwrap();
    assert!(
        meta("null").file_type().is_char_device()
            && meta("null").rdev() == nix::sys::stat::makedev(1, 3)
    );
    assert_eq!(meta("null").mode() & 0o7777, 0o666);
    assert!(meta("disk").file_type().is_block_device() && meta("fifo").file_type().is_fifo());
    assert_eq!(read(temp.path("in/pipe")), "now a file");
}

#[test]
fn metadata_is_kept_in_full() {
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let layer = Tar::new()
        .owned("suid", 0o6755, (1000, 1000))
        .owned("none", 0, (0, 0))
        .pax(&[
            ("SCHILY.xattr.security.capability", &capability),
            ("mtime", b"1500000000.123456789"),
            ("uid", b"70000"),
            ("gid", b"70001"),
        ])
        .file("cap", "x")
        .dir("sg", 0o2775)
        .file("sg/in", "x")
        .pax(&[("mtime", b"-5.5")])
        .file("old", "x")
        .end();
    let (temp, outcomes) = merged(&[layer, Tar::new().file("sg/in2", "y").end()]);
    outcomes.iter().for_each(succeeded);
    let meta = |p: &str| fs_err::symlink_metadata(temp.path("in").join(p)).unwrap();
    assert_eq!(
        (meta("suid").mode() & 0o7777, meta("suid").uid()),
        (0o6755, 1000)
    );
    assert_eq!(meta("none").mode() & 0o7777, 0);
    assert_eq!(
        (
            meta("cap").uid(),
            meta("cap").gid(),
            meta("cap").mtime(),
            meta("cap").mtime_nsec()
        ),
        (70000, 70001, 1_500_000_000, 123_456_789)
    );
    assert_eq!(
        xattr::get(temp.path("in/cap"), "security.capability")
            .unwrap()
            .unwrap(),
        capability
    );
    assert_eq!(meta("sg").mode() & 0o7777, 0o2775);
    assert_eq!(meta("old").mtime(), -6);
    assert_eq!(meta("sg").permissions().mode() & 0o2000, 0o2000);
}

#[test]
fn absurd_metadata_is_refused_or_clamped() {
    for (key, value) in [
        ("uid", "4294967295"),
        ("uid", "99999999999"),
        ("gid", "-1"),
        ("mtime", "never"),
        ("size", "x"),
        ("size", "-1"),
    ] {
        let (_temp, outcomes) = merged(&[Tar::new()
            .pax(&[(key, value.as_bytes())])
            .file("f", "x")
            .end()]);
        assert!(outcomes[0].is_err(), "{key}={value}");
    }
    let (_temp, outcomes) = merged(&[Tar::new()
        .pax(&[("mtime", b"9999999999999")])
        .file("f", "x")
        .end()]);
    outcomes[0].as_ref().unwrap();
}

#[test]
fn the_last_of_equal_names_wins() {
    let layer = Tar::new()
        .file("a", "1")
        .file("a", "2")
        .dir("b", 0o755)
        .file("b/c", "x")
        .file("b", "file")
        .file("c", "x")
        .dir("c", 0o755)
        .file("c/d", "y")
        .symlink("e", "/out")
        .dir("e", 0o755)
        .file("e/f", "z")
        .dir("g", 0o700)
        .dir("g", 0o711)
        .end();
    let (temp, outcomes) = merged(&[layer]);
    outcomes[0].as_ref().unwrap();
    assert_eq!(read(temp.path("in/a")), "2");
    assert_eq!(read(temp.path("in/b")), "file");
    assert_eq!(read(temp.path("in/c/d")), "y");
    assert_eq!(read(temp.path("in/e/f")), "z");
    assert!(
        fs_err::symlink_metadata(temp.path("in/e"))
            .unwrap()
            .is_dir()
    );
    assert_eq!(
        fs_err::metadata(temp.path("in/g")).unwrap().mode() & 0o777,
        0o711
    );
}

#[test]
fn damaged_archives_are_refused() {
    let good = Tar::new().file("a", "hello").end();
    let mut checksum = good.clone();
    checksum[0] ^= 1;
    let mut cut = Tar::new().raw(b'0', b"a", b"", 0o644, &[7; 5000]).0;
    cut.truncate(2000);
    let mut size = Tar::new().file("a", "x").0;
    size[124..135].copy_from_slice(b"7777777777\0");
    let mut header: [u8; 512] = size[..512].try_into().unwrap();
    common::checksum(&mut header);
    size[..512].copy_from_slice(&header);
    for (name, bytes) in [
        ("checksum", checksum),
        ("cut", cut),
        ("lying size", size),
        ("noise", vec![0xAA; 4096]),
        ("short", vec![1; 100]),
    ] {
        let (_temp, outcomes) = merged(&[bytes]);
        assert!(outcomes[0].is_err(), "{name}");
    }
    for missing_end in [Tar::new().file("a", "x").0, vec![], vec![0; 512]] {
        let (_temp, outcomes) = merged(&[missing_end]);
        outcomes[0].as_ref().unwrap();
    }
}

#[test]
fn what_follows_the_end_is_hashed_but_not_unpacked() {
    need_root();
    let temp = Temp::new();
    let mut bytes = Tar::new().file("a", "x").end();
    bytes.extend(Tar::new().file("b", "hidden").end());
    let unpacked = unpack(
        bytes.as_slice(),
        &temp.dir("in"),
        Layout::Merged,
        Limits::DEFAULT,
        None,
    )
    .unwrap();
    assert_eq!(unpacked.diff_id, rootfs_fetch::Digest::of(&bytes));
    assert!(temp.path("in/a").exists() && !temp.path("in/b").exists());
}

#[test]
fn the_pax_size_decides_and_hides_no_nested_archive() {
    // The header says 0 bytes, PAX says 512: what follows is data, not the next header.
    let nested = Tar::new().file("evil", "");
    let mut layer = Tar::new()
        .pax(&[("size", b"512")])
        .raw(b'0', b"data", b"", 0o644, b"");
    layer.0.extend_from_slice(&nested.0);
    let (temp, outcomes) = merged(&[layer.file("after", "x").end()]);
    outcomes[0].as_ref().unwrap();
    assert!(!temp.path("in/evil").exists() && temp.path("in/after").exists());
    assert_eq!(fs_err::metadata(temp.path("in/data")).unwrap().len(), 512);
}

#[test]
fn headers_of_many_mib_are_refused_in_little_memory() {
    let big = vec![b'x'; 9 << 20];
    for layer in [
        Tar::new().pax(&[("path", &big)]),
        Tar::new().raw(b'L', b"l", b"", 0o644, &big),
        Tar::new().raw(b'K', b"l", b"", 0o644, &big),
    ] {
        let (_temp, outcomes) = merged(&[layer.file("f", "x").end()]);
        assert!(format!("{:#}", outcomes[0].as_ref().unwrap_err()).contains("4 MiB"));
    }
    // As the data of a file, the same is nothing special.
    let (_temp, outcomes) = merged(&[Tar::new().raw(b'0', b"f", b"", 0o644, &big).end()]);
    outcomes[0].as_ref().unwrap();
}

#[test]
fn bombs_and_sparse_giants_do_not_fill_the_disk() {
    need_root();
    let temp = Temp::new();
    let limits = Limits {
        unpacked_bytes: Some(1 << 20),
    };
    let bytes = common::gzip(
        &Tar::new()
            .raw(b'0', b"f", b"", 0o644, &vec![0; 4 << 20])
            .end(),
    );
    let error = unpack(
        bytes.as_slice(),
        &temp.dir("a"),
        Layout::Merged,
        limits,
        None,
    )
    .err()
    .unwrap();
    assert!(format!("{error:#}").contains("bomb"), "{error:#}");
    let map = "1\n1099511627000\n4\n";
    let mut data = map.as_bytes().to_vec();
    data.resize(512, 0);
    data.extend_from_slice(b"tail");
    let sparse = |size: &str| {
        Tar::new()
            .pax(&[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"giant"),
                ("GNU.sparse.realsize", size.as_bytes()),
            ])
            .raw(b'0', b"GNUSparseFile.0/giant", b"", 0o644, &data)
            .end()
    };
    let error = unpack(
        sparse("1099511627776").as_slice(),
        &temp.dir("b"),
        Layout::Merged,
        Limits::DEFAULT,
        Some(600),
    )
    .err()
    .unwrap();
    assert!(format!("{error:#}").contains("bomb"), "{error:#}");
    let wide = Limits {
        unpacked_bytes: Some(1 << 41),
    };
    unpack(
        sparse("1099511627776").as_slice(),
        &temp.dir("c"),
        Layout::Merged,
        wide,
        None,
    )
    .unwrap()
    .settle(&[])
    .unwrap();
    let meta = fs_err::metadata(temp.path("c/giant")).unwrap();
    assert!(meta.len() == 1 << 40 && meta.blocks() < 100);
}

#[test]
fn deep_trees_and_many_files_are_fine() {
    let mut layer = Tar::new();
    for n in 0..5000 {
        layer = layer.file(&format!("d{}/f{n}", n % 50), "x");
    }
    let (temp, outcomes) = merged(&[layer
        .pax(&[("path", "a/".repeat(2000).as_bytes())])
        .file("x", "deep")
        .end()]);
    outcomes[0].as_ref().unwrap();
    assert_eq!(fs_err::read_dir(temp.path("in/d7")).unwrap().count(), 100);
}

#[test]
fn old_gnu_sparse_files_are_read() {
    // The header carries the map: one piece of 512 bytes at offset 4096, real size 8192.
    let mut header = [0u8; 512];
    header.copy_from_slice(&Tar::new().raw(b'S', b"s", b"", 0o644, b"").0[..512]);
    header[124..136].copy_from_slice(b"00000001000\0");
    header[257..265].copy_from_slice(b"ustar  \0");
    header[386..398].copy_from_slice(b"00000010000\0");
    header[398..410].copy_from_slice(b"00000001000\0");
    header[410..422].copy_from_slice(b"00000020000\0");
    header[422..434].copy_from_slice(b"00000000000\0");
    header[483..495].copy_from_slice(b"00000020000\0");
    common::checksum(&mut header);
    let mut layer = Tar(header.to_vec()).data(&[b'y'; 512]);
    layer = layer.file("after", "x");
    let (temp, outcomes) = merged(&[layer.end()]);
    outcomes[0].as_ref().unwrap();
    let bytes = fs_err::read(temp.path("in/s")).unwrap();
    assert_eq!(
        (bytes.len(), bytes[4095], bytes[4096], bytes[4608]),
        (8192, 0, b'y', 0)
    );
}
