//! Faults at random, from a seed, for as long as somebody likes: what a bad network and an overloaded cloud do to a program
//! that runs for hours.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;

use crate::fault_injection::FOREIGN_ANSWERS;
use crate::proxy::{Proxy, ProxyAction, Request};

/// How long a request may be on its way, also beyond the life of its sender.
const MAX_DELAY_MS: u64 = 3_000;

/// A source of faults for a [`Proxy`].
#[derive(Debug)]
pub struct Chaos {
    rng: Mutex<Rng>,
    /// Of all requests, from 0 to 1.
    fault_ratio: f64,
    is_paused: AtomicBool,
    fault_count: AtomicUsize,
}

impl Chaos {
    /// Puts a proxy before a server (`HOST:PORT`, or the path of a socket) that meddles with this share of the requests.
    ///
    /// # Errors
    /// Without a free port.
    pub fn in_front_of(server: &str, seed: u64, share: f64) -> io::Result<(Proxy, Arc<Self>)> {
        let chaos = Arc::new(Self {
            rng: Mutex::new(Rng::with_seed(seed)),
            fault_ratio: share,
            is_paused: AtomicBool::new(false),
            fault_count: AtomicUsize::new(0),
        });
        let meddler = Arc::clone(&chaos);
        Ok((Proxy::inspecting(server, move |request| meddler.next(request))?, chaos))
    }

    /// Lets all requests pass, or no longer.
    pub fn set_paused(&self, calm: bool) {
        self.is_paused.store(calm, Ordering::Relaxed);
    }

    /// Returns how many requests were meddled with.
    pub fn fault_count(&self) -> usize {
        self.fault_count.load(Ordering::Relaxed)
    }

    fn next(&self, request: &Request) -> ProxyAction {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_paused.load(Ordering::Relaxed) || rng.f64() >= self.fault_ratio {
            return ProxyAction::Forward;
        }
        self.fault_count.fetch_add(1, Ordering::Relaxed);
        let some_time = Duration::from_millis(rng.u64(200..MAX_DELAY_MS));
        match rng.u8(0..13) {
            0 => ProxyAction::CloseConnection,
            1 | 2 => ProxyAction::LoseAnswer,
            3 => ProxyAction::TruncateAnswer,
            4 => ProxyAction::DelayAnswer(some_time),
            5 | 6 => ProxyAction::Delay(some_time),
            7 => ProxyAction::Respond("429 Too Many Requests\r\nRetry-After: 1"),
            8 => ProxyAction::Respond(if rng.bool() { "500 Internal Server Error" } else { "503 Service Unavailable" }),
            9 => ProxyAction::FailAfter("500 Internal Server Error"),
            10 => ProxyAction::Duplicate,
            11 if request.only_reads() => ProxyAction::StaleAnswer,
            _ => FOREIGN_ANSWERS
                .get(rng.usize(0..FOREIGN_ANSWERS.len()))
                .map_or(ProxyAction::CloseConnection, |(_, stranger)| *stranger),
        }
    }
}
