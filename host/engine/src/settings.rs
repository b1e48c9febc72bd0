//! Numbers that the engine works with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use occopus_model::InstanceLimits;

/// Says whether the holder of a lease, by the text that it wrote, is surely dead. `false` when it can't be told.
pub type OwnerProbe = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// How the engine works. The defaults are right for the command line.
#[derive(Clone)]
pub struct Settings {
    /// Who we are, for others that find the infrastructure owned: host and process.
    pub holder: String,
    /// Lets a new owner follow a dead one at once. Without it the lease must end first.
    pub holder_is_dead: Option<OwnerProbe>,
    /// A lease ends after this, unless kept alive.
    pub lease_ttl: Duration,
    /// How often a lease is kept alive.
    pub keep_alive_interval: Duration,
    /// Calls at the same time, for each driver and endpoint and each purpose (to change, to look). A cloud that refuses calls
    /// for being too many gets fewer.
    pub calls_per_endpoint: usize,
    /// Most instances that an infrastructure may have, whatever is described and asked for.
    pub instance_limits: InstanceLimits,
    /// Handles in one call of `observe`.
    pub observe_batch_size: usize,
    /// The first pause between two looks at a node that starts.
    pub poll_interval_min: Duration,
    /// The longest one.
    pub poll_interval_max: Duration,
    /// How long a call is repeated while no server can be connected to, or while its plugin crashes. A call that fails in another
    /// way that may pass is repeated for as long as the node's own time-out says, but at least for this long.
    pub unreachable_patience: Duration,
    /// The first pause before another attempt. It doubles each time.
    pub retry_delay_min: Duration,
    /// The longest one, unless the cloud asks for more.
    pub retry_delay_max: Duration,
    /// How long `create` and `destroy` may take.
    pub mutation_timeout: Duration,
    /// How long other calls may take.
    pub query_timeout: Duration,
    /// How long a request may be on its way after its sender has died or has stopped waiting for the answer.
    pub late_request_window: Duration,
    /// How long a machine may take to run.
    pub start_timeout: Duration,
    /// At most this part of all instances, but at least one, is replaced at a time.
    pub replace_at_once: f64,
    /// When more than this part of all instances, but more than one, looks dead at once, nothing is replaced.
    pub hold_above: f64,
    /// What looks dead is observed again after this, and is dead only when it still looks so.
    pub confirm_delay: Duration,
    /// The same when all known instances look vanished at once.
    pub confirm_all_delay: Duration,
    /// Instances that their cloud has called dead for so long end the hold and are replaced; zero: never.
    pub hold_for: Duration,
    /// An instance that was ready for less than this has failed when it dies; a node whose instances have been ready for so long
    /// is healthy again.
    pub stable_after: Duration,
    /// The first pause before a node that fails is tried again. It doubles each time.
    pub failing_delay_min: Duration,
    /// The longest one.
    pub failing_delay_max: Duration,
    /// A machine that nothing checks must have been running for so long before its instance is ready, if the definition does not
    /// say how long.
    pub min_ready_time: Duration,
    /// How long to try again while the store does not answer.
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
