//! What a registry says an image is: bytes, sizes, digests, manifests and indexes.

use super::*;

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
