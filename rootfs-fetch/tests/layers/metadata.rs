//! What a file is besides its content: kind, owner, mode, times, attributes.

use super::*;

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
