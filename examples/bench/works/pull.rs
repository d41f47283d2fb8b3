//! Pulling: the image itself, and one of 5 layers of 100 MB in 8,000 files each, from the lab's registry.

use std::io::Write;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};

use crate::fresh::{Fresh, Kind};
use crate::measure::{Line, peak};
use crate::peers::is_there;
use crate::{Bench, Contender, contender};

const REGISTRY: &str = "127.0.0.1:5000/library";

/// `pull` of the image from the local registry.
pub fn small(bench: &mut Bench) -> Result<()> {
    let image = bench.image.clone();
    compare(bench, "pull", &image, Kind::Ext4, 30)?;
    compare(bench, "pull, tmpfs", &image, Kind::Tmpfs, 30)?;
    judge(bench, "pull", 0.5);
    Ok(())
}

/// The large image.
pub fn large(bench: &mut Bench) -> Result<()> {
    compare(bench, "pull 5 x 100 MB", "layers", Kind::Ext4, 5)?;
    compare(bench, "pull 5 x 100 MB, tmpfs", "layers", Kind::Tmpfs, 5)?;
    judge(bench, "pull 5 x 100 MB", 0.6);
    let fresh = Fresh::new(&bench.dir)?;
    fresh.up(Kind::Ext4, "rmac").run()?;
    let words = format!("--root {}/rmac pull -q {REGISTRY}/layers", fresh.at);
    let measured = peak(&bench.rmac(&words));
    fresh.down().run()?;
    let memory = measured?.1 / 1024.0;
    bench
        .report
        .judge("pull 5 x 100 MB: rmac's peak RSS, MiB".into(), memory, 64.0);
    Ok(())
}

/// Against each peer, so that the quickest is among them.
fn judge(bench: &mut Bench, work: &str, limit: f64) {
    for peer in ["podman", "docker", "skopeo + umoci"] {
        bench.report.ratio((work, "rmac"), (work, peer), limit);
    }
}

/// Each contender pulls into an empty store on a file system of its own in each round.
fn compare(bench: &mut Bench, work: &str, image: &str, kind: Kind, rounds: usize) -> Result<()> {
    let name = format!("{REGISTRY}/{image}");
    let fresh = Rc::new(Fresh::new(&bench.dir)?);
    let at = &fresh.at;
    let mut calls = vec![(
        "rmac",
        format!("{} --root {at}/rmac pull -q {name}", bench.rmac),
    )];
    if let Some(podman) = &bench.peers.podman {
        let store = format!("{}/podman/root", bench.dir.display());
        let podman = podman.replace(&store, &format!("{at}/podman"));
        calls.push((
            "podman",
            format!("{podman} pull -q --tls-verify=false {name}"),
        ));
    }
    if bench.peers.docker.is_some() {
        let docker = format!("docker -H unix://{at}/docker/socket");
        calls.push(("docker", format!("{docker} pull -q {name}")));
    }
    if is_there("skopeo") && is_there("umoci") {
        let script = bench.dir.join("skopeo.sh");
        let text = format!(
            "set -e\nskopeo copy -q --insecure-policy --src-tls-verify=false docker://{name} oci:{at}/oci:it\n\
             umoci unpack --image {at}/oci:it {at}/bundle >/dev/null 2>&1\n"
        );
        std::fs::write(&script, text)?;
        calls.push(("skopeo + umoci", format!("sh {}", script.display())));
    }
    let all: Vec<Contender> = calls
        .into_iter()
        .map(|(who, call)| {
            let (before, after) = (fresh.clone(), fresh.clone());
            contender(who, move |_| Line::of(&call))
                .before(move |_| before.up(kind, who))
                .after(move |_| after.down())
        })
        .collect();
    let outcome = bench.compare(work, bench.rounds.min(rounds), &all);
    fresh.down().run()?;
    outcome
}

/// Writes an OCI layout with the large image into `dir`: 5 layers of 8,000 files of 12.5 kB each,
/// whose content is half noise and half text, as in a real image.
pub fn make_layers(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut state = 1u64;
    for layer in 0..5 {
        let file = std::fs::File::create(dir.join(format!("layer-{layer}.tar")))?;
        let mut out = std::io::BufWriter::with_capacity(1 << 20, file);
        let root = format!("data-{layer}");
        for number in 0..8000 {
            if number % 100 == 0 {
                entry(&mut out, &format!("{root}/{}/", number / 100), b'5', &[])?;
            }
            let mut content = Vec::with_capacity(12_500);
            while content.len() < 12_500 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                content.extend(state.to_le_bytes());
                content.extend(b"the same");
            }
            content.truncate(12_500);
            entry(
                &mut out,
                &format!("{root}/{}/file-{number}", number / 100),
                b'0',
                &content,
            )?;
        }
        out.write_all(&[0; 1024])?;
        out.into_inner().context("write the layer")?;
    }
    Ok(())
}

/// One entry of a tar archive (ustar).
fn entry(out: &mut impl Write, name: &str, kind: u8, content: &[u8]) -> Result<()> {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    let mode = if kind == b'5' {
        "0000755\0"
    } else {
        "0000644\0"
    };
    for (at, text) in [
        (100, mode.to_owned()),
        (108, "0000000\0".to_owned()),
        (116, "0000000\0".to_owned()),
        (124, format!("{:011o}\0", content.len())),
        (136, format!("{:011o}\0", 1_700_000_000)),
        (148, "        ".to_owned()),
        (257, "ustar\0".to_owned()),
        (263, "00".to_owned()),
    ] {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.write_all(&header)?;
    out.write_all(content)?;
    out.write_all(&[0; 512][..(512 - content.len() % 512) % 512])?;
    Ok(())
}
