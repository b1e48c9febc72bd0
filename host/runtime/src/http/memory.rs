//! Memory for bodies that the host may hold at a time: for one call, and for all of them together.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{HttpError, HttpErrorKind, Sent};

/// Bytes that one call may hold and that do not count among what all hold: whoever fills the memory of all leaves
/// everybody enough for ordinary requests.
const OWN: u64 = 512 << 10;

/// The memory for bodies of all calls.
#[derive(Debug)]
pub struct Memory {
    left: AtomicU64,
}

impl Memory {
    /// So many bytes.
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(bytes) })
    }

    fn take(&self, bytes: u64) -> bool {
        let take = |left: u64| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The memory for bodies of one call.
#[derive(Debug)]
pub struct CallMemory {
    all: Arc<Memory>,
    most: u64,
    used: Mutex<u64>,
}

impl CallMemory {
    /// At most so many bytes, of what all calls have.
    pub fn new(all: &Arc<Memory>, most: u64) -> Arc<Self> {
        Arc::new(Self { all: Arc::clone(all), most, used: Mutex::default() })
    }

    /// Of a caller that holds little, and of whom there are few.
    pub(super) fn alone() -> Arc<Self> {
        Self::new(&Memory::new(OWN), 2 * OWN)
    }

    /// A share in it, empty at first.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { memory: Arc::clone(self), bytes: 0 }
    }

    fn take(&self, bytes: u64) -> Result<(), HttpError> {
        let mut used = self.used();
        let wanted = used.saturating_add(bytes);
        if wanted > self.most {
            let message =
                format!("the bodies of this call need more memory at a time than its {} MiB", self.most >> 20);
            return Err(HttpError::new(HttpErrorKind::OutOfMemory, Sent::No, message));
        }
        if !self.all.take(common(wanted) - common(*used)) {
            let message = "the bodies of all calls need more memory at a time than there is for them";
            return Err(HttpError::new(HttpErrorKind::OutOfMemory, Sent::No, message));
        }
        *used = wanted;
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        let mut used = self.used();
        let left = used.saturating_sub(bytes);
        self.all.give_back(common(*used) - common(left));
        *used = left;
    }

    /// A number is whole at any time, also after a panic.
    fn used(&self) -> MutexGuard<'_, u64> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells how much of what a call uses counts among what all use.
fn common(used: u64) -> u64 {
    used.saturating_sub(OWN)
}

/// Memory that a body needs; given back with it.
pub(super) struct Share {
    memory: Arc<CallMemory>,
    bytes: u64,
}

impl Share {
    /// Takes more.
    ///
    /// # Errors
    /// When the call, or all calls together, would hold too much. What was taken before stays taken.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), HttpError> {
        let bytes = bytes as u64;
        self.memory.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.give_back(self.bytes);
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_share_what_is_beyond_their_own() {
        let all = Memory::new(4 << 20);
        let (one, other) = (CallMemory::new(&all, 8 << 20), CallMemory::new(&all, 8 << 20));
        let mut first = one.share();
        let own = usize::try_from(OWN).expect("little");
        first.grow(own + (4 << 20)).expect("its own, and all of the common");
        let mut second = other.share();
        second.grow(own).expect("its own");
        assert_eq!(second.grow(1).expect_err("nothing is left").kind, HttpErrorKind::OutOfMemory);
        drop(first);
        second.grow(4 << 20).expect("it is free again");
        assert!(second.grow(1).is_err());
        drop(second);
        let mut third = one.share();
        third.grow(own + (4 << 20)).expect("nothing was lost");
        assert!(third.grow(4 << 20).expect_err("too much for one call").message.contains("8 MiB"));
    }
}
