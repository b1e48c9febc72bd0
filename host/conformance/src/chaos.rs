//! Random faults from a seed, without end: what a bad network and an overloaded cloud do to a program that runs for
//! hours.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;

use crate::fault_injection::FOREIGN_ANSWERS;
use crate::proxy::{Proxy, ProxyAction, Request};

/// Maximum delay of a request in milliseconds. It may outlive its sender.
const MAX_DELAY_MS: u64 = 3_000;

/// A source of faults for a [`Proxy`].
#[derive(Debug)]
pub struct Chaos {
    rng: Mutex<Rng>,
    /// Share of the requests that get a fault, from 0 to 1.
    fault_ratio: f64,
    is_paused: AtomicBool,
    fault_count: AtomicUsize,
}

impl Chaos {
    /// Starts a proxy in front of a server (`HOST:PORT`, or the path of a socket) that injects faults into a share of
    /// the requests.
    ///
    /// # Errors
    /// Fails if there is no free port.
    pub fn in_front_of(server: &str, seed: u64, fault_ratio: f64) -> io::Result<(Proxy, Arc<Self>)> {
        let chaos = Arc::new(Self {
            rng: Mutex::new(Rng::with_seed(seed)),
            fault_ratio,
            is_paused: AtomicBool::new(false),
            fault_count: AtomicUsize::new(0),
        });
        let source = Arc::clone(&chaos);
        Ok((Proxy::inspecting(server, move |request| source.next(request))?, chaos))
    }

    /// Forwards all requests unchanged while paused.
    pub fn set_paused(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
    }

    /// Returns the number of requests that got a fault.
    pub fn fault_count(&self) -> usize {
        self.fault_count.load(Ordering::Relaxed)
    }

    fn next(&self, request: &Request) -> ProxyAction {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_paused.load(Ordering::Relaxed) || rng.f64() >= self.fault_ratio {
            return ProxyAction::Forward;
        }
        self.fault_count.fetch_add(1, Ordering::Relaxed);
        let delay = Duration::from_millis(rng.u64(200..MAX_DELAY_MS));
        match rng.u8(0..13) {
            0 => ProxyAction::CloseConnection,
            1 | 2 => ProxyAction::LoseAnswer,
            3 => ProxyAction::TruncateAnswer,
            4 => ProxyAction::DelayAnswer(delay),
            5 | 6 => ProxyAction::Delay(delay),
            7 => ProxyAction::Respond("429 Too Many Requests\r\nRetry-After: 1"),
            8 => ProxyAction::Respond(if rng.bool() { "500 Internal Server Error" } else { "503 Service Unavailable" }),
            9 => ProxyAction::FailAfter("500 Internal Server Error"),
            10 => ProxyAction::Duplicate,
            11 if request.only_reads() => ProxyAction::StaleAnswer,
            _ => FOREIGN_ANSWERS
                .get(rng.usize(0..FOREIGN_ANSWERS.len()))
                .map_or(ProxyAction::CloseConnection, |(_, answer)| *answer),
        }
    }
}
