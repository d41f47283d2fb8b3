//! Leases: claimed by many at once, kept, released, reclaimed.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rmac::net::declare::Declaration;
use rmac::net::host::{Host, Link};
use rmac::net::network::Network;
use rmac::store::leases::{self, Request, State};
use rmac::store::{Home, networks, new_id};

fn add(home: &Home, network: &Network) -> anyhow::Result<()> {
    networks::add(home, network, &networks::lock(home)?)
}

fn host() -> Host {
    Host {
        links: vec![Link {
            index: 2,
            name: "eth0".into(),
            ..Link::default()
        }],
        default_route: None,
    }
}

/// A store of its own with one network, gone when dropped.
struct Store {
    home: Home,
    network: Network,
}

impl Store {
    fn make(name: &str, subnet: &str) -> Store {
        let root = std::env::temp_dir().join(format!("rmac-leases-{name}-{}", std::process::id()));
        let home = Home {
            runroot: root.join("run"),
            root,
        };
        let declaration = Declaration {
            name: "net".into(),
            subnets: vec![subnet.into()],
            options: vec!["parent=eth0".into()],
            ipv4: true,
            ..Declaration::default()
        };
        let id = new_id().unwrap();
        let network = Network::declare(&declaration, &[], &host(), id, Timestamp::now()).unwrap();
        add(&home, &network).unwrap();
        Store { home, network }
    }

    /// A request of a container that exists.
    fn request(&self, name: &str) -> Request {
        let request = self.ghost(name);
        std::fs::create_dir_all(self.home.container(&request.container)).unwrap();
        request
    }

    /// A request of a container that does not exist (any more).
    fn ghost(&self, name: &str) -> Request {
        Request {
            container: new_id().unwrap(),
            name: name.into(),
            ..Request::default()
        }
    }

    fn claim(&self, request: &Request) -> Result<String, String> {
        leases::claim(&self.home, &self.network, request.clone())
            .map(|endpoint| endpoint.ipv4.unwrap().to_string())
            .map_err(|error| format!("{error:#}"))
    }

    fn file(&self) -> PathBuf {
        self.home.networks().join(&self.network.id).join("leases")
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.home.root).unwrap();
    }
}

#[test]
fn a_lease_stays_until_it_is_released() {
    let store = Store::make("stays", "10.0.0.0/24");
    let (one, two) = (store.request("one"), store.request("two"));
    assert_eq!(store.claim(&one).unwrap(), "10.0.0.1/24");
    assert_eq!(store.claim(&two).unwrap(), "10.0.0.2/24");
    assert_eq!(
        store.claim(&one).unwrap(),
        "10.0.0.1/24",
        "start after stop"
    );
    let text = std::fs::read_to_string(store.file()).unwrap();
    assert!(
        text.starts_with("held 10.0.0.1 02:42:0a:00:00:01 "),
        "{text}"
    );
    leases::release(&store.home, &store.network.id, &one.container).unwrap();
    leases::release(&store.home, &store.network.id, &one.container).unwrap();
    let left = leases::list(&store.home, &store.network.id).unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].name, "two");
    assert_eq!(store.claim(&store.request("three")).unwrap(), "10.0.0.1/24");
}

#[test]
fn a_lease_of_a_network_that_is_gone_is_nothing_to_release() {
    let store = Store::make("gone", "10.0.0.0/24");
    let one = store.request("one");
    store.claim(&one).unwrap();
    networks::remove(&store.home, &store.network).unwrap();
    networks::remove(&store.home, &store.network).unwrap();
    leases::releasing(&store.home, &store.network.id, &one.container).unwrap();
    leases::release(&store.home, &store.network.id, &one.container).unwrap();
    assert_eq!(store.claim(&one).unwrap_err(), "network net not found");
}

#[test]
fn what_is_asked_for_is_kept_and_guarded() {
    let store = Store::make("asked", "10.0.0.0/24");
    let asking = |name: &str, ip: &str, mac: Option<&str>| Request {
        ip: Some(ip.parse().unwrap()),
        mac: mac.map(|mac| mac.parse().unwrap()),
        ..store.request(name)
    };
    let mac = Some("02:00:00:00:00:07");
    let endpoint =
        leases::claim(&store.home, &store.network, asking("one", "10.0.0.7", mac)).unwrap();
    assert_eq!(endpoint.mac.unwrap().to_string(), "02:00:00:00:00:07");
    assert_eq!(endpoint.requested_ipv4, Some(Ipv4Addr::new(10, 0, 0, 7)));
    let begin = Instant::now();
    let taken = store.claim(&asking("two", "10.0.0.7", None));
    assert_eq!(taken.unwrap_err(), "Address already in use");
    assert!(
        begin.elapsed() < Duration::from_millis(200),
        "no waiting in vain"
    );
    let taken = store.claim(&asking("two", "10.0.0.8", mac)).unwrap_err();
    assert_eq!(
        taken,
        "the MAC address 02:00:00:00:00:07 is in use by the container one"
    );
}

