//! Logins: challenges, tokens, and passwords that go to nobody else.

use super::*;

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
    all("logins::logins", || {
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

#[test]
fn passwords_stay_at_home() {
    World::run("logins::passwords_stay_at_home", |world| {
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
    World::run(
        "logins::a_password_does_not_come_back_after_a_detour",
        |world| {
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
        },
    );
}
