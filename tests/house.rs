//! The laws of the house, as tests (see ARCHITECTURE.md for the floors they guard).
//!
//! They read the sources as text. What counts as code is what stands outside of comments and of
//! `#[cfg(test)]` modules, as rustfmt lays it out; that is near enough, and needs no parser.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The top modules of rmac, from the roof down: each may use those after it, none before it.
const FLOORS: &[&str] = &[
    "main",
    "commands",
    "oci",
    "cli",
    "files",
    "supervise",
    "explain",
    "launch",
    "lab",
    "plan",
    "step",
    "store",
    "spec",
    "request",
    "kernel",
    "net",
    "exit",
    "out",
    "sys",
    "lesson",
];

#[test]
fn every_file_opens_with_its_purpose() {
    let silent = sources()
        .into_iter()
        .filter(|file| !file.text.starts_with("//!"));
    law(
        "every source file opens with a //! that tells its concept and where to read on",
        "a student meets the files one by one, and each must say what it is about",
        silent.map(|file| file.name),
    );
}

#[test]
fn files_and_functions_are_short() {
    let mut long = Vec::new();
    for file in sources() {
        let lines = file.code.len();
        if lines > 410 {
            long.push(format!("{}: {lines} lines outside of tests", file.name));
        }
        let functions = file.functions();
        let big = functions.iter().filter(|(_, lines)| *lines > 62);
        long.extend(big.map(|(name, lines)| format!("{}: fn {name}: {lines} lines", file.name)));
    }
    law(
        "no file over about 400 lines outside of tests, no function over about 60",
        "what does not fit a screen or a sitting is not read",
        long,
    );
}

#[test]
fn scripts_are_short() {
    let mut long = Vec::new();
    let scripts = files().into_iter().filter(|name| {
        name.starts_with("scripts/") || name.starts_with(".ci/") || name.ends_with(".sh")
    });
    for name in scripts {
        let lines = std::fs::read_to_string(root().join(&name))
            .unwrap()
            .lines()
            .count();
        if lines > 120 {
            long.push(format!("{name}: {lines} lines"));
        }
    }
    law(
        "no script over about 120 lines",
        "logic belongs in Rust, where it is tested",
        long,
    );
}

#[test]
fn unsafe_has_an_address_and_a_reason() {
    let mut found = Vec::new();
    for file in sources() {
        let blocks = file.lines_with(|line| has_word(line, "unsafe"));
        let reasons = file
            .text
            .lines()
            .filter(|line| line.contains("SAFETY"))
            .count();
        if !file.name.starts_with("src/sys") {
            found.extend(blocks);
        } else if reasons
            < blocks
                .iter()
                .filter(|line| line.contains("unsafe {"))
                .count()
        {
            found.push(format!(
                "{}: fewer SAFETY texts than unsafe blocks",
                file.name
            ));
        }
    }
    law(
        "unsafe code only in src/sys.rs and src/sys/, each block with a SAFETY text",
        "who audits the program must know where to look",
        found,
    );
}

#[test]
fn pure_files_do_not_touch_the_machine() {
    const PURE: &[&str] = &[
        "src/plan.rs",
        "src/spec.rs",
        "src/net/ipam.rs",
        "src/net/network.rs",
    ];
    const EFFECTS: &[&str] = &[
        "nix::",
        "libc::",
        "std::fs",
        "std::process",
        "fs_err",
        "clap::",
    ];
    // Constants, which are data.
    const DATA: &str = "nix::mount::MsFlags";
    let mut found = Vec::new();
    for file in sources()
        .iter()
        .filter(|file| PURE.contains(&file.name.as_str()))
    {
        found.extend(file.lines_with(|line| {
            let line = line.replace(DATA, "");
            EFFECTS.iter().any(|effect| line.contains(effect))
        }));
    }
    law(
        "plan.rs, spec.rs, net/ipam.rs and net/network.rs are pure: no kernel, no files, no clap",
        "plans are compared as data, without root; what --dry-run shows must not depend on luck",
        found,
    );
}