#[test]
fn an_address_in_release_is_passed_over_and_waited_for() {
    let store = Store::make("release", "10.0.0.0/24");
    let one = store.request("one");
    store.claim(&one).unwrap();
    leases::releasing(&store.home, &store.network.id, &one.container).unwrap();
    let states = leases::list(&store.home, &store.network.id).unwrap();
    assert_eq!(states[0].state, State::Releasing);
    assert_eq!(store.claim(&store.request("two")).unwrap(), "10.0.0.2/24");
    let three = Request {
        ip: Some(Ipv4Addr::new(10, 0, 0, 1)),
        ..store.request("three")
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            leases::release(&store.home, &store.network.id, &one.container).unwrap();
        });
        let begin = Instant::now();
        assert_eq!(store.claim(&three).unwrap(), "10.0.0.1/24");
        assert!(begin.elapsed() >= Duration::from_millis(90));
    });
}

#[test]
fn leases_of_containers_that_are_gone_are_reclaimed_when_needed() {
    let store = Store::make("reclaim", "10.0.0.0/30");
    store.claim(&store.ghost("ghost")).unwrap();
    let two = store.request("two");
    assert_eq!(store.claim(&two).unwrap(), "10.0.0.2/30");
    assert_eq!(store.claim(&store.request("three")).unwrap(), "10.0.0.1/30");
    let full = store.claim(&store.request("four")).unwrap_err();
    let id = &store.network.id;
    assert_eq!(
        full,
        format!("no available IPv4 addresses on this network's address pools: net ({id})")
    );
    std::fs::remove_dir(store.home.container(&two.container)).unwrap();
    assert_eq!(leases::reclaim(&store.home, id).unwrap(), 1);
    assert_eq!(leases::reclaim(&store.home, id).unwrap(), 0);
}

#[test]
fn an_address_of_a_container_that_is_gone_can_be_asked_for() {
    let store = Store::make("stale", "10.0.0.0/24");
    store.claim(&store.ghost("ghost")).unwrap();
    let two = Request {
        ip: Some(Ipv4Addr::new(10, 0, 0, 1)),
        ..store.request("two")
    };
    assert_eq!(store.claim(&two).unwrap(), "10.0.0.1/24");
}

#[test]
fn half_a_line_does_not_count() {
    let store = Store::make("half", "10.0.0.0/24");
    store.claim(&store.request("one")).unwrap();
    let whole = std::fs::read(store.file()).unwrap();
    for cut in [1, 10, 40, whole.len() - 1] {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(store.file())
            .unwrap();
        file.write_all_at(&whole[..cut], whole.len() as u64)
            .unwrap();
        assert_eq!(
            leases::list(&store.home, &store.network.id).unwrap().len(),
            1
        );
        let two = store.request("two");
        assert_eq!(store.claim(&two).unwrap(), "10.0.0.2/24");
        assert_eq!(
            leases::list(&store.home, &store.network.id).unwrap().len(),
            2
        );
        leases::release(&store.home, &store.network.id, &two.container).unwrap();
    }
}

#[test]
fn sixty_four_processes_at_once_get_sixty_four_addresses() {
    const NAME: &str = "sixty_four_processes_at_once_get_sixty_four_addresses";
    if let Ok(root) = std::env::var("RMAC_TEST_CLAIM") {
        // One of the 64: this program again.
        let home = Home {
            runroot: PathBuf::from(&root).join("run"),
            root: root.into(),
        };
        let network = networks::load(&home, "net").unwrap();
        let request = Request {
            container: new_id().unwrap(),
            name: "c".into(),
            ..Request::default()
        };
        std::fs::create_dir_all(home.container(&request.container)).unwrap();
        leases::claim(&home, &network, request).unwrap();
        return;
    }
    let store = Store::make("many", "10.0.0.0/24");
    let children: Vec<_> = (0..64)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", NAME])
                .env("RMAC_TEST_CLAIM", &store.home.root)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let leases = leases::list(&store.home, &store.network.id).unwrap();
    let addresses: HashSet<Ipv4Addr> = leases.iter().filter_map(|lease| lease.ipv4).collect();
    assert_eq!(addresses.len(), 64);
    assert_eq!(addresses.iter().max(), Some(&Ipv4Addr::new(10, 0, 0, 64)));
}

#[test]
fn one_name_is_one_network() {
    let store = Store::make("name", "10.0.0.0/24");
    let again = Network {
        id: new_id().unwrap(),
        ..store.network.clone()
    };
    let error = add(&store.home, &again).unwrap_err().to_string();
    assert_eq!(error, "network with name net already exists");
    assert!(!store.home.networks().join(&again.id).exists());
    let id = &store.network.id;
    // As short as six digits: one could be the first of a predefined network's id.
    for reference in ["net", id, &id[..12], &id[..6]] {
        assert_eq!(
            networks::load(&store.home, reference).unwrap(),
            store.network
        );
    }
    for reference in ["nett", "ne", "", "../x", "zz"] {
        let error = networks::load(&store.home, reference)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("network {reference} not found")),
            "{error}"
        );
    }
}

