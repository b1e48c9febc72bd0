//! The plugins' schemas of credentials, recorded for the time when a file is read again without access to the plugins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use occopus_model::{Schemas, SectionKind};
use serde_json::Value;

/// Schemas that were recorded before. A section whose schema was not recorded is not checked.
#[derive(Debug, Clone, Default)]
pub(super) struct RecordedSchemas {
    credentials: HashMap<(SectionKind, String), Option<Arc<Value>>>,
    keywords: HashMap<SectionKind, Vec<String>>,
}

/// A recorder that passes requests on, and keeps the schemas of credentials and the keywords.
pub(super) struct SchemaRecorder<'a> {
    schemas: &'a dyn Schemas,
    known: Mutex<RecordedSchemas>,
}

impl<'a> SchemaRecorder<'a> {
    pub(super) fn new(schemas: &'a dyn Schemas) -> Self {
        Self { schemas, known: Mutex::default() }
    }

    fn record(&self, store: impl FnOnce(&mut RecordedSchemas)) {
        store(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl RecordedSchemas {
    pub(super) fn merge(&mut self, recorder: SchemaRecorder<'_>) {
        let new = recorder.known.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.credentials.extend(new.credentials);
        self.keywords.extend(new.keywords);
    }
}

impl Schemas for SchemaRecorder<'_> {
    fn schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        self.schemas.schema(section, keyword)
    }

    fn keywords(&self, section: SectionKind) -> Vec<String> {
        let keywords = self.schemas.keywords(section);
        self.record(|known| drop(known.keywords.insert(section, keywords.clone())));
        keywords
    }

    fn credentials_schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        let schema = self.schemas.credentials_schema(section, keyword);
        self.record(|known| drop(known.credentials.insert((section, keyword.to_owned()), schema.clone())));
        schema
    }
}

impl Schemas for RecordedSchemas {
    fn schema(&self, _: SectionKind, _: &str) -> Option<Arc<Value>> {
        None
    }

    fn keywords(&self, section: SectionKind) -> Vec<String> {
        self.keywords.get(&section).cloned().unwrap_or_default()
    }

    fn credentials_schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        self.credentials.get(&(section, keyword.to_owned())).cloned().flatten()
    }
}
