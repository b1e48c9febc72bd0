//! Places for requests and event streams, of which one caller may take up so many at a time. A request takes a place until its answer is sent, a stream of events
//! for as long as somebody listens; so nobody has all of them, and some are left for administrators. Asking how the service is
//! takes no place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{AccessError, Caller, Scope};
use crate::listen::network_of;

/// Numbers of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotLimits {
    /// For one token.
    pub(crate) per_token: usize,
    /// For one address, or one network of IPv6 (/64).
    pub(crate) per_address: usize,
    /// For all.
    pub(crate) all: usize,
}

/// Places, and who has how many of them. Clones are the same.
#[derive(Clone)]
pub(crate) struct Slots {
    shared: Arc<SlotsInner>,
}

struct SlotsInner {
    limits: SlotLimits,
    usage: Mutex<SlotUsage>,
}

#[derive(Default)]
struct SlotUsage {
    by_owner: HashMap<SlotOwner, usize>,
    all: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum SlotOwner {
    Token(String),
    Address(IpAddr),
}

/// A place, until it is dropped.
pub(crate) struct SlotGuard {
    shared: Arc<SlotsInner>,
    owners: Vec<SlotOwner>,
}

impl Slots {
    pub(crate) fn new(most: SlotLimits) -> Self {
        Self { shared: Arc::new(SlotsInner { limits: most, usage: Mutex::default() }) }
    }

    /// A place for whoever has this token. A quarter more than others may have is for administrators.
    ///
    /// # Errors
    /// When they, their address or all have as many as there are.
    pub(crate) fn acquire(&self, caller: &Caller) -> Result<SlotGuard, AccessError> {
        let spare = if caller.scope == Scope::Admin { 4 } else { 0 };
        let SlotLimits { per_token, per_address, all } = self.shared.limits;
        let more = |number: usize| number.saturating_add(number.checked_div(spare).unwrap_or(0));
        let token = caller.token.clone().map(|token| (SlotOwner::Token(token), per_token));
        let address = caller.address.map(|address| (SlotOwner::Address(network_of(address)), more(per_address)));
        let wanted: Vec<_> = token.into_iter().chain(address).collect();
        let mut taken = self.shared.usage();
        let has = |whose: &SlotOwner| taken.by_owner.get(whose).copied().unwrap_or(0);
        if taken.all >= more(all) || wanted.iter().any(|(whose, most)| has(whose) >= *most) {
            return Err(AccessError::ConcurrencyLimited);
        }
        taken.all += 1;
        let whose: Vec<_> = wanted.into_iter().map(|(whose, _)| whose).collect();
        for one in &whose {
            *taken.by_owner.entry(one.clone()).or_default() += 1;
        }
        Ok(SlotGuard { shared: self.shared.clone(), owners: whose })
    }
}

impl SlotsInner {
    fn usage(&self) -> MutexGuard<'_, SlotUsage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        let mut taken = self.shared.usage();
        taken.all -= 1;
        for one in &self.owners {
            if let Some(count) = taken.by_owner.get_mut(one) {
                *count -= 1;
                if *count == 0 {
                    taken.by_owner.remove(one);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(token: &str, scope: Scope, address: &str) -> Caller {
        let address = Some(address.parse().expect("an address"));
        Caller { token: Some(token.to_owned()), scope, ..Caller::anyone(address) }
    }

    #[test]
    fn nobody_has_all_places_and_some_are_left_for_administrators() {
        let places = Slots::new(SlotLimits { per_token: 2, per_address: 4, all: 8 });
        let take = |token, scope, address| places.acquire(&caller(token, scope, address));
        let one = take("a", Scope::Read, "10.0.0.1").unwrap();
        let mut held = vec![take("a", Scope::Read, "10.0.0.2").unwrap()];
        assert!(take("a", Scope::Read, "10.0.0.3").is_err(), "two for each token");
        held.push(take("b", Scope::Read, "10.0.0.1").unwrap());
        held.push(take("b", Scope::Read, "10.0.0.1").unwrap());
        held.push(take("e", Scope::Read, "10.0.0.1").unwrap());
        assert!(take("c", Scope::Operate, "10.0.0.1").is_err(), "four for each address");
        held.push(take("root", Scope::Admin, "10.0.0.1").unwrap());
        assert!(take("root", Scope::Admin, "10.0.0.1").is_err());
        held.push(take("c", Scope::Operate, "10.0.0.9").unwrap());
        held.push(take("d", Scope::Operate, "10.0.0.9").unwrap());
        assert!(take("d", Scope::Operate, "10.0.0.9").is_err(), "eight for all");
        held.push(take("root", Scope::Admin, "10.0.0.9").unwrap());
        drop(one);
        assert!(take("d", Scope::Operate, "10.0.0.9").is_err(), "that of the administrator counts, too");
        drop(held);
        assert!(take("a", Scope::Read, "10.0.0.1").is_ok());
        let taken = places.shared.usage();
        assert!(taken.all == 0 && taken.by_owner.is_empty());
    }
}
