//! One test an attack of record; the table in `main.rs` has the defences.

use std::path::Path;

use serde_json::json;

use crate::common::bundle::{Bundle, RMAC_OCI};
use crate::common::{Lab, Output};
use crate::helpers::{Hostile, digest, link, program, put};

/// What the image's author does to the tree.
type Tamper<'a> = &'a dyn Fn(&Path);

/// The image's loader is the attacker's, where the runtime's own would be.
fn with_loader(tree: &Path) {
    let loader = program("loader");
    for path in ["lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1"] {
        put(tree, path, "");
        std::fs::copy(&loader, tree.join(path)).unwrap();
    }
    put(tree, "script", "#!/proc/self/exe\n");
    link(tree, "linked", "/proc/self/exe");
}

fn never_writable(face: &str, output: &Output) {
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(!said.contains("writable"), "{face}: {output:?}");
    if face == "rmac" {
        assert!(!said.contains("attacker's code"), "{output:?}");
    }
}

#[test]
fn nobody_runs_the_runtimes_own_file() {
    let lab = Lab::with_image();
    for program in ["/proc/self/exe", "/proc/1/exe", "/script", "/linked"] {
        let hostile = Hostile {
            image: &with_loader,
            command: &[program],
            ..Hostile::default()
        };
        for (face, output) in hostile.with_both(&lab) {
            never_writable(face, &output);
        }
    }
    // The same by exec.
    let id = lab.sleeper("c1", "none", "").ok();
    with_loader(Path::new(&format!("/proc/{}/root", pid_of(&lab, "c1"))));
    let bundle = Bundle::new(RMAC_OCI, "sleep 100");
    with_loader(&bundle.rootfs());
    bundle.create().ok();
    bundle.call(&["start", "$ID"]).ok();
    for program in ["/proc/self/exe", "/script", "/linked"] {
        never_writable("rmac", &lab.rmac(&["exec", id.trim(), program]));
        never_writable("rmac-oci", &bundle.call(&["exec", "$ID", program]));
    }
    lab.rmac(&["rm", "-f", "c1"]).ok();
}

fn pid_of(lab: &Lab, name: &str) -> String {
    let pid = lab.rmac(&["inspect", "-f", "{{.State.Pid}}", name]).ok();
    pid.trim().to_owned()
}

#[test]
fn what_is_no_program_is_told_as_ever() {
    // The program in memory hands the kernel's refusal back.
    let lab = Lab::with_image();
    for (text, code, said) in [
        ("#!/nosuch\n", 127, "interpreter or loader is missing"),
        ("rubbish\n", 126, "exec format error"),
    ] {
        let hostile = Hostile {
            image: &|tree| put(tree, "odd", text),
            command: &["/odd"],
            ..Hostile::default()
        };
        for (_, output) in hostile.with_both(&lab) {
            output.ended(code).says(said);
        }
    }
}

