//! Pulling from registries that are strict, slow, broken or hostile; each is a server in this process.

mod common;

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::server::{Answer, Server};
use common::{INDEX, MANIFEST, Tar, Temp, TestImage, gzip, image, need_root, simple_image};
use rootfs_fetch::{
    Digest, Error, Image, Patience, Platform, Progress, PullOptions, PullPolicy, Store,
};

const QUICK: Patience = Patience {
    connect: Duration::from_secs(2),
    stall: Duration::from_millis(700),
    pause: Duration::from_millis(5),
    attempts: 3,
    total: Duration::from_secs(5),
};

/// `NO_PROXY` and empty configuration, so that the machine's settings do not matter.
fn isolate() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    need_root();
    ONCE.call_once(|| {
        let dir = std::env::temp_dir().join(format!("rootfs-fetch-none-{}", std::process::id()));
        #[allow(unsafe_code)]
        // SAFETY: called once, before any test of this program starts a thread that reads the environment.
        unsafe {
            std::env::set_var("NO_PROXY", "*");
            std::env::set_var("DOCKER_CONFIG", &dir);
            std::env::set_var("CONTAINERS_REGISTRIES_CONF", "/dev/null");
        }
    });
}

fn pull(store: &Path, name: &str) -> anyhow::Result<Image> {
    pull_with(store, name, |_| {})
}

fn pull_with(
    store: &Path,
    name: &str,
    change: impl FnOnce(&mut PullOptions),
) -> anyhow::Result<Image> {
    isolate();
    let progress = Progress::quiet();
    let mut options = PullOptions {
        patience: QUICK,
        platform: Some("linux/amd64".parse().unwrap()),
        ..PullOptions::new(&progress)
    };
    change(&mut options);
    Store::open(store)?.ensure(name, &options)
}

/// One failing pull: the text of the error, after checking that the store is as before and no time was lost.
fn refused(server: &Server, tag: &str) -> String {
    let temp = Temp::new();
    let start = Instant::now();
    let error = pull(
        &temp.path("images"),
        &format!("{}/app:{tag}", server.address),
    )
    .unwrap_err();
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "took {:?}",
        start.elapsed()
    );
    assert!(
        Store::open(&temp.path("images"))
            .unwrap()
            .list()
            .unwrap()
            .is_empty()
    );
    assert!(
        !temp.path("images/tmp").exists(),
        "nothing unpacked is left"
    );
    format!("{error:#}")
}

#[test]
fn a_plain_pull_makes_an_image() {
    let server = Server::registry(&[("1", simple_image())], |_, a| a);
    let temp = Temp::new();
    let name = format!("{}/app:1", server.address);
    let image = pull(&temp.path("images"), &name).unwrap();
    assert_eq!(Some(&image.id), simple_image().config.as_ref());
    assert_eq!(image.names, std::slice::from_ref(&name));
    assert_eq!(image.layers.len(), 2);
    assert_eq!(image.size, 5 + 1 + 5);
    assert_eq!(image.created.unwrap().to_string(), "2024-01-02T03:04:05Z");
    assert_eq!(
        fs_err::read_to_string(image.layers[1].join("etc/also")).unwrap(),
        "lower"
    );
    assert_eq!(
        fs_err::metadata(temp.path("images"))
            .map(|m| std::os::unix::fs::MetadataExt::mode(&m) & 0o777)
            .unwrap(),
        0o700
    );
    let before = server.asked().len();
    let store = Store::open(&temp.path("images")).unwrap();
    assert_eq!(store.find(&name).unwrap().unwrap().id, image.id);
    pull(&temp.path("images"), &name).unwrap();
    assert_eq!(
        server.asked().len(),
        before,
        "what is here is not asked for"
    );
    assert_eq!(
        fs_err::read_dir(temp.path("images/partial"))
            .unwrap()
            .count(),
        0
    );
    let pinned = image.repo_digests[0].clone();
    assert_eq!(store.find(&pinned).unwrap().unwrap().id, image.id);
}

