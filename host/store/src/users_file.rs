//! Detection of an interrupted last user of a store.
//!
//! Beside the store lies a small file, `STORE-users`. Each user of the store holds a shared lock on it, and writes a
//! mark into it before the first write to the store. The last user that leaves removes the mark. A mark without a lock
//! means that the last user was killed, or that the power failed: then the store is checked before it is used. Where
//! locks do not work, nothing is checked.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Content of the file while there are writes that could be lost.
const DIRTY_MARK: &[u8] = b"written\n";

/// A user's lock on the users file of a store.
pub(crate) struct UsersFile {
    /// `None` if it can't be created or locked.
    file: Option<File>,
    was_unclean: bool,
    /// Set when this process has written its mark.
    is_marked_dirty: AtomicBool,
}

impl UsersFile {
    /// Registers a user of the store in this file. Never fails: without a lock, nothing is detected.
    pub(crate) fn acquire(store: &Path) -> Self {
        let unlocked = Self { file: None, was_unclean: false, is_marked_dirty: AtomicBool::new(false) };
        let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(users_file_path(store));
        let Ok(file) = opened else { return unlocked };
        let is_alone = file.try_lock().is_ok();
        let was_unclean = is_alone && file.metadata().is_ok_and(|file| file.len() > 0);
        if file.try_lock_shared().is_err() {
            return unlocked;
        }
        Self { file: Some(file), was_unclean, ..unlocked }
    }

    /// Returns true if nobody else uses the store, and its last user was interrupted.
    pub(crate) fn was_unclean(&self) -> bool {
        self.was_unclean
    }

    /// Writes the mark before the first write. If that fails, an interruption is not detected.
    pub(crate) fn mark_dirty(&self) {
        if self.is_marked_dirty.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(mut file) = self.file.as_ref()
            && file.metadata().is_ok_and(|file| file.len() == 0)
        {
            let _ = file.write_all(DIRTY_MARK).and_then(|()| file.sync_data());
        }
    }

    /// Removes the mark once everything is written. The next write sets it again.
    pub(crate) fn mark_clean(&self) {
        if self.is_marked_dirty.swap(false, Ordering::AcqRel) {
            self.clear_mark();
        }
    }

    /// Removes the mark of an interrupted user after a check that found no damage.
    pub(crate) fn mark_checked(&self) {
        self.clear_mark();
    }

    fn clear_mark(&self) {
        let Some(file) = self.file.as_ref() else { return };
        // Other users do it when they leave.
        if file.try_lock().is_ok() {
            let _ = file.set_len(0);
        }
        let _ = file.try_lock_shared();
    }
}

fn users_file_path(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push("-users");
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_comes_after_an_interrupted_writer_finds_it_so() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = directory.path().join("state.db");
        let reader = UsersFile::acquire(&store);
        assert!(!reader.was_unclean());
        drop(reader);
        assert!(!UsersFile::acquire(&store).was_unclean(), "who only reads leaves nothing");
        let (first, second) = (UsersFile::acquire(&store), UsersFile::acquire(&store));
        first.mark_dirty();
        second.mark_dirty();
        assert!(!UsersFile::acquire(&store).was_unclean(), "they are here");
        first.mark_clean();
        // As if it were killed.
        drop((first, second));
        let next = UsersFile::acquire(&store);
        assert!(next.was_unclean());
        next.mark_clean();
        drop(next);
        let next = UsersFile::acquire(&store);
        assert!(next.was_unclean(), "nobody has checked it");
        next.mark_checked();
        drop(next);
        assert!(!UsersFile::acquire(&store).was_unclean(), "it was checked");
        let writer = UsersFile::acquire(&store);
        writer.mark_dirty();
        writer.mark_clean();
        writer.mark_dirty();
        drop(writer);
        assert!(UsersFile::acquire(&store).was_unclean(), "it has written again since");
    }
}
