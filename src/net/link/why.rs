//! The reasons for the steps.

use super::{NewLink, Step};
use crate::lesson::Lesson;
use crate::net::network::{Ipv6Policy, Kind};

impl Step {
    /// The reason for the step.
    pub fn why(&self) -> Lesson {
        match self {
            Step::Lower(lower) => lower.why(),
            Step::AwaitParent { .. } => Lesson {
                why: "at boot a container may be started before its parent's driver, bond or VLAN has come up",
                without: "the link cannot be made, and the container has to be started again by hand",
                man: "ip-link(8), systemd.unit(5)",
            },
            Step::LoopbackUp => Lesson {
                why: "a new network namespace has a loopback that is down",
                without: "127.0.0.1 cannot be reached: programs of one container could not speak to each other by it",
                man: "network_namespaces(7)",
            },
            Step::Make(NewLink {
                kind: Kind::Macvlan { .. },
                ..
            }) => Lesson {
                why: "a link with a hardware address of its own on top of the host's link makes the container a station on the LAN",
                without: "the container has a loopback only",
                man: "ip-link(8)",
            },
            Step::Make(_) => Lesson {
                why: "a link on top of the host's, with its hardware address: what comes in is told apart by the IP address",
                without: "the container has a loopback only",
                man: "ip-link(8), Documentation/networking/ipvlan.rst",
            },
            Step::Announce { .. } => Lesson {
                why: "a gratuitous ARP, broadcast when the link comes up, tells the LAN which hardware address has the IP address now",
                without: "a neighbour that remembers an older owner of the address goes on sending there until its cache expires",
                man: "RFC 5227 section 3",
            },
            Step::AddAddress { .. } => Lesson {
                why: "the address with its prefix length says who is on the same LAN; the kernel does not add the broadcast address by itself",
                without: "the link is up but has no address",
                man: "rtnetlink(7)",
            },
            Step::Up { .. } => Lesson {
                why: "a link is made down, so that it can be set up before the first frame passes",
                without: "no frame gets in or out, and the kernel accepts no route through it",
                man: "netdevice(7)",
            },
            Step::Route(_) => Lesson {
                why: "what is not on the LAN goes to the router",
                without: "only the LAN itself can be reached: \"Network is unreachable\"",
                man: "ip-route(8)",
            },
            Step::DisableIpv6 { .. } | Step::Advertisements { .. } | Step::AnnounceIpv6 { .. } => {
                self.why_ipv6()
            }
            Step::Bring { .. } => Lesson {
                why: "the engine gives the container a link of the host's own; it comes back when the container ends, if it is hardware",
                without: "the program would not find the link that it is to work with",
                man: "network_namespaces(7), ip-link(8)",
            },
            Step::Allow(allowed) => allowed.why(),
            Step::Setting { .. } => Lesson {
                why: "the user asked for it with driver-opt=com.docker.network.endpoint.sysctls",
                without: "the setting has the kernel's default",
                man: "sysctl(8), Documentation/networking/ip-sysctl.rst",
            },
        }
    }

    /// The reason for a step that is about IPv6.
    fn why_ipv6(&self) -> Lesson {
        match self {
            Step::AnnounceIpv6 { .. } => Lesson {
                why: "an unsolicited neighbour advertisement tells the LAN which hardware address has the IPv6 address now",
                without: "a neighbour that remembers an older owner of the address goes on sending there until it notices",
                man: "RFC 4861 section 7.2.6, sysctl net.ipv6.conf.*.ndisc_notify",
            },
            Step::DisableIpv6 { .. } => Lesson {
                why: "the network gives out no IPv6 addresses, so none may come by router advertisement either",
                without: "any station of the LAN could give the container an IPv6 address and a route (CVE-2020-13401)",
                man: "sysctl net.ipv6.conf.*.disable_ipv6",
            },
            Step::Advertisements {
                policy: Ipv6Policy::Slaac,
                ..
            } => Lesson {
                why: "the LAN's routers say which prefix is in use, and the container makes its own address of it",
                without: "the container has a link-local IPv6 address only",
                man: "RFC 4862, sysctl net.ipv6.conf.*.accept_ra",
            },
            _ => Lesson {
                why: "the network gives out its own IPv6 addresses, so what routers advertise is not listened to",
                without: "the container would have a second IPv6 address and a route that nobody asked for (CVE-2020-13401)",
                man: "sysctl net.ipv6.conf.*.accept_ra",
            },
        }
    }
}
