//! Output of processes: kept in a file of bounded size, whose beginning moves to a second one.
//!
//! A process keeps its file open and appends to it, so the file can't be replaced. If it is too long, its end is copied
//! to `output.log.1`, and it is truncated to nothing; what is written between the two steps is lost.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::directory::ProcessDirectory;

/// Bytes of the file before its end is moved away; the second one is at most as long, and [`MAX_CATCH_UP_BYTES`].
pub(super) const MAX_OUTPUT_FILE_BYTES: u64 = 10 << 20;
/// Bytes that are copied of what came while the end was copied.
const MAX_CATCH_UP_BYTES: u64 = 1 << 20;
/// Number of times that the end is copied from a process that writes faster.
const MAX_COPY_ATTEMPTS: u32 = 4;
/// Bytes that [`tail`] reads of each file, at most.
const MAX_TAIL_BYTES: u64 = 64 << 10;

/// Moves the output away if it is longer than `max_bytes`.
pub(super) fn rotate(directory: &ProcessDirectory, max_bytes: u64) -> io::Result<()> {
    let path = directory.output_file();
    if fs::metadata(&path).map_or(0, |found| found.len()) <= max_bytes {
        return Ok(());
    }
    let mut from = OpenOptions::new().read(true).write(true).open(&path)?;
    // Another host may be doing the same.
    let is_locked = flock(&from, FlockOperation::NonBlockingLockExclusive).is_ok();
    if !is_locked || from.metadata()?.len() <= max_bytes {
        return Ok(());
    }
    let draft = path.with_extension("log.new");
    let mut to = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
    for attempt in 1..=MAX_COPY_ATTEMPTS {
        let length = from.metadata()?.len();
        to.rewind()?;
        to.set_len(0)?;
        from.seek(SeekFrom::Start(length.saturating_sub(max_bytes)))?;
        io::copy(&mut (&mut from).take(max_bytes), &mut to)?;
        // What came in the meantime; a process that writes faster than it is copied is caught up with once more.
        if from.metadata()?.len().saturating_sub(length) <= MAX_CATCH_UP_BYTES || attempt == MAX_COPY_ATTEMPTS {
            io::copy(&mut (&mut from).take(MAX_CATCH_UP_BYTES), &mut to)?;
            break;
        }
    }
    fs::rename(&draft, directory.rotated_output_file())?;
    from.set_len(0)
}

/// Returns the last lines, oldest first, across both files.
pub(super) fn tail(directory: &ProcessDirectory, lines: usize) -> io::Result<String> {
    let mut bytes = read_end(&directory.rotated_output_file())?;
    bytes.extend(read_end(&directory.output_file())?);
    let text = String::from_utf8_lossy(&bytes);
    let all = text.trim_end_matches('\n');
    let from = match lines {
        0 => all.len(),
        lines => all.rmatch_indices('\n').nth(lines - 1).map_or(0, |(at, _)| at + 1),
    };
    Ok(all.get(from..).unwrap_or_default().to_owned())
}

fn read_end(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(MAX_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(MAX_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn test_directory() -> (tempfile::TempDir, ProcessDirectory) {
        let state = tempfile::tempdir().unwrap();
        let directory = ProcessDirectory::new(state.path(), "a").unwrap();
        let _lock = directory.create_and_lock().unwrap();
        (state, directory)
    }

    #[test]
    fn output_is_bounded_and_read_across_both_files() {
        let (_state, directory) = test_directory();
        assert_eq!(tail(&directory, 5).unwrap(), "");
        let mut file = OpenOptions::new().create(true).append(true).open(directory.output_file()).unwrap();
        for number in 0..1000 {
            writeln!(file, "line {number}").unwrap();
            rotate(&directory, 200).unwrap();
            assert_eq!(tail(&directory, 2).unwrap().lines().last(), Some(format!("line {number}").as_str()));
        }
        let length = |path: &Path| fs::metadata(path).unwrap().len();
        assert!(length(&directory.output_file()) <= 200 && length(&directory.rotated_output_file()) <= 220);
        let last = tail(&directory, 20).unwrap();
        assert_eq!(last.lines().count(), 20);
        assert_eq!(last.lines().next(), Some("line 980"));
        assert_eq!(tail(&directory, 0).unwrap(), "");
    }
}
