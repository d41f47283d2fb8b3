//! rootfs-fetch: container images, from a registry or a file to directories that can be mounted.

pub mod digest;
pub mod documents;
pub mod error;
pub mod layer;
pub mod name;
pub mod platform;
pub mod root;
pub mod text;
pub mod auth;
pub mod http;
pub mod registries_conf;
pub mod registry;
pub mod download;
pub mod progress;
