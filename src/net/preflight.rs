//! Preflight: what is known beforehand to go wrong on this host, said when a network is created.
//!
//! A macvlan needs a wire that carries frames of more than one hardware address. Some do not: an access
//! point knows only the address that has logged in, a hypervisor's switch drops what it has not given out, a
//! cloud's network does so with IP addresses, too. The kernel makes the link all the same, and nobody
//! answers. Nothing of this can be known for sure from inside, so these are notes and no errors. What the
//! kernel refuses (a bridge's port as the parent, say) is an error, in [`super::declare`].
//!
//! sysfs(5), Documentation/ABI/testing/sysfs-class-net, Documentation/networking/bonding.rst.

use std::path::Path;

use super::network::{Kind, Parent};

/// What can be seen of a parent, and of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    /// Whether the link is switched on.
    pub up: bool,
    /// Whether its cable is plugged in; `None` while it is switched off.
    pub carrier: Option<bool>,
    /// Whether it is a radio.
    pub wireless: bool,
    /// How a bond spreads its frames, such as `balance-alb`; empty if it is none.
    pub bond_mode: String,
    /// Who has made the machine, by its firmware (DMI); empty where it does not say, and for a link that
    /// no device of the machine is behind.
    pub vendor: String,
}

impl Sight {
    /// Looks at the link `name` in the sysfs that is mounted at `sys`.
    pub fn look(sys: &Path, name: &str) -> Sight {
        let link = sys.join("class/net").join(name);
        let text = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.trim().to_owned()
        };
        let flags = text(&link.join("flags"));
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap_or_default();
        Sight {
            up: flags & nix::libc::IFF_UP as u32 != 0,
            carrier: match text(&link.join("carrier")).as_str() {
                "0" => Some(false),
                "1" => Some(true),
                _ => None,
            },
            wireless: link.join("wireless").exists() || link.join("phy80211").exists(),
            // The file says "balance-alb 6".
            bond_mode: text(&link.join("bonding/mode"))
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
            vendor: match link.join("device").exists() || link.join("bonding").exists() {
                true => text(&sys.join("class/dmi/id/sys_vendor")),
                false => String::new(),
            },
        }
    }

    /// What is to be expected of a network of this `kind` on `parent`, one line each; none if all is well.
    pub fn notes(&self, kind: Kind, parent: &Parent) -> Vec<String> {
        let link = parent.segment.base.as_str();
        let macvlan = matches!(kind, Kind::Macvlan { .. });
        let mut notes = vec![];
        match (self.up, self.carrier) {
            (false, _) => notes.push(format!(
                "{link} is down: its containers start, but reach nobody on the LAN until: ip link set {link} up"
            )),
            (true, Some(false)) => notes.push(format!(
                "{link} has no carrier: its containers start, but reach nobody on the LAN until the cable is in"
            )),
            (true, _) => (),
        }
        if self.wireless && macvlan {
            notes.push(format!(
                "{link} is wireless: most access points drop frames of any hardware address but the one that has logged in, so that macvlans reach nobody; use -d ipvlan, or a cable"
            ));
        }
        if ["balance-alb", "balance-tlb"].contains(&self.bond_mode.as_str()) && macvlan {
            notes.push(format!(
                "{link} is a bond in the mode {}, which puts its own hardware addresses into frames and ARP answers: containers are lost now and then; use active-backup or 802.3ad, or -d ipvlan",
                self.bond_mode
            ));
        }
        notes.extend(self.virtual_machine(macvlan));
        notes
    }

    /// What the switch below a virtual machine does.
    fn virtual_machine(&self, macvlan: bool) -> Option<String> {
        let is = |vendors: &[&str]| vendors.iter().any(|vendor| self.vendor.starts_with(vendor));
        if is(&CLOUDS) {
            return Some(format!(
                "this machine is {}'s, and the networks of clouds carry only the addresses that they have given out themselves: containers are reached only at addresses that are assigned to this machine there{}",
                self.vendor,
                if macvlan { ", and with -d ipvlan" } else { "" }
            ));
        }
        let cure = match self.vendor.as_str() {
            _ if !macvlan => return None,
            vendor if vendor.starts_with("VMware") => {
                "allow promiscuous mode, MAC address changes and forged transmits on its port group"
            }
            // Hyper-V's firmware says the same as Azure's.
            vendor if vendor.starts_with("Microsoft") => {
                "on Hyper-V allow MAC address spoofing on its network adapter; on Azure there is no way"
            }
            "innotek GmbH" => "set the promiscuous mode of its network adapter to \"Allow All\"",
            _ => return None,
        };
        Some(format!(
            "this machine is a virtual one ({}), whose switch drops frames of hardware addresses that it has not given out: {cure}; or use -d ipvlan",
            self.vendor
        ))
    }
}

/// What the firmware of clouds' machines says.
const CLOUDS: [&str; 6] = [
    "Amazon EC2",
    "Google",
    "DigitalOcean",
    "Hetzner",
    "Alibaba Cloud",
    "OpenStack",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::network::{IpvlanFlag, IpvlanMode, Segment};

    const IPVLAN: Kind = Kind::Ipvlan {
        mode: IpvlanMode::L2,
        flag: IpvlanFlag::Bridge,
    };

    fn notes(sight: &Sight, kind: Kind) -> String {
        let parent = Parent {
            link: "bond0".into(),
            made: vec![],
            segment: Segment {
                base: "bond0".into(),
                vids: vec![],
            },
        };
        sight.notes(kind, &parent).join("\n")
    }

    #[test]
    fn what_sysfs_says_is_read() {
        let sys = std::env::temp_dir().join(format!("rmac-preflight-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = sys.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(Sight::look(&sys, "bond0"), Sight::default());
        write("class/net/bond0/flags", "0x1003\n");
        write("class/net/bond0/carrier", "1\n");
        write("class/net/bond0/bonding/mode", "balance-alb 6\n");
        write("class/net/bond0/wireless/link", "");
        write("class/dmi/id/sys_vendor", "VMware, Inc.\n");
        let seen = Sight {
            up: true,
            carrier: Some(true),
            wireless: true,
            bond_mode: "balance-alb".into(),
            vendor: "VMware, Inc.".into(),
        };
        assert_eq!(Sight::look(&sys, "bond0"), seen);
        std::fs::remove_dir_all(&sys).unwrap();
        let text = notes(&seen, Kind::BRIDGE);
        for part in ["is wireless", "mode balance-alb", "forged transmits"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(notes(&seen, IPVLAN), "");
    }

    #[test]
    fn a_wire_that_carries_all_is_no_matter() {
        let well = Sight {
            up: true,
            carrier: Some(true),
            vendor: "QEMU".into(),
            bond_mode: "802.3ad".into(),
            ..Sight::default()
        };
        assert_eq!(notes(&well, Kind::BRIDGE), "");
        let down = Sight::default();
        assert!(notes(&down, IPVLAN).contains("bond0 is down"));
        let unplugged = Sight {
            carrier: Some(false),
            ..well.clone()
        };
        assert!(notes(&unplugged, IPVLAN).contains("no carrier"));
        let cloud = Sight {
            vendor: "Amazon EC2".into(),
            ..well
        };
        assert!(notes(&cloud, IPVLAN).contains("Amazon EC2's"));
    }
}
