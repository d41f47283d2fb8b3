//! On a real LAN: conflicts, announcements, the host's own access, DHCP, and a parent that goes away.
//!
//! | theirs | here |
//! |---|---|
//! | moby bridge_linux_test.go TestAdvertiseAddresses | `an_address_is_announced_three_times` |
//! | moby macvlan_test.go ParentDown | `a_parent_that_is_down_or_flaps_does_no_harm` |
//! | podman test-dhcp: basic setup, empty/no hostname | `a_dhcp_server_gives_renews_and_takes_back` |
//! | podman test-dhcp: teardown, release after timeout | the same |
//! | podman test-dhcp: NOP, empty iface, empty mac, bad iface, bad mac, SIGINT, SIGTERM | do not apply: they try the protocol of a separate proxy, which there is none of |
//! | podman 700-create: macvlan no subnet -> dhcp | `dhcp_is_asked_for_by_name_or_by_leaving_out_the_subnet` |

mod common;

use std::time::{Duration, Instant};

use common::Lab;
use common::lan::{dnsmasq, ear, eventually, frames, has_dnsmasq, lan, router_mac, run};

#[test]
fn an_address_that_somebody_has_is_passed_over() {
    let lab = Lab::with_image();
    lan(&lab, "");
    lab.on("router", "ip addr add 172.16.86.2/24 dev eth0").ok();
    let mac = router_mac(&lab);
    let image = lab.image();
    let out = lab.sh(&format!(
        "rmac run --rm --network lan {image} ip -4 addr show eth0"
    ));
    let out = out
        .says(&format!(
            "address 172.16.86.2 is in use on the LAN already, by {mac}; taking 172.16.86.3"
        ))
        .says("inet 172.16.86.3/24");
    out.ok();
    // It is remembered: the next one does not ask again.
    let out = lab.sh(&format!(
        "rmac run --rm --network lan {image} ip -4 addr show eth0"
    ));
    assert_eq!(out.stderr, "");
    assert!(!out.ok().contains("172.16.86.2/24"));
    // Whoever wants just this one is told who has it.
    lab.sh(&format!(
        "rmac run --rm --network lan --ip 172.16.86.2 {image} true"
    ))
    .ended(125)
    .says(&format!(
        "address 172.16.86.2 is in use on the LAN already: {mac} answers for it"
    ));
    assert_eq!(lab.sh("rmac ps -a -q").ok(), "");
    // So is who connects while running.
    run(&lab, "--name c1 --network lan").ok();
    lab.sh("rmac network create -o parent=eth0 --subnet 10.9.0.0/24 two")
        .ok();
    lab.on("router", "ip addr add 10.9.0.1/24 dev eth0").ok();
    lab.sh("rmac network connect two c1")
        .says("taking 10.9.0.2")
        .ok();
    lab.sh("rmac exec c1 ping -c 1 -W 2 10.9.0.1").ok();
    // A container that was stopped when somebody took its address moves on, too.
    lab.sh("rmac stop -t 0 c1").ok();
    lab.on("router", "ip addr add 172.16.86.3/24 dev eth0").ok();
    lab.sh("rmac start c1").says("taking 172.16.86.4").ok();
}

#[test]
fn with_conflict_off_nobody_is_asked() {
    let lab = Lab::with_image();
    lan(&lab, "-o conflict=off");
    lab.on("router", "ip addr add 172.16.86.2/24 dev eth0").ok();
    let image = lab.image();
    let out = lab.sh(&format!(
        "rmac run --rm --network lan {image} ip -4 addr show eth0"
    ));
    assert_eq!(out.stderr, "");
    out.says("inet 172.16.86.2/24").ok();
}

