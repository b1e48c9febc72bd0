//! The world `occopus:health/health-checker`.
#![allow(missing_docs, clippy::all, reason = "generated; the docs are in wit/")]

wit_bindgen::generate!({
    path: ["../../../wit/types", "../../../wit/host", "../../../wit/health"],
    world: "occopus:health/health-checker",
    with: {
        "occopus:types/types@0.1.0": occopus_bindings_imports::occopus::types::types,
        "occopus:host/log@0.1.0": occopus_bindings_imports::occopus::host::log,
        "occopus:host/call@0.1.0": occopus_bindings_imports::occopus::host::call,
        "occopus:health/inputs@0.1.0": occopus_bindings_imports::occopus::health::inputs,
    },
    pub_export_macro: true,
    default_bindings_module: "occopus_sdk::bindings::health",
});
