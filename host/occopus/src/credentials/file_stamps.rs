//! Stamps of files, by which a change is noticed without reading them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Age up to which a file may be written to again within the same tick of its file system's clock.
const TIMESTAMP_GRANULARITY: Duration = Duration::from_secs(2);

/// Stamps of files at one time.
#[derive(Debug, Clone, Default)]
pub(super) struct FileStamps(Vec<(PathBuf, FileStamp)>);

/// A stamp of one file. All fields are `None` if the file does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct FileStamp {
    modified: Option<SystemTime>,
    length: Option<u64>,
    identity: Option<(u64, u64, i64, i64)>,
    /// Set if the file was written to so recently that equal stamps prove nothing.
    is_fresh: bool,
}

/// Equality means that no file has changed. A stamp that is fresh on either side is never equal.
impl PartialEq for FileStamps {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 && !self.0.iter().chain(&other.0).any(|(_, stamp)| stamp.is_fresh)
    }
}

impl FileStamps {
    /// Returns the files, in the order in which they were read.
    pub(super) fn files(&self) -> Vec<&PathBuf> {
        self.0.iter().map(|(path, _)| path).collect()
    }

    /// Returns whether these are the stamps of this file and of those that it names.
    pub(super) fn has_primary_file(&self, path: &Path) -> bool {
        self.0.first().is_some_and(|(first, _)| first == path)
    }

    /// Adds stamps of further files, as they are now.
    pub(super) fn with_files(mut self, files: &[PathBuf]) -> Self {
        for file in files {
            if !self.0.iter().any(|(known, _)| known == file) {
                self.0.push((file.clone(), stamp_file(file)));
            }
        }
        self
    }
}

/// Returns the stamps of files as they are now.
pub(super) fn stamp_files<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> FileStamps {
    FileStamps(files.into_iter().map(|file| (file.clone(), stamp_file(file))).collect())
}

fn stamp_file(path: &Path) -> FileStamp {
    let Ok(data) = fs::metadata(path) else { return FileStamp::default() };
    let modified = data.modified().ok();
    let age = modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
    FileStamp {
        modified,
        length: Some(data.len()),
        identity: identity(&data),
        // A time in the future counts as fresh.
        is_fresh: age.is_none_or(|age| age < TIMESTAMP_GRANULARITY),
    }
}

/// Returns device, inode and change time (seconds, nanoseconds) of a file.
#[cfg(unix)]
fn identity(data: &fs::Metadata) -> Option<(u64, u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    Some((data.dev(), data.ino(), data.ctime(), data.ctime_nsec()))
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> Option<(u64, u64, i64, i64)> {
    None
}
