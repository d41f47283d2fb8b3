//! The archive as a whole: damage, its end, sizes, bombs, holes, depth.

use super::*;

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
