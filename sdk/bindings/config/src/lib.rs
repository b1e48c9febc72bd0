//! The world `occopus:config/config-manager`.
#![allow(missing_docs, clippy::all, reason = "generated; the docs are in wit/")]

wit_bindgen::generate!({
    path: ["../../../wit/types", "../../../wit/host", "../../../wit/config"],
    world: "occopus:config/config-manager",
    with: {
        "occopus:types/types@0.1.0": occopus_bindings_imports::occopus::types::types,
        "occopus:host/log@0.1.0": occopus_bindings_imports::occopus::host::log,
        "occopus:host/call@0.1.0": occopus_bindings_imports::occopus::host::call,
        "occopus:host/secrets@0.1.0": occopus_bindings_imports::occopus::host::secrets,
        "occopus:host/cache@0.1.0": occopus_bindings_imports::occopus::host::cache,
        "occopus:config/inputs@0.1.0": occopus_bindings_imports::occopus::config::inputs,
    },
    pub_export_macro: true,
    default_bindings_module: "occopus_sdk::bindings::config",
});
