//! `cp`, `diff` and `export`: files go in and out by Docker's rules, whoever they belong to, and lead nowhere else.

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::terminal::Terminal;
use common::{Lab, Output, wait_for};

/// What the containers of these tests begin with.
const TREE: &str = "mkdir -p /t/dir/sub /t/empty && echo file > /t/file && echo inner > /t/dir/sub/inner \
    && echo second > /t/dir/second && ln -s file /t/link && ln -s dir /t/dirlink && ln -s nowhere /t/broken";

/// A container that runs and one that has ended, both with [`TREE`].
fn two_containers(lab: &Lab, words: &str) {
    let image = lab.image();
    lab.sh(&format!(
        "rmac run -d --name up {words} {image} sh -c '{TREE} && touch /ready; exec sleep 600' \
         && rmac run --name down {words} {image} sh -c '{TREE}'"
    ))
    .ok();
    wait_for("the tree is there", || {
        lab.sh("rmac exec up test -e /ready").code == 0
    });
}

/// All below a directory, each with its content or target.
fn tree(at: &Path) -> Vec<String> {
    let mut found = vec![];
    let mut open = vec![at.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(at).unwrap().display().to_string();
            let status = path.symlink_metadata().unwrap();
            found.push(if status.is_dir() {
                open.push(path);
                format!("{name}/")
            } else if status.is_symlink() {
                format!("{name} -> {}", std::fs::read_link(path).unwrap().display())
            } else {
                let text = std::fs::read_to_string(path).unwrap();
                format!("{name}: {}", text.trim_end())
            });
        }
    }
    found.sort();
    found
}

/// An empty directory of the host's, made anew.
fn empty(lab: &Lab, name: &str) -> PathBuf {
    let path = lab.scratch().join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir(&path).unwrap();
    path
}

fn cp(lab: &Lab, words: &str) -> Output {
    lab.sh(&format!(
        "cd {} && rmac cp {words}",
        lab.scratch().display()
    ))
}

#[test]
fn what_comes_out_goes_where_docker_puts_it() {
    let lab = Lab::with_image();
    two_containers(&lab, "");
    let whole = [
        "dir/",
        "dir/second: second",
        "dir/sub/",
        "dir/sub/inner: inner",
    ];
    let whole_as = |name: &str| -> Vec<String> {
        let all = whole
            .iter()
            .map(|line| line.replacen("dir/", &format!("{name}/"), 1));
        all.collect()
    };
    let inner: Vec<String> = whole[1..]
        .iter()
        .map(|line| line.replacen("dir/", "", 1))
        .collect();
    let one = |line: &str| vec![line.to_owned()];
    for container in ["up", "down"] {
        for (source, destination, expected) in [
            ("/t/file", "new", one("new: file")),
            ("t/file", ".", one("file: file")),
            ("/t/./x/../file", "./", one("file: file")),
            ("/t/dir", "new", whole_as("new")),
            ("/t/dir", "new/", whole_as("new")),
            ("/t/dir", ".", whole_as("dir")),
            ("/t/dir/", ".", whole_as("dir")),
            ("/t/dir/.", "new", whole_as("new")),
            ("/t/dir/.", ".", inner.clone()),
            // A link is copied as it is, unless a slash or -L says that its target is meant.
            ("/t/link", ".", one("link -> file")),
            ("/t/broken", ".", one("broken -> nowhere")),
            ("/t/dirlink", ".", one("dirlink -> dir")),
            ("/t/dirlink/", ".", whole_as("dirlink")),
            ("/t/dirlink/.", ".", inner.clone()),
            ("/t/dirlink/second", ".", one("second: second")),
        ] {
            let at = empty(&lab, "out");
            cp(&lab, &format!("{container}:{source} out/{destination}")).ok();
            assert_eq!(tree(&at), expected, "{container}:{source} {destination}");
        }
        for (source, destination, expected) in [
            ("/t/link", "new", one("new: file")),
            ("/t/link", ".", one("link: file")),
            ("/t/dirlink", "new", whole_as("new")),
            ("/t/dirlink", ".", whole_as("dirlink")),
            ("/t/file", ".", one("file: file")),
        ] {
            let at = empty(&lab, "out");
            cp(&lab, &format!("-L {container}:{source} out/{destination}")).ok();
            assert_eq!(tree(&at), expected, "-L {container}:{source} {destination}");
        }
        // What is there is replaced, a link at the destination is followed.
        let at = empty(&lab, "out");
        lab.sh(&format!(
            "cd {} && echo old > old; ln -s old link; ln -s made broken",
            at.display()
        ))
        .ok();
        cp(&lab, &format!("{container}:/t/file out/link")).ok();
        cp(&lab, &format!("{container}:/t/file out/broken")).ok();
        let left = ["broken -> made", "link -> old", "made: file", "old: file"];
        assert_eq!(tree(&at), left);
    }
}

