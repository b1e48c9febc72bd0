//! The service, and who may use it.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Span;
use occopus_server::access::Scope;

use super::{OutputArgs, ParallelizeArgs, parse_seconds};

/// `serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with_all = ["host", "port"], value_parser = parse_socket_address)]
    pub(crate) listen: Option<SocketAddr>,
    /// The address to listen on, or a name that has one, such as `localhost`.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = parse_host)]
    pub(crate) host: IpAddr,
    /// Where to listen: the port; 0 takes any that is free.
    #[arg(long, value_name = "PORT", default_value = "5000")]
    pub(crate) port: u16,
    /// The certificate, with those that lead to it (PEM). It is read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The key of the certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Listen without TLS where other machines reach it: behind a proxy that encrypts, on a network of trust.
    #[arg(long)]
    pub(crate) insecure_http: bool,
    /// Descriptions that come over the network may run programs on this machine (the driver `local`).
    #[arg(long)]
    pub(crate) allow_processes: bool,
    /// Seconds between two looks at an infrastructure.
    #[arg(short = 't', long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub(crate) interval: Duration,
    /// Seconds that what is under way gets at the end.
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = parse_seconds)]
    pub(crate) grace: Duration,
    #[command(flatten)]
    pub(crate) parallelize: ParallelizeArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// An address, or that of a name.
fn parse_host(text: &str) -> Result<IpAddr, String> {
    match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => resolve_name(&format!("{text}:0")).map(|found| found.ip()),
    }
}

/// `ADDRESS:PORT`, or `NAME:PORT`.
fn parse_socket_address(text: &str) -> Result<SocketAddr, String> {
    match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => resolve_name(text),
    }
}

fn resolve_name(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|error| format!("no such address: {error}"))?;
    let found: Vec<_> = found.collect();
    // `localhost` has two where there is IPv6, and clients of old know the first kind.
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| "the name has no address".to_owned())
}

/// `token`
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, and print it: it is kept nowhere. Once there is one, the service lets in nobody without.
    Create {
        /// What to call it.
        name: String,
        /// What it allows: to look; also to build, change and destroy; also what concerns all.
        #[arg(long, value_name = "read|operate|admin")]
        scope: Scope,
        /// Only for the infrastructure with this id; may be repeated.
        #[arg(long = "infrastructure", value_name = "ID")]
        infrastructures: Vec<String>,
        /// After so long it ends: `12h`, `30d`, `1y`.
        #[arg(long, value_name = "TIME")]
        expires: Option<Span>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// All tokens, without their secrets, also those that are revoked or have ended.
    List {
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Let a token open nothing any more, a second from now.
    Revoke {
        /// Its id or name.
        #[arg(value_name = "ID|NAME")]
        which: String,
        #[command(flatten)]
        output: OutputArgs,
    },
}
