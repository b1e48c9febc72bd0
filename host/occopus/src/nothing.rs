//! For those who only read: no plugins, so that none are opened.

use std::sync::Arc;

use occopus_engine::ports::{Contextualiser, Driver, HealthChecker, Plugins};

/// No plugins.
pub(crate) struct NoPlugins;

impl Plugins for NoPlugins {
    fn driver(&self, _keyword: &str) -> Option<Arc<dyn Driver>> {
        None
    }

    fn health_checker(&self, _keyword: &str) -> Option<Arc<dyn HealthChecker>> {
        None
    }

    fn contextualiser(&self, _keyword: &str) -> Option<Arc<dyn Contextualiser>> {
        None
    }
}
