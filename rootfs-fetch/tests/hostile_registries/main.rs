//! Hostile registries, in a world of their own: each pull ends soon, with a reason, and only the store was touched.
//!
//! Each case has a server in this process, an empty store, and the bounds of `common/world.rs` on memory, disk and
//! time. `registry/` has the registries that mean well.
//!
//! | what a registry may do | the answer | where |
//! |---|---|---|
//! | 401 without a challenge, or again and again; a challenge that is none | refused | `logins::logins` |
//! | a realm that is a file, no URL, on another host, or on plain http for a registry on https | refused, or asked without the password | `logins::logins`, `logins::passwords_stay_at_home`, `auth.rs` |
//! | a token of 10 MiB, without end, with a line break, or none | refused | `logins::logins` |
//! | redirects in a circle, to `file:`, to nowhere | refused | `answers::redirects` |
//! | a redirect to another host, and back again | followed without the password | `logins::passwords_stay_at_home`, `registry/` |
//! | 403, 404, 429 for a day, 5xx for ever, 204, 206, 304 | refused, in Docker's words | `answers::statuses`, `registry/` |
//! | documents, blobs, errors or headers without end, or byte by byte | given up | `answers::slow_and_endless` |
//! | a connection that breaks at any point; nonsense instead of HTTP | refused | `answers::broken_connections`, `registry/` |
//! | a body that is too long or too short, the wrong type, compressed JSON | refused | `documents::documents`, `registry/` |
//! | plain http where https is asked; a certificate of another name, of long ago, or by nobody known | refused | `answers::tls` |
//! | a million layers, deep nesting, keys twice, a list and an image at once, schema 1, more than 4 MiB | refused | `documents::documents`, `documents.rs` |
//! | an index of 10,000 entries, one that leads to itself, one without our platform | chosen from, or refused | `documents::documents`, `registry/` |
//! | digests that are paths, of another kind, or wrong; sizes that lie; diff_ids that do not fit | refused | `documents::documents`, `registry/` |
//! | a configuration with a million labels, NULs, `Env` without `=`, users that are none | an image; what cannot run says so at the start | `configurations::configurations` |

mod answers;
#[path = "../common/mod.rs"]
mod common;
mod configurations;
mod documents;
mod logins;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::server::{Answer, Asked, Server};
use common::tls::{self, Shown};
use common::world::{STORE, World};
use common::{INDEX, MANIFEST, TestImage, simple_image};
use rootfs_fetch::{Digest, Image, Patience, Progress, PullOptions, Store};
use serde_json::{Value, json};

const QUICK: Patience = Patience {
    connect: Duration::from_secs(2),
    stall: Duration::from_millis(700),
    pause: Duration::from_millis(5),
    attempts: 2,
    total: Duration::from_secs(5),
};

fn pull(name: &str) -> anyhow::Result<Image> {
    let progress = Progress::quiet();
    let options = PullOptions {
        patience: QUICK,
        platform: Some("linux/amd64".parse()?),
        ..PullOptions::new(&progress)
    };
    Store::open(&Path::new(STORE).join("images"))?.ensure(name, &options)
}

/// A pull that must fail with a text that holds `part`, and leave no image and nothing half unpacked.
fn refused(world: &World, name: &str, part: &str, host: &str) {
    world.case(name, || {
        let error = pull(&format!("{host}/app:1")).expect_err(name);
        let text = format!("{error:#}");
        assert!(text.contains(part), "{name}: {text}");
        assert!(!text.contains(char::is_control), "{name}: {text:?}");
        let images = Path::new(STORE).join("images");
        assert!(Store::open(&images).unwrap().list().unwrap().is_empty());
        assert!(
            !images.join("tmp").exists(),
            "{name}: something half unpacked"
        );
    });
}

type Twist = Box<dyn Fn(&Asked, Answer) -> Answer + Send + Sync>;

fn twist(f: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static) -> Twist {
    Box::new(f)
}

/// The same where the path that is asked for has this part; all else is answered as a good registry does.
fn twist_at(part: &'static str, f: impl Fn(Answer) -> Answer + Send + Sync + 'static) -> Twist {
    twist(move |asked, answer| match asked.path.contains(part) {
        true => f(answer),
        false => answer,
    })
}

/// Each case: its name, what the error says, and what becomes of a good registry's answers.
fn all(test: &str, cases: impl FnOnce() -> Vec<(&'static str, &'static str, Twist)>) {
    World::run(test, |world| {
        for (name, part, twist) in cases() {
            let server = Server::registry(&[("1", simple_image())], twist);
            refused(world, name, part, &server.address);
        }
    });
}

/// The same place under a name that is another host: 127.0.0.1 becomes 127.0.0.2.
fn other_name(address: &str) -> String {
    address.replace("127.0.0.1", "0.0.0.0")
}
