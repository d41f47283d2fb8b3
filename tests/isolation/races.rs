//! Races for paths: somebody changes links and directories under way. Nothing of the host's may be touched.
//!
//! Each race is `RMAC_RACES` starts long, or 100. Each prints how many there were, how often the attacker has
//! swapped meanwhile, and how many starts met what he had put there. A thousand of each, some five minutes:
//!
//! ```text
//! RMAC_RACES=1000 scripts/test --test isolation races -- --nocapture --test-threads 1
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::Lab;
use crate::common::bundle::{Bundle, RMAC_OCI};
use crate::helpers::{digest, put};

/// Swaps a directory and a symbolic link with renameat2(2), as fast as it goes, until dropped.
struct Swapper {
    end: Arc<AtomicBool>,
    turns: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Swapper {
    /// Each pair is exchanged for `away`, and then is as it was for up to `home`.
    fn start(pairs: Vec<(PathBuf, PathBuf)>, away: Duration, home: Duration) -> Swapper {
        let (end, turns) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (stop, count) = (end.clone(), turns.clone());
        let thread = std::thread::spawn(move || {
            let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
            let at = nix::fcntl::AT_FDCWD;
            while !stop.load(Ordering::Relaxed) {
                let turn = count.fetch_add(1, Ordering::Relaxed);
                for pause in [away, home * (turn % 16) as u32 / 16] {
                    for (one, other) in &pairs {
                        let _ = nix::fcntl::renameat2(at, one, at, other, flags);
                    }
                    std::thread::sleep(pause);
                }
            }
        });
        Swapper {
            end,
            turns,
            thread: Some(thread),
        }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// A directory of the host's that the links lead to.
fn victim(at: &Path) -> PathBuf {
    let victim = at.join("victim");
    for file in ["sub/file", "secret", "dev/null", "proc/1/x", "etc/hosts"] {
        put(&victim, file, "the host's");
    }
    victim
}

/// All starts of a race, some at a time by `start`, which is told how many and tells how many came to be.
fn race(name: &str, swapper: Swapper, mut start: impl FnMut(usize) -> usize) {
    let all = std::env::var("RMAC_RACES").map_or(100, |number| number.parse().unwrap());
    let (begin, before) = (Instant::now(), swapper.turns.load(Ordering::Relaxed));
    let (mut count, mut came) = (0, 0);
    while count < all {
        let some = 20.min(all - count);
        came += start(some);
        count += some;
    }
    let turns = swapper.turns.load(Ordering::Relaxed) - before;
    drop(swapper);
    let (met, time) = (count - came, begin.elapsed());
    println!("{name}: {count} starts in {time:.1?}, {turns} swaps, {met} starts met them");
    assert!(
        turns > count / 10,
        "the attacker was too slow: {turns} swaps"
    );
    assert!(
        came > 0 && met > 0,
        "nobody was ahead: {came} came to be, {met} did not"
    );
}

const MOMENT: Duration = Duration::from_micros(50);

#[test]
fn a_volume_that_swaps_under_run() {
    let lab = Lab::with_image();
    let shared = lab.scratch().join("shared");
    let victim = victim(&lab.scratch());
    std::fs::create_dir_all(shared.join("a/b")).unwrap();
    let before = digest(&victim);
    // CVE-2021-30465: what is mounted below the volume lands where the link leads; and the working directory
    // is made there.
    std::os::unix::fs::symlink(&victim, shared.join("link")).unwrap();
    std::fs::create_dir_all(shared.join("w")).unwrap();
    // The caller has the victim open, which it never meant to hand on (CVE-2024-21626).
    std::os::unix::fs::symlink("/proc/self/fd/9", shared.join("magic")).unwrap();
    let swapper = Swapper::start(
        vec![
            (shared.join("a"), shared.join("link")),
            (shared.join("w"), shared.join("magic")),
        ],
        MOMENT,
        MOMENT,
    );
    let script = format!(
        "for i in $(seq $COUNT); do rmac run --rm --network none -v {}:/vol -v /etc:/vol/a/b -v /etc/hostname:/vol/a/f \
         -w /vol/w/made {} true 2>&1; case $? in 0) echo started;; 125) ;; *) exit 1;; esac; done",
        shared.display(),
        lab.image()
    );
    race("run", swapper, |count| {
        let said = lab
            .sh(&format!(
                "COUNT={count}; exec 9<{}; {script}",
                victim.display()
            ))
            .ok();
        assert_eq!(digest(&victim), before);
        said.matches("started").count()
    });
}

#[test]
fn a_container_that_swaps_under_exec() {
    let lab = Lab::with_image();
    let shared = lab.scratch().join("shared");
    let victim = victim(&lab.scratch());
    let before = digest(&victim);
    std::fs::create_dir_all(shared.join("w")).unwrap();
    std::fs::create_dir_all(shared.join("etc")).unwrap();
    put(&shared, "etc/passwd", "u:x:5:5::/:/bin/sh\n");
    std::os::unix::fs::symlink("/proc/self/fd/9", shared.join("magic")).unwrap();
    std::os::unix::fs::symlink(&victim, shared.join("out")).unwrap();
    put(&shared, "program", "#!/bin/true\n");
    put(&shared, "evil", "#!/proc/self/exe\n");
    let words = format!("-v {}:/vol", shared.display());
    lab.sleeper("c1", "none", &words).ok();
    let swapper = Swapper::start(
        vec![
            (shared.join("w"), shared.join("magic")),
            (shared.join("etc"), shared.join("out")),
            (shared.join("program"), shared.join("evil")),
        ],
        MOMENT,
        MOMENT,
    );
    let rmac = std::fs::read(crate::common::RMAC).unwrap();
    race("exec", swapper, |count| {
        let said = lab.sh(&format!(
            "exec 9<{}; for i in $(seq {count}); do rmac exec -w /vol/w/made c1 /vol/program && echo started; \
             done 2> /dev/null; :",
            victim.display()
        ));
        assert_eq!(digest(&victim), before);
        let same = std::fs::read(crate::common::RMAC).unwrap() == rmac;
        assert!(same, "rmac itself was written to");
        said.ok().matches("started").count()
    });
    lab.rmac(&["rm", "-f", "c1"]).ok();
}

#[test]
fn a_container_that_swaps_under_cp() {
    let lab = Lab::with_image();
    let shared = lab.scratch().join("shared");
    let victim = victim(&lab.scratch());
    let before = digest(&victim);
    // CVE-2018-15664: what was a directory when it was looked at is a link when it is used, for both directions.
    put(&shared, "d/sub/file", "mine");
    put(&shared, "w/sub/file", "mine");
    std::os::unix::fs::symlink(&victim, shared.join("out")).unwrap();
    std::os::unix::fs::symlink("/proc/self/fd/9", shared.join("magic")).unwrap();
    put(&lab.scratch(), "new", "from outside");
    lab.sleeper("target", "none", &format!("-v {}:/vol", shared.display()))
        .ok();
    let swapper = Swapper::start(
        vec![
            (shared.join("d"), shared.join("out")),
            (shared.join("w"), shared.join("magic")),
        ],
        MOMENT,
        MOMENT,
    );
    let script = format!(
        "cd {}; for i in $(seq $COUNT); do rm -rf got; mkdir got; rmac cp -L target:/vol/d/sub got && echo started; \
         rmac cp new target:/vol/d/sub/new; rmac cp new target:/vol/w/made; rmac cp -L target:/vol/w/sub got/w; \
         rmac cp target:/vol got/all; ! grep -r \"the host's\" got || exit 1; done 2> /dev/null; :",
        lab.scratch().display()
    );
    race("cp", swapper, |count| {
        let with = format!("COUNT={count}; exec 9<{}; {script}", victim.display());
        let said = lab.sh(&with).ok();
        assert_eq!(digest(&victim), before);
        said.matches("started").count()
    });
    lab.rmac(&["rm", "-f", "target"]).ok();
}

#[test]
fn a_bundle_whose_tree_swaps() {
    // Whoever writes to a tree while rmac-oci makes a container of it takes /proc away between its mount and the
    // masks. Either it does not start, or all masks are where they belong.
    let script = "for k in /proc/keys /x/keys; do head -c 1 $k 2> /dev/null; done; ls /victim 2> /dev/null; exit 0";
    let bundle = Bundle::new(RMAC_OCI, script);
    let victim = victim(&bundle.dir);
    let before = digest(&victim);
    let tree = bundle.rootfs();
    // What is not there needs no mask, a careless runtime would think.
    std::os::unix::fs::symlink("/nosuch", tree.join("x")).unwrap();
    std::os::unix::fs::symlink(&victim, tree.join("z")).unwrap();
    // What takes its time between the mount of /proc and the masks.
    for number in 0..400 {
        put(&tree, &format!("big/{number}"), "");
    }
    bundle.change(|spec| {
        spec["root"]["readonly"] = false.into();
        let more = json!([
            { "destination": "/tmp/a/b", "type": "tmpfs", "source": "tmpfs" },
            { "destination": "/big", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"] },
        ]);
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.extend(more.as_array().unwrap().clone());
    });
    let swapper = Swapper::start(
        vec![
            (tree.join("proc"), tree.join("x")),
            (tree.join("tmp"), tree.join("z")),
        ],
        200 * MOMENT,
        800 * MOMENT,
    );
    let mut shown = vec![];
    race("a bundle", swapper, |count| {
        let start = |_: &usize| {
            let answer = bundle.call(&["run", "--bundle", ".", "$ID"]);
            bundle.call(&["delete", "--force", "$ID"]);
            if !answer.stdout.is_empty() {
                shown.push(answer.stdout);
            }
            answer.code == 0
        };
        (0..count).filter(start).count()
    });
    assert!(shown.is_empty(), "{} unmasked: {:?}", shown.len(), shown[0]);
    assert_eq!(digest(&victim), before);
}