#[test]
fn no_thread_is_left() {
    // In a process of its own, since the other tests have threads: this test's binary run again.
    if let Ok(address) = std::env::var("TEST_PULL_FROM") {
        let temp = Temp::new();
        let tasks = || fs_err::read_dir("/proc/self/task").unwrap().count();
        let before = tasks();
        pull(&temp.path("images"), &format!("{address}/app:1")).unwrap();
        // The kernel may take a moment to take a joined thread off the list.
        assert!((0..100).any(|_| tasks() == before || {
            std::thread::sleep(Duration::from_millis(1));
            false
        }));
        return;
    }
    let server = Server::registry(&[("1", simple_image())], |_, a| a);
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "no_thread_is_left", "--test-threads=1"])
        .env("TEST_PULL_FROM", &server.address)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn bearer_tokens_are_fetched_for_a_scope() {
    let address = Arc::new(Mutex::new(String::new()));
    let known = address.clone();
    let server = Server::registry(&[("1", simple_image())], move |asked, answer| {
        if asked.path.starts_with("/token") {
            return Answer::new(200, r#"{"access_token":"T"}"#);
        }
        match asked.header("authorization") {
            "Bearer T" => answer,
            _ => Answer::new(401, "").with(
                "WWW-Authenticate",
                &format!(
                    "Bearer realm=\"http://{}/token\",service=\"s\",scope=\"repository:app:pull\"",
                    known.lock().unwrap()
                ),
            ),
        }
    });
    address.lock().unwrap().clone_from(&server.address);
    let temp = Temp::new();
    pull(&temp.path("images"), &format!("{}/app:1", server.address)).unwrap();
    let tokens: Vec<_> = server
        .asked()
        .into_iter()
        .filter(|a| a.path.starts_with("/token"))
        .collect();
    assert_eq!(tokens.len(), 1, "one token serves all requests");
    assert!(
        tokens[0].path.contains("scope=repository%3Aapp%3Apull")
            && tokens[0].path.contains("service=s"),
        "{}",
        tokens[0].path
    );
}

#[test]
fn basic_credentials_come_from_dockers_config() {
    isolate();
    let server = Server::registry(&[("1", simple_image())], |asked, answer| {
        match asked.header("authorization") {
            "Basic dXNlcjpwYXNz" => answer,
            _ => Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"here\""),
        }
    });
    assert!(refused(&server, "1").contains("pull access denied"));
    let dir = std::path::PathBuf::from(std::env::var_os("DOCKER_CONFIG").unwrap());
    let config = serde_json::json!({"auths": {server.address.as_str(): {"auth": "dXNlcjpwYXNz"}}});
    fs_err::create_dir_all(&dir).unwrap();
    fs_err::write(dir.join("config.json"), config.to_string()).unwrap();
    let temp = Temp::new();
    let pulled = pull(&temp.path("images"), &format!("{}/app:1", server.address));
    fs_err::remove_dir_all(&dir).unwrap();
    pulled.unwrap();
}

#[test]
fn mirrors_are_asked_first_and_the_place_itself_last() {
    use rootfs_fetch::registries_conf::RegistriesConf;
    use rootfs_fetch::registry::Registry;
    isolate();
    let empty = Server::registry(&[], |_, a| a);
    let mirror = Server::registry(&[("1", simple_image())], |_, a| a);
    let main = Server::registry(&[("1", simple_image()), ("2", simple_image())], |_, a| a);
    let conf = format!(
        "[[registry]]\nprefix = \"docker.io\"\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"127.0.0.1:1\"\n\
         [[registry.mirror]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}/hub\"\n",
        main.address, empty.address, mirror.address
    );
    let conf = RegistriesConf::parse(&conf).unwrap();
    let resolve = |name: &str| {
        Registry::new(&name.parse().unwrap(), &conf, QUICK)
            .unwrap()
            .resolve(&"linux/amd64".parse().unwrap())
    };
    resolve("app:1").unwrap();
    assert_eq!(
        (
            mirror.count("/v2/hub/library/app/manifests/1"),
            main.asked().len()
        ),
        (1, 0)
    );
    resolve("app:2").unwrap();
    assert_eq!(main.count("/v2/library/app/manifests/2"), 1);
    let error = format!("{:#}", resolve("app:3").err().unwrap());
    assert!(
        error.starts_with("manifest for app:3 not found") && error.contains("mirror 127.0.0.1:1"),
        "{error}"
    );
}

