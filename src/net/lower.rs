//! The links of the host that rmac makes: VLAN sub-interfaces, and links that lead nowhere.
//!
//! A sub-interface `eth0.10` (IEEE 802.1Q) hands up the frames that come in on `eth0` with the tag 10,
//! the tag taken off, and puts it on those that it sends. Macvlans on it are stations of VLAN 10 and
//! of nothing else. A network without a parent gets a link that leads nowhere: a dummy, or, in a
//! kernel without dummies, a bridge that nothing is plugged into. Macvlans on it reach each other.
//!
//! These links do not survive a reboot, while the network does. So the steps are taken again at each
//! start of a container, and do nothing where all is there. ip-link(8).

use std::fmt;

use anyhow::{Result, anyhow, ensure};
use nix::errno::Errno;

use super::netlink::{Refused, Wires};
use super::network::{Lower, Parent};
use crate::lesson::Lesson;

/// The steps that make sure that `parent` is there; none for a link that is somebody else's.
pub fn plan(parent: &Parent) -> Vec<Lower> {
    parent.made.clone()
}

impl Lower {
    /// The reason for the step.
    pub fn why(&self) -> Lesson {
        match self {
            Lower::Vlan { .. } => Lesson {
                why: "a sub-interface takes the frames of one VLAN from the trunk; it is made again when it is missing, as after a reboot",
                without: "the containers have no parent to sit on",
                man: "ip-link(8), IEEE 802.1Q",
            },
            Lower::Isolated { .. } => Lesson {
                why: "a network without a parent needs a link to sit on, one that leads nowhere",
                without: "a macvlan cannot be made at all",
                man: "ip-link(8)",
            },
        }
    }

    /// The same thing as a command for the host's part of the script.
    pub fn shell(&self) -> String {
        let name = self.link();
        let make = match self {
            Lower::Vlan { link, base, vid } => {
                format!("ip link add link {base} name {link} type vlan id {vid}")
            }
            Lower::Isolated { link } => {
                format!("ip link add {link} type dummy || ip link add {link} type bridge")
            }
        };
        format!(
            "ip link show {name} >/dev/null 2>&1 || {{ {make}; }}\nip link set {name} up # stays: it belongs to the network"
        )
    }

    /// Makes the link in the caller's network namespace unless it is there, and switches it on.
    pub fn take(&self, wires: &mut Wires) -> Result<()> {
        let name = self.link();
        match wires.parent(name)? {
            Some(link) => {
                self.check(&link, wires)?;
                if link.up {
                    return Ok(());
                }
            }
            None => match self.make(wires) {
                // Another container of the network starts just now.
                Err(refused) if refused.errno == Errno::EEXIST => {}
                result => result.map_err(|refused| self.explain(refused))?,
            },
        }
        match wires.set_up_outside(name) {
            // The base is down; with it, the kernel switches its VLANs on.
            Err(refused) if refused.errno == Errno::ENETDOWN => Ok(()),
            result => result.map_err(Into::into),
        }
    }

    /// Deletes the link, if it is still the one that rmac made. "Already gone" is no error.
    pub fn delete(&self, wires: &mut Wires) -> Result<()> {
        let Some(link) = wires.parent(self.link())? else {
            return Ok(());
        };
        if self.check(&link, wires).is_err() {
            return Ok(());
        }
        match wires.delete_outside(self.link()) {
            Err(refused) if refused.errno == Errno::ENODEV => Ok(()),
            result => result.map_err(Into::into),
        }
    }

    fn make(&self, wires: &mut Wires) -> Result<(), Refused> {
        match self {
            Lower::Vlan { link, base, vid } => wires.make_vlan(link, base, *vid),
            Lower::Isolated { link } => match wires.make_dummy(link) {
                Err(refused) if refused.errno == Errno::EOPNOTSUPP => {
                    wires.make_bridge_outside(link)
                }
                result => result,
            },
        }
    }

    /// Whether the link that has the name is what it should be.
    fn check(&self, there: &super::host::Link, wires: &mut Wires) -> Result<()> {
        match self {
            Lower::Vlan { link, base, vid } => {
                let below = wires.parent(base)?.map(|base| base.index);
                ensure!(
                    there.vid == Some(*vid) && there.below == below,
                    "the link {link} is there, but it is not the sub-interface of {base} with VLAN {vid}: remove it with: ip link del {link}"
                );
            }
            Lower::Isolated { link } => ensure!(
                ["dummy", "bridge"].contains(&there.kind.as_str()),
                "the link {link} is there, but it is none of rmac's: remove it with: ip link del {link}"
            ),
        }
        Ok(())
    }

    /// What the kernel's refusal means.
    fn explain(&self, refused: Refused) -> anyhow::Error {
        let cause = match (self, refused.errno) {
            (Lower::Vlan { .. }, Errno::EOPNOTSUPP) => {
                "this kernel has no 802.1Q VLANs: load them with `modprobe 8021q`, or take a kernel that has them (CONFIG_VLAN_8021Q)".to_owned()
            }
            (Lower::Vlan { base, .. }, Errno::ENODEV) => {
                format!("-o parent interface was not found on the host: {base} (see: ip link)")
            }
            (Lower::Vlan { base, vid, .. }, Errno::EEXIST) => {
                format!("VLAN {vid} of {base} has a sub-interface already, under another name: use that as the parent (see: ip -d link show type vlan)")
            }
            (Lower::Vlan { base, .. }, Errno::EBUSY | Errno::EINVAL) => {
                format!("{base} carries no VLANs: it is a loopback or has no Ethernet")
            }
            (_, Errno::EPERM) => "making links needs root (CAP_NET_ADMIN)".to_owned(),
            _ => format!("make the link {}", self.link()),
        };
        anyhow!(refused).context(cause)
    }
}

impl fmt::Display for Lower {
    /// The message to the kernel, in the manner of strace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lower::Vlan { link, base, vid } => write!(
                f,
                "sendto(netlink, RTM_NEWLINK {{IFLA_IFNAME={link:?}, IFLA_LINK=if_nametoindex({base:?}), IFLA_LINKINFO={{\"vlan\", IFLA_VLAN_ID={vid}}}}}, NLM_F_CREATE|NLM_F_EXCL)"
            ),
            Lower::Isolated { link } => write!(
                f,
                "sendto(netlink, RTM_NEWLINK {{IFLA_IFNAME={link:?}, IFLA_LINKINFO={{\"dummy\"}}}}, NLM_F_CREATE|NLM_F_EXCL)"
            ),
        }
    }
}
