//! A lab that was built with other directories: its pinned network namespaces are mounts, which tell where it lies.
//! proc_pid_mountinfo(5)

use std::path::{Path, PathBuf};

use super::{Lab, Station};
use crate::lesson::Shell;

impl Lab {
    /// The command that takes away the lab of this name that lies elsewhere, if there is none here.
    pub fn down_elsewhere(&self) -> Option<String> {
        if self.dir.exists() {
            return None;
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        let dir = pinned(&mounts, &self.name)?;
        let mut words = vec![];
        let mut say = |name: &str, path: &Path| {
            words.push(format!(
                "{name}={}",
                Shell::quote(&path.display().to_string())
            ));
        };
        if let Some(root) = built_with(&dir)
            .as_deref()
            .and_then(|root| root.ancestors().nth(2))
        {
            say("RMAC_ROOT", root);
        }
        say("RMAC_RUNROOT", dir.ancestors().nth(2)?);
        words.push(format!("rmac lab down --name {}", self.name));
        Some(words.join(" "))
    }
}

/// The state directory of the host of the lab in `dir`, which stands in its last file.
pub(super) fn built_with(dir: &Path) -> Option<PathBuf> {
    let path = PathBuf::from(std::fs::read_to_string(super::ready(dir)).ok()?);
    // Whatever stands there, what is removed in the end is the directory of a lab of this name.
    let of_lab = Path::new("lab").join(dir.file_name()?);
    Some(path).filter(|path| path.is_absolute() && path.ends_with(&of_lab))
}

/// The directory of a lab `name` whose host is pinned.
fn pinned(mounts: &str, name: &str) -> Option<PathBuf> {
    let host = Path::new("lab").join(name).join(Station::Host.name());
    let paths = mounts
        .lines()
        .filter(|line| line.contains(" - nsfs "))
        .filter_map(|line| Some(PathBuf::from(line.split(' ').nth(4)?.replace("\\040", " "))));
    let mut found = paths.filter(|path| path.ends_with(&host));
    found.next()?.parent().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_host_tells_where_its_lab_lies() {
        let mounts = "40 23 0:4 net:[1] /run/a\\040b/lab/x/switch rw - nsfs nsfs rw\n\
                      41 23 0:4 net:[2] /run/a\\040b/lab/x/host rw - nsfs nsfs rw\n\
                      42 23 0:5 / /run/lab/y/host rw - tmpfs tmpfs rw\n";
        assert_eq!(pinned(mounts, "x"), Some("/run/a b/lab/x".into()));
        assert_eq!(pinned(mounts, "y"), None);
    }
}
