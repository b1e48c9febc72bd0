//! Nodes that keep failing are tried less and less often.

use std::collections::HashMap;
use std::time::Duration;

use crate::error::NodeFailure;

const FIRST: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_secs(600);

/// By node: how often it has failed to come back, and until when it is left alone.
#[derive(Default)]
pub(super) struct Penalties(HashMap<String, (u32, Duration)>);

impl Penalties {
    /// Whether a node is left alone at this time (of [`crate::ports::Clock::uptime`]).
    pub(super) fn holds(&self, node: &str, now: Duration) -> bool {
        self.0.get(node).is_some_and(|(_, until)| *until > now)
    }

    /// What became of nodes that were tried.
    pub(super) fn remember(&mut self, tried: &[String], failures: &[NodeFailure], now: Duration) {
        for node in tried {
            if failures.iter().any(|failure| &failure.node == node) {
                let times = self.0.get(node).map_or(0, |(times, _)| *times);
                let pause = FIRST.saturating_mul(1 << times.min(10)).min(LONGEST);
                self.0.insert(node.clone(), (times + 1, now + pause));
            } else {
                self.0.remove(node);
            }
        }
    }
}
