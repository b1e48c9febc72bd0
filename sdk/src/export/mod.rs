//! Conversions between the contract's types and this crate's, and the macros that make a component of a plugin.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Fault;

#[cfg(target_arch = "wasm32")]
mod adapters;
#[cfg(target_arch = "wasm32")]
pub use adapters::{ConfigAdapter, ContextAdapter, DriverAdapter, HealthAdapter};

/// Exports a [`crate::Driver`] as a component; `export_driver!(T, inventory)` one that is also an [`crate::Inventory`].
#[macro_export]
macro_rules! export_driver {
    ($driver:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::DriverAdapter<$driver>;
    $crate::bindings::driver::export!(Exported with_types_in $crate::bindings::driver);
        };
    };
    ($driver:ty, inventory) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::DriverAdapter<$driver>;
    $crate::bindings::driver_full::export!(Exported with_types_in $crate::bindings::driver_full);
        };
    };
}

/// Exports a [`crate::HealthChecker`] as a component.
#[macro_export]
macro_rules! export_health_checker {
    ($checker:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::HealthAdapter<$checker>;
    $crate::bindings::health::export!(Exported with_types_in $crate::bindings::health);
        };
    };
}

/// Exports a [`crate::Contextualiser`] as a component.
#[macro_export]
macro_rules! export_contextualiser {
    ($contextualiser:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::ContextAdapter<$contextualiser>;
    $crate::bindings::context::export!(Exported with_types_in $crate::bindings::context);
        };
    };
}

/// Exports a [`crate::ConfigManager`] as a component.
#[macro_export]
macro_rules! export_config_manager {
    ($manager:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Exported = $crate::ConfigAdapter<$manager>;
    $crate::bindings::config::export!(Exported with_types_in $crate::bindings::config);
        };
    };
}

/// Reads the user's section as the plugin's type. `type` belongs to the host and is taken out.
pub(crate) fn section<S: DeserializeOwned>(json: &str) -> Result<S, Fault> {
    let mut value: Value = serde_json::from_str(json)
        .map_err(|error| Fault::give_up("occopus.bad-section", format!("the section is not JSON: {error}")))?;
    if let Value::Object(keys) = &mut value {
        keys.shift_remove("type");
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let why = error.inner().to_string();
        Fault::give_up("occopus.bad-section", format!("the section does not fit the plugin: {why}"))
            .at(pointer(error.path()), why)
    })
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let steps = path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(format!("/{index}")),
        Segment::Map { key } => Some(format!("/{}", crate::jinja::escape(key))),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    steps.collect()
}

/// Reads JSON from the host; null if it is not JSON.
#[cfg(target_arch = "wasm32")]
pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::section;

    #[test]
    fn the_place_that_does_not_fit_is_told() {
        type Section = BTreeMap<String, Vec<u16>>;
        assert_eq!(section::<Section>(r#"{"type":"x","a":[1]}"#), Ok(BTreeMap::from([("a".to_owned(), vec![1])])));
        let fault = section::<Section>(r#"{"a/b":[1,"two"]}"#).expect_err("no number");
        assert_eq!(fault.details[0].pointer, "/a~1b/1");
    }
}
