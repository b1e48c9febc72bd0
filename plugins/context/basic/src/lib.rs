//! The `basic` plugin.
