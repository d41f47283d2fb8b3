//! What is there in all: `system df`, `system prune`, `info`, and `port`, of which there is none.

mod common;

use common::Lab;

#[test]
fn disk_usage_counts_what_is_there_and_what_is_free() {
    let lab = Lab::with_image();
    let image = lab.image();
    let script = format!(
        "rmac tag {image} me/too; rmac volume create data >/dev/null; \
         rmac run --name wrote -v data:/data {image} sh -c 'printf 1234 >/file; printf 12345678 >/data/file'; \
         rmac run -d --name busy {image} sleep 1000; rmac volume create free >/dev/null; \
         printf 123 > {}/volumes/free/_data/x",
        lab.root().display()
    );
    lab.sh(&script).ok();
    let size = lab.rmac(&["images", "--format", "{{.Size}}", image]).ok();
    let size = size.trim();
    let rows = lab
        .rmac(&[
            "system",
            "df",
            "--format",
            "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}",
        ])
        .ok();
    assert_eq!(
        rows,
        format!(
            "Images|1|1|{size}|0B (0%)\nContainers|2|1|4B|4B (100%)\nLocal Volumes|2|1|11B|3B (27%)\n"
        )
    );
    let table = lab.rmac(&["system", "df"]).ok();
    let header: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    let detail = lab.rmac(&["system", "df", "-v"]).ok();
    for text in [
        "Images space usage:\n\nREPOSITORY",
        "\n\nContainers space usage:\n\nCONTAINER ID",
        "\n\nLocal Volumes space usage:\n\nVOLUME NAME   LINKS     SIZE\n",
        "data          1         8B\n",
        "free          0         3B\n",
    ] {
        assert!(detail.contains(text), "{text:?}\n{detail}");
    }
    let container = detail.lines().find(|line| line.ends_with("wrote")).unwrap();
    assert!(container.contains("   1               4B "), "{container}");
    let shown = detail.lines().filter(|line| line.contains(size));
    let shown: Vec<Vec<&str>> = shown.map(|line| line.split("   ").collect()).collect();
    assert_eq!(shown.len(), 2, "a line for each tag: {detail}");
    lab.rmac(&["system", "df", "-v", "--format", "json"])
        .ended(125);
    lab.rmac(&["rm", "-f", "busy"]).ok();
}

#[test]
fn system_prune_removes_all_that_nobody_uses() {
    let lab = Lab::with_image();
    let image = lab.image();
    let make = format!(
        "rmac network create -d macvlan --subnet 10.9.0.0/24 -o parent=eth0 used >/dev/null; \
         rmac network create -d macvlan --subnet 10.8.0.0/24 -o parent=eth0 free >/dev/null; \
         rmac create --network used --name idle -v /anonymous {image} true; \
         rmac run -d --name busy --network none {image} sleep 1000 >/dev/null; rmac tag {image} me/too"
    );
    let idle = lab.sh(&make).ok();
    lab.sh("echo n | rmac system prune")
        .says("WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  - all dangling images\n\nAre you sure you want to continue? [y/N] ")
        .ok();
    lab.sh("rmac system prune -f --filter until=24h").ok();
    lab.sh("rmac inspect idle && rmac network inspect free")
        .ok();
    lab.sh("rmac system prune -f --volumes --filter until=24h")
        .ended(1)
        .says("the \"until\" filter is not supported with \"--volumes\"");
    // The container goes first, and so nobody is on its network any more.
    let said = lab.sh("rmac system prune -a -f --volumes").ok();
    let begin = format!("Deleted Containers:\n{idle}\nDeleted Networks:\n");
    assert!(
        said.starts_with(&begin) && said.contains("\n\nDeleted Volumes:\n"),
        "{said}"
    );
    assert!(said.ends_with("\n\nTotal reclaimed space: 0B\n"), "{said}");
    assert_eq!(
        lab.sh("rmac network ls -q -f type=custom; rmac volume ls -q")
            .ok(),
        ""
    );
    // What runs has kept what it has.
    lab.sh("rmac exec busy true").ok();
    let tags = lab.rmac(&["images", "-q"]).ok();
    assert_eq!(tags.lines().count(), 2, "{tags}");
    lab.sh("rmac rm -f busy && rmac system prune -a -f")
        .says("untagged: me/too:latest\n")
        .ok();
    assert_eq!(lab.rmac(&["images", "-q"]).ok(), "");
}

#[test]
fn info_counts_and_names_what_is_there() {
    let lab = Lab::with_image();
    let image = lab.image();
    lab.sh(&format!(
        "for name in aa bb; do rmac run -d --name $name {image} sleep 1000; done; rmac pause bb; \
         rmac create {image} true"
    ))
    .ok();
    let told = |field: &str| {
        let template = format!("{{{{.{field}}}}}");
        let told = lab.rmac(&["info", "-f", &template]).ok();
        told.trim_end().to_owned()
    };
    for (field, value) in [
        ("Containers", "3"),
        ("ContainersRunning", "1"),
        ("ContainersPaused", "1"),
        ("ContainersStopped", "1"),
        ("Images", "1"),
        ("Driver", "overlay2"),
        ("DockerRootDir", lab.root().to_str().unwrap()),
        ("OSType", "linux"),
    ] {
        assert_eq!(told(field), value, "{field}");
    }
    for (field, command) in [
        ("KernelVersion", "uname -r"),
        ("Architecture", "uname -m"),
        ("NCPU", "nproc"),
        ("Name", "uname -n"),
        (
            "MemTotal",
            "kib=$(sed -n 's/^MemTotal: *//; s/ kB$//; 1p' /proc/meminfo); echo $((kib * 1024))",
        ),
    ] {
        assert_eq!(told(field), lab.sh(command).ok().trim(), "{field}");
    }
    let text = lab.rmac(&["system", "info"]).ok();
    assert!(
        text.starts_with("Server:\n Containers: 3\n  Running: 1\n  Paused: 1\n  Stopped: 1\n"),
        "{text}"
    );
    let json = lab.rmac(&["info", "--format", "json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["SecurityOptions"][0], "name=seccomp,profile=builtin");
    lab.sh("rmac unpause bb; rmac rm -f aa bb").ok();
}

#[test]
fn no_port_is_published() {
    let lab = Lab::with_image();
    let image = lab.image();
    lab.sh(&format!(
        "rmac network create -d macvlan --subnet 172.16.86.0/24 -o parent=eth0 lan && \
         rmac run -d --name web --network lan --ip 172.16.86.9 --expose 80 {image} sleep 1000"
    ))
    .ok();
    assert_eq!(lab.rmac(&["port", "web"]).ok(), "");
    lab.rmac(&["container", "port", "web", "80"])
        .ended(1)
        .says("Error: No public port '80/tcp' published for web (ports need no publishing: it is reached at 172.16.86.9)");
    lab.rmac(&["port", "web", "http"])
        .ended(1)
        .says("invalid port 'http'");
    lab.rmac(&["port", "nosuch"])
        .ended(1)
        .says("No such container: nosuch");
    lab.sh("rmac rm -f web && rmac network rm lan").ok();
}
