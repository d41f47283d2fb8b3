//! Errors a caller branches on. Everything else is text in an `anyhow::Error`.

use thiserror::Error;

/// Why an image could not be had or removed; found in an `anyhow::Error` by `downcast_ref`.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// No image in the store has this name or id.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// The short id fits several images.
    #[error("ambiguous image id {0}: it fits {1} images, give more digits")]
    Ambiguous(String, usize),
    /// The image may not be removed (yet).
    #[error("conflict: unable to remove {image}: {why}")]
    Conflict {
        /// Name or id as the caller gave it.
        image: String,
        /// Cause and cure.
        why: String,
    },
    /// The registry does not know the image, or does not show it to us.
    #[error("{0}")]
    NotInRegistry(String),
}
