//! Where a node can be reached.

/// An address of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// An IPv4 or IPv6 address, or a DNS name.
    pub value: String,
    /// Only reachable from inside the cloud's own network.
    pub internal: bool,
}

impl Address {
    /// One that can be reached from anywhere.
    pub fn external(value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            internal: false,
        }
    }

    /// One inside the cloud's own network.
    pub fn internal(value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            internal: true,
        }
    }
}
