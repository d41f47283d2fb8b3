//! Contents: holes, compression, and very many files.

use super::*;

#[test]
fn sparse_files() {
    all("contents::sparse_files", || {
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
    World::run("contents::compression", |world| {
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
    World::run("contents::many_files", |world| {
        let mut layer = Tar::new();
        for n in 0..100_000 {
            layer = layer.file(&format!("d{}/f{n}", n % 100), "");
        }
        check(world, "100,000 files", &[layer.end()], &Accepted);
    });
}
