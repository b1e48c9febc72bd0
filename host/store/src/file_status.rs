//! State of the file, shared by its reader and its writer.

use std::sync::OnceLock;

use crate::users_file::UsersFile;

/// State of the file.
pub(crate) struct FileStatus {
    pub(crate) users_file: UsersFile,
    /// Damage, once it is found. Nothing is written from then on.
    pub(crate) damage: OnceLock<String>,
}

impl FileStatus {
    pub(crate) fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }

    pub(crate) fn record_damage(&self, damage: &str) {
        self.damage.get_or_init(|| damage.to_owned());
    }
}