#[test]
fn what_goes_in_goes_where_docker_puts_it() {
    let lab = Lab::with_image();
    two_containers(&lab, "");
    lab.sh(&format!(
        "mkdir -p {0}/d/s && cd {0} && echo one > f && echo two > d/s/g && ln -s f l && ln -s d dl",
        lab.scratch().display()
    ))
    .ok();
    for container in ["up", "down"] {
        for (number, (source, destination, shown)) in [
            ("f", "", "f: one"),
            ("f", "/new", "new: one"),
            ("./d", "/new", "new/ new/s/ new/s/g: two"),
            ("d", "/", "d/ d/s/ d/s/g: two"),
            ("d/", "/", "d/ d/s/ d/s/g: two"),
            ("d/.", "/", "s/ s/g: two"),
            ("d/.", "/new", "new/ new/s/ new/s/g: two"),
            ("l", "/", "l -> f"),
            ("dl", "/", "dl -> d"),
            ("dl/", "/", "dl/ dl/s/ dl/s/g: two"),
            ("dl/.", "/", "s/ s/g: two"),
            ("-L l", "/", "l: one"),
            ("-L dl", "/", "dl/ dl/s/ dl/s/g: two"),
        ]
        .into_iter()
        .enumerate()
        {
            let base = format!("/t/empty/{number}");
            let out = empty(&lab, "out");
            std::fs::create_dir(out.join(number.to_string())).unwrap();
            cp(&lab, &format!("out/{number} {container}:/t/empty")).ok();
            cp(&lab, &format!("{source} {container}:{base}{destination}")).ok();
            let out = empty(&lab, "out");
            cp(&lab, &format!("{container}:{base}/. out")).ok();
            assert_eq!(
                tree(&out).join(" "),
                shown,
                "{source} {container}:{destination}"
            );
        }
        // A link in the container is followed, be something there or not.
        for (destination, left) in [
            ("link", "file"),
            ("broken", "nowhere"),
            ("dirlink", "dir/f"),
        ] {
            cp(&lab, &format!("f {container}:/t/{destination}")).ok();
            let out = empty(&lab, "out");
            cp(&lab, &format!("{container}:/t/{left} out/is")).ok();
            assert_eq!(tree(&out), ["is: one"], "{container}:{destination}");
        }
        cp(&lab, &format!("{container}:/t/link out")).ok();
        assert_eq!(
            tree(&lab.scratch().join("out")),
            ["is: one", "link -> file"]
        );
    }
}

