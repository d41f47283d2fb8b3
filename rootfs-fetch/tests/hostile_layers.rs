//! Hostile layers, in a world of their own: nothing outside of the store changes, memory and disk stay bounded.
//!
//! Each case is unpacked in both layouts; a digest of all the rest of the file system is compared before and after
//! (`common/world.rs`). What the unpacked tree looks like is the subject of `layers.rs`, of random layers `model.rs`.
//!
//! | what a layer may try | the answer | where |
//! |---|---|---|
//! | `..`, absolute, empty, `.`, the root itself; in ustar, PAX, global PAX, GNU L, the ustar prefix | clamped into the root | `paths`, `layers.rs` |
//! | NUL, parts over 255 bytes, paths over 4095 | refused | `paths`, `layers.rs` |
//! | 2,000 directories deep; bytes that are no UTF-8, newlines, escape codes, leading dashes | taken as they are | `paths`, `layers.rs` |
//! | anything through a symbolic link of this or a lower layer, to `..`, `/etc`, `/proc/self/root`, `/proc/self/fd` | stays inside | `links` |
//! | links in a circle | replaced or refused | `links` |
//! | hard links to outside, through a link, to a directory, to nothing | refused | `links`, `layers.rs` |
//! | something of one kind over something of another, in one layer and across two | the last one wins | `kinds_that_differ` |
//! | `.wh..`, `.wh...`, `.wh.`, aufs leftovers, whiteouts as directories and links | the base survives | `whiteouts`, `layers.rs` |
//! | device 0:0, `trusted.overlay.*` | never made | `layers.rs` |
//! | devices, FIFOs, unknown types, setuid, absurd owners and times | made and never opened, or skipped, or refused | `special_files`, `layers.rs` |
//! | sizes that are negative, huge, base-256, no numbers, contradicted by PAX | refused | `numbers` |
//! | PAX records with lying lengths, without `=`, without end | refused, or ignored by all | `records` |
//! | thousands of extra headers, headers of many MiB | refused | `records`, `layers.rs` |
//! | attributes: thousands, 64 KiB, without a name, with nonsense in them | left out if the kernel will not have them | `records` |
//! | sparse files of 1 TiB, maps that overlap, lie, or have millions of pieces | a hole, or refused | `sparse_files`, `layers.rs` |
//! | compression: cut, bad sum, nested, several members, bombs, windows of 2 GiB | refused, or read to the end | `compression`, `stream.rs` |
//! | 100,000 files | fine | `many_files` |

mod common;

use std::io::Read;
use std::path::{Path, PathBuf};

use common::world::{STORE, World};
use common::{Tar, gzip};
use rootfs_fetch::Limits;
use rootfs_fetch::layer::{Layout, unpack};

/// How a case must end. Whatever it says, nothing outside of the store may have changed.
enum Answer {
    /// As an image without harm.
    Accepted,
    /// With an error that holds this.
    Refused(&'static str),
    /// Either way.
    Safe,
}

use Answer::{Accepted, Refused, Safe};

const LIMITS: Limits = Limits {
    unpacked_bytes: Some(64 << 20),
};

/// Unpacks layers (as they are sent) on top of each other and settles them.
fn put(layers: &[Vec<u8>], layout: Layout) -> anyhow::Result<()> {
    let mut lowers: Vec<PathBuf> = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let directory = match layout {
            Layout::Merged => Path::new(STORE).join("tree"),
            Layout::Overlay => Path::new(STORE).join(number.to_string()),
        };
        fs_err::create_dir_all(&directory)?;
        let below: &[PathBuf] = match layout {
            Layout::Merged => &[],
            Layout::Overlay => &lowers,
        };
        unpack(layer.as_slice(), &directory, layout, LIMITS, None)?.settle(below)?;
        lowers.insert(0, directory);
    }
    Ok(())
}

