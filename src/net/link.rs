//! The link: how a container gets its `eth0`.
//!
//! A new network namespace is empty but for a loopback that is down. A macvlan is a link of its own
//! hardware address on top of a link of the host, the parent: frames that come in for that address go
//! to the macvlan, what it sends goes out of the parent as it is. So the container is a station of its
//! own on the LAN, with no NAT and no bridge in between. The one thing that it cannot reach is the
//! host itself, since the parent does not look at what its own macvlans send.
//!
//! The kernel is told by messages, rtnetlink(7); [`super::netlink`] writes them.

use std::fmt;
use std::net::Ipv4Addr;

use anyhow::{Result, anyhow};
use ipnet::Ipv4Net;
use nix::errno::Errno;

use super::endpoint::{Endpoint, Mac};
use super::netlink::{Refused, Wires};
use super::network::MacvlanMode;
use crate::lesson::{Lesson, Shell};

/// One thing to do for the network of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Switches the loopback on.
    LoopbackUp,
    /// Makes a macvlan, straight into the container's network namespace.
    MakeMacvlan(Macvlan),
    /// Keeps IPv6 off the link.
    DisableIpv6 {
        /// The link, as the container names it.
        dev: String,
    },
    /// Has the kernel tell the LAN about the address as soon as the link is up.
    Announce {
        /// The link, as the container names it.
        dev: String,
    },
    /// Gives the link its address.
    AddAddress {
        /// The link, as the container names it.
        dev: String,
        /// The address with the prefix length of its subnet.
        address: Ipv4Net,
    },
    /// Switches the link on.
    Up {
        /// The link, as the container names it.
        dev: String,
    },
    /// Says where everything goes that is not on the LAN itself.
    DefaultRoute {
        /// The LAN's router.
        via: Ipv4Addr,
        /// The link, as the container names it.
        dev: String,
    },
}

/// A macvlan that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Macvlan {
    /// The name it gets in the container.
    pub name: String,
    /// The host's link below it.
    pub parent: String,
    /// Who may speak to whom on that parent.
    pub mode: MacvlanMode,
    /// Its hardware address.
    pub mac: Mac,
    /// Largest packet in bytes; `None` takes the parent's.
    pub mtu: Option<u32>,
}

/// The steps for a container with these `endpoints`; without any, it has a loopback and nothing else.
pub fn plan(endpoints: &[Endpoint]) -> Vec<Step> {
    let mut steps = vec![Step::LoopbackUp];
    for endpoint in endpoints {
        let dev = || endpoint.ifname.clone();
        steps.push(Step::MakeMacvlan(Macvlan {
            name: dev(),
            parent: endpoint.parent.clone(),
            mode: endpoint.mode,
            mac: endpoint.mac,
            mtu: endpoint.mtu,
        }));
        if endpoint.ipv6.is_none() {
            steps.push(Step::DisableIpv6 { dev: dev() });
        }
        // Before the link is up, since the kernel announces what is there at that moment.
        steps.push(Step::Announce { dev: dev() });
        if let Some(address) = endpoint.ipv4 {
            steps.push(Step::AddAddress {
                dev: dev(),
                address,
            });
        }
        steps.push(Step::Up { dev: dev() });
    }
    // One default route: through the first network that has a gateway.
    let way_out = |endpoint: &Endpoint| Some((endpoint.gateway?, endpoint.ifname.clone()));
    if let Some((via, dev)) = endpoints.iter().find_map(way_out) {
        steps.push(Step::DefaultRoute { via, dev });
    }
    steps
}

impl Step {
    /// The reason for the step.
    pub fn why(&self) -> Lesson {
        match self {
            Step::LoopbackUp => Lesson {
                why: "a new network namespace has a loopback that is down",
                without: "127.0.0.1 cannot be reached: programs of one container could not speak to each other by it",
                man: "network_namespaces(7)",
            },
            Step::MakeMacvlan(_) => Lesson {
                why: "a link with a hardware address of its own on top of the host's link makes the container a station on the LAN",
                without: "the container has a loopback only",
                man: "ip-link(8)",
            },
            Step::DisableIpv6 { .. } => Lesson {
                why: "the network gives out no IPv6 addresses, so none may come by router advertisement either",
                without: "any station of the LAN could give the container an IPv6 address and a route (CVE-2020-13401)",
                man: "sysctl net.ipv6.conf.*.disable_ipv6",
            },
            Step::Announce { .. } => Lesson {
                why: "a gratuitous ARP, broadcast when the link comes up, tells the LAN which hardware address has the IP address now",
                without: "a neighbour that remembers an older owner of the address goes on sending there until its cache expires",
                man: "RFC 5227 section 3",
            },
            Step::AddAddress { .. } => Lesson {
                why: "the address with its prefix length says who is on the same LAN; the kernel does not add the broadcast address by itself",
                without: "the link is up but has no IPv4",
                man: "rtnetlink(7)",
            },
            Step::Up { .. } => Lesson {
                why: "a link is made down, so that it can be set up before the first frame passes",
                without: "no frame gets in or out, and the kernel accepts no route through it",
                man: "netdevice(7)",
            },
            Step::DefaultRoute { .. } => Lesson {
                why: "what is not on the LAN goes to the router",
                without: "only the LAN itself can be reached: \"Network is unreachable\"",
                man: "ip-route(8)",
            },
        }
    }

