//! A pseudoterminal with somebody in front of it, for the tests: types, reads, resizes the window.
//!
//! setsid(1) with `--ctty` makes the terminal that of the command, as a terminal emulator does.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{Termios, tcgetattr};

/// A command with a terminal of its own.
pub struct Terminal {
    child: Child,
    keyboard: std::fs::File,
    /// Kept open, to look at its settings when the command has ended.
    side: std::os::fd::OwnedFd,
    screen: Arc<Mutex<String>>,
    before: Termios,
    /// How much of the screen has been read by [`Terminal::wait_for`].
    seen: usize,
}

impl Terminal {
    /// Starts `command` in a window of 24 rows and 80 columns.
    pub fn start(command: &Command) -> Terminal {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let mut setsid = Command::new("setsid");
        setsid
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => setsid.env(name, value),
                None => setsid.env_remove(name),
            };
        }
        let stdio = || pty.slave.try_clone().unwrap();
        let child = setsid
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let keyboard = std::fs::File::from(pty.master);
        let mut reader = keyboard.try_clone().unwrap();
        let writes_to = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                writes_to
                    .lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Terminal {
            child,
            keyboard,
            side: pty.slave,
            screen,
            before,
            seen: 0,
        }
    }

    /// Types `keys`.
    pub fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads on until `text` has come.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let begin = Instant::now();
        loop {
            let screen = self.screen.lock().unwrap().clone();
            if let Some(at) = screen[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            let patience = Duration::from_secs(10);
            assert!(
                begin.elapsed() < patience,
                "{text:?} did not come:\n{}",
                &screen[self.seen..]
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Changes the window's size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let device = nix::unistd::ttyname(self.side.as_fd()).unwrap();
        let device = device.to_str().unwrap();
        let stty = ["-F", device, "rows", &rows, "columns", &columns];
        super::run(Command::new("stty").args(stty)).ok();
    }

    /// Waits for the command's end, which must leave the terminal as it was; the answer is its exit
    /// status.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            let screen = self.screen.lock().unwrap().clone();
            assert!(
                begin.elapsed() < Duration::from_secs(15),
                "does not end:\n{screen}"
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        let after = tcgetattr(&self.side).unwrap();
        assert_eq!(after, self.before, "the terminal is not as it was");
        status.code().unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Ended already, as a rule.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
