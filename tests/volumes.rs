//! Volumes: directories with a name that outlive their containers, and those of which nobody knows the name.

mod common;

use common::{Lab, Output};

fn run(lab: &Lab, flags: &[&str], script: &str) -> Output {
    let mut words = vec!["run", "--rm"];
    words.extend(flags);
    words.extend([lab.image(), "sh", "-c", script]);
    lab.rmac(&words)
}

fn volumes(lab: &Lab) -> Vec<String> {
    let names = lab.rmac(&["volume", "ls", "-q"]).ok();
    names.lines().map(str::to_owned).collect()
}

#[test]
fn a_named_volume_outlives_its_containers() {
    let lab = Lab::with_image();
    run(&lab, &["-v", "data:/data"], "echo kept > /data/file").ok();
    assert_eq!(
        run(
            &lab,
            &["-v", "data:/elsewhere:ro"],
            "cat /elsewhere/file; ! touch /elsewhere/x"
        )
        .ok(),
        "kept\n"
    );
    let mount = "type=volume,source=data,target=/srv";
    assert_eq!(
        run(&lab, &["--mount", mount], "cat /srv/file").ok(),
        "kept\n"
    );
    assert_eq!(
        lab.rmac(&["volume", "ls"]).ok(),
        "DRIVER    VOLUME NAME\nlocal     data\n"
    );
    lab.rmac(&[
        "run",
        "-d",
        "--name",
        "user",
        "-v",
        "data:/data",
        lab.image(),
        "sleep",
        "600",
    ])
    .ok();
    lab.rmac(&["volume", "rm", "data"])
        .says("remove data: volume is in use - [")
        .ended(1);
    let format = "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}}{{end}}";
    assert_eq!(
        lab.rmac(&["inspect", "-f", format, "user"]).ok(),
        "volume data /data\n"
    );
    lab.rmac(&["rm", "-f", "-v", "user"]).ok();
    assert_eq!(lab.rmac(&["volume", "rm", "data"]).ok(), "data\n");
    lab.rmac(&["volume", "rm", "data"])
        .says("get data: no such volume")
        .ended(1);
    lab.rmac(&["volume", "rm", "-f", "data"]).ok();
}

#[test]
fn an_empty_volume_begins_with_what_the_image_has() {
    let lab = Lab::with_image();
    let look = "cd /etc/apk && find . | sort | xargs stat -c '%n %u:%g %a %F'";
    let image = run(&lab, &[], look).ok();
    assert!(image.lines().count() > 2, "{image}");
    assert_eq!(run(&lab, &["-v", "apk:/etc/apk"], look).ok(), image);
    // Only the first time: what is gone stays gone, what was changed stays so.
    run(
        &lab,
        &["-v", "apk:/etc/apk"],
        "rm -r /etc/apk/keys; echo mine > /etc/apk/world",
    )
    .ok();
    let later = "test ! -e /etc/apk/keys && cat /etc/apk/world";
    assert_eq!(run(&lab, &["-v", "apk:/etc/apk"], later).ok(), "mine\n");
    assert_eq!(
        run(&lab, &["-v", "none:/etc/apk:nocopy"], "ls -A /etc/apk").ok(),
        ""
    );
    // A place where the image has nothing, and one that the image's link would lead away from.
    run(&lab, &["-v", "new:/not/there"], "touch /not/there/file").ok();
    assert_eq!(
        run(&lab, &["-v", "new:/not/there"], "ls /not/there").ok(),
        "file\n"
    );
}

