//! Headers: numbers, records and kinds of files that no honest archive has.

use super::*;

#[test]
fn special_files() {
    all("headers::special_files", || {
        let devices = Tar::new()
            .device(b'3', "mem", (1, 1))
            .device(b'4', "disk", (8, 0))
            .device(b'6', "p", (0, 0));
        let mut cases = vec![
            // What is made is not opened: a pipe would block, a device might do anything.
            one(
                "made again",
                devices
                    .file("mem", "x")
                    .file("disk", "x")
                    .file("p", "x")
                    .dir("p", 0o755),
                Accepted,
            ),
            one(
                "setuid",
                Tar::new().owned("s", 0o6755, (0, 0)).dir("t", 0o1777),
                Accepted,
            ),
            one(
                "huge device",
                Tar::new().patched(b'3', b"d", &[(329, b"7777777\0"), (337, b"7777777\0")], b""),
                Safe,
            ),
            one(
                "bad device",
                Tar::new().patched(b'3', b"d", &[(329, b"zzzzzzz\0")], b""),
                Refused(""),
            ),
        ];
        for kind in (0..=255u8).filter(|kind| !b"0123456789LKxgS".contains(kind)) {
            let tar = Tar::new()
                .raw(kind, b"../out/victim", b"/etc/shadow", 0o4777, b"bad")
                .file("after", "x");
            cases.push(one(&format!("type {kind:#x}"), tar, Safe));
        }
        cases
    });
}

#[test]
fn numbers() {
    all("headers::numbers", || {
        let sized = |bytes: &[u8]| Tar::new().patched(b'0', b"f", &[(124, bytes)], b"data");
        let mut cases = vec![
            one("negative", sized(&[0xff; 12]), Refused("")),
            one(
                "base-256, huge",
                sized(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
                Refused(""),
            ),
            one(
                "base-256, beyond 64 bits",
                sized(b"\x80\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
                Refused(""),
            ),
            one(
                "base-256, right",
                sized(b"\x80\0\0\0\0\0\0\0\0\0\0\x04"),
                Accepted,
            ),
            one("largest", sized(b"77777777777\0"), Refused("")),
            one("letters", sized(b"zzzzzzzzzzz\0"), Refused("")),
            one("minus", sized(b"-0000000001\0"), Refused("")),
            one(
                "mode",
                Tar::new().patched(b'0', b"f", &[(100, b"zzzzzzz\0")], b""),
                Refused("mode"),
            ),
            one(
                "all mode bits",
                Tar::new().patched(b'0', b"f", &[(100, b"7777777\0")], b""),
                Accepted,
            ),
            one(
                "owner",
                Tar::new().patched(b'0', b"f", &[(108, &[0xff; 8])], b""),
                Refused(""),
            ),
            one(
                "owner -1",
                Tar::new().patched(b'0', b"f", &[(108, b"\x80\0\0\0\xff\xff\xff\xff")], b""),
                Refused("not possible"),
            ),
            one(
                "time",
                Tar::new().patched(
                    b'0',
                    b"f",
                    &[(136, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")],
                    b"",
                ),
                Accepted,
            ),
            one(
                "time before 1970",
                Tar::new().patched(b'0', b"f", &[(136, &[0xff; 12])], b""),
                Accepted,
            ),
        ];
        for size in [
            "-1",
            "1e3",
            "",
            "18446744073709551615",
            "18446744073709551616",
            "9223372036854775807",
            "512 ",
        ] {
            cases.push(one(
                &format!("pax size {size:?}"),
                Tar::new().pax(&[("size", size.as_bytes())]).file("f", "x"),
                Refused(""),
            ));
        }
        for (key, value) in [
            ("uid", "4294967295"),
            ("gid", "-1"),
            ("uid", "0x0"),
            ("uid", " 0"),
            ("mtime", "nan"),
        ] {
            cases.push(one(
                &format!("pax {key} {value:?}"),
                Tar::new().pax(&[(key, value.as_bytes())]).file("f", "x"),
                Refused(""),
            ));
        }
        cases.push(one(
            "pax mtime",
            Tar::new()
                .pax(&[("mtime", b"9223372036854775807.999999999")])
                .file("f", "x"),
            Accepted,
        ));
        cases
    });
}

#[test]
fn records() {
    all("headers::records", || {
        let raw = |records: &[u8]| {
            Tar::new()
                .raw(b'x', b"pax", b"", 0o644, records)
                .file("f", "x")
        };
        let mut cases = Vec::new();
        for records in [
            "5 a=b\n",
            "999999999999 path=x\n",
            "18446744073709551616 path=x\n",
            "7 path=",
            "path=x\n",
            "0 path=x\n",
            "-9 path=x\n",
            "9 pathxx\n",
            "\n",
            "9 path=/x",
        ] {
            cases.push(one(
                &format!("record {records:?}"),
                raw(records.as_bytes()),
                Safe,
            ));
        }
        let value = vec![b'v'; 100 << 10];
        let attribute = |name: &[u8], value: &[u8]| {
            let key = [b"SCHILY.xattr.", name].concat();
            let length = key.len() + value.len() + 3;
            let digits = (length + length.to_string().len()).to_string().len();
            let record = [
                format!("{} ", length + digits).as_bytes(),
                &key,
                b"=",
                value,
                b"\n",
            ]
            .concat();
            raw(&record)
        };
        cases.push(one(
            "attribute of 100 KiB",
            attribute(b"user.a", &value),
            Accepted,
        ));
        cases.push(one(
            "attribute without a name",
            attribute(b"user.", b"v"),
            Accepted,
        ));
        cases.push(one(
            "long attribute name",
            attribute(&[b"user.", [b'n'; 300].as_slice()].concat(), b"v"),
            Accepted,
        ));
        cases.push(one(
            "NUL in an attribute's name",
            attribute(b"user.a\0b", b"v"),
            Safe,
        ));
        cases.push(one(
            "bad capability",
            attribute(b"security.capability", b"nonsense"),
            Accepted,
        ));
        cases.push(one(
            "bad acl",
            attribute(b"system.posix_acl_access", &value[..1000]),
            Accepted,
        ));
        cases.push(one(
            "acl on a link",
            Tar::new()
                .pax(&[("SCHILY.xattr.user.a", b"b")])
                .symlink("l", "/out/victim"),
            Accepted,
        ));
        let many: Vec<(String, String)> = (0..20_000)
            .map(|n| (format!("SCHILY.xattr.user.n{n}"), "v".repeat(40)))
            .collect();
        let many: Vec<(&str, &[u8])> = many
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_bytes()))
            .collect();
        cases.push(one(
            "20,000 attributes",
            Tar::new().pax(&many).file("f", "x"),
            Safe,
        ));
        for kind in [b'x', b'g', b'L', b'K'] {
            let mut chain = Tar::new();
            for _ in 0..9000 {
                chain = chain.raw(kind, b"h", b"", 0o644, b"9 path=x\n");
            }
            cases.push(one(
                &format!("9,000 headers {}", char::from(kind)),
                chain.file("f", "x"),
                Safe,
            ));
        }
        for kind in [b'L', b'K', b'x'] {
            cases.push(one(
                &format!("{} and nothing", char::from(kind)),
                Tar::new().raw(kind, b"h", b"", 0o644, b"9 path=x\n"),
                Safe,
            ));
        }
        cases
    });
}