#[test]
fn endless_401_ends() {
    let bare = Server::start(|_| Answer::new(401, ""));
    assert!(refused(&bare, "1").contains("without saying how to log in"));
    let basic = Server::start(|_| Answer::new(401, "").with("WWW-Authenticate", "Basic realm=x"));
    assert!(refused(&basic, "1").contains("pull access denied for"));
    let loops = Server::start(|a| match a.path.starts_with("/t") {
        true => Answer::new(200, r#"{"token":"T"}"#),
        false => Answer::new(401, "").with(
            "WWW-Authenticate",
            &format!("Bearer realm=\"http://{}/t\"", a.header("host")),
        ),
    });
    assert!(refused(&loops, "1").contains("pull access denied for"));
    assert!(loops.asked().len() < 6);
    let huge = Server::start(|a| match a.path.starts_with("/t") {
        true => Answer::new(200, vec![b'x'; 10 << 20]),
        false => Answer::new(401, "").with(
            "WWW-Authenticate",
            &format!("Bearer realm=\"http://{}/t\"", a.header("host")),
        ),
    });
    assert!(refused(&huge, "1").contains("more than"));
    let file = Server::start(|_| {
        Answer::new(401, "").with("WWW-Authenticate", "Bearer realm=\"file:///etc/passwd\"")
    });
    assert!(refused(&file, "1").contains("wants a token fetched"));
}

#[test]
fn what_is_not_there_is_said_in_dockers_words() {
    let server = Server::registry(&[], |_, a| a);
    let temp = Temp::new();
    let name = format!("{}/app:1", server.address);
    let error = pull(&temp.path("images"), &name).unwrap_err();
    assert!(matches!(
        error.downcast_ref(),
        Some(Error::NotInRegistry(_))
    ));
    assert!(
        error
            .to_string()
            .starts_with(&format!("manifest for {name} not found: manifest unknown")),
        "{error}"
    );
    let denied = Server::start(|_| {
        Answer::new(
            403,
            r#"{"errors":[{"code":"DENIED","message":"go\u001b[2J away"}]}"#,
        )
    });
    let error = refused(&denied, "1");
    assert!(
        error.contains("pull access denied") && error.contains("go\\u{1b}[2J away"),
        "{error}"
    );
    let error = pull_with(&temp.path("images"), "app", |o| {
        o.policy = PullPolicy::Never
    })
    .unwrap_err();
    assert_eq!(error.to_string(), "No such image: app");
    let error = format!(
        "{:#}",
        pull(&temp.path("images"), "127.0.0.1:1/app").unwrap_err()
    );
    assert!(
        error.contains("cannot pull 127.0.0.1:1/app") && error.contains("refused"),
        "{error}"
    );
}

#[test]
fn a_redirect_does_not_take_the_password_along() {
    let blobs = Server::registry(&[("1", simple_image())], |_, a| a);
    let elsewhere = blobs.address.clone();
    let address = Arc::new(Mutex::new(String::new()));
    let known = address.clone();
    let server = Server::registry(&[("1", simple_image())], move |asked, answer| {
        if asked.path.starts_with("/token") {
            return Answer::new(200, r#"{"token":"secret"}"#);
        }
        if asked.header("authorization").is_empty() {
            return Answer::new(401, "").with(
                "WWW-Authenticate",
                &format!("Bearer realm=\"http://{}/token\"", known.lock().unwrap()),
            );
        }
        match asked.path.contains("/blobs/") {
            true => Answer::new(307, "")
                .with("Location", &format!("http://u:p@{elsewhere}{}", asked.path)),
            false => answer,
        }
    });
    address.lock().unwrap().clone_from(&server.address);
    let temp = Temp::new();
    pull(&temp.path("images"), &format!("{}/app:1", server.address)).unwrap();
    assert_eq!(blobs.count("/blobs/"), 3);
    assert!(
        blobs
            .asked()
            .iter()
            .all(|a| a.header("authorization").is_empty()),
        "Authorization went to another host"
    );
}

#[test]
fn bad_redirects_end() {
    let circle = Server::start(|a| Answer::new(302, "").with("Location", &a.path));
    assert!(refused(&circle, "1").contains("redirects in a circle"));
    let file = Server::start(|_| Answer::new(302, "").with("Location", "file:///etc/passwd"));
    assert!(refused(&file, "1").contains("neither http nor https"));
    let nowhere = Server::start(|_| Answer::new(302, ""));
    assert!(refused(&nowhere, "1").contains("redirects to nowhere"));
}

#[test]
fn passing_failures_are_retried() {
    for (status, retry_after) in [(503, None), (500, None), (429, None), (429, Some("0"))] {
        let asked_before = Mutex::new(std::collections::BTreeMap::new());
        let server = Server::registry(&[("1", simple_image())], move |asked, answer| {
            let mut before = asked_before.lock().unwrap();
            let count = before.entry(asked.path.clone()).or_insert(0);
            *count += 1;
            if asked.path == "/v2/" || *count == 3 {
                return answer;
            }
            let failure = Answer::new(status, "");
            retry_after.map_or(failure.clone(), |r| failure.with("Retry-After", r))
        });
        let temp = Temp::new();
        pull(&temp.path("images"), &format!("{}/app:1", server.address))
            .unwrap_or_else(|e| panic!("{status}: {e:#}"));
    }
    let always = Server::start(|_| Answer::new(503, ""));
    assert!(refused(&always, "1").contains("503"));
    let limit = Server::start(|_| Answer::new(429, "").with("Retry-After", "86400"));
    assert!(refused(&limit, "1").contains("rate limit"));
}

fn big_image() -> TestImage {
    let mut noise: u32 = 1;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    })
    .take(400_000)
    .collect();
    let layer = Tar::new().raw(b'0', b"big", b"", 0o644, &bytes).end();
    image(&[(layer.clone(), gzip(&layer))], "amd64")
}

