//! Many containers: lists, memory, detached ones in a row and side by side, a thousand.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::measure::{Figures, Line, reap, shares};
use crate::report::Row;
use crate::{Bench, contender};

/// How many there are.
const MANY: usize = 100;
/// What a thousand that have just been started get to come to rest.
const REST: Duration = Duration::from_secs(5);

impl Bench {
    fn start(&self, call: &str, from: usize, count: usize) -> Result<()> {
        (from..from + count).try_for_each(|number| self.start_one(call, number).run())
    }

    fn start_one(&self, call: &str, number: usize) -> Line {
        let image = &self.image;
        Line::of(&format!(
            "{call} run -d --name c{number} --network bench {image} sleep 10000"
        ))
    }

    /// Removes `count` containers, fifty at a time.
    fn remove(&self, call: &str, count: usize) -> Result<()> {
        let names: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
        for names in names.chunks(50) {
            Line::of(&format!("{call} rm -f {}", names.join(" "))).run()?;
        }
        reap();
        Ok(())
    }

    fn single(&mut self, work: &str, who: &str, unit: &'static str, values: Vec<f64>) {
        self.report.add(Row {
            work: work.into(),
            who: who.into(),
            unit,
            figures: Figures::of(values),
            disturbed: None,
            cpu: None,
        });
    }
}

/// `ps`, `inspect` and `network ls` with 100 containers, and what their monitors weigh.
pub fn lists(bench: &mut Bench) -> Result<()> {
    let rmac = bench.rmac.clone();
    bench.start(&rmac, 0, MANY)?;
    let fixed = |words: &str| {
        let text = format!("{} {words}", bench.rmac);
        move |_| Line::of(&text)
    };
    let all = [
        contender("rmac ps", fixed("ps")),
        contender("rmac inspect", fixed("inspect c50")),
        contender("rmac network ls", fixed("network ls")),
        contender("rmac version", fixed("version")),
    ];
    bench.compare("100 containers", bench.rounds, &all)?;
    let memory = shares("rmac-monitor")?;
    ensure!(memory.len() >= MANY, "{} monitors", memory.len());
    bench.single("monitor's PSS", "rmac", "KiB", memory);
    bench.remove(&rmac, MANY)?;
    if let Some(podman) = bench.peers.podman.clone() {
        bench.start(&podman, 0, MANY)?;
        let memory = shares("conmon")?;
        bench.single("monitor's PSS", "podman's conmon", "KiB", memory);
        bench.remove(&podman, MANY)?;
    }
    for who in ["rmac ps", "rmac inspect", "rmac network ls"] {
        let work = "100 containers";
        bench.report.ratio((work, who), (work, "rmac version"), 1.5);
    }
    let work = "monitor's PSS";
    bench
        .report
        .ratio((work, "rmac"), (work, "podman's conmon"), 1.0);
    Ok(())
}

/// 100 detached containers in a row, then 8 at once.
pub fn detached(bench: &mut Bench) -> Result<()> {
    let own = Some(bench.rmac.clone());
    let (podman, docker) = (bench.peers.podman.clone(), bench.peers.docker.clone());
    for (who, call) in [("rmac", own), ("podman", podman), ("docker", docker)] {
        let Some(call) = call else { continue };
        let begin = Instant::now();
        bench.start(&call, 0, MANY)?;
        let time = begin.elapsed().as_secs_f64();
        bench.single("100 in a row", who, "s", vec![time]);
        bench.remove(&call, MANY)?;
        let begin = Instant::now();
        side_by_side(bench, &call)?;
        let time = begin.elapsed().as_secs_f64();
        bench.single("100, 8 at once", who, "s", vec![time]);
        if who == "rmac" {
            let names: Vec<String> = (0..MANY).map(|number| format!("c{number}")).collect();
            let text = bench
                .rmac(&format!(
                    "inspect -f {{{{.NetworkSettings.Networks.bench.IPAddress}}}} {}",
                    names.join(" ")
                ))
                .text()?;
            let unique: std::collections::BTreeSet<&str> = text.lines().collect();
            ensure!(
                unique.len() == MANY,
                "{} addresses for {MANY} containers",
                unique.len()
            );
        }
        bench.remove(&call, MANY)?;
    }
    for work in ["100 in a row", "100, 8 at once"] {
        bench.report.ratio((work, "rmac"), (work, "podman"), 0.1);
    }
    Ok(())
}

fn side_by_side(bench: &Bench, call: &str) -> Result<()> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            loop {
                let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if number >= MANY {
                    return Ok(());
                }
                bench.start_one(call, number).run()?;
            }
        };
        let workers: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().ok().context("a panic")?)
    })
}

/// `run` beside 1,000 running containers, against `run` alone.
pub fn thousand(bench: &mut Bench) -> Result<()> {
    const COUNT: usize = 1000;
    // The two cannot take turns, and a machine's speed changes from minute to minute: what 30 runs tell of
    // that moves the ratio by a tenth either way.
    let rounds = bench.rounds * 5;
    Line::of(&format!(
        "{} network create -d macvlan --subnet=10.7.0.0/16 -o parent=eth0 wide",
        bench.rmac
    ))
    .run()?;
    let text = format!(
        "{} run --rm --network wide {} true",
        bench.rmac, bench.image
    );
    let run = || {
        [contender("rmac", {
            let text = text.clone();
            move |_| Line::of(&text)
        })]
    };
    bench.compare("run, the first", rounds, &run())?;
    let (rmac, image) = (bench.rmac.clone(), bench.image.clone());
    let mut outcome = (0..COUNT).try_for_each(|number| {
        Line::of(&format!(
            "{rmac} run -d --name c{number} --network wide {image} sleep 10000"
        ))
        .run()
    });
    if outcome.is_ok() {
        // The last of them announce themselves once more and give memory back: that is not what is asked for.
        std::thread::sleep(REST);
        outcome = bench.compare("run beside 1,000", rounds, &run());
    }
    bench.remove(&rmac, COUNT)?;
    Line::of(&format!("{rmac} network rm wide")).run()?;
    outcome?;
    bench.report.ratio(
        ("run beside 1,000", "rmac"),
        ("run, the first", "rmac"),
        1.3,
    );
    Ok(())
}
