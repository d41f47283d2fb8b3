//! What is removed from the store, in which order, and what is kept for who uses it.

use std::path::Path;

use rootfs_fetch::{Digest, Error, Force, Limits, Progress, User};

use crate::common::{Tar, Temp, gzip, image, simple_image};
use crate::{docker_archive, nobody, store};

#[test]
fn names_go_first_then_images_then_layers() {
    let temp = Temp::new();
    let store = store(&temp);
    let base = Tar::new().file("base", "x").end();
    let top = Tar::new().file("top", "x").end();
    let small = image(&[(base.clone(), gzip(&base))], "amd64");
    let big = image(
        &[(base.clone(), gzip(&base)), (top.clone(), gzip(&top))],
        "amd64",
    );
    let quiet = Progress::quiet();
    store
        .load_reader(
            docker_archive(&small, &["small:1"]).as_slice(),
            Limits::DEFAULT,
            &quiet,
        )
        .unwrap();
    store
        .load_reader(
            docker_archive(&big, &["big:1", "q.io/big:2"]).as_slice(),
            Limits::DEFAULT,
            &quiet,
        )
        .unwrap();
    let big_id = big.config.clone().unwrap();
    let lines = |r: anyhow::Result<Vec<rootfs_fetch::Removed>>| {
        r.unwrap()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };

    let error = store
        .remove(big_id.short(), Force::No, &nobody)
        .unwrap_err();
    assert!(
        error.to_string().contains("multiple repositories"),
        "{error}"
    );
    assert_eq!(
        lines(store.remove("q.io/big:2", Force::No, &nobody)),
        ["Untagged: q.io/big:2"]
    );
    let user = |id: &Digest| {
        (*id == big_id).then(|| User {
            container: "web".into(),
            running: false,
        })
    };
    let error = store.remove("big:1", Force::No, &user).unwrap_err();
    assert!(
        matches!(error.downcast_ref(), Some(Error::Conflict(_)))
            && error.to_string().contains("container web"),
        "{error}"
    );
    assert_eq!(
        lines(store.remove("big:1", Force::Yes, &user)),
        ["Untagged: big:1"]
    );
    let layers = store.get(big_id.short()).unwrap().layers;
    assert!(
        layers.iter().all(|l| l.is_dir()),
        "a container still runs on them"
    );
    let gone = lines(store.remove(&big_id.to_string(), Force::No, &nobody));
    assert_eq!(gone.len(), 2, "the image and its top layer: {gone:?}");
    assert!(
        !layers[1].exists() && layers[0].exists(),
        "the shared layer stays"
    );
    assert!(matches!(
        store
            .remove("big:1", Force::No, &nobody)
            .unwrap_err()
            .downcast_ref(),
        Some(Error::NoSuchImage(_))
    ));
    store.tag("small:1", &"other".parse().unwrap()).unwrap();
    assert_eq!(
        store.get("other").unwrap().names,
        ["small:1", "other:latest"]
    );
    assert_eq!(
        lines(store.remove("small:1", Force::No, &nobody)),
        ["Untagged: small:1"]
    );
    store.remove("other", Force::No, &nobody).unwrap();
    assert!(store.list().unwrap().is_empty());
    assert_eq!(
        fs_err::read_dir(temp.path("images/layers"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn leftovers_of_a_kill_are_used_or_swept() {
    let temp = Temp::new();
    let store = store(&temp);
    let archive = docker_archive(&simple_image(), &["a"]);
    store
        .load_reader(archive.as_slice(), Limits::DEFAULT, &Progress::quiet())
        .unwrap();
    // As if killed just before the last rename: layers are there, no image has them.
    fs_err::remove_file(temp.path("images/images.json")).unwrap();
    fs_err::create_dir_all(temp.path("images/tmp/0/fs/half")).unwrap();
    assert!(store.find("a").unwrap().is_none());
    let inode = |dir: &Path| std::os::unix::fs::MetadataExt::ino(&fs_err::metadata(dir).unwrap());
    let layers = || {
        fs_err::read_dir(temp.path("images/layers"))
            .unwrap()
            .map(|e| inode(&e.unwrap().path()))
            .collect::<std::collections::BTreeSet<_>>()
    };
    let before = layers();
    store
        .load_reader(archive.as_slice(), Limits::DEFAULT, &Progress::quiet())
        .unwrap();
    assert_eq!(layers(), before, "settled layers are used again");
    fs_err::create_dir_all(temp.path("images/layers/stray/fs")).unwrap();
    fs_err::write(temp.path("images/configs/stray.json"), "{}").unwrap();
    store.prune(&|_| false, &nobody).unwrap();
    assert!(!temp.path("images/layers/stray").exists());
    assert!(!temp.path("images/configs/stray.json").exists());
    assert_eq!(layers(), before, "used layers stay");
    // After a power cut, an unsynced layer is not believed.
    fs_err::remove_file(temp.path("images/images.json")).unwrap();
    for entry in fs_err::read_dir(temp.path("images/layers")).unwrap() {
        let path = entry.unwrap().path().join("layer.json");
        let mut json: serde_json::Value =
            serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        json["boot"] = "another".into();
        fs_err::write(&path, json.to_string()).unwrap();
    }
    store
        .load_reader(archive.as_slice(), Limits::DEFAULT, &Progress::quiet())
        .unwrap();
    assert!(
        layers().is_disjoint(&before) || layers() != before,
        "unpacked anew"
    );
}

#[test]
fn what_is_wanted_and_not_used_is_pruned() {
    let temp = Temp::new();
    let store = store(&temp);
    let quiet = Progress::quiet();
    let base = Tar::new().file("base", "12345").end();
    let top = Tar::new().file("top", "123").end();
    let layer = |tar: &Vec<u8>| (tar.clone(), gzip(tar));
    let small = image(&[layer(&base)], "amd64");
    let big = image(&[layer(&base), layer(&top)], "amd64");
    for (image, name) in [(&small, "small"), (&big, "big")] {
        let archive = docker_archive(image, &[name]);
        store
            .load_reader(archive.as_slice(), Limits::DEFAULT, &quiet)
            .unwrap();
    }
    assert_eq!(
        store.get("big").unwrap().layer_sizes(),
        [Some(5), Some(3)],
        "the lowest first"
    );
    let dangling = |image: &rootfs_fetch::Image| image.names.is_empty();
    assert!(store.prune(&dangling, &nobody).unwrap().removed.is_empty());
    // Its name goes to another: it has none left.
    store.tag("small", &"big".parse().unwrap()).unwrap();
    let user = |id: &Digest| {
        (*id == small.config.clone().unwrap()).then(|| User {
            container: "web".into(),
            running: false,
        })
    };
    let pruned = store.prune(&dangling, &user).unwrap();
    let big_id = big.config.clone().unwrap();
    assert_eq!(pruned.removed[0].to_string(), format!("Deleted: {big_id}"));
    assert_eq!(pruned.removed.len(), 2, "the image and its top layer");
    assert_eq!(pruned.bytes, 3);
    assert!(store.prune(&|_| true, &user).unwrap().removed.is_empty());
    let pruned = store.prune(&|_| true, &nobody).unwrap();
    let lines: Vec<String> = pruned.removed.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines[..2],
        ["Untagged: small:latest", "Untagged: big:latest"]
    );
    assert_eq!((lines.len(), pruned.bytes), (4, 5));
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn who_uses_an_image_and_who_removes_it_see_each_other() {
    let temp = Temp::new();
    let store = store(&temp);
    let image = simple_image();
    let id = image.config.clone().unwrap();
    let load = || {
        let archive = docker_archive(&image, &["a"]);
        store
            .load_reader(archive.as_slice(), Limits::DEFAULT, &Progress::quiet())
            .unwrap()
    };
    load();
    let mark = temp.path("images/removing");
    assert!(store.still_has(&id).unwrap());
    // A container is made in the moment in which users are looked for: it is not seen by then, and asks afterwards.
    let asked = std::cell::RefCell::new(None);
    let unseen = |_: &Digest| {
        assert!(mark.exists(), "who comes now is warned");
        let (store, id) = (store.clone(), id.clone());
        *asked.borrow_mut() = Some(std::thread::spawn(move || store.still_has(&id).unwrap()));
        None
    };
    store.remove("a", Force::No, &unseen).unwrap();
    let has = asked.into_inner().unwrap().join().unwrap();
    assert!(!has, "it waits for the removal, and hears of it");
    assert!(!mark.exists());
    assert!(!store.still_has(&id).unwrap());
    // The mark of one that was killed before it did anything warns for nothing, once.
    load();
    fs_err::write(&mark, "").unwrap();
    assert!(store.still_has(&id).unwrap());
    assert!(!mark.exists());
}
