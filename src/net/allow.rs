//! What any program in a network namespace may do without a capability: settings of the whole namespace.
//! Documentation/networking/ip-sysctl.rst
//!
//! A container has no other programs to be kept from ports below 1024, and nothing to gain from a raw socket that it
//! only needs for `ping`. So who is not root in there gets both, as with Docker: `-u nobody` may serve port 80.

use std::fmt;

use crate::lesson::Lesson;

/// What is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// ICMP echo sockets (`ping`), for every group.  icmp(7)
    Ping,
    /// Ports below 1024.  ip(7)
    LowPorts,
}

impl Allowed {
    /// What a container gets that sets `names` itself. The groups of one with users of its own lie above those that the
    /// kernel takes here.
    pub fn beside<'a>(names: impl Iterator<Item = &'a String>, own_users: bool) -> Vec<Allowed> {
        let mut all = vec![Allowed::Ping, Allowed::LowPorts];
        all.retain(|allowed| !own_users || *allowed != Allowed::Ping);
        for name in names {
            let path = format!("/proc/sys/{}", name.replace('.', "/"));
            all.retain(|allowed| allowed.path() != path);
        }
        all
    }

    /// The setting's file.
    pub fn path(self) -> &'static str {
        match self {
            Allowed::Ping => "/proc/sys/net/ipv4/ping_group_range",
            Allowed::LowPorts => "/proc/sys/net/ipv4/ip_unprivileged_port_start",
        }
    }

    /// What is written to it.
    pub fn value(self) -> &'static str {
        match self {
            // The kernel takes no higher one.
            Allowed::Ping => "0 2147483647",
            Allowed::LowPorts => "0",
        }
    }

    /// The reason.
    pub fn why(self) -> Lesson {
        match self {
            Allowed::Ping => Lesson {
                why: "ping needs no raw socket where its group may have ICMP echo sockets; here every group may, as with Docker",
                without: "who is not root cannot ping: \"Operation not permitted\"",
                man: "icmp(7), Documentation/networking/ip-sysctl.rst",
            },
            Allowed::LowPorts => Lesson {
                why: "low ports are kept for root where users share a host's addresses; a container's are its own, as with Docker",
                without: "who is not root cannot serve port 80: \"Permission denied\"",
                man: "ip(7), Documentation/networking/ip-sysctl.rst",
            },
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "write({:?}, {:?})", self.path(), self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_sets_is_left_to_him() {
        let beside = |names: &[&str], own_users| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            Allowed::beside(names.iter(), own_users)
        };
        assert_eq!(
            beside(&["net.core.somaxconn"], false),
            [Allowed::Ping, Allowed::LowPorts]
        );
        assert_eq!(
            beside(&["net.ipv4.ip_unprivileged_port_start"], false),
            [Allowed::Ping]
        );
        assert_eq!(
            beside(&["net/ipv4/ping_group_range"], false),
            [Allowed::LowPorts]
        );
        assert_eq!(beside(&[], true), [Allowed::LowPorts]);
    }
}
