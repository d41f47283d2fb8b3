//! The verbs about images that are here already: tag, rmi, history, prune.

mod common;

use common::Lab;

/// `images` as `REPOSITORY:TAG` lines, in the alphabet's order.
fn names(lab: &Lab) -> Vec<String> {
    let text = lab
        .rmac(&["images", "--format", "{{.Repository}}:{{.Tag}}"])
        .ok();
    let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// The full id of an image.
fn id(lab: &Lab, name: &str) -> String {
    let id = lab.rmac(&["image", "inspect", "-f", "{{.Id}}", name]).ok();
    id.trim().to_owned()
}

#[test]
fn an_image_can_have_several_names() {
    let lab = Lab::with_image();
    let (image, own) = (lab.image(), format!("{}:latest", lab.image()));
    let full = id(&lab, image);
    let short = &full["sha256:".len()..][..12];
    assert_eq!(lab.rmac(&["tag", image, "me/app"]).ok(), "");
    lab.rmac(&["image", "tag", short, "localhost:5000/app:v1"])
        .ok();
    let mut all = vec!["localhost:5000/app:v1", "me/app:latest", &own];
    all.sort_unstable();
    assert_eq!(names(&lab), all);
    assert_eq!(id(&lab, "docker.io/me/app"), full);
    for (source, target, text) in [
        ("nosuch", "x", "No such image: nosuch:latest"),
        (
            image,
            "Upper",
            "error parsing reference: \"Upper\" is not a valid repository/tag: invalid reference format",
        ),
        (image, "a:b:c", "is not a valid repository/tag"),
        (
            image,
            "x@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "refusing to create a tag with a digest reference",
        ),
    ] {
        lab.rmac(&["tag", source, target]).ended(1).says(text);
    }
    lab.rmac(&["rmi", short]).ended(1).says(&format!(
        "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
    ));
    assert_eq!(
        lab.rmac(&["rmi", "me/app", "localhost:5000/app:v1"]).ok(),
        "Untagged: me/app:latest\nUntagged: localhost:5000/app:v1\n"
    );
    let gone = lab.rmac(&["rmi", image]).ok();
    assert!(
        gone.starts_with(&format!(
            "Untagged: {own}\nDeleted: {full}\nDeleted: sha256:"
        )),
        "{gone}"
    );
    assert!(names(&lab).is_empty());
}

#[test]
fn an_image_in_use_is_kept() {
    let lab = Lab::with_image();
    let image = lab.image();
    let full = id(&lab, image);
    let short = &full["sha256:".len()..][..12];
    let container = lab
        .rmac(&["create", "--name", "c1", image, "sleep", "1000"])
        .ok();
    let container = &container[..12];
    lab.rmac(&["rmi", image]).ended(1).says(&format!(
        "conflict: unable to remove repository reference \"{image}\" (must force) - container {container} is using its referenced image {short}"
    ));
    lab.rmac(&["rmi", short]).ended(1).says(&format!(
        "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {container}"
    ));
    lab.sh("rmac start c1").ok();
    lab.rmac(&["rmi", "-f", short]).ended(1).says(&format!(
        "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {container}"
    ));
    // By its name, only that goes; the container keeps its image, and what is tagged again has it again.
    assert_eq!(
        lab.rmac(&["rmi", "-f", image]).ok(),
        format!("Untagged: {image}:latest\n")
    );
    assert_eq!(names(&lab), ["<none>:<none>"]);
    lab.rmac(&["exec", "c1", "true"]).ok();
    lab.sh("rmac stop -t 0 c1 && rmac start c1").ok();
    lab.rmac(&["tag", short, image]).ok();
    lab.rmac(&["rm", "-f", "c1"]).ok();
    lab.rmac(&["rmi", short]).says("Deleted: ").ok();
    assert!(names(&lab).is_empty());
}

/// Whoever is killed while it removes an image leaves no half of it that anybody would take for the whole.
#[test]
fn a_killed_removal_leaves_a_whole_image_or_none() {
    let lab = Lab::with_image();
    let image = lab.image();
    let archive = common::fixtures().join(format!("{image}.tar"));
    let archive = archive.display();
    let count = format!("rmac run --rm {image} find / -xdev | wc -l");
    let files = lab.sh(&count).ok();
    for delay in 0..6 {
        // The shell's own word about the killed one is of no interest.
        lab.sh(&format!(
            "(rmac rmi {image} & sleep 0.00{delay}; kill -9 $!; wait $!) >/dev/null 2>&1; \
             rmac load -q -i {archive}"
        ))
        .ok();
        assert_eq!(lab.sh(&count).ok(), files, "killed after {delay} ms");
    }
    let store = lab.root().join("images");
    lab.rmac(&["rmi", image]).ok();
    assert!(!store.join("removing").exists());
}

/// A run and a removal side by side: the container has its image, or is refused; never a half of it.
#[test]
fn a_run_beside_a_removal_works_or_is_refused() {
    let lab = Lab::with_image();
    let image = lab.image();
    let archive = common::fixtures().join(format!("{image}.tar"));
    let archive = archive.display();
    let script = format!(
        "for round in $(seq 8); do \
           rmac run --rm --pull never {image} sh -c 'ls /bin/sh /etc/passwd /lib >/dev/null && echo whole' >>out 2>>err & \
           sleep 0.0$((round % 10)); rmac rmi {image} >/dev/null 2>&1; wait; \
           rmac load -q -i {archive} >/dev/null || exit 1; \
         done; wc -l <out; cat err"
    );
    let said = lab
        .sh(&format!("cd {}; {script}", lab.scratch().display()))
        .ok();
    let mut lines = said.lines();
    let whole: usize = lines.next().unwrap().trim().parse().unwrap();
    let refused: Vec<&str> = lines.collect();
    assert_eq!(whole + refused.len(), 8, "{said}");
    assert!(
        refused.iter().all(|line| line.contains("No such image: ")),
        "{said}"
    );
}

#[test]
fn the_history_tells_the_steps_of_an_image() {
    let lab = Lab::with_image();
    let image = lab.image();
    let full = id(&lab, image);
    let short = &full["sha256:".len()..][..12];
    let lines = |arguments: &[&str]| {
        let text = lab.rmac(&[&["history"], arguments, &[image]].concat()).ok();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let table = lines(&[]);
    assert_eq!(
        table[0].split_whitespace().collect::<Vec<_>>().join(" "),
        "IMAGE CREATED CREATED BY SIZE COMMENT"
    );
    assert!(table[1].starts_with(short), "{table:?}");
    let ids = lines(&["-q", "--no-trunc"]);
    assert_eq!(ids[0], full);
    assert!(ids[1..].iter().all(|id| id == "<missing>"), "{ids:?}");
    // What the steps take together is what the image takes.
    let bytes = lines(&["-H=false", "--format", "{{.Size}}"]);
    let bytes: u64 = bytes.iter().map(|size| size.parse::<u64>().unwrap()).sum();
    let size = lab
        .rmac(&["image", "inspect", "-f", "{{.Size}}", image])
        .ok();
    assert_eq!(bytes.to_string(), size.trim());
    let json = lab
        .rmac(&["image", "history", "--format", "json", image])
        .ok();
    assert!(
        json.starts_with("{\"Comment\":") && json.contains(&format!("\"ID\":\"{short}\"")),
        "{json}"
    );
    lab.rmac(&["history", "nosuch"])
        .ended(1)
        .says("No such image: nosuch:latest");
}

#[test]
fn prune_removes_images_and_containers_that_nobody_uses() {
    let lab = Lab::with_image();
    let image = lab.image();
    let archive = common::fixtures().join(format!("{image}.tar"));
    let import = format!("tar -c -C {} . | rmac import - ", lab.scratch().display());
    std::fs::write(lab.scratch().join("file"), "12345").unwrap();
    lab.sh(&format!("{import} other:1 && rmac tag {image} me/too"))
        .ok();
    // A name that moves leaves a nameless image, which is what goes without -a.
    std::fs::write(lab.scratch().join("file"), "1234567").unwrap();
    lab.sh(&format!("{import} other:1")).ok();
    assert!(names(&lab).contains(&"<none>:<none>".into()));
    for (filters, found) in [
        ("-f dangling=true", 1),
        ("-f dangling=false", 3),
        ("-f label=none", 0),
        (&format!("-f since={image}"), 2),
        ("-f before=other:1 -f dangling=true", 1),
        (&format!("-f before={image}"), 0),
    ] {
        let ids = lab.sh(&format!("rmac images -q {filters}")).ok();
        assert_eq!(ids.lines().count(), found, "{filters}");
    }
    for (filter, text) in [
        ("dangling=perhaps", "it is true or false"),
        ("before=nosuch", "No such image: nosuch:latest"),
        ("colour=red", "invalid filter 'colour'"),
    ] {
        lab.rmac(&["images", "-f", filter]).ended(1).says(text);
    }
    lab.sh("echo n | rmac image prune")
        .says("WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] ")
        .ok();
    let said = lab.sh("rmac image prune --force").ok();
    assert!(
        said.starts_with("Deleted Images:\ndeleted: sha256:")
            && said.ends_with("\n\nTotal reclaimed space: 5B\n"),
        "{said}"
    );
    assert_eq!(
        lab.sh("rmac image prune -f").ok(),
        "Total reclaimed space: 0B\n"
    );
    // A container keeps its image, with all its names.
    let made = lab
        .sh(&format!(
            "rmac create --name idle --label keep {image} true; rmac run -d --name busy {image} sleep 1000"
        ))
        .ok();
    let idle = made.lines().next().unwrap();
    lab.sh("echo y | rmac image prune -a")
        .says("WARNING! This will remove all images without at least one container associated to them.")
        .says("untagged: other:1\ndeleted: sha256:")
        .ok();
    let mut kept = vec![format!("{image}:latest"), "me/too:latest".into()];
    kept.sort();
    assert_eq!(names(&lab), kept);
    for filter in ["label!=keep", "until=1h"] {
        lab.sh(&format!("rmac container prune -f --filter {filter}"))
            .ok();
        lab.sh("rmac inspect idle").ok();
    }
    lab.sh("echo n | rmac container prune")
        .says("WARNING! This will remove all stopped containers.")
        .ok();
    assert_eq!(
        lab.sh("rmac container prune -f --filter label=keep").ok(),
        format!("Deleted Containers:\n{idle}\n\nTotal reclaimed space: 0B\n")
    );
    lab.sh("rmac exec busy true && rmac rm -f busy").ok();
    lab.sh(&format!(
        "rmac run --name wrote {image} sh -c 'printf 1234 > /file'"
    ))
    .ok();
    lab.rmac(&["container", "prune", "-f"])
        .says("Total reclaimed space: 4B")
        .ok();
    lab.rmac(&["image", "prune", "-a", "-f"]).ok();
    assert!(names(&lab).is_empty());
    let store = lab.root().join("images");
    for part in ["layers", "configs"] {
        let left = std::fs::read_dir(store.join(part)).unwrap();
        assert_eq!(left.count(), 0, "{part}");
    }
    // What was pruned can be had again.
    lab.rmac(&["load", "-q", "-i", archive.to_str().unwrap()])
        .ok();
    lab.rmac(&["run", "--rm", image, "true"]).ok();
}
