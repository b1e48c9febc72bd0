//! Ids of infrastructures in paths.

use occopus_engine::{InfrastructureId, InvalidInfrastructureId};

/// Parses an id from a path. `.` and `..`, which have another meaning there, are not valid.
pub(crate) fn parse_path_id(text: &str) -> Result<InfrastructureId, InvalidInfrastructureId> {
    match text {
        "." | ".." => Err(InvalidInfrastructureId { id: text.to_owned() }),
        text => text.parse(),
    }
}
