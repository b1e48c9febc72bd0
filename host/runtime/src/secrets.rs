//! The credential of one call: the guest holds placeholders, the host holds the values.

mod aws;
mod encoded_forms;
mod escape;
mod fill;
mod redact;
mod search;
mod sign;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

pub(crate) use aws::{AWS_KEY_PREFIX, AwsRequest};
pub(crate) use fill::FilledTextTooLong;
pub(crate) use search::{SecretPatterns, StreamMasker};

/// Encoding of a secret where its placeholder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Encoding {
    /// Plain text.
    Plain,
    /// Inside of a JSON string.
    Json,
    /// Percent-encoded.
    Percent,
}

/// Credential of one call. Share it by `Arc`: all methods take `&self`. Its values are wiped from memory when it is
/// dropped.
pub(crate) struct CallSecrets {
    values: BTreeMap<String, Zeroizing<String>>,
    public: BTreeSet<String>,
    issued: Mutex<BTreeMap<String, PlaceholderForm>>,
    /// Section at hand, in JSON: the guest has its text anyway.
    section: String,
    text_patterns: OnceLock<SecretPatterns>,
    answer_patterns: OnceLock<Arc<SecretPatterns>>,
}

/// Content of a placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PlaceholderForm {
    Value(String, Encoding),
    /// base64(user:value) of this field and user.
    Basic(String, String),
}

/// Beginning of every placeholder; 32 hexadecimal digits follow.
const PLACEHOLDER_PREFIX: &str = "occopus-secret-";
const PLACEHOLDER_HEX_DIGITS: usize = 32;
/// Number of placeholders of a call. Further ones are not filled in.
const MAX_PLACEHOLDERS: usize = 1024;
/// Bytes of the user in a placeholder. One with a longer user is not filled in.
const MAX_USER_BYTES: usize = 1024;

impl CallSecrets {
    /// Creates a credential from the values by name, and the names of those that are not secret (see
    /// [`public_fields`]).
    pub(crate) fn new(values: impl IntoIterator<Item = (String, Zeroizing<String>)>, public: BTreeSet<String>) -> Self {
        let values = values.into_iter().collect();
        let (issued, section, text_patterns, answer_patterns) = Default::default();
        Self { values, public, issued, section, text_patterns, answer_patterns }
    }

    /// Returns the same credential, for a call about this section. Text of the section is no secret to the guest, and
    /// is left in the answers that it reads.
    #[must_use]
    pub(crate) fn for_section(self, section: &Value) -> Self {
        Self { section: section.to_string(), ..self }
    }

    /// Returns the names of the values, sorted.
    pub(crate) fn fields(&self) -> Vec<String> {
        self.values.keys().cloned().collect()
    }

    /// Returns whether there is a value of this name.
    pub(crate) fn has_field(&self, field: &str) -> bool {
        self.values.contains_key(field)
    }

    /// Returns a value that is not secret; none for a secret or an unknown name.
    pub(crate) fn public(&self, field: &str) -> Option<String> {
        self.public.contains(field).then(|| self.values.get(field).map(|value| value.to_string())).flatten()
    }

    /// Returns the value itself, for the `reveal` interface alone.
    pub(crate) fn reveal(&self, field: &str) -> Option<Zeroizing<String>> {
        self.values.get(field).cloned()
    }

    /// Returns a placeholder for a value; none if there is no such value.
    pub(crate) fn placeholder(&self, field: &str, encoding: Encoding) -> Option<String> {
        self.has_field(field).then(|| self.issue_placeholder(PlaceholderForm::Value(field.to_owned(), encoding)))
    }

    /// Returns a placeholder for base64(user:value); none if there is no such value.
    pub(crate) fn basic(&self, field: &str, user: &str) -> Option<String> {
        self.has_field(field).then(|| self.issue_placeholder(PlaceholderForm::Basic(field.to_owned(), user.to_owned())))
    }

    /// Returns whether there is a value that the guest must not have.
    pub(crate) fn has_secrets(&self) -> bool {
        self.values.keys().any(|field| !self.public.contains(field))
    }

    /// Returns whether the guest has requested a placeholder. If not, nothing in its requests can be one.
    pub(crate) fn has_placeholders(&self) -> bool {
        !self.issued().is_empty()
    }

    fn issue_placeholder(&self, form: PlaceholderForm) -> String {
        let mut issued = self.issued();
        if let Some((known, _)) = issued.iter().find(|(_, known)| **known == form) {
            return known.clone();
        }
        // 122 random bits from the system.
        let placeholder = format!("{PLACEHOLDER_PREFIX}{}", Uuid::new_v4().simple());
        let is_long = matches!(&form, PlaceholderForm::Basic(_, user) if user.len() > MAX_USER_BYTES);
        if issued.len() < MAX_PLACEHOLDERS && !is_long {
            issued.insert(placeholder.clone(), form);
        }
        placeholder
    }

    /// Returns the text that replaces a placeholder.
    fn expand(&self, form: &PlaceholderForm) -> Option<Zeroizing<String>> {
        match form {
            PlaceholderForm::Value(field, encoding) => {
                let value = self.values.get(field)?;
                Some(match encoding {
                    Encoding::Plain => value.clone(),
                    Encoding::Json => json_escape(value),
                    Encoding::Percent => percent_encode(value),
                })
            }
            PlaceholderForm::Basic(field, user) => {
                let pair = Zeroizing::new(format!("{user}:{}", self.values.get(field)?.as_str()));
                Some(Zeroizing::new(STANDARD.encode(pair.as_bytes())))
            }
        }
    }

    /// Locks the map, also after a panic: it is consistent at any time.
    fn issued(&self) -> MutexGuard<'_, BTreeMap<String, PlaceholderForm>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CallSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallSecrets").field("fields", &self.fields()).finish_non_exhaustive()
    }
}

/// Returns the fields that are not secret by the schema of the credentials: those with `"x-public": true`.
pub fn public_fields(schema: &Value) -> BTreeSet<String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let public = |property: &Value| property.get("x-public") == Some(&Value::Bool(true));
    properties.into_iter().flatten().filter(|(_, property)| public(property)).map(|(name, _)| name.clone()).collect()
}

/// Returns the inside of a JSON string.
fn json_escape(value: &str) -> Zeroizing<String> {
    let quoted = Zeroizing::new(Value::from(value).to_string());
    Zeroizing::new(quoted[1..quoted.len() - 1].to_owned())
}

/// Escapes all but the unreserved characters of RFC 3986.
fn percent_encode(value: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(3 * value.len()));
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])));
        }
    }
    text
}

#[cfg(test)]
mod tests;
