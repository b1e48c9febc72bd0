//! Requests of a service's REST API: a function for each route.

use http::header::CONTENT_TYPE;
use occopus_api::{
    Accepted, DefinitionItem, DefinitionList, EventPage, FailureAction, FileDiagnostic, ImportReply,
    InfrastructureList, Operation, PluginList, ValidationReply,
};
use occopus_engine::{Event, Plan, Rollout, Status, Summary};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

use super::client::ServiceClient;
use super::plugins::details;
use crate::args::OnFailureArg;
use crate::failure::Failure;
use crate::plugin::PluginDetails;

/// Number of infrastructures that are read at a time.
const PAGE_SIZE: usize = 500;

/// A change of the target of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScaleCall {
    /// Adds instances.
    Up(u32),
    /// Removes this instance.
    RemoveInstance(String),
    /// Sets the target.
    To(u32),
}

/// Response to a request to destroy.
pub(crate) enum DestroyResponse {
    /// The infrastructure is already gone.
    AlreadyGone,
    /// An operation has begun.
    Accepted(Accepted),
}

impl ServiceClient {
    fn get(&self, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        self.request(Method::GET, path, query)
    }

    fn post(&self, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        self.request(Method::POST, path, query)
    }

    async fn send_for_status(&self, request: RequestBuilder) -> Result<(), Failure> {
        self.send(request).await.map(drop)
    }

    /// Returns the status of an infrastructure. With `refresh`, the service observes the machines in their clouds first.
    pub(crate) async fn status(&self, id: &str, refresh: bool) -> Result<Status, Failure> {
        let query = if refresh { vec![("refresh", "true".to_owned())] } else { Vec::new() };
        self.json(self.get(&["infrastructures", id, "status"], &query)).await
    }

    /// Returns all infrastructures that the token may see.
    pub(crate) async fn list(&self) -> Result<Vec<Summary>, Failure> {
        let mut all = Vec::new();
        let mut query = vec![("limit", PAGE_SIZE.to_string())];
        loop {
            let page: InfrastructureList = self.json(self.get(&["infrastructures"], &query)).await?;
            all.extend(page.items.into_iter().map(Summary::from));
            let Some(next) = page.next else { return Ok(all) };
            query = vec![("limit", PAGE_SIZE.to_string()), ("after", next)];
        }
    }

    /// Validates a document; returns warnings.
    pub(crate) async fn validate(&self, document: &str) -> Result<Vec<FileDiagnostic>, Failure> {
        let valid: ValidationReply = self.json(with_json_body(self.post(&["validate"], &[]), document)).await?;
        Ok(valid.warnings)
    }

    /// Returns the plan of a build.
    pub(crate) async fn plan(&self, id: &str, document: &str, rollout: Rollout) -> Result<Plan, Failure> {
        self.json(with_json_body(self.post(&["infrastructures", id, "plan"], &replace_query(rollout)), document)).await
    }

    /// Builds an infrastructure, or changes an existing one.
    pub(crate) async fn build(
        &self,
        id: &str,
        document: &str,
        rollout: Rollout,
        on_failure: OnFailureArg,
    ) -> Result<Accepted, Failure> {
        let mut query = replace_query(rollout);
        let action = match on_failure {
            OnFailureArg::Rollback => FailureAction::Rollback,
            OnFailureArg::Keep => FailureAction::Keep,
        };
        query.push(("on_failure", action.word().to_owned()));
        self.json(with_json_body(self.request(Method::PUT, &["infrastructures", id], &query), document)).await
    }

    /// Destroys an infrastructure.
    pub(crate) async fn destroy(&self, id: &str) -> Result<DestroyResponse, Failure> {
        let request = self.request(Method::DELETE, &["infrastructures", id], &[]).header("prefer", "respond-async");
        let response = self.send(request).await?;
        if response.status() == StatusCode::ACCEPTED {
            return Ok(DestroyResponse::Accepted(self.read(response).await?));
        }
        Ok(DestroyResponse::AlreadyGone)
    }

    /// Runs one pass of maintenance; with `release`, ends a hold.
    pub(crate) async fn maintain(&self, id: &str, release: bool) -> Result<Accepted, Failure> {
        let query = if release { vec![("release", "true".to_owned())] } else { Vec::new() };
        self.json(self.post(&["infrastructures", id, "maintain"], &query)).await
    }

    /// Posts an action that is done with the response: `attach`, `detach`, `suspend`, `resume`.
    pub(crate) async fn post_action(&self, id: &str, action: &str) -> Result<(), Failure> {
        self.send_for_status(self.post(&["infrastructures", id, action], &[])).await
    }

    /// Records the target of a node.
    pub(crate) async fn scale(&self, id: &str, node: &str, call: &ScaleCall) -> Result<(), Failure> {
        let (method, argument) = match call {
            ScaleCall::Up(number) => ("scaleup", number.to_string()),
            ScaleCall::RemoveInstance(instance) => ("scaledown", instance.clone()),
            ScaleCall::To(number) => ("scaleto", number.to_string()),
        };
        self.send_for_status(self.post(&["infrastructures", id, method, node, &argument], &[])).await
    }

    /// Returns the state of an operation.
    pub(super) async fn operation(&self, id: &str, operation: &str) -> Result<Operation, Failure> {
        self.json(self.get(&["infrastructures", id, "operations", operation], &[])).await
    }

    /// Returns up to `limit` events after the one with the id `after`.
    pub(crate) async fn events(&self, id: &str, after: u64, limit: usize) -> Result<Vec<Event>, Failure> {
        let query = [("after", after.to_string()), ("limit", limit.to_string())];
        let page: EventPage = self.json(self.get(&["infrastructures", id, "events"], &query)).await?;
        Ok(page.events)
    }

    /// Returns the types whose definitions the service stores.
    pub(crate) async fn definitions(&self) -> Result<Vec<DefinitionItem>, Failure> {
        let all: DefinitionList = self.json(self.get(&["definitions"], &[])).await?;
        Ok(all.definitions)
    }

    /// Returns the definitions of a type, in the form of a file.
    pub(crate) async fn definition(&self, node_type: &str) -> Result<Value, Failure> {
        self.json(self.get(&["definitions", node_type], &[])).await
    }

    /// Stores definitions; returns the types.
    pub(crate) async fn import(&self, document: &str) -> Result<Vec<String>, Failure> {
        let response: ImportReply = self.json(with_json_body(self.post(&["definitions"], &[]), document)).await?;
        Ok(response.imported)
    }

    /// Removes the definitions of a type.
    pub(crate) async fn remove_definitions(&self, node_type: &str) -> Result<(), Failure> {
        self.send_for_status(self.request(Method::DELETE, &["definitions", node_type], &[])).await
    }

    /// Returns the plugins of the service.
    pub(crate) async fn plugins(&self) -> Result<Vec<PluginDetails>, Failure> {
        let all: PluginList = self.json(self.get(&["plugins"], &[])).await?;
        Ok(all.plugins.into_iter().filter_map(details).collect())
    }
}

fn with_json_body(request: RequestBuilder, document: &str) -> RequestBuilder {
    request.header(CONTENT_TYPE, "application/json").body(document.to_owned())
}

fn replace_query(rollout: Rollout) -> Vec<(&'static str, String)> {
    let selectors: Vec<_> = [(rollout.changed, "changed"), (rollout.dependents, "dependents")]
        .into_iter()
        .filter_map(|(is_selected, selector)| is_selected.then_some(selector))
        .collect();
    if selectors.is_empty() { Vec::new() } else { vec![("replace", selectors.join(","))] }
}