#[test]
fn tokio_lives_on_one_island() {
    let mut found = Vec::new();
    for file in sources()
        .iter()
        .filter(|file| file.name != "src/net/netlink.rs")
    {
        found.extend(file.lines_with(|line| has_word(line, "tokio") || has_word(line, "async")));
    }
    law(
        "only net/netlink.rs names tokio or async",
        "clone3 needs a process with one thread, and async spreads to all that touches it",
        found,
    );
}

#[test]
fn arrows_run_downwards() {
    let mut found = BTreeSet::new();
    for file in sources()
        .iter()
        .filter(|file| file.name.starts_with("src/"))
    {
        let from = file.module();
        let Some(floor) = FLOORS.iter().position(|module| *module == from) else {
            found.insert(format!("{}: module {from} has no floor", file.name));
            continue;
        };
        for to in file.imports() {
            match FLOORS.iter().position(|module| *module == to) {
                Some(other) if other < floor => {
                    found.insert(format!(
                        "{}: {from} uses {to}, which stands above it",
                        file.name
                    ));
                }
                Some(_) => {}
                None => {
                    found.insert(format!(
                        "{}: {from} uses {to}, which has no floor",
                        file.name
                    ));
                }
            }
        }
    }
    law(
        &format!(
            "a module uses only those below it: {} (FLOORS in tests/house.rs)",
            FLOORS.join(" > ")
        ),
        "a circle of modules can only be read as a whole; kernel/ and net/ stay usable without the \
         store and the command line, and nothing but main needs commands",
        found,
    );
}

