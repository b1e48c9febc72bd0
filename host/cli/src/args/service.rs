//! Arguments of `serve` and `token`.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Span;
use occopus_server::access::Scope;

use super::{OutputArgs, ParallelizeArgs, parse_seconds};

/// The arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with_all = ["host", "port"], value_parser = parse_socket_address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Address to listen on, or a name that resolves to one, such as `localhost`.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = parse_host)]
    pub(crate) host: IpAddr,
    /// Port to listen on; 0 selects a free one.
    #[arg(long, value_name = "PORT", default_value = "5000")]
    pub(crate) port: u16,
    /// File of the certificate with its chain (PEM). It is read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// File of the certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Allow listening without TLS where other machines can connect: behind a proxy that encrypts, or on a trusted network.
    #[arg(long)]
    pub(crate) insecure_http: bool,
    /// Allow descriptions that come over the network to run programs on this machine (the driver `local`).
    #[arg(long)]
    pub(crate) allow_processes: bool,
    /// Seconds between two passes over an infrastructure.
    #[arg(short = 't', long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub(crate) interval: Duration,
    /// Seconds that running work gets to finish at shutdown.
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = parse_seconds)]
    pub(crate) grace: Duration,
    #[command(flatten)]
    pub(crate) parallelize: ParallelizeArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Parses an address, or resolves a name.
fn parse_host(text: &str) -> Result<IpAddr, String> {
    match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => resolve_name(&format!("{text}:0")).map(|found| found.ip()),
    }
}

/// Parses `ADDRESS:PORT`, or resolves `NAME:PORT`.
fn parse_socket_address(text: &str) -> Result<SocketAddr, String> {
    match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => resolve_name(text),
    }
}

fn resolve_name(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|error| format!("no such address: {error}"))?;
    let found: Vec<_> = found.collect();
    // With IPv6, `localhost` has two addresses, and old clients use IPv4.
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| "the name has no address".to_owned())
}

/// The subcommands of `token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Create a token, and print it: it is not stored. As soon as one exists, the service requires a token.
    Create {
        /// Name of the token.
        name: String,
        /// Permission: `read` shows; `operate` also builds, changes and destroys; `admin` also manages what concerns all.
        #[arg(long, value_name = "read|operate|admin")]
        scope: Scope,
        /// Restrict the token to the infrastructure with this id; may be repeated.
        #[arg(long = "infrastructure", value_name = "ID")]
        infrastructures: Vec<String>,
        /// Time until the token expires: `12h`, `30d`, `1y`.
        #[arg(long, value_name = "TIME")]
        expires: Option<Span>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// List all tokens, without their secrets, also revoked and expired ones.
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Revoke a token; takes effect within a second.
    Revoke {
        /// Id or name of the token.
        #[arg(value_name = "ID|NAME")]
        which: String,
        #[command(flatten)]
        output: OutputArgs,
    },
}