#[test]
fn what_cannot_be_is_refused_in_dockers_words() {
    let lab = Lab::with_image();
    two_containers(&lab, "");
    let scratch = lab.scratch();
    let shown = scratch.display();
    lab.sh(&format!(
        "cd {shown} && mkdir -p d/file && touch f && mkfifo p"
    ))
    .ok();
    for container in ["up", "down"] {
        for (words, said) in [
            ("C:/nope .", "Could not find the file /nope in container C".to_owned()),
            ("C:t/nope/ .", "Could not find the file t/nope/ in container C".into()),
            ("-L C:/t/broken .", "Could not find the file /t/broken in container C".into()),
            ("C:/t/file/ .", "lstat /t/file/: not a directory".into()),
            ("C:/t/file/x .", "lstat /t/file/x: not a directory".into()),
            ("C:/t/dir f", "cannot copy directory".into()),
            ("C:/t/file none/", "no such directory".into()),
            ("C:/t/file none/x", format!("invalid output path: directory \"{shown}/none\" does not exist")),
            ("C:/t/file f/", format!("stat {shown}/f/: not a directory")),
            (
                "C:/t/file /dev/null",
                "invalid output path: \"/dev/null\" must be a directory or a regular file: got a device".into(),
            ),
            ("f C:/none/x", "Could not find the file /none in container C".into()),
            ("f C:/none/", "no such directory".into()),
            ("d C:/t/file", "cannot copy directory".into()),
            ("d C:/t/file/", "cannot overwrite non-directory \"file\" with directory \"/t\"".into()),
            ("d/. C:/t", "cannot overwrite non-directory \"file\" with directory \"/t\"".into()),
            ("f C:/t/file/x", "extraction point is not a directory".into()),
            ("none C:/t", format!("lstat {shown}/none: no such file or directory")),
            ("f/ C:/t", format!("lstat {shown}/f/: not a directory")),
            ("- C:/t/file", "destination \"C:/t/file\" must be a directory".into()),
            ("- C:/none", "destination \"C:/none\" must be a directory".into()),
            ("up:/t down:/t", "copying between containers is not supported".into()),
            ("f d", "must specify at least one container source".into()),
            ("./C:f d", "must specify at least one container source".into()),
            ("'' d", "source can not be empty".into()),
            ("C:/t ''", "destination can not be empty".into()),
            ("nobody:/t .", "No such container: nobody".into()),
            ("f nobody:/t", "No such container: nobody".into()),
        ] {
            let (words, said) = (words.replace("C:", &format!("{container}:")), said);
            let said = said.replace("container C", &format!("container {container}"));
            let said = said.replace("\"C:", &format!("\"{container}:"));
            let output = cp(&lab, &format!("{words} < /dev/null"));
            assert_eq!(output.stderr, format!("rmac: {said}\n"), "{words}");
            output.ended(1);
        }
    }
    // A directory of the container's cannot become a file, nor the other way round.
    lab.sh(&format!(
        "cd {shown} && rm -r d && mkdir -p d && touch d/sub"
    ))
    .ok();
    cp(&lab, "d/. up:/t/dir")
        .says("cannot overwrite directory \"sub\" with non-directory \"/t/dir\"")
        .ended(1);
    // A file is mounted there, and what is mounted cannot be replaced.
    cp(&lab, "f up:/etc/hosts")
        .says("unlinkat /etc/hosts: device or resource busy")
        .ended(1);
    cp(&lab, "f up:/dev/null")
        .says("destination \"up:/dev/null\" must be a directory or a regular file: got a device")
        .ended(1);
}

#[test]
fn a_file_gets_the_owner_of_the_side_it_comes_to() {
    let lab = Lab::with_image();
    two_containers(&lab, "");
    let scratch = lab.scratch();
    let shown = scratch.display();
    lab.sh(&format!(
        "cd {shown} && mkdir in && echo x > in/f && mkdir in/d && chmod 640 in/f && chmod 1750 in/d && ln -s f in/l \
         && ln in/f in/h && chown -hR 1234:1235 in && touch -d @1000000000 in/f in/d in"
    ))
    .ok();
    let look = "cd /t/in && stat -c '%n %u:%g %a %Y' . f d && stat -c '%n %u:%g' l && test f -ef h";
    for (flags, owner) in [("-a", "1234:1235"), ("", "0:0")] {
        cp(&lab, &format!("{flags} in up:/t/in{flags}")).ok();
        let look = look.replace("/t/in", &format!("/t/in{flags}"));
        let said = lab.sh(&format!("rmac exec up sh -c \"{look}\"")).ok();
        let time = 1_000_000_000;
        assert_eq!(
            said,
            format!(
                ". {owner} 755 {time}\nf {owner} 640 {time}\nd {owner} 1750 {time}\nl {owner}\n"
            )
        );
        cp(&lab, &format!("up:/t/in-a out{flags} {flags}")).ok();
        for name in ["", "f", "l", "d"] {
            let status = scratch
                .join(format!("out{flags}"))
                .join(name)
                .symlink_metadata()
                .unwrap();
            let (uid, gid) = (status.uid(), status.gid());
            assert_eq!(format!("{uid}:{gid}"), owner, "{flags} {name}");
        }
        let out = scratch.join(format!("out{flags}"));
        assert_eq!(out.join("f").metadata().unwrap().mode() & 0o7777, 0o640);
        assert_eq!(out.join("f").metadata().unwrap().mtime(), time);
        assert_eq!(out.join("d").metadata().unwrap().mtime(), time);
        assert_eq!(
            out.join("f").metadata().unwrap().ino(),
            out.join("h").metadata().unwrap().ino()
        );
    }
}

