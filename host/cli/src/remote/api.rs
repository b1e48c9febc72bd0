//! What a service can be asked: a function for each route.

use http::header::CONTENT_TYPE;
use occopus_engine::{Event, Plan, Rollout, Status, Summary};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::client::ServiceClient;
use super::operation::{Accepted, Operation};
use super::plugins::PluginResponse;
use super::problem::FileDiagnostic;
use crate::args::OnFailureArg;
use crate::failure::Failure;
use crate::plugin::PluginDetails;

/// Infrastructures read at a time.
const PAGE_SIZE: usize = 500;

/// How many instances a node is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScaleCall {
    /// So many more.
    Up(u32),
    /// This one less.
    RemoveInstance(String),
    /// So many.
    To(u32),
}

/// What became of a request to destroy.
pub(crate) enum DestroyResponse {
    /// It is gone already.
    AlreadyGone,
    /// It takes its time.
    Accepted(Accepted),
}

/// A type whose definitions a service keeps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct StoredDefinition {
    #[serde(rename = "type")]
    pub(crate) node_type: String,
    /// Where each implementation came from.
    pub(crate) origins: Vec<String>,
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

    /// Everything that is known of an infrastructure; when asked to, after a look at the clouds.
    pub(crate) async fn status(&self, id: &str, refresh: bool) -> Result<Status, Failure> {
        let query = if refresh { vec![("refresh", "true".to_owned())] } else { Vec::new() };
        self.json(self.get(&["infrastructures", id, "status"], &query)).await
    }

    /// All infrastructures that the token may see.
    pub(crate) async fn list(&self) -> Result<Vec<Summary>, Failure> {
        #[derive(Deserialize)]
        struct Page {
            items: Vec<Summary>,
            next: Option<String>,
        }
        let mut all = Vec::new();
        let mut query = vec![("limit", PAGE_SIZE.to_string())];
        loop {
            let page: Page = self.json(self.get(&["infrastructures"], &query)).await?;
            all.extend(page.items);
            let Some(next) = page.next else { return Ok(all) };
            query = vec![("limit", PAGE_SIZE.to_string()), ("after", next)];
        }
    }

    /// Checks a document; gives warnings.
    pub(crate) async fn validate(&self, document: &str) -> Result<Vec<FileDiagnostic>, Failure> {
        #[derive(Deserialize)]
        struct Valid {
            warnings: Vec<FileDiagnostic>,
        }
        let valid: Valid = self.json(with_json_body(self.post(&["validate"], &[]), document)).await?;
        Ok(valid.warnings)
    }

    /// What a build would do.
    pub(crate) async fn plan(&self, id: &str, document: &str, renew: Rollout) -> Result<Plan, Failure> {
        self.json(with_json_body(self.post(&["infrastructures", id, "plan"], &replace_query(renew)), document)).await
    }

    /// Builds, or changes what exists.
    pub(crate) async fn build(
        &self,
        id: &str,
        document: &str,
        renew: Rollout,
        on_failure: OnFailureArg,
    ) -> Result<Accepted, Failure> {
        let mut query = replace_query(renew);
        let word = match on_failure {
            OnFailureArg::Rollback => "rollback",
            OnFailureArg::Keep => "keep",
        };
        query.push(("on_failure", word.to_owned()));
        self.json(with_json_body(self.request(Method::PUT, &["infrastructures", id], &query), document)).await
    }

    /// Removes it.
    pub(crate) async fn destroy(&self, id: &str) -> Result<DestroyResponse, Failure> {
        let request = self.request(Method::DELETE, &["infrastructures", id], &[]).header("prefer", "respond-async");
        let response = self.send(request).await?;
        if response.status() == StatusCode::ACCEPTED {
            return Ok(DestroyResponse::Accepted(self.read(response).await?));
        }
        Ok(DestroyResponse::AlreadyGone)
    }

    /// Looks once, and heals; with `release`, also what is held.
    pub(crate) async fn maintain(&self, id: &str, release: bool) -> Result<Accepted, Failure> {
        let query = if release { vec![("release", "true".to_owned())] } else { Vec::new() };
        self.json(self.post(&["infrastructures", id, "maintain"], &query)).await
    }

    /// Something that is done when it is answered: `attach`, `detach`, `suspend`, `resume`.
    pub(crate) async fn post_action(&self, id: &str, what: &str) -> Result<(), Failure> {
        self.send_for_status(self.post(&["infrastructures", id, what], &[])).await
    }

    /// Records how many instances a node is to have.
    pub(crate) async fn scale(&self, id: &str, node: &str, by: &ScaleCall) -> Result<(), Failure> {
        let (method, argument) = match by {
            ScaleCall::Up(number) => ("scaleup", number.to_string()),
            ScaleCall::RemoveInstance(instance) => ("scaledown", instance.clone()),
            ScaleCall::To(number) => ("scaleto", number.to_string()),
        };
        self.send_for_status(self.post(&["infrastructures", id, method, node, &argument], &[])).await
    }

    /// Where long work stands.
    pub(super) async fn operation(&self, id: &str, operation: &str) -> Result<Operation, Failure> {
        self.json(self.get(&["infrastructures", id, "operations", operation], &[])).await
    }

    /// What has happened after an event.
    pub(crate) async fn events(&self, id: &str, after: u64, limit: usize) -> Result<Vec<Event>, Failure> {
        #[derive(Deserialize)]
        struct Page {
            events: Vec<Event>,
        }
        let query = [("after", after.to_string()), ("limit", limit.to_string())];
        let page: Page = self.json(self.get(&["infrastructures", id, "events"], &query)).await?;
        Ok(page.events)
    }

    /// The types whose definitions the service keeps.
    pub(crate) async fn definitions(&self) -> Result<Vec<StoredDefinition>, Failure> {
        #[derive(Deserialize)]
        struct All {
            definitions: Vec<StoredDefinition>,
        }
        let all: All = self.json(self.get(&["definitions"], &[])).await?;
        Ok(all.definitions)
    }

    /// The definitions of a type, as a file has them.
    pub(crate) async fn definition(&self, node_type: &str) -> Result<Value, Failure> {
        self.json(self.get(&["definitions", node_type], &[])).await
    }

    /// Keeps definitions; tells the types.
    pub(crate) async fn import(&self, document: &str) -> Result<Vec<String>, Failure> {
        #[derive(Deserialize)]
        struct Imported {
            imported: Vec<String>,
        }
        let answer: Imported = self.json(with_json_body(self.post(&["definitions"], &[]), document)).await?;
        Ok(answer.imported)
    }

    /// Forgets the definitions of a type.
    pub(crate) async fn remove_definitions(&self, node_type: &str) -> Result<(), Failure> {
        self.send_for_status(self.request(Method::DELETE, &["definitions", node_type], &[])).await
    }

    /// The service's plugins.
    pub(crate) async fn plugins(&self) -> Result<Vec<PluginDetails>, Failure> {
        #[derive(Deserialize)]
        struct All {
            plugins: Vec<PluginResponse>,
        }
        let all: All = self.json(self.get(&["plugins"], &[])).await?;
        Ok(all.plugins.into_iter().filter_map(PluginResponse::into_details).collect())
    }
}

fn with_json_body(request: RequestBuilder, document: &str) -> RequestBuilder {
    request.header(CONTENT_TYPE, "application/json").body(document.to_owned())
}

fn replace_query(renew: Rollout) -> Vec<(&'static str, String)> {
    let which: Vec<_> = [(renew.changed, "changed"), (renew.dependents, "dependents")]
        .into_iter()
        .filter_map(|(wanted, which)| wanted.then_some(which))
        .collect();
    if which.is_empty() { Vec::new() } else { vec![("replace", which.join(","))] }
}
