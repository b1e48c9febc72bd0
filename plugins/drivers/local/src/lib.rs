//! The `local` plugin.