#[test]
fn a_stream_is_a_tar_archive() {
    let lab = Lab::with_image();
    two_containers(&lab, "");
    for container in ["up", "down"] {
        for (source, names) in [
            ("/t/dir", "dir/ dir/second dir/sub/ dir/sub/inner"),
            ("/t/dir/", "dir/ dir/second dir/sub/ dir/sub/inner"),
            ("/t/dir/.", "./ ./second ./sub/ ./sub/inner"),
            (
                "/t/dirlink/",
                "dirlink/ dirlink/second dirlink/sub/ dirlink/sub/inner",
            ),
            ("t/link", "link"),
            ("-L /t/link", "file"),
            ("/t/dir/sub/inner", "inner"),
        ] {
            let (flag, path) = source.split_once(' ').unwrap_or(("", source));
            let said = cp(
                &lab,
                &format!("{flag} {container}:{path} - | tar -t --absolute-names"),
            );
            assert_eq!(
                said.ok().split_whitespace().collect::<Vec<_>>().join(" "),
                names
            );
        }
        let said = cp(
            &lab,
            &format!("{container}:/ - | tar -t --absolute-names | grep ^/t/dir/"),
        );
        assert_eq!(
            said.ok(),
            "/t/dir/\n/t/dir/second\n/t/dir/sub/\n/t/dir/sub/inner\n"
        );
        // Its owners are the archive's own, packed or not; what is missing above is made.
        for (number, filter) in ["cat", "gzip", "zstd"].into_iter().enumerate() {
            let script = format!(
                "mkdir -p s/x && echo {filter} > s/x/y && tar -c --owner 77 --group 78 -C s x/y | {filter} \
                 | rmac cp - {container}:/t/empty && rmac cp {container}:/t/empty - | tar -tv | grep y$"
            );
            if number == 2 && lab.sh("command -v zstd").code != 0 {
                println!("skipped: no zstd");
                continue;
            }
            let said = lab
                .sh(&format!("cd {} && {script}", lab.scratch().display()))
                .ok();
            assert!(said.contains("77/78"), "{said}");
        }
        cp(&lab, &format!("{container}:/t/empty/x/y y")).ok();
    }
    cp(&lab, "- up:/t/empty < /etc/passwd")
        .says("it is no valid tar archive")
        .ended(1);
    cp(&lab, "- up:/t/empty < /dev/null").ok();
    // Names, links and sizes that the fields of a header cannot hold.
    let long = "long".repeat(50);
    lab.sh(&format!(
        "rmac exec up sh -c 'mkdir -p /w/{long}/{long} && echo deep > /w/{long}/{long}/{long} && ln -s /{long} /w/{long}/l'"
    ))
    .ok();
    cp(&lab, "up:/w w").ok();
    let expected = [
        format!("{long}/"),
        format!("{long}/l -> /{long}"),
        format!("{long}/{long}/"),
        format!("{long}/{long}/{long}: deep"),
    ];
    assert_eq!(tree(&lab.scratch().join("w")), expected);
    cp(&lab, "up:/w - | tar -x --to-stdout").says("deep").ok();
    lab.sh("rmac exec up truncate -s 20M /w/hole").ok();
    cp(&lab, "up:/w/hole hole").ok();
    let hole = lab.scratch().join("hole").metadata().unwrap();
    assert_eq!((hole.size(), hole.blocks()), (20 << 20, 0));
}

#[test]
fn it_is_what_the_container_sees() {
    let lab = Lab::with_image();
    let host = empty(&lab, "host");
    two_containers(
        &lab,
        &format!("-v data:/data -v {}:/host --tmpfs /mem", host.display()),
    );
    let out = lab.scratch().join("out");
    std::fs::write(&out, "from outside").unwrap();
    let read = |path: &str| cp(&lab, &format!("{path} - | tar -x --to-stdout"));
    for container in ["up", "down"] {
        for at in ["data", "host"] {
            cp(&lab, &format!("out {container}:/{at}/{container}")).ok();
            assert_eq!(
                read(&format!("{container}:/{at}/{container}")).ok(),
                "from outside"
            );
        }
        assert!(host.join(container).is_file());
        assert!(
            lab.root()
                .join("volumes/data/_data")
                .join(container)
                .is_file()
        );
        let hosts = read(&format!("{container}:/etc/hosts")).ok();
        assert!(hosts.starts_with("127.0.0.1\tlocalhost\n"), "{hosts}");
    }
    cp(&lab, "out up:/mem/file").ok();
    assert_eq!(lab.sh("rmac exec up cat /mem/file").ok(), "from outside");
    cp(&lab, "up:/mem/file mem").ok();
    // A container that was never started has its volumes, too; what is copied in is there when it starts.
    let image = lab.image();
    lab.sh(&format!(
        "rmac create --name new -v data:/data {image} cat /data/file /file"
    ))
    .ok();
    cp(&lab, "out new:/data/file").ok();
    cp(&lab, "out new:/file").ok();
    assert_eq!(lab.sh("rmac start -a new").ok(), "from outsidefrom outside");
    // A directory that lies below a volume, and a volume below the root, are one tree.
    let tree = empty(&lab, "tree");
    cp(&lab, "down:/. tree").ok();
    assert!(tree.join("data/up").is_file() && tree.join("t/dir/second").is_file());
    assert!(tree.join("bin/busybox").is_file());
}