#[test]
fn an_ipv6_address_that_somebody_has_is_passed_over() {
    let lab = Lab::with_image();
    lab.sh("rmac network create --ipv6 --subnet fd00:86::/64 -o parent=eth0 --ipv4=false six")
        .ok();
    let image = lab.image();
    let script = format!("rmac run --rm --network six {image} ip -6 addr show eth0");
    lab.sh(&script).says("inet6 fd00:86::1/64").ok();
    // An address is free when the link is gone, shortly after the answer.
    lab.no_leaks();
    lab.on("router", "ip addr add fd00:86::1/64 dev eth0 nodad")
        .ok();
    let mac = router_mac(&lab);
    lab.sh(&script)
        .says(&format!(
            "address fd00:86::1 is in use on the LAN already, by {mac}; taking fd00:86::2"
        ))
        .says("inet6 fd00:86::2/64")
        .ok();
}

#[test]
fn the_hosts_own_and_the_routers_address_are_refused() {
    let lab = Lab::with_image();
    lan(&lab, "--ip-range 172.16.86.250/31");
    let image = lab.image();
    lab.sh(&format!(
        "rmac run --rm --network lan --ip 172.16.86.250 {image} true"
    ))
    .ended(125)
    .says("address 172.16.86.250 is this host's own, on eth0");
    lab.sh(&format!(
        "rmac run --rm --network lan {image} ip -4 addr show eth0"
    ))
    .says("inet 172.16.86.251/24")
    .ok();
    lab.sh(&format!(
        "rmac run --rm --network lan --ip 172.16.86.1 {image} true"
    ))
    .ended(125);
    // A router that nobody has declared is found by asking.
    lab.sh("rmac network rm lan").ok();
    lab.sh("rmac network create --subnet 172.16.86.0/24 -o parent=eth0 lan")
        .ok();
    lab.sh(&format!(
        "rmac run --rm --network lan {image} ip -4 addr show eth0"
    ))
    .says("taking 172.16.86.2")
    .says("inet 172.16.86.2/24")
    .ok();
}

#[test]
fn an_address_is_announced_three_times() {
    let lab = Lab::with_image();
    for option in ["probe", "off"] {
        lan(&lab, &format!("-o conflict={option}"));
        let ear = ear(&lab, "router", 0x0806);
        run(&lab, "--name c1 --network lan").ok();
        std::thread::sleep(Duration::from_millis(2600));
        let (mut probes, mut announcements) = (0, 0);
        for frame in frames(&ear) {
            match (&frame[28..32], &frame[38..42]) {
                ([0, 0, 0, 0], [172, 16, 86, 2]) => probes += 1,
                ([172, 16, 86, 2], [172, 16, 86, 2]) => announcements += 1,
                _ => {}
            }
        }
        assert_eq!(announcements, 3, "{option}");
        assert_eq!(probes, usize::from(option == "probe"));
        lab.sh("rmac rm -f c1 && rmac network rm lan").ok();
    }
}

#[test]
fn an_ipv6_address_is_announced_too() {
    let lab = Lab::with_image();
    lab.sh("rmac network create --ipv6 --subnet fd00:86::/64 -o parent=eth0 --ipv4=false six")
        .ok();
    let ear = ear(&lab, "router", 0x86dd);
    run(&lab, "--name c1 --network six").ok();
    std::thread::sleep(Duration::from_millis(2600));
    let target: std::net::Ipv6Addr = "fd00:86::1".parse().unwrap();
    let ours = |frame: &&Vec<u8>| {
        frame.len() >= 78 && frame[54] == 136 && frame[62..78] == target.octets()
    };
    assert_eq!(frames(&ear).iter().filter(ours).count(), 3);
}

