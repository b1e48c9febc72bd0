//! Bounded reading of regular files, and directories that only this user may enter.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Reads a regular file. At most `most` bytes and one more are read, so that the caller can detect a file that is too
/// large.
///
/// # Errors
/// Fails if it can't be read, or is not a regular file: reading a pipe, a socket or a device may block or never end.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a regular file of text.
///
/// # Errors
/// Fails like [`read`], and if it has more than `most` bytes or is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let bytes = read(path, most)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Opens a regular file for reading.
///
/// # Errors
/// Fails if it can't be opened, or is not a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    // Without the flag, opening a pipe blocks until its other end is opened.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

/// Creates a directory, with its parents, that only this user may enter, whatever the umask. An existing one is closed
/// to others.
///
/// # Errors
/// Fails if it can't be created or closed, or belongs to another user.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let found = fs::metadata(path)?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    if found.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_never_end_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        for path in [pipe.as_path(), Path::new("/dev/zero"), Path::new("/dev/null"), folder.path()] {
            assert!(read(path, 10).is_err(), "{}", path.display());
        }
        let file = folder.path().join("file");
        fs::write(&file, "0123456789").expect("written");
        assert_eq!(read(&file, 4).expect("bytes"), b"01234");
        assert_eq!(read_text(&file, 10).expect("a text"), "0123456789");
        assert_eq!(read_text(&file, 9).expect_err("too large").kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_folder_is_closed_to_others() {
        let above = tempfile::tempdir().expect("a folder");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        let folder = above.path().join("a/b");
        create_private_dir(&folder).expect("made");
        assert_eq!((mode(&folder), mode(&above.path().join("a"))), (0o700, 0o700));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("opened");
        create_private_dir(&folder).expect("closed");
        assert_eq!(mode(&folder), 0o700);
    }
}
