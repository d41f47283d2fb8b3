//! rootfs-fetch
