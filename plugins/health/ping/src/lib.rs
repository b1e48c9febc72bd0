//! `ping`: checks that the node answers an ICMP echo.

use std::time::Duration;

use occopus_sdk::{About, Fault, HealthChecker, Observation, Target, icmp};
use schemars::JsonSchema;
use serde::Deserialize;

/// Time-out of an echo, as in the existing tool.
const ECHO_TIMEOUT: Duration = Duration::from_secs(1);

/// Help for networks that drop echoes, since this check is on by default.
const HELP: &str = "`ping` is checked unless `health_check` has `ping: false`";

/// `true` to check; `false` switches the check off, and it is not called.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Ping(bool);

/// The plugin.
pub struct PingChecker;

impl HealthChecker for PingChecker {
    type Section = Ping;

    const ABOUT: About = About {
        name: "ping",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "ping",
        summary: "the node answers an ICMP echo",
        interfaces: &["icmp"],
        ..About::HEALTH
    };

    fn check(target: &Target<Ping>) -> Result<Observation, Fault> {
        if !target.section.0 {
            return Ok(Observation::healthy("not asked for"));
        }
        let mut observation = match icmp::echo(&target.address, ECHO_TIMEOUT) {
            Ok(Some(_)) => Observation::healthy("answers an echo"),
            Ok(None) => Observation::unhealthy(format!("{}: no answer to an echo; {HELP}", target.address)),
            Err(fault) => Observation::cannot_tell(format!("{}; {HELP}", fault.message)),
        };
        observation.details = vec![(target.address.clone(), format!("{:?}", observation.verdict).to_lowercase())];
        Ok(observation)
    }
}

occopus_sdk::export_health_checker!(PingChecker);

#[cfg(test)]
mod tests {
    use occopus_sdk::Verdict;
    use occopus_sdk::testing::{FakeHost, check};
    use serde_json::json;

    use super::PingChecker;

    #[test]
    fn an_answer_is_health() {
        for (address, verdict) in [("10.0.0.1", Verdict::Healthy), ("10.0.0.2", Verdict::Unhealthy)] {
            let host = FakeHost { reachable: vec!["10.0.0.1".to_owned()], ..FakeHost::default() };
            let observation = check::<PingChecker>(host, &json!(true), address, json!({})).expect("an observation");
            assert_eq!(observation.verdict, verdict);
            assert_eq!(observation.reason.contains("`ping: false`"), verdict == Verdict::Unhealthy);
        }
    }
}
