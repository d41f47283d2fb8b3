//! The host's links, as far as a network's parent is concerned.
//!
//! What `network create` looks up in the kernel, as data: so the rules about parents are pure
//! functions and can be tried without root. A parent is a link that is there, or one that rmac can
//! make: an 802.1Q sub-interface `eth0.10` of a link that is there, or a link that leads nowhere.
//!
//! IEEE 802.1Q puts four bytes into each frame, of which twelve bits are the number of a virtual LAN,
//! 1 to 4094. One cable (a trunk) so carries many LANs, and a sub-interface is the one that it is
//! named after. Docker's rule for the name is `PARENT.VID`.

use anyhow::{Context, Result, bail, ensure};

use super::network::{Lower, Parent, Segment};

/// A link of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// The number by which messages name it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is a loopback.
    pub loopback: bool,
    /// The index of the bridge or bond that it is a port of.
    pub controller: Option<u32>,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// The index of the link that it sits on.
    pub below: Option<u32>,
    /// What it is, in ip-link(8)'s words; empty for a real interface.
    pub kind: String,
    /// Its tag, if it is an 802.1Q sub-interface.
    pub vid: Option<u16>,
    /// Whether it is switched on.
    pub up: bool,
}

/// The host, as `network create` sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Its links.
    pub links: Vec<Link>,
    /// The link that the default route leads through.
    pub default_route: Option<String>,
}

/// The longest name of a link, IFNAMSIZ less the zero.
pub const LONGEST: usize = 15;

impl Host {
    /// The link `name`.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    fn by_index(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// The bridge or bond that `link` is a port of.
    pub fn controller(&self, link: &Link) -> Option<&Link> {
        link.controller.and_then(|index| self.by_index(index))
    }

    /// The parent that the user calls `name`: a link that is there, or a sub-interface to be made.
    /// `made` are the links that rmac has made for other networks.
    pub fn parent(&self, name: &str, made: &[Lower]) -> Result<Parent> {
        self.resolve(name, made, 0)
    }

    /// The sub-interface with the tags `vids` on top of `base`, to be made unless it is there.
    pub fn tagged(&self, base: &str, vids: &[u16], made: &[Lower]) -> Result<Parent> {
        let mut parent = self.parent(base, made)?;
        for vid in vids {
            parent = self.on_top(parent, *vid, made)?;
        }
        Ok(parent)
    }

    fn resolve(&self, name: &str, made: &[Lower], depth: usize) -> Result<Parent> {
        if let Some(link) = self.link(name) {
            self.check(link)?;
            return Ok(Parent {
                link: name.to_owned(),
                made: chain(name, made),
                segment: self.segment(link),
            });
        }
        // One that rmac made and that is gone, as after a reboot.
        if let [.., Lower::Vlan { .. }] = chain(name, made).as_slice() {
            let made = chain(name, made);
            let segment = segment_of(&made);
            return Ok(Parent {
                link: name.to_owned(),
                made,
                segment,
            });
        }
        let Some((base, vid)) = name.rsplit_once('.') else {
            match depth {
                0 => bail!(
                    "invalid subinterface vlan name {name}, example formatting is eth0.10: there is no link {name} on this host{}",
                    self.hint(name)
                ),
                _ => bail!(
                    "-o parent interface was not found on the host: {name} (see: ip link){}",
                    self.hint(name)
                ),
            }
        };
        ensure!(
            depth < 2,
            "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received {name}.*: at most two tags, as in eth0.10.20"
        );
        let vid = tag(vid)?;
        let below = self.resolve(base, made, depth + 1)?;
        self.on_top(below, vid, made)
    }

    /// The sub-interface `vid` of `below`.
    fn on_top(&self, mut below: Parent, vid: u16, made: &[Lower]) -> Result<Parent> {
        let link = sub_interface(&below.link, vid);
        if let Some(there) = self.link(&link) {
            // Made by somebody else, unless rmac's books say otherwise.
            let base = there.below.and_then(|index| self.by_index(index));
            ensure!(
                there.vid == Some(vid) && base.is_some_and(|base| base.name == below.link),
                "the link {link} is there, but it is not the sub-interface of {} with VLAN {vid}: {}; remove it (ip link del {link}) or name another parent",
                below.link,
                describe(there, base)
            );
            return self.resolve(&link, made, 0);
        }
        below.made.push(Lower::Vlan {
            link: link.clone(),
            base: below.link,
            vid,
        });
        below.segment.vids.push(vid);
        below.link = link;
        Ok(below)
    }

