//! scripts/conformance: which test of a suite has passed, on a suite of the test's own.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use common::bundle::RMAC_OCI;
use common::run;

/// A directory that goes with the test.
struct Suite(std::path::PathBuf);

impl Suite {
    fn program(&self, path: &str, script: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn results(&self) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/conformance");
        let mut command = Command::new(script);
        command.arg(&self.0).arg(RMAC_OCI).env("LIMIT", "1");
        run(command.env("LOGS", self.0.join("logs"))).ok()
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn suite(name: &str) -> Suite {
    let name = format!("rmac-suite-{}-{name}", std::process::id());
    let suite = Suite(std::env::temp_dir().join(name));
    suite.program("runtimetest", "");
    suite
}

#[test]
fn programs_that_speak_tap_are_counted() {
    let suite = suite("validation");
    let test = |name: &str, script: &str| {
        suite.program(&format!("validation/{name}/{name}.t"), script);
    };
    test(
        "a-good",
        "echo 'ok 1 - fine'; echo 'ok 2 # SKIP no such'; \"$RUNTIME\" --version >&2",
    );
    test("b-bad", "echo 'ok 1'; echo 'not ok 2'");
    test("c-code", "echo 'ok 1'; exit 1");
    test("d-skipped", "echo 'ok 1 # SKIP no such kernel'");
    test("e-diagnosis", "echo '    \"error\": \"no\"'; echo 1..0");
    test("f-slow", "sleep 100");
    let words = "ok\ta-good\nnot ok\tb-bad\nnot ok\tc-code\nskipped\td-skipped\nnot ok\te-diagnosis\nnot ok\tf-slow\n";
    let total = "validation with rmac-oci: 1 passed, 4 failed, 1 skipped, of 6\n";
    assert_eq!(suite.results(), format!("{words}{total}"));
}

#[test]
fn groups_of_contest_are_counted() {
    let suite = suite("contest");
    let script = "[ $1 = list ] && { echo one; echo two; exit; }
        case $* in
        *'-t one') printf '1 / 3 : a : ok\\n2 / 3 : b : not ok\\n\\twhy\\n3 / 3 : c : skipped\\n# End group one\\n';;
        *) exit 101;;
        esac";
    suite.program("contest", script);
    let words = "ok\tone/a\nnot ok\tone/b\nskipped\tone/c\nnot ok\ttwo (exit code 101)\n";
    let total = "contest with rmac-oci: 1 passed, 2 failed, 1 skipped, of 4\n";
    assert_eq!(suite.results(), format!("{words}{total}"));
}
