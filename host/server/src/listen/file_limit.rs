//! Open files. Each connection is one, and what the service does needs some, too: if connections could take them all, the store
//! and the clouds would be out of reach.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What connections leave for everything else.
const RESERVED_FILES: u64 = 512;

/// Makes room for so many connections, as far as the operating system allows, and gives the number that there is room for.
pub(super) fn raise_limit(connections: usize) -> usize {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(RESERVED_FILES);
    let limit = getrlimit(Resource::Nofile);
    let raised = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let mut current = limit.current.unwrap_or(u64::MAX);
    if current < raised {
        match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limit }) {
            Ok(()) => current = raised,
            Err(error) => tracing::debug!(%error, "the number of open files could not be raised"),
        }
    }
    let room = connections_within(connections, current);
    if room < connections {
        tracing::warn!(
            "the operating system allows {current} open files, enough for {room} connections at a time instead of \
             {connections}; `ulimit -Hn` or LimitNOFILE= of systemd changes that"
        );
    }
    room
}

/// The connections for which there is room among so many files.
fn connections_within(connections: usize, files: u64) -> usize {
    // Where there are few files, half of them.
    let most = files.saturating_sub(RESERVED_FILES).max(files / 2).max(1);
    connections.min(usize::try_from(most).unwrap_or(usize::MAX))
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
