//! The link plan in the real kernel: a LAN of network namespaces, made by this test, as root.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rmac::net::endpoint::{Endpoint, Mac, Probe};
use rmac::net::link::{Step, plan};
use rmac::net::netlink::Wires;
use rmac::net::network::{Ipv6Policy, Kind, MacvlanMode, Parent, Segment};
use rmac::net::{announce, netns};

/// A switch, a station "host" with an eth0 and a container's network namespace, pinned at paths of
/// their own; gone when dropped.
struct Lan {
    dir: PathBuf,
    switch: OwnedFd,
    host: OwnedFd,
}

impl Lan {
    fn make(name: &str) -> Lan {
        let dir = std::env::temp_dir().join(format!("rmac-{name}-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let switch = netns::pin(&dir.join("switch")).unwrap();
        let host = netns::pin(&dir.join("host")).unwrap();
        let mut wires = Wires::open(switch.as_fd()).unwrap();
        wires.make_bridge("br0").unwrap();
        wires.make_veth("port", "eth0", host.as_fd()).unwrap();
        wires.plug("port", "br0").unwrap();
        wires.set_up("br0").unwrap();
        wires.set_up("port").unwrap();
        Wires::open(host.as_fd()).unwrap().set_up("eth0").unwrap();
        Lan { dir, switch, host }
    }

    fn container(&self, name: &str) -> OwnedFd {
        netns::pin(&self.dir.join(name)).unwrap()
    }

    /// What `ip` (or another command) says in the network namespace `name`.
    fn run(&self, name: &str, command: &str) -> String {
        let net = format!("--net={}", self.dir.join(name).display());
        let output = Command::new("nsenter")
            .args([&net, "sh", "-c", command])
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, name: &str, command: &str) -> serde_json::Value {
        serde_json::from_str(&self.run(name, command)).unwrap()
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(&self.dir).unwrap() {
            netns::unpin(&entry.unwrap().path()).unwrap();
        }
        std::fs::remove_dir(&self.dir).unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.dir.to_str().unwrap()));
    }
}

fn parent(link: &str) -> Parent {
    Parent {
        link: link.into(),
        made: vec![],
        segment: Segment {
            base: link.into(),
            vids: vec![],
        },
    }
}

fn endpoint(last: u8) -> Endpoint {
    let address = Ipv4Addr::new(172, 16, 86, last);
    Endpoint {
        network: "my-macvlan-net".into(),
        network_id: "1".repeat(64),
        endpoint_id: "2".repeat(64),
        kind: Kind::BRIDGE,
        parent: parent("eth0"),
        mtu: None,
        ifname: "eth0".into(),
        mac: Some(Mac::of(address)),
        ipv4: Some(ipnet::Ipv4Net::new(address, 24).unwrap()),
        gateway: Some(Ipv4Addr::new(172, 16, 86, 1)),
        ipv6: None,
        ipv6_gateway: None,
        ipv6_policy: Ipv6Policy::Off,
        ipam: Default::default(),
        probe: Probe::Off,
        gw_priority: 0,
        routes: vec![],
        driver_opts: Default::default(),
        announce: Default::default(),
        parent_wait: 0,
        requested_ipv4: None,
        requested_ipv6: None,
        requested_mac: None,
        aliases: vec![],
        internal: false,
    }
}

/// Takes the plan's steps from within the host, as `run` does.
fn attach(host: &OwnedFd, container: &OwnedFd, steps: &[Step]) -> anyhow::Result<()> {
    netns::within(host.as_fd(), || {
        let mut wires = Wires::open(container.as_fd())?;
        steps.iter().try_for_each(|step| step.take(&mut wires))
    })
}

