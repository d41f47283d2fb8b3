//! What strangers wrote: the checks of `fuzz/checks.rs`, in every run of the tests and on any compiler.
//!
//! They get what fuzzing found worth keeping (`fuzz/corpus/NAME/`: inputs that each reach code the others do not, and
//! those that once broke something), and random inputs that are nearly right, which random bytes never are. How to
//! fuzz on from there: ARCHITECTURE.md, "Strangers".

#[path = "../fuzz/checks.rs"]
mod checks;

use std::path::Path;

use proptest::prelude::*;

/// Plays all inputs of a target. An empty corpus is a mistake, so there must be some.
fn play(name: &str, check: fn(&[u8])) {
    assert!(
        nix::unistd::geteuid().is_root(),
        "layers have owners and devices: run as root"
    );
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut inputs: Vec<_> = std::fs::read_dir(corpus.join(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 10, "{name}: only {} inputs", inputs.len());
    for input in inputs {
        let bytes = std::fs::read(&input).unwrap();
        let outcome = std::panic::catch_unwind(|| check(&bytes));
        assert!(outcome.is_ok(), "{}", input.display());
    }
}

#[test]
fn layer() {
    play("layer", checks::layer);
}

#[test]
fn reference() {
    play("reference", checks::reference);
}

#[test]
fn manifest() {
    play("manifest", checks::manifest);
}

#[test]
fn config() {
    play("config", checks::config);
}

#[test]
fn challenge() {
    play("challenge", checks::challenge);
}

#[test]
fn bundle() {
    play("bundle", checks::bundle);
}

#[test]
fn template() {
    play("template", checks::template);
}

/// A member of a tar archive: type, path, link and what is in it. Its checksum is repaired by the check.
fn member(kind: u8, path: &str, link: &str, mode: u32, data: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| {
        let length = bytes.len().min(100);
        header[at..at + length].copy_from_slice(&bytes[..length]);
    };
    put(0, path.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000\x000000000");
    put(124, format!("{:011o}", data.len()).as_bytes());
    put(136, b"14000000000");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    header.extend_from_slice(data);
    header.resize(header.len().next_multiple_of(512), 0);
    header
}

/// Few names, so that entries meet; many ways to leave the root by them.
fn path() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a",
        "b",
        "out",
        "victim",
        "..",
        ".",
        "",
        ".wh.a",
        ".wh..wh..opq",
        ".wh...",
    ]);
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"))
}

fn entry() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop::sample::select(b"0001122555346xgLKSZ7".to_vec());
    let data = prop_oneof![
        Just(Vec::new()),
        Just(b"data".to_vec()),
        path().prop_map(|path| format!("{} path={path}\n", path.len() + 9).into_bytes()),
        path().prop_map(String::into_bytes),
    ];
    (kind, path(), path(), 0..0o10000u32, data).prop_map(|(kind, path, link, mode, data)| {
        let data = if b"0xgLKSZ7".contains(&kind) {
            data
        } else {
            Vec::new()
        };
        member(kind, &path, &link, mode, &data)
    })
}

/// Words that mean something to a parser, in any order.
fn words(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    let word = prop_oneof![
        8 => prop::sample::select(words).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(word, 0..16).prop_map(|all| all.concat())
}

const TEMPLATE: &[&str] = &[
    "{{",
    "}}",
    "{{-",
    "-}}",
    ".",
    ".ID",
    ".State",
    ".Names",
    "$",
    "$x",
    " := ",
    " = ",
    " | ",
    " ",
    "if ",
    "else",
    "end",
    "range ",
    "with ",
    "break",
    "continue",
    "json ",
    "index ",
    "slice ",
    "len ",
    "printf ",
    "\"%*.5d%q\"",
    "eq ",
    "lt ",
    "and ",
    "or ",
    "not ",
    "(",
    ")",
    "`",
    "'",
    "\\",
    "0",
    "-1",
    "1e99",
    "table ",
    "\0",
    "{\"ID\":1}",
    "/*",
    "*/",
    "split ",
    "join ",
    "pad ",
    "truncate ",
    "html ",
];

const CHALLENGE: &[&str] = &[
    "Bearer",
    "basic",
    "Negotiate",
    " ",
    ",",
    "=",
    "\"",
    "\\",
    "realm",
    "service",
    "scope",
    "https://a/",
    "\t",
];

const REFERENCE: &[&str] = &[
    "a",
    "A",
    "0",
    "/",
    ":",
    "@",
    "sha256:",
    ".",
    "..",
    "-",
    "_",
    "__",
    "localhost",
    "docker.io",
    "index.docker.io",
    "library/",
    "[::1]",
    "5000",
    "latest",
    " ",
    "\n",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_layers_stay_inside_and_are_the_same_twice(
        entries in prop::collection::vec(entry(), 0..12),
        second in 0..12u8,
        layout in prop::sample::select(vec![1, 3u8]),
    ) {
        let mut bytes = vec![layout, second];
        bytes.extend(entries.concat());
        checks::layer(&bytes);
    }

    #[test]
    fn random_names_mean_the_same_in_every_form(name in words(REFERENCE)) {
        checks::reference(name.as_bytes());
    }

    #[test]
    fn random_challenges_are_read(value in words(CHALLENGE)) {
        checks::challenge(value.as_bytes());
    }

    #[test]
    fn random_templates_never_panic(template in words(TEMPLATE)) {
        checks::template(template.as_bytes());
    }
}
