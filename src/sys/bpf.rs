//! bpf(2): the two operations that a cgroup's device list needs.
