//! What is expected of [`super`].

use super::*;
use oci_spec::runtime::{LinuxBuilder, LinuxDeviceBuilder, SpecBuilder};
use std::os::unix::fs::MetadataExt;

fn spec(path: &str) -> Spec {
    let device = LinuxDeviceBuilder::default()
        .path(path)
        .typ(LinuxDeviceType::C)
        .major(10i64)
        .minor(200i64)
        .file_mode(0o600u32)
        .uid(7u32)
        .build()
        .unwrap();
    let linux = LinuxBuilder::default()
        .devices(vec![device])
        .build()
        .unwrap();
    SpecBuilder::default().linux(linux).build().unwrap()
}

#[test]
fn the_default_devices_come_first_and_can_be_replaced() {
    let steps = plan(&spec("/dev/net/tun")).unwrap();
    let shown: Vec<String> = steps.iter().map(Step::to_string).collect();
    assert_eq!(shown.len(), 12);
    assert_eq!(
        shown[0],
        r#"mknodat(/dev, "null", S_IFCHR|0666, makedev(0x1, 0x3))"#
    );
    assert_eq!(shown[10], r#"symlinkat("pts/ptmx", /dev, "ptmx")"#);
    assert_eq!(
        shown[11],
        r#"mknodat(/dev, "net/tun", S_IFCHR|0600, makedev(0xa, 0xc8))"#
    );
    assert_eq!(
            steps[11].shell(),
            Shell::Bash(
                "mkdir -p \"$root\"/dev/net\nmknod -m 600 \"$root\"/dev/net/tun c 10 200\nchown 7:0 \"$root\"/dev/net/tun".into()
            )
        );
    let replaced = plan(&spec("/dev/null")).unwrap();
    assert_eq!(replaced.len(), 11);
    assert!(plan(&spec("/etc/shadow")).is_err());
    assert!(plan(&spec("/dev/../etc/x")).is_err());
    assert!(plan(&spec("/dev")).is_err());
}

#[test]
fn device_flags_are_read_as_docker_reads_them() {
    let read = |text: &str| {
        text.parse::<Mapping>().map(|m| {
            format!(
                "{} {} {}",
                m.host.display(),
                m.container.display(),
                m.access
            )
        })
    };
    assert_eq!(read("/dev/fuse").unwrap(), "/dev/fuse /dev/fuse rwm");
    assert_eq!(read("/dev/fuse:r").unwrap(), "/dev/fuse /dev/fuse r");
    assert_eq!(
        read("/dev/sda:/dev/xvdc").unwrap(),
        "/dev/sda /dev/xvdc rwm"
    );
    assert_eq!(
        read("/dev/sda:/dev/xvdc:rm").unwrap(),
        "/dev/sda /dev/xvdc rm"
    );
    assert_eq!(
        read("/dev/sda:/dev/xvdc:rx").unwrap_err().to_string(),
        "bad mode specified: rx"
    );
    assert_eq!(
        read("/a:/b:r:w").unwrap_err().to_string(),
        "invalid device specification: /a:/b:r:w"
    );
    assert!(read("").is_err());
    assert!(read("/dev/null:rr").is_err());
}

#[test]
fn host_devices_are_looked_up() {
    let mapping: Mapping = "/dev/null:/dev/nothing:r".parse().unwrap();
    let [(device, rule)] = &mapping.resolve().unwrap()[..] else {
        panic!()
    };
    assert_eq!(
        (device.path().as_path(), device.major(), device.minor()),
        (Path::new("/dev/nothing"), 1, 3)
    );
    assert_eq!(rule.to_string(), "c 1:3 r");
    let missing: Mapping = "/dev/rmac-no-such".parse().unwrap();
    assert_eq!(
        format!("{:#}", missing.resolve().unwrap_err()),
        "error gathering device information while adding custom device \"/dev/rmac-no-such\": no such file or directory"
    );
    assert!("/etc/passwd".parse::<Mapping>().unwrap().resolve().is_err());
}

#[test]
fn nodes_and_links_are_made_below_the_directory_whatever_the_umask() {
    let dir = std::env::temp_dir().join(format!("rmac-test-devices-{}", std::process::id()));
    fs_err::create_dir_all(&dir).unwrap();
    let dev = std::fs::File::open(&dir).unwrap();
    let steps = plan(&spec("/dev/net/tun")).unwrap();
    crate::sys::test_support::in_child(|| {
        nix::sys::stat::umask(Mode::from_bits_truncate(0o077));
        steps.iter().try_for_each(|step| step.take(dev.as_fd()))?;
        Ok(String::new())
    });
    let meta = fs_err::symlink_metadata(dir.join("null")).unwrap();
    assert_eq!(
        (meta.mode(), meta.rdev()),
        (libc::S_IFCHR | 0o666, makedev(1, 3))
    );
    let meta = fs_err::symlink_metadata(dir.join("net/tun")).unwrap();
    assert_eq!(
        (meta.mode(), meta.rdev(), meta.uid()),
        (libc::S_IFCHR | 0o600, makedev(10, 200), 7)
    );
    assert_eq!(
        fs_err::read_link(dir.join("stdin")).unwrap(),
        Path::new("/proc/self/fd/0")
    );
    std::os::unix::fs::symlink("/tmp", dir.join("away")).unwrap();
    let Step::Node {
        kind,
        major,
        minor,
        mode,
        owner,
        ..
    } = steps[0].clone()
    else {
        panic!()
    };
    let outside = Step::Node {
        path: "away/null".into(),
        kind,
        major,
        minor,
        mode,
        owner,
    };
    assert!(outside.take(dev.as_fd()).is_err(), "followed a link out");
    fs_err::remove_dir_all(&dir).unwrap();
}
