//! A loopback address for each process.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use occopus_engine::ports::{Fault, Reaction};
use sha2::{Digest as _, Sha256};

use super::file_error::file_error;

/// Number of addresses that are tried for one process.
const MAX_ADDRESS_ATTEMPTS: u32 = 4096;

/// Claims an address by creating its file, which holds the instance's id. The first attempt follows from the id.
pub(super) fn claim(state_dir: &Path, id: &str) -> Result<Ipv4Addr, Fault> {
    let directory = state_dir.join("addresses");
    fs::create_dir_all(&directory).map_err(|error| file_error("create", &directory, &error))?;
    for attempt in 0..MAX_ADDRESS_ATTEMPTS {
        let address = candidate(id, attempt);
        let path = address_file(state_dir, &address.to_string());
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(id.as_bytes()).map_err(|error| file_error("write", &path, &error))?;
                return Ok(address);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // It is ours if a start was interrupted before its record was written.
                if fs::read_to_string(&path).is_ok_and(|owner| owner == id) {
                    return Ok(address);
                }
            }
            Err(error) => return Err(file_error("create", &path, &error)),
        }
    }
    Err(Fault::new(Reaction::NoCapacity, "process.no-address", "no loopback address is free"))
}

/// Frees the address, if it is this instance's.
pub(super) fn free(state_dir: &Path, id: &str, address: &str) {
    let path = address_file(state_dir, address);
    if address.parse::<Ipv4Addr>().is_ok() && fs::read_to_string(&path).is_ok_and(|owner| owner == id) {
        let _ = fs::remove_file(path);
    }
}

fn address_file(state_dir: &Path, address: &str) -> PathBuf {
    state_dir.join("addresses").join(address)
}

/// Returns the address of an attempt. 127.0.y.z stays free for people, resolvers and host names; so do the ends of each
/// last octet.
fn candidate(id: &str, attempt: u32) -> Ipv4Addr {
    let digest = Sha256::new().chain_update(id).chain_update(attempt.to_be_bytes()).finalize();
    Ipv4Addr::new(127, 1 + digest[0] % 254, digest[1], 1 + digest[2] % 254)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unique_and_outside_the_common_range() {
        let state = tempfile::tempdir().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..300 {
            let id = format!("instance-{number}");
            let address = claim(state.path(), &id).unwrap();
            let [first, second, _, last] = address.octets();
            assert!(first == 127 && second != 0 && last != 0 && last != 255, "{address}");
            assert!(seen.insert(address));
        }
    }

    #[test]
    fn a_claim_is_kept_and_freed_by_its_owner() {
        let state = tempfile::tempdir().unwrap();
        let address = claim(state.path(), "a").unwrap();
        assert_eq!(claim(state.path(), "a").unwrap(), address);
        free(state.path(), "b", &address.to_string());
        assert!(address_file(state.path(), &address.to_string()).exists());
        free(state.path(), "a", &address.to_string());
        assert!(!address_file(state.path(), &address.to_string()).exists());
    }

    #[test]
    fn a_taken_address_is_passed_over() {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir_all(state.path().join("addresses")).unwrap();
        fs::write(address_file(state.path(), &candidate("a", 0).to_string()), "b").unwrap();
        assert_eq!(claim(state.path(), "a").unwrap(), candidate("a", 1));
    }
}