#[test]
fn an_address_is_defended_and_the_rival_is_written_down() {
    let lab = Lab::with_image();
    lan(&lab, "");
    run(&lab, "--name c1 --network lan").ok();
    std::thread::sleep(Duration::from_millis(2500));
    let ear = ear(&lab, "router", 0x0806);
    let mac = router_mac(&lab);
    lab.on("router", "ip addr add 172.16.86.2/24 dev eth0 && ip neigh flush all && ping -c 1 -W 1 -I 172.16.86.2 172.16.86.250; true").ok();
    eventually(
        &lab,
        &format!(
            "rmac inspect -f '{{{{.State.Error}}}}' c1 | grep 'address 172.16.86.2 is used by {mac} too'"
        ),
    );
    let ours = frames(&ear)
        .iter()
        .filter(|frame| frame[28..32] == [172, 16, 86, 2])
        .count();
    assert_eq!(ours, 1, "one defence");
    assert_eq!(lab.sh("rmac ps -q | wc -l").ok().trim(), "1");
}

#[test]
fn the_host_reaches_its_containers() {
    let lab = Lab::with_image();
    lan(&lab, "-o host_access=auto");
    run(&lab, "--name c1 --network lan").ok();
    run(&lab, "--name c2 --network lan").ok();
    for target in ["172.16.86.2", "172.16.86.3"] {
        lab.sh(&format!("ping -c 1 -W 2 {target}")).ok();
    }
    lab.sh("rmac exec c1 ping -c 1 -W 2 172.16.86.250").ok();
    // The LAN still finds the host where it was.
    lab.on(
        "router",
        "ip neigh flush all; ping -c 1 -W 2 172.16.86.250 >/dev/null; ip neigh show 172.16.86.250",
    )
    .says(lab.sh("cat /sys/class/net/eth0/address").ok().trim())
    .ok();
    lab.sh("ping -c 1 -W 2 172.16.86.1").ok();
    let links = lab
        .sh("rmac stop -t 0 c1 && ls /sys/class/net && ip route show")
        .ok();
    assert!(
        links.contains("rmac-") && !links.contains("172.16.86.2 "),
        "{links}"
    );
    lab.sh("ping -c 1 -W 2 172.16.86.3").ok();
    // The last takes the shim along, also when its monitor is killed.
    lab.sh("kill -9 $(grep -h '\"monitor\"' $RMAC_ROOT/containers/$(rmac ps -q --no-trunc)/state.json | tr -dc 0-9)").ok();
    eventually(&lab, "rmac ps >/dev/null; ! ls /sys/class/net | grep rmac-");
    lab.sh("rmac rm -f c1 c2 && rmac network rm lan").ok();

    // With an address of its own, which is nobody else's.
    lan(&lab, "-o host_access=172.16.86.2");
    run(&lab, "--name c1 --network lan").ok();
    lab.sh("ping -c 1 -W 2 172.16.86.3").ok();
    lab.sh("rmac exec c1 ping -c 1 -W 2 172.16.86.2").ok();
    lab.sh("rmac rm -f c1").ok();
    eventually(&lab, "! ls /sys/class/net | grep rmac-");
}