#[test]
fn a_cut_body_is_resumed_where_it_broke() {
    let n = AtomicUsize::new(0);
    let layer = big_image().blobs[0].0.to_string();
    let server = Server::registry(&[("1", big_image())], move |asked, mut answer| {
        if asked.path.ends_with(&layer) && n.fetch_add(1, Ordering::Relaxed) < 3 {
            answer.cut = Some(90_000);
        }
        answer
    });
    let temp = Temp::new();
    pull(&temp.path("images"), &format!("{}/app:1", server.address)).unwrap();
    let ranges: Vec<String> = server
        .asked()
        .iter()
        .map(|a| a.header("range").to_owned())
        .filter(|r| !r.is_empty())
        .collect();
    assert_eq!(ranges, ["bytes=90000-", "bytes=180000-", "bytes=270000-"]);
}

#[test]
fn a_killed_pull_is_resumed_by_the_next() {
    let broken = Arc::new(AtomicUsize::new(1));
    let (flag, layer) = (broken.clone(), big_image().blobs[0].0.to_string());
    let server = Server::registry(&[("1", big_image())], move |asked, mut answer| {
        if asked.path.ends_with(&layer) && flag.load(Ordering::Relaxed) == 1 {
            if !asked.header("range").is_empty() {
                return Answer::new(404, "");
            }
            answer.cut = Some(100_000);
        }
        answer
    });
    let temp = Temp::new();
    let name = format!("{}/app:1", server.address);
    pull(&temp.path("images"), &name).unwrap_err();
    broken.store(0, Ordering::Relaxed);
    pull(&temp.path("images"), &name).unwrap();
    assert_eq!(
        server.asked().last().unwrap().header("range"),
        "bytes=100000-"
    );
}

#[test]
fn a_bad_leftover_does_not_stop_the_next_pull() {
    let server = Server::registry(&[("1", big_image())], |_, a| a);
    let temp = Temp::new();
    let (digest, blob) = &big_image().blobs[0];
    let partial = temp.dir("images/partial");
    fs_err::write(partial.join(digest.hex()), vec![9; blob.len() / 2]).unwrap();
    pull(&temp.path("images"), &format!("{}/app:1", server.address)).unwrap();
    fs_err::write(
        temp.path("images/partial").join(digest.hex()),
        vec![9; blob.len() + 7],
    )
    .unwrap();
}

#[test]
fn a_stalled_transfer_is_given_up() {
    let server = Server::registry(&[("1", big_image())], |asked, mut answer| {
        if asked.path.contains("/blobs/") && answer.body.len() > 10_000 {
            (answer.cut, answer.stall) = (Some(10), 3000);
        }
        answer
    });
    let error = refused(&server, "1");
    assert!(
        error.contains("broke at byte 10")
            || error.contains("broke at byte 20")
            || error.contains("broke at byte 30"),
        "{error}"
    );
}