    /// The same thing as a command for the host's part of the script.
    pub fn shell(&self) -> Shell {
        let inside = |command: String| format!("nsenter -t \"$pid\" -n {command}");
        let sysctl = |path: String| inside(format!("sh -c 'echo 1 > {path}'"));
        Shell::Bash(match self {
            Step::LoopbackUp => inside("ip link set lo up".to_owned()),
            Step::MakeMacvlan(macvlan) => format!(
                "ip link add link {} name {} address {}{} netns \"$pid\" type macvlan mode {}",
                Shell::quote(&macvlan.parent),
                Shell::quote(&macvlan.name),
                macvlan.mac,
                macvlan
                    .mtu
                    .map_or(String::new(), |mtu| format!(" mtu {mtu}")),
                macvlan.mode,
            ),
            Step::DisableIpv6 { dev } => sysctl(disable_ipv6(dev)),
            Step::Announce { dev } => sysctl(arp_notify(dev)),
            Step::AddAddress { dev, address } => inside(format!(
                "ip addr add {address}{} dev {}",
                broadcast(*address).map_or(String::new(), |brd| format!(" brd {brd}")),
                Shell::quote(dev)
            )),
            Step::Up { dev } => inside(format!("ip link set {} up", Shell::quote(dev))),
            Step::DefaultRoute { via, dev } => inside(format!(
                "ip route add default via {via} dev {}",
                Shell::quote(dev)
            )),
        })
    }

    /// Has the kernel do it.
    pub fn take(&self, wires: &mut Wires) -> Result<()> {
        match self {
            Step::LoopbackUp => wires.set_up("lo").map_err(Into::into),
            Step::MakeMacvlan(macvlan) => {
                let made = wires.make_macvlan(macvlan);
                made.map_err(|refused| explain_make(macvlan, refused, wires))
            }
            Step::DisableIpv6 { dev } => {
                // A kernel without IPv6 has nothing to switch off.
                wires.write_setting_if_there(&disable_ipv6(dev), "1")
            }
            Step::Announce { dev } => wires.write_setting_if_there(&arp_notify(dev), "1"),
            Step::AddAddress { dev, address } => {
                wires.add_address(dev, *address).map_err(Into::into)
            }
            Step::Up { dev } => up(wires, dev),
            Step::DefaultRoute { via, dev } => {
                wires.add_default_route(*via, dev).map_err(Into::into)
            }
        }
    }

