//! Section and credentials that the user writes.

use std::borrow::Cow;

use occopus_sdk::Text;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

/// A server of CloudSigma.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// URL of the API of a location, such as `https://zrh.cloudsigma.com/api/2.0`.
    pub endpoint: String,
    /// Id of the library drive that the server's drive is cloned from.
    pub libdrive_id: Text,
    /// The server, as the API takes it.
    pub description: Description,
    /// A name for this cloud, in logs.
    #[serde(default)]
    #[allow(dead_code, reason = "for people")]
    pub name: Option<Text>,
}

/// A server as the API takes it: whatever stands here is passed on.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct Description {
    /// MHz of all its cores together.
    pub cpu: WholeNumber,
    /// Bytes of memory.
    pub mem: WholeNumber,
    /// Password of its VNC console.
    pub vnc_password: Text,
    /// Everything else: `name`, `nics`, `pubkeys`, `tags`, `smp`, `meta` and so on.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Description {
    /// Returns another key of it; none if it is empty.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.more.get(key).filter(|value| !value.is_null())
    }
}

/// A whole number, which may be written as a text: templates make texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeNumber(pub u64);

impl<'de> Deserialize<'de> for WholeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = match Value::deserialize(deserializer)? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.map(Self).ok_or_else(|| de::Error::custom("not a whole number"))
    }
}

impl JsonSchema for WholeNumber {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "WholeNumber".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["integer", "string"], "minimum": 0, "pattern": "^\\s*[0-9]{1,19}\\s*$"})
    }
}

/// E-mail address and password of an account.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its schema is used: the host keeps the values")]
pub struct Credentials {
    /// E-mail address of the account.
    #[schemars(extend("x-public" = true))]
    email: String,
    /// Password of the account.
    password: String,
}
