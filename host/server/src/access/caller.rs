//! Whoever sent a request.

use std::collections::BTreeSet;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::{Refusal, Scope, TokenInfo};

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
    pub fn with(token: TokenInfo, address: Option<IpAddr>) -> Self {
        let TokenInfo { id, name, scope, infrastructures, .. } = token;
        Self { name, token: Some(id), scope, infrastructures, address }
    }

    /// Whether they may do what needs this scope: to the infrastructure with this id, or, without one, to the service as a
    /// whole. Whoever is limited to some infrastructures may read what concerns all, less what [`Caller::sees`] leaves out,
    /// and change nothing of it.
    pub fn may(&self, needed: Scope, infrastructure: Option<&str>) -> Result<(), Refusal> {
        if self.scope < needed {
            return Err(Refusal::Scope { needed });
        }
        match (&self.infrastructures, infrastructure) {
            (None, _) => Ok(()),
            (Some(own), Some(id)) if own.contains(id) => Ok(()),
            (Some(_), Some(id)) => Err(Refusal::Infrastructure { id: id.to_owned() }),
            (Some(_), None) if needed == Scope::Read => Ok(()),
            (Some(_), None) => Err(Refusal::Limited),
        }
    }

    /// Whether they may read what concerns all infrastructures and can't be told for some of them.
    pub fn may_all(&self) -> Result<(), Refusal> {
        self.may(Scope::Read, None)?;
        if self.infrastructures.is_none() { Ok(()) } else { Err(Refusal::Limited) }
    }

    /// Whether an infrastructure is in the lists that they get.
    pub fn sees(&self, infrastructure: &str) -> bool {
        self.infrastructures.as_ref().is_none_or(|own| own.contains(infrastructure))
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get::<Self>().cloned().ok_or(Refusal::Unauthenticated)
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
        assert_eq!(caller.may(Scope::Read, None), Ok(()));
        assert_eq!(caller.may(Scope::Operate, Some("any")), Ok(()));
        assert_eq!(caller.may(Scope::Admin, None), Err(Refusal::Scope { needed: Scope::Admin }));
    }

    #[test]
    fn who_is_limited_to_some_reaches_no_others_and_changes_nothing_of_all() {
        let caller = caller(Scope::Admin, &["one"]);
        assert_eq!(caller.may(Scope::Operate, Some("one")), Ok(()));
        assert_eq!(caller.may(Scope::Read, Some("two")), Err(Refusal::Infrastructure { id: "two".into() }));
        assert_eq!(caller.may(Scope::Read, None), Ok(()));
        assert_eq!(caller.may(Scope::Operate, None), Err(Refusal::Limited));
        assert_eq!(caller.may_all(), Err(Refusal::Limited));
        assert_eq!(Caller::anyone(None).may_all(), Ok(()));
        assert!(caller.sees("one") && !caller.sees("two") && !caller.sees("one/"));
    }

    #[test]
    fn limited_to_none_is_not_unlimited() {
        let caller = caller(Scope::Admin, &[]);
        assert!(!caller.sees("one"));
        assert!(caller.may(Scope::Read, Some("one")).is_err());
    }
}
