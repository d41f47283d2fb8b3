//! Networks and containers on them, as tests of networking want them.

use serde_json::Value;

use super::{Lab, Output};

impl Lab {
    /// `rmac network create` with these words.
    pub fn network(&self, words: &str) -> Output {
        self.sh(&format!("rmac network create {words}"))
    }

    /// A container that does nothing, on the network `network`, with these further words.
    pub fn sleeper(&self, name: &str, network: &str, words: &str) -> Output {
        let image = self.image();
        self.sh(&format!(
            "rmac run -d --name {name} --network {network} {words} {image} sleep 600"
        ))
    }

    /// A script in a container.
    pub fn inside(&self, name: &str, script: &str) -> Output {
        self.rmac(&["exec", name, "sh", "-c", script])
    }

    /// Whether a container gets an answer to its ping: ping's own 0 or 1, nothing else.
    #[track_caller]
    pub fn reaches(&self, name: &str, address: &str) -> bool {
        let output = self.inside(name, &format!("ping -c 1 -W 2 {address}"));
        match output.code {
            0 => true,
            1 => false,
            _ => panic!("{output:?}"),
        }
    }

    /// What `inspect` says of a container's place in a network.
    pub fn endpoint(&self, name: &str, network: &str) -> Value {
        let text = self.rmac(&["container", "inspect", name]).ok();
        let value: Value = serde_json::from_str(&text).unwrap();
        value[0]["NetworkSettings"]["Networks"][network].clone()
    }

    /// The links of the lab's host.
    pub fn links(&self) -> Vec<String> {
        let links = self.sh("ls /sys/class/net").ok();
        links.split_whitespace().map(ToOwned::to_owned).collect()
    }

    /// Removes containers, then networks.
    #[track_caller]
    pub fn remove(&self, containers: &str, networks: &str) {
        if !containers.is_empty() {
            self.sh(&format!("rmac rm -f {containers}")).ok();
        }
        self.sh(&format!("rmac network rm {networks}")).ok();
    }
}
