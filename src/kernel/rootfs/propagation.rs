//! `rootfsPropagation`: how mounts travel between host and container.  mount_namespaces(7), "Shared subtrees"

use anyhow::{Result, bail};
use nix::mount::MsFlags;
use oci_spec::runtime::Spec;

/// How the copy of the host's mounts is cut off before anything is mounted: `rootfsPropagation` may ask
/// to go on hearing of the host's new mounts, never to tell the host of ours.
pub fn at_first(spec: &Spec) -> Result<MsFlags> {
    Ok(MsFlags::MS_REC
        | match propagation(spec) {
            None | Some("private" | "rprivate" | "unbindable" | "runbindable") => {
                MsFlags::MS_PRIVATE
            }
            Some("shared" | "rshared" | "slave" | "rslave") => MsFlags::MS_SLAVE,
            Some(other) => bail!("invalid rootfsPropagation {other:?}"),
        })
}

/// What the new root becomes after the pivot, where `rootfsPropagation` asks for more than private.
pub fn at_last(spec: &Spec) -> Option<MsFlags> {
    match propagation(spec)? {
        "shared" => Some(MsFlags::MS_SHARED),
        "rshared" => Some(MsFlags::MS_SHARED | MsFlags::MS_REC),
        "unbindable" => Some(MsFlags::MS_UNBINDABLE),
        "runbindable" => Some(MsFlags::MS_UNBINDABLE | MsFlags::MS_REC),
        _ => None,
    }
}

fn propagation(spec: &Spec) -> Option<&str> {
    let linux = spec.linux().as_ref()?;
    let word = linux.rootfs_propagation().as_deref();
    word.filter(|word| !word.is_empty())
}