#[test]
fn servers_without_ranges_will_do() {
    let n = AtomicUsize::new(0);
    let (layer, whole) = (
        big_image().blobs[0].0.to_string(),
        big_image().blobs[0].1.clone(),
    );
    let server = Server::registry(&[("1", big_image())], move |asked, answer| {
        if !asked.path.ends_with(&layer) {
            return answer;
        }
        let mut answer = Answer::new(200, whole.clone());
        answer.cut = (n.fetch_add(1, Ordering::Relaxed) == 0).then_some(50_000);
        answer
    });
    let temp = Temp::new();
    pull(&temp.path("images"), &format!("{}/app:1", server.address)).unwrap();
}

/// Serves the image with one blob's bytes changed by `twist`.
fn twisted(image: TestImage, number: usize, twist: impl Fn(&mut Vec<u8>)) -> Server {
    let digest = image.blobs[number].0.to_string();
    let mut bytes = image.blobs[number].1.clone();
    twist(&mut bytes);
    Server::registry(&[("1", image)], move |asked, answer| {
        match asked.path.ends_with(&digest) {
            true => Answer::new(200, bytes.clone()),
            false => answer,
        }
    })
}

#[test]
fn wrong_bytes_and_sizes_are_refused() {
    let image = simple_image();
    let config = image.blobs.len() - 1;
    for number in [0, config] {
        let error = refused(
            &twisted(image.clone(), number, |b| {
                let at = b.len() / 2;
                b[at] ^= 1;
            }),
            "1",
        );
        assert!(
            error.contains("digest mismatch")
                || error.contains("cannot read the layer")
                || error.contains("valid tar"),
            "{number}: {error}"
        );
        let error = refused(
            &twisted(image.clone(), number, |b| b.extend_from_slice(&[0; 5000])),
            "1",
        );
        assert!(error.contains("longer than"), "{number}: {error}");
        let error = refused(
            &twisted(image.clone(), number, |b| b.truncate(b.len() - 3)),
            "1",
        );
        assert!(
            error.contains("broke at byte") || error.contains("ends early"),
            "{number}: {error}"
        );
    }
}

#[test]
fn a_wrong_diff_id_is_refused() {
    let (a, b) = (
        Tar::new().file("a", "x").end(),
        Tar::new().file("b", "x").end(),
    );
    let server = Server::registry(&[("1", image(&[(a, gzip(&b))], "amd64"))], |_, a| a);
    assert!(refused(&server, "1").contains("the image's configuration says"));
}

