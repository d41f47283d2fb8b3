//! A container with CAP_SYS_PTRACE takes hold of whatever comes into its pid namespace: `tests/helpers/tracer.rs`.

use crate::common::bundle::{Bundle, RMAC_OCI};
use crate::common::{Lab, RMAC, run};
use crate::helpers::program;

/// What the tracer told of `count` programs that were sent in; it had hold of at least one of them.
fn found(said: &str) -> Vec<&str> {
    let held = said
        .lines()
        .filter(|line| line.starts_with("held "))
        .count();
    println!("{held} held");
    assert!(held > 0, "nobody was held: {said}");
    let usual = |line: &&str| !line.starts_with("held ") && *line != "ready";
    said.lines().filter(usual).collect()
}

/// A container `c1` that runs the tracer, started by a caller with a secret in the environment.
fn traced(lab: &Lab, words: &str) {
    let mut command = lab.command(RMAC);
    command.args(["run", "-d", "--name", "c1", "--network", "none"]);
    command.args(["--cap-add", "SYS_PTRACE", "-v"]);
    command.arg(format!("{}:/tracer:ro", program("tracer").display()));
    command.args(words.split_whitespace());
    command.args([lab.image(), "/tracer"]).arg(lab.scratch());
    run(command.env("RMAC_SECRET", "1")).ok();
}

/// What comes in: it stays for a moment, so that a tracer that is kept waiting for a processor has hold of one.
const GUEST: [&str; 3] = ["sh", "-c", "usleep 20000"];

/// One more program in there, started by the same caller.
fn send_in(lab: &Lab, words: &[&str]) {
    let mut exec = lab.command(RMAC);
    exec.arg("exec").args(words).arg("c1").args(GUEST);
    run(exec.env("RMAC_SECRET", "1")).ok();
}

#[test]
fn who_execs_has_nothing_of_the_hosts() {
    let lab = Lab::with_image();
    traced(&lab, "");
    for words in [&[][..], &["-t"], &["-u", "1000"]] {
        for _ in 0..20 {
            send_in(&lab, words);
        }
    }
    let said = lab.rmac(&["logs", "c1"]).ok();
    lab.rmac(&["rm", "-f", "c1"]).ok();
    let found = found(&said);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn nor_with_the_other_face() {
    let bundle = Bundle::new(RMAC_OCI, "");
    std::fs::copy(program("tracer"), bundle.rootfs().join("tracer")).unwrap();
    let mark = bundle.dir.to_str().unwrap().to_owned();
    bundle.change(|spec| {
        spec["process"]["args"] = vec!["/tracer", &mark].into();
        for set in ["bounding", "permitted", "effective"] {
            let set = &mut spec["process"]["capabilities"][set];
            set.as_array_mut().unwrap().push("CAP_SYS_PTRACE".into());
        }
    });
    bundle.create().ok();
    bundle.call(&["start", "$ID"]).ok();
    for _ in 0..20 {
        let mut exec = bundle.command(&["exec", "$ID", "sh", "-c", "usleep 20000"]);
        run(exec.env("RMAC_SECRET", "1")).ok();
    }
    let said = bundle.output();
    let found = found(&said);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn the_small_init_has_nothing_of_the_callers() {
    let lab = Lab::with_image();
    traced(&lab, "--init");
    let mut said = String::new();
    for _ in 0..500 {
        said = lab.rmac(&["logs", "c1"]).ok();
        if said.contains("ready") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    lab.rmac(&["rm", "-f", "c1"]).ok();
    // Process 1 is rmac, from a mount that cannot be written; it hears of signals by a descriptor.
    let found: Vec<_> = found(&said)
        .into_iter()
        .filter(|line| *line != "exe 1" && *line != "fd 1 3 anon_inode:[signalfd]")
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_user_namespace_shuts_it_out() {
    let lab = Lab::with_image();
    traced(&lab, "--userns auto");
    for _ in 0..20 {
        // What is the container's own by then, it may hold.
        send_in(&lab, &[]);
    }
    let said = lab.rmac(&["logs", "c1"]).ok();
    lab.rmac(&["rm", "-f", "c1"]).ok();
    let found = found(&said);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn who_is_born_last_lacks_nothing() {
    let lab = Lab::with_image();
    lab.sleeper("c1", "none", "--cap-add SYS_PTRACE").ok();
    // Leader of a session of its own, in the foreground of its terminal where it has one.
    let script = "set -- $(cat /proc/$$/stat); [ $1 = $5 ] && [ $1 = $6 ] && echo leader; \
                  [ $8 = $1 ] && echo foreground; tty; exit 7";
    lab.rmac(&["exec", "c1", "sh", "-c", script])
        .ended(7)
        .says("leader");
    let said = lab.rmac(&["exec", "-t", "c1", "sh", "-c", script]);
    assert_eq!(said.code, 7, "{said:?}");
    let lines: Vec<_> = said.stdout.lines().map(str::trim).collect();
    assert_eq!(lines[..2], ["leader", "foreground"], "{lines:?}");
    assert!(lines[2].starts_with("/dev/pts/"), "{lines:?}");
    assert_eq!(lab.sh("echo in | rmac exec -i c1 cat").ok(), "in\n");
    lab.rmac(&["exec", "c1", "/nosuch"]).ended(127);
    lab.inside(
        "c1",
        "printf '#!/nosuch\\n' > /bad; echo x > /odd; chmod +x /bad /odd",
    )
    .ok();
    lab.rmac(&["exec", "c1", "/bad"])
        .ended(127)
        .says("interpreter or loader is missing");
    lab.rmac(&["exec", "c1", "/odd"])
        .ended(126)
        .says("exec format error");
    lab.rmac(&["rm", "-f", "c1"]).ok();
    // Room for one process more is too little; on cgroup v2 there is not even that.
    lab.sleeper("c2", "none", "--cap-add SYS_PTRACE --pids-limit 1")
        .ok();
    lab.rmac(&["exec", "c2", "true"])
        .ended(126)
        .says("needs room for ");
    lab.rmac(&["rm", "-f", "c2"]).ok();
}

#[test]
fn the_other_face_hands_on_what_was_asked_for() {
    let bundle = Bundle::new(RMAC_OCI, "sleep 100");
    bundle.change(|spec| {
        let set = &mut spec["process"]["capabilities"]["bounding"];
        set.as_array_mut().unwrap().push("CAP_SYS_PTRACE".into());
    });
    bundle.create().ok();
    bundle.call(&["start", "$ID"]).ok();
    let runtime = format!("{RMAC_OCI} --root {}/state", bundle.dir.display());
    let said = run(std::process::Command::new("bash").args([
        "-c",
        &format!(
            "exec 3<<<three 4<<<four; {runtime} exec --preserve-fds 2 --pid-file {}/pid {} \
             sh -c 'cat <&3; cat <&4; ls /proc/self/fd | wc -l; exit 3'; echo $?",
            bundle.dir.display(),
            bundle.id
        ),
    ]));
    // 0 to 4, and that of ls itself.
    assert_eq!(said.ok(), "three\nfour\n6\n3\n");
    assert!(bundle.dir.join("pid").exists());
}
