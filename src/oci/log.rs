//! The engine's log file: errors that are told on the standard error output are written there, too.

use std::io::Write;
use std::path::PathBuf;

use super::cli::{Cli, LogFormat};

/// Where and how.
#[derive(Debug, Clone)]
pub struct Log {
    file: Option<PathBuf>,
    format: LogFormat,
}

impl Log {
    /// What the flags say.
    pub fn of(cli: &Cli) -> Log {
        Log {
            file: cli.log.clone(),
            format: cli.log_format,
        }
    }

    /// Writes an error.
    pub fn error(&self, text: &str) {
        self.line("error", text);
    }

    /// Writes a warning: the log file is the only place for those, since engines take any word on the
    /// standard error output for a failure.
    pub fn warn(&self, text: &str) {
        self.line("warning", text);
    }

    fn line(&self, level: &str, text: &str) {
        let Some(file) = &self.file else { return };
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let line = match self.format {
            LogFormat::Text => format!("time=\"{time}\" level={level} msg={text:?}\n"),
            LogFormat::Json => {
                let time = time.to_string();
                let line = serde_json::json!({ "level": level, "msg": text, "time": time });
                format!("{line}\n")
            }
        };
        let opened = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file);
        // Where even this fails the word on the standard error output has to do.
        let _ = opened.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}
