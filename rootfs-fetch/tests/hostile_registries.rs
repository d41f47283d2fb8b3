//! Hostile registries, in a world of their own: each pull ends soon, with a reason, and only the store was touched.
//!
//! Each case has a server in this process, an empty store, and the bounds of `common/world.rs` on memory, disk and
//! time. `registry.rs` has the registries that mean well.
//!
//! | what a registry may do | the answer | where |
//! |---|---|---|
//! | 401 without a challenge, or again and again; a challenge that is none | refused | `logins` |
//! | a realm that is a file, no URL, on another host, or on plain http for a registry on https | refused, or asked without the password | `logins`, `passwords_stay_at_home`, `auth.rs` |
//! | a token of 10 MiB, without end, with a line break, or none | refused | `logins` |
//! | redirects in a circle, to `file:`, to nowhere | refused | `redirects` |
//! | a redirect to another host, and back again | followed without the password | `passwords_stay_at_home`, `registry.rs` |
//! | 403, 404, 429 for a day, 5xx for ever, 204, 206, 304 | refused, in Docker's words | `statuses`, `registry.rs` |
//! | documents, blobs, errors or headers without end, or byte by byte | given up | `slow_and_endless` |
//! | a connection that breaks at any point; nonsense instead of HTTP | refused | `broken_connections`, `registry.rs` |
//! | a body that is too long or too short, the wrong type, compressed JSON | refused | `documents`, `registry.rs` |
//! | plain http where https is asked; a certificate of another name, of long ago, or by nobody known | refused | `tls` |
//! | a million layers, deep nesting, keys twice, a list and an image at once, schema 1, more than 4 MiB | refused | `documents`, `documents.rs` |
//! | an index of 10,000 entries, one that leads to itself, one without our platform | chosen from, or refused | `documents`, `registry.rs` |
//! | digests that are paths, of another kind, or wrong; sizes that lie; diff_ids that do not fit | refused | `documents`, `registry.rs` |
//! | a configuration with a million labels, NULs, `Env` without `=`, users that are none | an image; what cannot run says so at the start | `configurations` |

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::server::{Answer, Asked, Server};
use common::tls::{self, Shown};
use common::world::{STORE, World};
use common::{INDEX, MANIFEST, TestImage, simple_image};
use rootfs_fetch::{Digest, Image, Patience, Progress, PullOptions, Store};
use serde_json::{Value, json};

const QUICK: Patience = Patience {
    connect: Duration::from_secs(2),
    stall: Duration::from_millis(700),
    pause: Duration::from_millis(5),
    attempts: 2,
    total: Duration::from_secs(5),
};

fn pull(name: &str) -> anyhow::Result<Image> {
    let progress = Progress::quiet();
    let options = PullOptions {
        patience: QUICK,
        platform: Some("linux/amd64".parse()?),
        ..PullOptions::new(&progress)
    };
    Store::open(&Path::new(STORE).join("images"))?.ensure(name, &options)
}

/// A pull that must fail with a text that holds `part`, and leave no image and nothing half unpacked.
fn refused(world: &World, name: &str, part: &str, host: &str) {
    world.case(name, || {
        let error = pull(&format!("{host}/app:1")).expect_err(name);
        let text = format!("{error:#}");
        assert!(text.contains(part), "{name}: {text}");
        assert!(!text.contains(char::is_control), "{name}: {text:?}");
        let images = Path::new(STORE).join("images");
        assert!(Store::open(&images).unwrap().list().unwrap().is_empty());
        assert!(
            !images.join("tmp").exists(),
            "{name}: something half unpacked"
        );
    });
}

type Twist = Box<dyn Fn(&Asked, Answer) -> Answer + Send + Sync>;

fn twist(f: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static) -> Twist {
    Box::new(f)
}

/// Each case: its name, what the error says, and what becomes of a good registry's answers.
fn all(test: &str, cases: impl FnOnce() -> Vec<(&'static str, &'static str, Twist)>) {
    World::run(test, |world| {
        for (name, part, twist) in cases() {
            let server = Server::registry(&[("1", simple_image())], twist);
            refused(world, name, part, &server.address);
        }
    });
}