#[test]
fn an_anonymous_volume_goes_with_its_container() {
    let lab = Lab::with_image();
    run(&lab, &["-v", "/data"], "echo x > /data/file").ok();
    let begin = std::time::Instant::now();
    while !volumes(&lab).is_empty() {
        assert!(
            begin.elapsed() < std::time::Duration::from_secs(5),
            "--rm has left a volume"
        );
    }
    for (flag, left) in [(None, 1), (Some("-v"), 1)] {
        lab.rmac(&["run", "--name", "owner", "-v", "/data", lab.image(), "true"])
            .ok();
        let words: Vec<&str> = ["rm", "owner"].into_iter().chain(flag).collect();
        lab.rmac(&words).ok();
        assert_eq!(volumes(&lab).len(), left, "{flag:?}");
    }
    // A name that was given, if only by `create`, is kept by a plain prune.
    assert_eq!(
        lab.rmac(&["volume", "create", "--label", "a=b", "named"])
            .ok(),
        "named\n"
    );
    let pruned = lab.rmac(&["volume", "prune", "-f"]).ok();
    assert!(
        pruned.starts_with("Deleted Volumes:\n") && pruned.contains("Total reclaimed space: 0B\n"),
        "{pruned}"
    );
    assert_eq!(volumes(&lab), ["named"]);
    let format = "{{.Name}} {{.Driver}} {{.Labels.a}} {{.Scope}}";
    assert_eq!(
        lab.rmac(&["volume", "inspect", "-f", format, "named"]).ok(),
        "named local b local\n"
    );
    lab.rmac(&["volume", "prune", "-a", "-f"])
        .says("named")
        .ended(0);
    lab.rmac(&["run", "-v", "named:/x", "--dry-run", lab.image(), "true"])
        .ok();
    assert_eq!(volumes(&lab), [""; 0], "a dry run has left a volume");
}

/// Copies a docker archive to one whose image is called `declared:1` and has `VOLUME /etc/apk`.
const DECLARE: &str = r#"python3 -c '
import hashlib, io, json, sys, tarfile
old = tarfile.open(sys.argv[1])
manifest = json.load(old.extractfile("manifest.json"))
config = json.load(old.extractfile(manifest[0]["Config"]))
config["config"]["Volumes"] = {"/etc/apk": {}}
text = json.dumps(config).encode()
layers = manifest[0]["Layers"]
name = hashlib.sha256(text).hexdigest() + ".json"
manifest = [{"Config": name, "RepoTags": ["declared:1"], "Layers": layers}]
with tarfile.open(sys.argv[2], "w") as new:
    for layer in layers:
        new.addfile(old.getmember(layer), old.extractfile(layer))
    for path, data in ((name, text), ("manifest.json", json.dumps(manifest).encode())):
        entry = tarfile.TarInfo(path)
        entry.size = len(data)
        new.addfile(entry, io.BytesIO(data))
'"#;

fn archive(lab: &Lab) -> String {
    let path = common::fixtures().join(format!("{}.tar", lab.image()));
    path.display().to_string()
}

#[test]
fn the_volumes_that_an_image_declares_are_made() {
    let lab = Lab::with_image();
    let script = format!(
        "{DECLARE} {} {}",
        archive(&lab),
        lab.scratch().join("declared.tar").display()
    );
    lab.sh(&script).ok();
    let made = lab.scratch().join("declared.tar");
    lab.rmac(&["load", "-q", "-i", made.to_str().unwrap()]).ok();
    let words = [
        "run",
        "--name",
        "declared",
        "declared:1",
        "sh",
        "-c",
        "grep -c ' /etc/apk ' /proc/self/mountinfo; ls /etc/apk",
    ];
    lab.rmac(&words).says("1\n").says("repositories").ended(0);
    assert_eq!(volumes(&lab).len(), 1);
    // A place that the user gives takes it.
    let words = ["run", "--rm", "-v", "mine:/etc/apk", "declared:1", "true"];
    lab.rmac(&words).ok();
    assert_eq!(volumes(&lab).len(), 2);
    lab.rmac(&["rm", "-v", "declared"]).ok();
    assert_eq!(volumes(&lab), ["mine"]);
}

#[test]
fn a_volume_is_shared_by_containers_with_other_numbers() {
    let lab = Lab::with_image();
    let auto = ["--userns", "auto", "-v", "shared:/shared"];
    run(
        &lab,
        &auto,
        "touch /shared/roots && touch /shared/other && chown 1000 /shared/other",
    )
    .ok();
    let look = "stat -c %u /shared/roots /shared/other";
    assert_eq!(run(&lab, &auto, look).ok(), "0\n1000\n");
    assert_eq!(run(&lab, &auto[2..], look).ok(), "0\n1000\n");
}

#[test]
fn a_name_that_cannot_be_is_refused_in_dockers_words() {
    let lab = Lab::with_image();
    for name in ["x", "-a", "a b", "a/b"] {
        let flag = format!("{name}:/x");
        run(&lab, &[&format!("-v={flag}")], "true")
            .says("includes invalid characters for a local volume name")
            .ended(125);
    }
    run(&lab, &["-v", "/tmp:/x:nocopy"], "true")
        .says("nocopy is for named volumes")
        .ended(125);
    lab.rmac(&["volume", "create", "-d", "nfs", "remote"])
        .says("the only driver is local")
        .ended(1);
    assert_eq!(volumes(&lab), [""; 0]);
}

