//! scripts/vm: a guest of which nothing is heard is booted again, and no command runs twice. QEMU is played by a
//! script here; real guests run in `scripts/vm-test`.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use common::{Output, run};

/// A QEMU whose boots go as `script` says, which knows the boot's number as `$boot`.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str, script: &str) -> Self {
        let dir = format!("rmac-machine-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(dir);
        // So that no kernel is fetched, which nobody would start.
        std::fs::create_dir_all(dir.join("vm/base")).unwrap();
        std::fs::write(dir.join("vm/done"), "").unwrap();
        let program = dir.join("bin/qemu-system-x86_64");
        let text = format!(
            r#"#!/bin/bash
            echo >>{dir}/boots; boot=$(wc -l <{dir}/boots)
            for word; do case $word in
                file,id=out,path=*) out=${{word#*path=}} ;;
                file,id=status,path=*) status=${{word#*path=}} ;;
            esac; done
            {script}
            "#,
            dir = dir.display()
        );
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        Self(dir)
    }

    /// Starts it with a patience of one second; the second boot has two, the third three.
    fn run(&self) -> Output {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/vm"));
        command.args(["--time-out", "4", "--", "true"]);
        command.env("PATH", format!("{}/bin:{path}", self.0.display()));
        command
            .env("RMAC_FIXTURES", &self.0)
            .env("RMAC_VM_PATIENCE", "1");
        run(&mut command)
    }

    fn boots(&self) -> usize {
        let boots = std::fs::read_to_string(self.0.join("boots")).unwrap();
        boots.lines().count()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const WORKS: &str = "{ echo begun; echo \"boot $boot\" >\"$out\"; echo 7; } >\"$status\"";

#[test]
fn a_guest_that_begins_is_booted_once() {
    let machine = Machine::new("good", WORKS);
    let said = machine.run();
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (7, "boot 1\n"),
        "{said:?}"
    );
    assert_eq!(machine.boots(), 1);
}

#[test]
fn a_silent_guest_is_booted_again() {
    let script = format!("[ $boot -gt 1 ] || exec sleep 100; {WORKS}");
    let machine = Machine::new("silent", &script);
    let said = machine.run();
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (7, "boot 2\n"),
        "{said:?}"
    );
    said.says("nothing was heard of the guest in 1 s, boot 1 of 3");
    assert_eq!(machine.boots(), 2);
}

#[test]
fn three_silent_guests_are_enough() {
    let machine = Machine::new("dead", "exec sleep 100");
    let said = machine.run().ended(125);
    said.says("in 3 s, boot 3 of 3").says("the guest died");
    assert_eq!(machine.boots(), 3);
}

#[test]
fn what_has_begun_is_never_begun_again() {
    let begun = "echo begun >\"$status\"; exec sleep 100";
    let machine = Machine::new("slow", begun);
    machine.run().ended(124).says("timed out after 4 s");
    assert_eq!(machine.boots(), 1);
    // Nor where the sign of life comes as the guest is being ended.
    let late = "trap 'kill $!; echo begun >\"$status\"; exit' TERM; sleep 100 & wait; exit";
    let machine = Machine::new("late", late);
    machine.run().ended(125).says("the guest died");
    assert_eq!(machine.boots(), 1);
}
