//! Whether files are as they were.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file that was written to so shortly before it was looked at may be written to again within the same tick of its clock.
const TIMESTAMP_GRANULARITY: Duration = Duration::from_secs(2);

/// Files as they are at one time.
#[derive(Debug, Clone, Default)]
pub(super) struct FileStamps(Vec<(PathBuf, FileStamp)>);

/// A file that is not there is `None` throughout.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct FileStamp {
    modified: Option<SystemTime>,
    length: Option<u64>,
    identity: Option<(u64, u64, i64, i64)>,
    /// Whether it has to be read to know.
    is_fresh: bool,
}

/// Two times at which nothing has changed. What was fresh at one of them is not known to be the same.
impl PartialEq for FileStamps {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 && !self.0.iter().chain(&other.0).any(|(_, stamp)| stamp.is_fresh)
    }
}

impl FileStamps {
    /// The files, in the order in which they were read.
    pub(super) fn files(&self) -> Vec<&PathBuf> {
        self.0.iter().map(|(path, _)| path).collect()
    }

    /// Whether they are those of this file and what it names.
    pub(super) fn has_primary_file(&self, path: &Path) -> bool {
        self.0.first().is_some_and(|(first, _)| first == path)
    }

    /// With further files, as they are now.
    pub(super) fn with_files(mut self, files: &[PathBuf]) -> Self {
        for file in files {
            if !self.0.iter().any(|(known, _)| known == file) {
                self.0.push((file.clone(), stamp_file(file)));
            }
        }
        self
    }
}

/// Files as they are now.
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
        // Also one that is from the future.
        is_fresh: age.is_none_or(|age| age < TIMESTAMP_GRANULARITY),
    }
}

/// Device, inode, and when either the file or what is said of it has changed.
#[cfg(unix)]
fn identity(data: &fs::Metadata) -> Option<(u64, u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    Some((data.dev(), data.ino(), data.ctime(), data.ctime_nsec()))
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> Option<(u64, u64, i64, i64)> {
    None
}
