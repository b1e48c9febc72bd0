//! The promises of a health checker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use occopus_engine::ports::{Address, CheckResult, Fault, HealthChecker, HealthTarget, Plugins as _, Verdict};
use serde_json::Value;
use uuid::Uuid;

use crate::broken_server::{ServerBehaviour, listen};
use crate::fixture::merge_patched;
use crate::report::{CheckError, ProgressEvent, Suite, TestResult};
use crate::server::free_port;
use crate::testbed::Testbed;

/// How long one look may take.
const DEADLINE: Duration = Duration::from_secs(5);

struct Checker<'a> {
    bed: &'a Testbed,
    checker: Arc<dyn HealthChecker>,
}

pub(crate) async fn run(suite: &mut Suite<impl FnMut(&ProgressEvent<'_>)>, bed: &Testbed) {
    let Some(checker) = bed.runtime.health_checker(bed.keyword()) else { return };
    let c = &Checker { bed, checker };
    suite.check("healthy", async || check_healthy(c).await).await;
    suite.check("unhealthy", async || check_unhealthy(c).await).await;
    suite
        .check("closed-port", async || {
            let port = free_port().map_err(|error| error.to_string())?;
            check_other_port(c, port).await
        })
        .await;
    let servers = [
        ("silent-server", ServerBehaviour::Silent),
        ("closing-server", ServerBehaviour::Closing),
        ("babbling-server", ServerBehaviour::Garbage),
    ];
    for (name, manner) in servers {
        suite
            .check(name, async || {
                if bed.fixture.any_server_is_healthy {
                    return Err(CheckError::Skipped("any server is healthy".to_owned()));
                }
                let port = listen(manner).map_err(|error| error.to_string())?;
                check_other_port(c, port).await
            })
            .await;
    }
    bed.check_refusals(suite, async |section| c.check_once(section, &bed.fixture.addresses).await).await;
}

impl Checker<'_> {
    async fn check_once(&self, section: Value, addresses: &[String]) -> Result<CheckResult, Fault> {
        let target = HealthTarget {
            context: self.bed.call(DEADLINE),
            section: Arc::new(section),
            addresses: addresses.iter().map(|value| Address { value: value.clone(), internal: false }).collect(),
            node_name: "node".to_owned(),
            instance_id: Uuid::new_v4().to_string(),
            template_data: Value::Object(self.bed.fixture.variables.clone()),
        };
        let answer = self.checker.check(&target).await;
        self.bed.meter.record(&answer);
        answer
    }
}

async fn check_healthy(c: &Checker<'_>) -> TestResult {
    let mut seen = c.check_once(c.bed.section.clone(), &c.bed.fixture.addresses).await?;
    // A server that takes connections may still need a moment.
    let began = Instant::now();
    while seen.verdict != Verdict::Healthy && began.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        seen = c.check_once(c.bed.section.clone(), &c.bed.fixture.addresses).await?;
    }
    match seen.verdict {
        Verdict::Healthy => Ok(seen.reason),
        other => Err(format!("it should be healthy and is {other:?}: {}", all_text(&seen)).into()),
    }
}

async fn check_unhealthy(c: &Checker<'_>) -> TestResult {
    let all = &c.bed.fixture.unhealthy;
    if all.is_empty() {
        return Err(CheckError::Skipped("the fixture has no `unhealthy`".to_owned()));
    }
    for case in all {
        let section =
            case.change.as_ref().map_or_else(|| c.bed.section.clone(), |change| merge_patched(&c.bed.section, change));
        let addresses = case.addresses.as_ref().unwrap_or(&c.bed.fixture.addresses);
        let seen = c.check_once(section, addresses).await?;
        if seen.verdict != Verdict::Unhealthy {
            return Err(format!("{case:?} should be unhealthy and is {:?}: {}", seen.verdict, all_text(&seen)).into());
        }
    }
    Ok(format!("{} cases", all.len()))
}

/// At a port where there is no such server: an answer in time, which is not that all is well.
async fn check_other_port(c: &Checker<'_>, port: u16) -> TestResult {
    let section = c.bed.section_at(port)?;
    if section == c.bed.section {
        return Err(CheckError::Skipped(format!(
            "`{{port}}` is not in the fixture's `{}`",
            crate::testbed::key_of(c.bed.kind)
        )));
    }
    let began = Instant::now();
    let seen = c.check_once(section, &c.bed.fixture.addresses).await;
    let took = began.elapsed();
    if took > DEADLINE + Duration::from_millis(500) {
        return Err(format!("it may take {DEADLINE:?} and took {took:?}").into());
    }
    match seen {
        Ok(seen) if seen.verdict == Verdict::Healthy => Err(format!("it says healthy: {}", seen.reason).into()),
        // What waits until the end of the call is ended by the host, and looked at again. Anything else is a crash.
        Ok(seen) => {
            match seen.details.iter().find(|(what, code)| what == "fault" && code != "occopus.plugin-timeout") {
                Some(_) => Err(all_text(&seen).into()),
                None => Ok(seen.reason),
            }
        }
        Err(fault) => Err(fault.into()),
    }
}

/// Everything that it said.
fn all_text(seen: &CheckResult) -> String {
    let details = seen.details.iter().map(|(what, result)| format!("\n      {what}: {result}"));
    std::iter::once(seen.reason.clone()).chain(details).collect()
}
