//! Components in files.

use std::io;
use std::path::Path;

use occopus_model::files;

/// Bytes of a component, at most.
const MAX_COMPONENT_BYTES: u64 = 256 << 20;

/// Reads a component. Pipes and devices are not opened: they may have no end, or no beginning.
///
/// # Errors
/// Fails if it is not a regular file, has more than 256 MiB, or can't be read.
pub fn read_component(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = files::read(path, MAX_COMPONENT_BYTES)?;
    if bytes.len() as u64 > MAX_COMPONENT_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {MAX_COMPONENT_BYTES} bytes"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_has_no_end_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("a.wasm"), "a").unwrap();
        assert_eq!(read_component(&path("a.wasm")).unwrap(), b"a");
        assert!(Command::new("mkfifo").arg(path("pipe.wasm")).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", path("zero.wasm")).unwrap();
        std::fs::create_dir(path("folder.wasm")).unwrap();
        let began = Instant::now();
        for name in ["pipe.wasm", "zero.wasm", "folder.wasm"] {
            assert!(read_component(&path(name)).is_err(), "{name}");
        }
        std::fs::File::create(path("sparse.wasm")).unwrap().set_len(MAX_COMPONENT_BYTES + 1).unwrap();
        assert_eq!(read_component(&path("sparse.wasm")).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
