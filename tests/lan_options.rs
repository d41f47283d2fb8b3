//! Options of a network that a real LAN asks for: how often addresses are announced, a router outside of the
//! subnet, a share of the subnet, a parent that comes late, and what is said beforehand.

mod common;

use std::time::{Duration, Instant};

use common::Lab;
use common::lan::{ear, ear_on, frames, lan, router_mac, run};

/// How many announcements of 172.16.86.2 the router hears within `time`, and the least time between two.
#[test]
fn announcements_are_as_many_as_docker_s_options_say() {
    let lab = Lab::with_image();
    for (option, wanted) in [
        ("-o com.docker.network.advertise_addr_nmsgs=0", 0),
        (
            "-o com.docker.network.advertise_addr_nmsgs=1 -o conflict=off",
            1,
        ),
        ("-o com.docker.network.advertise_addr_ms=200", 3),
    ] {
        lan(&lab, option);
        let ear = ear(&lab, "router", 0x0806);
        run(&lab, "--name c1 --network lan").ok();
        // At the default interval the third comes after two seconds.
        std::thread::sleep(Duration::from_millis(1500));
        let own = |frame: &&Vec<u8>| {
            frame[28..32] == [172, 16, 86, 2] && frame[38..42] == [172, 16, 86, 2]
        };
        let heard = frames(&ear).iter().filter(own).count();
        assert_eq!(heard, wanted, "{option}");
        lab.sh("rmac rm -f c1 && rmac network rm lan").ok();
    }
}

#[test]
fn beside_many_macvlans_the_lan_is_asked_and_who_may_have_any_address() {
    let lab = Lab::with_image();
    let image = lab.image();
    let quiet = "-o com.docker.network.advertise_addr_nmsgs=0";
    lan(&lab, quiet);
    // Forty whose hardware addresses tell their own.
    lab.on(
        "host",
        "for i in $(seq 100 139); do
             ip link add link eth0 name m$i address 02:42:ac:10:56:$(printf %02x $i) type macvlan mode bridge &&
             echo 1 > /proc/sys/net/ipv6/conf/m$i/disable_ipv6 && ip link set m$i up || exit 1
         done",
    )
    .ok();
    // One of another network, which has taken an address of this one, and a station of the LAN.
    lab.sh(&format!(
        "rmac network create -o parent=eth0 --subnet 10.9.0.0/24 {quiet} two &&
         rmac run -d --name s1 --network two --ip 10.9.0.2 --cap-add NET_ADMIN {image} \
             sh -c 'ip addr add 172.16.86.2/24 dev eth0 && touch /ready && sleep 1000' &&
         until rmac exec s1 test -e /ready; do sleep 0.1; done"
    ))
    .ok();
    lab.on("router", "ip addr add 172.16.86.3/24 dev eth0").ok();
    let (known, wire) = (
        ear_on(&lab, "host", "m100", 0x0806),
        ear(&lab, "router", 0x0806),
    );
    let mac = router_mac(&lab);
    let first = "address 172.16.86.2 is in use on the LAN already, by 02:42:0a:09:00:02";
    lab.sh(&format!(
        "rmac run --rm --network lan {image} ip -4 addr show eth0"
    ))
    .says(first)
    .says(&format!(
        "172.16.86.3 is in use on the LAN already, by {mac}"
    ))
    .says("inet 172.16.86.4/24")
    .ok();
    let asked = |ear| {
        let probes = frames(ear).into_iter().filter(|f| f[28..32] == [0; 4]);
        probes.map(|f| f[41]).collect::<Vec<u8>>()
    };
    assert_eq!(asked(&wire), [2, 3, 4]);
    assert_eq!(asked(&known), [0u8; 0]);
    lab.sh("rmac rm -f s1; for i in $(seq 100 139); do ip link del m$i; done")
        .ok();
}

