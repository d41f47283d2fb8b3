//! One container: run, exec, stop.

use anyhow::{Context, Result};

use crate::measure::Line;
use crate::{Bench, Contender, contender};

/// An address for the floor's container, another one in each round: its link dies with its network
/// namespace, some 20 ms after the answer.
fn address(round: usize) -> String {
    format!("172.16.86.{}/24", 200 + round % 50)
}

/// `run` of `true`, in all variants.
pub fn run(bench: &mut Bench) -> Result<()> {
    let (rmac, image, floor) = (&bench.rmac, &bench.image, &bench.floor);
    let filter = bench.dir.join("filter").display().to_string();
    Line::of(&format!("{floor} filter {filter}")).run()?;
    let fixed = |text: String| move |_| Line::of(&text);
    let mut all = vec![
        contender(
            "rmac",
            fixed(format!("{rmac} run --rm --network bench {image} true")),
        ),
        contender(
            "rmac unconfined",
            fixed(format!(
                "{rmac} run --rm --network bench --security-opt seccomp=unconfined {image} true"
            )),
        ),
        contender(
            "rmac no network",
            fixed(format!("{rmac} run --rm --network none {image} true")),
        ),
        contender(
            "rmac -d",
            fixed(format!(
                "{rmac} run -d --name benched --network bench {image} true"
            )),
        )
        .after(fixed(format!("{rmac} rm -f benched"))),
        contender("rmac version", fixed(format!("{rmac} version"))),
        contender("floor nothing", fixed(format!("{floor} nothing"))),
    ];
    let (floor, layer) = (floor.clone(), bench.layer.clone());
    let at = bench.dir.join("rmac-floor").display().to_string();
    let clean = format!("{floor} clean {at}");
    let run = move |round: usize| {
        let address = address(round);
        Line::of(&format!(
            "{floor} run {layer} {at} eth0 {address} 172.16.86.1 {filter} /bin/true"
        ))
    };
    all.push(contender("floor", run).after(fixed(clean)));
    for (who, call) in [
        ("crun bundle", &bench.peers.crun),
        ("runc bundle", &bench.peers.runc),
    ] {
        let Some(call) = call.clone() else { continue };
        let name = who.split(' ').next().unwrap_or_default().to_owned();
        let bundle = bench.dir.join(&name).join("bundle").display().to_string();
        all.push(contender(who, move |round| {
            Line::of(&format!("{call} run -b {bundle} {name}-{round}"))
        }));
    }
    for (who, call) in [
        ("podman", &bench.peers.podman),
        ("docker", &bench.peers.docker),
    ] {
        let Some(call) = call else { continue };
        all.push(contender(
            who,
            fixed(format!("{call} run --rm --network bench {image} true")),
        ));
    }
    bench.compare("run", bench.rounds, &all)?;
    let report = &mut bench.report;
    report.ratio(("run", "rmac"), ("run", "floor"), 2.0);
    report.ratio(("run", "rmac"), ("run", "crun bundle"), 0.5);
    report.ratio(("run", "rmac"), ("run", "podman"), 1.0 / 20.0);
    report.ratio(("run", "rmac"), ("run", "docker"), 1.0 / 25.0);
    report.ratio(("run", "rmac"), ("run", "rmac unconfined"), 1.1);
    let filtered = report.median("run", "rmac");
    if let (Some(with), Some(without)) = (filtered, report.median("run", "rmac unconfined")) {
        report.judge(
            "run: the default seccomp profile, ms".into(),
            with - without,
            1.0,
        );
    }
    report.ratio(("run", "rmac -d"), ("run", "rmac"), 1.1);
    if let Some(version) = report.median("run", "rmac version") {
        report.judge("rmac version, ms".into(), version, 2.0);
    }
    Ok(())
}

/// `exec` of `true` in a running container.
pub fn exec(bench: &mut Bench) -> Result<()> {
    let image = &bench.image;
    let id = bench
        .rmac(&format!(
            "run -d --name host --network bench {image} sleep 10000"
        ))
        .text()?;
    let pid = bench.rmac("inspect -f {{.State.Pid}} host").text()?;
    let filter = bench.dir.join("filter").display().to_string();
    Line::of(&format!("{} filter {filter}", bench.floor)).run()?;
    let fixed = |text: String| move |_| Line::of(&text);
    let mut all = vec![
        contender("rmac", fixed(format!("{} exec host true", bench.rmac))),
        contender(
            "floor",
            fixed(format!(
                "{} exec {} rmac/{} {filter} /bin/true",
                bench.floor,
                pid.trim(),
                id.trim()
            )),
        ),
    ];
    let mut ends = vec![bench.rmac("rm -f host")];
    for (who, call) in [("crun", &bench.peers.crun), ("runc", &bench.peers.runc)] {
        let Some(call) = call else { continue };
        let bundle = bench.dir.join(who).join("sleep");
        Line::of(&format!("{call} run -d -b {} host-{who}", bundle.display())).run()?;
        all.push(contender(
            who,
            fixed(format!("{call} exec host-{who} true")),
        ));
        ends.push(Line::of(&format!("{call} delete -f host-{who}")));
    }
    for (who, call) in [
        ("podman", &bench.peers.podman),
        ("docker", &bench.peers.docker),
    ] {
        let Some(call) = call else { continue };
        Line::of(&format!(
            "{call} run -d --name host --network bench {image} sleep 10000"
        ))
        .run()?;
        all.push(contender(who, fixed(format!("{call} exec host true"))));
        ends.push(Line::of(&format!("{call} rm -f host")));
    }
    let outcome = bench.compare("exec", bench.rounds, &all);
    for end in ends {
        let _ = end.run();
    }
    outcome?;
    bench.report.ratio(("exec", "rmac"), ("exec", "crun"), 0.35);
    bench.report.ratio(("exec", "rmac"), ("exec", "floor"), 2.0);
    Ok(())
}

/// `stop` of a program that ends on SIGTERM.
pub fn stop(bench: &mut Bench) -> Result<()> {
    // PID 1 has no default action for SIGTERM, so that `sleep` alone would not do.
    let script = bench.dir.join("layer/bench-stop");
    let program = "#!/bin/sh\ntrap 'exit 0' TERM\nsleep 10000 &\nwait\n";
    let mount = bench.dir.join("bench-stop");
    std::fs::write(&mount, program).with_context(|| script.display().to_string())?;
    std::fs::set_permissions(&mount, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let image = &bench.image;
    let words = format!(
        "run -d --name ending --network bench -v {}:/bench-stop {image} /bench-stop",
        mount.display()
    );
    let mut all: Vec<Contender> = vec![];
    let peers = [
        ("podman", &bench.peers.podman),
        ("docker", &bench.peers.docker),
    ];
    let own = Some(bench.rmac.clone());
    for (who, call) in [("rmac", &own)].into_iter().chain(peers) {
        let Some(call) = call.clone() else { continue };
        let (start, end) = (format!("{call} {words}"), format!("{call} rm -f ending"));
        let stop = format!("{call} stop ending");
        all.push(
            contender(who, move |_| Line::of(&stop))
                .before(move |_| Line::of(&start))
                .after(move |_| Line::of(&end)),
        );
    }
    bench.compare("stop", bench.rounds, &all)?;
    if let Some(time) = bench.report.median("stop", "rmac") {
        // The program's own time is that of a shell's trap: some tenths of a millisecond.
        bench.report.judge(
            "stop: rmac, ms over the program's own time".into(),
            time,
            15.0,
        );
    }
    Ok(())
}
