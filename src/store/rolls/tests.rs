//! Rolls as whoever comes and goes sees them, and as those leave them that are killed.

use std::collections::BTreeSet;
use std::io::Write;

use super::*;

fn member(id: &str, address: &str) -> Member {
    Member {
        id: id.into(),
        networks: vec!["net".into(), "other".into()],
        addresses: vec![address.parse().unwrap()],
        names: vec![format!("name-{id}"), "www".into()],
    }
}

#[test]
fn who_enters_is_there_until_it_leaves() {
    let root = std::env::temp_dir().join(format!("rmac-rolls-{}", std::process::id()));
    let home = Home {
        runroot: root.join("run"),
        root: root.clone(),
    };
    let load = || Roll::load(&home, "net").unwrap();
    assert!(is_told(&home, "net"));
    enter(&home, "net", &member("a", "10.0.0.2")).unwrap();
    let first = load();
    assert!(!is_told(&home, "net"));
    note_told(&home, "net", first.stamp()).unwrap();
    assert!(is_told(&home, "net"));

    enter(&home, "net", &member("b", "fd00::3")).unwrap();
    assert_eq!(enter(&home, "net", &member("a", "10.0.0.9")).unwrap(), 2);
    let roll = load();
    let [a, b] = [0, 1].map(|at| roll.members().nth(at).unwrap());
    assert_eq!(
        (a.id, a.networks, a.names),
        ("a", "net,other", "name-a www")
    );
    assert_eq!(
        a.addresses().collect::<Vec<_>>(),
        [IpAddr::from([10, 0, 0, 9])]
    );
    assert_eq!((b.id, b.addresses), ("b", "fd00::3"));
    assert_eq!(roll.members().count(), 2);
    assert!(roll.stamp() != first.stamp() && !is_told(&home, "net"));
    // What changes nothing is no change; an id that begins as another one is another one.
    enter(&home, "net", &member("b", "fd00::3")).unwrap();
    leave(&home, "net", "").unwrap();
    leave(&home, "net", "bb").unwrap();
    assert_eq!(load(), roll);
    // Who comes and goes before anybody was told leaves nothing to tell, unless somebody has begun.
    note_told(&home, "net", roll.stamp()).unwrap();
    enter(&home, "net", &member("c", "10.0.0.4")).unwrap();
    assert!(!is_told(&home, "net"));
    leave(&home, "net", "c").unwrap();
    assert!(is_told(&home, "net"));
    note_telling(&home, "net");
    assert!(!is_told(&home, "net"));

    // One in the middle goes, and the rest is counted as if it had never been.
    enter(&home, "net", &member("c", "10.0.0.4")).unwrap();
    leave(&home, "net", "b").unwrap();
    let without = load();
    leave(&home, "net", "c").unwrap();
    leave(&home, "net", "a").unwrap();
    enter(&home, "net", &member("a", "10.0.0.9")).unwrap();
    enter(&home, "net", &member("c", "10.0.0.4")).unwrap();
    assert_eq!(load(), without);

    leave(&home, "net", "a").unwrap();
    leave(&home, "net", "c").unwrap();
    assert_eq!(load(), Roll::default());
    assert!(!path(&home, "net").exists() && !done_path(&home, "net").exists());
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn who_is_new_and_who_is_the_last_are_not_looked_for() {
    let root = std::env::temp_dir().join(format!("rmac-rolls-ends-{}", std::process::id()));
    let home = Home {
        runroot: root.join("run"),
        root: root.clone(),
    };
    let load = || Roll::load(&home, "net").unwrap();
    let numbers = 0..200;
    let one = |number: u8| member(&format!("id{number:03}"), &format!("10.0.0.{number}"));
    for number in numbers.clone() {
        // As good as a look through all of it: the same text, and about as many.
        let about = add(&home, "net", &one(number)).unwrap();
        assert!(about.abs_diff(usize::from(number) + 1) <= 1 + usize::from(number) / 10);
        enter(&home, "other", &one(number)).unwrap();
    }
    assert_eq!(load(), Roll::load(&home, "other").unwrap());
    // One that was there all the same is there once, with what is said last.
    let changed = member("id199", "10.0.1.199");
    add(&home, "net", &changed).unwrap();
    let addresses = |roll: &Roll| {
        let all = roll.members().filter(|entry| entry.id == "id199");
        all.map(|entry| entry.addresses.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(addresses(&load()), ["10.0.1.199"]);
    for number in numbers.rev() {
        leave(&home, "net", &format!("id{number:03}")).unwrap();
        leave(&home, "other", &format!("id{number:03}")).unwrap();
        assert_eq!(load(), Roll::load(&home, "other").unwrap());
        assert_eq!(load().members().count(), usize::from(number));
    }
    assert!(!path(&home, "net").exists());
    // Behind what somebody has left that was killed.
    add(&home, "net", &one(1)).unwrap();
    let file = File::options().append(true).open(path(&home, "net"));
    file.unwrap().write_all(b"b\tnet\t10.0.").unwrap();
    add(&home, "net", &one(2)).unwrap();
    let ids: Vec<String> = load().members().map(|entry| entry.id.to_owned()).collect();
    assert_eq!(ids, ["id001", "id002"]);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn what_others_have_left_half_done_is_mended() {
    let root = std::env::temp_dir().join(format!("rmac-rolls-torn-{}", std::process::id()));
    let home = Home {
        runroot: root.join("run"),
        root: root.clone(),
    };
    let names = || {
        let mut all = vec![];
        read(&home, "net", |entry| all.push(entry.id.to_owned())).unwrap();
        let roll = Roll::load(&home, "net").unwrap();
        assert!(roll.members().map(|entry| entry.id).eq(&all));
        all
    };
    assert!(names().is_empty());
    enter(&home, "net", &member("a", "10.0.0.2")).unwrap();
    let first = Roll::load(&home, "net").unwrap();
    // Killed within a line.
    let file = File::options().append(true).open(path(&home, "net"));
    file.unwrap().write_all(b"b\tnet\t10.0.").unwrap();
    assert_eq!(names(), ["a"]);
    assert_eq!(enter(&home, "net", &member("c", "10.0.0.4")).unwrap(), 2);
    assert_eq!(names(), ["a", "c"]);
    // Killed between the line and its stamp: the sweep's change shows.
    let both = Roll::load(&home, "net").unwrap();
    note_told(&home, "net", both.stamp()).unwrap();
    let file = File::options().append(true).open(path(&home, "net"));
    file.unwrap().write_all(b"d\tnet\t10.0.0.5\td\n").unwrap();
    leave(&home, "net", "d").unwrap();
    assert!(!is_told(&home, "net"));
    assert_eq!(names(), ["a", "c"]);
    // Another build's stamp, of another length.
    let text = std::fs::read_to_string(path(&home, "net")).unwrap();
    let lines = text.split_once('\n').unwrap().1;
    std::fs::write(path(&home, "net"), format!("12\n{lines}")).unwrap();
    assert_eq!(
        (names().len(), Roll::load(&home, "net").unwrap().stamp()),
        (2, 12)
    );
    leave(&home, "net", "c").unwrap();
    assert_eq!(Roll::load(&home, "net").unwrap(), first);
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn what_is_queued_is_taken_once() {
    let root = std::env::temp_dir().join(format!("rmac-queue-{}", std::process::id()));
    let home = Home {
        runroot: root.join("run"),
        root: root.clone(),
    };
    let set = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let held = lock_telling(&home).unwrap();
    assert!(try_lock_telling(&home).unwrap().is_none() && !is_queued(&home));
    queue(&home, &set(&["a", "b"])).unwrap();
    queue(&home, &set(&["b", "c"])).unwrap();
    assert!(is_queued(&home));
    assert_eq!(take_queue(&home).unwrap(), set(&["a", "b", "c"]));
    assert!(!is_queued(&home) && take_queue(&home).unwrap().is_empty());
    drop(held);
    assert!(try_lock_telling(&home).unwrap().is_some());
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_member_without_an_address_has_a_line_too() {
    let member = Member {
        addresses: vec![],
        ..member("a", "10.0.0.2")
    };
    let line = line(&member);
    let entry = entry(line.trim_end()).unwrap();
    assert_eq!((entry.addresses, entry.names), ("", "name-a www"));
}