fn check(world: &World, name: &str, layers: &[Vec<u8>], answer: &Answer) {
    for layout in [Layout::Merged, Layout::Overlay] {
        let name = format!("{name} {layout:?}");
        let outcome = world.case(&name, || put(layers, layout));
        match (answer, outcome) {
            (Accepted, Err(error)) => panic!("{name}: refused: {error:#}"),
            (Refused(part), Ok(())) => panic!("{name}: accepted, not refused with {part:?}"),
            (Refused(part), Err(error)) => {
                let text = format!("{error:#}");
                assert!(text.contains(part), "{name}: {text}");
                assert!(!text.contains(char::is_control), "{name}: {text:?}");
            }
            (Safe, _) | (Accepted, Ok(())) => {}
        }
    }
}

fn all(test: &str, cases: impl FnOnce() -> Vec<(String, Vec<Vec<u8>>, Answer)>) {
    World::run(test, |world| {
        for (name, layers, answer) in cases() {
            check(world, &name, &layers, &answer);
        }
    });
}

fn one(name: &str, tar: Tar, answer: Answer) -> (String, Vec<Vec<u8>>, Answer) {
    (name.to_owned(), vec![tar.end()], answer)
}

/// What a layer does once it has a way to somewhere at `at`.
fn attack(at: &str) -> Tar {
    Tar::new()
        .file(&format!("{at}/victim"), "bad")
        .file(&format!("{at}/passwd"), "bad")
        .dir(&format!("{at}/d"), 0o777)
        .dir(at, 0o777)
        .owned(&format!("{at}/x"), 0o4777, (1, 1))
        .pax(&[("SCHILY.xattr.user.a", b"b"), ("mtime", b"1")])
        .file(&format!("{at}/victim"), "bad")
        .file(&format!("{at}/.wh.victim"), "")
        .file(&format!("{at}/.wh.etc"), "")
        .file(&format!("{at}/.wh..wh..opq"), "")
        .symlink(&format!("{at}/s"), "/etc/shadow")
        .file(&format!("{at}/s"), "bad")
        .device(b'6', &format!("{at}/p"), (0, 0))
        .device(b'3', &format!("{at}/null"), (1, 3))
}

#[test]
fn paths() {
    all("paths", || {
        let deep = "d/".repeat(2000);
        let mut cases = vec![
            one(
                "empty",
                Tar::new()
                    .raw(b'0', b"", b"", 0o644, b"x")
                    .raw(b'2', b"", b"/etc", 0o777, b""),
                Accepted,
            ),
            one(
                "nul",
                Tar::new().pax(&[("path", b"a\0b")]).file("x", "y"),
                Refused("NUL"),
            ),
            one(
                "long part",
                Tar::new().pax(&[("path", &[b'x'; 256])]).file("x", "y"),
                Refused("longer"),
            ),
            one(
                "deep",
                Tar::new().pax(&[("path", deep.as_bytes())]).file("x", "y"),
                Accepted,
            ),
            one(
                "bytes",
                Tar::new().raw(b'0', b"-rf \n\x1b[2J\xff\xfe", b"", 0o644, b"x"),
                Accepted,
            ),
            one(
                "prefix",
                Tar::new().patched(b'0', b"victim", &[(345, b"../../out")], b"bad"),
                Accepted,
            ),
        ];
        for path in [
            "../out/victim",
            "/out/victim",
            "a/../../out/victim",
            "../../../../etc/passwd",
            "/etc/cron.d/job",
        ] {
            let global = Tar::new().raw(
                b'g',
                b"g",
                b"",
                0o644,
                format!("{} path={path}\n", path.len() + 9).as_bytes(),
            );
            cases.push(one(
                path,
                Tar::new()
                    .file(path, "bad")
                    .dir(path, 0o777)
                    .symlink(path, "/etc"),
                Accepted,
            ));
            cases.push(one(
                &format!("pax {path}"),
                Tar::new()
                    .pax(&[("path", path.as_bytes())])
                    .file("x", "bad"),
                Accepted,
            ));
            cases.push(one(
                &format!("global {path}"),
                global.file("x", "y"),
                Accepted,
            ));
            cases.push(one(
                &format!("gnu {path}"),
                Tar::new()
                    .raw(b'L', b"L", b"", 0o644, path.as_bytes())
                    .file("x", "bad"),
                Accepted,
            ));
        }
        cases
    });
}

