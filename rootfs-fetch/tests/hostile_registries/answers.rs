//! Answers: where they lead, what they are called, how they come, and who vouches for them.

use super::*;

#[test]
fn redirects() {
    all("answers::redirects", || {
        let to = |location: &'static str| {
            twist_at("/manifests/", move |_| {
                Answer::new(302, "").with("Location", location)
            })
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
    all("answers::statuses", || {
        let status = |status, text: &'static str| {
            twist(move |asked, answer| match asked.path == "/v2/" {
                true => answer,
                false => Answer::new(status, text),
            })
        };
        let blob = |f: fn(Answer) -> Answer| twist_at("/blobs/", f);
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
    all("answers::slow_and_endless", || {
        let spaces: fn(Answer) -> Answer = |a| Answer {
            endless: true,
            body: vec![b' '; 65536],
            ..a
        };
        // What is sent comes first, then the body again and again.
        let endless = |raw: &'static str, body: Vec<u8>| {
            twist_at("/manifests/", move |a| Answer {
                raw: Some(raw.into()),
                body: body.clone(),
                endless: true,
                ..a
            })
        };
        let drip: fn(Answer) -> Answer = |a| Answer { drip: 30, ..a };
        vec![
            (
                "manifest without end",
                "more than 4194304",
                twist_at("/manifests/", spaces),
            ),
            ("blob without end", "", twist_at("/blobs/", spaces)),
            (
                "error without end",
                "manifest unknown",
                twist_at("/manifests/", |_| Answer {
                    endless: true,
                    ..Answer::new(404, vec![b' '; 65536])
                }),
            ),
            ("manifest byte by byte", "", twist_at("/manifests/", drip)),
            ("blob byte by byte", "", twist_at("/blobs/", drip)),
            (
                "silence",
                "",
                twist_at("/manifests/", |a| Answer {
                    stall: 3000,
                    raw: Some(vec![]),
                    body: vec![],
                    ..a
                }),
            ),
            (
                "headers without end",
                "",
                endless(
                    "HTTP/1.1 200 X\r\n",
                    b"X-A: aaaaaaaaaaaaaaaa\r\n".repeat(1000),
                ),
            ),
            (
                "one header without end",
                "",
                endless("HTTP/1.1 200 X\r\nX-A: ", vec![b'a'; 65536]),
            ),
            (
                "interim answers without end",
                "",
                endless("", b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100)),
            ),
            (
                "chunks without end",
                "more than",
                endless(
                    "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n",
                    b"10\r\n                \r\n".repeat(3000),
                ),
            ),
        ]
    });
}

#[test]
fn broken_connections() {
    all("answers::broken_connections", || {
        let manifest = |raw: &'static [u8]| twist_at("/manifests/", move |_| Answer::raw(raw));
        let blob = |raw: &'static [u8]| twist_at("/blobs/", move |_| Answer::raw(raw));
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

#[test]
fn tls() {
    World::run("answers::tls", |world| {
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
