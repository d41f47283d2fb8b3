//! The peers: which are there, and how each is called so that nothing of it touches the machine.
//!
//! Every path of theirs lies in the bench's directory, their links in the lab. dockerd, too, runs inside
//! of the lab's network namespace, without a bridge and without iptables.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::measure::Line;

/// The peers that are there.
#[derive(Default)]
pub struct Peers {
    /// `crun --root DIR`, and a bundle.
    pub crun: Option<String>,
    /// The same with runc.
    pub runc: Option<String>,
    /// `podman` with its directories.
    pub podman: Option<String>,
    /// `docker` with its socket.
    pub docker: Option<String>,
    dockerd: Option<Child>,
    /// Why one is missing.
    pub missing: Vec<String>,
}

impl Peers {
    /// Looks for them, and makes each ready: bundles, images and a macvlan network.
    pub fn find(dir: &Path, image: &str, archive: &str) -> Result<Peers> {
        let mut peers = Peers::default();
        let left_out = std::env::var("BENCH_WITHOUT").unwrap_or_default();
        for name in ["crun", "runc", "podman", "docker"] {
            let program = if name == "docker" { "dockerd" } else { name };
            if left_out.split_whitespace().any(|word| word == name) {
                peers.missing.push(format!("{name}: left out"));
            } else if !is_there(program) {
                peers.missing.push(format!(
                    "{name}: not installed (scripts/bench --install-peers)"
                ));
            } else if let Err(error) = peers.make_ready(name, dir, image, archive) {
                peers.missing.push(format!("{name}: {error:#}"));
            }
        }
        for missing in &peers.missing {
            println!("skipped: {missing}");
        }
        Ok(peers)
    }

    fn make_ready(&mut self, name: &str, dir: &Path, image: &str, archive: &str) -> Result<()> {
        let at = dir.join(name);
        std::fs::create_dir_all(&at)?;
        match name {
            "crun" | "runc" => {
                let call = format!("{name} --root {}/state", at.display());
                make_bundle(dir, &at, name)?;
                let bundle = at.join("bundle");
                Line::of(&format!("{call} run -b {} try-{name}", bundle.display())).run()?;
                match name {
                    "crun" => self.crun = Some(call),
                    _ => self.runc = Some(call),
                }
            }
            "podman" => {
                let at = at.display();
                let call = format!(
                    "podman --root {at}/root --runroot {at}/../run/podman --tmpdir {at}/tmp --cgroup-manager cgroupfs \
                     --events-backend file --network-config-dir {at}/net"
                );
                Line::of(&format!("{call} load -q -i {archive}")).run()?;
                Line::of(&format!(
                    "{call} network create {} bench",
                    network("172.16.88")
                ))
                .run()?;
                Line::of(&format!("{call} run --rm --network bench {image} true")).run()?;
                self.podman = Some(call);
            }
            _ => {
                let call = self.start_docker(&at)?;
                Line::of(&format!("{call} load -q -i {archive}")).run()?;
                Line::of(&format!(
                    "{call} network create {} bench",
                    network("172.16.87")
                ))
                .run()?;
                Line::of(&format!("{call} run --rm --network bench {image} true")).run()?;
                self.docker = Some(call);
            }
        }
        Ok(())
    }

    fn start_docker(&mut self, at: &Path) -> Result<String> {
        let at = at.display().to_string();
        let words = dockerd_words(&at);
        let log = std::fs::File::create(format!("{at}/log"))?;
        self.dockerd = Some(
            Command::new("dockerd")
                .args(words.split_whitespace())
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()?,
        );
        let call = format!("docker -H unix://{at}/socket");
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(100));
            if Line::of(&format!("{call} version")).run().is_ok() {
                return Ok(call);
            }
        }
        bail!("dockerd does not answer, see {at}/log")
    }

    /// Ends what was started.
    pub fn stop(&mut self) {
        if let Some(mut dockerd) = self.dockerd.take() {
            let pid = nix::unistd::Pid::from_raw(dockerd.id() as i32);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM);
            let _ = dockerd.wait();
        }
        if let Some(podman) = &self.podman {
            let _ = Line::of(&format!("{podman} rm -fa -t 0")).run();
            let _ = Line::of(&format!("{podman} network rm bench")).run();
        }
    }
}

/// The same macvlan network for all but for its addresses: each engine hands out the first ones of its subnet, and the
/// hardware address follows from them, so that in one subnet they would meet on the parent.
fn network(subnet: &str) -> String {
    format!("-d macvlan --subnet={subnet}.0/24 --gateway={subnet}.1 -o parent=eth0")
}

/// dockerd's words, so that all of it lies below `at` and it leaves links and firewall alone.
pub fn dockerd_words(at: &str) -> String {
    format!(
        "--data-root {at}/root --exec-root {at}/exec -p {at}/pid -H unix://{at}/socket --iptables=false \
         --ip6tables=false --bridge=none --storage-driver overlay2"
    )
}

/// Whether `program` can be found.
pub fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).exists())
}

/// A bundle of the image with the runtime's own default configuration, and one that sleeps.
fn make_bundle(dir: &Path, at: &Path, runtime: &str) -> Result<()> {
    for (name, args) in [
        ("bundle", json!(["true"])),
        ("sleep", json!(["sleep", "10000"])),
    ] {
        let bundle = at.join(name);
        std::fs::create_dir_all(&bundle)?;
        let made = Command::new(runtime)
            .arg("spec")
            .current_dir(&bundle)
            .status()?;
        if !made.success() {
            bail!("{runtime} spec: {made}");
        }
        let path = bundle.join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = args;
        config["root"] = json!({"path": dir.join("layer"), "readonly": true});
        let linux = config["linux"].as_object_mut().context("a Linux part")?;
        linux.insert(
            "cgroupsPath".into(),
            json!(format!("/rmac-bench-{runtime}-{name}")),
        );
        linux.remove("seccomp");
        std::fs::write(&path, serde_json::to_vec(&config)?)?;
    }
    Ok(())
}