/// Asks for a token at `path` of the same host for everything else.
fn login(challenge: &'static str, token: impl Fn() -> Answer + Send + Sync + 'static) -> Twist {
    twist(move |asked, answer| {
        if asked.path.starts_with("/token") {
            return token();
        }
        match asked.header("authorization") {
            "" => Answer::new(401, "").with(
                "WWW-Authenticate",
                &challenge.replace("HOST", asked.header("host")),
            ),
            _ => answer,
        }
    })
}

const BEARER: &str = "Bearer realm=\"http://HOST/token\"";

#[test]
fn logins() {
    all("logins", || {
        let bare = |challenge| login(challenge, || Answer::new(200, "{}"));
        let gives = |text: String| login(BEARER, move || Answer::new(200, text.clone()));
        vec![
            (
                "no challenge",
                "without saying how",
                twist(|_, _| Answer::new(401, "")),
            ),
            (
                "again and again",
                "pull access denied",
                twist(|_, _| Answer::new(401, "").with("WWW-Authenticate", "Basic")),
            ),
            (
                "unknown scheme",
                "without saying how",
                bare("Negotiate abc"),
            ),
            (
                "no realm",
                "without saying how",
                bare("Bearer service=\"x\""),
            ),
            (
                "a file",
                "wants a token fetched",
                bare("Bearer realm=\"file:///etc/shadow\""),
            ),
            ("no URL", "is no URL", bare("Bearer realm=\"//\"")),
            (
                "unknown host",
                "cannot reach",
                bare("Bearer realm=\"http://127.0.0.1:1/\""),
            ),
            (
                "a thousand challenges",
                "pull access denied",
                twist(|_, _| {
                    (0..90).fold(Answer::new(401, ""), |a, _| {
                        a.with("WWW-Authenticate", &"Basic realm=x, ".repeat(10))
                    })
                }),
            ),
            ("10 MiB", "more than", gives("x".repeat(10 << 20))),
            (
                "no header's length",
                "too long",
                gives(json!({"token": "x".repeat(100_000)}).to_string()),
            ),
            (
                "line break",
                "control character",
                gives(json!({"token": "a\r\nX-Evil: 1"}).to_string()),
            ),
            ("no token", "without a token", gives("{}".to_owned())),
            (
                "a number",
                "without a token",
                gives(r#"{"token":7}"#.to_owned()),
            ),
            ("no JSON", "not valid JSON", gives("<html>".to_owned())),
            ("deep", "not valid JSON", gives("[".repeat(100_000))),
            (
                "without end",
                "more than",
                login(BEARER, || Answer {
                    endless: true,
                    ..Answer::new(200, vec![b' '; 65536])
                }),
            ),
            (
                "refused",
                "gives no token",
                login(BEARER, || Answer::new(403, "")),
            ),
            (
                "redirected",
                "in a circle",
                login(BEARER, || Answer::new(302, "").with("Location", "/token")),
            ),
        ]
    });
}

/// Writes Docker's configuration with a password for `host`, and says what header it would become.
fn with_password(host: &str) -> &'static str {
    let directory = Path::new(STORE).join("docker");
    fs_err::create_dir_all(&directory).unwrap();
    let config = json!({"auths": {host: {"auth": "dXNlcjpwYXNz"}}});
    fs_err::write(directory.join("config.json"), config.to_string()).unwrap();
    "Basic dXNlcjpwYXNz"
}

/// The same place under a name that is another host: 127.0.0.1 becomes 127.0.0.2.
fn other_name(address: &str) -> String {
    address.replace("127.0.0.1", "0.0.0.0")
}

