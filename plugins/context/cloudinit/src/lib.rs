//! The `cloudinit` plugin.
