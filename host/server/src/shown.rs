//! What the page shows, from what the service knows.

use std::net::IpAddr;

use indexmap::IndexMap;
use occopus::runtime::PluginInfo;
use occopus_engine::{EngineError, StoredEvent};
use occopus_model::Implementation;

use crate::access::{Caller, Refusal, TokenText};
use crate::page::{Description, Listed, Operation, OperationError, Shown, Source, Trouble};
use crate::problem::Problem;
use crate::state::Service;

/// Numbers of events may be missing; the page before one is looked for among so many times as many.
const SPARSE: u64 = 4;

impl Source for Service {
    async fn list(&self) -> Result<Vec<Listed>, Trouble> {
        let attached: std::collections::HashSet<_> =
            self.ledger.attached().await.map_err(Problem::from)?.into_iter().collect();
        let mut listed = Vec::new();
        for summary in self.engine.list().await.map_err(Problem::from)? {
            let topic = self.feed.topic(&summary.id);
            let (ready, instances) = match topic.counted() {
                Ok(counted) => counted,
                Err(count) => match self.engine.status(&summary.id, false).await {
                    Ok(status) => {
                        let ready = status.nodes.iter().map(occopus::graph::tone::ready).sum();
                        let instances = status.nodes.iter().map(|node| node.target as usize).sum();
                        topic.keep_counted(count, (ready, instances));
                        (ready, instances)
                    }
                    // It has gone in the meantime.
                    Err(EngineError::UnknownInfrastructure { .. }) => continue,
                    Err(error) => return Err(Problem::from(error).into()),
                },
            };
            let attached = attached.contains(&summary.id);
            listed.push(Listed { suspended: summary.suspended, attached, ready, instances, summary });
        }
        Ok(listed)
    }

    async fn status(&self, id: &str) -> Result<Option<Shown>, Trouble> {
        let status = match self.status(id).await {
            Ok(status) => status,
            Err(problem) if problem.status().is_client_error() => return Ok(None),
            Err(problem) => return Err(problem.into()),
        };
        let attached = self.ledger.is_attached(id).await.map_err(Problem::from)?;
        Ok(Some(Shown { status, attached }))
    }

    async fn events(&self, id: &str, before: Option<u64>, limit: usize) -> Result<Vec<StoredEvent>, Trouble> {
        let newest = self.engine.cursor(id, "page").await.map_err(Problem::from)?;
        let before = before.unwrap_or(newest + 1);
        let mut span = limit as u64;
        loop {
            let after = before.saturating_sub(span + 1);
            let wanted = usize::try_from(span).unwrap_or(usize::MAX);
            let mut found = self.engine.events(id, after, wanted).await.map_err(Problem::from)?;
            found.retain(|event| event.id.is_some_and(|id| id < before));
            if found.len() >= limit || after == 0 {
                found.reverse();
                found.truncate(limit);
                return Ok(found);
            }
            span *= SPARSE;
        }
    }

    async fn operations(&self, id: &str) -> Result<Vec<Operation>, Trouble> {
        let operations = self.ledger.operations(id).await.map_err(Problem::from)?;
        let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let shown = operations.into_iter().map(|operation| Operation {
            id: operation.id,
            kind: word(serde_json::json!(operation.kind)),
            state: word(serde_json::json!(operation.state)),
            by: operation.by,
            requested: operation.requested,
            ended: operation.ended,
            message: operation.message,
            error: operation.error.map(|details| {
                let (text, help) = details.into_words();
                OperationError { text, help }
            }),
        });
        Ok(shown.collect())
    }

    async fn description(&self, id: &str) -> Result<Option<Description>, Trouble> {
        let desired = match self.engine.desired(id).await {
            Ok(desired) => desired,
            Err(EngineError::InvalidId { .. }) => None,
            Err(error) => return Err(Problem::from(error).into()),
        };
        let Some(etag) = crate::api::description_tag(self, id).await? else { return Ok(None) };
        Ok(desired.map(|desired| Description { document: occopus_model::document(&desired), etag }))
    }

    async fn definitions(&self) -> Result<IndexMap<String, Vec<Implementation>>, Trouble> {
        Ok(self.engine.definitions().await.map_err(Problem::from)?)
    }

    async fn plugins(&self) -> Result<Vec<PluginInfo>, Trouble> {
        Ok(Self::plugins(self).await?)
    }

    async fn identify(&self, token: &TokenText, address: Option<IpAddr>) -> Result<Caller, Refusal> {
        self.access.identify(token.reveal(), address).await
    }

    fn is_encrypted(&self) -> bool {
        self.tls
    }
}
