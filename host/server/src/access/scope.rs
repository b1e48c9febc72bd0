//! Scopes of tokens.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Scope of a token. Each scope includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Reading.
    Read,
    /// Building, changing, scaling and destroying infrastructures.
    Operate,
    /// Changing what all infrastructures share, namely node definitions; reading the audit.
    Admin,
}

/// Name that is not that of a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown scope `{0}`: use `read`, `operate` or `admin`")]
pub struct UnknownScope(pub String);

impl Scope {
    /// All scopes, in ascending order.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Admin];

    /// Returns the name of the scope, as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|scope| scope.name() == text).ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_is_more_than_those_before_it_and_reads_back() {
        assert!(Scope::ALL.is_sorted_by(|one, other| one < other));
        for scope in Scope::ALL {
            assert_eq!(scope.to_string().parse(), Ok(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
        }
        assert!("Admin".parse::<Scope>().is_err());
    }
}
