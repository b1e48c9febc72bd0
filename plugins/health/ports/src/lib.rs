//! The `ports` plugin.
