//! Codec of records in the store: JSON objects, each with the version of its format. Readers ignore unknown fields, and
//! reject records of a newer version. Keys, and what the records hold, must not be known here.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ports::{Entry, StoreError, Write};

/// Format of some records. Each has one owner: the module that names the prefix of their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordFormat {
    version: u32,
    field: VersionField,
}

/// Field of a record that has the version of its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionField {
    /// Field `v`.
    V,
    /// Field `version`.
    Version,
}

/// Failure to encode or decode a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The record can't be encoded; nothing is stored in its place.
    #[error("internal error: a record ({record}) can't be written as JSON: {message}")]
    Encode {
        /// Type of the record.
        record: &'static str,
        /// Cause.
        message: String,
    },
    /// The stored value is not such a record.
    #[error("cannot read the store's entry {key}: {message}")]
    Corrupt {
        /// Key of the record.
        key: String,
        /// Cause.
        message: String,
    },
    /// The record was written by a newer version of this program.
    #[error(
        "the store's entry {key} has version {found}, but this program supports only versions up to {known}: use a newer program"
    )]
    Newer {
        /// Key of the record.
        key: String,
        /// Version of the record.
        found: u32,
        /// Newest version that this program supports.
        known: u32,
    },
}

/// A record with its version, as it is written.
#[derive(Serialize)]
#[serde(untagged)]
enum Versioned<'a, T> {
    V {
        v: u32,
        #[serde(flatten)]
        record: &'a T,
    },
    Version {
        version: u32,
        #[serde(flatten)]
        record: &'a T,
    },
}

impl RecordFormat {
    /// Creates a format of this newest version, which is in this field of each record.
    pub const fn new(version: u32, field: VersionField) -> Self {
        Self { version, field }
    }

    /// Encodes a record with its version.
    ///
    /// # Errors
    /// Returns [`RecordError::Encode`] if the record can't be written as a JSON object.
    pub fn encode<T: Serialize>(self, record: &T) -> Result<Vec<u8>, RecordError> {
        let versioned = match self.field {
            VersionField::V => Versioned::V { v: self.version, record },
            VersionField::Version => Versioned::Version { version: self.version, record },
        };
        serde_json::to_vec(&versioned).map_err(|error| RecordError::Encode {
            record: std::any::type_name::<T>().rsplit("::").next().unwrap_or_default(),
            message: error.to_string(),
        })
    }

    /// Returns the write of a record under a key that is not bound to a lease.
    ///
    /// # Errors
    /// Returns [`RecordError::Encode`] if the record can't be written as a JSON object.
    pub fn put<T: Serialize>(self, key: String, record: &T) -> Result<Write, RecordError> {
        Ok(Write::Put { key, value: self.encode(record)?, lease: None })
    }

    /// Decodes the value of a key. One without a version was written before its format had one.
    ///
    /// # Errors
    /// Returns [`RecordError::Newer`] for a record of a newer version, and [`RecordError::Corrupt`] for a value that is not
    /// such a record.
    pub fn decode<T: DeserializeOwned>(self, key: &str, value: &[u8]) -> Result<T, RecordError> {
        let corrupt = |error: serde_json::Error| RecordError::Corrupt { key: key.into(), message: error.to_string() };
        let found = self.version_of(value).map_err(corrupt)?;
        if found > self.version {
            return Err(RecordError::Newer { key: key.into(), found, known: self.version });
        }
        serde_json::from_slice(value).map_err(corrupt)
    }

    /// Decodes an entry: see [`RecordFormat::decode`].
    ///
    /// # Errors
    /// As for [`RecordFormat::decode`].
    pub fn decode_entry<T: DeserializeOwned>(self, entry: &Entry) -> Result<T, RecordError> {
        self.decode(&entry.key, &entry.value)
    }

    fn version_of(self, value: &[u8]) -> Result<u32, serde_json::Error> {
        #[derive(Deserialize)]
        struct V {
            #[serde(default)]
            v: u32,
        }
        #[derive(Deserialize)]
        struct Version {
            #[serde(default)]
            version: u32,
        }
        Ok(match self.field {
            VersionField::V => serde_json::from_slice::<V>(value)?.v,
            VersionField::Version => serde_json::from_slice::<Version>(value)?.version,
        })
    }
}

impl RecordError {
    /// Returns a stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Encode { .. } => "store.unusable",
            Self::Corrupt { .. } => "store.corrupt",
            Self::Newer { .. } => "store.newer",
        }
    }
}

impl From<RecordError> for StoreError {
    fn from(error: RecordError) -> Self {
        Self::Unusable { message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const V: RecordFormat = RecordFormat::new(2, VersionField::V);
    const VERSION: RecordFormat = RecordFormat::new(2, VersionField::Version);

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Port {
        port: u16,
    }

    #[test]
    fn a_record_that_can_not_be_written_is_an_error_and_not_empty() {
        #[derive(Serialize)]
        struct Odd {
            map: HashMap<Vec<u8>, u8>,
        }
        let error = V.put("key".into(), &Odd { map: [(vec![1], 1)].into() }).unwrap_err();
        assert!(matches!(&error, RecordError::Encode { record: "Odd", .. }), "{error}");
        assert!(VERSION.encode(&5).is_err(), "a number has no place for a version");
    }

    #[test]
    fn a_record_is_read_up_to_the_known_version_and_not_beyond() {
        let read = |format: RecordFormat, text: &str| format.decode::<Port>("the-key", text.as_bytes());
        for (format, field) in [(V, "v"), (VERSION, "version")] {
            let text = String::from_utf8(format.encode(&Port { port: 1 }).unwrap()).unwrap();
            assert_eq!(text, format!("{{\"{field}\":2,\"port\":1}}"));
            for known in ["\"v\":1,\"version\":1,", "\"added\":[],", ""] {
                assert_eq!(read(format, &format!("{{{known}\"port\":1}}")).unwrap(), Port { port: 1 });
            }
            let newer = read(format, &format!("{{\"{field}\":3}}")).unwrap_err();
            assert_eq!(newer, RecordError::Newer { key: "the-key".into(), found: 3, known: 2 });
            assert!(newer.to_string().contains("the-key has version 3") && newer.to_string().contains("newer program"));
            for corrupt in ["", "{", "[]", "{}", "{\"port\":70000}", "\"port\"", "{\"v\":-1,\"version\":-1,\"port\":1}"]
            {
                let error = read(format, corrupt).unwrap_err();
                assert!(matches!(error, RecordError::Corrupt { .. }), "{corrupt}: {error}");
            }
        }
    }
}
