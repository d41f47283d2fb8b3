//! A reboot: the run root is gone, all processes with it, and numbers of processes are used again. What was
//! promised stays: the container, its address, its files.

mod common;

use common::lan::lab_with_network;

#[test]
fn a_container_that_ran_is_reported_as_ended_and_starts_with_its_address() {
    let lab = lab_with_network("lan");
    let write = "echo kept > /file; exec sleep 1000";
    lab.rmac(&[
        "run",
        "-d",
        "--network",
        "lan",
        "--ip",
        "172.16.86.77",
        "--name",
        "lasting",
        lab.image(),
        "sh",
        "-c",
        write,
    ])
    .ok();
    let id = lab.rmac(&["inspect", "-f", "{{.Id}}", "lasting"]).ok();
    let state = lab
        .root()
        .join("containers")
        .join(id.trim())
        .join("state.json");
    let running = std::fs::read_to_string(&state).unwrap();
    assert!(running.contains("\"running\""), "{running}");
    lab.rmac(&["stop", "-t", "0", "lasting"]).ok();

    // As after a power cut: the state says "running", with a process number that is another's by now.
    let own = format!("\"pid\": {}", std::process::id());
    let line = running
        .lines()
        .find(|line| line.contains("\"pid\""))
        .unwrap();
    std::fs::write(
        &state,
        running.replace(line.trim().trim_end_matches(','), &own),
    )
    .unwrap();
    let _ = std::fs::remove_dir_all(lab.runroot().join("containers"));

    assert_eq!(lab.rmac(&["ps", "-q"]).ok(), "");
    lab.rmac(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"])
        .says("lasting Exited (255)")
        .ok();
    lab.rmac(&["exec", "lasting", "true"])
        .says("is not running")
        .ended(1);
    lab.rmac(&["kill", "lasting"])
        .says("is not running")
        .ended(1);
    // The address is still its own.
    let taken = [
        "run",
        "--rm",
        "--network",
        "lan",
        "--ip",
        "172.16.86.77",
        lab.image(),
        "true",
    ];
    lab.rmac(&taken).says("Address already in use").ended(125);

    lab.rmac(&["start", "lasting"]).ok();
    assert_eq!(
        lab.rmac(&["exec", "lasting", "cat", "/file"]).ok(),
        "kept\n"
    );
    lab.rmac(&["exec", "lasting", "ip", "addr"])
        .says("172.16.86.77/24")
        .ok();
}