#[test]
fn a_link_of_the_image_leads_the_copy_nowhere_out() {
    let lab = Lab::with_image();
    let secret = lab.scratch();
    std::fs::write(secret.join("secret"), "the host's").unwrap();
    // The first one begins at the root, which would be the host's; the other one climbs.
    let script = format!(
        "rmac run --rm {0} sh -c 'mkdir -p /t{1} && cp -a /bin /lib /t && ln -s {1} /t/named && \
         ln -s ../../../../..{1} /t/climbed && tar -c -C /t .' | rmac import - linked:1",
        lab.image(),
        secret.display()
    );
    lab.sh(&script).ok();
    // The place that each link names is inside the tree, and empty (CVE-2022-23648).
    for link in ["named", "climbed"] {
        let volume = format!("{link}:/{link}");
        let list = format!("ls -A /{link}");
        let said = lab.rmac(&[
            "run", "--rm", "-v", &volume, "linked:1", "/bin/sh", "-c", &list,
        ]);
        assert_eq!(said.ok(), "", "{link}");
        let data = lab.root().join("volumes").join(link).join("_data");
        assert_eq!(std::fs::read_dir(data).unwrap().count(), 0, "{link}");
    }
}

#[test]
fn a_container_takes_the_volumes_of_another_one() {
    let lab = Lab::with_image();
    let image = lab.image();
    let host = lab.scratch().join("host");
    std::fs::create_dir(&host).unwrap();
    let flags = format!("-v named:/named -v /unnamed -v {}:/host:ro", host.display());
    let fill = "echo 1 > /named/file; echo 2 > /unnamed/file";
    lab.sh(&format!(
        "rmac run --name data {flags} {image} sh -c '{fill}'"
    ))
    .ok();
    let with = |flags: &str, command: &str| {
        lab.sh(&format!("rmac run --rm {flags} {image} sh -c '{command}'"))
    };
    let said = with(
        "--volumes-from data",
        "cat /named/file /unnamed/file; touch /named/new; touch /host/new",
    );
    assert_eq!(said.stdout, "1\n2\n");
    said.says("Read-only file system").ended(1);
    with("--volumes-from data:ro", "touch /named/new")
        .says("Read-only file system")
        .ended(1);
    // What is asked for at the same place goes before.
    let said = with("--volumes-from data --tmpfs /named", "ls /named").ok();
    assert_eq!(said, "");
    lab.sh(&format!(
        "rmac run --name user --volumes-from data {image} true"
    ))
    .ok();
    lab.rmac(&["rm", "-v", "data"]).ok();
    // It is the other one's, too, so it stays.
    assert_eq!(volumes(&lab).len(), 2);
    lab.rmac(&["inspect", "-f", "{{.HostConfig.VolumesFrom}}", "user"])
        .says("[data]")
        .ok();
    lab.rmac(&["rm", "-v", "user"]).ok();
    assert_eq!(volumes(&lab), ["named"]);
    with("--volumes-from data:rx", "true")
        .says("invalid mode: rx")
        .ended(125);
}

