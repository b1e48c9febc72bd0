//! The `ping` plugin.
