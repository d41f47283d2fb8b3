//! Names: paths, links and what has the name already.

use super::*;

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
    all("names::paths", || {
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
    all("names::links", || {
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
    all("names::kinds_that_differ", || {
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
    all("names::whiteouts", || {
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
