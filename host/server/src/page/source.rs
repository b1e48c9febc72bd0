//! What the page needs to know of the service.

use std::future::Future;
use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};
use indexmap::IndexMap;
use jiff::Timestamp;
use occopus::graph::TooLarge;
use occopus::runtime::PluginInfo;
use occopus_engine::{Status, StoredEvent, Summary};
use occopus_model::Implementation;

use super::PageError;
use crate::access::{AccessError, Caller, TokenText};

/// What the page needs to know of the service. The page asks nothing that the caller may not see.
pub trait PageSource: Clone + Send + Sync + 'static {
    /// All infrastructures, in any order.
    fn list(&self) -> impl Future<Output = Result<Vec<InfrastructureRow>, PageError>> + Send;

    /// One of them, as the store knows it; none when there is none with this id.
    fn status(&self, id: &str) -> impl Future<Output = Result<Option<InfrastructureView>, PageError>> + Send;

    /// The graph of one of them with the states of its nodes, for somebody who may see it.
    fn render_graph(
        &self,
        caller: &Caller,
        id: &str,
    ) -> impl Future<Output = Result<Result<String, TooLarge>, PageError>> + Send;

    /// Stored events of an infrastructure, newest first: at most `limit`, all with ids below `before`, if it is given.
    fn events(
        &self,
        id: &str,
        before: Option<u64>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<StoredEvent>, PageError>> + Send;

    /// What was asked for, newest first: what goes on, and some of what has ended.
    fn operations(&self, id: &str) -> impl Future<Output = Result<Vec<OperationView>, PageError>> + Send;

    /// What is to be there, or was to be there when its build failed; none when there is nothing of either.
    /// With `tried`, what was tried last, if that has failed.
    fn description(
        &self,
        id: &str,
        tried: bool,
    ) -> impl Future<Output = Result<Option<DescriptionView>, PageError>> + Send;

    /// Builds that have failed lately and left nothing, the latest first.
    fn failures(&self) -> impl Future<Output = Result<Vec<FailedBuildView>, PageError>> + Send;

    /// What a new description begins with: one that this service can build.
    fn starter(&self) -> Starter;

    /// The stored node definitions, by type.
    fn definitions(&self) -> impl Future<Output = Result<IndexMap<String, Vec<Implementation>>, PageError>> + Send;

    /// All plugins.
    fn plugins(&self) -> impl Future<Output = Result<Vec<PluginInfo>, PageError>> + Send;

    /// Begins a session: [`crate::access::Access::sign_in`].
    fn sign_in(
        &self,
        token: &TokenText,
        address: Option<IpAddr>,
    ) -> impl Future<Output = Result<[HeaderValue; 2], AccessError>> + Send;

    /// Ends one: [`crate::access::Access::sign_out`].
    fn sign_out(&self, headers: &HeaderMap) -> impl Future<Output = Result<[HeaderValue; 2], AccessError>> + Send;
}

/// An infrastructure in the list.
#[derive(Debug, Clone)]
pub struct InfrastructureRow {
    /// What the engine knows of it.
    pub summary: Summary,
    /// Whether it is left alone until it is resumed.
    pub suspended: bool,
    /// Whether this service keeps it alive.
    pub attached: bool,
    /// How many instances are ready.
    pub ready: usize,
    /// How many there should be.
    pub instances: usize,
}

/// An infrastructure on its own page.
#[derive(Debug, Clone)]
pub struct InfrastructureView {
    /// What the engine knows of it.
    pub status: Status,
    /// Whether this service keeps it alive.
    pub attached: bool,
    /// The last change has failed, and its description is still known.
    pub tried: bool,
}

/// Something that takes long and was asked for.
#[derive(Debug, Clone)]
pub struct OperationView {
    /// Its id.
    pub id: String,
    /// `build`, `destroy` or `maintain`.
    pub kind: String,
    /// `pending`, `running`, `done`, `failed` or `superseded`.
    pub state: String,
    /// Who asked for it.
    pub by: String,
    /// When it was asked for.
    pub requested: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What there is to say.
    pub message: Option<String>,
    /// Why it failed.
    pub error: Option<OperationError>,
}

/// Why an operation failed.
#[derive(Debug, Clone)]
pub struct OperationError {
    /// In words.
    pub text: String,
    /// How to mend it.
    pub help: Option<String>,
}

/// What is to be there.
#[derive(Debug, Clone)]
pub struct DescriptionView {
    /// `infra_name`.
    pub name: String,
    /// A text that compiles to it, its own definitions included: as it was posted, if that is known.
    pub text: String,
    /// Changes when it does; none when there is no such infrastructure any more.
    pub etag: Option<String>,
}

/// A build that has failed and left nothing.
#[derive(Debug, Clone)]
pub struct FailedBuildView {
    /// The id that its infrastructure had.
    pub id: String,
    /// `infra_name`.
    pub name: String,
    /// When it ended.
    pub time: Timestamp,
    /// What happened, newest first.
    pub events: Vec<StoredEvent>,
}

/// What a new description begins with.
#[derive(Debug, Clone)]
pub struct Starter {
    /// The description.
    pub text: String,
    /// What is to be known of it before it is built.
    pub help: &'static str,
}
