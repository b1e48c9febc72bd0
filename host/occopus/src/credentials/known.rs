//! What plugins say of their credentials, kept for the time when a file is read again and nobody can be asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use occopus_model::{Schemas, Section};
use serde_json::Value;

/// Answers that were given before. What was not asked for then is not checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    credentials: HashMap<(Section, String), Option<Arc<Value>>>,
    keywords: HashMap<Section, Vec<String>>,
}

/// Passes questions on, and keeps the answers.
pub(super) struct Recorder<'a> {
    schemas: &'a dyn Schemas,
    known: Mutex<Known>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(schemas: &'a dyn Schemas) -> Self {
        Self { schemas, known: Mutex::default() }
    }

    fn keep(&self, keep: impl FnOnce(&mut Known)) {
        keep(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Known {
    pub(super) fn learn(&mut self, recorder: Recorder<'_>) {
        let new = recorder.known.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.credentials.extend(new.credentials);
        self.keywords.extend(new.keywords);
    }
}

impl Schemas for Recorder<'_> {
    fn schema(&self, section: Section, keyword: &str) -> Option<Arc<Value>> {
        self.schemas.schema(section, keyword)
    }

    fn keywords(&self, section: Section) -> Vec<String> {
        let keywords = self.schemas.keywords(section);
        self.keep(|known| drop(known.keywords.insert(section, keywords.clone())));
        keywords
    }

    fn credentials_schema(&self, section: Section, keyword: &str) -> Option<Arc<Value>> {
        let schema = self.schemas.credentials_schema(section, keyword);
        self.keep(|known| drop(known.credentials.insert((section, keyword.to_owned()), schema.clone())));
        schema
    }
}

impl Schemas for Known {
    fn schema(&self, _: Section, _: &str) -> Option<Arc<Value>> {
        None
    }

    fn keywords(&self, section: Section) -> Vec<String> {
        self.keywords.get(&section).cloned().unwrap_or_default()
    }

    fn credentials_schema(&self, section: Section, keyword: &str) -> Option<Arc<Value>> {
        self.credentials.get(&(section, keyword.to_owned())).cloned().flatten()
    }
}
