//! The data of the page, read from the engine, the ledger and the feed of the service.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, StatusCode};
use indexmap::IndexMap;
use occopus::graph::TooLarge;
use occopus_api::{InfrastructureItem, Operation, PluginItem};
use occopus_engine::{EngineError, Event, InfrastructureId};
use occopus_model::Implementation;

use crate::access::{AccessError, Caller, TokenText};
use crate::api::{current_description, description_tag};
use crate::operations::{FailedBuild, Work};
use crate::page::{
    DescriptionView, FailedBuildView, InfrastructureRow, InfrastructureView, PageError, PageSource, Starter,
};
use crate::problem::ApiError;
use crate::state::Service;

/// Default endpoint of a Docker engine.
const DEFAULT_DOCKER_ENDPOINT: &str = "unix:///var/run/docker.sock";
/// Growth of the span of ids that is searched for a page of events: ids may be missing, so a span of the page's size
/// may not do.
const SCAN_GROWTH_FACTOR: u64 = 4;

impl PageSource for Service {
    async fn list(&self) -> Result<Vec<InfrastructureRow>, PageError> {
        let attached: std::collections::HashSet<_> =
            self.ledger.attached().await.map_err(ApiError::from)?.into_iter().collect();
        let mut listed = Vec::new();
        for summary in self.engine.list().await.map_err(ApiError::from)? {
            let topic = self.feed.topic(&summary.id);
            let (ready, instances) = match topic.cached_counts() {
                Ok(counted) => counted,
                Err(count) => match self.engine.status(&summary.id, false).await {
                    Ok(status) => {
                        let ready = status.nodes.iter().map(occopus::graph::tone::count_ready).sum();
                        let instances = status.nodes.iter().map(|node| node.target as usize).sum();
                        topic.cache_counts(count, (ready, instances));
                        (ready, instances)
                    }
                    // Removed since the list was read.
                    Err(EngineError::UnknownInfrastructure { .. }) => continue,
                    Err(error) => return Err(ApiError::from(error).into()),
                },
            };
            let is_attached = attached.contains(&summary.id);
            listed.push(InfrastructureRow { item: InfrastructureItem::new(summary, is_attached), ready, instances });
        }
        Ok(listed)
    }

    async fn status(&self, id: &InfrastructureId) -> Result<Option<InfrastructureView>, PageError> {
        let status = match self.status(id).await {
            Ok(status) => status,
            Err(error) if error.status().is_client_error() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let attached = self.ledger.is_attached(id).await.map_err(ApiError::from)?;
        let tried =
            self.ledger.failed_build(id).await.map_err(ApiError::from)?.is_some_and(|failed| !failed.text.is_empty());
        Ok(Some(InfrastructureView { status, attached, tried }))
    }

    async fn render_graph(
        &self,
        caller: &Caller,
        id: &InfrastructureId,
    ) -> Result<Result<String, TooLarge>, PageError> {
        Ok(Self::render_graph(self, caller, id).await?)
    }

    async fn events(&self, id: &InfrastructureId, before: Option<u64>, limit: usize) -> Result<Vec<Event>, PageError> {
        let newest = self.engine.cursor(id, "page").await.map_err(ApiError::from)?;
        // Beyond the newest id, there is nothing to search.
        let before = before.unwrap_or(u64::MAX).min(newest.saturating_add(1));
        let mut span = limit as u64;
        loop {
            let after = before.saturating_sub(span.saturating_add(1));
            let count = usize::try_from(span).unwrap_or(usize::MAX);
            let mut found = self.engine.events(id, after, count).await.map_err(ApiError::from)?;
            found.retain(|event| event.id.is_some_and(|id| id < before));
            if found.len() >= limit || after == 0 {
                found.reverse();
                found.truncate(limit);
                return Ok(found);
            }
            span = span.saturating_mul(SCAN_GROWTH_FACTOR);
        }
    }

    async fn operations(&self, id: &InfrastructureId) -> Result<Vec<Operation>, PageError> {
        Ok(self.ledger.operations(id).await.map_err(ApiError::from)?)
    }

    async fn description(&self, id: &InfrastructureId, tried: bool) -> Result<Option<DescriptionView>, PageError> {
        let failed =
            self.ledger.failed_build(id).await.map_err(ApiError::from)?.filter(|failed| !failed.text.is_empty());
        let Some(current) = current_description(self, id).await? else {
            return Ok(failed.map(|FailedBuild { name, text, .. }| DescriptionView { name, text, etag: None }));
        };
        let posted = match self.ledger.pending_work(id).await.map_err(ApiError::from)? {
            Some(Work::Build { text, .. }) if !text.is_empty() => Some(text),
            _ => failed.filter(|_| tried).map(|failed| failed.text),
        };
        let text = match posted {
            Some(text) => text,
            None => serde_yaml_ng::to_string(&occopus_model::document(&current)).map_err(|error| {
                tracing::error!(%error, id = id.as_str(), "description could not be encoded as YAML");
                PageError::new(StatusCode::INTERNAL_SERVER_ERROR, "The description could not be encoded as YAML.")
            })?,
        };
        let etag = Some(description_tag(&current)?);
        Ok(Some(DescriptionView { name: current.name, text, etag }))
    }

    async fn failures(&self) -> Result<Vec<FailedBuildView>, PageError> {
        let failures = self.ledger.failed_builds().await.map_err(ApiError::from)?;
        let shown = failures.into_iter().map(|(id, FailedBuild { name, mut events, time, .. })| {
            events.reverse();
            FailedBuildView { id, name, time, events }
        });
        Ok(shown.collect())
    }

    fn starter(&self) -> Starter {
        if self.settings.allow_processes {
            let help = "This example can be built as it is: its nodes are processes on the machine of this service.";
            return Starter { text: include_str!("../assets/starter-local.yaml").to_owned(), help };
        }
        let allowed = &self.settings.endpoints;
        let engine = |endpoint: &&String| ["unix://", "tcp://"].iter().any(|start| endpoint.starts_with(start));
        let endpoint = allowed.iter().find(engine).or(allowed.first()).map_or(DEFAULT_DOCKER_ENDPOINT, String::as_str);
        let help = "This example requires a Docker engine at its endpoint. Without --allow-processes, this service runs no \
                    programs on its own machine.";
        Starter { text: include_str!("../assets/starter-docker.yaml").replace("ENDPOINT", endpoint), help }
    }

    async fn definitions(&self) -> Result<IndexMap<String, Vec<Implementation>>, PageError> {
        Ok(self.engine.definitions().await.map_err(ApiError::from)?)
    }

    async fn plugins(&self) -> Result<Vec<PluginItem>, PageError> {
        Ok(self.plugin_items().await?)
    }

    async fn sign_in(&self, token: &TokenText, address: Option<IpAddr>) -> Result<[HeaderValue; 2], AccessError> {
        self.access.sign_in(token, address).await
    }

    async fn sign_out(&self, headers: &HeaderMap) -> Result<[HeaderValue; 2], AccessError> {
        self.access.sign_out(headers).await
    }
}
