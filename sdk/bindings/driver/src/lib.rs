//! The world of a driver without an inventory.
#![allow(missing_docs, clippy::all, reason = "generated; the docs are in wit/")]

wit_bindgen::generate!({
    path: ["../../../wit/types", "../../../wit/host", "../../../wit/driver"],
    inline: "
        package occopus:kit@0.1.0;
        world driver {
            include occopus:driver/driver@0.1.0;
            export occopus:driver/preflight@0.1.0;
            export occopus:driver/output@0.1.0;
        }
    ",
    world: "occopus:kit/driver",
    with: {
        "occopus:types/types@0.1.0": occopus_bindings_imports::occopus::types::types,
        "occopus:host/log@0.1.0": occopus_bindings_imports::occopus::host::log,
        "occopus:host/call@0.1.0": occopus_bindings_imports::occopus::host::call,
        "occopus:host/secrets@0.1.0": occopus_bindings_imports::occopus::host::secrets,
        "occopus:host/cache@0.1.0": occopus_bindings_imports::occopus::host::cache,
        "occopus:driver/inputs@0.1.0": occopus_bindings_imports::occopus::driver::inputs,
    },
    pub_export_macro: true,
    default_bindings_module: "occopus_sdk::bindings::driver",
});