/// Deleting a link takes the kernel some 20 ms, for which nobody waits; what others see of the container
/// is gone before.
#[test]
fn a_container_is_silent_and_unnamed_when_its_end_is_told() {
    let lab = Lab::with_image();
    let image = lab.image();
    lan(
        &lab,
        "-o host_access=auto,fd00:86::fe --ipv6 --subnet fd00:86::/64",
    );
    lab.on("router", "ip addr add fd00:86::ffff/64 dev eth0 nodad")
        .ok();
    run(&lab, "--name peer --network lan").ok();
    for _ in 0..5 {
        run(
            &lab,
            "--name c1 --ip 172.16.86.9 --ip6 fd00:86::9 --network lan",
        )
        .ok();
        for target in ["172.16.86.9", "fd00:86::9"] {
            let ping = format!("ping -c 1 -W 2 {target}");
            lab.on("router", &ping).ok();
            lab.sh(&ping).ok();
        }
        // By IPv6 the host has an address of its own for its containers.
        lab.sh("rmac exec c1 ping -c 1 -W 2 fd00:86::fe").ok();
        // One shell that looks at once, without starting anything: by a process in the network namespace.
        let script = "pid=$(rmac inspect -f '{{.State.Pid}}' c1); nsenter --net=/proc/$pid/ns/net sleep 60 & look=$!
             until [ /proc/$look/ns/net -ef /proc/$pid/ns/net ]; do sleep 0.01; done
             rmac stop -t 0 c1 >/dev/null || exit 1
             mapfile inside </proc/$look/net/fib_trie; mapfile inside6 </proc/$look/net/if_inet6
             mapfile host </proc/$$/net/fib_trie; mapfile host6 </proc/$$/net/ipv6_route
             rmac exec peer grep -w c1 /etc/hosts; kill $look
             printf '%s' \"${inside[@]}\" \"${host[@]}\" | grep -w '172.16.86.9'
             printf '%s' \"${inside6[@]}\" \"${host6[@]}\" | grep '^fd000086.*009 '; true";
        assert_eq!(lab.sh(script).ok(), "");
        lab.sh("rmac rm c1").ok();
    }
    // The same for who waits in the foreground.
    let out = lab.sh(&format!(
        "rmac run --rm --name c1 --ip 172.16.86.9 --network lan {image} true; ip route show | grep '172.16.86.9 '; rmac exec peer grep -w c1 /etc/hosts; true"
    ));
    assert_eq!(out.ok(), "");
}