#[test]
fn what_a_killed_command_left_is_removed_by_the_next() {
    let store = Store::make("nameless", "10.0.0.0/24");
    let half = store.home.networks().join("a".repeat(64));
    std::fs::create_dir(&half).unwrap();
    let other = Network {
        id: new_id().unwrap(),
        name: "other".into(),
        ..store.network.clone()
    };
    add(&store.home, &other).unwrap();
    assert!(!half.exists());
    let names: Vec<String> = networks::list(&store.home)
        .unwrap()
        .into_iter()
        .map(|network| network.name)
        .collect();
    assert_eq!(names, ["host", "net", "none", "other"]);
}

/// One of the 64: containers come and go until somebody kills it. A container is a directory; what it
/// was given stands in a file of it.
fn come_and_go(home: &Home) {
    let networks = ["net", "sibling"].map(|name| networks::load(home, name).unwrap());
    let mut mine: Vec<(String, String)> = Vec::new();
    for round in 0.. {
        let network = &networks[round % 2];
        let request = Request {
            container: new_id().unwrap(),
            name: "c".into(),
            ..Request::default()
        };
        let id = request.container.clone();
        let dir = home.container(&id);
        std::fs::create_dir_all(&dir).unwrap();
        if let Ok(endpoint) = leases::claim(home, network, request) {
            let given: Vec<String> = endpoint
                .addresses()
                .map(|net| net.addr().to_string())
                .collect();
            std::fs::write(dir.join("given"), given.join(",")).unwrap();
            mine.push((id, network.id.clone()));
        }
        if mine.len() > 3 {
            let (id, network) = mine.swap_remove(round % mine.len());
            // As `rm` does: what is kept of it goes last.
            std::fs::write(home.container(&id).join("leaves"), "").unwrap();
            leases::releasing(home, &network, &id).unwrap();
            leases::release(home, &network, &id).unwrap();
            std::fs::remove_dir_all(home.container(&id)).unwrap();
        }
    }
}

#[test]
fn sixty_four_processes_under_random_kills_end_with_the_leases_of_the_living() {
    const NAME: &str = "sixty_four_processes_under_random_kills_end_with_the_leases_of_the_living";
    if let Ok(root) = std::env::var("RMAC_TEST_COME_AND_GO") {
        return come_and_go(&Home {
            runroot: PathBuf::from(&root).join("run"),
            root: root.into(),
        });
    }
    let store = Store::make("kills", "10.0.0.0/22");
    // Dual stack, and a second network that gives out of the same subnets.
    let declaration = |name: &str| Declaration {
        name: name.into(),
        subnets: vec!["10.0.0.0/22".into(), "fd00::/118".into()],
        ip_ranges: vec!["10.0.0.0/23".into()],
        options: vec!["parent=eth0".into()],
        ipv4: true,
        ..Declaration::default()
    };
    networks::remove(&store.home, &store.network).unwrap();
    for name in ["net", "sibling"] {
        let mut declaration = declaration(name);
        declaration.ip_ranges.push("fd00::/119".into());
        let existing = networks::declared(&store.home).unwrap();
        let id = new_id().unwrap();
        let network =
            Network::declare(&declaration, &existing, &host(), id, Timestamp::now()).unwrap();
        add(&store.home, &network).unwrap();
    }
    let spawn = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env("RMAC_TEST_COME_AND_GO", &store.home.root)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut children: Vec<_> = (0..64).map(|_| spawn()).collect();
    let mut random = 12345u64;
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let victim = (random >> 33) as usize % children.len();
        children[victim].kill().unwrap();
        children[victim].wait().unwrap();
        children[victim] = spawn();
        std::thread::sleep(Duration::from_millis(random >> 59));
    }
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // Who was killed on its way out is removed now, as `rm` does after a crash.
    let containers = store.home.root.join("containers");
    let living = || std::fs::read_dir(&containers).unwrap().flatten();
    for entry in living() {
        // One that was killed while it wrote down what it was given never came to know it.
        let given = std::fs::read_to_string(entry.path().join("given")).unwrap_or_default();
        if entry.path().join("leaves").exists() || given.is_empty() {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    let mut leased = std::collections::BTreeMap::new();
    let mut addresses = HashSet::new();
    for network in networks::declared(&store.home).unwrap() {
        leases::reclaim(&store.home, &network.id).unwrap();
        for lease in leases::list(&store.home, &network.id).unwrap() {
            let given: Vec<String> = lease
                .addresses()
                .map(|address| address.to_string())
                .collect();
            assert_eq!(given.len(), 2, "{lease:?}");
            for address in &given {
                assert!(addresses.insert(address.clone()), "two owners of {address}");
            }
            assert_eq!(lease.state, State::Held);
            leased.insert(lease.container, given.join(","));
        }
    }
    let living: std::collections::BTreeMap<String, String> = living()
        .map(|entry| {
            let given = std::fs::read_to_string(entry.path().join("given")).unwrap();
            (entry.file_name().into_string().unwrap(), given)
        })
        .collect();
    assert!(living.len() > 64, "{}", living.len());
    assert_eq!(leased, living);
}
