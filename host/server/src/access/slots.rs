//! Slots for concurrent requests and event streams, with limits per token, per address and in all. A request holds a slot
//! until its response is sent, an event stream for as long as its client stays connected. So no caller holds all slots,
//! and some stay free for administrators. Health checks of the service take no slot.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{AccessError, Caller, Scope};
use crate::listen::network_of;

/// Limits on the number of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotLimits {
    /// Slots of one token.
    pub(crate) per_token: usize,
    /// Slots of one address, or one network of IPv6 (/64).
    pub(crate) per_address: usize,
    /// Slots in all.
    pub(crate) all: usize,
}

/// Slots, and the number that each owner holds. Clones share them.
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

/// A slot, held until this is dropped.
pub(crate) struct SlotGuard {
    shared: Arc<SlotsInner>,
    owners: Vec<SlotOwner>,
}

impl Slots {
    pub(crate) fn new(limits: SlotLimits) -> Self {
        Self { shared: Arc::new(SlotsInner { limits, usage: Mutex::default() }) }
    }

    /// Takes a slot for this caller. The limits per address and in all are a quarter higher for administrators.
    ///
    /// # Errors
    /// Returns [`AccessError::ConcurrencyLimited`] if the token, the address or all callers are at their limit.
    pub(crate) fn acquire(&self, caller: &Caller) -> Result<SlotGuard, AccessError> {
        let divisor = if caller.scope == Scope::Admin { 4 } else { 0 };
        let SlotLimits { per_token, per_address, all } = self.shared.limits;
        let with_reserve = |limit: usize| limit.saturating_add(limit.checked_div(divisor).unwrap_or(0));
        let token = caller.token.clone().map(|token| (SlotOwner::Token(token), per_token));
        let address =
            caller.address.map(|address| (SlotOwner::Address(network_of(address)), with_reserve(per_address)));
        let limits: Vec<_> = token.into_iter().chain(address).collect();
        let mut usage = self.shared.usage();
        let held = |owner: &SlotOwner| usage.by_owner.get(owner).copied().unwrap_or(0);
        if usage.all >= with_reserve(all) || limits.iter().any(|(owner, limit)| held(owner) >= *limit) {
            return Err(AccessError::ConcurrencyLimited);
        }
        usage.all += 1;
        let owners: Vec<_> = limits.into_iter().map(|(owner, _)| owner).collect();
        for owner in &owners {
            *usage.by_owner.entry(owner.clone()).or_default() += 1;
        }
        Ok(SlotGuard { shared: self.shared.clone(), owners })
    }
}

impl SlotsInner {
    fn usage(&self) -> MutexGuard<'_, SlotUsage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        let mut usage = self.shared.usage();
        usage.all -= 1;
        for owner in &self.owners {
            if let Some(count) = usage.by_owner.get_mut(owner) {
                *count -= 1;
                if *count == 0 {
                    usage.by_owner.remove(owner);
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
        let slots = Slots::new(SlotLimits { per_token: 2, per_address: 4, all: 8 });
        let take = |token, scope, address| slots.acquire(&caller(token, scope, address));
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
        let usage = slots.shared.usage();
        assert!(usage.all == 0 && usage.by_owner.is_empty());
    }
}
