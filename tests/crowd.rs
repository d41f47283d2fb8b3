//! A machine with many processes: there the root is changed without pivot_root(2), which asks each of them. What the
//! container and the host see afterwards is the same.  (src/kernel/rootfs/change.rs)

mod common;

use std::process::{Child, Command, Stdio};

use common::Lab;

/// More than the machine may have for pivot_root(2) to be used.
const MANY: usize = 300;

/// Processes that do nothing until they are dropped.
struct Crowd(Vec<Child>);

impl Crowd {
    fn gather() -> Crowd {
        let sleeper = || {
            let mut sleep = Command::new("sleep");
            sleep.arg("600").stdin(Stdio::null()).stdout(Stdio::null());
            sleep.spawn().unwrap()
        };
        let crowd = Crowd((0..MANY).map(|_| sleeper()).collect());
        assert!(rmac::kernel::rootfs::exchange_is_better());
        crowd
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What of the mounts does not differ from container to container: where, how, of what type.
const MOUNTS: &str = "awk '{ print $5, $6, $(NF-2) }' /proc/self/mountinfo | sort; ls -a /..; pwd";

#[test]
fn a_container_sees_the_same_as_on_a_quiet_machine() {
    let lab = Lab::with_image();
    let image = lab.image();
    let flags: [&[&str]; 3] = [&[], &["--read-only"], &["--privileged", "-w", "/srv"]];
    let look = || {
        flags.map(|flags| {
            let run = [&["run", "--rm"], flags, &[image, "sh", "-c", MOUNTS]].concat();
            lab.rmac(&run).ok()
        })
    };
    let quiet = look();
    let crowd = Crowd::gather();
    assert_eq!(look(), quiet);
    // The container's first process is where its mount namespace begins, so whoever enters that finds the same.
    lab.rmac(&["run", "-d", "--name", "web", image, "sleep", "600"])
        .ok();
    lab.rmac(&[
        "exec",
        "web",
        "sh",
        "-c",
        "echo kept > /file; ls -a /.. > /seen",
    ])
    .ok();
    let tree = "rmac inspect -f '{{.State.Pid}}' web";
    let entered = lab.sh(&format!(
        "nsenter -t $({tree}) -m sh -c 'cat /file; ls -a / | diff - /seen | grep -c \"^[<>]\"'"
    ));
    assert_eq!(entered.stdout, "kept\n0\n", "{}", entered.stderr);
    let left = lab.sh(&format!("cat /proc/$({tree})/root/file")).ok();
    assert_eq!(left, "kept\n");
    lab.rmac(&["run", "--rm", "--read-only", image, "touch", "/file"])
        .says("Read-only file system")
        .ended(1);
    lab.rmac(&["rm", "-f", "web"]).ok();
    drop(crowd);
    lab.no_leaks();
}

#[test]
fn what_a_volume_shares_with_the_host_stays_on_the_host() {
    let lab = Lab::with_image();
    let image = lab.image();
    let crowd = Crowd::gather();
    let shared = lab.scratch().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let at = shared.display();
    for propagation in ["rprivate", "rslave", "rshared"] {
        let script = format!(
            "mount --bind {at} {at} && mount --make-shared {at} && mkdir -p {at}/below \
             && mount -t tmpfs tmpfs {at}/below && echo kept > {at}/below/file \
             && rmac run --rm -v {at}:/data:{propagation} {image} cat /data/below/file && cat {at}/below/file \
             && grep -c ' {at}/below ' /proc/self/mountinfo; umount {at}/below; umount {at}"
        );
        assert_eq!(lab.sh(&script).ok(), "kept\nkept\n1\n", "{propagation}");
    }
    drop(crowd);
    lab.no_leaks();
}

#[test]
fn nothing_of_the_host_is_in_reach() {
    let lab = Lab::with_image();
    let image = lab.image();
    std::fs::write(lab.scratch().join("secret"), "of the host").unwrap();
    let secret = lab.scratch().join("secret");
    let crowd = Crowd::gather();
    // chroot(2) into a directory below the working directory, and out again: the old way to leave a root.
    let escape = format!(
        "mkdir -p /jail/bin /jail/lib && cp /bin/busybox /jail/bin/ && cp /lib/ld-musl* /jail/lib/; \
         chroot /jail /bin/busybox sh -c 'cd ../../../../../../..; /bin/busybox ls -a ..' ; \
         cat {at} ../../../../../../..{at}; echo end",
        at = secret.display()
    );
    for flags in [&["--cap-add", "ALL"][..], &["--privileged"]] {
        let run = [&["run", "--rm"], flags, &[image, "sh", "-c", &escape]].concat();
        let output = lab.rmac(&run);
        assert!(output.stdout.ends_with("end\n"), "{}", output.stdout);
        assert!(!output.stdout.contains("of the host"), "{}", output.stdout);
        // One who may unmount anything cannot unmount the root.
        let run = [
            &["run", "--rm"],
            flags,
            &[image, "sh", "-c", "umount /; ls -d /etc"],
        ]
        .concat();
        assert_eq!(lab.rmac(&run).stdout, "/etc\n");
    }
    drop(crowd);
    lab.no_leaks();
}
