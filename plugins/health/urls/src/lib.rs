//! The `urls` plugin.