#[test]
fn hostile_manifests_are_refused() {
    let good: serde_json::Value = serde_json::from_slice(&simple_image().manifest).unwrap();
    let change = |f: &dyn Fn(&mut serde_json::Value)| {
        let mut m = good.clone();
        f(&mut m);
        TestImage {
            manifest: serde_json::to_vec(&m).unwrap(),
            ..simple_image()
        }
    };
    let cases: Vec<(&str, TestImage)> = vec![
        (
            "at once",
            change(&|m| m["manifests"] = serde_json::json!([])),
        ),
        (
            "2 of them",
            change(&|m| drop(m["layers"].as_array_mut().unwrap().pop())),
        ),
        (
            "hexadecimal",
            change(&|m| m["layers"][0]["digest"] = format!("sha256:{}", "A".repeat(64)).into()),
        ),
        (
            "cannot read",
            change(&|m| m["layers"][0]["size"] = (-1).into()),
        ),
        (
            "unsupported digest",
            change(&|m| m["layers"][0]["digest"] = format!("sha512:{}", "a".repeat(128)).into()),
        ),
        (
            "cannot read",
            change(&|m| m["config"] = serde_json::Value::Null),
        ),
        (
            "artifact",
            change(&|m| {
                m["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json".into()
            }),
        ),
        (
            "layer media type",
            change(&|m| m["layers"][0]["mediaType"] = "text/html".into()),
        ),
        (
            "does not have the blob",
            change(&|m| m["layers"][0]["digest"] = format!("sha256:{}", "a".repeat(64)).into()),
        ),
        ("schema 1", change(&|m| m["schemaVersion"] = 1.into())),
        (
            "not valid JSON",
            TestImage {
                manifest: b"{\"schemaVersion\":".to_vec(),
                ..simple_image()
            },
        ),
        (
            "more than 4194304",
            TestImage {
                manifest: vec![b' '; 5 << 20],
                ..simple_image()
            },
        ),
        (
            "declared with",
            change(&|m| m["config"]["size"] = (5 << 20).into()),
        ),
    ];
    for (part, image) in cases {
        let server = Server::registry(&[("1", image)], |_, a| a);
        let error = refused(&server, "1");
        assert!(error.contains(part), "{part}: {error}");
    }
    let lying = Server::registry(&[("1", simple_image())], |a, answer| {
        match a.path.contains("/manifests/") {
            true => Answer {
                headers: vec![("Content-Type".into(), INDEX.into())],
                ..answer
            },
            false => answer,
        }
    });
    assert!(refused(&lying, "1").contains("calls itself"));
}

#[test]
fn urls_of_foreign_layers_are_never_fetched() {
    let elsewhere = Server::start(|_| Answer::new(200, "x"));
    let mut manifest: serde_json::Value = serde_json::from_slice(&simple_image().manifest).unwrap();
    manifest["layers"][0]["urls"] =
        serde_json::json!([format!("http://{}/layer", elsewhere.address)]);
    manifest["layers"][0]["mediaType"] =
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".into();
    let mut image = simple_image();
    image.manifest = serde_json::to_vec(&manifest).unwrap();
    image.blobs.remove(0);
    let server = Server::registry(&[("1", image)], |_, a| a);
    assert!(refused(&server, "1").contains("never fetched"));
    assert!(elsewhere.asked().is_empty());
}

fn index_of(images: &[(&str, &TestImage)]) -> TestImage {
    let list: Vec<_> = images
        .iter()
        .map(|(architecture, image)| {
            serde_json::json!({"mediaType": MANIFEST, "digest": Digest::of(&image.manifest).to_string(),
                "size": image.manifest.len(), "platform": {"os": "linux", "architecture": architecture}})
        })
        .collect();
    let manifest = serde_json::to_vec(
        &serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": list}),
    )
    .unwrap();
    TestImage {
        manifest,
        ..TestImage::default()
    }
}

#[test]
fn an_index_leads_to_the_platforms_image() {
    let layer = Tar::new().file("arm", "x").end();
    let (amd, arm) = (
        simple_image(),
        image(&[(layer.clone(), gzip(&layer))], "arm64"),
    );
    let index = index_of(&[("amd64", &amd), ("arm64", &arm)]);
    let digest = Digest::of(&index.manifest);
    let server = Server::registry(
        &[("1", index), ("a", amd.clone()), ("b", arm.clone())],
        |_, a| a,
    );
    let temp = Temp::new();
    let name = format!("{}/app:1", server.address);
    let image = pull(&temp.path("images"), &name).unwrap();
    assert_eq!(Some(image.id), amd.config);
    assert!(
        image.repo_digests[0].ends_with(&digest.to_string()),
        "the index's digest, as with Docker"
    );
    let other = |p: &str| {
        let p: Platform = p.parse().unwrap();
        pull_with(&temp.path("images"), &name, |o| o.platform = Some(p))
    };
    assert_eq!(Some(other("linux/arm64").unwrap().id), arm.config);
    let error = format!("{:#}", other("linux/s390x").unwrap_err());
    assert!(error.contains("linux/amd64, linux/arm64"), "{error}");
    let error = format!(
        "{:#}",
        pull(&temp.path("images"), &format!("{}/app:b", server.address)).unwrap_err()
    );
    assert!(
        error.contains("is for linux/arm64, not for linux/amd64"),
        "{error}"
    );
}

#[test]
fn indexes_nest_only_so_deep() {
    let server = Server::start(|a| {
        if a.path == "/v2/" {
            return Answer::new(200, "{}");
        }
        let other = format!("sha256:{}", "a".repeat(64));
        let list = serde_json::json!({"schemaVersion": 2, "manifests": [{"mediaType": INDEX, "digest": other, "size": 3,
            "platform": {"os": "linux", "architecture": "amd64"}}]});
        Answer::new(200, list.to_string()).with("Content-Type", INDEX)
    });
    let error = refused(&server, "1");
    assert!(
        error.contains("has digest"),
        "an index cannot name itself: {error}"
    );
}

#[test]
fn zstd_members_and_lying_media_types_are_read() {
    let (a, b) = (Tar::new().file("a", "x").0, Tar::new().file("b", "y").end());
    let whole = [a.clone(), b.clone()].concat();
    let members = [gzip(&a), gzip(&b)].concat();
    let layers = [
        (
            whole.clone(),
            zstd::encode_all(whole.as_slice(), 3).unwrap(),
        ),
        (whole.clone(), members),
        (whole.clone(), whole.clone()),
    ];
    let server = Server::registry(&[("1", image(&layers, "amd64"))], |_, a| a);
    let temp = Temp::new();
    let image = pull(&temp.path("images"), &format!("{}/app:1", server.address)).unwrap();
    for layer in &image.layers {
        assert_eq!(fs_err::read_to_string(layer.join("b")).unwrap(), "y");
    }
}

#[test]
fn layers_are_shared_and_a_moved_tag_leaves_the_old_image() {
    let base = Tar::new().file("base", "x").end();
    let top = |t: &str| Tar::new().file("top", t).end();
    let pair = |t: &str| {
        image(
            &[(base.clone(), gzip(&base)), (top(t), gzip(&top(t)))],
            "amd64",
        )
    };
    let temp = Temp::new();
    let first = Server::registry(&[("1", pair("one")), ("2", pair("two"))], |_, a| a);
    let one = pull(&temp.path("images"), &format!("{}/app:1", first.address)).unwrap();
    let two = pull(&temp.path("images"), &format!("{}/app:2", first.address)).unwrap();
    assert_eq!(one.layers[0], two.layers[0]);
    assert_eq!(
        first.count(&Digest::of(&gzip(&base)).to_string()),
        1,
        "fetched once"
    );
    assert_ne!(one.layers[1], two.layers[1]);
}

#[test]
fn many_layers_and_too_many() {
    let layers = |n: usize| -> Vec<_> {
        (0..n)
            .map(|n| {
                let t = Tar::new().file(&format!("f{n}"), "x").end();
                (t.clone(), gzip(&t))
            })
            .collect()
    };
    let server = Server::registry(
        &[
            ("127", image(&layers(127), "amd64")),
            ("501", image(&layers(501), "amd64")),
        ],
        |_, a| a,
    );
    let temp = Temp::new();
    assert_eq!(
        pull(&temp.path("images"), &format!("{}/app:127", server.address))
            .unwrap()
            .layers
            .len(),
        127
    );
    assert!(refused(&server, "501").contains("at most 500"));
}

#[test]
fn pulls_of_the_same_image_at_once_fetch_it_once() {
    let server = Server::registry(&[("1", big_image())], |_, a| a);
    let temp = Temp::new();
    let (store, name) = (temp.path("images"), format!("{}/app:1", server.address));
    fs_err::create_dir(&store).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| pull(&store, &name).unwrap());
        }
    });
    assert_eq!(server.count(&big_image().blobs[0].0.to_string()), 1);
}

#[test]
fn progress_speaks_as_docker_does() {
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(buf)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    isolate();
    let server = Server::registry(&[("1", simple_image())], |_, a| a);
    let temp = Temp::new();
    let (name, out) = (format!("{}/app:1", server.address), Shared::default());
    let progress = Progress::lines(out.clone());
    let options = PullOptions {
        patience: QUICK,
        platform: Some("linux/amd64".parse().unwrap()),
        ..PullOptions::new(&progress)
    };
    let store = Store::open(&temp.path("images")).unwrap();
    store.pull(&name, &options).unwrap();
    store.pull(&name, &options).unwrap();
    let blobs = simple_image().blobs;
    let (a, b, m) = (
        blobs[0].0.short(),
        blobs[1].0.short(),
        Digest::of(&simple_image().manifest),
    );
    let expected = format!(
        "1: Pulling from app\n{a}: Pull complete\n{b}: Pull complete\nDigest: {m}\nStatus: Downloaded newer image for {name}\n\
         1: Pulling from app\n{a}: Already exists\n{b}: Already exists\nDigest: {m}\nStatus: Image is up to date for {name}\n"
    );
    assert_eq!(
        String::from_utf8(out.0.lock().unwrap().clone()).unwrap(),
        expected
    );
}
