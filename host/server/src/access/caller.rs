//! Whoever sent a request.

use std::collections::BTreeSet;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::{AccessError, Scope, TokenInfo};

/// Whoever sent a request, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of the token.
    pub name: String,
    /// Its id; none while the service has no tokens.
    pub token: Option<String>,
    /// What they may do.
    pub scope: Scope,
    /// The infrastructures that they may do it to; none: all.
    pub infrastructures: Option<BTreeSet<String>>,
    /// Where they are.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// Whoever uses this machine, while the service has no tokens.
    pub fn anyone(address: Option<IpAddr>) -> Self {
        let name = "anyone on this machine".to_owned();
        Self { name, token: None, scope: Scope::Admin, infrastructures: None, address }
    }

    /// Whoever has this token.
    pub fn from_token(token: TokenInfo, address: Option<IpAddr>) -> Self {
        let TokenInfo { id, name, scope, infrastructures, .. } = token;
        Self { name, token: Some(id), scope, infrastructures, address }
    }

    /// Whether they may do what needs this scope: to the infrastructure with this id, or, without one, to the service as a
    /// whole. Whoever is limited to some infrastructures may read what concerns all, less what [`Caller::sees`] leaves out,
    /// and change nothing of it.
    pub fn authorize(&self, needed: Scope, infrastructure: Option<&str>) -> Result<(), AccessError> {
        if self.scope < needed {
            return Err(AccessError::Scope { needed });
        }
        match (&self.infrastructures, infrastructure) {
            (None, _) => Ok(()),
            (Some(own), Some(id)) if own.contains(id) => Ok(()),
            (Some(_), Some(id)) => Err(AccessError::Infrastructure { id: id.to_owned() }),
            (Some(_), None) if needed == Scope::Read => Ok(()),
            (Some(_), None) => Err(AccessError::NotUnlimited),
        }
    }

    /// Whether they may read what concerns all infrastructures and can't be told for some of them.
    pub fn authorize_all(&self) -> Result<(), AccessError> {
        self.authorize(Scope::Read, None)?;
        if self.infrastructures.is_none() { Ok(()) } else { Err(AccessError::NotUnlimited) }
    }

    /// Whether an infrastructure is in the lists that they get.
    pub fn can_see(&self, infrastructure: &str) -> bool {
        self.infrastructures.as_ref().is_none_or(|own| own.contains(infrastructure))
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = AccessError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get::<Self>().cloned().ok_or(AccessError::Unauthenticated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(scope: Scope, infrastructures: &[&str]) -> Caller {
        let infrastructures = infrastructures.iter().map(|id| (*id).to_owned()).collect();
        Caller { scope, infrastructures: Some(infrastructures), ..Caller::anyone(None) }
    }

    #[test]
    fn scopes_are_enough_or_not() {
        let caller = Caller { scope: Scope::Operate, ..Caller::anyone(None) };
        assert_eq!(caller.authorize(Scope::Read, None), Ok(()));
        assert_eq!(caller.authorize(Scope::Operate, Some("any")), Ok(()));
        assert_eq!(caller.authorize(Scope::Admin, None), Err(AccessError::Scope { needed: Scope::Admin }));
    }

    #[test]
    fn who_is_limited_to_some_reaches_no_others_and_changes_nothing_of_all() {
        let caller = caller(Scope::Admin, &["one"]);
        assert_eq!(caller.authorize(Scope::Operate, Some("one")), Ok(()));
        assert_eq!(caller.authorize(Scope::Read, Some("two")), Err(AccessError::Infrastructure { id: "two".into() }));
        assert_eq!(caller.authorize(Scope::Read, None), Ok(()));
        assert_eq!(caller.authorize(Scope::Operate, None), Err(AccessError::NotUnlimited));
        assert_eq!(caller.authorize_all(), Err(AccessError::NotUnlimited));
        assert_eq!(Caller::anyone(None).authorize_all(), Ok(()));
        assert!(caller.can_see("one") && !caller.can_see("two") && !caller.can_see("one/"));
    }

    #[test]
    fn limited_to_none_is_not_unlimited() {
        let caller = caller(Scope::Admin, &[]);
        assert!(!caller.can_see("one"));
        assert!(caller.authorize(Scope::Read, Some("one")).is_err());
    }
}
