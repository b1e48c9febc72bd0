//! The limit on open files. Each connection is one, and the service needs others: if connections could take them all, the
//! store and the clouds would be out of reach.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that connections leave for everything else.
const RESERVED_FILES: u64 = 512;

/// Raises the limit of the process for this many connections, as far as the operating system allows, and returns the
/// number of connections that fit.
pub(super) fn raise_limit(connections: usize) -> usize {
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(RESERVED_FILES);
    let limit = getrlimit(Resource::Nofile);
    let target = limit.maximum.map_or(needed, |maximum| needed.min(maximum));
    let mut current = limit.current.unwrap_or(u64::MAX);
    if current < target {
        match setrlimit(Resource::Nofile, Rlimit { current: Some(target), ..limit }) {
            Ok(()) => current = target,
            Err(error) => tracing::debug!(%error, "the limit on open files could not be raised"),
        }
    }
    let fitting = connections_within(connections, current);
    if fitting < connections {
        tracing::warn!(
            "the operating system allows {current} open files, enough for {fitting} connections at a time instead of \
             {connections}; raise the limit with `ulimit -Hn` or LimitNOFILE= of systemd"
        );
    }
    fitting
}

/// Returns the number of connections that fit into this many open files.
fn connections_within(connections: usize, files: u64) -> usize {
    // Half of the files, if there are few.
    let limit = files.saturating_sub(RESERVED_FILES).max(files / 2).max(1);
    connections.min(usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_others() {
        assert_eq!(connections_within(4096, u64::MAX), 4096);
        assert_eq!(connections_within(4096, 4096 + RESERVED_FILES), 4096);
        assert_eq!(connections_within(4096, 1024), 512);
        assert_eq!(connections_within(4096, 256), 128);
        assert_eq!(connections_within(4096, 0), 1);
        assert!(raise_limit(10) == 10);
    }
}
