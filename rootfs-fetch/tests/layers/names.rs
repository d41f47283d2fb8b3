//! Names: paths, links and directories stay inside of the root.

use super::*;

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
