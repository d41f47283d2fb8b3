//! Terminals: what a person in front of `rmac run -it` sees, and what is left when they go.

mod common;

use common::lan::lab_with_network;
use common::terminal::Terminal;
use common::{Lab, RMAC};

fn start(lab: &Lab, arguments: &[&str]) -> Terminal {
    let mut command = lab.command(RMAC);
    Terminal::start(command.args(arguments))
}

#[test]
fn a_shell_in_a_container_feels_like_a_shell() {
    let lab = lab_with_network("my-macvlan-net");
    let run = [
        "run",
        "--rm",
        "-it",
        "--network",
        "my-macvlan-net",
        "--name",
        "me",
        lab.image(),
        "ash",
    ];
    let mut terminal = start(&lab, &run);
    terminal.wait_for("/ # ");
    terminal.type_in("stty size\n");
    terminal.wait_for("24 80");
    terminal.resize(50, 132);
    terminal.type_in("stty size\n");
    terminal.wait_for("50 132");

    // ctrl-p alone is handed on: here it recalls the last command.
    terminal.type_in("\x10\n");
    terminal.wait_for("50 132");
    terminal.type_in("\x10\x11");
    assert_eq!(terminal.end(), 0, "exit status of a detached run");
    lab.rmac(&["ps"]).says("me").ok();

    let mut terminal = start(&lab, &["attach", "me"]);
    terminal.type_in("\n");
    terminal.wait_for("/ # ");
    terminal.resize(30, 90);
    terminal.type_in("stty size\n");
    terminal.wait_for("30 90");
    terminal.type_in("exit 7\n");
    assert_eq!(terminal.end(), 7);
    assert_eq!(lab.rmac(&["ps", "-a", "-q"]).ok(), "");
}

#[test]
fn ctrl_c_goes_to_the_program_and_the_exit_status_comes_back() {
    let lab = Lab::with_image();
    let mut terminal = start(&lab, &["run", "--rm", "-it", lab.image(), "ash"]);
    terminal.wait_for("/ # ");
    // The echo of what is typed does not have the word that is waited for.
    terminal.type_in("sh -c 'echo read\"\"y; exec sleep 100'\n");
    terminal.wait_for("ready");
    terminal.type_in("\x03");
    terminal.wait_for("/ # ");
    terminal.type_in("exit 7\n");
    assert_eq!(terminal.end(), 7);
}

#[test]
fn exec_has_a_terminal_too() {
    let lab = Lab::with_image();
    lab.rmac(&["run", "-d", "--name", "one", lab.image(), "sleep", "1000"])
        .ok();
    let mut terminal = start(&lab, &["exec", "-it", "one", "sh"]);
    terminal.wait_for("/ # ");
    terminal.type_in("tty; exit 3\n");
    terminal.wait_for("/dev/pts/");
    assert_eq!(terminal.end(), 3);
}

#[test]
fn without_a_terminal() {
    let lab = Lab::with_image();
    let run = |flags: &str, input: &str, script: &str| {
        let image = lab.image();
        lab.sh(&format!(
            "{input} | rmac run --rm {flags} {image} sh -c '{script}'"
        ))
    };
    run("-it", "true", "true")
        .ended(125)
        .says("the input device is not a TTY");
    // -i passes the input on and closes it at its end.
    assert_eq!(
        run("-i", "echo hello", "cat; echo end").ok(),
        "hello\nend\n"
    );
    // Without -i there is none.
    assert_eq!(run("", "echo hello", "cat; echo end").ok(), "end\n");
    // A megabyte each way, and the two outputs apart.
    let big = run("-i", "head -c 1000000 /dev/zero", "cat; echo done >&2").says("done");
    assert_eq!(
        (big.stdout.len(), big.stderr.as_str()),
        (1_000_000, "done\n")
    );
}
