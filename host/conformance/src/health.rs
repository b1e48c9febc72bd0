//! Checks of a health checker's contract.

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

/// Time limit of one health check.
const DEADLINE: Duration = Duration::from_secs(5);

struct Checker<'a> {
    testbed: &'a Testbed,
    checker: Arc<dyn HealthChecker>,
}

pub(crate) async fn run(suite: &mut Suite<impl FnMut(&ProgressEvent<'_>)>, testbed: &Testbed) {
    let Some(checker) = testbed.runtime.health_checker(testbed.keyword()) else { return };
    let checker = &Checker { testbed, checker };
    suite.check("healthy", async || check_healthy(checker).await).await;
    suite.check("unhealthy", async || check_unhealthy(checker).await).await;
    suite
        .check("closed-port", async || {
            let port = free_port().map_err(|error| error.to_string())?;
            check_other_port(checker, port).await
        })
        .await;
    let servers = [
        ("silent-server", ServerBehaviour::Silent),
        ("closing-server", ServerBehaviour::Closing),
        ("babbling-server", ServerBehaviour::Garbage),
    ];
    for (name, behaviour) in servers {
        suite
            .check(name, async || {
                if testbed.fixture.any_server_is_healthy {
                    return Err(CheckError::Skipped("any server is healthy".to_owned()));
                }
                let port = listen(behaviour).map_err(|error| error.to_string())?;
                check_other_port(checker, port).await
            })
            .await;
    }
    testbed.check_refusals(suite, async |section| checker.check_once(section, &testbed.fixture.addresses).await).await;
}

impl Checker<'_> {
    async fn check_once(&self, section: Value, addresses: &[String]) -> Result<CheckResult, Fault> {
        let target = HealthTarget {
            context: self.testbed.call(DEADLINE),
            section: Arc::new(section),
            addresses: addresses.iter().map(|value| Address { value: value.clone(), internal: false }).collect(),
            node_name: "node".to_owned(),
            instance_id: Uuid::new_v4().to_string(),
            template_data: Value::Object(self.testbed.fixture.variables.clone()),
        };
        let answer = self.checker.check(&target).await;
        self.testbed.meter.record(&answer);
        answer
    }
}

async fn check_healthy(checker: &Checker<'_>) -> TestResult {
    let mut seen = checker.check_once(checker.testbed.section.clone(), &checker.testbed.fixture.addresses).await?;
    // A server that accepts connections may not be ready yet.
    let began = Instant::now();
    while seen.verdict != Verdict::Healthy && began.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        seen = checker.check_once(checker.testbed.section.clone(), &checker.testbed.fixture.addresses).await?;
    }
    match seen.verdict {
        Verdict::Healthy => Ok(seen.reason),
        other => Err(format!("it should be healthy and is {other:?}: {}", all_text(&seen)).into()),
    }
}

async fn check_unhealthy(checker: &Checker<'_>) -> TestResult {
    let all = &checker.testbed.fixture.unhealthy;
    if all.is_empty() {
        return Err(CheckError::Skipped("the fixture has no `unhealthy`".to_owned()));
    }
    for case in all {
        let section = case
            .change
            .as_ref()
            .map_or_else(|| checker.testbed.section.clone(), |change| merge_patched(&checker.testbed.section, change));
        let addresses = case.addresses.as_ref().unwrap_or(&checker.testbed.fixture.addresses);
        let seen = checker.check_once(section, addresses).await?;
        if seen.verdict != Verdict::Unhealthy {
            return Err(format!("{case:?} should be unhealthy and is {:?}: {}", seen.verdict, all_text(&seen)).into());
        }
    }
    Ok(format!("{} cases", all.len()))
}

/// Checks a port without such a server: the answer must come in time, and must not be healthy.
async fn check_other_port(checker: &Checker<'_>, port: u16) -> TestResult {
    let section = checker.testbed.section_at(port)?;
    if section == checker.testbed.section {
        return Err(CheckError::Skipped(format!(
            "`{{port}}` is not in the fixture's `{}`",
            crate::testbed::key_of(checker.testbed.kind)
        )));
    }
    let began = Instant::now();
    let seen = checker.check_once(section, &checker.testbed.fixture.addresses).await;
    let took = began.elapsed();
    if took > DEADLINE + Duration::from_millis(500) {
        return Err(format!("it may take {DEADLINE:?} and took {took:?}").into());
    }
    match seen {
        Ok(seen) if seen.verdict == Verdict::Healthy => Err(format!("it reports healthy: {}", seen.reason).into()),
        // The host ends a check that waits until the end of its call, and repeats it. Any other fault is a crash.
        Ok(seen) => {
            match seen.details.iter().find(|(what, code)| what == "fault" && code != "occopus.plugin-timeout") {
                Some(_) => Err(all_text(&seen).into()),
                None => Ok(seen.reason),
            }
        }
        Err(fault) => Err(fault.into()),
    }
}

/// Returns the reason and the details of a result.
fn all_text(seen: &CheckResult) -> String {
    let details = seen.details.iter().map(|(what, result)| format!("\n      {what}: {result}"));
    std::iter::once(seen.reason.clone()).chain(details).collect()
}
