//! rootfs-fetch: container images, from a registry or a file to directories that can be mounted.
//!
//! An image is a configuration (environment, command, user) and a stack of layers (tar archives), all named by their
//! digests and listed in a manifest. Fetching one is three kinds of HTTP GET; the care is in not believing anything.
//!
//! Reading order: [`name`] what is wanted, [`platform`] for which machine, [`documents`] what an image consists of,
//! [`registry`] (with [`registries_conf`], [`auth`], [`login`], [`http`], [`download`]) how it is fetched, [`layer`] (with
//! [`root`]) how it is unpacked, [`store`] where it lies, [`pull`] how all this is put together, [`sources`] what
//! does not come from a registry, [`merged`] an image as one plain tree.
//!
//! Invariants: nothing unverified becomes an image; nothing an image says reaches outside the directory it is
//! unpacked into; memory does not grow with an image's size; when a call returns, its threads are gone.

pub mod auth;
pub mod credentials;
pub mod digest;
pub mod documents;
pub mod download;
pub mod endpoint;
pub mod error;
pub mod http;
mod install;
pub mod layer;
pub mod login;
pub mod merged;
pub mod name;
pub mod platform;
pub mod progress;
pub mod pull;
pub mod registries_conf;
pub mod registry;
pub mod root;
pub mod sources;
pub mod store;
pub mod text;

pub use digest::Digest;
pub use error::Error;
pub use http::Patience;
pub use layer::Limits;
pub use merged::{ImageSource, unpack_merged};
pub use name::ImageName;
pub use platform::Platform;
pub use progress::Progress;
pub use pull::{PullOptions, PullPolicy};
pub use sources::ImportOptions;
pub use store::{Force, Image, Pruned, Removed, Store, User, Users};
