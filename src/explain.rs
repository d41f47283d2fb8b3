//! Explaining: the same steps that are taken, told as they happen (`--explain`) or written as a script
//! (`--dry-run`).

pub mod script;

use std::time::Duration;

use serde_json::json;

use crate::launch::Side;
use crate::step::Step;

/// How much is told of each step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// One line: the call.
    Brief,
    /// Also the reason, what breaks without it, and where to read on.
    #[default]
    Full,
    /// One JSON object a line.
    Json,
}

/// What is told of a step: its number, who took it, the call, how long it took.
pub fn tell(style: Style, number: usize, side: Side, step: &Step, time: Duration) -> String {
    let who = match side {
        Side::Host => "host",
        Side::Child => "container",
    };
    let lesson = step.why();
    let microseconds = time.as_nanos() as f64 / 1000.0;
    let line = || {
        format!(
            "{number:3}  {who:<9}  {:<12}  {step}  [{microseconds:.0} us]\n",
            step.concept()
        )
    };
    match style {
        Style::Brief => line(),
        Style::Full => format!(
            "{}     why:     {}\n     without: {}\n     read:    {}\n",
            line(),
            lesson.why,
            lesson.without,
            lesson.man
        ),
        Style::Json => {
            let object = json!({
                "step": number, "side": who, "concept": step.concept(), "call": step.to_string(),
                "microseconds": (microseconds * 10.0).round() / 10.0,
                "why": lesson.why, "without": lesson.without, "man": lesson.man,
            });
            format!("{object}\n")
        }
    }
}
