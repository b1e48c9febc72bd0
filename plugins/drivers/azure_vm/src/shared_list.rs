//! Lists that the calls of a moment share through the host's cache: of a hundred calls that want to know what is there, one
//! asks Azure.

use std::time::Duration;

use occopus_sdk::Fault;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Azure;
use crate::snapshot::now;

/// Time for which a list is kept.
const LIFETIME: Duration = Duration::from_secs(60);
/// Milliseconds after which a call that lists is taken for dead.
const LISTING_MAX: u64 = 10_000;
const LISTING_POLL: Duration = Duration::from_millis(100);
/// Most milliseconds between the beginnings of two lists. A long one has a longer pause: it costs a request for each page.
const MAX_INTERVAL: u64 = 10_000;
/// Bytes of a value in the cache, which takes 64 KiB.
const CHUNK_BYTES: usize = 60 << 10;
/// Maximum number of values of one list.
const MAX_CHUNKS: usize = 64;

/// Last list of a kind: times in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Listing {
    begun: u64,
    is_under_way: bool,
    /// Milliseconds until the next may begin.
    interval: u64,
}

/// Beginning of a value in the cache.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    at: u64,
    chunks: usize,
}

impl Azure<'_> {
    /// Returns a list of a moment that is not before this one, in milliseconds since 1970. `list` reads it from Azure, and not
    /// more often than at this interval in milliseconds.
    pub(crate) fn shared_list<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        not_before: u64,
        min_interval: u64,
        list: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let key = self.list_key(&format!("{name} listing"));
        let cache = self.arm.cache();
        let mut last;
        loop {
            if let Some(kept) = self.kept_list(name, not_before) {
                return Ok(kept);
            }
            let kept = cache.get(&key).and_then(|last| serde_json::from_slice::<Listing>(&last).ok());
            last = kept.unwrap_or_default();
            let age = now().saturating_sub(last.begun);
            // One that is under way is waited for if it is late enough. Between two there is a pause, for many calls want one.
            let is_early = age < last.interval.clamp(min_interval, MAX_INTERVAL);
            let is_awaited = is_early || last.is_under_way && last.begun >= not_before && age < LISTING_MAX;
            if !is_awaited || self.arm.call().cancelled() {
                break;
            }
            self.arm.call().wait(LISTING_POLL);
        }
        let mark = |listing: Listing| {
            if let Ok(listing) = serde_json::to_vec(&listing) {
                cache.put(&key, &listing, LIFETIME);
            }
        };
        let begun = now();
        mark(Listing { begun, is_under_way: true, ..last });
        let listed = list();
        mark(Listing { begun, is_under_way: false, interval: now().saturating_sub(begun).saturating_mul(2) });
        let listed = listed?;
        self.keep_list(name, begun, &listed);
        Ok(listed)
    }

    fn kept_list<T: DeserializeOwned>(&self, name: &str, not_before: u64) -> Option<T> {
        let cache = self.arm.cache();
        let head: Head = serde_json::from_slice(&cache.get(&self.list_key(name))?).ok()?;
        if head.at < not_before || head.chunks > MAX_CHUNKS {
            return None;
        }
        let mut whole = Vec::new();
        for number in 0..head.chunks {
            let chunk = cache.get(&self.list_key(&format!("{name} {number}")))?;
            // Another call may be writing a later list.
            let (at, bytes) = chunk.split_at_checked(size_of::<u64>())?;
            if at != head.at.to_le_bytes() {
                return None;
            }
            whole.extend_from_slice(bytes);
        }
        serde_json::from_slice(&whole).ok()
    }

    /// Keeps a list that was begun at this time for other calls.
    pub(crate) fn keep_list<T: Serialize>(&self, name: &str, at: u64, list: &T) {
        let Ok(whole) = serde_json::to_vec(list) else { return };
        let chunks: Vec<&[u8]> = whole.chunks(CHUNK_BYTES).collect();
        let Ok(head) = serde_json::to_vec(&Head { at, chunks: chunks.len() }) else { return };
        if chunks.len() > MAX_CHUNKS {
            return;
        }
        let cache = self.arm.cache();
        for (number, chunk) in chunks.iter().enumerate() {
            let value: Vec<u8> = at.to_le_bytes().iter().chain(*chunk).copied().collect();
            cache.put(&self.list_key(&format!("{name} {number}")), &value, LIFETIME);
        }
        cache.put(&self.list_key(name), &head, LIFETIME);
    }

    fn list_key(&self, name: &str) -> String {
        format!("azure_vm {name}\n{}\n{}", self.arm.cloud().management, self.arm.subscription())
    }
}
