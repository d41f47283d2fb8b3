//! A registry that means well: an image comes, once, and nothing is left behind.

use super::*;

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
        .args(["--exact", "plain::no_thread_is_left", "--test-threads=1"])
        .env("TEST_PULL_FROM", &server.address)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("1 passed"), "{told}");
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
