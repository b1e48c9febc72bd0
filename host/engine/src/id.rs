//! Ids of infrastructures, and the one rule for them. An id is checked where it enters the program: the command line, a
//! path of the service, a record, or a key of the store.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Largest number of characters of an id.
const MAX_LENGTH: usize = 64;

/// Id of an infrastructure: 1 to 64 ASCII letters, digits, `.`, `_` and `-`, so that it can be part of a key of the
/// store. Dereferences to its text, and is written as it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InfrastructureId(String);

/// The error for a text that no infrastructure may have as its id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{id:?} is not a valid id: use 1 to {MAX_LENGTH} letters, digits, '.', '_' and '-'")]
pub struct InvalidInfrastructureId {
    /// Id as it was given.
    pub id: String,
}

impl InfrastructureId {
    /// Generates an id that no infrastructure has: a random UUID.
    pub fn generate() -> Self {
        Self(Uuid::new_v4().to_string())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for InfrastructureId {
    type Error = InvalidInfrastructureId;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=MAX_LENGTH).contains(&id.len()) && id.bytes().all(is_allowed) {
            Ok(Self(id))
        } else {
            Err(InvalidInfrastructureId { id })
        }
    }
}

impl FromStr for InfrastructureId {
    type Err = InvalidInfrastructureId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl Deref for InfrastructureId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for InfrastructureId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InfrastructureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<InfrastructureId> for String {
    fn from(id: InfrastructureId) -> Self {
        id.0
    }
}

impl From<&InfrastructureId> for String {
    fn from(id: &InfrastructureId) -> Self {
        id.0.clone()
    }
}

impl PartialEq<str> for InfrastructureId {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for InfrastructureId {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_holds_for_texts_and_for_json() {
        let longest = "x".repeat(MAX_LENGTH);
        for valid in ["a", "web-1", "A.b_c", ".", "0198c0de-0000-7000-8000-000000000000", &longest] {
            let id: InfrastructureId = valid.parse().unwrap();
            assert_eq!((id.as_str(), id.to_string()), (valid, valid.to_owned()));
            let json = serde_json::to_value(&id).unwrap();
            assert_eq!(json, valid);
            assert_eq!(serde_json::from_value::<InfrastructureId>(json).unwrap(), id);
        }
        for invalid in ["", "a/b", "../x", "a b", "ä", "a\n", &"x".repeat(MAX_LENGTH + 1)] {
            assert_eq!(invalid.parse::<InfrastructureId>(), Err(InvalidInfrastructureId { id: invalid.to_owned() }));
            assert!(serde_json::from_value::<InfrastructureId>(invalid.into()).is_err(), "{invalid}");
        }
        let error = "a/b".parse::<InfrastructureId>().unwrap_err();
        assert_eq!(error.to_string(), "\"a/b\" is not a valid id: use 1 to 64 letters, digits, '.', '_' and '-'");
        assert_ne!(InfrastructureId::generate(), InfrastructureId::generate());
    }
}
