//! Whiteouts: what a layer deletes, and overlayfs's own marks.

use super::*;

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