const WATCH: &str = "while :; do for p in /proc/[0-9]*; do
    case $(readlink $p/exe) in *rmac*) echo \"exe $p\";; esac
    for f in $p/fd/*; do
        case $(readlink $f) in */containers/*|*cgroup*|*record*|socket:*) echo \"fd $f\";; esac
    done
    grep -q RMAC_SECRET $p/environ && echo \"environ $p\"
    [ -e $p/root/$0 ] && echo \"root $p\"
done; done 2> /dev/null";

#[test]
fn who_execs_cannot_be_looked_into() {
    let lab = Lab::with_image();
    let mark = lab.scratch();
    let words = [
        "run",
        "-d",
        "--name",
        "c1",
        "--network",
        "none",
        lab.image(),
    ];
    let watch = ["sh", "-c", WATCH, mark.to_str().unwrap()];
    lab.rmac(&[&words[..], &watch].concat()).ok();
    let path = format!("PATH={}/bin", "/x:".repeat(20_000));
    for _ in 0..30 {
        let mut exec = lab.command(crate::common::RMAC);
        // A long search, when all rights but the container's have been given up: time to look.
        let exec = exec
            .args(["exec", "-e", &path, "c1", "true"])
            .env("RMAC_SECRET", "1");
        assert!(exec.status().unwrap().success());
    }
    // The socket by which the program in memory tells that it failed is there for a moment; it leads to one
    // that awaits nothing else.
    let said = lab.rmac(&["logs", "c1"]).ok();
    let said: Vec<_> = said
        .lines()
        .filter(|line| !line.ends_with("fd/3"))
        .collect();
    assert!(said.is_empty(), "{said:?}");
    lab.rmac(&["rm", "-f", "c1"]).ok();
}

#[test]
fn with_more_rights_the_file_is_read_only() {
    let lab = Lab::with_image();
    for words in ["--init", "--cap-add=SYS_PTRACE"] {
        lab.sleeper("c1", "none", words).ok();
        let pid = pid_of(&lab, "c1");
        if words == "--init" {
            let link = format!("/proc/{pid}/exe");
            let flags = nix::sys::statvfs::statvfs(link.as_str()).unwrap().flags();
            assert!(flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY));
        }
        // The monitor was started by what came in, so it has the same file.
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let parent = status
            .lines()
            .find_map(|l| l.strip_prefix("PPid:\t"))
            .unwrap();
        let link = format!("/proc/{parent}/exe");
        let flags = nix::sys::statvfs::statvfs(link.as_str()).unwrap().flags();
        assert!(
            flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY),
            "{words}"
        );
        lab.rmac(&["rm", "-f", "c1"]).ok();
    }
}

#[test]
fn a_link_is_no_place_for_the_kernels_files() {
    let lab = Lab::with_image();
    let outside = lab.scratch();
    let before = digest(&outside);
    for (name, target) in [("proc", &*outside), ("sys", &outside), ("dev", &outside)]
        .into_iter()
        .chain([
            ("proc", Path::new("/tmp")),
            ("sys", Path::new("/tmp")),
            ("dev", Path::new("/tmp")),
        ])
    {
        let hostile = Hostile {
            image: &|tree| link(tree, name, target),
            ..Hostile::default()
        };
        for (face, output) in hostile.with_both(&lab) {
            assert_ne!(output.code, 0, "{face} /{name}: {output:?}");
        }
    }
    // Below a link that leads out, all stays inside.
    let hostile = Hostile {
        image: &|tree| link(tree, "vol", &outside),
        words: "--tmpfs /vol/a/b -v /etc/hostname:/vol/c/d",
        spec: &|spec| {
            let more = json!([
                { "destination": "/vol/a/b", "type": "tmpfs", "source": "tmpfs" },
                { "destination": "/vol/c/d", "type": "bind", "source": "/etc/hostname", "options": ["bind"] },
            ]);
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.extend(more.as_array().unwrap().clone());
        },
        ..Hostile::default()
    };
    hostile.with_both(&lab);
    assert_eq!(digest(&outside), before);
}

#[test]
fn words_of_any_length_arrive() {
    // CVE-2021-43784: a length in 16 bits, and the rest of the message is read as another one.
    let lab = Lab::with_image();
    let long = "x".repeat(100_000);
    let hostile = Hostile {
        command: &[
            "sh",
            "-c",
            "echo ${#1}; grep ^Uid /proc/self/status",
            "sh",
            &long,
        ],
        ..Hostile::default()
    };
    for (_, output) in hostile.with_both(&lab) {
        assert!(output.ok().starts_with("100000\nUid:\t0"));
    }
    // And a failure that is longer than a datagram is cut, not split.
    let missing = format!("/{long}");
    let answer = lab.rmac(&["run", "--rm", "--network", "none", lab.image(), &missing]);
    assert!(answer.code == 126 || answer.code == 127, "{}", answer.code);
}

#[test]
fn no_descriptor_and_no_inheritable_right() {
    let lab = Lab::with_image();
    let script = "ls /proc/self/fd | tr '\\n' ' '; grep CapInh /proc/self/status";
    let expected = "0 1 2 3 CapInh:\t0000000000000000\n";
    let image = lab.image();
    lab.sleeper("c1", "none", "").ok();
    // The caller has a directory of the host's open, which it never meant to hand on.
    for verb in [
        format!("run --rm --network none {image}"),
        "exec c1".to_owned(),
    ] {
        let said = lab.sh(&format!("exec 9</; rmac {verb} sh -c \"{script}\""));
        assert_eq!(said.ok(), expected, "3 is that of ls itself");
    }
    lab.rmac(&["rm", "-f", "c1"]).ok();
}

#[test]
fn no_working_directory_is_a_descriptor() {
    let lab = Lab::with_image();
    lab.sleeper("c1", "none", "").ok();
    let image = lab.image();
    for number in 3..14 {
        let cwd = format!("/proc/self/fd/{number}");
        let words = ["run", "--rm", "--network", "none", "-w", &cwd, image, "ls"];
        assert_ne!(lab.rmac(&words).code, 0, "{cwd}");
        assert_ne!(lab.rmac(&["exec", "-w", &cwd, "c1", "ls"]).code, 0, "{cwd}");
    }
    lab.rmac(&["rm", "-f", "c1"]).ok();
}

#[test]
fn a_working_directory_is_made_inside() {
    let lab = Lab::with_image();
    let outside = lab.scratch();
    let before = digest(&outside);
    let hostile = Hostile {
        image: &|tree| link(tree, "w", &outside),
        words: "-w /w/made/here",
        spec: &|spec| spec["process"]["cwd"] = "/w/made/here".into(),
        command: &["pwd"],
    };
    for (face, output) in hostile.with_both(&lab) {
        assert_eq!(digest(&outside), before, "{face}: {output:?}");
    }
    // A link to one of the runtime's own descriptors: nothing is made below it.
    for number in 3..12 {
        let target = format!("/proc/self/fd/{number}");
        let hostile = Hostile {
            image: &|tree| link(tree, "w", &target),
            ..hostile
        };
        assert_ne!(hostile.with_rmac(&lab).code, 0, "{target}");
    }
}

#[test]
fn a_mask_is_the_null_device() {
    // A volume at /dev: what is called null there is a switch of the kernel's.
    let lab = Lab::with_image();
    let evil = lab.scratch().join("dev");
    link(&evil, "null", "/proc/sys/kernel/core_pattern");
    let bind =
        json!({ "destination": "/dev", "type": "bind", "source": evil, "options": ["bind"] });
    let hostile = Hostile {
        words: &format!("-v {}:/dev", evil.display()),
        spec: &|spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
            mounts.push(bind.clone());
        },
        command: &[
            "sh",
            "-c",
            "cat /proc/timer_list; stat -c %t,%T /proc/timer_list",
        ],
        ..Hostile::default()
    };
    for (_, output) in hostile.with_both(&lab) {
        assert_eq!(output.ok(), "1,3\n");
    }
}

#[test]
fn a_terminal_comes_from_devpts() {
    let lab = Lab::with_image();
    let evil = lab.scratch().join("pts");
    put(&evil, "ptmx", "");
    let volume = format!("{}:/dev/pts", evil.display());
    let image = lab.image();
    let said = "is not the pseudo-terminal multiplexer";
    let words = [
        "run",
        "--rm",
        "-t",
        "--network",
        "none",
        "-v",
        &volume,
        image,
        "tty",
    ];
    lab.rmac(&words).ended(125).says(said);
    lab.sleeper("c1", "none", &format!("-v {volume}")).ok();
    lab.rmac(&["exec", "-t", "c1", "tty"]).says(said);
    lab.rmac(&["rm", "-f", "c1"]).ok();
}

#[test]
fn settings_are_written_to_the_real_proc() {
    // A volume at /proc: each of its files might be bound to another of the kernel's.
    let bundle = Bundle::new(RMAC_OCI, "true");
    let fake = bundle.dir.join("fake");
    for file in [
        "1/oom_score_adj",
        "sys/net/ipv4/ip_forward",
        "self/oom_score_adj",
    ] {
        put(&fake, file, "");
    }
    let before = digest(&fake);
    let bind =
        json!({ "destination": "/proc", "type": "bind", "source": fake, "options": ["bind"] });
    bundle.change(|spec| {
        spec["mounts"].as_array_mut().unwrap().push(bind);
        spec["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    });
    bundle.call(&["run", "--bundle", ".", "$ID"]).ok();
    assert_eq!(digest(&fake), before, "the setting went to the volume");
    bundle.change(|spec| spec["process"]["oomScoreAdj"] = 500.into());
    let refused = bundle.call(&["run", "--bundle", ".", "$ID"]);
    assert!(
        refused
            .stderr
            .contains("/proc in the container is not the kernel's"),
        "{refused:?}"
    );
    assert_eq!(digest(&fake), before, "the score went to the volume");
}

#[test]
fn files_of_identity_stay_inside() {
    let lab = Lab::with_image();
    let outside = lab.scratch();
    put(&outside, "hosts", "the host's own\n");
    let before = digest(&outside);
    let names = ["hosts", "hostname", "resolv.conf"];
    let script = [
        "sh",
        "-c",
        "grep -c localhost /etc/hosts; cat /etc/hostname",
    ];
    let images: [(&str, Tamper<'_>); 5] = [
        ("links out", &|tree| {
            names
                .iter()
                .for_each(|n| link(tree, &format!("etc/{n}"), outside.join("hosts")));
        }),
        ("links to nothing", &|tree| {
            names
                .iter()
                .for_each(|n| link(tree, &format!("etc/{n}"), format!("../run/x/{n}")));
        }),
        ("a link for /etc", &|tree| link(tree, "etc", &outside)),
        ("links in a circle", &|tree| {
            link(tree, "etc/hosts", "/etc/hosts2");
            link(tree, "etc/hosts2", "hosts");
        }),
        ("FIFOs", &|tree| {
            for name in names {
                put(tree, &format!("etc/{name}"), "");
                std::fs::remove_file(tree.join("etc").join(name)).unwrap();
                let fifo = tree.join("etc").join(name);
                nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
            }
        }),
    ];
    for (what, image) in images {
        let hostile = Hostile {
            image,
            words: "-h inside",
            command: &script,
            ..Hostile::default()
        };
        let output = hostile.with_rmac(&lab);
        assert_eq!(digest(&outside), before, "{what}: {output:?}");
        match what {
            "links in a circle" | "a link for /etc" => assert_eq!(output.code, 125, "{output:?}"),
            "links out" => assert_eq!(output.code, 0, "{output:?}"),
            _ => assert_eq!(output.ok(), "2\ninside\n", "{what}"),
        }
    }
}

#[test]
fn a_strange_passwd_file_ends_nothing_but_the_start() {
    let lab = Lab::with_image();
    let begin = std::time::Instant::now();
    let secret = lab.scratch().join("passwd");
    std::fs::write(&secret, "mallory:x:0:0::/:/bin/sh\n").unwrap();
    let replace = |tree: &Path| {
        put(tree, "etc/passwd", "");
        std::fs::remove_file(tree.join("etc/passwd")).unwrap();
        tree.join("etc/passwd")
    };
    let images: [(Tamper<'_>, &str); 4] = [
        (
            &|tree| nix::unistd::mkfifo(&replace(tree), nix::sys::stat::Mode::S_IRWXU).unwrap(),
            "is not a regular file",
        ),
        (
            &|tree| link(tree, "etc/passwd", "/dev/zero"),
            "is not a regular file",
        ),
        (
            &|tree| link(tree, "etc/passwd", &secret),
            "unable to find user mallory",
        ),
        (
            &|tree| {
                let file = std::fs::File::create(replace(tree)).unwrap();
                file.set_len(1 << 40).unwrap();
            },
            "is larger than 16 MiB",
        ),
    ];
    for (image, said) in images {
        let hostile = Hostile {
            image,
            words: "-u mallory",
            ..Hostile::default()
        };
        hostile.with_rmac(&lab).ended(125).says(said);
        // By number the file is a courtesy only.
        hostile.with_oci().ok();
    }
    assert!(begin.elapsed().as_secs() < 30);
}

#[test]
fn a_user_is_a_small_plain_number() {
    let lab = Lab::with_image();
    lab.sleeper("c1", "none", "").ok();
    for user in [
        "4294967296",
        "0x0",
        " 0",
        "+0",
        "-1",
        "2147483648",
        "0:4294967296",
        "root ",
    ] {
        let image = lab.image();
        let words = ["run", "--rm", "--network", "none", "-u", user, image, "id"];
        for answer in [
            lab.rmac(&words),
            lab.rmac(&["exec", "-u", user, "c1", "id"]),
        ] {
            assert!(
                answer.code != 0 && answer.stdout.is_empty(),
                "{user:?}: {answer:?}"
            );
        }
    }
    lab.rmac(&["rm", "-f", "c1"]).ok();
}

#[test]
fn nothing_of_rmacs_is_open_to_others() {
    let lab = Lab::with_image();
    lab.sleeper("c1", "host", "").ok();
    let sockets = lab.inside("c1", "cat /proc/net/unix").ok();
    let abstract_ones: Vec<_> = sockets.lines().filter(|line| line.contains(" @")).collect();
    assert!(
        !abstract_ones.iter().any(|line| line.contains("rmac")),
        "{abstract_ones:?}"
    );
    for directory in [lab.root(), lab.runroot()] {
        let nobody = format!(
            "setpriv --reuid 65534 --regid 65534 --clear-groups ls {}",
            directory.display()
        );
        let refused = lab.sh(&nobody);
        assert!(refused.stderr.contains("Permission denied"), "{refused:?}");
    }
    lab.rmac(&["rm", "-f", "c1"]).ok();
}

#[test]
fn the_images_environment_is_its_programs() {
    let lab = Lab::with_image();
    lab.sleeper(
        "c1",
        "none",
        "-e LD_PRELOAD=/evil.so -e LD_LIBRARY_PATH=/evil -e PATH=/evil:/bin",
    )
    .ok();
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid_of(&lab, "c1"))).unwrap();
    let monitor = status
        .lines()
        .find_map(|l| l.strip_prefix("PPid:\t"))
        .unwrap();
    for file in ["environ", "maps"] {
        let text = std::fs::read(format!("/proc/{monitor}/{file}")).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains("/evil"), "{file}");
    }
    lab.rmac(&["rm", "-f", "c1"]).ok();
}

#[test]
fn the_hosts_keyring_is_out_of_reach() {
    let lab = Lab::with_image();
    let worst = program("worst");
    let volume = format!("{}:/worst:ro", worst.display());
    let mut command = lab.command(worst.to_str().unwrap());
    // Even where no filter refuses to ask.
    let open = [
        "--security-opt",
        "seccomp=unconfined",
        "-v",
        &volume,
        lab.image(),
    ];
    let words = [
        "with-key",
        crate::common::RMAC,
        "run",
        "--rm",
        "--network",
        "none",
    ];
    command.args(words).args(open).args(["/worst", "/nosuch"]);
    let said = crate::common::run(&mut command).ok();
    let nokey = format!("request_key {}", nix::libc::ENOKEY);
    assert!(said.lines().any(|line| line == nokey), "{said}");
}

#[test]
fn the_engines_keyring_is_kept_where_it_was_asked_for() {
    let worst = program("worst");
    for (flag, errno) in [(None, nix::libc::ENOKEY), (Some("--no-new-keyring"), 0)] {
        let bundle = Bundle::new(RMAC_OCI, "/worst /nosuch; sleep 100");
        std::fs::copy(&worst, bundle.rootfs().join("worst")).unwrap();
        bundle.change(|spec| spec["root"]["readonly"] = false.into());
        // Both times the caller has the key.
        let with_key = |words: &[&str]| {
            let mut command = bundle.command(words);
            let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
            let mut outer = std::process::Command::new(&worst);
            outer.arg("with-key").arg(RMAC_OCI).args(&words);
            outer.current_dir(&bundle.dir);
            let output = std::fs::File::create(bundle.dir.join("output")).unwrap();
            command = outer;
            command.stdout(output.try_clone().unwrap()).stderr(output);
            let ended = command.status().unwrap();
            assert!(ended.success(), "{words:?}: {}", bundle.output());
        };
        let create: Vec<_> = ["create", "--bundle", ".", "$ID"]
            .into_iter()
            .chain(flag)
            .collect();
        with_key(&create);
        bundle.call(&["start", "$ID"]).ok();
        let told = format!("request_key {errno}\n");
        for _ in 0..500 {
            if bundle.output().contains("request_key") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(
            bundle.output().contains(&told),
            "{flag:?}: {}",
            bundle.output()
        );
        with_key(&["exec", "$ID", "/worst", "/nosuch"]);
        assert!(
            bundle.output().contains(&told),
            "exec, {flag:?}: {}",
            bundle.output()
        );
    }
}

#[test]
fn an_image_cannot_write_to_the_terminal_by_a_failure() {
    let lab = Lab::with_image();
    let hostile = Hostile {
        command: &["/\u{1b}]0;owned\u{7}\u{1b}[2J"],
        ..Hostile::default()
    };
    for (face, output) in hostile.with_both(&lab) {
        assert_ne!(output.code, 0, "{face}");
        assert!(output.stderr.contains("owned"), "{face}: {output:?}");
        let raw = output.stderr.contains(['\u{1b}', '\u{7}']);
        assert!(!raw, "{face}: {output:?}");
    }
}