#[test]
fn passwords_stay_at_home() {
    World::run("passwords_stay_at_home", |world| {
        let other = Arc::new(Server::registry(
            &[("1", simple_image())],
            |asked, answer| match asked.path.starts_with("/token") {
                true => Answer::new(200, r#"{"token":"T"}"#),
                false => answer,
            },
        ));
        let elsewhere = other_name(&other.address);
        let places = [
            ("realm", "/token"),
            ("manifest", "/manifests/"),
            ("blob", "/blobs/"),
            ("userinfo", "/blobs/"),
        ];
        for (name, part) in places {
            let to = elsewhere.clone();
            let server = Server::registry(&[("1", simple_image())], move |asked, answer| {
                if asked.header("authorization").is_empty() {
                    let challenge = match name {
                        "realm" => format!("Bearer realm=\"http://{to}/token\""),
                        _ => "Basic realm=\"x\"".to_owned(),
                    };
                    return Answer::new(401, "").with("WWW-Authenticate", &challenge);
                }
                let user = if name == "userinfo" { "u:p@" } else { "" };
                match name != "realm" && asked.path.contains(part) {
                    true => Answer::new(307, "")
                        .with("Location", &format!("http://{user}{to}{}", asked.path)),
                    false => answer,
                }
            });
            let before = other.asked().len();
            world.case(name, || {
                let password = with_password(&server.address);
                let name = format!("{}/app:1", server.address);
                pull(&name).unwrap_or_else(|e| panic!("{name}: {e:#}"));
                let home: Vec<Asked> = server.asked();
                let used = home.iter().any(|a| a.header("authorization") == password);
                assert!(used || part == "/token", "the password is for its own host");
            });
            let asked = other.asked().split_off(before);
            assert!(!asked.is_empty(), "{name}: the other host was asked");
            for request in asked {
                assert_eq!(
                    request.header("authorization"),
                    "",
                    "{name}: {}",
                    request.path
                );
                assert!(
                    !format!("{request:?}").contains("pass"),
                    "{name}: {request:?}"
                );
            }
        }
    });
}

#[test]
fn a_password_does_not_come_back_after_a_detour() {
    World::run("a_password_does_not_come_back_after_a_detour", |world| {
        let home = Arc::new(std::sync::Mutex::new(String::new()));
        let known = home.clone();
        let other = Server::start(move |asked| {
            let to = format!("http://{}{}?back", known.lock().unwrap(), asked.path);
            Answer::new(302, "").with("Location", &to)
        });
        let elsewhere = other_name(&other.address);
        let server = Server::registry(&[("1", simple_image())], move |asked, answer| {
            if asked.path.ends_with("?back") {
                return answer;
            }
            match (
                asked.header("authorization"),
                asked.path.contains("/blobs/"),
            ) {
                ("", _) => Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\""),
                (_, true) => Answer::new(302, "")
                    .with("Location", &format!("http://{elsewhere}{}", asked.path)),
                (_, false) => answer,
            }
        });
        home.lock().unwrap().clone_from(&server.address);
        world.case("detour", || {
            with_password(&server.address);
            pull(&format!("{}/app:1", server.address)).unwrap();
        });
        let back: Vec<Asked> = server
            .asked()
            .into_iter()
            .filter(|a| a.path.ends_with("?back"))
            .collect();
        assert_eq!(back.len(), 3);
        assert!(back.iter().all(|a| a.header("authorization").is_empty()));
    });
}

#[test]
fn redirects() {
    all("redirects", || {
        let to = |location: &'static str| {
            twist(
                move |asked, answer| match asked.path.contains("/manifests/") {
                    true => Answer::new(302, "").with("Location", location),
                    false => answer,
                },
            )
        };
        vec![
            (
                "circle",
                "in a circle",
                twist(|asked, _| Answer::new(301, "").with("Location", &asked.path)),
            ),
            (
                "ever longer",
                "in a circle",
                twist(|asked, _| {
                    Answer::new(308, "").with("Location", &format!("{}/x", asked.path))
                }),
            ),
            ("file", "neither http nor https", to("file:///etc/shadow")),
            (
                "data",
                "neither http nor https",
                to("data:application/json,{}"),
            ),
            ("gopher", "neither http nor https", to("gopher://x/")),
            ("nonsense", "redirects to nonsense", to("http://[")),
            (
                "nowhere",
                "redirects to nowhere",
                twist(|_, _| Answer::new(302, "")),
            ),
            ("no such port", "cannot reach", to("http://127.0.0.1:1/")),
            ("escape codes", "invalid HTTP header", to("x\t:\u{1}")),
        ]
    });
}

