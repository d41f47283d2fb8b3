//! Documents: manifests, indexes and blobs that lie about themselves.

use super::*;

/// A registry whose manifest `1` is these bytes, of this type.
fn manifest_of(kind: &'static str, bytes: Vec<u8>) -> Twist {
    twist_at("/manifests/", move |_| {
        Answer::new(200, bytes.clone()).with("Content-Type", kind)
    })
}

#[test]
fn documents() {
    all("documents::documents", || {
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
                twist_at("/manifests/", |_| {
                    Answer::new(200, "{}").with("Content-Type", "text/html; charset=utf-8")
                }),
            ),
            (
                "compressed",
                "compressed document",
                twist_at("/manifests/", |answer| {
                    let body = common::gzip(&answer.body);
                    Answer { body, ..answer }.with("Content-Encoding", "gzip")
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
