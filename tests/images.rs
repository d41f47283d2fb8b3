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
    for delay in 0..8 {
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
        "for round in $(seq 12); do \
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
    assert_eq!(whole + refused.len(), 12, "{said}");
    assert!(
        refused.iter().all(|line| line.contains("No such image: ")),
        "{said}"
    );
}
