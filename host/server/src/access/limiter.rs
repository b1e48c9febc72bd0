//! How much one caller may ask for in how much time.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use super::AccessError;
use crate::listen::network_of;

/// After so many questions, keys of which nothing need be known any more are forgotten.
const CHECKS_PER_CLEANUP: u32 = 4096;

/// How often callers may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests of one token, or of one address without a token, in a second.
    pub requests: NonZeroU32,
    /// So many at once, after a pause.
    pub burst: NonZeroU32,
    /// Sessions that begin by one token, in a second; and tokens from one address that take long to be checked: those of an older
    /// version, the first time.
    pub checks: NonZeroU32,
    /// So many at once, after a pause.
    pub checks_burst: NonZeroU32,
}

impl Default for RateLimits {
    fn default() -> Self {
        let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self { requests: number(100), burst: number(400), checks: number(5), checks_burst: number(20) }
    }
}

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum RateKey {
    Token(String),
    Address(Option<IpAddr>),
    /// Wrong tokens, apart from whoever has none or a good one there.
    InvalidToken(Option<IpAddr>),
}

/// Counts requests.
pub(super) struct RateLimiter {
    requests: Buckets<RateKey>,
    checks: Buckets<RateKey>,
}

impl RateLimiter {
    pub(super) fn new(rates: RateLimits) -> Self {
        Self {
            requests: Buckets::new(rates.requests, rates.burst),
            checks: Buckets::new(rates.checks, rates.checks_burst),
        }
    }

    /// A request with this token.
    pub(super) fn check_token(&self, id: &str) -> Result<(), AccessError> {
        self.requests.take(&RateKey::Token(id.to_owned()))
    }

    /// A request without one.
    pub(super) fn check_address(&self, address: Option<IpAddr>) -> Result<(), AccessError> {
        self.requests.take(&RateKey::Address(address.map(network_of)))
    }

    /// A request with a wrong one.
    pub(super) fn check_invalid_token(&self, address: Option<IpAddr>) -> Result<(), AccessError> {
        self.requests.take(&RateKey::InvalidToken(address.map(network_of)))
    }

    /// A token that takes long to be checked.
    pub(super) fn check_verification(&self, address: Option<IpAddr>) -> Result<(), AccessError> {
        self.checks.take(&RateKey::Address(address.map(network_of)))
    }

    /// A session that begins by this token, which is written down.
    pub(super) fn check_sign_in(&self, id: &str) -> Result<(), AccessError> {
        self.checks.take(&RateKey::Token(id.to_owned()))
    }
}

/// A bucket for each key, which fills again with time.
struct Buckets<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
    check_count: AtomicU32,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    fn new(rate: NonZeroU32, burst: NonZeroU32) -> Self {
        let limiter = DefaultKeyedRateLimiter::keyed(Quota::per_second(rate).allow_burst(burst));
        Self { limiter, clock: DefaultClock::default(), check_count: AtomicU32::new(0) }
    }

    fn take(&self, key: &K) -> Result<(), AccessError> {
        if self.check_count.fetch_add(1, Ordering::Relaxed) % CHECKS_PER_CLEANUP == CHECKS_PER_CLEANUP - 1 {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(key)
            .map_err(|full| AccessError::RateLimited { retry_after: full.wait_time_from(self.clock.now()) })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use super::*;

    fn few() -> RateLimiter {
        let number = |number| NonZeroU32::new(number).unwrap();
        RateLimiter::new(RateLimits {
            requests: number(1),
            burst: number(3),
            checks: number(20),
            checks_burst: number(1),
        })
    }

    #[test]
    fn each_has_a_bucket_of_its_own() {
        let limiter = few();
        for _ in 0..3 {
            limiter.check_token("one").unwrap();
        }
        let refused = limiter.check_token("one").unwrap_err();
        assert!(
            matches!(refused, AccessError::RateLimited { retry_after } if retry_after > Duration::ZERO),
            "{refused}"
        );
        limiter.check_token("two").unwrap();
        limiter.check_address(None).unwrap();
        limiter.check_address(Some(Ipv4Addr::LOCALHOST.into())).unwrap();
    }

    #[test]
    fn who_has_many_addresses_in_one_network_has_one_bucket() {
        let limiter = few();
        let address = |last| Some(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, last)));
        limiter.check_verification(address(1)).unwrap();
        assert!(limiter.check_verification(address(2)).is_err());
        limiter.check_verification(Some(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 3, 0, 0, 0, 1)))).unwrap();
    }

    #[test]
    fn a_bucket_fills_again_and_full_ones_are_forgotten() {
        let limiter = few();
        for number in 0..CHECKS_PER_CLEANUP {
            limiter.check_verification(Some(IpAddr::V4(Ipv4Addr::from(number)))).unwrap();
        }
        std::thread::sleep(Duration::from_millis(150));
        for number in 0..CHECKS_PER_CLEANUP {
            limiter.check_verification(Some(IpAddr::V4(Ipv4Addr::from(number % 8)))).ok();
        }
        assert!(limiter.checks.limiter.len() < 20, "{}", limiter.checks.limiter.len());
    }
}
