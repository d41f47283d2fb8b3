//! Configurations: what an image says about its programs, however strange.

use super::*;

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
    World::run("configurations::configurations", |world| {
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
