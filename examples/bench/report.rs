//! What was measured, as a table, as JSON and as a picture.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::measure::{Disturbed, Figures};

/// All that was measured.
#[derive(Default, Serialize)]
pub struct Report {
    /// What was measured, in order.
    pub rows: Vec<Row>,
    /// What was to be shown.
    pub targets: Vec<Target>,
    /// What could not be measured, and why.
    pub skipped: Vec<String>,
}

/// One work of one contender.
#[derive(Clone, Serialize)]
pub struct Row {
    /// The work.
    pub work: String,
    /// Who did it.
    pub who: String,
    /// `ms`, `KiB` or `s`.
    pub unit: &'static str,
    /// The figures.
    pub figures: Figures,
    /// The rounds that are not in them, as other programs had the processors.
    pub disturbed: Option<Disturbed>,
    /// Processor time in milliseconds, where it was taken.
    pub cpu: Option<f64>,
}

/// What was to be shown.
#[derive(Serialize)]
pub struct Target {
    /// What is compared.
    pub what: String,
    /// The quotient, or the difference.
    pub value: f64,
    /// The most that it may be.
    pub limit: f64,
    /// Whether it is reached.
    pub reached: bool,
}

impl Report {
    /// Adds a row and prints it.
    pub fn add(&mut self, row: Row) {
        println!("{}", row.line());
        self.rows.push(row);
    }

    /// Says that something was not measured.
    pub fn skip(&mut self, what: &str) {
        println!("skipped: {what}");
        self.skipped.push(what.to_owned());
    }

    /// The median of a work of `who`.
    pub fn median(&self, work: &str, who: &str) -> Option<f64> {
        let row = self
            .rows
            .iter()
            .find(|row| row.work == work && row.who == who);
        Some(row?.figures.median)
    }

    /// Judges a quotient of medians; says so where one of them is missing.
    pub fn ratio(&mut self, (work, who): (&str, &str), (other, peer): (&str, &str), limit: f64) {
        let what = format!(
            "{work}: {who} / {peer}{}",
            if work == other {
                String::new()
            } else {
                format!(" {other}")
            }
        );
        match (self.median(work, who), self.median(other, peer)) {
            (Some(ours), Some(theirs)) => self.judge(what, ours / theirs, limit),
            _ => self.skip(&format!("target {what}: not measured")),
        }
    }

    /// Judges a value.
    pub fn judge(&mut self, what: String, value: f64, limit: f64) {
        let reached = value <= limit;
        let word = if reached { "reached" } else { "NOT REACHED" };
        println!("target {what}: {value:.2} (at most {limit:.2}): {word}");
        self.targets.push(Target {
            what,
            value,
            limit,
            reached,
        });
    }

    /// Writes `bench.json` and `bench.svg` into `dir`, and the table as `bench.md`.
    pub fn write(&self, dir: &Path) -> Result<()> {
        std::fs::write(dir.join("bench.json"), serde_json::to_string_pretty(self)?)?;
        std::fs::write(dir.join("bench.svg"), self.picture()?)?;
        std::fs::write(dir.join("bench.md"), self.markdown()?)?;
        Ok(())
    }

    fn markdown(&self) -> Result<String> {
        let mut text = String::from(
            "| work | who | median | min | p90 | unit | cpu ms | disturbed: rounds, median of all |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let Figures {
                median, min, p90, ..
            } = row.figures;
            let cpu = row.cpu.map_or(String::new(), |cpu| format!("{cpu:.1}"));
            writeln!(
                text,
                "| {} | {} | {median:.2} | {min:.2} | {p90:.2} | {} | {cpu} | {} |",
                row.work,
                row.who,
                row.unit,
                row.disturbed_text()
            )?;
        }
        text.push_str("\n| target | value | at most | |\n|---|---|---|---|\n");
        for Target {
            what,
            value,
            limit,
            reached,
        } in &self.targets
        {
            let word = if *reached {
                "reached"
            } else {
                "**not reached**"
            };
            writeln!(text, "| {what} | {value:.2} | {limit:.2} | {word} |")?;
        }
        for what in &self.skipped {
            writeln!(text, "\nskipped: {what}")?;
        }
        Ok(text)
    }

    /// A strip for each row: every round a tick, the median a bar; the scale is logarithmic.
    fn picture(&self) -> Result<String> {
        const LEFT: f64 = 330.0;
        const WIDTH: f64 = 700.0;
        let rows: Vec<&Row> = self.rows.iter().filter(|row| row.unit == "ms").collect();
        let values = || rows.iter().flat_map(|row| &row.figures.all).copied();
        let low = values().fold(f64::MAX, f64::min).max(0.01).log10().floor();
        let high = values().fold(0.1, f64::max).log10().ceil().max(low + 1.0);
        let x = |value: f64| LEFT + (value.max(0.01).log10() - low) / (high - low) * WIDTH;
        let height = 40 + rows.len() * 18;
        let mut svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='{}' height='{height}' font-family='sans-serif' font-size='11'>\n\
             <rect width='100%' height='100%' fill='white'/>\n",
            LEFT + WIDTH + 60.0
        );
        for power in low as i32..=high as i32 {
            let at = x(10f64.powi(power));
            writeln!(
                svg,
                "<line x1='{at:.1}' x2='{at:.1}' y1='20' y2='{height}' stroke='#ddd'/>"
            )?;
            writeln!(
                svg,
                "<text x='{at:.1}' y='14' text-anchor='middle'>{} ms</text>",
                10f64.powi(power)
            )?;
        }
        for (at, row) in rows.iter().enumerate() {
            let y = 30 + at * 18;
            let colour = if row.who.starts_with("rmac") {
                "#c22"
            } else if row.who == "floor" {
                "#282"
            } else {
                "#347"
            };
            writeln!(
                svg,
                "<text x='{}' y='{}' text-anchor='end'>{} ({})</text>",
                LEFT - 8.0,
                y + 9,
                row.work,
                row.who
            )?;
            for value in &row.figures.all {
                let at = x(*value);
                writeln!(
                    svg,
                    "<line x1='{at:.1}' x2='{at:.1}' y1='{y}' y2='{}' stroke='{colour}' opacity='0.25'/>",
                    y + 12
                )?;
            }
            let middle = x(row.figures.median);
            writeln!(
                svg,
                "<rect x='{:.1}' y='{y}' width='3' height='12' fill='{colour}'/>",
                middle - 1.5
            )?;
            writeln!(
                svg,
                "<text x='{:.1}' y='{}'>{:.1}</text>",
                middle + 6.0,
                y + 10,
                row.figures.median
            )?;
        }
        svg.push_str("</svg>\n");
        Ok(svg)
    }
}

impl Row {
    fn line(&self) -> String {
        let Figures {
            median, min, p90, ..
        } = self.figures;
        let cpu = self
            .cpu
            .map_or(String::new(), |cpu| format!(", cpu {cpu:.1} ms"));
        format!(
            "{:<34} {:<12} {median:>9.2} {} (min {min:.2}, p90 {p90:.2}{cpu}; disturbed {})",
            self.work,
            self.who,
            self.unit,
            self.disturbed_text()
        )
    }

    fn disturbed_text(&self) -> String {
        match &self.disturbed {
            Some(it) if it.rounds > 0 => format!("{}, {:.2}", it.rounds, it.median_of_all),
            _ => "0".to_owned(),
        }
    }
}
