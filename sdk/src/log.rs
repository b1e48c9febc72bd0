//! Log lines. The host adds the plugin's and the node's names.

use crate::host;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Every step.
    Trace,
    /// For the plugin's author.
    Debug,
    /// For the user.
    Info,
    /// Odd, and it goes on.
    Warn,
    /// It does not go on.
    Error,
}

/// Writes a line with fields.
pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
    host::log(level, message, fields);
}

macro_rules! levels {
    ($($name:ident => $level:ident),+) => {
        $(
            #[doc = concat!("A line at level ", stringify!($name), ".")]
            pub fn $name(message: impl AsRef<str>) {
                write(Level::$level, message.as_ref(), &[]);
            }
        )+
    };
}

levels!(trace => Trace, debug => Debug, info => Info, warn => Warn, error => Error);