    /// What the kernel would refuse later, when the first container starts.
    fn check(&self, link: &Link) -> Result<()> {
        let name = &link.name;
        ensure!(
            !link.loopback,
            "loopback interface is not a valid macvlan parent link: name the link that leads to the LAN, such as eth0"
        );
        if let Some(controller) = self.controller(link) {
            bail!(
                "failed to create the macvlan port: device or resource busy: {name} is a port of {0}, which takes every frame for itself; use -o parent={0}",
                controller.name
            );
        }
        // A name that says VLAN must be that VLAN, else the container is on the wrong LAN.
        if let Some((base, vid)) = name.rsplit_once('.')
            && let (Some(base), Ok(vid)) = (self.link(base), vid.parse::<u16>())
        {
            let below = link.below.and_then(|index| self.by_index(index));
            ensure!(
                link.vid == Some(vid) && link.below == Some(base.index),
                "the link {name} is there, but it is not the sub-interface of {} with VLAN {vid}: {}; remove it (ip link del {name}) or name another parent",
                base.name,
                describe(link, below)
            );
        }
        Ok(())
    }

    /// The segment behind a link: down through its VLANs.
    fn segment(&self, link: &Link) -> Segment {
        let mut vids = Vec::new();
        let mut at = link;
        while let (Some(vid), Some(below)) = (at.vid, at.below.and_then(|b| self.by_index(b))) {
            vids.insert(0, vid);
            at = below;
        }
        Segment {
            base: at.name.clone(),
            vids,
        }
    }

    /// "Did you mean", where a link is spelt alike, or where there is only one.
    fn hint(&self, name: &str) -> String {
        let usable = |link: &&Link| !link.loopback && link.controller.is_none();
        let names: Vec<&str> = self
            .links
            .iter()
            .filter(usable)
            .map(|link| link.name.as_str())
            .collect();
        let alike = crate::out::did_you_mean(name, names.iter().copied());
        match (alike, names.as_slice()) {
            (Some(alike), _) | (None, &[alike]) => format!(" (did you mean {alike}?)"),
            _ => " (see: ip link)".to_owned(),
        }
    }
}

/// What is below `name` and it itself, as far as rmac has made it, the lowest first.
fn chain(name: &str, made: &[Lower]) -> Vec<Lower> {
    match made.iter().find(|lower| lower.link() == name) {
        Some(lower @ Lower::Vlan { base, .. }) => {
            let mut below = chain(base, made);
            below.push(lower.clone());
            below
        }
        _ => Vec::new(),
    }
}

fn segment_of(made: &[Lower]) -> Segment {
    let mut segment = Segment::default();
    for lower in made {
        if let Lower::Vlan { base, vid, .. } = lower {
            if segment.base.is_empty() {
                segment.base.clone_from(base);
            }
            segment.vids.push(*vid);
        }
    }
    segment
}

fn describe(link: &Link, below: Option<&Link>) -> String {
    let on = below.map_or(String::new(), |below| format!(" on {}", below.name));
    match (link.vid, link.kind.as_str()) {
        (Some(vid), _) => format!("it has VLAN {vid}{on}"),
        (None, "") => format!("it is no VLAN{on}"),
        (None, kind) => format!("it is a {kind}{on}"),
    }
}

/// A VLAN tag out of a parent's name or of `-o vlan=`.
pub fn tag(text: &str) -> Result<u16> {
    let vid: i64 = text.parse().ok().with_context(|| {
        format!("unable to parse a valid vlan id from: {text} (ex. eth0.10 for vlan 10)")
    })?;
    match u16::try_from(vid) {
        Ok(vid @ 1..=4094) => Ok(vid),
        _ => bail!("vlan id must be between 1-4094, received: {vid}"),
    }
}

/// The name of the sub-interface `vid` of `base`; a short one where that is too long for a link.
pub fn sub_interface(base: &str, vid: u16) -> String {
    let name = format!("{base}.{vid}");
    match name.len() <= LONGEST {
        true => name,
        false => format!("v{:08x}.{vid}", fnv(base.as_bytes())),
    }
}