#[test]
fn a_dhcp_server_gives_renews_and_takes_back() {
    if !has_dnsmasq() {
        return;
    }
    let lab = Lab::with_image();
    let mut server = dnsmasq(&lab, "");
    lab.sh("rmac network create --ipam-driver dhcp -o parent=eth0 lan")
        .ok();
    run(&lab, "--name web --network lan").ok();
    let address = lab
        .sh("rmac inspect -f '{{.NetworkSettings.Networks.lan.IPAddress}}' web")
        .ok();
    let address = address.trim();
    assert!(address.starts_with("172.16.86.1"), "{address}");
    lab.sh("rmac exec web ip -4 addr show eth0")
        .says(&format!("inet {address}/24 brd 172.16.86.255"))
        .ok();
    lab.sh("rmac exec web ip route")
        .says("default via 172.16.86.1")
        .ok();
    lab.sh("rmac exec web cat /etc/resolv.conf")
        .says("nameserver 172.16.86.1")
        .says("search lab.test")
        .ok();
    lab.sh("rmac exec web ping -c 1 -W 2 172.16.86.1").ok();
    let log = lab.scratch().join("log");
    let log = log.display();
    let leases = std::fs::read_to_string(lab.scratch().join("leases")).unwrap();
    // Client id: type 0, "web".
    assert!(
        leases.contains(&format!("{address} web 00:77:65:62")),
        "{leases}"
    );
    // Renewed at T1, which dnsmasq never sets below a minute: a second request, without a discover.
    let begin = Instant::now();
    while lab.sh(&format!("grep -c DHCPACK {log}")).ok().trim() == "1" {
        assert!(begin.elapsed() < Duration::from_secs(75), "not renewed");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(
        lab.sh(&format!("grep -c DHCPDISCOVER {log}")).ok().trim(),
        "1"
    );
    // Released at the stop, and the same address for the same name.
    lab.sh("rmac stop -t 0 web").ok();
    eventually(
        &lab,
        &format!("grep -q 'DHCPRELEASE(eth0) {address}' {log}"),
    );
    lab.sh("rmac start web").ok();
    lab.sh("rmac exec web ip -4 addr show eth0")
        .says(&format!("inet {address}/24"))
        .ok();
    run(&lab, "--name peer --network lan").ok();
    lab.sh("rmac exec peer ping -c 1 -W 2 web").ok();
    lab.sh("rmac rm -f web peer").ok();
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn dhcp_is_asked_for_by_name_or_by_leaving_out_the_subnet() {
    if !has_dnsmasq() {
        return;
    }
    let lab = Lab::with_image();
    lab.sh("rmac network create --ipam-driver dhcp --subnet 10.0.0.0/8 -o parent=eth0 lan")
        .ended(1);
    lab.sh("rmac network create --ipam-driver dhcp -o parent=eth0 lan")
        .ok();
    // Nobody answers: told, and nothing is left.
    let image = lab.image();
    lab.sh(&format!("rmac run --rm --network lan {image} true"))
        .ended(125)
        .says("no DHCP server has answered on eth0 within 10 s");
    let mut server = dnsmasq(&lab, "");
    lab.sh("rmac network create -o parent=eth0 --subnet 10.9.0.0/24 two")
        .ok();
    run(&lab, "--name c1 --network two").ok();
    lab.sh("rmac network connect lan c1").ok();
    lab.sh("rmac exec c1 ip -4 addr show eth1")
        .says("inet 172.16.86.1")
        .ok();
    lab.sh("rmac exec c1 ping -c 1 -W 2 172.16.86.1").ok();
    lab.sh("rmac network disconnect lan c1").ok();
    let log = lab.scratch().join("log");
    eventually(&lab, &format!("grep -q DHCPRELEASE {}", log.display()));
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn a_parent_that_is_down_or_flaps_does_no_harm() {
    let lab = Lab::with_image();
    lan(&lab, "");
    run(&lab, "--name c1 --network lan").ok();
    for _ in 0..3 {
        lab.sh("ip link set eth0 down; sleep 0.1; ip link set eth0 up")
            .ok();
    }
    lab.sh("rmac exec c1 ping -c 3 -W 2 172.16.86.1")
        .says("bytes from")
        .ok();
    lab.sh("ip link set eth0 down").ok();
    run(&lab, "--name c2 --network lan").ok();
    lab.sh("ip link set eth0 up").ok();
    lab.sh("rmac exec c2 ping -c 3 -W 2 172.16.86.1")
        .says("bytes from")
        .ok();
}

#[test]
fn a_link_is_rebuilt_when_its_parent_comes_back() {
    let lab = Lab::with_image();
    let plug = "ip link add p0 type veth peer name p1 && ip addr add 10.8.0.1/24 dev p1 && ip link set p1 up && ip link set p0 up";
    lab.sh(plug).ok();
    lab.sh("rmac network create --subnet 10.8.0.0/24 --gateway 10.8.0.1 -o parent=p0 usb")
        .ok();
    run(&lab, "--name c1 --network usb").ok();
    lab.sh("rmac exec c1 ping -c 1 -W 2 10.8.0.1").ok();
    for _ in 0..2 {
        lab.sh("ip link del p0").ok();
        // Nothing hangs meanwhile.
        lab.sh("rmac exec c1 ip link").ok();
        assert!(!lab.sh("rmac exec c1 ip link").ok().contains("eth0"));
        assert_eq!(lab.sh("rmac ps -q | wc -l").ok().trim(), "1");
        lab.sh(plug).ok();
        eventually(&lab, "rmac exec c1 ping -c 1 -W 1 10.8.0.1");
        lab.sh("rmac exec c1 ip route")
            .says("default via 10.8.0.1 dev eth0")
            .ok();
        lab.sh("rmac exec c1 ip link show eth0")
            .says("02:42:0a:08:00:02")
            .ok();
    }
    // What the program in the container deletes itself stays away, also when another link comes.
    run(&lab, "--name c2 --network usb --cap-add NET_ADMIN").ok();
    lab.sh("rmac exec c2 ip link del eth0").ok();
    lab.sh("ip link add p2 type veth peer name p3; ip link del p2; sleep 0.5")
        .ok();
    assert!(!lab.sh("rmac exec c2 ip link").ok().contains("eth0"));
    lab.sh("rmac rm -f c2").ok();
    // A stop while the parent is away.
    lab.sh("ip link del p0").ok();
    lab.sh("rmac stop -t 0 c1").ok();
    lab.sh("rmac rm c1").ok();
}