#[test]
fn links() {
    all("links", || {
        let mut cases = Vec::new();
        for to in [
            "..",
            "/",
            ".",
            "../out",
            "/out",
            "../../../etc",
            "/etc",
            "/proc/self/root/etc",
            "/proc/self/cwd",
            "/proc/self/fd/3",
            "../../proc/1/root/out",
            "/dev",
            "/home/anna/.ssh",
        ] {
            let link = Tar::new()
                .symlink("l", to)
                .symlink("d", "l")
                .symlink("deep", "d/../d");
            let mut layer = link.clone();
            layer.0.extend(attack("l").0);
            cases.push(one(&format!("one layer {to}"), layer, Accepted));
            for at in ["l", "d", "deep"] {
                cases.push((
                    format!("two layers {at} {to}"),
                    vec![link.clone().end(), attack(at).end()],
                    Accepted,
                ));
            }
            for target in ["l/victim", "l/passwd", "l", "l/shadow", "deep/victim"] {
                let hard = Tar::new()
                    .symlink("l", to)
                    .symlink("deep", "l")
                    .link("h", target)
                    .file("h", "bad");
                cases.push(one(&format!("hard link {target} {to}"), hard, Safe));
            }
        }
        for target in [
            "../out/victim",
            "/etc/shadow",
            "../../etc/shadow",
            "nothing",
        ] {
            cases.push(one(
                &format!("hard link {target}"),
                Tar::new().link("h", target),
                Refused("hard link"),
            ));
        }
        let circle = Tar::new()
            .symlink("a", "b")
            .symlink("b", "a")
            .symlink("c", "c/c")
            .file("a/x", "y");
        cases.push(one(
            "circle",
            circle.dir("b/d", 0o755).file("c/c/c", "x").link("h", "a/x"),
            Safe,
        ));
        let mut chain = Tar::new();
        for n in 0..100 {
            chain = chain.symlink(&format!("l{n}"), &format!("l{}", n + 1));
        }
        cases.push(one(
            "chain",
            chain.dir("l100", 0o755).file("l0/x", "y"),
            Safe,
        ));
        cases
    });
}

#[test]
fn kinds_that_differ() {
    all("kinds_that_differ", || {
        type Make = fn(&str) -> Tar;
        let kinds: [(&str, Make); 10] = [
            ("file", |p| Tar::new().file(p, "x")),
            ("directory", |p| {
                Tar::new().dir(p, 0o700).file(&format!("{p}/in"), "x")
            }),
            ("link inside", |p| {
                Tar::new().dir("real", 0o755).symlink(p, "real")
            }),
            ("link out", |p| Tar::new().symlink(p, "/out")),
            ("link to nothing", |p| Tar::new().symlink(p, "not/there")),
            ("hard link", |p| Tar::new().file("f", "x").link(p, "f")),
            ("pipe", |p| Tar::new().device(b'6', p, (0, 0))),
            ("device", |p| Tar::new().device(b'3', p, (1, 3))),
            ("whiteout", |p| Tar::new().file(&format!(".wh.{p}"), "")),
            ("opaque", |p| {
                Tar::new().file(&format!("{p}/.wh..wh..opq"), "")
            }),
        ];
        let mut cases = Vec::new();
        for (below, lower) in kinds {
            for (above, upper) in kinds {
                let name = format!("{above} over {below}");
                let inside = upper("p").file("p/child", "x").file("p/d/victim", "x");
                cases.push((
                    name.clone(),
                    vec![lower("p").end(), upper("p").end(), inside.clone().end()],
                    Accepted,
                ));
                let mut both = lower("p");
                both.0.extend(inside.0);
                cases.push(one(&format!("{name}, one layer"), both, Accepted));
            }
        }
        cases
    });
}