#[test]
fn what_is_read_only_is_not_written_to() {
    let lab = Lab::with_image();
    let words = "--read-only -v data:/ro:ro -v data:/rw --tmpfs /mem";
    let image = lab.image();
    lab.sh(&format!(
        "rmac run -d --name up {words} {image} sleep 600; rmac create --name down {words} {image} true"
    ))
    .ok();
    std::fs::write(lab.scratch().join("f"), "x").unwrap();
    for container in ["up", "down"] {
        let into = |path: &str| cp(&lab, &format!("f {container}:{path}"));
        into("/f")
            .says("rmac: container rootfs is marked read-only\n")
            .ended(1);
        into("/etc/f")
            .says("rmac: container rootfs is marked read-only\n")
            .ended(1);
        into("/ro/f")
            .says("rmac: mounted volume is marked read-only\n")
            .ended(1);
        into("/rw/f").ok();
        cp(&lab, &format!("{container}:/ro/f out")).ok();
    }
    cp(&lab, "f up:/mem/").ok();
    assert_eq!(lab.sh("rmac diff up").ok(), "A /mem\nA /ro\nA /rw\n");
}

#[test]
fn in_a_user_namespace_the_numbers_are_those_inside() {
    let lab = Lab::with_image();
    two_containers(&lab, "--userns auto -v data:/data");
    let scratch = lab.scratch();
    std::fs::write(scratch.join("f"), "x").unwrap();
    std::os::unix::fs::chown(scratch.join("f"), Some(77), Some(78)).unwrap();
    for container in ["up", "down"] {
        for at in ["/t", "/data"] {
            cp(&lab, &format!("f {container}:{at}/plain")).ok();
            cp(&lab, &format!("-a f {container}:{at}/kept")).ok();
            let list = cp(
                &lab,
                &format!("{container}:{at} - | tar -tv --numeric-owner"),
            )
            .ok();
            let owner = |name: &str| {
                let line = list.lines().find(|line| line.ends_with(name)).unwrap();
                line.split_whitespace().nth(1).unwrap().to_owned()
            };
            assert_eq!(
                (owner("plain"), owner("kept")),
                ("0/0".into(), "77/78".into()),
                "{at}"
            );
        }
        let exported = lab
            .sh(&format!(
                "rmac export {container} | tar -tv --numeric-owner"
            ))
            .ok();
        let strange = exported.lines().find(|line| line.contains("65534"));
        assert_eq!(strange, None);
        assert!(exported.contains("77/78"), "{exported}");
        // The image's files are the container's by translation alone, which is no change.
        let changes = lab.sh(&format!("rmac diff {container}")).ok();
        let changed: Vec<&str> = changes
            .lines()
            .filter(|line| !line.starts_with('A'))
            .collect();
        assert!(changed.is_empty(), "{changes}");
        // Where nobody may make a device, none is made.
        cp(&lab, &format!("/dev/null {container}:/t/null"))
            .says("null is a device, and is left out")
            .ok();
    }
    let said = lab.sh("rmac exec up stat -c '%n %u:%g' /t/plain /t/kept /data/plain /data/kept");
    let expected = "/t/plain 0:0\n/t/kept 77:78\n/data/plain 0:0\n/data/kept 77:78\n";
    assert_eq!(said.ok(), expected);
}

