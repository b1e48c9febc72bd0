//! `mysqldbs`: checks that users can log in to databases of a MySQL or MariaDB server on the node.

mod login;
mod packet;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use occopus_sdk::{About, Fault, HealthChecker, Observation, Target, Text};
use schemars::JsonSchema;
use serde::Deserialize;

/// Default port of MySQL.
const DEFAULT_PORT: u16 = 3306;
/// Time-out for a connection, and for each answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Databases.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Databases(#[schemars(length(min = 1))] Vec<Database>);

/// A database, and the user who logs in to it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Name of the database.
    name: Text,
    /// User.
    user: Text,
    /// Password of the user.
    pass: Text,
}

/// The plugin.
pub struct MysqlChecker;

impl HealthChecker for MysqlChecker {
    type Section = Databases;

    const ABOUT: About = About {
        name: "mysqldbs",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "mysqldbs",
        summary: "Users can log in to databases of MySQL or MariaDB",
        ..About::HEALTH
    };

    fn check(target: &Target<Databases>) -> Result<Observation, Fault> {
        Ok(observe(&target.address, DEFAULT_PORT, &target.section))
    }
}

fn observe(host: &str, port: u16, databases: &Databases) -> Observation {
    let results: Vec<_> = databases.0.iter().map(|database| (database, check(host, port, database))).collect();
    let failed: Vec<String> = results
        .iter()
        .filter_map(|(database, result)| Some(format!("database `{}`: {}", database.name, result.as_ref().err()?)))
        .collect();
    let mut observation = match failed.as_slice() {
        [] => Observation::healthy("all databases can be used"),
        _ => Observation::unhealthy(failed.join(", ")),
    };
    observation.details = results
        .into_iter()
        .map(|(database, result)| {
            (format!("database {}", database.name), if result.is_ok() { "ready" } else { "pending" }.to_owned())
        })
        .collect();
    observation
}

fn check(host: &str, port: u16, database: &Database) -> Result<(), String> {
    let addresses = (host, port).to_socket_addrs().map_err(|error| format!("`{host}` can't be resolved: {error}"))?;
    let mut why = format!("`{host}` has no address");
    for address in addresses {
        // In WASI 0.2 `connect_timeout` may take a refused connection for an open one; an open one has a peer.
        let connected =
            TcpStream::connect_timeout(&address, TIMEOUT).and_then(|stream| stream.peer_addr().map(|_| stream));
        match connected {
            Ok(stream) => {
                // On a platform without time-outs, the end of the call is the bound.
                let _ = stream.set_read_timeout(Some(TIMEOUT)).and_then(|()| stream.set_write_timeout(Some(TIMEOUT)));
                return login::login(stream, &database.user, &database.pass, &database.name);
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotConnected | ErrorKind::ConnectionRefused) => {
                "connection refused".clone_into(&mut why);
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => "no answer".clone_into(&mut why),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

occopus_sdk::export_health_checker!(MysqlChecker);
