//! Who the container thinks it is: host name, hosts file, name servers.  uts_namespaces(7), hosts(5), resolv.conf(5)
//!
//! The host name belongs to the UTS namespace. The three files lie in the container's directory on the
//! host and are bound over the image's, so that rmac can change them while the container runs.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::namespaces;
use crate::lesson::{Lesson, Shell};

/// What can be done about the identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write `/etc/hostname`, `/etc/hosts` or `/etc/resolv.conf` for the container.
    File {
        /// Where, on the host.
        path: PathBuf,
        /// What.
        text: String,
    },
    /// Set the host name of the UTS namespace.
    Hostname(String),
    /// Set its NIS domain name.
    DomainName(String),
}

/// The host name that `spec` asks for, where it is not the host's own: that one stays as it is.
pub fn plan(spec: &Spec) -> Vec<Step> {
    if !namespaces::listed(spec, LinuxNamespaceType::Uts) {
        return vec![];
    }
    let hostname = spec.hostname().as_deref().filter(|name| !name.is_empty());
    let domain = spec.domainname().as_deref().filter(|name| !name.is_empty());
    let hostname = hostname.map(|name| Step::Hostname(name.to_owned()));
    let domain = domain.map(|name| Step::DomainName(name.to_owned()));
    hostname.into_iter().chain(domain).collect()
}

/// The text of `/etc/hosts`: Docker's block, then the container's own addresses, then `extra`.
pub fn hosts(hostname: &str, addresses: &[IpAddr], extra: &[(String, IpAddr)]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    for (name, address) in extra {
        text += &format!("{address}\t{name}\n");
    }
    for address in addresses {
        text += &format!("{address}\t{hostname}\n");
    }
    text
}

/// The text of `/etc/resolv.conf`: what the flags say, else the host's without name servers on its own
/// loopback, which the container cannot reach.
pub fn resolv_conf(
    host: &str,
    servers: &[IpAddr],
    search: &[String],
    options: &[String],
) -> String {
    let mut text = String::new();
    for server in servers {
        text += &format!("nameserver {server}\n");
    }
    if !search.is_empty() {
        text += &format!("search {}\n", search.join(" "));
    }
    if !options.is_empty() {
        text += &format!("options {}\n", options.join(" "));
    }
    let replaced = |line: &str| match line.split_whitespace().next() {
        Some("nameserver") => !servers.is_empty() || on_loopback(line),
        Some("search" | "domain") => !search.is_empty(),
        Some("options") => !options.is_empty(),
        Some(word) => word.starts_with(['#', ';']),
        None => true,
    };
    for line in host.lines().filter(|line| !replaced(line)) {
        text += line;
        text.push('\n');
    }
    text
}

impl Step {
    /// The reason.
    pub fn why(&self) -> Lesson {
        match self {
            Step::File { .. } => Lesson {
                why: "the container's name, its peers and its name servers are the runtime's to tell, not the image's",
                without: "the program would find the image's leftovers, or no name server at all",
                man: "hosts(5), resolv.conf(5), hostname(5)",
            },
            Step::Hostname(_) | Step::DomainName(_) => Lesson {
                why: "the UTS namespace holds the host name; a container's is its short id unless -h says otherwise",
                without: "the container would carry the host's name",
                man: "sethostname(2), uts_namespaces(7)",
            },
        }
    }

    /// The same as a command.
    pub fn shell(&self) -> Shell {
        match self {
            Step::File { path, text } => Shell::Bash(format!(
                "printf %s {} > {}",
                Shell::quote(text),
                Shell::quote(&path.to_string_lossy())
            )),
            Step::Hostname(name) => Shell::Bash(format!("hostname {}", Shell::quote(name))),
            Step::DomainName(name) => Shell::Bash(format!(
                "printf %s {} > /proc/sys/kernel/domainname",
                Shell::quote(name)
            )),
        }
    }

    /// Takes the step.
    pub fn take(&self) -> Result<()> {
        match self {
            Step::File { path, text } => {
                std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
            }
            Step::Hostname(name) => {
                nix::unistd::sethostname(name).with_context(|| format!("sethostname {name:?}"))
            }
            Step::DomainName(name) => {
                crate::sys::setdomainname(name).with_context(|| self.to_string())
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::File { path, text } => write!(f, "write({path:?}, {} bytes)", text.len()),
            Step::Hostname(name) => write!(f, "sethostname({name:?})"),
            Step::DomainName(name) => write!(f, "setdomainname({name:?})"),
        }
    }
}

fn on_loopback(line: &str) -> bool {
    let address = line
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse::<IpAddr>().ok());
    address.is_some_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_containers_own_name_comes_last_as_docker_writes_it() {
        let text = hosts(
            "c1",
            &["172.16.86.2".parse().unwrap()],
            &[("db".into(), "10.0.0.1".parse().unwrap())],
        );
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.0.0.1\tdb\n172.16.86.2\tc1\n"));
    }

    #[test]
    fn name_servers_on_the_hosts_loopback_are_left_out() {
        let host =
            "# made by systemd-resolved\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch lan\n";
        assert_eq!(
            resolv_conf(host, &[], &[], &[]),
            "nameserver 10.0.0.1\nsearch lan\n"
        );
        assert_eq!(
            resolv_conf(
                host,
                &["9.9.9.9".parse().unwrap()],
                &[],
                &["ndots:1".into()]
            ),
            "nameserver 9.9.9.9\noptions ndots:1\nsearch lan\n"
        );
    }
}
