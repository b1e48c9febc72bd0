//! Where plugins come from: the program itself, then directories. What comes later replaces what came before.

use std::path::{Path, PathBuf};

use occopus_runtime::PluginSource;