#[test]
fn statuses() {
    all("statuses", || {
        let status = |status, text: &'static str| {
            twist(move |asked, answer| match asked.path == "/v2/" {
                true => answer,
                false => Answer::new(status, text),
            })
        };
        let blob = |f: fn(Answer) -> Answer| {
            twist(move |asked, answer| match asked.path.contains("/blobs/") {
                true => f(answer),
                false => answer,
            })
        };
        vec![
            (
                "403",
                "pull access denied",
                status(403, r#"{"errors":[{"message":"\u001b[2J\r\nno"}]}"#),
            ),
            ("404", "manifest unknown", status(404, "")),
            ("410", "410", status(410, "")),
            ("500", "500", status(500, "")),
            ("503", "503", status(503, "")),
            ("204", "204", status(204, "")),
            ("304", "304", status(304, "")),
            ("599", "599", status(599, "")),
            (
                "a day",
                "rate limit",
                twist(|_, _| Answer::new(429, "").with("Retry-After", "86400")),
            ),
            (
                "for ever",
                "",
                twist(|_, _| Answer::new(429, "").with("Retry-After", "18446744073709551615")),
            ),
            (
                "long ago",
                "429",
                twist(|_, _| {
                    Answer::new(429, "").with("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT")
                }),
            ),
            (
                "blob 404",
                "does not have the blob",
                blob(|_| Answer::new(404, "")),
            ),
            (
                "wrong part",
                "wrong part",
                blob(|a| Answer { status: 206, ..a }.with("Content-Range", "bytes 7-9/10")),
            ),
        ]
    });
}

#[test]
fn slow_and_endless() {
    all("slow_and_endless", || {
        let only = |part: &'static str, f: fn(Answer) -> Answer| {
            twist(move |asked, answer| match asked.path.contains(part) {
                true => f(answer),
                false => answer,
            })
        };
        let endless: fn(Answer) -> Answer = |a| Answer {
            endless: true,
            body: vec![b' '; 65536],
            ..a
        };
        let drip: fn(Answer) -> Answer = |a| Answer { drip: 30, ..a };
        vec![
            (
                "manifest without end",
                "more than 4194304",
                only("/manifests/", endless),
            ),
            ("blob without end", "", only("/blobs/", endless)),
            (
                "error without end",
                "manifest unknown",
                only("/manifests/", |_| Answer {
                    endless: true,
                    ..Answer::new(404, vec![b' '; 65536])
                }),
            ),
            ("manifest byte by byte", "", only("/manifests/", drip)),
            ("blob byte by byte", "", only("/blobs/", drip)),
            (
                "silence",
                "",
                only("/manifests/", |a| Answer {
                    stall: 3000,
                    raw: Some(vec![]),
                    body: vec![],
                    ..a
                }),
            ),
            (
                "headers without end",
                "",
                only("/manifests/", |a| Answer {
                    raw: Some(b"HTTP/1.1 200 X\r\n".to_vec()),
                    body: b"X-A: aaaaaaaaaaaaaaaa\r\n".repeat(1000),
                    endless: true,
                    ..a
                }),
            ),
            (
                "one header without end",
                "",
                only("/manifests/", |a| Answer {
                    raw: Some(b"HTTP/1.1 200 X\r\nX-A: ".to_vec()),
                    body: vec![b'a'; 65536],
                    endless: true,
                    ..a
                }),
            ),
            (
                "interim answers without end",
                "",
                only("/manifests/", |a| Answer {
                    raw: Some(vec![]),
                    body: b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100),
                    endless: true,
                    ..a
                }),
            ),
            (
                "chunks without end",
                "more than",
                only("/manifests/", |a| Answer {
                    raw: Some(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
                    body: b"10\r\n                \r\n".repeat(3000),
                    endless: true,
                    ..a
                }),
            ),
        ]
    });
}

