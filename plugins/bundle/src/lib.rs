//! The bundled plugins, as bytes. They have no more rights than any other plugin.

/// A plugin that comes with the program.
#[derive(Debug, Clone, Copy)]
pub struct Bundled {
    /// Kind and keyword, such as `driver-docker`.
    pub name: &'static str,
    /// The component.
    pub bytes: &'static [u8],
}

/// All bundled plugins, by name.
pub static PLUGINS: &[Bundled] = include!(concat!(env!("OUT_DIR"), "/plugins.rs"));

#[cfg(test)]
mod tests {
    use super::PLUGINS;

    #[test]
    fn all_are_components() {
        // The preamble of a component: magic, then version 13 of layer 1.
        const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
        let names: Vec<_> = PLUGINS.iter().map(|plugin| plugin.name).collect();
        assert!(names.contains(&"health-ports") && names.contains(&"driver-local"), "{names:?}");
        for plugin in PLUGINS {
            assert!(plugin.bytes.starts_with(COMPONENT), "{} is not a component", plugin.name);
        }
    }
}
