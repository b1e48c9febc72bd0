//! Rate limits on the requests of one token or address.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use super::AccessError;
use crate::listen::network_of;

/// Number of checks after which keys with full buckets are dropped.
const CHECKS_PER_CLEANUP: u32 = 4096;

/// Limits on the rate of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests per second of one token, or of one address without a token.
    pub requests: NonZeroU32,
    /// Requests in one burst, after a pause.
    pub burst: NonZeroU32,
    /// Sign-ins per second of one token; also, per address, checks of tokens whose record is of an older version and has
    /// an expensive hash.
    pub checks: NonZeroU32,
    /// Sign-ins and expensive checks in one burst, after a pause.
    pub checks_burst: NonZeroU32,
}

impl Default for RateLimits {
    fn default() -> Self {
        let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self { requests: number(100), burst: number(400), checks: number(5), checks_burst: number(20) }
    }
}

/// Key under which requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum RateKey {
    Token(String),
    Address(Option<IpAddr>),
    /// Invalid tokens from an address, counted apart from requests there without a token or with a valid one.
    InvalidToken(Option<IpAddr>),
}

/// Rate limiter of requests and of expensive checks.
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

    /// Counts a request with this token.
    ///
    /// # Errors
    /// Returns [`AccessError::RateLimited`] if the rate is exceeded, as all checks here do.
    pub(super) fn check_token(&self, id: &str) -> Result<(), AccessError> {
        self.requests.take(&RateKey::Token(id.to_owned()))
    }

    /// Counts a request without a token.
    pub(super) fn check_address(&self, address: Option<IpAddr>) -> Result<(), AccessError> {
        self.requests.take(&RateKey::Address(address.map(network_of)))
    }

    /// Counts a request with an invalid token.
    pub(super) fn check_invalid_token(&self, address: Option<IpAddr>) -> Result<(), AccessError> {
        self.requests.take(&RateKey::InvalidToken(address.map(network_of)))
    }

    /// Counts a token that is expensive to check.
    pub(super) fn check_verification(&self, address: Option<IpAddr>) -> Result<(), AccessError> {
        self.checks.take(&RateKey::Address(address.map(network_of)))
    }

    /// Counts a sign-in with this token; each writes a session to the store.
    pub(super) fn check_sign_in(&self, id: &str) -> Result<(), AccessError> {
        self.checks.take(&RateKey::Token(id.to_owned()))
    }
}

/// Token buckets by key, which refill with time.
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
            .map_err(|not_until| AccessError::RateLimited { retry_after: not_until.wait_time_from(self.clock.now()) })
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
        let error = limiter.check_token("one").unwrap_err();
        assert!(matches!(error, AccessError::RateLimited { retry_after } if retry_after > Duration::ZERO), "{error}");
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
        // Buckets fill by the clock of the machine.
        std::thread::sleep(Duration::from_millis(150));
        for number in 0..CHECKS_PER_CLEANUP {
            limiter.check_verification(Some(IpAddr::V4(Ipv4Addr::from(number % 8)))).ok();
        }
        assert!(limiter.checks.limiter.len() < 20, "{}", limiter.checks.limiter.len());
    }
}
