//! The interface between the page and the service.

use std::future::Future;
use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};
use indexmap::IndexMap;
use jiff::Timestamp;
use occopus::graph::TooLarge;
use occopus_api::{InfrastructureItem, Operation, PluginItem};
use occopus_engine::{Event, InfrastructureId, Status};
use occopus_model::Implementation;

use super::PageError;
use crate::access::{AccessError, Caller, TokenText};

/// The data of the page, and its sessions. The page checks whether the caller may see an infrastructure; a source does
/// not.
///
/// [`Service`](crate::state::Service) is the source; the tests of this module have a fake. It is worth its lines: every page is
/// checked with states that a service reaches only when several things fail at the right moment, with hostile text in each
/// field, and with more nodes and events than a test could make. The browser's tests use the real service.
pub(crate) trait PageSource: Clone + Send + Sync + 'static {
    /// Returns all infrastructures, in any order.
    fn list(&self) -> impl Future<Output = Result<Vec<InfrastructureRow>, PageError>> + Send;

    /// Returns the stored status of an infrastructure; none if it does not exist.
    fn status(
        &self,
        id: &InfrastructureId,
    ) -> impl Future<Output = Result<Option<InfrastructureView>, PageError>> + Send;

    /// Returns the graph of an infrastructure with the states of its nodes, as SVG. Waits for the caller's turn to draw.
    fn render_graph(
        &self,
        caller: &Caller,
        id: &InfrastructureId,
    ) -> impl Future<Output = Result<Result<String, TooLarge>, PageError>> + Send;

    /// Returns stored events of an infrastructure, the newest first: at most `limit`, with ids below `before` if that
    /// is given.
    fn events(
        &self,
        id: &InfrastructureId,
        before: Option<u64>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Event>, PageError>> + Send;

    /// Returns the operations of an infrastructure, the newest first: the pending one, and some that have ended.
    fn operations(&self, id: &InfrastructureId) -> impl Future<Output = Result<Vec<Operation>, PageError>> + Send;

    /// Returns the current description of an infrastructure, or that of its failed build; none if there is neither.
    /// With `tried`, prefers that of the last build, if that has failed.
    fn description(
        &self,
        id: &InfrastructureId,
        tried: bool,
    ) -> impl Future<Output = Result<Option<DescriptionView>, PageError>> + Send;

    /// Returns the recently failed builds whose infrastructures are gone, the latest first.
    fn failures(&self) -> impl Future<Output = Result<Vec<FailedBuildView>, PageError>> + Send;

    /// Returns the initial text of a new description, chosen so that this service can build it.
    fn starter(&self) -> Starter;

    /// Returns the stored node definitions, by type.
    fn definitions(&self) -> impl Future<Output = Result<IndexMap<String, Vec<Implementation>>, PageError>> + Send;

    /// Returns all plugins.
    fn plugins(&self) -> impl Future<Output = Result<Vec<PluginItem>, PageError>> + Send;

    /// Begins a session, and returns its cookies: [`crate::access::Access::sign_in`].
    fn sign_in(
        &self,
        token: &TokenText,
        address: Option<IpAddr>,
    ) -> impl Future<Output = Result<[HeaderValue; 2], AccessError>> + Send;

    /// Ends a session, and returns the cookies that remove it: [`crate::access::Access::sign_out`].
    fn sign_out(&self, headers: &HeaderMap) -> impl Future<Output = Result<[HeaderValue; 2], AccessError>> + Send;
}

/// An infrastructure in the list.
#[derive(Debug, Clone)]
pub(crate) struct InfrastructureRow {
    /// The infrastructure, as the REST API lists it.
    pub(crate) item: InfrastructureItem,
    /// Number of ready instances.
    pub(crate) ready: usize,
    /// Number of instances that it is to have.
    pub(crate) instances: usize,
}

/// An infrastructure on its own page.
#[derive(Debug, Clone)]
pub(crate) struct InfrastructureView {
    /// Full status from the engine.
    pub(crate) status: Status,
    /// Attachment to the service, which then maintains it.
    pub(crate) attached: bool,
    /// Failure of the last build, while its description is still stored.
    pub(crate) tried: bool,
}

/// A description in the editor.
#[derive(Debug, Clone)]
pub(crate) struct DescriptionView {
    /// The infrastructure's name, `infra_name`.
    pub(crate) name: String,
    /// YAML text with its own node definitions: as it was posted, if that is stored, otherwise generated.
    pub(crate) text: String,
    /// Entity tag of the current description; none if the infrastructure no longer exists.
    pub(crate) etag: Option<String>,
}

/// A failed build whose infrastructure is gone.
#[derive(Debug, Clone)]
pub(crate) struct FailedBuildView {
    /// Id of the infrastructure.
    pub(crate) id: String,
    /// The infrastructure's name, `infra_name`.
    pub(crate) name: String,
    /// Time at which the build ended.
    pub(crate) time: Timestamp,
    /// Last events of the build, the newest first.
    pub(crate) events: Vec<Event>,
}

/// The initial text of a new description.
#[derive(Debug, Clone)]
pub(crate) struct Starter {
    /// Text of the description.
    pub(crate) text: String,
    /// Requirements for building it.
    pub(crate) help: &'static str,
}
