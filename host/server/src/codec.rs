//! The codec of the service's records in the store: JSON with a version. Records of a newer version are rejected.

use occopus_engine::ports::{Entry, StoreError, Write};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of the records that this program writes.
const RECORD_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    record: T,
}

/// Creates the write of this record under this key.
///
/// # Errors
/// Returns [`StoreError::Unusable`] if the record can't be encoded as JSON: then nothing is stored in its place.
pub(crate) fn put_record(key: String, record: &impl Serialize) -> Result<Write, StoreError> {
    match serde_json::to_vec(&Versioned { v: RECORD_VERSION, record }) {
        Ok(value) => Ok(Write::Put { key, value, lease: None }),
        Err(error) => Err(encode_error(&key, &error)),
    }
}

/// Creates the error for a record that can't be encoded.
pub(crate) fn encode_error(key: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Unusable { message: format!("internal error: the record {key} can't be written as JSON: {error}") }
}

/// Decodes the record of an entry.
///
/// # Errors
/// Returns [`StoreError::Unusable`] if the entry is not such a record, or one of a newer version.
pub(crate) fn decode_record<T: DeserializeOwned>(entry: &Entry) -> Result<T, StoreError> {
    let unusable =
        |cause: String| StoreError::Unusable { message: format!("the store's entry {}: {cause}", entry.key) };
    let value: Versioned<serde_json::Value> =
        serde_json::from_slice(&entry.value).map_err(|error| unusable(error.to_string()))?;
    if value.v > RECORD_VERSION {
        return Err(unusable(format!(
            "it has version {}, this program knows {RECORD_VERSION}: use a newer program",
            value.v
        )));
    }
    serde_json::from_value(value.record).map_err(|error| unusable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_written_is_an_error_and_no_empty_record() {
        let odd = std::collections::HashMap::from([(vec![1_u8], 1)]);
        let error = put_record("service/odd".into(), &odd).unwrap_err().to_string();
        assert!(error.contains("service/odd") && error.contains("can't be written"), "{error}");
        let Write::Put { key, value, .. } = put_record("service/even".into(), &serde_json::json!({"a": 1})).unwrap()
        else {
            panic!("a record")
        };
        let mut entry = Entry { key, value, created: 1, modified: 1 };
        assert_eq!(decode_record::<serde_json::Value>(&entry).unwrap(), serde_json::json!({"a": 1}));
        entry.value = br#"{"v": 2}"#.to_vec();
        assert!(decode_record::<serde_json::Value>(&entry).unwrap_err().to_string().contains("newer"));
    }
}
