//! Who may: tokens, passwords, mirrors, redirects, and what is refused in Docker's words.

use super::*;

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
    assert_eq!(error.to_string(), "No such image: app:latest");
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
