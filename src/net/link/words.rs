//! The steps in words: as strace would print them, and as commands.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::{NewLink, NewRoute, Step};
use crate::lesson::Shell;
use crate::net::endpoint::Probe;
use crate::net::network::{Ipv6Policy, IpvlanFlag, Kind};

impl Step {
    /// The same thing as a command for the host's part of the script.
    pub fn shell(&self) -> Shell {
        let inside = |command: String| format!("nsenter -t \"$pid\" -n {command}");
        let sysctl = |path: &str, value: &str| inside(format!("sh -c 'echo {value} > {path}'"));
        Shell::Bash(match self {
            Step::Lower(lower) => lower.shell(),
            Step::AwaitParent { link, seconds } => format!(
                "timeout {seconds} sh -c 'until ip link show \"$0\" > /dev/null 2>&1; do sleep 0.05; done' {}",
                Shell::quote(link)
            ),
            Step::LoopbackUp => inside("ip link set lo up".to_owned()),
            Step::Make(link) => make_command(link),
            Step::DisableIpv6 { dev } => sysctl(&disable_ipv6(dev), "1"),
            Step::Advertisements { dev, policy } => advertisements(dev, *policy)
                .iter()
                .map(|(path, value)| sysctl(path, value))
                .collect::<Vec<_>>()
                .join("\n"),
            Step::Announce { dev } => sysctl(&arp_notify(dev), "1"),
            Step::AnnounceIpv6 { dev } => sysctl(&ndisc_notify(dev), "1"),
            Step::AddAddress {
                dev,
                address,
                probe,
            } => inside(format!(
                "ip addr add {address}{}{} dev {}",
                broadcast(*address).map_or(String::new(), |brd| format!(" brd {brd}")),
                if nodad(*address, *probe) {
                    " nodad"
                } else {
                    ""
                },
                Shell::quote(dev)
            )),
            Step::Up { dev } => inside(format!("ip link set {} up", Shell::quote(dev))),
            Step::Route(route) => inside(route_command(route)),
            Step::Bring { name, new } => {
                format!(
                    "ip link set {name} netns \"$pid\" name {new} up # its addresses are to be given again"
                )
            }
            Step::Allow(allowed) => sysctl(allowed.path(), allowed.value()),
            Step::Setting { path, value } => sysctl(path, value),
        })
    }
}

impl fmt::Display for Step {
    /// The message to the kernel, in the manner of strace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Lower(lower) => lower.fmt(f),
            Step::AwaitParent { link, seconds } => write!(
                f,
                "sendto(netlink, RTM_GETLINK {{IFLA_IFNAME={link:?}}}), again until it is there, for {seconds} s at most"
            ),
            Step::LoopbackUp => up_message(f, "lo"),
            Step::Make(link) => make_message(f, link),
            Step::DisableIpv6 { dev } => write!(f, "write({:?}, \"1\")", disable_ipv6(dev)),
            Step::Advertisements { dev, policy } => {
                let all = advertisements(dev, *policy);
                let writes = all
                    .iter()
                    .map(|(path, value)| format!("write({path:?}, {value:?})"));
                f.write_str(&writes.collect::<Vec<_>>().join(", "))
            }
            Step::Announce { dev } => write!(f, "write({:?}, \"1\")", arp_notify(dev)),
            Step::AnnounceIpv6 { dev } => write!(f, "write({:?}, \"1\")", ndisc_notify(dev)),
            Step::AddAddress {
                dev,
                address,
                probe,
            } => {
                write!(
                    f,
                    "sendto(netlink, RTM_NEWADDR {{ifa_index=if_nametoindex({dev:?}), ifa_prefixlen={}, IFA_LOCAL={}",
                    address.prefix_len(),
                    address.addr()
                )?;
                if let Some(brd) = broadcast(*address) {
                    write!(f, ", IFA_BROADCAST={brd}")?;
                }
                if nodad(*address, *probe) {
                    write!(f, ", IFA_FLAGS=IFA_F_NODAD")?;
                }
                write!(f, "}}, NLM_F_CREATE|NLM_F_EXCL)")
            }
            Step::Up { dev } => up_message(f, dev),
            Step::Route(route) => route_message(f, route),
            Step::Bring { name, new } => {
                write!(
                    f,
                    "RTM_NEWLINK {{ifname={name}, net_ns_fd=container, new ifname={new}}}"
                )
            }
            Step::Allow(allowed) => allowed.fmt(f),
            Step::Setting { path, value } => write!(f, "write({path:?}, {value:?})"),
        }
    }
}

fn make_command(link: &NewLink) -> String {
    let mac = link
        .mac
        .map_or(String::new(), |mac| format!(" address {mac}"));
    let mtu = link.mtu.map_or(String::new(), |mtu| format!(" mtu {mtu}"));
    let kind = match link.kind {
        Kind::Macvlan {
            mode,
            bcqueuelen,
            bclim,
        } => format!(
            "macvlan mode {mode}{}{}",
            bcqueuelen.map_or(String::new(), |length| format!(" bcqueuelen {length}")),
            bclim.map_or(String::new(), |limit| format!(" bclim {limit}")),
        ),
        Kind::Ipvlan { mode, flag } => format!("ipvlan mode {mode} {flag}"),
    };
    format!(
        "ip link add link {} name {}{mac}{mtu} netns \"$pid\" type {kind}",
        Shell::quote(&link.parent),
        Shell::quote(&link.name),
    )
}

