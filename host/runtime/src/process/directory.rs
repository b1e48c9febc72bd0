//! The directory of one process: its record, its lock and its output.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use occopus_engine::ports::{Fault, Reaction};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::address;
use super::file_error::file_error;
use super::procfs::ProcessIdentity;

/// Stored facts about a process. Readers accept further keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessRecord {
    pub(super) version: u32,
    pub(super) address: String,
    pub(super) labels: Vec<(String, String)>,
    /// Identity of the process; none from before the start until after it.
    pub(super) started: Option<ProcessIdentity>,
}

impl ProcessRecord {
    pub(super) const VERSION: u32 = 1;
}

/// The directory of one instance; it need not exist.
#[derive(Debug)]
pub(super) struct ProcessDirectory {
    id: String,
    path: PathBuf,
}

/// Lock that is held while a process is started or stopped. Children inherit it until they run their own program, so
/// the next holder after the death of a host finds the instance id in the child's environment.
#[derive(Debug)]
pub(super) struct DirectoryLock(#[expect(dead_code, reason = "closing the file frees the lock")] File);

impl ProcessDirectory {
    /// Returns the directory of an instance. An id that is not a plain name is refused: it becomes a part of a path.
    pub(super) fn new(state_dir: &Path, id: &str) -> Result<Self, Fault> {
        if !is_valid_id(id) {
            let message = format!("`{}` is not an instance id", id.escape_debug());
            return Err(Fault::new(Reaction::GiveUp, "process.bad-instance-id", message));
        }
        Ok(Self { id: id.to_owned(), path: state_dir.join("instances").join(id) })
    }

    /// Returns the ids of all instances.
    pub(super) fn list_ids(state_dir: &Path) -> Result<Vec<String>, Fault> {
        let path = state_dir.join("instances");
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(file_error("read", &path, &error)),
        };
        let name = |entry: fs::DirEntry| entry.file_name().into_string().ok().filter(|name| is_valid_id(name));
        Ok(entries.flatten().filter_map(name).collect())
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn exists(&self) -> bool {
        self.path.is_dir()
    }

    pub(super) fn output_file(&self) -> PathBuf {
        self.path.join("output.log")
    }

    /// Returns the file with the older output, which rotation moved away.
    pub(super) fn rotated_output_file(&self) -> PathBuf {
        self.path.join("output.log.1")
    }

    /// Returns the file with the exit of the process.
    pub(super) fn exit_file(&self) -> PathBuf {
        self.path.join("ending.json")
    }

    fn record_file(&self) -> PathBuf {
        self.path.join("record.json")
    }

    /// Creates the directory if need be, and waits for its lock. Blocks.
    pub(super) fn create_and_lock(&self) -> Result<DirectoryLock, Fault> {
        loop {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(&self.path).map_err(|error| file_error("create", &self.path, &error))?;
            if let Some(lock) = self.lock()? {
                return Ok(lock);
            }
        }
    }

    /// Waits for the lock; none if there is no such directory (any more). Blocks.
    pub(super) fn lock(&self) -> Result<Option<DirectoryLock>, Fault> {
        let path = self.path.join("lock");
        loop {
            let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
            let file = match opened {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(file_error("open", &path, &error)),
            };
            loop {
                match flock(&file, FlockOperation::LockExclusive) {
                    Ok(()) => break,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(file_error("lock", &path, &error.into())),
                }
            }
            // The previous holder may have removed the directory: then this lock protects nothing.
            let inode = |metadata: io::Result<fs::Metadata>| metadata.ok().map(|found| (found.dev(), found.ino()));
            if inode(file.metadata()) == inode(fs::metadata(&path)) {
                return Ok(Some(DirectoryLock(file)));
            }
        }
    }

    /// Reads the record; none if nothing was ever started here.
    pub(super) fn read(&self) -> Result<Option<ProcessRecord>, Fault> {
        let path = self.record_file();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file_error("read", &path, &error)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            let message = format!("{} is not a record of a process: {error}", path.display());
            Fault::new(Reaction::GiveUp, "process.bad-record", message)
        })
    }

    /// Writes the record, durably and atomically.
    pub(super) fn write(&self, record: &ProcessRecord) -> Result<(), Fault> {
        let (path, draft) = (self.record_file(), self.path.join("record.new"));
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
            file.write_all(&serde_json::to_vec(record)?)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|error| file_error("write", &path, &error))
    }

    /// Frees the address and removes the directory, with its lock, in one step. The lock must be held.
    pub(super) fn remove(&self, state_dir: &Path, record: &ProcessRecord) -> Result<(), Fault> {
        address::free(state_dir, &self.id, &record.address);
        // No instance has such a name: a dot is in it.
        let removed = self.path.with_file_name(format!("{}.{}", self.id, Uuid::new_v4().simple()));
        fs::rename(&self.path, &removed).map_err(|error| file_error("remove", &self.path, &error))?;
        fs::remove_dir_all(&removed).map_err(|error| file_error("remove", &removed, &error))
    }
}

fn is_valid_id(id: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=128).contains(&id.len()) && id.bytes().all(is_allowed)
}