#[test]
fn a_router_outside_of_the_subnet_is_on_the_link() {
    let lab = Lab::with_image();
    // A provider's single addresses: the router is nobody's neighbour by its number.
    lab.on(
        "router",
        "ip addr add 10.99.0.1/32 dev eth0; ip addr add fd00:99::1/128 dev eth0 nodad; ip addr add 10.50.0.1/32 dev lo
         ip route add 10.7.0.0/29 dev eth0; ip -6 route add fd00:7::/64 dev eth0",
    )
    .ok();
    let create = "rmac network create -o parent=eth0";
    lab.sh(&format!(
        "{create} --subnet 10.7.0.0/29 -o onlink_gateway=10.99.0.1 four && {create} --ipv4=false --subnet fd00:7::/64 -o onlink_gateway=fd00:99::1 six"
    ))
    .ok();
    run(&lab, "--name c4 --network four").ok();
    lab.sh("rmac exec c4 ip route")
        .says("default via 10.99.0.1 dev eth0")
        .says("10.99.0.1 dev eth0 scope link")
        .ok();
    lab.sh("rmac exec c4 ping -c 1 -W 2 10.50.0.1").ok();
    lab.sh("rmac network inspect -f '{{(index .IPAM.Config 0).Gateway}}' four")
        .says("10.99.0.1")
        .ok();
    run(&lab, "--name c6 --network six").ok();
    lab.sh("rmac exec c6 ip -6 route")
        .says("default via fd00:99::1 dev eth0")
        .ok();
    lab.sh("rmac exec c6 ping -c 1 -W 2 fd00:99::1").ok();
    // The same for who comes while it runs.
    run(&lab, "--name late --network none").ok();
    lab.sh("rmac rm -f late c4").ok();
    lab.sh("rmac network create --subnet 10.8.0.0/24 -o parent=eth0 other")
        .ok();
    run(&lab, "--name late --network other").ok();
    lab.sh("rmac network connect four late && rmac exec late ip route")
        .says("default via 10.99.0.1 dev eth1")
        .ok();
    lab.sh("rmac exec late ping -c 1 -W 2 10.50.0.1").ok();
}

#[test]
fn hosts_that_share_a_subnet_give_out_different_addresses() {
    let lab = Lab::with_image();
    let image = lab.image();
    for (share, first) in [("1/4", "2"), ("2/4", "64"), ("4/4", "192")] {
        lan(&lab, &format!("--ip-range auto:{share}"));
        lab.sh(&format!(
            "rmac run --rm --network lan {image} ip -4 -o addr show eth0"
        ))
        .says(&format!("inet 172.16.86.{first}/24"))
        .ok();
        // Its last one is released with the link.
        lab.no_leaks();
        lab.sh("rmac network rm lan").ok();
    }
}

#[test]
fn a_parent_that_comes_late_is_waited_for() {
    let lab = Lab::with_image();
    let plug = "ip link add p0 type veth peer name p1 && ip addr add 10.8.0.1/24 dev p1 && ip link set p1 up && ip link set p0 up";
    lab.sh(&format!(
        "{plug} && rmac network create --subnet 10.8.0.0/24 --gateway 10.8.0.1 -o parent=p0 -o parent_wait=10 -o conflict=off usb && ip link del p0"
    ))
    .ok();
    let image = lab.image();
    let begin = Instant::now();
    lab.sh(&format!(
        "(sleep 1; {plug}) & rmac run --rm --network usb {image} ip -4 -o addr show eth0; wait"
    ))
    .says("inet 10.8.0.2/24")
    .ok();
    assert!(begin.elapsed() >= Duration::from_secs(1));
    // Not for ever.
    lab.sh("rmac network rm usb && rmac network create --subnet 10.8.0.0/24 -o parent=p0 -o parent_wait=1 usb && ip link del p0")
        .ok();
    lab.sh(&format!("rmac run --rm --network usb {image} true"))
        .ended(125)
        .says("the parent p0 has not come within 1 s (-o parent_wait=1)");
    assert_eq!(lab.sh("rmac ps -a -q").ok(), "");
}

#[test]
fn what_is_to_be_expected_is_said_when_a_network_is_created() {
    let lab = Lab::up();
    let create = "rmac network create --subnet 10.1.0.0/24 -o parent=eth0 x";
    assert_eq!(lab.sh(create).stderr, "");
    lab.sh("rmac network rm x && ip link set eth0 down").ok();
    lab.sh(create)
        .says("rmac: note: eth0 is down: its containers start, but reach nobody on the LAN until: ip link set eth0 up")
        .ok();
    lab.sh("rmac network rm x && ip link set eth0 up").ok();
    // The other end of the cable is pulled out.
    lab.on(
        "switch",
        "ip -br link show master br0 | cut -d@ -f1 | xargs -I % ip link set % down",
    )
    .ok();
    lab.sh(create).says("rmac: note: eth0 has no carrier").ok();
}
