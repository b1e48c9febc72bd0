//! Memory for bodies that the host may hold at a time: of one call, and of all calls together.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{HttpError, HttpErrorKind, RequestSent};

/// Bytes that one call may hold apart from the pool of all calls: however full that is, each call has enough for
/// ordinary requests.
const GUARANTEED_BYTES_PER_CALL: u64 = 512 << 10;

/// Memory for the bodies of all calls.
#[derive(Debug)]
pub(crate) struct BodyMemoryPool {
    left: AtomicU64,
}

impl BodyMemoryPool {
    /// Creates a pool of so many bytes.
    pub(crate) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(bytes) })
    }

    fn try_take(&self, bytes: u64) -> bool {
        let take = |left: u64| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Memory for the bodies of one call.
#[derive(Debug)]
pub(crate) struct CallBodyMemory {
    all: Arc<BodyMemoryPool>,
    max_bytes: u64,
    used: Mutex<u64>,
}

impl CallBodyMemory {
    /// Creates the memory of one call: at most `max_bytes`, taken from the pool `all`.
    pub(crate) fn new(all: &Arc<BodyMemoryPool>, max_bytes: u64) -> Arc<Self> {
        Arc::new(Self { all: Arc::clone(all), max_bytes, used: Mutex::default() })
    }

    /// Creates memory with a pool of its own, for the few callers that hold little.
    pub(super) fn standalone() -> Arc<Self> {
        Self::new(&BodyMemoryPool::new(GUARANTEED_BYTES_PER_CALL), 2 * GUARANTEED_BYTES_PER_CALL)
    }

    /// Returns a reservation, empty at first.
    pub(super) fn reserve(self: &Arc<Self>) -> MemoryReservation {
        MemoryReservation { memory: Arc::clone(self), bytes: 0 }
    }

    fn try_take(&self, bytes: u64) -> Result<(), HttpError> {
        let mut used = self.used();
        let total = used.saturating_add(bytes);
        if total > self.max_bytes {
            let message =
                format!("the bodies of this call need more memory at a time than its {} MiB", self.max_bytes >> 20);
            return Err(HttpError::new(HttpErrorKind::OutOfMemory, RequestSent::No, message));
        }
        if !self.all.try_take(pooled_bytes(total) - pooled_bytes(*used)) {
            let message = "the bodies of all calls need more memory at a time than there is for them";
            return Err(HttpError::new(HttpErrorKind::OutOfMemory, RequestSent::No, message));
        }
        *used = total;
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        let mut used = self.used();
        let left = used.saturating_sub(bytes);
        self.all.give_back(pooled_bytes(*used) - pooled_bytes(left));
        *used = left;
    }

    /// Locks the counter, also after a panic: a number is consistent at any time.
    fn used(&self) -> MutexGuard<'_, u64> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the part of what a call uses that is taken from the pool.
fn pooled_bytes(used: u64) -> u64 {
    used.saturating_sub(GUARANTEED_BYTES_PER_CALL)
}

/// Memory that is reserved for a body, and released with it.
pub(super) struct MemoryReservation {
    memory: Arc<CallBodyMemory>,
    bytes: u64,
}

impl MemoryReservation {
    /// Reserves more.
    ///
    /// # Errors
    /// Fails if the call, or all calls together, would hold too much. Earlier reservations stay.
    pub(super) fn try_grow(&mut self, bytes: usize) -> Result<(), HttpError> {
        let bytes = bytes as u64;
        self.memory.try_take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        self.memory.give_back(self.bytes);
    }
}

impl fmt::Debug for MemoryReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryReservation").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_share_what_is_beyond_their_own() {
        let all = BodyMemoryPool::new(4 << 20);
        let (one, other) = (CallBodyMemory::new(&all, 8 << 20), CallBodyMemory::new(&all, 8 << 20));
        let mut first = one.reserve();
        let own = usize::try_from(GUARANTEED_BYTES_PER_CALL).expect("little");
        first.try_grow(own + (4 << 20)).expect("its own, and all of the common");
        let mut second = other.reserve();
        second.try_grow(own).expect("its own");
        assert_eq!(second.try_grow(1).expect_err("nothing is left").kind, HttpErrorKind::OutOfMemory);
        drop(first);
        second.try_grow(4 << 20).expect("it is free again");
        assert!(second.try_grow(1).is_err());
        drop(second);
        let mut third = one.reserve();
        third.try_grow(own + (4 << 20)).expect("nothing was lost");
        assert!(third.try_grow(4 << 20).expect_err("too much for one call").message.contains("8 MiB"));
    }
}
