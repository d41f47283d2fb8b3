//! A fresh file system for each pull: what an earlier round wrote and removed must not slow the next one down.
//!
//! ext4 passes over inodes that were removed a moment ago, and a disk is still busy with what was discarded; who
//! comes after whom then says more than who pulls how. So each contender's round begins with a file system that
//! mkfs has just made (or an empty tmpfs), all in the page cache that the registry will read, and nothing left to
//! write anywhere. None of that is on the clock.

use std::path::Path;

use anyhow::Result;

use crate::measure::Line;
use crate::peers::dockerd_words;

/// Where the file system lies: `ext4` in a sparse file on the machine's own disk, or memory.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// mkfs.ext4's defaults, on a loop device.
    Ext4,
    /// The processor's share alone: no disk.
    Tmpfs,
}

/// The script that makes and takes away; it lies beside what it makes.
pub struct Fresh {
    script: String,
    /// The mount point.
    pub at: String,
}

impl Fresh {
    /// Writes the script into `dir`, the bench's directory, where the registry lies, too.
    pub fn new(dir: &Path) -> Result<Fresh> {
        let (script, at) = (dir.join("fresh.sh"), dir.join("fresh"));
        let at = at.display().to_string();
        std::fs::write(
            &script,
            SCRIPT
                .replace("@DIR", &dir.display().to_string())
                .replace("@DOCKERD", &dockerd_words(&format!("{at}/docker"))),
        )?;
        let script = format!("sh {}", script.display());
        Ok(Fresh { script, at })
    }

    /// The command that makes it, with a dockerd on it for `docker`.
    pub fn up(&self, kind: Kind, who: &str) -> Line {
        let kind = match kind {
            Kind::Ext4 => "ext4",
            Kind::Tmpfs => "tmpfs",
        };
        let who = who.split(' ').next().unwrap_or_default();
        Line::of(&format!("{} up {kind} {who}", self.script))
    }

    /// The command that takes it away with all in it.
    pub fn down(&self) -> Line {
        Line::of(&format!("{} down", self.script))
    }
}

const SCRIPT: &str = r#"# up KIND WHO | down
set -e
cd @DIR
down() {
    if [ -e dockerd.pid ]; then
        pid=$(cat dockerd.pid)
        kill "$pid" 2>/dev/null || true
        while readlink "/proc/$pid/exe" >/dev/null; do sleep 0.05; done
        rm dockerd.pid
    fi
    ! mountpoint -q fresh || umount -R fresh
    rm -f disk
}
down
[ "$1" = up ] || exit 0
mkdir -p fresh
case $2 in
tmpfs) mount -t tmpfs -o mode=755 fresh fresh ;;
ext4)
    truncate -s 4G disk
    mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 disk
    mount -o loop disk fresh ;;
esac
find registry/store -type f -exec cat {} + >/dev/null
sync
[ "$3" = docker ] || exit 0
mkdir fresh/docker
setsid dockerd @DOCKERD >dockerd.log 2>&1 </dev/null &
echo $! >dockerd.pid
for try in $(seq 100); do
    ! docker -H unix://@DIR/fresh/docker/socket version >/dev/null 2>&1 || exit 0
    sleep 0.1
done
tail -n 3 dockerd.log >&2
exit 1
"#;
