//! Everything that a plugin may import; only what it uses stays in the component. A crate of its own, as are the worlds beside
//! it, because wit-bindgen's macros for two worlds with an interface in common clash in one crate.
#![allow(missing_docs, clippy::all, reason = "generated; the docs are in wit/")]

wit_bindgen::generate!({
    path: [
        "../../../wit/types",
        "../../../wit/host",
        "../../../wit/driver",
        "../../../wit/health",
        "../../../wit/context",
        "../../../wit/config",
    ],
    inline: "
        package occopus:sdk@0.1.0;
        world imports {
            import occopus:types/types@0.1.0;
            import occopus:host/log@0.1.0;
            import occopus:host/call@0.1.0;
            import occopus:host/secrets@0.1.0;
            import occopus:host/reveal@0.1.0;
            import occopus:host/cache@0.1.0;
            import occopus:host/icmp@0.1.0;
            import occopus:host/process@0.1.0;
            import occopus:driver/inputs@0.1.0;
            import occopus:health/inputs@0.1.0;
            import occopus:context/inputs@0.1.0;
            import occopus:config/inputs@0.1.0;
        }
    ",
    world: "occopus:sdk/imports",
    generate_all,
});
