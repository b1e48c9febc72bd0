//! Faults at random, from a seed, for as long as somebody likes: what a bad network and an overloaded cloud do to a program
//! that runs for hours.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;

use crate::hiccups::STRANGERS;
use crate::proxy::{Meddling, Proxy, Request};

/// How long a request may be on its way, also beyond the life of its sender.
const LATEST: u64 = 3_000;

/// A source of faults for a [`Proxy`].
#[derive(Debug)]
pub struct Chaos {
    rng: Mutex<Rng>,
    /// Of all requests, from 0 to 1.
    share: f64,
    calm: AtomicBool,
    faults: AtomicUsize,
}

impl Chaos {
    /// Puts a proxy before a server (`HOST:PORT`, or the path of a socket) that meddles with this share of the requests.
    ///
    /// # Errors
    /// Without a free port.
    pub fn before(server: &str, seed: u64, share: f64) -> io::Result<(Proxy, Arc<Self>)> {
        let chaos = Arc::new(Self {
            rng: Mutex::new(Rng::with_seed(seed)),
            share,
            calm: AtomicBool::new(false),
            faults: AtomicUsize::new(0),
        });
        let meddler = Arc::clone(&chaos);
        Ok((Proxy::judging(server, move |request| meddler.next(request))?, chaos))
    }

    /// Lets all requests pass, or no longer.
    pub fn keep_calm(&self, calm: bool) {
        self.calm.store(calm, Ordering::Relaxed);
    }

    /// Returns how many requests were meddled with.
    pub fn faults(&self) -> usize {
        self.faults.load(Ordering::Relaxed)
    }

    fn next(&self, request: &Request) -> Meddling {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        if self.calm.load(Ordering::Relaxed) || rng.f64() >= self.share {
            return Meddling::Pass;
        }
        self.faults.fetch_add(1, Ordering::Relaxed);
        let some_time = Duration::from_millis(rng.u64(200..LATEST));
        match rng.u8(0..13) {
            0 => Meddling::Cut,
            1 | 2 => Meddling::LoseAnswer,
            3 => Meddling::HalfAnswer,
            4 => Meddling::DelayAnswer(some_time),
            5 | 6 => Meddling::Delay(some_time),
            7 => Meddling::Refuse("429 Too Many Requests\r\nRetry-After: 1"),
            8 => Meddling::Refuse(if rng.bool() { "500 Internal Server Error" } else { "503 Service Unavailable" }),
            9 => Meddling::FailAfter("500 Internal Server Error"),
            10 => Meddling::Twice,
            11 if request.only_reads() => Meddling::Stale,
            _ => STRANGERS.get(rng.usize(0..STRANGERS.len())).map_or(Meddling::Cut, |(_, stranger)| *stranger),
        }
    }
}