fn detach(container: &OwnedFd, steps: &[Step]) {
    let mut wires = Wires::open(container.as_fd()).unwrap();
    for step in steps.iter().rev() {
        step.undo(&mut wires).unwrap();
        step.undo(&mut wires).unwrap(); // "already gone" is no error
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn the_tutorials_container_has_the_tutorials_eth0() {
    let lan = Lan::make("tutorial");
    let container = lan.container("c1");
    let before = netns::inode(netns::own().unwrap().as_fd()).unwrap();
    attach(&lan.host, &container, &plan(&[endpoint(2)])).unwrap();
    assert_eq!(netns::inode(netns::own().unwrap().as_fd()).unwrap(), before);

    let addr = lan.json("c1", "ip -j addr show eth0");
    assert_eq!(addr[0]["address"], "02:42:ac:10:56:02");
    assert_eq!(addr[0]["mtu"], 1500);
    // The operational state follows some time later.
    assert!(addr[0]["flags"].as_array().unwrap().contains(&"UP".into()));
    let info = addr[0]["addr_info"].as_array().unwrap();
    assert_eq!(info.len(), 1, "no IPv6 address: {info:?}");
    assert_eq!(info[0]["local"], "172.16.86.2");
    assert_eq!(info[0]["prefixlen"], 24);
    assert_eq!(info[0]["broadcast"], "172.16.86.255");
    assert_eq!(info[0]["scope"], "global");
    assert_eq!(
        lan.run("c1", "ip route").lines().collect::<Vec<_>>(),
        [
            "default via 172.16.86.1 dev eth0 ",
            "172.16.86.0/24 dev eth0 proto kernel scope link src 172.16.86.2 "
        ]
    );
    let lo = lan.run("c1", "ip addr show lo");
    assert!(
        lo.contains("LOOPBACK,UP") && lo.contains("127.0.0.1/8"),
        "{lo}"
    );
}

#[test]
fn without_a_network_there_is_a_loopback_and_nothing_else() {
    let lan = Lan::make("none");
    let container = lan.container("c1");
    attach(&lan.host, &container, &plan(&[])).unwrap();
    let links = lan.run("c1", "ip -br link");
    assert!(links.lines().all(|line| line.starts_with("lo ")), "{links}");
    assert_eq!(lan.run("c1", "ip route"), "");
}

#[test]
fn two_containers_reach_each_other_and_the_lan_hears_of_them() {
    let lan = Lan::make("ping");
    let ear = netns::within(lan.switch.as_fd(), || Ok(Ear::listen())).unwrap();
    let (one, two) = (lan.container("c1"), lan.container("c2"));
    attach(&lan.host, &one, &plan(&[endpoint(2)])).unwrap();
    attach(&lan.host, &two, &plan(&[endpoint(3)])).unwrap();
    for last in [2, 3] {
        let address = Ipv4Addr::new(172, 16, 86, last);
        assert!(ear.hears(&announce::frame(Mac::of(address), address)));
    }
    let voice = announce::Voice::open(two.as_fd()).unwrap();
    voice.announce(two.as_fd(), &endpoint(3)).unwrap();
    let address = Ipv4Addr::new(172, 16, 86, 3);
    assert!(ear.hears(&announce::frame(Mac::of(address), address)));
    lan.run("c1", "ping -c 1 -W 2 172.16.86.3");
}

#[test]
fn the_same_address_can_be_used_again_at_once() {
    let lan = Lan::make("again");
    for round in 0..5 {
        let name = format!("c{round}");
        let container = lan.container(&name);
        let steps = plan(&[endpoint(2)]);
        attach(&lan.host, &container, &steps).unwrap();
        detach(&container, &steps);
        assert!(!lan.run(&name, "ip -br link").contains("eth0"));
        netns::unpin(&lan.dir.join(&name)).unwrap();
    }
}

#[test]
fn an_address_whose_owner_is_dying_is_waited_for() {
    let lan = Lan::make("dying");
    for round in 0..5 {
        let name = format!("c{round}");
        let container = lan.container(&name);
        attach(&lan.host, &container, &plan(&[endpoint(2)])).unwrap();
        // No deletion: the link dies with its network namespace, some time later.
        netns::unpin(&lan.dir.join(&name)).unwrap();
    }
}

#[test]
fn eight_at_once_do_not_disturb_each_other() {
    let lan = Lan::make("eight");
    std::thread::scope(|scope| {
        for number in 2..10 {
            let lan = &lan;
            scope.spawn(move || {
                let name = format!("c{number}");
                let steps = plan(&[endpoint(number)]);
                for _ in 0..5 {
                    let container = lan.container(&name);
                    attach(&lan.host, &container, &steps).unwrap();
                    let addr = lan.run(&name, "ip -4 -br addr show eth0");
                    assert!(addr.contains(&format!("172.16.86.{number}/24")), "{addr}");
                    detach(&container, &steps);
                    netns::unpin(&lan.dir.join(&name)).unwrap();
                }
            });
        }
    });
}

#[test]
fn a_hardware_address_in_use_is_told() {
    let lan = Lan::make("mac");
    attach(&lan.host, &lan.container("c1"), &plan(&[endpoint(2)])).unwrap();
    let begin = Instant::now();
    let second = Endpoint {
        mac: Some(Mac::of(Ipv4Addr::new(172, 16, 86, 2))),
        ..endpoint(3)
    };
    let error = attach(&lan.host, &lan.container("c2"), &plan(&[second])).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("in use by another macvlan"), "{text}");
    assert!(text.contains("EADDRINUSE"), "{text}");
    assert!(begin.elapsed() >= Duration::from_millis(900));
}

#[test]
fn refusals_of_the_kernel_name_cause_and_cure() {
    let lan = Lan::make("refusals");
    let container = lan.container("c1");
    let make = |parent: &str, mode, mtu| {
        plan(&[Endpoint {
            parent: self::parent(parent),
            kind: Kind::Macvlan {
                mode,
                bcqueuelen: None,
                bclim: None,
            },
            mtu,
            ..endpoint(2)
        }])
    };
    let told = |from: &OwnedFd, steps: &[Step]| {
        format!("{:#}", attach(from, &container, steps).unwrap_err())
    };
    let bridge = MacvlanMode::Bridge;
    let text = told(&lan.switch, &make("port", bridge, None));
    assert!(
        text.starts_with("failed to create the macvlan port: device or resource busy")
            && text.contains("port is a port of the bridge br0")
            && text.contains("-o parent=br0")
            && text.contains("EBUSY"),
        "{text}"
    );
    let text = told(&lan.host, &make("eth9", bridge, None));
    assert!(text.contains("eth9") && text.contains("ENODEV"), "{text}");
    let text = told(&lan.host, &make("lo", bridge, None));
    assert!(
        text.contains("loopback") && text.contains("EINVAL"),
        "{text}"
    );
    let text = told(&lan.host, &make("eth0", bridge, Some(9000)));
    assert!(text.contains("MTU") && text.contains("EINVAL"), "{text}");
    assert!(!lan.run("c1", "ip -br link").contains("eth0"));

    // A bridge itself can be a parent.
    attach(&lan.switch, &container, &make("br0", bridge, None)).unwrap();
    // And passthru wants its parent alone.
    let other = lan.container("c2");
    attach(&lan.host, &other, &plan(&[endpoint(3)])).unwrap();
    detach(&container, &plan(&[endpoint(2)]));
    let text = told(&lan.host, &make("eth0", MacvlanMode::Passthru, None));
    assert!(
        text.contains("for itself") && text.contains("EINVAL"),
        "{text}"
    );
}

#[test]
fn a_name_that_is_taken_inside_is_told_and_leaves_nothing() {
    let lan = Lan::make("eexist");
    let container = lan.container("c1");
    attach(&lan.host, &container, &plan(&[endpoint(2)])).unwrap();
    let error = attach(&lan.host, &container, &plan(&[endpoint(3)])).unwrap_err();
    assert!(format!("{error:#}").contains("EEXIST"), "{error:#}");
    assert!(!lan.run("c1", "ip -br link").contains("mv0"));
}

#[test]
fn no_thread_and_no_descriptor_is_left() {
    let lan = Lan::make("left");
    let container = lan.container("c1");
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // Other tests of this program run at the same time: look in a program of its own.
    if std::env::var_os("RMAC_TEST_ALONE").is_none() {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "no_thread_and_no_descriptor_is_left"])
            .env("RMAC_TEST_ALONE", "1")
            .output()
            .unwrap();
        assert!(status.status.success(), "{status:?}");
        return;
    }
    let before = (count(), threads());
    attach(&lan.host, &container, &plan(&[endpoint(2)])).unwrap();
    detach(&container, &plan(&[endpoint(2)]));
    assert_eq!((count(), threads()), before);
}

/// A packet socket in the switch that hears every frame.
struct Ear(std::fs::File);

impl Ear {
    fn listen() -> Ear {
        use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
        let packet = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_NONBLOCK,
            SockProtocol::EthAll,
        )
        .unwrap();
        Ear(packet.into())
    }

    fn hears(&self, wanted: &[u8]) -> bool {
        use std::io::Read;
        let begin = Instant::now();
        let mut buffer = [0; 2000];
        while begin.elapsed() < Duration::from_secs(2) {
            match (&self.0).read(&mut buffer) {
                Ok(length) if buffer[..length].starts_with(wanted) => return true,
                Ok(_) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        false
    }
}