#[test]
fn whiteouts() {
    all("whiteouts", || {
        let lower = Tar::new().file("d/a", "x").symlink("l", "/out").end();
        let names = [
            ".wh.",
            ".wh..",
            ".wh...",
            "d/.wh..",
            "d/.wh...",
            "l/.wh.victim",
            "l/.wh..wh..opq",
            ".wh...wh..",
            ".wh..wh.plnk",
            ".wh..wh.aufs",
            ".wh..wh..opq",
            ".wh..wh.orph/x",
            ".wh.d/../../out/victim",
            "d/.wh.a/../../../out",
        ];
        names
            .iter()
            .map(|name| {
                let upper = Tar::new()
                    .file(name, "")
                    .dir(&format!("{name}/"), 0o777)
                    .symlink(name, "/out");
                let upper = upper.link(name, "d/a").device(b'3', name, (0, 0)).end();
                ((*name).to_owned(), vec![lower.clone(), upper], Safe)
            })
            .collect()
    });
}

#[test]
fn special_files() {
    all("special_files", || {
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
    all("numbers", || {
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
    all("records", || {
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

#[test]
fn sparse_files() {
    all("sparse_files", || {
        let sparse = |size: &str, map: &str| {
            let mut data = map.as_bytes().to_vec();
            data.resize(data.len().next_multiple_of(512), 0);
            data.extend_from_slice(b"tail");
            Tar::new()
                .pax(&[
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.minor", b"0"),
                    ("GNU.sparse.name", b"../out/victim"),
                    ("GNU.sparse.realsize", size.as_bytes()),
                ])
                .raw(b'0', b"x", b"", 0o644, &data)
        };
        let mut cases = vec![
            one(
                "a hole of 60 MiB",
                sparse("62914560", "1\n60000000\n4\n"),
                Accepted,
            ),
            one(
                "1 TiB",
                sparse("1099511627776", "1\n0\n4\n"),
                Refused("bomb"),
            ),
            one(
                "all the size there is",
                sparse("18446744073709551615", "1\n0\n4\n"),
                Refused("bomb"),
            ),
            one(
                "a million pieces",
                sparse("1000", "1048577\n"),
                Refused("pieces"),
            ),
            one(
                "pieces that are not there",
                sparse("1000", "1000000\n0\n0\n"),
                Refused(""),
            ),
            one(
                "overlap",
                sparse("1000", "2\n0\n4\n2\n4\n"),
                Refused("outside"),
            ),
            one(
                "beyond the end",
                sparse("10", "1\n8\n4\n"),
                Refused("outside"),
            ),
            one(
                "wrap around",
                sparse("10", "1\n18446744073709551615\n4\n"),
                Refused("outside"),
            ),
            one("negative", sparse("10", "1\n-1\n4\n"), Refused("number")),
            one(
                "no size",
                Tar::new()
                    .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0")])
                    .file("x", "1\n0\n1\n"),
                Safe,
            ),
            one(
                "old map",
                Tar::new().pax(&[("GNU.sparse.map", b"0,1")]).file("x", "y"),
                Refused("not supported"),
            ),
        ];
        // GNU's own form: the map lies in the header; its numbers may be base-256, too.
        for (name, offset, length, real) in [
            ("huge", b"77777777777\0", b"00000000004\0", b"77777777777\0"),
            ("negative", &[0xff; 12], b"00000000004\0", b"00000001000\0"),
            (
                "overlap",
                b"00000000000\0",
                b"77777777777\0",
                b"00000000004\0",
            ),
        ] {
            let patches: [(usize, &[u8]); 4] = [
                (257, b"ustar  \0"),
                (386, offset),
                (398, length),
                (483, real),
            ];
            cases.push(one(
                &format!("gnu {name}"),
                Tar::new().patched(b'S', b"s", &patches, b"data"),
                Refused(""),
            ));
        }
        let extended: [(usize, &[u8]); 3] =
            [(257, b"ustar  \0"), (482, b"\x01"), (483, b"00000001000\0")];
        cases.push(one(
            "gnu, map without end",
            Tar::new().patched(b'S', b"s", &extended, &[1; 512 * 200]),
            Refused(""),
        ));
        cases
    });
}

/// `count` times the same bytes, without holding them.
fn repeated(bytes: &[u8], count: usize) -> impl Read + Send {
    let bytes = bytes.to_vec();
    let mut left = count * bytes.len();
    std::iter::repeat_with(move || bytes.clone())
        .take(count)
        .fold(
            Box::new(std::io::empty()) as Box<dyn Read + Send>,
            |before, part| {
                left -= part.len();
                Box::new(before.chain(std::io::Cursor::new(part)))
            },
        )
}

#[test]
fn compression() {
    World::run("compression", |world| {
        let plain = Tar::new()
            .file("a", "x")
            .raw(b'0', b"b", b"", 0o644, &[7; 20_000])
            .end();
        let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 9].to_vec();
        let flip = |mut bytes: Vec<u8>, from_end: usize| {
            let at = bytes.len() - from_end;
            bytes[at] ^= 1;
            bytes
        };
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
        for (name, blob, answer) in [
            ("gzip, cut", cut(gzip(&plain)), Refused("")),
            ("gzip, bad sum", flip(gzip(&plain), 6), Refused("")),
            ("gzip, bad length", flip(gzip(&plain), 2), Refused("")),
            ("gzip in gzip", gzip(&gzip(&plain)), Refused("")),
            (
                "gzip, then nonsense",
                [gzip(&plain), vec![1; 100]].concat(),
                Safe,
            ),
            ("zstd, cut", cut(zstd(&plain)), Refused("")),
            ("zstd in zstd", zstd(&zstd(&plain)), Refused("")),
            // A frame header that wants a window of 2 GiB, then one block.
            (
                "zstd, huge window",
                b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00".to_vec(),
                Refused(""),
            ),
            (
                "gzip, only a header",
                b"\x1f\x8b\x08\x00".to_vec(),
                Refused(""),
            ),
            (
                "gzip, endless name",
                [
                    b"\x1f\x8b\x08\x08\0\0\0\0\0\0".as_slice(),
                    &[b'n'; 20 << 20],
                ]
                .concat(),
                Refused(""),
            ),
            ("xz", b"\xfd7zXZ\0".to_vec(), Refused("xz")),
            ("bzip2", b"BZh91AY".to_vec(), Refused("bzip2")),
        ] {
            check(world, name, &[blob], &answer);
        }
        let huge = Tar::new()
            .patched(b'0', b"f", &[(124, b"77777777777\0")], b"")
            .0;
        let zeros = vec![0; 16 << 20];
        for (name, start, member) in [
            ("gzip bomb in a file", gzip(&huge), gzip(&zeros)),
            ("gzip bomb behind the archive", gzip(&plain), gzip(&zeros)),
            ("zstd bomb in a file", zstd(&huge), zstd(&zeros)),
            ("zstd bomb behind the archive", zstd(&plain), zstd(&zeros)),
        ] {
            let error = world.case(name, || {
                let blob = std::io::Cursor::new(start).chain(repeated(&member, 100));
                let at = Path::new(STORE).join("tree");
                fs_err::create_dir(&at).unwrap();
                unpack(blob, &at, Layout::Merged, LIMITS, None)
                    .err()
                    .unwrap()
            });
            assert!(format!("{error:#}").contains("bomb"), "{name}: {error:#}");
        }
    });
}

#[test]
fn many_files() {
    World::run("many_files", |world| {
        let mut layer = Tar::new();
        for n in 0..100_000 {
            layer = layer.file(&format!("d{}/f{n}", n % 100), "");
        }
        check(world, "100,000 files", &[layer.end()], &Accepted);
    });
}
