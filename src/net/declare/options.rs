//! `-o KEY=VALUE`: what a driver can be told. A key that there is not is an error, since an option that
//! is ignored is one that the user relies on.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Result, anyhow, bail, ensure};

use crate::net::endpoint::Announce;
use crate::net::host::{Host, LONGEST};
use crate::net::host_access;
use crate::net::network::{Kind, MacvlanMode, Parent};

/// The options that the macvlan driver knows.
pub const MACVLAN_OPTIONS: [&str; 13] = [
    "parent",
    "vlan",
    "macvlan_mode",
    "mtu",
    "bcqueuelen",
    "bclim",
    "conflict",
    "host_access",
    "onlink_gateway",
    "parent_wait",
    ADVERTISE_COUNT,
    ADVERTISE_INTERVAL,
    MTU,
];

/// The options that the ipvlan driver knows.
pub const IPVLAN_OPTIONS: [&str; 11] = [
    "parent",
    "vlan",
    "ipvlan_mode",
    "ipvlan_flag",
    "mtu",
    "conflict",
    "onlink_gateway",
    "parent_wait",
    ADVERTISE_COUNT,
    ADVERTISE_INTERVAL,
    MTU,
];

/// Docker's name of the MTU, which its macvlan driver ignores.
const MTU: &str = "com.docker.network.driver.mtu";
/// Docker's name of the number of announcements.
const ADVERTISE_COUNT: &str = "com.docker.network.advertise_addr_nmsgs";
/// Docker's name of the time between them.
const ADVERTISE_INTERVAL: &str = "com.docker.network.advertise_addr_ms";

/// The kind of link that driver and options ask for.
pub fn kind(driver: &str, options: &BTreeMap<String, String>) -> Result<Kind> {
    let (driver, known): (&str, &[&str]) = match driver {
        "ipvlan" => ("ipvlan", &IPVLAN_OPTIONS),
        _ => ("macvlan", &MACVLAN_OPTIONS),
    };
    ensure!(
        driver != "ipvlan" || !options.contains_key("host_access"),
        "invalid option host_access for an ipvlan network: it is a macvlan of the host's own, and one parent carries macvlans or ipvlans, never both; use -d macvlan, or give the host a way by the LAN's router"
    );
    if let Some(unknown) = options.keys().find(|key| !known.contains(&key.as_str())) {
        bail!(
            "unknown option {unknown:?} for a {driver} network; known are: {}",
            known.join(", ")
        );
    }
    check_values(options)?;
    let text = |key: &str| options.get(key).map_or("", String::as_str);
    let kind = match driver {
        "ipvlan" => Kind::Ipvlan {
            mode: text("ipvlan_mode").parse()?,
            flag: text("ipvlan_flag").parse()?,
        },
        _ => Kind::Macvlan {
            mode: text("macvlan_mode").parse()?,
            bcqueuelen: number(options, "bcqueuelen")?,
            bclim: number(options, "bclim")?,
        },
    };
    if let Kind::Macvlan { mode, .. } = kind {
        ensure!(
            mode == MacvlanMode::Bridge || !options.contains_key("host_access"),
            "invalid option host_access with macvlan_mode={mode}: in this mode the kernel keeps the macvlans of one parent apart, the host's own among them; use macvlan_mode=bridge"
        );
    }
    Ok(kind)
}

/// The options whose values somebody else reads.
fn check_values(options: &BTreeMap<String, String>) -> Result<()> {
    if let Some(conflict) = options.get("conflict") {
        ensure!(
            ["probe", "off"].contains(&conflict.as_str()),
            "invalid option conflict={conflict}: it is probe (look for another owner of an address before it is used) or off"
        );
    }
    announce(options)?;
    parent_wait(options)?;
    if let Some(access) = options.get("host_access") {
        host_access::own(access)?;
    }
    Ok(())
}

/// How often addresses are announced, in Docker's words.
///
/// # Errors
/// Where a value is no number, or none that Docker takes.
pub fn announce(options: &BTreeMap<String, String>) -> Result<Announce> {
    let default = Announce::default();
    let count: u32 = match options.get(ADVERTISE_COUNT) {
        None => default.count,
        Some(text) => text.parse().map_err(|_| {
            anyhow!("value for option {ADVERTISE_COUNT} {text:?} must be an integer")
        })?,
    };
    let interval: u32 = match options.get(ADVERTISE_INTERVAL) {
        None => default.interval,
        Some(text) => text.parse().map_err(|_| {
            anyhow!("value for option {ADVERTISE_INTERVAL} {text:?} must be integer milliseconds")
        })?,
    };
    ensure!(
        count <= 3,
        "{ADVERTISE_COUNT} must be in the range 0 to 3: how often a new address is announced"
    );
    ensure!(
        (100..=2000).contains(&interval),
        "{ADVERTISE_INTERVAL} must be in the range 100 to 2000: milliseconds between two announcements"
    );
    Ok(Announce { count, interval })
}

/// `-o parent_wait`, in seconds; none means not at all.
///
/// # Errors
/// Where it is no number up to an hour.
pub fn parent_wait(options: &BTreeMap<String, String>) -> Result<u32> {
    let seconds: u32 = number(options, "parent_wait")?.unwrap_or_default();
    ensure!(
        seconds <= 3600,
        "invalid option parent_wait={seconds}: it is the seconds that a start waits for the parent, 3600 at the most"
    );
    Ok(seconds)
}

/// `-o mtu`, which cannot be above that of the parent.
pub fn mtu(
    options: &BTreeMap<String, String>,
    parent: &Parent,
    host: &Host,
) -> Result<Option<u32>> {
    let mtu = match number(options, "mtu")? {
        Some(mtu) => Some(mtu),
        None => number(options, MTU)?,
    };
    let base = &parent.segment.base;
    let most = host.link(base).and_then(|link| link.mtu);
    if let (Some(mtu), Some(most)) = (mtu, most) {
        ensure!(
            mtu <= most,
            "invalid MTU {mtu}: that of the parent {base} is {most}, and no link on top of it can have more (see: ip link set {base} mtu {mtu})"
        );
    }
    ensure!(
        mtu.is_none_or(|mtu| mtu >= 68),
        "invalid MTU {}: IPv4 needs 68 bytes at the least (RFC 791)",
        mtu.unwrap_or_default()
    );
    Ok(mtu)
}

/// What can be said of a parent without asking the kernel: whether it can be the name of a link at
/// all. The name of a VLAN may be too long for one, since it gets a short name then.
pub fn check_parent_name(parent: &str, kind: Kind) -> Result<()> {
    ensure!(
        parent != "lo",
        "loopback interface is not a valid {} parent link: name the link that leads to the LAN, such as eth0",
        kind.driver()
    );
    let base = parent.split('.').next().unwrap_or_default();
    ensure!(
        base.len() <= LONGEST
            && parent.len() <= LONGEST + 10
            && !parent.contains(['/', ':'])
            && !parent.contains(char::is_whitespace),
        "invalid parent {parent:?}: a link's name has at most 15 characters, and no slash, colon or space"
    );
    Ok(())
}

fn number<T: FromStr>(options: &BTreeMap<String, String>, key: &str) -> Result<Option<T>> {
    let parse = |text: &String| {
        text.parse()
            .map_err(|_| anyhow!("invalid option {key}={text}: it should be a number"))
    };
    options.get(key).map(parse).transpose()
}