#[test]
fn a_list_shows_what_its_filters_let_through() {
    let lab = Lab::with_image();
    let image = lab.image();
    lab.sh("rmac volume create --label team=a one; rmac volume create --label team=b two; rmac volume create other")
        .ok();
    lab.sh(&format!(
        "rmac create --name first -v one:/one {image} true"
    ))
    .ok();
    lab.sh(&format!(
        "rmac create --name second -v /tmp:/host {image} true"
    ))
    .ok();
    lab.sh(&format!("rmac run --name third {image} true")).ok();
    let list = |verb: &str, filters: &str| -> String {
        let said = lab.sh(&format!("rmac {verb} {filters}")).ok();
        said.lines().collect::<Vec<_>>().join(" ")
    };
    for (filters, shown) in [
        ("-f dangling=true", "other two"),
        ("-f dangling=false", "one"),
        ("-f name=o", "one other two"),
        ("-f name=^o", "one other"),
        ("-f name=one -f name=two", "one two"),
        ("-f label=team", "one two"),
        ("-f label=team=b", "two"),
        ("-f driver=local -f name=two", "two"),
        ("-f driver=nfs", ""),
    ] {
        assert_eq!(list("volume ls -q", filters), shown, "{filters}");
    }
    let names = "ps -a --format {{.Names}}";
    for (filters, shown) in [
        ("-f before=second", "first"),
        ("-f since=second", "third"),
        ("-f volume=one", "first"),
        ("-f volume=/host", "second"),
        ("-f volume=/tmp -f volume=/one", "second first"),
        ("-f status=created", "second first"),
        ("-f status=created -f status=exited", "third second first"),
        ("-f name=^/third$", "third"),
        ("-f name=ir", "third first"),
        ("-f exited=0", "third"),
        ("-f health=none -f name=first", "first"),
    ] {
        assert_eq!(list(names, filters), shown, "{filters}");
    }
    for (wrong, said) in [
        (
            "volume ls -f dangling=maybe",
            "invalid filter 'dangling=maybe'",
        ),
        ("volume ls -f colour=red", "invalid filter 'colour'"),
        (
            "ps -f status=ill",
            "invalid value for state (ill): must be one of created, running",
        ),
        ("ps -f exited=no", "invalid filter 'exited=no'"),
        ("ps -f before=nobody", "No such container: nobody"),
    ] {
        lab.sh(&format!("rmac {wrong}")).says(said).ended(1);
    }
}

#[test]
fn mounts_travel_as_the_volume_says() {
    let lab = Lab::with_image();
    let image = lab.image();
    let shared = lab.scratch().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let at = shared.display();
    // Each way: a mount of the host's that comes later, and one that a privileged container makes.
    let script = |propagation: &str| {
        format!(
            "mount --bind {at} {at} && mount --make-shared {at} && mkdir -p {at}/host {at}/own
             rmac run -d --name peer --privileged -v {at}:/data:{propagation} {image} sleep 600 > {at}.id
             mount -t tmpfs tmpfs {at}/host && touch {at}/host/file && rmac exec peer ls /data/host
             rmac exec peer sh -c 'mount -t tmpfs tmpfs /data/own && touch /data/own/mine' && ls {at}/own
             rmac rm -f peer > {at}.id; mountpoint -q {at}/own && umount {at}/own
             umount {at}/host && umount {at}"
        )
    };
    assert_eq!(lab.sh(&script("rprivate")).stdout, "");
    assert_eq!(lab.sh(&script("rslave")).stdout, "file\n");
    assert_eq!(lab.sh(&script("rshared")).stdout, "file\nmine\n");
    let private = |propagation: &str| {
        let volume = format!("{at}:/data:{propagation}");
        lab.sh(&format!(
            "mount --bind {at} {at} && mount --make-private {at}; rmac run --rm -v {volume} {image} true; code=$?; umount {at}; exit $code"
        ))
    };
    private("rshared")
        .says(&format!(
            "path {at} is mounted on {at} but it is not a shared mount"
        ))
        .ended(125);
    private("rslave")
        .says("but it is not a shared or slave mount")
        .ended(125);
    lab.no_leaks();
}

/// A volume that a container comes to use while it is being removed is put back; what a killed removal left is swept.
#[test]
fn a_volume_is_not_lost_to_who_removes_it_beside_a_run() {
    let lab = Lab::with_image();
    let image = lab.image();
    let volumes = lab.root().join("volumes");
    let script = format!(
        "for round in $(seq 10); do rmac volume create shared >/dev/null; \
           rmac run --rm -v shared:/data {image} sh -c 'touch /data/x && echo kept' >>out 2>>err & \
           sleep 0.0$((round % 5)); rmac volume rm shared >/dev/null 2>&1; wait; \
           rmac volume rm -f shared >/dev/null; \
         done; wc -l <out; cat err"
    );
    let said = lab
        .sh(&format!("cd {}; {script}", lab.scratch().display()))
        .ok();
    let mut lines = said.lines();
    let kept: usize = lines.next().unwrap().trim().parse().unwrap();
    let refused: Vec<&str> = lines.collect();
    assert_eq!(kept + refused.len(), 10, "{said}");
    assert!(
        refused.iter().all(|line| line.contains("no such volume")),
        "{said}"
    );
    std::fs::create_dir_all(volumes.join(".killed/_data")).unwrap();
    lab.sh("rmac volume create one && rmac volume rm one").ok();
    assert_eq!(std::fs::read_dir(&volumes).unwrap().count(), 0);
}