fn make_message(f: &mut fmt::Formatter<'_>, link: &NewLink) -> fmt::Result {
    write!(
        f,
        "sendto(netlink, RTM_NEWLINK {{IFLA_IFNAME={:?}, IFLA_LINK=if_nametoindex({:?}), ",
        link.name, link.parent
    )?;
    if let Some(mac) = link.mac {
        write!(f, "IFLA_ADDRESS={mac}, ")?;
    }
    if let Some(mtu) = link.mtu {
        write!(f, "IFLA_MTU={mtu}, ")?;
    }
    write!(f, "IFLA_NET_NS_FD=container, IFLA_LINKINFO={{")?;
    match link.kind {
        Kind::Macvlan {
            mode,
            bcqueuelen,
            bclim,
        } => {
            write!(f, "\"macvlan\", IFLA_MACVLAN_MODE={mode}")?;
            if let Some(length) = bcqueuelen {
                write!(f, ", IFLA_MACVLAN_BC_QUEUE_LEN={length}")?;
            }
            if let Some(limit) = bclim {
                write!(f, ", IFLA_MACVLAN_BC_CUTOFF={limit}")?;
            }
        }
        Kind::Ipvlan { mode, flag } => {
            write!(f, "\"ipvlan\", IFLA_IPVLAN_MODE={mode}")?;
            if flag != IpvlanFlag::Bridge {
                write!(f, ", IFLA_IPVLAN_FLAGS={flag}")?;
            }
        }
    }
    write!(f, "}}}}, NLM_F_CREATE|NLM_F_EXCL)")
}

fn route_command(route: &NewRoute) -> String {
    let dst = match route.dst.prefix_len() {
        0 => "default".to_owned(),
        _ => route.dst.to_string(),
    };
    let family = if route.dst.addr().is_ipv6() {
        "-6 "
    } else {
        ""
    };
    format!(
        "ip {family}route add {dst}{} dev {}{}",
        route.via.map_or(String::new(), |via| format!(" via {via}")),
        Shell::quote(&route.dev),
        route
            .metric
            .map_or(String::new(), |metric| format!(" metric {metric}")),
    )
}

fn route_message(f: &mut fmt::Formatter<'_>, route: &NewRoute) -> fmt::Result {
    write!(
        f,
        "sendto(netlink, RTM_NEWROUTE {{rtm_dst_len={}, ",
        route.dst.prefix_len()
    )?;
    if route.dst.prefix_len() > 0 {
        write!(f, "RTA_DST={}, ", route.dst.addr())?;
    }
    if let Some(via) = route.via {
        write!(f, "RTA_GATEWAY={via}, ")?;
    }
    if let Some(metric) = route.metric {
        write!(f, "RTA_PRIORITY={metric}, ")?;
    }
    write!(
        f,
        "RTA_OIF=if_nametoindex({:?})}}, NLM_F_CREATE|NLM_F_EXCL)",
        route.dev
    )
}

fn up_message(f: &mut fmt::Formatter<'_>, dev: &str) -> fmt::Result {
    write!(
        f,
        "sendto(netlink, RTM_NEWLINK {{IFLA_IFNAME={dev:?}, ifi_flags=IFF_UP, ifi_change=IFF_UP}})"
    )
}

/// The broadcast address that goes with `address`; a /31 or /32 has none (RFC 3021), nor has IPv6.
pub fn broadcast(address: IpNet) -> Option<Ipv4Addr> {
    match address {
        IpNet::V4(address) => (address.prefix_len() < 31).then(|| Ipv4Net::broadcast(&address)),
        IpNet::V6(_) => None,
    }
}

/// Whether the kernel is told not to look for another owner first, which takes it a second or two.
pub fn nodad(address: IpNet, probe: Probe) -> bool {
    address.addr().is_ipv6() && probe == Probe::Off
}

/// The file by which IPv6 is kept off a link.
pub fn disable_ipv6(dev: &str) -> String {
    format!("/proc/sys/net/ipv6/conf/{dev}/disable_ipv6")
}

/// Where the kernel is told to announce IPv4 addresses when the link comes up.
pub fn arp_notify(dev: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/{dev}/arp_notify")
}

/// Where the kernel is told to announce IPv6 addresses when the link comes up.
pub fn ndisc_notify(dev: &str) -> String {
    format!("/proc/sys/net/ipv6/conf/{dev}/ndisc_notify")
}

/// Where the kernel is told whether to listen to router advertisements, and what.
pub fn advertisements(dev: &str, policy: Ipv6Policy) -> [(String, &'static str); 3] {
    let value = match policy {
        Ipv6Policy::Slaac => "1",
        Ipv6Policy::Static | Ipv6Policy::Off => "0",
    };
    let path = |name: &str| format!("/proc/sys/net/ipv6/conf/{dev}/{name}");
    [
        (path("disable_ipv6"), "0"),
        (path("accept_ra"), value),
        (path("autoconf"), value),
    ]
}