#[test]
fn no_link_of_the_containers_leads_out() {
    let lab = Lab::with_image();
    two_containers(&lab, "");
    let secret = empty(&lab, "secret");
    std::fs::write(secret.join("file"), "the host's").unwrap();
    let shown = secret.display();
    let links = format!(
        "ln -s {shown} /t/out; ln -s ../../../../../../../../..{shown} /t/climb; ln -s {shown}/file /t/name; \
         ln -s /proc/1/root /t/proc; ln -s /proc/self/root{shown} /t/self; ln -s {shown}/new /t/new"
    );
    lab.sh(&format!(
        "rmac exec up sh -c '{links}'; rmac start down; rmac wait down; rmac cp up:/t down:/ ; :"
    ))
    .ok();
    // The other one gets the same links.
    lab.sh("rmac cp up:/t - | rmac cp - down:/").ok();
    std::fs::write(lab.scratch().join("f"), "from outside").unwrap();
    let before = tree(&secret);
    for container in ["up", "down"] {
        for path in [
            "out/file",
            "climb/file",
            "name/",
            "self/file",
            "out/",
            "climb/.",
            "proc/.",
        ] {
            let at = empty(&lab, "got");
            let output = cp(&lab, &format!("-L {container}:/t/{path} got"));
            assert_ne!(output.code, 0, "{path}: {output:?}");
            assert!(tree(&at).is_empty(), "{path}");
        }
        for path in ["out/f", "climb/f", "self/f", "new", "../../../../../..{}/x"] {
            let path = path.replace("{}", &shown.to_string());
            assert_ne!(
                cp(&lab, &format!("f {container}:/t/{path}")).code,
                0,
                "{path}"
            );
        }
        // Links are copied as they are, whole trees with them.
        let at = empty(&lab, "got");
        cp(&lab, &format!("{container}:/t got")).ok();
        assert_eq!(std::fs::read_link(at.join("t/out")).unwrap(), secret);
        assert!(!tree(&at).join(" ").contains("the host's"));
        // A link that the archive brings along is none to unpack through.
        let made = format!(
            "cd {} && rm -rf a b && mkdir a b && ln -s {shown} a/x && mkdir b/x && echo evil > b/x/evil",
            lab.scratch().display()
        );
        lab.sh(&format!("{made} && (tar -c -C a x; tar -c -C b x/evil) | tar -c --files-from /dev/null > /dev/null; \
             tar -c -f e.tar -C a x && tar -r -f e.tar -C ../scratch/b x/evil && rmac cp - {container}:/t/empty < e.tar; :"))
            .ok();
        assert_eq!(tree(&secret), before, "{container}");
    }
}

#[test]
fn what_comes_out_is_harmless() {
    let lab = Lab::with_image();
    let image = lab.image();
    let make = "mkdir /t && cd /t && cp /bin/busybox root && chmod 6755 root && mknod -m 666 disk b 7 0 && mkfifo -m 666 pipe \
                && nc -lU socket & sleep 1; echo fine > /t/last; exec sleep 600";
    lab.sh(&format!("rmac run -d --name up {image} sh -c '{make}'"))
        .ok();
    wait_for("all is made", || {
        lab.sh("rmac exec up test -e /t/last").code == 0
    });
    let out = empty(&lab, "out");
    // Nobody writes to the pipe: who opened it would wait for ever.
    let output = cp(&lab, "up:/t out");
    assert_eq!(output.stderr, "rmac: t/disk is a device, and is left out\n");
    output.ended(0);
    let mode = |name: &str| {
        out.join(name)
            .symlink_metadata()
            .map(|status| status.permissions().mode() & 0o7777)
    };
    assert_eq!(mode("t/root").unwrap(), 0o755);
    assert!(mode("t/disk").is_err() && mode("t/last").is_ok());
    assert!(out.join("t/pipe").symlink_metadata().is_ok());
    // Who asks for all of it gets it.
    cp(&lab, "-a up:/t out/all").ok();
    assert_eq!(mode("all/root").unwrap(), 0o6755);
    assert_eq!(
        out.join("all/disk").metadata().unwrap().rdev(),
        nix::sys::stat::makedev(7, 0)
    );
    // In the other direction another user's program does not become root's.
    std::fs::copy(out.join("t/root"), out.join("mine")).unwrap();
    std::os::unix::fs::chown(out.join("mine"), Some(1234), Some(1234)).unwrap();
    std::fs::set_permissions(out.join("mine"), PermissionsExt::from_mode(0o4755)).unwrap();
    cp(&lab, "out/mine up:/t/mine").ok();
    cp(&lab, "-a out/mine up:/t/kept").ok();
    let said = lab.sh("rmac exec up stat -c '%u %a' /t/mine /t/kept");
    assert_eq!(said.ok(), "0 755\n1234 4755\n");
}

