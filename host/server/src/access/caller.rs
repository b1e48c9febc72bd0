//! The sender of a request and its rights.

use std::collections::BTreeSet;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::{AccessError, Scope, TokenInfo};

/// The sender of a request, and its rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Name of the token.
    pub name: String,
    /// Id of the token; `None` while the service has no tokens.
    pub token: Option<String>,
    /// Scope of the token.
    pub scope: Scope,
    /// Ids of the infrastructures that the token is limited to; `None` for all.
    pub infrastructures: Option<BTreeSet<String>>,
    /// Network address of the sender.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// Returns the caller of every request from this machine while the service has no tokens, with the scope `admin`.
    pub fn anyone(address: Option<IpAddr>) -> Self {
        let name = "anyone on this machine".to_owned();
        Self { name, token: None, scope: Scope::Admin, infrastructures: None, address }
    }

    /// Returns the owner of this token.
    pub fn from_token(token: TokenInfo, address: Option<IpAddr>) -> Self {
        let TokenInfo { id, name, scope, infrastructures, .. } = token;
        Self { name, token: Some(id), scope, infrastructures, address }
    }

    /// Checks that the caller has this scope: on the infrastructure with this id or, without one, on the service as a
    /// whole. A caller that is limited to some infrastructures may read what concerns all, filtered by
    /// [`Caller::can_see`], and change nothing of it.
    ///
    /// # Errors
    /// Returns [`AccessError::Scope`] if the scope is not enough, and [`AccessError::Infrastructure`] or
    /// [`AccessError::NotUnlimited`] if the token is limited to other infrastructures.
    pub fn authorize(&self, needed: Scope, infrastructure: Option<&str>) -> Result<(), AccessError> {
        if self.scope < needed {
            return Err(AccessError::Scope { needed });
        }
        match (&self.infrastructures, infrastructure) {
            (None, _) => Ok(()),
            (Some(allowed), Some(id)) if allowed.contains(id) => Ok(()),
            (Some(_), Some(id)) => Err(AccessError::Infrastructure { id: id.to_owned() }),
            (Some(_), None) if needed == Scope::Read => Ok(()),
            (Some(_), None) => Err(AccessError::NotUnlimited),
        }
    }

    /// Checks that the caller may read what concerns all infrastructures and can't be filtered.
    ///
    /// # Errors
    /// Returns [`AccessError::NotUnlimited`] if the token is limited to some infrastructures.
    pub fn authorize_all(&self) -> Result<(), AccessError> {
        self.authorize(Scope::Read, None)?;
        if self.infrastructures.is_none() { Ok(()) } else { Err(AccessError::NotUnlimited) }
    }

    /// Returns true if lists for this caller include the infrastructure.
    pub fn can_see(&self, infrastructure: &str) -> bool {
        self.infrastructures.as_ref().is_none_or(|allowed| allowed.contains(infrastructure))
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
