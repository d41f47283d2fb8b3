//! Progress: what a person sees while an image is fetched, and what a script reads.
//!
//! Three ways of telling: nothing, lines in Docker's words, or a bar for each layer on a terminal. The caller says
//! where the lines go (`pull` to stdout, `run` to stderr, so that the program's own output stays clean).

use std::io::Write;
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Tells how far a pull is. Shared by the threads that fetch.
pub struct Progress {
    lines: Option<Mutex<Box<dyn Write + Send>>>,
    bars: Option<MultiProgress>,
}

/// Tells how far one layer is.
pub struct LayerProgress<'a> {
    progress: &'a Progress,
    short: String,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Says nothing.
    pub fn quiet() -> Progress {
        Progress {
            lines: None,
            bars: None,
        }
    }

    /// Writes lines to `out`.
    pub fn lines(out: impl Write + Send + 'static) -> Progress {
        Progress {
            lines: Some(Mutex::new(Box::new(out))),
            bars: None,
        }
    }

    /// Draws bars on the terminal at stderr, and writes the lines that stay to `out`.
    pub fn bars(out: impl Write + Send + 'static) -> Progress {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        Progress {
            bars: Some(bars),
            ..Progress::lines(out)
        }
    }

    /// Writes one line. A reader that has gone away does not stop a pull.
    pub fn line(&self, text: &str) {
        let Some(lines) = &self.lines else { return };
        let write = || {
            let mut out = lines.lock().unwrap_or_else(|e| e.into_inner());
            let _ = writeln!(out, "{text}").and_then(|()| out.flush());
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    /// Writes a line that something was left out.
    pub fn warning(&self, text: &str) {
        self.line(&format!("WARNING: {text}"));
    }

    /// Begins to tell about a layer, known by its short id, of `size` bytes if that is known.
    pub fn layer(&self, short: &str, size: Option<u64>) -> LayerProgress<'_> {
        let bar = self.bars.as_ref().map(|bars| {
            let template = "{prefix}: {msg} [{bar:30}] {bytes}/{total_bytes}";
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = bars
                .add(ProgressBar::new(size.unwrap_or(0)).with_style(style.progress_chars("=> ")));
            bar.with_prefix(short.to_owned()).with_message("Pulling")
        });
        LayerProgress {
            progress: self,
            short: short.to_owned(),
            bar,
        }
    }
}

impl LayerProgress<'_> {
    /// `n` more bytes have come.
    pub fn add(&self, n: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(n);
        }
    }

    /// Ends with a line such as "Pull complete".
    pub fn finish(self, how: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.progress.line(&format!("{}: {how}", self.short));
    }
}

impl Drop for LayerProgress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
