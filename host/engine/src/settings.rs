//! Settings of the engine: times, limits and thresholds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use occopus_model::InstanceLimits;

/// A probe for the holder of a lease, by the text that it recorded: returns true only if it is certainly dead.
pub type OwnerProbe = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Settings of the engine. The defaults suit the command line.
#[derive(Clone)]
pub struct Settings {
    /// Name of this owner, shown to others that find the infrastructure owned: host and process.
    pub holder: String,
    /// Probe that lets a new owner follow a dead one at once. Without it, the lease has to expire first.
    pub holder_is_dead: Option<OwnerProbe>,
    /// Time after which a lease expires unless it is kept alive.
    pub lease_ttl: Duration,
    /// Interval at which a lease is kept alive.
    pub keep_alive_interval: Duration,
    /// Number of concurrent calls for each driver, endpoint and purpose (mutation or query). Fewer are made to a cloud
    /// that refuses calls for being too many.
    pub calls_per_endpoint: usize,
    /// Largest numbers of instances, whatever is described and requested.
    pub instance_limits: InstanceLimits,
    /// Number of handles in one call of `observe`.
    pub observe_batch_size: usize,
    /// First pause between two observations of a node that starts.
    pub poll_interval_min: Duration,
    /// Longest such pause.
    pub poll_interval_max: Duration,
    /// Time for which a call is repeated while no server can be connected to, or while its plugin crashes. A call that
    /// fails in another way that may pass is repeated until the node's own time-out, but at least for this time.
    pub unreachable_patience: Duration,
    /// First pause before another attempt. It doubles each time.
    pub retry_delay_min: Duration,
    /// Longest such pause, unless the cloud asks for more.
    pub retry_delay_max: Duration,
    /// Time-out of `create` and `destroy`.
    pub mutation_timeout: Duration,
    /// Time-out of other calls.
    pub query_timeout: Duration,
    /// Time within which a request may still arrive after its sender has died or has stopped waiting for the answer.
    pub late_request_window: Duration,
    /// Time within which a machine must run.
    pub start_timeout: Duration,
    /// Largest share of all instances that is replaced at a time, but at least one instance.
    pub replace_at_once: f64,
    /// Largest share of all instances that may seem dead at once. If more do, and more than one instance, nothing is
    /// replaced: a hold.
    pub hold_above: f64,
    /// Pause after which an instance that seems dead is observed again; it is dead only if it still seems so.
    pub confirm_delay: Duration,
    /// The same pause, if all known instances seem to have vanished at once.
    pub confirm_all_delay: Duration,
    /// Time after which instances that their cloud reports as dead end a hold and are replaced; zero: never.
    pub hold_for: Duration,
    /// Time for which an instance must have been ready, so that its death does not count as a failure of its node; a
    /// node whose instances have been ready for this time is healthy again.
    pub stable_after: Duration,
    /// First pause before a failing node is tried again. It doubles each time.
    pub failing_delay_min: Duration,
    /// Longest such pause.
    pub failing_delay_max: Duration,
    /// Time for which a machine without health checks must have been running before its instance is ready, unless the
    /// definition sets it.
    pub min_ready_time: Duration,
    /// Time for which a write is repeated while the store does not answer.
    pub store_patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            holder: format!("process {}", std::process::id()),
            holder_is_dead: None,
            lease_ttl: Duration::from_secs(15),
            keep_alive_interval: Duration::from_secs(5),
            calls_per_endpoint: 32,
            instance_limits: InstanceLimits::default(),
            observe_batch_size: 500,
            poll_interval_min: Duration::from_millis(200),
            poll_interval_max: Duration::from_secs(10),
            unreachable_patience: Duration::from_secs(20),
            retry_delay_min: Duration::from_millis(500),
            retry_delay_max: Duration::from_secs(10),
            mutation_timeout: Duration::from_secs(1800),
            query_timeout: Duration::from_secs(60),
            late_request_window: Duration::from_secs(20),
            start_timeout: Duration::from_secs(3600),
            replace_at_once: 0.2,
            hold_above: 0.4,
            confirm_delay: Duration::from_secs(2),
            confirm_all_delay: Duration::from_secs(15),
            hold_for: Duration::from_secs(600),
            stable_after: Duration::from_secs(600),
            failing_delay_min: Duration::from_secs(10),
            failing_delay_max: Duration::from_secs(600),
            min_ready_time: Duration::from_secs(1),
            store_patience: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("holder", &self.holder).finish_non_exhaustive()
    }
}
