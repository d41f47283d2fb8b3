//! `image inspect`: what is kept of an image.

use serde_json::{Value, json};

/// What is shown of the image.
pub(super) fn value(image: &rootfs_fetch::Image) -> Value {
    let config = image.config.config();
    json!({
        "Id": image.id.to_string(),
        "RepoTags": image.names,
        "RepoDigests": image.repo_digests,
        "Created": image.created.map(|time| time.to_string()),
        "Config": config,
        "Architecture": image.config.architecture().to_string(),
        "Os": image.config.os().to_string(),
        "Size": image.size,
        "RootFS": {"Type": "layers", "Layers": image.config.rootfs().diff_ids()},
    })
}
