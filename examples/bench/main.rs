//! What rmac costs, beside the floor and its peers: all in one lab, interleaved in one run.
//!
//! `scripts/bench` builds it, makes the lab and calls it on the lab's host, with these variables:
//!
//! ```text
//! BENCH_DIR      a directory for everything        BENCH_ROUNDS   rounds of each comparison
//! BENCH_RMAC     the program                       BENCH_IMAGE    the image's name
//! BENCH_ARCHIVE  the image as a docker archive     BENCH_ONLY     works to measure, all if empty
//! ```

mod fresh;
mod measure;
mod others;
mod peers;
mod report;
mod works;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use measure::{Figures, Line, Times, processor_time, reap};
use report::{Report, Row};

/// What all works share.
pub struct Bench {
    /// Everything lies here.
    pub dir: PathBuf,
    /// The program under test.
    pub rmac: String,
    /// The floor's program, which lies beside this one.
    pub floor: String,
    /// The image's only layer, unpacked: for the floor and the bare runtimes.
    pub layer: String,
    /// The image's name.
    pub image: String,
    /// Rounds of each comparison.
    pub rounds: usize,
    /// What came out.
    pub report: Report,
    /// The peers that are there.
    pub peers: peers::Peers,
    /// Who else has the processors.
    pub others: others::Others,
}

/// Who takes part in a comparison.
pub struct Contender {
    /// Its name in the table.
    pub who: &'static str,
    /// The command of a round.
    pub line: Box<dyn Fn(usize) -> Line>,
    /// What takes back what it did, untimed.
    pub after: Option<Box<dyn Fn(usize) -> Line>>,
    /// What it needs first, untimed.
    pub before: Option<Box<dyn Fn(usize) -> Line>>,
}

/// A contender that needs nothing taken back.
pub fn contender(who: &'static str, line: impl Fn(usize) -> Line + 'static) -> Contender {
    Contender {
        who,
        line: Box::new(line),
        after: None,
        before: None,
    }
}

impl Contender {
    /// Takes back what each round did.
    pub fn after(mut self, line: impl Fn(usize) -> Line + 'static) -> Contender {
        self.after = Some(Box::new(line));
        self
    }

    /// Makes ready for each round.
    pub fn before(mut self, line: impl Fn(usize) -> Line + 'static) -> Contender {
        self.before = Some(Box::new(line));
        self
    }
}

/// The pause before each command.
const PAUSE: Duration = Duration::from_millis(40);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first() {
        Some((word, line)) if word == "peak" => return measure::print_peak(line),
        Some((word, dir)) if word == "image" && dir.len() == 1 => {
            return works::pull::make_layers(dir[0].as_ref());
        }
        _ => (),
    }
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let mut bench = Bench::new()?;
    // Monitors are left to us, so that their time counts, too.
    nix::sys::prctl::set_child_subreaper(true)?;
    let mut outcome = Ok(());
    for (name, work) in works::ALL {
        if only.is_empty() || only.split_whitespace().any(|word| word == *name) {
            println!("\n== {name}");
            if let Err(error) = work(&mut bench) {
                bench.report.skip(&format!("{name}: {error:#}"));
                outcome = Err(error);
            }
        }
    }
    bench.peers.stop();
    bench.report.write(&bench.dir)?;
    let targets = &bench.report.targets;
    let reached = targets.iter().filter(|target| target.reached).count();
    println!("\n{reached} of {} targets reached", targets.len());
    outcome
}

impl Bench {
    fn new() -> Result<Bench> {
        let variable = |name: &str| std::env::var(name).with_context(|| name.to_owned());
        let own = std::env::current_exe()?;
        let floor = own.with_file_name("floor");
        let dir = PathBuf::from(variable("BENCH_DIR")?);
        let (rmac, image) = (variable("BENCH_RMAC")?, variable("BENCH_IMAGE")?);
        let layer = dir.join("layer");
        // Before any peer's daemon is started.
        let others = others::Others::find()?;
        Ok(Bench {
            others,
            rounds: variable("BENCH_ROUNDS")?.parse()?,
            floor: floor.to_string_lossy().into_owned(),
            layer: layer.to_string_lossy().into_owned(),
            peers: peers::Peers::find(&dir, &image, &variable("BENCH_ARCHIVE")?)?,
            dir,
            rmac,
            image,
            report: Report::default(),
        })
    }

    /// A command of rmac's.
    pub fn rmac(&self, words: &str) -> Line {
        Line::of(&format!("{} {words}", self.rmac))
    }

    /// Lets `contenders` do their `work` in turn, until each was let be for a number of rounds. If that does not happen
    /// in twice as many, all rounds count.
    pub fn compare(&mut self, work: &str, rounds: usize, contenders: &[Contender]) -> Result<()> {
        if contenders.is_empty() {
            bail!("nobody to measure");
        }
        let mut times = vec![Times::default(); contenders.len()];
        let mut cpu = vec![vec![]; contenders.len()];
        for round in 0..2 * rounds {
            if times.iter().all(|times| times.still.len() >= rounds) {
                break;
            }
            for turn in 0..contenders.len() {
                // Each follows each other one in turn, so that none profits.
                let at = (turn + round) % contenders.len();
                let (time, spent) = self.once(round, &contenders[at])?;
                times[at].add(time);
                cpu[at].push(spent);
            }
        }
        for ((contender, times), cpu) in contenders.iter().zip(times).zip(cpu) {
            let (figures, disturbed) = times.count(rounds);
            self.report.add(Row {
                work: work.to_owned(),
                who: contender.who.to_owned(),
                unit: "ms",
                figures,
                disturbed: Some(disturbed),
                cpu: Some(Figures::of(cpu).median),
            });
        }
        Ok(())
    }

    /// One round of one of them: how long it took, whether it was let be, and its processor time.
    fn once(&self, round: usize, contender: &Contender) -> Result<((f64, bool), f64)> {
        if let Some(before) = &contender.before {
            before(round).run()?;
            std::thread::sleep(PAUSE);
        }
        reap();
        let begin = processor_time()?;
        let line = (contender.line)(round);
        std::thread::sleep(PAUSE - others::STILL);
        self.others.wait_until_still();
        let time = self.others.beside(|| line.time());
        let time = time.with_context(|| contender.who)?;
        // For what goes on after the answer.
        std::thread::sleep(PAUSE);
        reap();
        let spent = processor_time()? - begin;
        if let Some(after) = &contender.after {
            after(round).run()?;
        }
        Ok((time, spent))
    }
}
