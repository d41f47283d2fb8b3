//! Pulling: the image itself, and one of 5 layers of 100 MB in 8,000 files each, from the lab's registry.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::measure::{Line, peak};
use crate::peers::is_there;
use crate::{Bench, Contender, contender};

const REGISTRY: &str = "127.0.0.1:5000/library";

/// `pull` of the image from the local registry.
pub fn small(bench: &mut Bench) -> Result<()> {
    let image = bench.image.clone();
    compare(bench, "pull", &image, 10)?;
    for peer in ["podman", "docker", "skopeo + umoci"] {
        bench.report.ratio(("pull", "rmac"), ("pull", peer), 0.5);
    }
    Ok(())
}

/// The large image.
pub fn large(bench: &mut Bench) -> Result<()> {
    compare(bench, "pull 5 x 100 MB", "layers", 3)?;
    for peer in ["podman", "docker", "skopeo + umoci"] {
        bench
            .report
            .ratio(("pull 5 x 100 MB", "rmac"), ("pull 5 x 100 MB", peer), 0.6);
    }
    let words = format!("pull -q {REGISTRY}/layers");
    let _ = bench.rmac(&format!("rmi {REGISTRY}/layers")).run();
    let (_, memory) = peak(&bench.rmac(&words))?;
    let memory = memory / 1024.0;
    bench
        .report
        .judge("pull 5 x 100 MB: rmac's peak RSS, MiB".into(), memory, 64.0);
    Ok(())
}

fn compare(bench: &mut Bench, work: &str, image: &str, rounds: usize) -> Result<()> {
    let name = format!("{REGISTRY}/{image}");
    let fixed = |text: String| move |_| Line::of(&text);
    let rmac = &bench.rmac;
    let mut all: Vec<Contender> = vec![
        contender("rmac", fixed(format!("{rmac} pull -q {name}")))
            .after(fixed(format!("{rmac} rmi {name}"))),
    ];
    if let Some(podman) = &bench.peers.podman {
        all.push(
            contender(
                "podman",
                fixed(format!("{podman} pull -q --tls-verify=false {name}")),
            )
            .after(fixed(format!("{podman} rmi -f {name}"))),
        );
    }
    if let Some(docker) = &bench.peers.docker {
        all.push(
            contender("docker", fixed(format!("{docker} pull -q {name}")))
                .after(fixed(format!("{docker} rmi -f {name}"))),
        );
    }
    if is_there("skopeo") && is_there("umoci") {
        let at = bench.dir.join("skopeo");
        let script = bench.dir.join("skopeo.sh");
        let at = at.display();
        let text = format!(
            "set -e\nskopeo copy -q --insecure-policy --src-tls-verify=false docker://{name} oci:{at}/oci:it\n\
             umoci unpack --image {at}/oci:it {at}/bundle >/dev/null 2>&1\n"
        );
        std::fs::write(&script, text)?;
        let script = format!("sh {}", script.display());
        let clear = format!("rm -rf {at}");
        let make = format!("mkdir -p {at}");
        all.push(
            contender("skopeo + umoci", fixed(script))
                .before(fixed(make))
                .after(fixed(clear)),
        );
    }
    // What an earlier run left would make it quick.
    for line in all.iter().filter_map(|one| one.after.as_ref()) {
        let _ = line(0).run();
    }
    bench.compare(work, bench.rounds.min(rounds), &all)
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
