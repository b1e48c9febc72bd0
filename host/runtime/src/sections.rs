//! Parts of a `resource` section: those that a contextualiser may fill in, and those by which credentials are chosen.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use occopus_engine::ports::Fault;
use occopus_model::{Credential, SectionKind};
use serde_json::Value;

use crate::credential_source::CredentialSource;

/// Returns the keys of a driver's section that a contextualiser may fill in: those with `"x-fillable": true` in its schema.
pub fn fillable_keys(schema: &Value) -> BTreeSet<String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let is_fillable = |property: &Value| property.get("x-fillable") == Some(&Value::Bool(true));
    let marked = properties.into_iter().flatten().filter(|(_, property)| is_fillable(property));
    marked.map(|(name, _)| name.clone()).collect()
}

/// Returns the part of a section by which credentials are chosen: without the keys that others than the user may have
/// filled in.
pub fn credential_selector<'a>(section: &'a Value, schema: &Value) -> Cow<'a, Value> {
    let fillable = fillable_keys(schema);
    match section.as_object() {
        Some(fields) if fields.keys().any(|key| fillable.contains(key)) => {
            let own = fields.iter().filter(|(key, _)| !fillable.contains(*key));
            Cow::Owned(Value::Object(own.map(|(key, value)| (key.clone(), value.clone())).collect()))
        }
        _ => Cow::Borrowed(section),
    }
}

/// Credential source for the sections of one schema.
pub(crate) struct SelectorCredentialSource {
    pub(crate) credentials: Arc<dyn CredentialSource>,
    pub(crate) schema: Arc<Value>,
}

#[async_trait]
impl CredentialSource for SelectorCredentialSource {
    fn credential(&self, section: SectionKind, settings: &Value) -> Result<Option<Credential>, Fault> {
        self.credentials.credential(section, &credential_selector(settings, &self.schema))
    }

    async fn refresh(&self) {
        self.credentials.refresh().await;
    }

    async fn renew(&self, section: SectionKind, settings: &Value, denied: &Credential) -> bool {
        self.credentials.renew(section, &credential_selector(settings, &self.schema), denied).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_fill_in_selects_nothing() {
        let schema =
            json!({"properties": {"project": {"x-fillable": true}, "zone": {"x-fillable": "true"}, "size": {}}});
        let section = json!({"type": "cloud", "project": "prod", "zone": "a"});
        assert_eq!(*credential_selector(&section, &schema), json!({"type": "cloud", "zone": "a"}));
        assert!(matches!(credential_selector(&section, &json!({})), Cow::Borrowed(_)));
    }
}
