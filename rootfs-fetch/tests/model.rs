//! Random layers: what lies on the disk is what a simple model of layers says, merged and in overlayfs's form.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Tar, Temp, need_root};
use proptest::prelude::*;
use rootfs_fetch::Limits;
use rootfs_fetch::layer::{Layout, unpack};

#[derive(Clone, Debug)]
enum Op {
    File(String, u8),
    Dir(String),
    Symlink(String),
    Whiteout(String),
    Opaque(String),
}

/// Directories and files; `Some` is a file's content or "link".
type Tree = BTreeMap<String, Option<String>>;

fn under<'a>(tree: &'a Tree, path: &'a str) -> impl Iterator<Item = String> + 'a {
    let prefix = format!("{path}/");
    tree.keys().filter(move |k| k.starts_with(&prefix)).cloned()
}

fn remove(tree: &mut Tree, path: &str) {
    let inside: Vec<String> = under(tree, path).collect();
    inside.iter().for_each(|k| drop(tree.remove(k)));
    tree.remove(path);
}

fn parents(tree: &mut Tree, path: &str) {
    let parts: Vec<&str> = path.split('/').collect();
    for n in 1..parts.len() {
        let parent = parts[..n].join("/");
        if tree.get(&parent) != Some(&None) {
            remove(tree, &parent);
            tree.insert(parent, None);
        }
    }
}

/// A layer by itself, then laid over the lower tree: the specification in thirty lines.
fn model(lower: &Tree, ops: &[Op]) -> Tree {
    let mut tree = lower.clone();
    let mut own = Tree::new();
    let (mut hidden, mut replaced) = (Vec::new(), Vec::new());
    for op in ops {
        match op {
            Op::File(p, _) | Op::Symlink(p) => {
                note_replaced_parents(&own, p, &mut replaced);
                parents(&mut own, p);
                remove(&mut own, p);
                own.insert(
                    p.clone(),
                    Some(if let Op::File(_, c) = op {
                        c.to_string()
                    } else {
                        "link".into()
                    }),
                );
            }
            Op::Dir(p) => {
                note_replaced_parents(&own, p, &mut replaced);
                parents(&mut own, p);
                if let Some(Some(_)) = own.get(p) {
                    replaced.push(p.clone());
                }
                own.insert(p.clone(), None);
            }
            Op::Whiteout(p) => {
                note_replaced_parents(&own, p, &mut replaced);
                parents(&mut own, p);
                hidden.push(p.clone());
            }
            Op::Opaque(d) => {
                let inside = format!("{d}/x");
                note_replaced_parents(&own, &inside, &mut replaced);
                parents(&mut own, &inside);
                hidden.extend(under(lower, d));
            }
        }
    }
    for path in hidden.iter().chain(&replaced) {
        remove(&mut tree, path);
    }
    for (path, what) in own {
        parents(&mut tree, &path);
        if what.is_some() || tree.get(&path) != Some(&None) {
            remove(&mut tree, &path);
        }
        tree.insert(path, what);
    }
    tree
}

fn note_replaced_parents(own: &Tree, path: &str, replaced: &mut Vec<String>) {
    let parts: Vec<&str> = path.split('/').collect();
    for n in 1..parts.len() {
        let parent = parts[..n].join("/");
        if matches!(own.get(&parent), Some(Some(_))) {
            replaced.push(parent);
        }
    }
}

fn archive(ops: &[Op]) -> Vec<u8> {
    let mut tar = Tar::new();
    for op in ops {
        tar = match op {
            Op::File(p, c) => tar.file(p, &c.to_string()),
            Op::Dir(p) => tar.dir(p, 0o755),
            Op::Symlink(p) => tar.symlink(p, "/nowhere/\u{1}"),
            Op::Whiteout(p) => {
                let (dir, name) = p.rsplit_once('/').map_or(("", p.as_str()), |(d, n)| (d, n));
                tar.file(&format!("{dir}/.wh.{name}"), "")
            }
            Op::Opaque(d) => tar.file(&format!("{d}/.wh..wh..opq"), ""),
        };
    }
    tar.end()
}

/// An overlay mount that is gone when the test is, however it ends. Declared after its directory, so dropped before.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = nix::mount::umount(&self.0);
        assert!(
            unmounted.is_ok() || std::thread::panicking(),
            "{unmounted:?}"
        );
    }
}

fn on_disk(dir: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        for entry in fs_err::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs_err::symlink_metadata(&path).unwrap();
            let key = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            let what = match (meta.is_dir(), meta.is_symlink()) {
                (true, _) => {
                    todo.push(path);
                    None
                }
                (_, true) => Some("link".to_owned()),
                _ => Some(fs_err::read_to_string(&path).unwrap()),
            };
            tree.insert(key, what);
        }
    }
    tree
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|p| p.join("/"))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (path(), any::<u8>()).prop_map(|(p, c)| Op::File(p, c)),
        3 => path().prop_map(Op::Dir),
        2 => path().prop_map(Op::Whiteout),
        1 => path().prop_map(Op::Opaque),
        1 => path().prop_map(|p| Op::Symlink(format!("{p}/s"))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_layers_are_as_the_model_says(layers in prop::collection::vec(prop::collection::vec(op(), 0..10), 1..4)) {
        need_root();
        let temp = Temp::new();
        let (merged, mount) = (temp.dir("merged"), temp.dir("mount"));
        let mut expected = Tree::new();
        let mut dirs: Vec<std::path::PathBuf> = vec![temp.dir("bottom")];
        for (n, ops) in layers.iter().enumerate() {
            let bytes = archive(ops);
            unpack(bytes.as_slice(), &merged, Layout::Merged, Limits::DEFAULT, None).unwrap().settle(&[]).unwrap();
            let dir = temp.dir(&n.to_string());
            unpack(bytes.as_slice(), &dir, Layout::Overlay, Limits::DEFAULT, None).unwrap().settle(&dirs).unwrap();
            dirs.insert(0, dir);
            expected = model(&expected, ops);
        }
        prop_assert_eq!(on_disk(&merged), expected.clone());
        let lowers: Vec<String> = dirs.iter().map(|d| d.display().to_string()).collect();
        nix::mount::mount(Some("overlay"), &mount, Some("overlay"), nix::mount::MsFlags::MS_RDONLY,
            Some(format!("lowerdir={}", lowers.join(":")).as_str())).expect("this test mounts an overlay");
        let mounted = Mounted(mount);
        let shown = on_disk(&mounted.0);
        prop_assert_eq!(shown, expected);
    }
}
