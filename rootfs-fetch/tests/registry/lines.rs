//! Bad lines: failures that pass, bodies that are cut, transfers that stall.

use super::*;

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
