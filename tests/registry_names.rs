//! A registry's name is looked up in /etc/hosts, then by DNS, whatever else nsswitch.conf of the machine names: the C
//! library in rmac cannot load other modules safely (`src/sys/resolver.rs`).

mod common;

use std::process::{Child, Command, Stdio};

use common::{Lab, wait_for};

/// The name that only /etc/hosts has, the one that only the name server has, and one that nobody has.
const NAMES: [&str; 3] = ["files.example", "dns.example", "nobody.example"];

/// What nsswitch.conf says: as on a desktop, and two in which a module that is not there ends the search before the
/// files, or after them. Who reads the file as it stands finds less.
fn lines() -> Vec<&'static str> {
    let mut lines = vec!["files mdns4_minimal [NOTFOUND=return] dns"];
    // A program that has not got the C library in itself does read it.
    if cfg!(static_libc) {
        lines.push("nosuch [UNAVAIL=return] files dns");
        lines.push("files nosuch [UNAVAIL=return] dns");
    }
    lines
}

#[test]
fn a_registry_is_found_in_files_and_by_dns() {
    let lab = Lab::with_image();
    lab.registry(&[]);
    let served = format!("5000/library/{}", lab.image());
    let scratch = lab.scratch();
    let server = NameServer::start(&lab);
    let write = |name: &str, text: &str| std::fs::write(scratch.join(name), text).unwrap();
    let insecure =
        NAMES.map(|name| format!("[[registry]]\nlocation = \"{name}:5000\"\ninsecure = true\n"));
    write("registries.conf", &insecure.concat());
    write("hosts", &format!("127.0.0.1 localhost {}\n", NAMES[0]));
    write(
        "resolv.conf",
        "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n",
    );
    for line in lines() {
        write("nsswitch.conf", &format!("hosts: {line}\n"));
        for name in &NAMES[..2] {
            let reference = format!("{name}:{served}");
            with_files(
                &lab,
                &format!("rmac pull -q {reference} && rmac rmi {reference}"),
            )
            .says("Untagged");
        }
    }
    // Each is tried again for some seconds, so once.
    with_files(&lab, &format!("rmac pull -q {}:{served}", NAMES[2]))
        .ended(1)
        .says("its name cannot be resolved");
    let asked = server.asked();
    assert!(
        asked.contains(NAMES[1]) && asked.contains(NAMES[2]),
        "{asked}"
    );
    assert!(!asked.contains(NAMES[0]), "files come first: {asked}");
}

/// A script on the lab's host that finds the test's files in /etc, in a mount namespace of its own.
fn with_files(lab: &Lab, script: &str) -> common::Output {
    let scratch = lab.scratch();
    let scratch = scratch.display();
    let bind = format!(
        "for file in hosts resolv.conf nsswitch.conf; do mount --bind {scratch}/$file /etc/$file || exit 9; done"
    );
    let export = format!("export CONTAINERS_REGISTRIES_CONF={scratch}/registries.conf");
    lab.sh(&format!(
        "unshare -m --propagation private sh -c '{bind}; {export}; {script}'"
    ))
}

/// The fixtures' name server, on the lab's host as long as this lives.
struct NameServer {
    process: Child,
    log: std::path::PathBuf,
}

impl NameServer {
    fn start(lab: &Lab) -> NameServer {
        let log = lab.scratch().join("dns.log");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/dns.py");
        let file = std::fs::File::create(&log).unwrap();
        let mut command: Command = lab.command("python3");
        command.args([script, NAMES[1], "127.0.0.1"]).stdout(file);
        let process = command.stderr(Stdio::inherit()).spawn().unwrap();
        let server = NameServer { process, log };
        wait_for("a name server", || server.asked().starts_with("ready"));
        server
    }

    /// The names that it was asked for, a line each.
    fn asked(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
