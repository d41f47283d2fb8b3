//! Many containers: in a row, side by side, and what is left of them.

mod common;

use std::collections::BTreeSet;

use common::lan::lab_with_network;
use common::{Lab, RMAC};

/// The words that run a script in a container on the network.
fn in_network<'a>(lab: &Lab, script: &'a str) -> [&'a str; 8] {
    let network = "my-macvlan-net";
    let image = lab.image();
    [
        "run",
        "--rm",
        "--network",
        network,
        image,
        "sh",
        "-c",
        script,
    ]
}

#[test]
fn two_hundred_in_a_row() {
    let lab = lab_with_network("my-macvlan-net");
    let run = [
        "run",
        "--rm",
        "--network",
        "my-macvlan-net",
        lab.image(),
        "true",
    ];
    for round in 0..200 {
        let output = lab.rmac(&run);
        assert_eq!(
            (output.code, output.stderr.as_str()),
            (0, ""),
            "round {round}"
        );
    }
    lab.no_leaks();
}

#[test]
fn eight_side_by_side_have_eight_addresses() {
    let lab = lab_with_network("my-macvlan-net");
    let script = "ip -4 addr show eth0 | sed -n 's/.*inet \\([0-9.]*\\).*/\\1/p'; sleep 2";
    for _ in 0..3 {
        let run = in_network(&lab, script);
        let addresses: Vec<String> = std::thread::scope(|scope| {
            let start = || scope.spawn(|| common::run(lab.command(RMAC).args(run)).ok());
            let running: Vec<_> = (0..8).map(|_| start()).collect();
            running
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let unique: BTreeSet<&String> = addresses.iter().collect();
        assert_eq!(unique.len(), 8, "{addresses:?}");
        lab.no_leaks();
    }
}

#[test]
fn two_hundred_eight_at_a_time() {
    let lab = lab_with_network("my-macvlan-net");
    // What the container knows: it has its address from the first look at the clock to the second.
    let script = "cut -d' ' -f1 /proc/uptime; ip -4 addr show eth0 | sed -n 's/.*inet \\([0-9.]*\\).*/\\1/p'; \
                  sleep 0.03; cut -d' ' -f1 /proc/uptime";
    let run = in_network(&lab, script);
    let held: Vec<(String, f64, f64)> = std::thread::scope(|scope| {
        let worker = || {
            let once = |_| {
                let output = common::run(lab.command(RMAC).args(run));
                assert_eq!((output.code, output.stderr.as_str()), (0, ""));
                let lines: Vec<&str> = output.stdout.lines().collect();
                let [from, address, until] = lines[..] else {
                    panic!("{lines:?}")
                };
                (
                    address.to_owned(),
                    from.parse().unwrap(),
                    until.parse().unwrap(),
                )
            };
            (0..25).map(once).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..8).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    assert_eq!(held.len(), 200);
    for (at, (address, from, until)) in held.iter().enumerate() {
        let others = held[..at].iter().filter(|(other, ..)| other == address);
        for (_, other_from, other_until) in others {
            assert!(
                from >= other_until || other_from >= until,
                "{address} twice at once"
            );
        }
    }
    lab.no_leaks();
}