/// FNV-1a, 32 bits: a digest that is always the same, for names.
pub fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |digest, byte| {
        (digest ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        let link = |index, name: &str| Link {
            index,
            name: name.into(),
            ..Link::default()
        };
        Host {
            links: vec![
                Link {
                    loopback: true,
                    ..link(1, "lo")
                },
                link(2, "eth0"),
                Link {
                    kind: "vlan".into(),
                    vid: Some(20),
                    below: Some(2),
                    ..link(3, "eth0.20")
                },
                Link {
                    kind: "vlan".into(),
                    vid: Some(31),
                    below: Some(2),
                    ..link(4, "eth0.30")
                },
                Link {
                    kind: "bridge".into(),
                    ..link(5, "br0")
                },
                Link {
                    controller: Some(5),
                    ..link(6, "eth1")
                },
                Link {
                    kind: "dummy".into(),
                    ..link(7, "eth0.40")
                },
                link(8, "enp0s31f6abcd"),
            ],
            default_route: Some("eth0".into()),
        }
    }

    fn vlan(base: &str, vid: u16) -> Lower {
        Lower::Vlan {
            link: format!("{base}.{vid}"),
            base: base.into(),
            vid,
        }
    }

    #[test]
    fn a_sub_interface_is_made_when_it_is_missing() {
        let parent = host().parent("eth0.10", &[]).unwrap();
        assert_eq!(parent.link, "eth0.10");
        assert_eq!(parent.made, [vlan("eth0", 10)]);
        assert_eq!(parent.segment.base, "eth0");
        assert_eq!(parent.segment.vids, [10]);
        assert_eq!(host().tagged("eth0", &[10], &[]).unwrap(), parent);
        // One that is there is used, and remains its owner's.
        let there = host().parent("eth0.20", &[]).unwrap();
        assert_eq!(there.made, []);
        assert_eq!(there.segment.vids, [20]);
        // Unless rmac made it for another network.
        let ours = host().parent("eth0.20", &[vlan("eth0", 20)]).unwrap();
        assert_eq!(ours.made, [vlan("eth0", 20)]);
    }

    #[test]
    fn vlans_may_be_stacked() {
        let parent = host().parent("eth0.10.7", &[]).unwrap();
        assert_eq!(parent.made, [vlan("eth0", 10), vlan("eth0.10", 7)]);
        assert_eq!(parent.segment.vids, [10, 7]);
        assert_eq!(host().tagged("eth0", &[10, 7], &[]).unwrap(), parent);
        let on_there = host().parent("eth0.20.7", &[]).unwrap();
        assert_eq!(on_there.made, [vlan("eth0.20", 7)]);
        assert_eq!(on_there.segment.vids, [20, 7]);
    }

    #[test]
    fn a_name_that_is_too_long_gets_a_short_one() {
        let parent = host().parent("enp0s31f6abcd.4000", &[]).unwrap();
        assert!(parent.link.len() <= LONGEST && parent.link.ends_with(".4000"));
        let tagged = host().tagged("enp0s31f6abcd", &[4000], &[]).unwrap();
        assert_eq!(tagged, parent);
        assert_eq!(sub_interface("eth0", 10), "eth0.10");
    }

    #[test]
    fn what_is_no_parent_is_told_in_docker_s_words() {
        for (name, begins) in [
            (
                "en0",
                "invalid subinterface vlan name en0, example formatting is eth0.10: there is no link en0 on this host",
            ),
            (
                "ethX.10",
                "-o parent interface was not found on the host: ethX",
            ),
            ("eth0.0", "vlan id must be between 1-4094, received: 0"),
            (
                "eth0.4095",
                "vlan id must be between 1-4094, received: 4095",
            ),
            (
                "eth0.x",
                "unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)",
            ),
            (
                "eth0.1.2.3",
                "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received",
            ),
            (
                "lo",
                "loopback interface is not a valid macvlan parent link",
            ),
            (
                "eth1",
                "failed to create the macvlan port: device or resource busy: eth1 is a port of br0",
            ),
            (
                "eth0.30",
                "the link eth0.30 is there, but it is not the sub-interface of eth0 with VLAN 30: it has VLAN 31 on eth0",
            ),
            (
                "eth0.40",
                "the link eth0.40 is there, but it is not the sub-interface of eth0 with VLAN 40: it is a dummy",
            ),
        ] {
            let error = format!("{:#}", host().parent(name, &[]).unwrap_err());
            assert!(error.starts_with(begins), "{error}");
        }
    }
}
