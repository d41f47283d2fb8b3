//! The lab's LAN as a test sees it: networks on eth0, what is heard on the wire, a DHCP server.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rmac::net::netns;
use rmac::sys::packet;

use super::{Lab, Output};

const CREATE: &str =
    "rmac network create --subnet 172.16.86.0/24 --gateway 172.16.86.1 -o parent=eth0";

/// A lab with an image and, on its eth0, a macvlan network of this name.
pub fn lab_with_network(name: &str) -> Lab {
    let lab = Lab::with_image();
    lab.sh(&format!("{CREATE} -d macvlan {name}")).ok();
    lab
}

/// A network on the lab's eth0, with these further words.
pub fn lan(lab: &Lab, more: &str) {
    lab.sh(&format!("{CREATE} {more} lan")).ok();
}

/// A container that does nothing, with these flags.
pub fn run(lab: &Lab, flags: &str) -> Output {
    let image = lab.image();
    lab.sh(&format!("rmac run -d {flags} {image} sleep 1000"))
}

/// Waits until the script ends with 0, ten seconds at most.
#[track_caller]
pub fn eventually(lab: &Lab, script: &str) {
    let begin = Instant::now();
    loop {
        let out = lab.sh(script);
        if out.code == 0 {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{out:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The router's hardware address.
pub fn router_mac(lab: &Lab) -> String {
    lab.on("router", "cat /sys/class/net/eth0/address")
        .ok()
        .trim()
        .to_owned()
}

/// What comes in on a station's eth0 with this EtherType.
pub fn ear(lab: &Lab, station: &str, protocol: u16) -> OwnedFd {
    ear_on(lab, station, "eth0", protocol)
}

/// The same for another link of the station's.
pub fn ear_on(lab: &Lab, station: &str, link: &str, protocol: u16) -> OwnedFd {
    let path = lab.runroot().parent().unwrap().join(station);
    let netns = netns::open(&path).unwrap();
    netns::within(netns.as_fd(), || {
        let index = nix::net::if_::if_nametoindex(link)?;
        Ok(packet::open(protocol, index, &packet::accept_if(&[]))?)
    })
    .unwrap()
}

/// What has come in so far.
pub fn frames(ear: &OwnedFd) -> Vec<Vec<u8>> {
    let mut all = vec![];
    let mut buffer = [0; 1600];
    let flags = nix::sys::socket::MsgFlags::MSG_DONTWAIT;
    while let Ok(length) = nix::sys::socket::recv(ear.as_raw_fd(), &mut buffer, flags) {
        all.push(buffer[..length].to_vec());
    }
    all
}

/// A DHCP server on the lab's router.
pub fn dnsmasq(lab: &Lab, more: &str) -> std::process::Child {
    let dir = lab.scratch();
    let script = format!(
        "cd {0} && exec dnsmasq --no-daemon --conf-file=/dev/null --port=0 --interface=eth0 --bind-interfaces \
         --user=root --group=root --pid-file= --dhcp-leasefile={0}/leases --log-dhcp --log-facility={0}/log --no-ping \
         --dhcp-range=172.16.86.100,172.16.86.110,2m --dhcp-option=option:router,172.16.86.1 \
         --dhcp-option=option:dns-server,172.16.86.1 --domain=lab.test {more}",
        dir.display()
    );
    lab.start_on("router", &script)
}

/// Whether there is a dnsmasq here; says so where there is none.
pub fn has_dnsmasq() -> bool {
    let there = std::process::Command::new("dnsmasq")
        .arg("--version")
        .output()
        .is_ok();
    if !there {
        eprintln!("skipped: no dnsmasq here (Debian: apt-get install dnsmasq-base)");
    }
    there
}
