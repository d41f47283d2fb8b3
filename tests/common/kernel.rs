//! What the running kernel can do. A test of what it cannot do says so aloud and passes: `scripts/vm`
//! has a kernel that can.

use std::process::Command;
use std::sync::OnceLock;

/// A part of the kernel that some machines lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// 802.1Q sub-interfaces.
    Vlan,
    /// Links that lead nowhere.
    Dummy,
    /// ipvlan in all its modes.
    Ipvlan,
}

impl Feature {
    /// Whether the kernel has it; if not, says that the test is skipped.
    pub fn or_skip(self) -> bool {
        static FOUND: [OnceLock<bool>; 3] = [OnceLock::new(), OnceLock::new(), OnceLock::new()];
        let (name, make) = match self {
            Feature::Vlan => ("802.1q", "link base name top type vlan id 5"),
            Feature::Dummy => ("dummy", "top type dummy"),
            Feature::Ipvlan => ("ipvlan", "link base name top type ipvlan mode l3s"),
        };
        let script = format!("ip link add base type veth peer name far && ip link add {make}");
        let has = *FOUND[self as usize].get_or_init(|| {
            let mut command = Command::new("unshare");
            command.args(["-n", "sh", "-c", &script]);
            command.output().is_ok_and(|output| output.status.success())
        });
        if !has {
            eprintln!("skipped: kernel without {name}");
        }
        has
    }
}
