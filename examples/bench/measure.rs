//! Measuring commands as a user meets them: from spawn to the end of the process, after a pause.
//!
//! Back to back everything is 30 to 60 % quicker, since caches are warm and an RCU grace period that
//! somebody waited for is still going on for the next; so there is a pause before each.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// One command with its words.
#[derive(Clone)]
pub struct Line(pub Vec<String>);

impl Line {
    /// Splits `text` at blanks; a word has none.
    pub fn of(text: &str) -> Line {
        Line(text.split_whitespace().map(str::to_owned).collect())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.0[0]);
        command
            .args(&self.0[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0);
        command
    }

    /// Runs it; its end must be a good one.
    pub fn run(&self) -> Result<()> {
        // Not through a pipe, which what stays in the background would keep open.
        let errors = std::env::temp_dir().join(format!("bench-errors-{}", std::process::id()));
        let status = self
            .command()
            .stderr(std::fs::File::create(&errors)?)
            .status()
            .with_context(|| self.0.join(" "))?;
        let text = std::fs::read_to_string(&errors).unwrap_or_default();
        let _ = std::fs::remove_file(&errors);
        if !status.success() {
            bail!("{}: {text}", self.0.join(" "));
        }
        Ok(())
    }

    /// What it prints.
    pub fn text(&self) -> Result<String> {
        let output = self
            .command()
            .stdout(Stdio::piped())
            .output()
            .with_context(|| self.0.join(" "))?;
        if !output.status.success() {
            bail!(
                "{}: {}",
                self.0.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Its wall time in milliseconds.
    pub fn time(&self) -> Result<f64> {
        let mut command = self.command();
        let begin = Instant::now();
        let status = command
            .stderr(Stdio::null())
            .status()
            .with_context(|| self.0.join(" "))?;
        let time = begin.elapsed();
        if !status.success() {
            // Said by running it once more, with its errors.
            self.run()?;
            bail!("{}: {status}, once", self.0.join(" "));
        }
        Ok(time.as_secs_f64() * 1e3)
    }
}

/// The processor time in milliseconds of all that has ended below us.
pub fn processor_time() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(time as f64 / 1e3)
}

/// Reaps monitors that were left to us.
pub fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}

/// The highest memory in KiB that `line` needed, and its wall time: it runs below a process of its own.
pub fn peak(line: &Line) -> Result<(f64, f64)> {
    let own = std::env::current_exe()?;
    let mut words = vec![own.to_string_lossy().into_owned(), "peak".to_owned()];
    words.extend(line.0.iter().cloned());
    let text = Line(words).text()?;
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(time)), Some(Ok(memory))) => Ok((time, memory)),
        _ => bail!("{text}"),
    }
}

/// [`peak`]'s process: prints milliseconds and KiB.
pub fn print_peak(words: &[String]) -> Result<()> {
    let time = Line(words.to_vec()).time()?;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    println!("{time} {}", usage.max_rss());
    Ok(())
}

/// The proportional share of memory in KiB of each process whose name is `name`.
pub fn shares(name: &str) -> Result<Vec<f64>> {
    let mut found = vec![];
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let path = entry.path();
        let is_it =
            std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name);
        if !is_it {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(path.join("smaps_rollup")) else {
            continue;
        };
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        found.extend(number.and_then(|number| number.parse::<f64>().ok()));
    }
    Ok(found)
}

/// The times of many rounds, in milliseconds.
#[derive(Clone, Default)]
pub struct Times {
    /// Those in which others let the processors be.
    pub still: Vec<f64>,
    all: Vec<f64>,
}

/// The rounds that others had a part in.
#[derive(Clone, serde::Serialize)]
pub struct Disturbed {
    /// How many.
    pub rounds: usize,
    /// The median of all rounds, these included.
    pub median_of_all: f64,
}

impl Times {
    /// One more, and whether it was let be.
    pub fn add(&mut self, (time, still): (f64, bool)) {
        self.all.push(time);
        self.still.extend(still.then_some(time));
    }

    /// Those in which nobody disturbed, if they are at least `rounds`; otherwise all.
    pub fn count(self, rounds: usize) -> (Figures, Disturbed) {
        let disturbed = Disturbed {
            rounds: self.all.len() - self.still.len(),
            median_of_all: Figures::of(self.all.clone()).median,
        };
        let enough = self.still.len() >= rounds;
        let counted = if enough { self.still } else { self.all };
        (Figures::of(counted), disturbed)
    }
}

/// What many rounds gave.
#[derive(Clone, serde::Serialize)]
pub struct Figures {
    /// Half of the rounds took longer.
    pub median: f64,
    /// The shortest.
    pub min: f64,
    /// One in ten took longer.
    pub p90: f64,
    /// All, sorted.
    pub all: Vec<f64>,
}

impl Figures {
    /// Of at least one value.
    pub fn of(mut all: Vec<f64>) -> Figures {
        all.sort_by(f64::total_cmp);
        let at = |part: f64| all[((all.len() - 1) as f64 * part).round() as usize];
        Figures {
            median: at(0.5),
            min: at(0.0),
            p90: at(0.9),
            all,
        }
    }
}