#[test]
fn broken_connections() {
    all("broken_connections", || {
        let manifest = |raw: &'static [u8]| {
            twist(
                move |asked, answer| match asked.path.contains("/manifests/") {
                    true => Answer::raw(raw),
                    false => answer,
                },
            )
        };
        let blob = |raw: &'static [u8]| {
            twist(move |asked, answer| match asked.path.contains("/blobs/") {
                true => Answer::raw(raw),
                false => answer,
            })
        };
        vec![
            ("at once", "", twist(|_, _| Answer::raw(""))),
            ("before the answer", "cannot reach", manifest(b"")),
            (
                "in the status line",
                "cannot reach",
                manifest(b"HTTP/1.1 20"),
            ),
            (
                "in the headers",
                "cannot reach",
                manifest(b"HTTP/1.1 200 OK\r\nContent-Le"),
            ),
            (
                "before the body",
                "",
                manifest(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
            ),
            (
                "in the body",
                "",
                manifest(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{\"schema"),
            ),
            (
                "in a chunk",
                "",
                manifest(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc"),
            ),
            (
                "no HTTP",
                "cannot reach",
                manifest(b"SSH-2.0-OpenSSH_9\r\n"),
            ),
            (
                "escape codes",
                "cannot reach",
                manifest(b"\x1b[2J\x07\r\n\r\n"),
            ),
            (
                "negative length",
                "cannot reach",
                manifest(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"),
            ),
            (
                "two lengths",
                "cannot reach",
                manifest(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"),
            ),
            (
                "huge length",
                "",
                manifest(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551614\r\n\r\n{}"),
            ),
            (
                "huge chunk",
                "",
                manifest(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffe\r\n{}",
                ),
            ),
            ("blob, before the answer", "cannot reach", blob(b"")),
            (
                "blob, in the body",
                "broke at byte",
                blob(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nab"),
            ),
        ]
    });
}

/// A registry whose manifest `1` is these bytes, of this type.
fn manifest_of(kind: &'static str, bytes: Vec<u8>) -> Twist {
    twist(
        move |asked, answer| match asked.path.contains("/manifests/") {
            true => Answer::new(200, bytes.clone()).with("Content-Type", kind),
            false => answer,
        },
    )
}

#[test]
fn documents() {
    all("documents", || {
        let good: Value = serde_json::from_slice(&simple_image().manifest).unwrap();
        let changed = |f: &dyn Fn(&mut Value)| {
            let mut manifest = good.clone();
            f(&mut manifest);
            manifest_of(MANIFEST, manifest.to_string().into_bytes())
        };
        let text = String::from_utf8(simple_image().manifest).unwrap();
        let layer = good["layers"][0].to_string();
        let entry = json!({"mediaType": MANIFEST, "digest": Digest::of(b"x").to_string(), "size": 1,
            "platform": {"os": "linux", "architecture": "riscv64"}});
        let index = |entries: &str| {
            let text =
                format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{entries}]}}"#);
            manifest_of(INDEX, text.into_bytes())
        };
        let escapes = json!({"mediaType": "\u{1b}[2J", "schemaVersion": "\u{1b}[2J"}).to_string();
        vec![
            (
                "20,000 layers",
                "20000 layers",
                changed(&|m| m["layers"] = vec![m["layers"][0].clone(); 20_000].into()),
            ),
            (
                "501 layers",
                "501 layers",
                changed(&|m| m["layers"] = vec![m["layers"][0].clone(); 501].into()),
            ),
            (
                "too long a list",
                "more than 4194304",
                manifest_of(MANIFEST, vec![layer.as_bytes(); 40_000].concat()),
            ),
            (
                "a million nothings",
                "1000000 layers",
                manifest_of(
                    MANIFEST,
                    format!(
                        r#"{{"schemaVersion":2,"layers":[{}]}}"#,
                        vec!["{}"; 1_000_000].join(",")
                    )
                    .into_bytes(),
                ),
            ),
            (
                "deep",
                "not valid JSON",
                manifest_of(
                    MANIFEST,
                    format!("{{\"a\":{}", "[".repeat(4_000_000)).into_bytes(),
                ),
            ),
            (
                "deep, closed",
                "",
                manifest_of(
                    MANIFEST,
                    format!(
                        "{{\"annotations\":{}{}}}",
                        "[".repeat(1_000_000),
                        "]".repeat(1_000_000)
                    )
                    .into_bytes(),
                ),
            ),
            (
                "key twice",
                "duplicate field",
                manifest_of(
                    MANIFEST,
                    text.replacen('{', r#"{"layers":[],"#, 1).into_bytes(),
                ),
            ),
            (
                "type twice",
                "duplicate field",
                manifest_of(
                    MANIFEST,
                    text.replacen('{', r#"{"mediaType":"x","#, 1).into_bytes(),
                ),
            ),
            (
                "list and image",
                "at once",
                changed(&|m| m["manifests"] = json!([])),
            ),
            (
                "schema 1",
                "schema 1",
                changed(&|m| m["schemaVersion"] = 1.into()),
            ),
            (
                "an array",
                "no JSON object",
                manifest_of(MANIFEST, b"[2,null]".to_vec()),
            ),
            ("nothing", "no JSON object", manifest_of(MANIFEST, vec![])),
            (
                "half",
                "not valid JSON",
                manifest_of(MANIFEST, text.as_bytes()[..text.len() / 2].to_vec()),
            ),
            (
                "escape codes",
                "",
                manifest_of(MANIFEST, escapes.into_bytes()),
            ),
            (
                "no UTF-8",
                "",
                manifest_of(MANIFEST, b"{\"mediaType\":\"\xff\"}".to_vec()),
            ),
            (
                "html",
                "unsupported manifest media type",
                twist(|a, answer| match a.path.contains("/manifests/") {
                    true => Answer::new(200, "{}").with("Content-Type", "text/html; charset=utf-8"),
                    false => answer,
                }),
            ),
            (
                "compressed",
                "compressed document",
                twist(|a, answer| match a.path.contains("/manifests/") {
                    true => Answer {
                        body: common::gzip(&answer.body),
                        ..answer
                    }
                    .with("Content-Encoding", "gzip"),
                    false => answer,
                }),
            ),
            (
                "compressed, in silence",
                "no JSON object",
                manifest_of(MANIFEST, common::gzip(text.as_bytes())),
            ),
            (
                "a path",
                "",
                changed(&|m| m["layers"][0]["digest"] = "sha256:../../../etc/shadow".into()),
            ),
            (
                "a path as config",
                "",
                changed(&|m| m["config"]["digest"] = "../../v2/x/../../..".into()),
            ),
            (
                "sha512",
                "unsupported digest",
                changed(&|m| {
                    m["layers"][0]["digest"] = format!("sha512:{}", "a".repeat(128)).into()
                }),
            ),
            (
                "upper case",
                "hexadecimal",
                changed(&|m| {
                    m["layers"][0]["digest"] = format!("sha256:{}", "A".repeat(64)).into()
                }),
            ),
            (
                "negative size",
                "",
                changed(&|m| m["layers"][0]["size"] = (-1).into()),
            ),
            (
                "size beyond all",
                "",
                changed(&|m| m["layers"][0]["size"] = u64::MAX.into()),
            ),
            (
                "config of 5 MiB",
                "declared with",
                changed(&|m| m["config"]["size"] = (5 << 20).into()),
            ),
            (
                "artifact",
                "artifact",
                changed(&|m| {
                    m["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json".into()
                }),
            ),
            (
                "10,000 entries, not ours",
                "no matching manifest",
                index(&vec![entry.to_string(); 10_000].join(",")),
            ),
            ("no entries", "no matching manifest", index("")),
            (
                "escape codes as platform",
                "no matching",
                index(&entry.to_string().replace("riscv64", "\\u001b[2J")),
            ),
            (
                "leads to itself",
                "has digest",
                index(&entry.to_string().replace("riscv64", "amd64")),
            ),
            (
                "nonsense entries",
                "",
                index(&vec!["{}"; 1_000_000].join(",")),
            ),
        ]
    });
}

/// The image with its configuration changed.
fn configured(change: impl FnOnce(&mut Value)) -> TestImage {
    let mut image = simple_image();
    let old = image.config.clone().unwrap();
    let (_, bytes) = image
        .blobs
        .iter()
        .find(|(digest, _)| *digest == old)
        .unwrap();
    let mut config: Value = serde_json::from_slice(bytes).unwrap();
    change(&mut config);
    with_config(&mut image, config.to_string().into_bytes());
    image
}

fn with_config(image: &mut TestImage, bytes: Vec<u8>) {
    let id = Digest::of(&bytes);
    let mut manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
    manifest["config"]["digest"] = id.to_string().into();
    manifest["config"]["size"] = bytes.len().into();
    image.manifest = manifest.to_string().into_bytes();
    image.blobs.push((id.clone(), bytes));
    image.config = Some(id);
}

#[test]
fn configurations() {
    World::run("configurations", |world| {
        let many = |n: usize| -> serde_json::Map<String, Value> {
            (0..n).map(|n| (format!("k{n}"), "v".into())).collect()
        };
        let accepted: Vec<(&str, TestImage)> = vec![
            (
                "env",
                configured(|c| {
                    c["config"]["Env"] = json!(["NOEQ", "=", "=x", "A=\u{0}", "A=b\nc", ""])
                }),
            ),
            (
                "many variables",
                configured(|c| {
                    c["config"]["Env"] = (0..200_000).map(|n| format!("v{n}=")).collect()
                }),
            ),
            (
                "many labels",
                configured(|c| c["config"]["Labels"] = many(200_000).into()),
            ),
            (
                "a label of 3 MiB",
                configured(|c| c["config"]["Labels"] = json!({"a": "x".repeat(3 << 20)})),
            ),
            (
                "volumes",
                configured(|c| {
                    c["config"]["Volumes"] = json!({"../../etc": {}, "/": {}, "": {}, "a\u{0}": {}})
                }),
            ),
            (
                "user",
                configured(|c| c["config"]["User"] = "4294967296:\u{1b}[2J".into()),
            ),
            (
                "directory",
                configured(|c| c["config"]["WorkingDir"] = "../../etc".into()),
            ),
            (
                "nulls",
                configured(|c| {
                    c["config"] = json!({"Env": null, "Cmd": null, "User": null, "Volumes": null})
                }),
            ),
            (
                "no config",
                configured(|c| drop(c.as_object_mut().unwrap().remove("config"))),
            ),
            (
                "unknown keys",
                configured(|c| c["config"]["Unknown"] = json!({"a": [1, null]})),
            ),
        ];
        for (name, image) in accepted {
            let server = Server::registry(&[("1", image)], |_, a| a);
            world.case(name, || {
                let name = format!("{}/app:1", server.address);
                let image = pull(&name).unwrap_or_else(|e| panic!("{name}: {e:#}"));
                let store = Store::open(&Path::new(STORE).join("images")).unwrap();
                assert_eq!(store.find(&name).unwrap().unwrap().id, image.id);
            });
        }
        let mut twice = simple_image();
        let old = twice.config.clone().unwrap();
        let bytes = twice
            .blobs
            .iter()
            .find(|(digest, _)| *digest == old)
            .unwrap()
            .1
            .clone();
        let text = String::from_utf8(bytes).unwrap().replacen(
            '{',
            r#"{"rootfs":{"type":"layers","diff_ids":[]},"#,
            1,
        );
        with_config(&mut twice, text.into_bytes());
        let refused_ones: Vec<(&str, &str, TestImage)> = vec![
            ("key twice", "duplicate field", twice),
            (
                "no layers",
                "layers",
                configured(|c| c["rootfs"]["diff_ids"] = json!([])),
            ),
            (
                "diff_id a path",
                "diff_ids",
                configured(|c| c["rootfs"]["diff_ids"][0] = "sha256:../../../etc".into()),
            ),
            (
                "diff_ids swapped",
                "configuration says",
                configured(|c| {
                    let ids = c["rootfs"]["diff_ids"].as_array_mut().unwrap();
                    ids.swap(0, 1);
                }),
            ),
            (
                "a million lines",
                "lines of history",
                configured(|c| c["history"] = vec![json!({}); 1_000_000].into()),
            ),
            (
                "another machine",
                "is for",
                configured(|c| c["architecture"] = "\u{1b}[2J".into()),
            ),
            (
                "env is a number",
                "cannot read",
                configured(|c| c["config"]["Env"] = 7.into()),
            ),
            ("nothing", "no JSON object", {
                let mut image = simple_image();
                with_config(&mut image, b"null".to_vec());
                image
            }),
        ];
        for (name, part, image) in refused_ones {
            let server = Server::registry(&[("1", image)], |_, a| a);
            refused(world, name, part, &server.address);
        }
    });
}

#[test]
fn tls() {
    World::run("tls", |world| {
        // 0.0.0.0 leads to this machine but is not loopback by name, so https is a must.
        let plain = Server::registry(&[("1", simple_image())], |_, a| a);
        refused(world, "plain http", "it speaks plain http", &plain_http());
        for (shown, part) in [
            (Shown::WrongName, "certificate is not trusted"),
            (Shown::Expired, "certificate is not trusted"),
            (Shown::OwnAuthority, "certificate is not trusted"),
        ] {
            let address = tls::in_front_of(&plain.address, shown);
            refused(world, &format!("{shown:?}"), part, &address);
        }
        assert!(
            plain.asked().is_empty(),
            "nothing was asked of whom nobody vouches for"
        );
        let address = tls::in_front_of(&plain.address, Shown::Right);
        world.case("right", || pull(&format!("{address}/app:1")).unwrap());
        let noise = Server::start(|_| Answer::raw([0x16, 3, 1, 0xff, 0xff]));
        refused(
            world,
            "nonsense",
            "cannot reach",
            &other_name(&noise.address),
        );
    });
}

/// A server that says in plain http that it understood nothing.
fn plain_http() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
            let _ = stream.and_then(|mut stream| std::io::Write::write_all(&mut stream, answer));
        }
    });
    format!("0.0.0.0:{}", address.port())
}