#[test]
fn a_diff_tells_what_has_changed() {
    let lab = Lab::with_image();
    let image = lab.image();
    lab.sh(&format!("rmac run --name same {image} sh -c 'cat /etc/passwd; : >> /etc/passwd; chmod 644 /etc/group'")).ok();
    assert_eq!(lab.sh("rmac diff same").ok(), "");
    let change = "mkdir -p /new/deep && echo x > /new/deep/file && echo x >> /etc/passwd && rm /etc/motd && chmod 600 /etc/group \
         && rm -r /etc/apk && mkdir /etc/apk && echo x > /etc/apk/world && rm -r /media && ln -s x /media && rm /bin/ls && mkdir /bin/ls \
         && chown 5 /srv && mv /etc/profile /etc/moved && touch /tmp/x && rm /tmp/x && echo \"$(printf \"a\\033b\")\" > \"$(printf \"/opt/a\\033b\")\"";
    lab.sh(&format!(
        "rmac run -d --name up {image} sh -c '{change}; touch /end; exec sleep 600'"
    ))
    .ok();
    wait_for("all is done", || {
        lab.sh("rmac exec up test -e /end").code == 0
    });
    let expected = "C /bin\nC /bin/ls\nA /end\nC /etc\nC /etc/apk\nD /etc/apk/arch\nD /etc/apk/keys\n\
         D /etc/apk/protected_paths.d\nD /etc/apk/repositories\nC /etc/apk/world\nC /etc/group\nD /etc/motd\nA /etc/moved\n\
         C /etc/passwd\nD /etc/profile\nC /media\nA /new\nA /new/deep\nA /new/deep/file\nC /opt\nA /opt/a\\x1bb\nC /srv\n";
    let said = lab.sh("rmac diff up").ok();
    assert_eq!(said, expected);
    lab.sh("rmac stop -t 0 up").ok();
    assert_eq!(lab.sh("rmac container diff up").ok(), expected);
    lab.sh("rmac diff nobody")
        .says("rmac: No such container: nobody")
        .ended(1);
}

#[test]
fn several_layers_are_one_image() {
    let lab = Lab::with_image();
    let archive = common::fixtures().join("layers.tar");
    lab.rmac(&["load", "-q", "-i", archive.to_str().unwrap()])
        .ok();
    let image = format!("{}:layers", lab.image());
    let script = "test -e /etc/passwd && rm /etc/passwd && touch /etc/new && : >> /etc/group";
    for (name, flags) in [("plain", ""), ("mapped", "--userns auto")] {
        let said = lab.sh(&format!(
            "rmac run --name {name} {flags} {image} sh -c '{script}' && rmac diff {name}"
        ));
        assert_eq!(said.ok(), "C /etc\nA /etc/new\nD /etc/passwd\n", "{name}");
        cp(&lab, &format!("{name}:/etc/group {name}")).ok();
        let list = lab.sh(&format!("rmac export {name} | tar -t")).ok();
        assert!(list.lines().any(|line| line == "etc/new"));
        assert!(!list.lines().any(|line| line == "etc/passwd"));
    }
}

#[test]
fn a_diff_follows_the_marks_of_a_stack() {
    let lab = Lab::with_image();
    let image = lab.image();
    let id = lab.sh(&format!("rmac create --name one {image} true")).ok();
    let upper = lab.root().join("containers").join(id.trim()).join("upper");
    // A directory that overlayfs has moved (redirect_dir) shows the image's files at another place.
    let marked = lab.sh(&format!(
        "cd {} && mkdir moved && touch moved/own && mknod moved/motd c 0 0 && mknod home c 0 0 \
         && python3 -c 'import os; os.setxattr(\"moved\", \"trusted.overlay.redirect\", b\"/etc/apk\")'",
        upper.display()
    ));
    marked.ok();
    let said = lab.sh("rmac diff one").ok();
    let moved: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("/moved"))
        .collect();
    for line in [
        "A /moved",
        "A /moved/own",
        "A /moved/world",
        "A /moved/keys",
    ] {
        assert!(moved.contains(&line), "{said}");
    }
    assert!(said.starts_with("D /home\n"), "{said}");
    assert!(!said.contains("motd"), "{said}");
}

