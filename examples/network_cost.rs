//! What the network costs: an attach step by step, and a claim among ten thousand leases.
//!
//! As root, in a lab of its own: `cargo run --release --example network_cost`. The medians of 60
//! rounds, in microseconds, with a pause before each, as between two commands of a user.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use jiff::Timestamp;
use rmac::lab::{Lab, Station};
use rmac::net::declare::Declaration;
use rmac::net::endpoint::{Endpoint, Mac};
use rmac::net::host::{Host, Link};
use rmac::net::link::plan;
use rmac::net::netlink::Wires;
use rmac::net::netns;
use rmac::net::network::Network;
use rmac::store::leases::{self, Request};
use rmac::store::{Home, networks, new_id};

const ROUNDS: usize = 60;

fn main() -> Result<()> {
    let root = std::env::temp_dir().join(format!("rmac-cost-{}", std::process::id()));
    let home = Home {
        runroot: root.join("run"),
        root: root.clone(),
    };
    let lab = Lab::named(&home, "cost")?;
    let measured = lab.up().and_then(|_| {
        let endpoint = claims(&home)?;
        attaches(&lab, &root, &endpoint)
    });
    lab.down()?;
    std::fs::remove_dir_all(&root)?;
    measured
}

/// Claims among 10,000 leases.
fn claims(home: &Home) -> Result<Endpoint> {
    let declaration = Declaration {
        name: "net".into(),
        subnets: vec!["172.16.0.0/16".into()],
        gateways: vec!["172.16.86.1".into()],
        options: vec!["parent=eth0".into()],
        ipv4: true,
        ..Declaration::default()
    };
    let host = Host {
        links: vec![Link {
            name: "eth0".into(),
            ..Link::default()
        }],
        default_route: None,
    };
    let network = Network::declare(&declaration, &[], &host, new_id()?, Timestamp::now())?;
    networks::add(home, &network, &networks::lock(home)?)?;
    let mut text = String::new();
    for n in 1..=10_000u32 {
        let address = Ipv4Addr::from(0xac10_0000 + n);
        let (mac, id) = (Mac::of(address), format!("{n:064x}"));
        text += &format!("held {address} {mac} {id} {id} container-{n}\n");
    }
    std::fs::write(home.networks().join(&network.id).join("leases"), text)?;
    let mut last = None;
    let (mut load, mut claim, mut mark, mut release) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        std::thread::sleep(Duration::from_millis(10));
        let request = Request {
            container: new_id()?,
            name: "one".into(),
            ..Request::default()
        };
        let id = request.container.clone();
        let network = timed(&mut load, || networks::load(home, "net"))?;
        last = Some(timed(&mut claim, || {
            leases::claim(home, &network, request)
        })?);
        timed(&mut mark, || leases::releasing(home, &network.id, &id))?;
        timed(&mut release, || leases::release(home, &network.id, &id))?;
    }
    for (what, times) in [
        ("load a network by name", load),
        ("claim among 10,000", claim),
        ("mark as releasing", mark),
        ("release", release),
    ] {
        println!("{:>6} {what}", median(times));
    }
    match last {
        Some(endpoint) => Ok(endpoint),
        None => bail!("no rounds"),
    }
}

/// The link plan, into a fresh network namespace each time.
fn attaches(lab: &Lab, root: &std::path::Path, endpoint: &Endpoint) -> Result<()> {
    let steps = plan(std::slice::from_ref(endpoint));
    let host = lab.netns(Station::Host)?;
    let pin: PathBuf = root.join("container");
    let (mut open, mut close, mut undo) = (vec![], vec![], vec![]);
    let mut each = vec![vec![]; steps.len()];
    let mut all = vec![];
    for _ in 0..ROUNDS {
        let container = netns::pin(&pin)?;
        std::thread::sleep(Duration::from_millis(40));
        netns::within(host.as_fd(), || {
            timed(&mut all, || {
                let mut wires = timed(&mut open, || Wires::open(container.as_fd()))?;
                for (step, times) in steps.iter().zip(&mut each) {
                    timed(times, || step.take(&mut wires))?;
                }
                timed(&mut close, || drop(wires));
                anyhow::Ok(())
            })?;
            let mut wires = Wires::open(container.as_fd())?;
            timed(&mut undo, || {
                steps
                    .iter()
                    .rev()
                    .try_for_each(|step| step.undo(&mut wires))
            })
        })?;
        netns::unpin(&pin)?;
    }
    println!("{:>6} open the wires", median(open));
    for (step, times) in steps.iter().zip(each) {
        println!("{:>6} {step}", median(times));
    }
    println!("{:>6} close the wires", median(close));
    println!("{:>6} the whole attach", median(all));
    println!("{:>6} the deletion", median(undo));
    Ok(())
}

fn timed<T>(times: &mut Vec<u128>, work: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let result = work();
    times.push(begin.elapsed().as_micros());
    result
}

fn median(mut times: Vec<u128>) -> u128 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}