    /// Takes it back. Only the link itself needs it, the rest goes with it. It is deleted explicitly,
    /// since a network namespace that dies takes its links down some time later, and until then the
    /// hardware address (which follows from the IP address) is in use: EADDRINUSE for the next one.
    pub fn undo(&self, wires: &mut Wires) -> Result<()> {
        match self {
            Step::MakeMacvlan(macvlan) => match wires.delete_link(&macvlan.name) {
                Err(refused) if refused.errno == Errno::ENODEV => Ok(()),
                result => result.map_err(Into::into),
            },
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Step {
    /// The message to the kernel, in the manner of strace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::LoopbackUp => up_message(f, "lo"),
            Step::MakeMacvlan(macvlan) => {
                write!(
                    f,
                    "sendto(netlink, RTM_NEWLINK {{IFLA_IFNAME={:?}, IFLA_LINK=if_nametoindex({:?}), IFLA_ADDRESS={}, ",
                    macvlan.name, macvlan.parent, macvlan.mac
                )?;
                if let Some(mtu) = macvlan.mtu {
                    write!(f, "IFLA_MTU={mtu}, ")?;
                }
                write!(
                    f,
                    "IFLA_NET_NS_FD=container, IFLA_LINKINFO={{\"macvlan\", IFLA_MACVLAN_MODE={}}}}}, NLM_F_CREATE|NLM_F_EXCL)",
                    macvlan.mode
                )
            }
            Step::DisableIpv6 { dev } => write!(f, "write({:?}, \"1\")", disable_ipv6(dev)),
            Step::Announce { dev } => write!(f, "write({:?}, \"1\")", arp_notify(dev)),
            Step::AddAddress { dev, address } => {
                write!(
                    f,
                    "sendto(netlink, RTM_NEWADDR {{ifa_index=if_nametoindex({dev:?}), ifa_prefixlen={}, IFA_LOCAL={}",
                    address.prefix_len(),
                    address.addr()
                )?;
                if let Some(brd) = broadcast(*address) {
                    write!(f, ", IFA_BROADCAST={brd}")?;
                }
                write!(f, "}}, NLM_F_CREATE|NLM_F_EXCL)")
            }
            Step::Up { dev } => up_message(f, dev),
            Step::DefaultRoute { via, dev } => write!(
                f,
                "sendto(netlink, RTM_NEWROUTE {{rtm_dst_len=0, RTA_GATEWAY={via}, RTA_OIF=if_nametoindex({dev:?})}}, NLM_F_CREATE|NLM_F_EXCL)"
            ),
        }
    }
}

/// The broadcast address that goes with `address`; a /31 or /32 has none (RFC 3021).
pub fn broadcast(address: Ipv4Net) -> Option<Ipv4Addr> {
    (address.prefix_len() < 31).then(|| address.broadcast())
}

fn up_message(f: &mut fmt::Formatter<'_>, dev: &str) -> fmt::Result {
    write!(
        f,
        "sendto(netlink, RTM_NEWLINK {{IFLA_IFNAME={dev:?}, ifi_flags=IFF_UP, ifi_change=IFF_UP}})"
    )
}

fn disable_ipv6(dev: &str) -> String {
    format!("/proc/sys/net/ipv6/conf/{dev}/disable_ipv6")
}

fn arp_notify(dev: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/{dev}/arp_notify")
}

/// How long the last owner of a hardware address may take to die, in tries of 5 ms: 18 ms was the
/// median of 60 and 58 the most.
const TRIES: usize = 200;

/// Switches `dev` on. Its hardware address may still belong to a link that is just being torn down;
/// the kernel looks for that only now.
fn up(wires: &mut Wires, dev: &str) -> Result<()> {
    let mut result = wires.set_up(dev);
    for _ in 1..TRIES {
        match &result {
            Err(refused) if refused.errno == Errno::EADDRINUSE => {
                std::thread::sleep(std::time::Duration::from_millis(5));
                result = wires.set_up(dev);
            }
            _ => break,
        }
    }
    result.map_err(|refused| match refused.errno {
        Errno::EADDRINUSE => anyhow!(refused).context(format!(
            "the hardware address of {dev} is in use by another macvlan on the same parent, or by the parent itself: give another one with --mac-address"
        )),
        _ => refused.into(),
    })
}

/// What the kernel's refusal to make a macvlan means.
fn explain_make(macvlan: &Macvlan, refused: Refused, wires: &mut Wires) -> anyhow::Error {
    let parent = &macvlan.parent;
    let cause = match refused.errno {
        Errno::EBUSY => {
            let cure = match wires.bridge_of(parent) {
                Ok(Some(bridge)) => format!(
                    "{parent} is a port of the bridge {bridge}, which takes every frame for itself; use -o parent={bridge}"
                ),
                _ => format!(
                    "something else takes every frame of {parent} for itself (a bridge, a bond, an ipvlan)"
                ),
            };
            format!("failed to create the macvlan port: device or resource busy: {cure}")
        }
        Errno::ENODEV => format!(
            "the parent {parent} of the network does not exist on this host (any more): see `ip link`"
        ),
        Errno::EINVAL if macvlan.mode == MacvlanMode::Passthru => {
            format!("passthru mode wants {parent} for itself, but there is another macvlan on it")
        }
        Errno::EINVAL if macvlan.mtu.is_some() => {
            format!("an MTU above that of the parent {parent} is not possible")
        }
        Errno::EINVAL => format!(
            "{parent} cannot carry a macvlan: it is a loopback, no Ethernet, or taken by a macvlan in passthru mode"
        ),
        Errno::EOPNOTSUPP => {
            "this kernel has no macvlan: load it with `modprobe macvlan`".to_owned()
        }
        Errno::EPERM => "making links needs root (CAP_NET_ADMIN)".to_owned(),
        _ => format!("make the macvlan {} on {parent}", macvlan.name),
    };
    anyhow!(refused).context(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(address: &str, ifname: &str) -> Endpoint {
        let ipv4: Ipv4Net = address.parse().unwrap();
        Endpoint {
            network: "my-macvlan-net".into(),
            network_id: "5e".repeat(32),
            endpoint_id: "8c".repeat(32),
            parent: "eth0".into(),
            mode: MacvlanMode::Bridge,
            mtu: None,
            ifname: ifname.into(),
            mac: Mac::of(ipv4.addr()),
            ipv4: Some(ipv4),
            gateway: Some(Ipv4Addr::new(172, 16, 86, 1)),
            ipv6: None,
            ipv6_gateway: None,
            requested_ipv4: None,
            requested_mac: None,
            aliases: vec![],
            internal: false,
        }
    }

    #[test]
    fn without_a_network_only_the_loopback_comes_up() {
        assert_eq!(plan(&[]), [Step::LoopbackUp]);
    }

    #[test]
    fn the_tutorials_plan() {
        let dev = || "eth0".to_owned();
        assert_eq!(
            plan(&[endpoint("172.16.86.2/24", "eth0")]),
            [
                Step::LoopbackUp,
                Step::MakeMacvlan(Macvlan {
                    name: dev(),
                    parent: "eth0".into(),
                    mode: MacvlanMode::Bridge,
                    mac: "02:42:ac:10:56:02".parse().unwrap(),
                    mtu: None,
                }),
                Step::DisableIpv6 { dev: dev() },
                Step::Announce { dev: dev() },
                Step::AddAddress {
                    dev: dev(),
                    address: "172.16.86.2/24".parse().unwrap()
                },
                Step::Up { dev: dev() },
                Step::DefaultRoute {
                    via: Ipv4Addr::new(172, 16, 86, 1),
                    dev: dev()
                },
            ]
        );
    }

    #[test]
    fn one_default_route_through_the_first_network_that_has_a_gateway() {
        let internal = Endpoint {
            gateway: None,
            internal: true,
            ..endpoint("10.0.0.2/8", "eth0")
        };
        let routes = |endpoints: &[Endpoint]| -> Vec<Step> {
            let is_route = |step: &Step| matches!(step, Step::DefaultRoute { .. });
            plan(endpoints).into_iter().filter(is_route).collect()
        };
        assert_eq!(routes(std::slice::from_ref(&internal)), []);
        let route = Step::DefaultRoute {
            via: Ipv4Addr::new(172, 16, 86, 1),
            dev: "eth1".into(),
        };
        let others = [
            internal,
            endpoint("172.16.86.2/24", "eth1"),
            endpoint("172.16.86.3/24", "eth2"),
        ];
        assert_eq!(routes(&others), [route]);
    }

    #[test]
    fn every_step_says_what_it_does() {
        let steps = plan(&[Endpoint {
            mtu: Some(1400),
            ..endpoint("172.16.86.2/24", "eth0")
        }]);
        let shell: Vec<String> = steps
            .iter()
            .map(|step| match step.shell() {
                Shell::Bash(line) => line,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            shell,
            [
                "nsenter -t \"$pid\" -n ip link set lo up",
                "ip link add link eth0 name eth0 address 02:42:ac:10:56:02 mtu 1400 netns \"$pid\" type macvlan mode bridge",
                "nsenter -t \"$pid\" -n sh -c 'echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6'",
                "nsenter -t \"$pid\" -n sh -c 'echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_notify'",
                "nsenter -t \"$pid\" -n ip addr add 172.16.86.2/24 brd 172.16.86.255 dev eth0",
                "nsenter -t \"$pid\" -n ip link set eth0 up",
                "nsenter -t \"$pid\" -n ip route add default via 172.16.86.1 dev eth0",
            ]
        );
        for step in steps {
            let lesson = step.why();
            assert!(!lesson.why.is_empty() && !lesson.without.is_empty() && !lesson.man.is_empty());
            assert!(step.to_string().ends_with(')'), "{step}");
        }
    }

    #[test]
    fn a_point_to_point_address_has_no_broadcast() {
        assert_eq!(broadcast("10.0.0.0/31".parse().unwrap()), None);
        let brd = broadcast("10.0.0.2/30".parse().unwrap());
        assert_eq!(brd, Some(Ipv4Addr::new(10, 0, 0, 3)));
    }
}
