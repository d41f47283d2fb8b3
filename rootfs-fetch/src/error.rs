//! Errors a caller branches on. Everything else is text in an `anyhow::Error`.

use thiserror::Error;

use crate::name::ImageName;
use crate::text::escape;

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
    #[error("conflict: {0}")]
    Conflict(String),
    /// The registry does not know the image, or does not show it to us.
    #[error("{0}")]
    NotInRegistry(String),
}

impl Error {
    /// [`Error::NoSuchImage`] for what somebody has typed; a name is told with its tag, as Docker does.
    pub(crate) fn no_such_image(text: &str) -> Error {
        let name = text.parse::<ImageName>();
        Error::NoSuchImage(name.map_or_else(|_| escape(text), |name| name.familiar()))
    }
}
