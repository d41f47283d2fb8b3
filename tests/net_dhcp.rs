//! DHCP and router advertisements, where things do not go as they should: an address that is in use, a
//! server that falls silent, a lease that expires.
//!
//! The server of most tests is a script, so that it can misbehave and its leases be short.

mod common;

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::Lab;
use common::lan::{dnsmasq, ear, eventually, frames, has_dnsmasq, run};
use rmac::net::netns;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const ACK: u8 = 5;

/// One message of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heard {
    kind: u8,
    /// Whether it went to everybody.
    broadcast: bool,
    /// The address that the client has already.
    current: Ipv4Addr,
}

/// A DHCP server on the lab's router whose leases last six seconds (T1 one, T2 three).
struct Server {
    heard: Arc<Mutex<Vec<Heard>>>,
    /// Whether it answers who wants to keep an address only if everybody is asked.
    deaf_to_renewals: Arc<AtomicBool>,
    /// Whether it answers at all.
    mute: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start(lab: &Lab) -> Server {
        let ear = ear(lab, "router", 0x0800);
        let path = lab.runroot().parent().unwrap().join("router");
        let router = netns::open(&path).unwrap();
        let socket = netns::within(router.as_fd(), || Ok(UdpSocket::bind("0.0.0.0:67")?)).unwrap();
        socket.set_broadcast(true).unwrap();
        let mut server = Server {
            heard: Arc::default(),
            deaf_to_renewals: Arc::default(),
            mute: Arc::default(),
            ends: Arc::default(),
            thread: None,
        };
        let (heard, deaf) = (server.heard.clone(), server.deaf_to_renewals.clone());
        let (mute, ends) = (server.mute.clone(), server.ends.clone());
        server.thread = Some(std::thread::spawn(move || {
            let mut next = Ipv4Addr::new(172, 16, 86, 120);
            while !ends.load(Ordering::Relaxed) {
                for frame in frames(&ear) {
                    let Some((message, what)) = client_message(&frame) else {
                        continue;
                    };
                    heard.lock().unwrap().push(what);
                    let renewal = what.kind == REQUEST && !what.current.is_unspecified();
                    if what.kind == DECLINE {
                        next = Ipv4Addr::from(u32::from(next) + 1);
                    }
                    if mute.load(Ordering::Relaxed)
                        || renewal && deaf.load(Ordering::Relaxed) && !what.broadcast
                    {
                        continue;
                    }
                    let answer = match what.kind {
                        DISCOVER => reply(message, OFFER, next),
                        REQUEST if renewal => reply(message, ACK, what.current),
                        REQUEST => reply(message, ACK, next),
                        _ => continue,
                    };
                    socket.send_to(&answer, "172.16.86.255:68").unwrap();
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }));
        server
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// The DHCP message of a client in an Ethernet frame.
fn client_message(frame: &[u8]) -> Option<(&[u8], Heard)> {
    let is_ours = frame.get(23) == Some(&17) && frame.get(36..38) == Some(&[0, 67]);
    let message = frame.get(42..).filter(|_| is_ours)?;
    let mut options = message.get(240..)?;
    while let [number, length, rest @ ..] = options {
        if *number == 53 {
            let current: [u8; 4] = message[12..16].try_into().unwrap();
            let heard = Heard {
                kind: rest[0],
                broadcast: frame[..6] == [0xff; 6],
                current: current.into(),
            };
            return Some((message, heard));
        }
        options = rest.get(usize::from(*length)..)?;
    }
    None
}

/// What the server says to `message`: RFC 2131 section 2, table 3.
fn reply(message: &[u8], kind: u8, address: Ipv4Addr) -> Vec<u8> {
    let mut reply = message[..240].to_vec();
    reply[0] = 2;
    reply[12..16].fill(0);
    reply[16..20].copy_from_slice(&address.octets());
    let options: [(u8, &[u8]); 7] = [
        (53, &[kind]),
        (54, &[172, 16, 86, 1]),
        (1, &[255, 255, 255, 0]),
        (3, &[172, 16, 86, 1]),
        (51, &[0, 0, 0, 6]),
        (58, &[0, 0, 0, 1]),
        (59, &[0, 0, 0, 3]),
    ];
    for (number, value) in options {
        reply.extend([number, value.len() as u8]);
        reply.extend(value);
    }
    reply.push(255);
    reply
}

fn network(lab: &Lab, more: &str) {
    lab.sh(&format!(
        "rmac network create --ipam-driver dhcp -o parent=eth0 {more} lan"
    ))
    .ok();
}

#[test]
fn a_lease_is_rebound_with_everybody_and_lost_when_nobody_answers() {
    let lab = Lab::with_image();
    let server = Server::start(&lab);
    server.deaf_to_renewals.store(true, Ordering::Relaxed);
    network(&lab, "");
    run(&lab, "--name web --network lan").ok();
    let begin = Instant::now();
    let address = || lab.sh("rmac exec web ip -4 -o addr show eth0").ok();
    assert!(address().contains("172.16.86.120/24"), "{}", address());
    // Past the six seconds of the first lease.
    std::thread::sleep(Duration::from_secs(8).saturating_sub(begin.elapsed()));
    assert!(address().contains("172.16.86.120/24"), "{}", address());
    let renewals: Vec<Heard> = server
        .heard()
        .into_iter()
        .filter(|heard| heard.kind == REQUEST && !heard.current.is_unspecified())
        .collect();
    let first = renewals.iter().position(|heard| heard.broadcast);
    // First the server alone, at T1; then everybody, at T2.
    assert!(first.is_some_and(|first| first > 0), "{renewals:?}");
    let discovers = || server.heard().iter().filter(|h| h.kind == DISCOVER).count();
    assert_eq!(discovers(), 1);

    server.mute.store(true, Ordering::Relaxed);
    eventually(&lab, "! rmac exec web ip -4 -o addr show eth0 | grep inet");
    lab.sh("rmac inspect -f '{{.State.Error}}' web")
        .says("the DHCP lease of eth0 has expired")
        .ok();
    // It goes on asking, and the container runs on.
    server.mute.store(false, Ordering::Relaxed);
    eventually(
        &lab,
        "rmac exec web ip -4 -o addr show eth0 | grep 172.16.86.120/24",
    );
    assert!(discovers() > 1);
    lab.sh("rmac exec web ping -c 1 -W 2 172.16.86.1").ok();
    lab.sh("rmac rm -f web").ok();
}

#[test]
fn an_address_that_somebody_has_is_declined() {
    let lab = Lab::with_image();
    let server = Server::start(&lab);
    network(&lab, "");
    lab.on("switch", "ip addr add 172.16.86.120/24 dev br0")
        .ok();
    run(&lab, "--name web --network lan").ok();
    lab.sh("rmac exec web ip -4 -o addr show eth0")
        .says("inet 172.16.86.121/24")
        .ok();
    let kinds: Vec<u8> = server.heard().iter().map(|heard| heard.kind).collect();
    assert_eq!(
        kinds[..5],
        [DISCOVER, REQUEST, DECLINE, DISCOVER, REQUEST],
        "{kinds:?}"
    );
    assert!(server.heard()[2].broadcast);
    // A rival who comes later is answered.
    lab.on("router", "ip neigh flush all").ok();
    lab.on(
        "switch",
        "ip addr add 172.16.86.121/24 dev br0 && ping -c 1 -W 1 -I 172.16.86.121 172.16.86.1; true",
    )
    .ok();
    eventually(
        &lab,
        "rmac inspect -f '{{.State.Error}}' web | grep 'address 172.16.86.121 is used by'",
    );
    lab.sh("rmac rm -f web && rmac network rm lan").ok();
    // Who does not want to know is not told.
    network(&lab, "-o conflict=off");
    run(&lab, "--name web --network lan").ok();
    lab.sh("rmac exec web ip -4 -o addr show eth0")
        .says("inet 172.16.86.121/24")
        .ok();
    lab.sh("rmac rm -f web").ok();
}

/// The same with the server that most LANs of this size have.
#[test]
fn dnsmasq_takes_a_decline_and_gives_another_address() {
    if !has_dnsmasq() {
        return;
    }
    let lab = Lab::with_image();
    lab.on("switch", "ip addr add 172.16.86.100/24 dev br0")
        .ok();
    let mut server = dnsmasq(&lab, "--dhcp-sequential-ip");
    network(&lab, "");
    run(&lab, "--name web --network lan").ok();
    lab.sh("rmac exec web ip -4 -o addr show eth0")
        .says("inet 172.16.86.101/24")
        .ok();
    let log = lab.scratch().join("log");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("DHCPDECLINE(eth0) 172.16.86.100"), "{log}");
    lab.sh("rmac rm -f web").ok();
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn a_router_advertises_a_prefix() {
    if !has_dnsmasq() {
        return;
    }
    let lab = Lab::with_image();
    lab.on("router", "ip addr add fd00:86::1/64 dev eth0 nodad")
        .ok();
    let mut server = dnsmasq(&lab, "--enable-ra --dhcp-range=fd00:86::,ra-only");
    lab.sh("rmac network create --ipv6=slaac --subnet 172.16.86.0/24 -o parent=eth0 lan")
        .ok();
    run(&lab, "--name web --network lan").ok();
    eventually(
        &lab,
        "rmac exec web ip -6 -o addr show dev eth0 | grep 'inet6 fd00:86::.*/64 scope global'",
    );
    eventually(
        &lab,
        "rmac exec web ip -6 route | grep 'default via fe80:.* dev eth0'",
    );
    eventually(&lab, "rmac exec web ping -c 1 -W 2 fd00:86::1");
    // Whose network gives its own addresses out is not to have another.
    lab.sh("rmac network create --ipv6 --subnet fd00:87::/64 --ipv4=false -o parent=eth0 static")
        .ok();
    run(&lab, "--name db --network static").ok();
    std::thread::sleep(Duration::from_secs(5));
    let there = lab
        .sh("rmac exec db ip -6 -o addr show dev eth0; rmac exec db ip -6 route")
        .ok();
    assert!(
        there.contains("fd00:87::") && !there.contains("fd00:86:") && !there.contains("default"),
        "{there}"
    );
    lab.sh("rmac rm -f web db").ok();
    server.kill().unwrap();
    server.wait().unwrap();
}
