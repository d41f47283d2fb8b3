//! The lab: a virtual LAN that anyone can have.
//!
//! macvlan wants an Ethernet LAN that accepts several hardware addresses behind one port. Wi-Fi does
//! not, most cloud networks do not, and a classroom's switch may not. So the lab builds one out of
//! network namespaces, without touching a real interface:
//!
//! ```text
//!  router                         switch                             host
//!  eth0 172.16.86.1/24 ----- port-router [br0] port-host ----- eth0 172.16.86.250/24
//!  router10                            /
//!  eth0 172.16.86.1/24 ----- port-router10
//! ```
//!
//! The switch is a bridge, a cable is a veth pair: two links, what goes into one comes out of the
//! other. The "host" is a network namespace whose `eth0` is plugged into the switch; rmac on that
//! host has a state of its own, so a lab can be thrown away as a whole.
//!
//! ```text
//! RUNROOT/lab/NAME/          switch router router10 host
//!                                                 the pinned network namespaces, see net::netns
//!                            registries.conf      if there, the lab's registries
//!                            run/                 RMAC_RUNROOT on the lab's host
//! ROOT/lab/NAME/             RMAC_ROOT on the lab's host
//! ```

mod down;
mod elsewhere;
mod enter;
mod trunk;

pub use down::Process;
pub use enter::is_inside;

use std::fs::File;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ipnet::Ipv4Net;
use nix::fcntl::{Flock, FlockArg};

use crate::net::endpoint::Probe;
use crate::net::link::NewRoute;
use crate::net::netlink::Wires;
use crate::net::netns;
use crate::store::{Home, make_private_dir};

/// The router's address.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(172, 16, 86, 1);

/// The host's own address: far from the start of the pool, where containers get theirs.
pub const HOST: Ipv4Addr = Ipv4Addr::new(172, 16, 86, 250);

/// A station of the lab's LAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Station {
    /// The bridge; it has no address.
    Switch,
    /// The LAN's router.
    Router,
    /// The router of VLAN 10, where the kernel has VLANs: see [`Lab::has_trunk`].
    Router10,
    /// The machine that containers run on.
    Host,
}

impl Station {
    /// Every station.
    pub const ALL: [Station; 4] = [
        Station::Switch,
        Station::Router,
        Station::Router10,
        Station::Host,
    ];

    /// Its name, which is also that of its pinned network namespace.
    pub fn name(self) -> &'static str {
        match self {
            Station::Switch => "switch",
            Station::Router => "router",
            Station::Router10 => "router10",
            Station::Host => "host",
        }
    }
}

/// A lab, which may be up or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lab {
    name: String,
    /// Where its namespaces are pinned.
    dir: PathBuf,
    /// rmac's state on the lab's host.
    home: Home,
}

/// What [`Lab::up`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Up {
    /// There was none.
    Made,
    /// It was up already.
    Already,
}

impl Lab {
    /// The lab `name` of `home`.
    pub fn named(home: &Home, name: &str) -> Result<Lab> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        ensure!(
            name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(fits),
            "invalid lab name {name:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed"
        );
        let dir = home.labs().join(name);
        Ok(Lab {
            name: name.to_owned(),
            home: Home {
                // It goes with the lab, whatever the caller's is now.
                root: elsewhere::built_with(&dir)
                    .unwrap_or_else(|| home.root.join("lab").join(name)),
                runroot: dir.join("run"),
            },
            dir,
        })
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where rmac on the lab's host keeps its state.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The registries' configuration that holds in the lab, if somebody puts one there.
    pub fn registries_conf(&self) -> PathBuf {
        self.dir.join("registries.conf")
    }

    /// Builds the lab. What a killed `lab up` or `lab down` left is removed first.
    pub fn up(&self) -> Result<Up> {
        let _lock = self.lock()?;
        if self.is_up() {
            return Ok(Up::Already);
        }
        self.clear()?;
        let built = self.build();
        if built.is_err() {
            let _ = self.clear();
        }
        built.map(|()| Up::Made)
    }

