//! The promises of a health checker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use occopus_engine::ports::{Address, Fault, HealthChecker, HealthTarget, Observation, Plugins as _, Verdict};
use serde_json::Value;
use uuid::Uuid;

use crate::bed::Bed;
use crate::fixture::merged;
use crate::listen::{Manner, listen};
use crate::report::{Checked, Miss, News, Suite};
use crate::server::free_port;

/// How long one look may take.
const DEADLINE: Duration = Duration::from_secs(5);

struct Checker<'a> {
    bed: &'a Bed,
    checker: Arc<dyn HealthChecker>,
}

pub(crate) async fn run(suite: &mut Suite<impl FnMut(&News<'_>)>, bed: &Bed) {
    let Some(checker) = bed.runtime.health_checker(bed.keyword()) else { return };
    let c = &Checker { bed, checker };
    suite.check("healthy", async || healthy(c).await).await;
    suite.check("unhealthy", async || unhealthy(c).await).await;
    suite
        .check("closed-port", async || {
            let port = free_port().map_err(|error| error.to_string())?;
            elsewhere(c, port).await
        })
        .await;
    let servers =
        [("silent-server", Manner::Silent), ("closing-server", Manner::Closing), ("babbling-server", Manner::Babbling)];
    for (name, manner) in servers {
        suite
            .check(name, async || {
                if bed.fixture.any_server_is_healthy {
                    return Err(Miss::Skipped("any server is healthy".to_owned()));
                }
                let port = listen(manner).map_err(|error| error.to_string())?;
                elsewhere(c, port).await
            })
            .await;
    }
    bed.refused(suite, async |section| c.look(section, &bed.fixture.addresses).await).await;
}

impl Checker<'_> {
    async fn look(&self, section: Value, addresses: &[String]) -> Result<Observation, Fault> {
        let target = HealthTarget {
            context: self.bed.call(DEADLINE),
            section: Arc::new(section),
            addresses: addresses.iter().map(|value| Address { value: value.clone(), internal: false }).collect(),
            node_name: "node".to_owned(),
            instance_id: Uuid::new_v4().to_string(),
            template_data: Value::Object(self.bed.fixture.variables.clone()),
        };
        let answer = self.checker.check(&target).await;
        self.bed.meter.hear(&answer);
        answer
    }
}

async fn healthy(c: &Checker<'_>) -> Checked {
    let mut seen = c.look(c.bed.section.clone(), &c.bed.fixture.addresses).await?;
    // A server that takes connections may still need a moment.
    let began = Instant::now();
    while seen.verdict != Verdict::Healthy && began.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        seen = c.look(c.bed.section.clone(), &c.bed.fixture.addresses).await?;
    }
    match seen.verdict {
        Verdict::Healthy => Ok(seen.reason),
        other => Err(format!("it should be healthy and is {other:?}: {}", said(&seen)).into()),
    }
}

async fn unhealthy(c: &Checker<'_>) -> Checked {
    let all = &c.bed.fixture.unhealthy;
    if all.is_empty() {
        return Err(Miss::Skipped("the fixture has no `unhealthy`".to_owned()));
    }
    for case in all {
        let section =
            case.change.as_ref().map_or_else(|| c.bed.section.clone(), |change| merged(&c.bed.section, change));
        let addresses = case.addresses.as_ref().unwrap_or(&c.bed.fixture.addresses);
        let seen = c.look(section, addresses).await?;
        if seen.verdict != Verdict::Unhealthy {
            return Err(format!("{case:?} should be unhealthy and is {:?}: {}", seen.verdict, said(&seen)).into());
        }
    }
    Ok(format!("{} cases", all.len()))
}

/// At a port where there is no such server: an answer in time, which is not that all is well.
async fn elsewhere(c: &Checker<'_>, port: u16) -> Checked {
    let section = c.bed.section_at(port)?;
    if section == c.bed.section {
        return Err(Miss::Skipped(format!("`{{port}}` is not in the fixture's `{}`", crate::bed::key_of(c.bed.kind))));
    }
    let began = Instant::now();
    let seen = c.look(section, &c.bed.fixture.addresses).await;
    let took = began.elapsed();
    if took > DEADLINE + Duration::from_millis(500) {
        return Err(format!("it may take {DEADLINE:?} and took {took:?}").into());
    }
    match seen {
        Ok(seen) if seen.verdict == Verdict::Healthy => Err(format!("it says healthy: {}", seen.reason).into()),
        // What waits until the end of the call is ended by the host, and looked at again. Anything else is a crash.
        Ok(seen) => {
            match seen.details.iter().find(|(what, code)| what == "fault" && code != "occopus.plugin-timeout") {
                Some(_) => Err(said(&seen).into()),
                None => Ok(seen.reason),
            }
        }
        Err(fault) => Err(fault.into()),
    }
}

/// Everything that it said.
fn said(seen: &Observation) -> String {
    let details = seen.details.iter().map(|(what, result)| format!("\n      {what}: {result}"));
    std::iter::once(seen.reason.clone()).chain(details).collect()
}