#[test]
fn an_export_is_the_tree_without_its_volumes() {
    let lab = Lab::with_image();
    let scratch = lab.scratch();
    let shown = scratch.display();
    two_containers(&lab, "-v data:/data --tmpfs /mem");
    lab.sh("rmac exec up sh -c 'echo x > /data/hidden; echo x > /mem/hidden; ln /t/file /t/again'")
        .ok();
    for container in ["up", "down"] {
        let list = lab.sh(&format!("rmac export {container} | tar -t")).ok();
        let has = |name: &str| list.lines().any(|line| line == name);
        for name in [
            "bin/busybox",
            "t/dir/sub/inner",
            "t/link",
            "data/",
            "mem/",
            "proc/",
            "dev/",
        ] {
            assert!(has(name), "{name}");
        }
        for name in [
            "data/hidden",
            "mem/hidden",
            "proc/1/",
            "dev/null",
            "./",
            "/",
        ] {
            assert!(!has(name), "{name}");
        }
        let file = scratch.join(format!("{container}.tar"));
        let verb = if container == "up" {
            "export"
        } else {
            "container export"
        };
        assert_eq!(
            lab.sh(&format!(
                "cd {shown} && rmac {verb} -o {container}.tar {container}"
            ))
            .ok(),
            ""
        );
        let status = file.metadata().unwrap();
        assert_eq!(status.mode() & 0o777, 0o600);
        // It makes an image again.
        lab.sh(&format!("rmac import {} again:1", file.display()))
            .ok();
        let said = lab
            .sh("rmac run --rm again:1 sh -c 'cat /t/dir/sub/inner; ls -ld /tmp; readlink /t/link'")
            .ok();
        assert!(
            said.starts_with("inner\ndrwxrwxrwt") && said.ends_with("\nfile\n"),
            "{said}"
        );
    }
    let said = lab.sh("rmac export up | tar -tv | grep again").ok();
    assert!(said.starts_with('h') || said.contains("link to"), "{said}");
    for (words, said) in [
        (
            "-o none/x up",
            "failed to export container: invalid output path: stat none: no such file or directory",
        ),
        (
            "-o . up",
            "failed to export container: cannot write to a directory",
        ),
        (
            "-o /dev/null up",
            "failed to export container: cannot write to a character device file",
        ),
        ("nobody", "No such container: nobody"),
    ] {
        let output = lab.sh(&format!("cd {shown} && rmac export {words}"));
        assert_eq!(output.stderr, format!("rmac: {said}\n"));
        output.ended(1);
    }
    let left: Vec<String> = tree_names(&scratch);
    assert_eq!(left, ["down.tar", "up.tar"]);
    let mut command = lab.command(common::RMAC);
    command.args(["export", "up"]);
    let mut terminal = Terminal::start(&command);
    terminal.wait_for("cowardly refusing to save to a terminal. Use the -o flag or redirect");
    terminal.end();
}

fn tree_names(at: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(at).unwrap().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn who_is_killed_leaves_nothing_and_who_comes_meanwhile_waits() {
    let lab = Lab::with_image();
    let image = lab.image();
    lab.sh(&format!(
        "rmac create --name one --rm -v data:/data {image} cat /file"
    ))
    .ok();
    std::fs::write(lab.scratch().join("f"), "from outside").unwrap();
    // A stream that does not end: it has the container's tree for as long as that takes.
    let start = || {
        let mut command = lab.command(common::RMAC);
        let mut child = command
            .args(["cp", "-", "one:/"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        wait_for("it is in", || {
            !lab.leaks()
                .iter()
                .filter(|leak| leak.contains("mount"))
                .collect::<Vec<_>>()
                .is_empty()
        });
        (child, input)
    };
    let (mut child, input) = start();
    lab.sh("rmac ps -a").says("Created").ok();
    child.kill().unwrap();
    child.wait().unwrap();
    drop(input);
    wait_for("its process goes with it", || {
        lab.leaks().iter().all(|leak| !leak.contains("mount"))
    });
    cp(&lab, "f one:/file").ok();
    let (mut child, input) = start();
    let mut starting = lab.command(common::RMAC);
    let starting = starting
        .args(["start", "-a", "one"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(
        lab.sh("rmac inspect -f {{.State.Status}} one").ok(),
        "created\n"
    );
    drop(input);
    assert!(child.wait().unwrap().success());
    let output = starting.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "from outside");
    lab.no_leaks();
}

#[test]
fn on_a_terminal_it_tells_what_was_copied() {
    let lab = Lab::with_image();
    two_containers(&lab, "");
    std::fs::write(lab.scratch().join("f"), "12345").unwrap();
    let shown = lab.scratch().display().to_string();
    let on_terminal = |words: &[&str], said: &str| {
        let mut command = lab.command(common::RMAC);
        command.arg("cp").args(words);
        let mut terminal = Terminal::start(&command);
        terminal.wait_for(said);
        terminal.end();
    };
    let file = format!("{shown}/f");
    on_terminal(
        &[&file, "up:/t/link"],
        "Successfully copied 5B (transferred 2.05kB) to up:/t/file",
    );
    on_terminal(
        &[&file, "up:/t"],
        "Successfully copied 5B (transferred 2.05kB) to up:/t",
    );
    on_terminal(
        &["up:/t/dir", &shown],
        &format!("Successfully copied 4.1kB to {shown}"),
    );
    assert_eq!(cp(&lab, "f up:/t").stderr, "");
}