    /// Takes the lab away: its processes, namespaces and state. One that is not there is no error.
    pub fn down(&self) -> Result<()> {
        let lock = self.lock()?;
        self.clear()?;
        // Empty by now, unless another lab is there.
        for directory in [self.home.root.parent(), self.dir.parent()] {
            let _ = directory.map(std::fs::remove_dir);
        }
        drop(lock);
        Ok(())
    }

    /// Whether the lab is complete: the last thing that [`Lab::up`] does is a file.
    pub fn is_up(&self) -> bool {
        ready(&self.dir).exists() && self.netns(Station::Host).is_ok()
    }

    /// The network namespace of a station.
    pub fn netns(&self, station: Station) -> Result<OwnedFd> {
        let path = self.pin(station);
        ensure!(
            path.exists(),
            "the lab {0} is not up: rmac lab up --name {0}",
            self.name
        );
        let netns = netns::open(&path)?;
        // A file that nothing is mounted on is the rest of a half-built lab.
        let is_netns = nix::sys::statfs::fstatfs(&netns)
            .is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::NSFS_MAGIC);
        ensure!(
            is_netns,
            "the lab {0} is half-built: rmac lab up --name {0}",
            self.name
        );
        Ok(netns)
    }

    fn build(&self) -> Result<()> {
        make_private_dir(&self.home.root)?;
        make_private_dir(&self.home.runroot)?;
        let pin = |station| netns::pin(&self.pin(station));
        let (switch, router, host) = (
            pin(Station::Switch)?,
            pin(Station::Router)?,
            pin(Station::Host)?,
        );
        let mut wires = Wires::open(switch.as_fd())?;
        wires.set_up("lo")?;
        trunk::make_switch(&mut wires)?;
        let mut stations = vec![(&router, ROUTER), (&host, HOST)];
        plug(&mut wires, "port-router", &router)?;
        plug(&mut wires, "port-host", &host)?;
        let router10;
        if trunk::make_trunk(&mut wires)? {
            router10 = pin(Station::Router10)?;
            plug(&mut wires, trunk::PORT, &router10)?;
            trunk::join(&mut wires)?;
            stations.push((&router10, ROUTER));
        }
        for (station, address) in stations {
            let mut wires = Wires::open(station.as_fd())?;
            wires.set_up("lo")?;
            let net = Ipv4Net::new_assert(address, 24);
            wires.add_address("eth0", net.into(), Probe::Off)?;
            wires.set_up("eth0")?;
            if address == HOST {
                wires.add_route(&NewRoute {
                    dst: Ipv4Net::default().into(),
                    via: Some(ROUTER.into()),
                    dev: "eth0".to_owned(),
                    metric: None,
                })?;
            }
        }
        let ready = ready(&self.dir);
        std::fs::write(&ready, self.home.root.as_os_str().as_bytes())
            .with_context(|| format!("make {}", ready.display()))
    }

    /// Whether the host's cable is a trunk with VLAN 10 on it.
    pub fn has_trunk(&self) -> bool {
        self.netns(Station::Router10).is_ok()
    }

    fn pin(&self, station: Station) -> PathBuf {
        self.dir.join(station.name())
    }

    /// One `up` or `down` at a time. The lock is on the directory of all labs, which the last `down`
    /// removes: who waited for one that is gone by then starts again.
    fn lock(&self) -> Result<Flock<File>> {
        let labs = self.dir.parent().unwrap_or(Path::new("/"));
        loop {
            make_private_dir(labs)?;
            let file = match File::open(labs) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                file => file.with_context(|| format!("open {}", labs.display()))?,
            };
            let lock = Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, errno)| errno)
                .with_context(|| format!("lock {}", labs.display()))?;
            let inode = |meta: std::io::Result<std::fs::Metadata>| meta.map(|meta| meta.ino()).ok();
            if inode(lock.metadata()) == inode(std::fs::metadata(labs)) {
                return Ok(lock);
            }
        }
    }
}

/// The last file of a lab: it says where its host keeps its state.
fn ready(dir: &Path) -> PathBuf {
    dir.join("ready")
}

/// Lays a cable from the switch's `port` to the eth0 of a station.
fn plug(wires: &mut Wires, port: &str, station: &OwnedFd) -> Result<()> {
    wires.make_veth(port, "eth0", station.as_fd())?;
    wires.plug(port, "br0")?;
    wires.set_up(port).map_err(Into::into)
}
