//! Bindings that Wasmtime generates from the contract in `wit/`.
#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated; the docs are in wit/")]

/// Interfaces that the host implements.
pub(crate) mod imports {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/host", "../../wit/driver", "../../wit/health", "../../wit/context", "../../wit/config"],
        inline: "
            package occopus:runtime@0.1.0;
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
        world: "occopus:runtime/imports",
        imports: { default: async | trappable },
        with: {
            "occopus:host/call.context": crate::host::ContextHandle,
            "occopus:host/secrets.credential": crate::host::CredentialHandle,
            "occopus:host/secrets.secret": crate::host::SecretHandle,
            "occopus:driver/inputs.scope": crate::host::ScopeHandle,
            "occopus:driver/inputs.node-request": crate::host::NodeRequestHandle,
            "occopus:health/inputs.target": crate::host::HealthTargetHandle,
            "occopus:context/inputs.request": crate::host::ContextRequestHandle,
            "occopus:context/inputs.facts": crate::host::FactsHandle,
            "occopus:config/inputs.scope": crate::host::ConfigScopeHandle,
            "occopus:config/inputs.registration": crate::host::RegistrationHandle,
        },
    });
}

macro_rules! world {
    ($module:ident, $world:literal, $path:literal, $inputs:literal => $segment:ident) => {
        pub(crate) mod $module {
            wasmtime::component::bindgen!({
                path: ["../../wit/types", "../../wit/host", $path],
                world: $world,
                imports: { default: async | trappable },
                exports: { default: async },
                with: {
                    "occopus:types/types": super::imports::occopus::types::types,
                    "occopus:host": super::imports::occopus::host,
                    $inputs: super::imports::occopus::$segment::inputs,
                },
            });
        }
    };
}

world!(driver, "occopus:driver/driver-complete", "../../wit/driver", "occopus:driver/inputs" => driver);
world!(health, "occopus:health/health-checker", "../../wit/health", "occopus:health/inputs" => health);
world!(context, "occopus:context/contextualiser", "../../wit/context", "occopus:context/inputs" => context);
world!(config, "occopus:config/config-manager", "../../wit/config", "occopus:config/inputs" => config);
