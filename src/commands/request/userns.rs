//! `--userns`: whose user numbers the container's are.

use anyhow::{Context, Result, bail};
use oci_spec::runtime::LinuxIdMapping;

use crate::kernel::ids;
use crate::request::{NetworkMode, Request, Userns};

/// How many user numbers a container gets where nothing is said: as many as names have had since 16 bits.
const SIZE: u32 = 65_536;

/// Reads `host`, `auto` or `auto:size=N,uidmapping=INSIDE:OUTSIDE:SIZE,gidmapping=..`, podman's words.
pub fn userns(text: &str) -> Result<Userns> {
    let (kind, options) = text.split_once(':').unwrap_or((text, ""));
    match kind {
        "host" | "" if options.is_empty() => return Ok(Userns::Host),
        "auto" => (),
        "keep-id" | "nomap" => bail!(
            "--userns: {kind} is supported in rootless mode of podman only: use auto, or host"
        ),
        _ => bail!("--userns: invalid USER mode: {text:?}: use auto, auto:size=N, or host"),
    }
    let (mut size, mut uids, mut gids) = (SIZE, vec![], vec![]);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", number)) => {
                size = number
                    .parse()
                    .ok()
                    .filter(|size| *size > 0)
                    .with_context(|| format!("--userns: invalid size: {number:?}"))?;
            }
            Some(("uidmapping", text)) => uids.push(mapping(text)?),
            Some(("gidmapping", text)) => gids.push(mapping(text)?),
            _ => bail!(
                "--userns: unknown option specified: {option:?}; known are size, uidmapping and gidmapping"
            ),
        }
    }
    Ok(Userns::Auto { size, uids, gids })
}

/// `INSIDE:OUTSIDE:SIZE`.
fn mapping(text: &str) -> Result<LinuxIdMapping> {
    let wrong = || format!("--userns: invalid mapping {text:?}: give INSIDE:OUTSIDE:SIZE");
    let numbers: Vec<u32> = text
        .split(':')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(wrong)?;
    let &[inside, outside, size] = numbers.as_slice() else {
        bail!(wrong());
    };
    if size == 0 {
        bail!(wrong());
    }
    let fits = inside.checked_add(size).and(outside.checked_add(size));
    fits.and_then(|_| ids::mapping(inside, outside, size))
        .with_context(wrong)
}

/// What cannot be had together, in Docker's words.
pub fn check(request: &Request) -> Result<()> {
    if !matches!(request.userns, Some(Userns::Auto { .. })) {
        if let Some(bind) = request
            .binds
            .iter()
            .find(|bind| bind.options.iter().any(|o| o == "idmap"))
        {
            bail!(
                "invalid volume specification: '{}': idmap needs --userns auto",
                bind.target.display()
            );
        }
        return Ok(());
    }
    if request.privileged {
        bail!(
            "privileged mode is incompatible with user namespaces. You must run the container in the host namespace when running privileged mode"
        );
    }
    match request.network {
        NetworkMode::Host => {
            bail!("cannot share the host's network namespace when user namespaces are enabled")
        }
        NetworkMode::Container(_) => bail!(
            "cannot share another container's network namespace when user namespaces are enabled: it belongs to that container's numbers"
        ),
        NetworkMode::None | NetworkMode::Networks(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_podmans() {
        assert_eq!(userns("host").unwrap(), Userns::Host);
        let Userns::Auto { size, uids, gids } =
            userns("auto:size=1000,uidmapping=0:5000:1").unwrap()
        else {
            panic!()
        };
        assert_eq!((size, uids.len(), gids.len()), (1000, 1, 0));
        assert_eq!(uids[0].host_id(), 5000);
        for wrong in [
            "keep-id",
            "private",
            "host:x",
            "auto:size=0",
            "auto:size=x",
            "auto:colour=red",
            "auto:uidmapping=1:2",
            "auto:uidmapping=0:4294967295:2",
        ] {
            assert!(userns(wrong).is_err(), "{wrong}");
        }
    }
}
