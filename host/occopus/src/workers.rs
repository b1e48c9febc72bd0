//! Threads for work that takes a core and much memory for a while, such as reading large descriptions. They are few and
//! always the same, so that the memory of such work is used again; any other thread would keep memory of its own.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{LazyLock, Mutex, PoisonError, mpsc};

use tokio::sync::oneshot;

/// Number of worker threads.
const WORKER_THREADS: usize = 2;

type Job = Box<dyn FnOnce() + Send>;

/// Queue of jobs that wait for a thread. It is bounded by the callers that wait for them, of which the service admits few
/// at a time.
static JOB_QUEUE: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (sender, jobs) = mpsc::channel::<Job>();
    let jobs = std::sync::Arc::new(Mutex::new(jobs));
    for number in 0..WORKER_THREADS {
        let jobs = jobs.clone();
        let run = move || {
            loop {
                let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(job) = next else { return };
                job();
            }
        };
        if let Err(error) = std::thread::Builder::new().name(format!("worker-{number}")).spawn(run) {
            tracing::warn!("cannot start a worker thread: {error}");
        }
    }
    sender
});

/// Runs work on one of these threads, and waits for its result. A panic continues in the caller.
pub(crate) async fn run_on_worker<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = oneshot::channel();
    let job: Job = Box::new(move || {
        // The caller may have been cancelled.
        let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
    });
    if let Err(mpsc::SendError(job)) = JOB_QUEUE.send(job) {
        // No worker thread could be started.
        drop(tokio::task::spawn_blocking(job));
    }
    match receiver.await {
        Ok(Ok(done)) => done,
        Ok(Err(panic)) => resume_unwind(panic),
        // Only while the program ends.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_by_few_threads_and_a_panic_ends_none() {
        let name = || std::thread::current().name().unwrap_or_default().to_owned();
        let mut all = tokio::task::JoinSet::new();
        (0..20).for_each(|_| drop(all.spawn(run_on_worker(name))));
        let names: std::collections::BTreeSet<_> = all.join_all().await.into_iter().collect();
        assert!(names.len() <= WORKER_THREADS && names.iter().all(|name| name.starts_with("worker-")), "{names:?}");
        for _ in 0..WORKER_THREADS * 2 {
            let broken = tokio::spawn(run_on_worker(|| -> u8 { panic!("a test") }));
            assert!(broken.await.is_err_and(|error| error.is_panic()));
        }
        assert_eq!(run_on_worker(|| 7).await, 7);
    }
}
