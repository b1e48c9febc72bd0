//! The `NAME` health checker: checks that the node answers with a line.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;

use occopus_sdk::{About, Fault, HealthChecker, Observation, Target};
use schemars::JsonSchema;
use serde::Deserialize;

/// Section that the user writes below `health_check.NAME`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Port to connect to. The checker may connect to the node at hand, and nowhere else.
    pub port: u16,
    /// Beginning of the first line.
    pub begins: String,
}

pub struct Plugin;

impl HealthChecker for Plugin {
    type Section = Section;

    const ABOUT: About = About {
        name: "NAME",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "NAME",
        summary: "The first line that the node sends",
        ..About::HEALTH
    };

    /// Checks once, without waiting: the host repeats checks. A fault means that the section will never work.
    fn check(target: &Target<Section>) -> Result<Observation, Fault> {
        let mut line = String::new();
        let read = TcpStream::connect((target.address.as_str(), target.section.port))
            .and_then(|stream| BufReader::new(stream).read_line(&mut line));
        Ok(match read {
            Ok(_) if line.starts_with(&target.section.begins) => Observation::healthy("it answers as it should"),
            Ok(_) => Observation::unhealthy(format!("it answers `{}`", line.trim_end())),
            Err(error) => Observation::unhealthy(error.to_string()),
        })
    }
}

occopus_sdk::export_health_checker!(Plugin);
