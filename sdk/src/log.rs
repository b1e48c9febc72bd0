//! Log lines. The host adds the plugin's and the node's names.

use crate::platform;

pub use crate::bindings::imports::occopus::host::log::Level;

/// Writes a line with fields.
pub fn write(level: Level, message: &str, fields: &[(String, String)]) {
    platform::log(level, message, fields);
}

macro_rules! levels {
    ($($name:ident => $level:ident),+) => {
        $(
            #[doc = concat!("A line at the level `", stringify!($name), "`.")]
            pub fn $name(message: impl AsRef<str>) {
                write(Level::$level, message.as_ref(), &[]);
            }
        )+
    };
}

levels!(trace => Trace, debug => Debug, info => Info, warn => Warn, error => Error);
