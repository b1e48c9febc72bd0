//! The world `occopus:context/contextualiser`.
#![allow(missing_docs, clippy::all, reason = "generated; the docs are in wit/")]

wit_bindgen::generate!({
    path: ["../../../wit/types", "../../../wit/host", "../../../wit/context"],
    world: "occopus:context/contextualiser",
    with: {
        "occopus:types/types@0.1.0": occopus_bindings_imports::occopus::types::types,
        "occopus:host/log@0.1.0": occopus_bindings_imports::occopus::host::log,
        "occopus:host/call@0.1.0": occopus_bindings_imports::occopus::host::call,
        "occopus:context/inputs@0.1.0": occopus_bindings_imports::occopus::context::inputs,
    },
    pub_export_macro: true,
    default_bindings_module: "occopus_sdk::bindings::context",
});