#[test]
fn nothing_is_left_undone_or_skipped_in_silence() {
    let marks = ["todo!(", "unimplemented!(", "#[ignore", "dbg!("];
    let mut found = Vec::new();
    for name in files() {
        if !name.ends_with(".rs") || name == "tests/house.rs" {
            continue;
        }
        let text = std::fs::read_to_string(root().join(&name)).unwrap();
        for (at, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    law(
        "no todo!, unimplemented!, dbg! or #[ignore]",
        "what is missing is said in ARCHITECTURE.md; a test that cannot run here says so aloud",
        found,
    );
}

/// A table that says which test shows what is true only as long as there is that test.
#[test]
fn tests_that_the_documents_name_are_there() {
    let offences = files()
        .into_iter()
        .filter(|path| path.starts_with("docs/"))
        .flat_map(|path| {
            let text = std::fs::read_to_string(root().join(&path)).unwrap();
            let names: Vec<String> = text.split('`').map(ToOwned::to_owned).collect();
            names
                .into_iter()
                .filter(|name| is_missing_test(name))
                .map(move |name| format!("{path}: {name}"))
        });
    law(
        "a test that is named is there",
        "the reader looks for it",
        offences,
    );
}

/// Whether `name` reads `FILE::TEST` and the file of tests has no such function.
fn is_missing_test(name: &str) -> bool {
    let Some((file, test)) = name.split_once("::") else {
        return false;
    };
    let path = root().join("tests").join(format!("{file}.rs"));
    let Ok(text) = std::fs::read_to_string(path) else {
        return !["net", "kernel"].contains(&file);
    };
    !text.contains(&format!("fn {test}("))
}

#[test]
fn no_path_of_one_machine() {
    let paths = [
        concat!("/wor", "k/"),
        concat!("/roo", "t/."),
        concat!("/home/", "user"),
    ];
    let mut found = Vec::new();
    for name in files() {
        // What is no UTF-8 text is no source.
        let Ok(text) = std::fs::read_to_string(root().join(&name)) else {
            continue;
        };
        for (at, line) in text.lines().enumerate() {
            if paths.iter().any(|path| line.contains(path)) {
                found.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    law(
        "no file names a directory of the machine it was written on",
        "a fresh clone must work anywhere",
        found,
    );
}

/// A source file outside of `tests/`.
struct File {
    /// Its path in the repository.
    name: String,
    text: String,
    /// Its lines but for `#[cfg(test)]` modules, with their numbers.
    code: Vec<(usize, String)>,
}

impl File {
    fn read(name: String) -> File {
        let text = std::fs::read_to_string(root().join(&name)).unwrap();
        let mut code = Vec::new();
        let mut lines = text.lines().enumerate().peekable();
        while let Some((at, line)) = lines.next() {
            let is_test = line == "#[cfg(test)]"
                && lines
                    .peek()
                    .is_some_and(|(_, next)| next.contains("mod ") && next.ends_with('{'));
            if is_test {
                lines.by_ref().find(|(_, line)| *line == "}");
            } else {
                code.push((at + 1, line.to_owned()));
            }
        }
        File { name, text, code }
    }

    /// The lines of code, without comments, that `wanted` picks, as `file:line: text`.
    fn lines_with(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let found = self
            .code
            .iter()
            .filter(|(_, line)| wanted(without_comment(line)));
        found
            .map(|(at, line)| format!("{}:{at}: {}", self.name, line.trim()))
            .collect()
    }

    /// Every function with the number of its lines.
    fn functions(&self) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        for (at, (_, line)) in self.code.iter().enumerate() {
            let code = without_comment(line);
            let Some(start) = code.find("fn ").filter(|&at| {
                code[..at].split_whitespace().all(|word| {
                    word.starts_with("pub")
                        || ["const", "unsafe", "async", "extern"].contains(&word)
                })
            }) else {
                continue;
            };
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = format!("{indent}}}");
            let length = self.code[at..].iter().position(|(_, line)| {
                *line == end
                    || (line.ends_with([';', '}'])
                        && line.starts_with(indent)
                        && line.contains("fn "))
            });
            let name = code[start + 3..]
                .split(['(', '<'])
                .next()
                .unwrap_or_default();
            found.push((name.to_owned(), length.unwrap_or(0) + 1));
        }
        found
    }

    /// The top module it belongs to.
    fn module(&self) -> String {
        let path = self.name.trim_start_matches("src/").trim_end_matches(".rs");
        match path.split('/').next().unwrap_or_default() {
            "bin" | "lib" => "main".to_owned(),
            module => module.to_owned(),
        }
    }

    /// The top modules it names as `crate::module` (`rmac::module` in a binary).
    fn imports(&self) -> BTreeSet<String> {
        let code: Vec<&str> = self
            .code
            .iter()
            .map(|(_, line)| without_comment(line))
            .collect();
        let code = code.join(" ");
        let mut found = BTreeSet::new();
        for root in ["crate::", "rmac::"] {
            for (at, _) in code.match_indices(root) {
                let rest = &code[at + root.len()..];
                let group = rest
                    .strip_prefix('{')
                    .map(|group| group.split(';').next().unwrap_or(""));
                let names = match group {
                    Some(group) => outermost(group),
                    None => vec![rest],
                };
                let is_part = |c: char| c == '_' || c.is_ascii_alphanumeric();
                found.extend(names.iter().map(|name| {
                    let name = name.trim_start();
                    name[..name.find(|c| !is_part(c)).unwrap_or(name.len())].to_owned()
                }));
            }
        }
        found.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
        found
    }
}

/// Splits `a, b::{c, d}, e};` at the commas outside of inner braces.
fn outermost(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

fn without_comment(line: &str) -> &str {
    let line = line.trim_start();
    match line.starts_with("//") {
        true => "",
        false => line.split(" // ").next().unwrap_or(line),
    }
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c == '_' || c == '"' || c.is_ascii_alphanumeric();
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part)
    })
}

fn law(law: &str, why: &str, offences: impl IntoIterator<Item = String>) {
    let offences: Vec<String> = offences.into_iter().collect();
    assert!(
        offences.is_empty(),
        "\nlaw: {law}\nwhy: {why}\n  {}\n",
        offences.join("\n  ")
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sources of both packages.
fn sources() -> Vec<File> {
    let is_source = |name: &String| {
        let inside = name.starts_with("src/") || name.starts_with("rootfs-fetch/src/");
        inside && name.ends_with(".rs") && !name.ends_with("/tests.rs")
    };
    files()
        .into_iter()
        .filter(is_source)
        .map(File::read)
        .collect()
}

/// Every file of the repository, built ones and git's own left out.
fn files() -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![root().to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry
                .path()
                .strip_prefix(root())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if [".git", "target", "fuzz/target", "proptest-regressions"].contains(&name.as_str()) {
                continue;
            }
            match entry.file_type().unwrap().is_dir() {
                true => open.push(entry.path()),
                false => found.push(name),
            }
        }
    }
    found.sort();
    found
}
