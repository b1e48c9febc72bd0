//! A fake service, which serves the same data to every caller.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};
use occopus::graph::{TooLarge, svg_of_status};
use occopus_api::{InfrastructureItem, Operation, OperationKind, OperationState, PluginItem, ProblemDetails};
use occopus_engine::ports::Address;
use occopus_engine::{
    Event, EventKind, FailingNode, InfrastructureId, InfrastructureState, InstanceState, InstanceStatus, NodeStatus,
    Owner, Status, Summary, testing,
};
use occopus_model::{HealthCheck, Implementation};
use serde_json::json;

use crate::access::{AccessError, Caller, TokenText};
use crate::page::{
    DescriptionView, FailedBuildView, InfrastructureRow, InfrastructureView, PageError, PageSource, Starter,
};

/// Id of the infrastructure that exists.
pub(crate) const ID: &str = "6995019c-1d9b-4e0a-b2fd-9bdb2f4d289a";
/// Id of an infrastructure that is gone.
pub(crate) const GONE: &str = "gone";

/// Id of an infrastructure whose build has failed.
pub(crate) const FAILED: &str = "failed";

/// A fake service with some infrastructures, of which the first one has all details.
#[derive(Debug, Clone)]
pub(crate) struct FakeSource {
    /// Text that is added to every text from outside.
    pub(crate) word: String,
    /// Number of infrastructures.
    pub(crate) count: usize,
    /// Number of events.
    pub(crate) events: u64,
    /// Number of additional nodes.
    pub(crate) more: usize,
    /// Hold of the first infrastructure, which stops healing.
    pub(crate) held: bool,
}

impl FakeSource {
    /// Returns a service with this word in every text.
    pub(crate) fn of(word: &str) -> Self {
        Self { word: word.into(), count: 7, events: 64, more: 0, held: false }
    }

    fn summary(&self, at: usize) -> Summary {
        use InfrastructureState::{Building, Degraded, Destroying, Held, Ready};
        let names = ["hello", "docker-swarm", "kubernetes", "flowbster-autodock", "hadoop", "spark-cluster", "ceph"];
        let first = if self.held { Held } else { Degraded };
        let state = [first, Ready, Building, Ready, Held, Destroying, Ready][at % 7];
        let owner = Owner { holder: format!("node-1{} process 4711", self.word), since: before(95) };
        Summary {
            id: if at == 0 { testing::id(ID) } else { testing::id(&format!("6995019c-1d9b-4e0a-b2fd-{at:012}")) },
            name: format!("{}{}", names[at % 7], self.word),
            state,
            suspended: at == 3,
            created: before(40 + 7000 * at as i64 * at as i64),
            owner: (at % 3 != 1).then_some(owner),
        }
    }

    fn status(&self) -> Status {
        use InstanceState::{Failed, Pending, Ready, Unhealthy, UnknownOutcome};
        let word = &self.word;
        let summary = self.summary(0);
        let instance = |at: usize, state| InstanceStatus {
            id: format!("0192f0c1-7a6b-7d31-9d65-{at:012x}{}", if word.is_empty() { "" } else { word }),
            state,
            driver: format!("local{word}"),
            addresses: match state {
                Pending | UnknownOutcome => Vec::new(),
                _ => vec![
                    Address { value: format!("127.44.{at}.63{word}"), internal: false },
                    Address { value: format!("fd00::{at}"), internal: true },
                ],
            },
            attributes: Vec::new(),
            message: (state == Failed).then(|| format!("the process ended with status 1: no such file{word}")),
            health: (state == Unhealthy).then(|| format!("port 8080 refuses connections{word}")),
            failing_since: (state == Unhealthy).then(|| before(50)),
            unobserved: (at == 7).then(|| format!("these credentials belong to another account{word}")),
            changed: if at == 2 { vec![format!("variables{word}")] } else { Vec::new() },
            stale: if at == 3 { vec![format!("127.44.22.60{word}")] } else { Vec::new() },
            created: before(1000),
            since: before(30 * at as i64 + 3),
            seconds_to_running: Some(0.2),
            seconds_to_ready: (state == Ready).then_some(0.4),
        };
        let node = |name: &str, kind: &str, needs: &[&str], (target, min, max), instances| NodeStatus {
            name: format!("{name}{word}"),
            node_type: if kind.is_empty() { String::new() } else { format!("{kind}{word}") },
            depends_on: needs.iter().map(|name| format!("{name}{word}")).collect(),
            target,
            min,
            max,
            instances,
            failing: (name == "database").then(|| FailingNode {
                failures: 3,
                next_attempt: before(-40),
                message: format!("the process ended with status 1{word}"),
            }),
        };
        let mut nodes = vec![
            node("frontend", "nginx", &["app"], (2, 2, 5), vec![instance(1, Ready), instance(2, Ready)]),
            node(
                "app",
                "python_server",
                &["database", "cache"],
                (6, 1, 10),
                vec![
                    instance(3, Ready),
                    instance(4, Ready),
                    instance(5, Unhealthy),
                    instance(6, Pending),
                    instance(7, Ready),
                    instance(8, Ready),
                ],
            ),
            node("cache", "redis", &[], (1, 1, 1), vec![instance(9, Ready)]),
            node("database", "postgresql", &["disk"], (1, 1, 1), vec![instance(10, Failed)]),
            node("disk", "volume", &[], (1, 1, 1), vec![instance(11, UnknownOutcome)]),
            node("metrics", "prometheus", &["app", "cache"], (1, 1, 1), Vec::new()),
            node("old", "", &[], (0, 0, 0), vec![instance(12, InstanceState::Destroying)]),
        ];
        nodes.extend((0..self.more).map(|at| node(&format!("n{at}"), "x", &["cache"], (1, 1, 1), Vec::new())));
        Status {
            id: summary.id,
            name: summary.name,
            state: summary.state,
            message: Some(format!("database: the process ended with status 1{word}")),
            suspended: false,
            owner: summary.owner,
            created: summary.created,
            nodes,
        }
    }
}

fn before(seconds: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_secs(seconds)
}

impl PageSource for FakeSource {
    async fn list(&self) -> Result<Vec<InfrastructureRow>, PageError> {
        let listed = |at| InfrastructureRow {
            item: InfrastructureItem::new(Summary { suspended: at == 3, ..self.summary(at) }, at % 3 != 1),
            ready: 3 + at,
            instances: 3 + at + at % 3,
        };
        Ok((0..self.count).map(listed).collect())
    }

    async fn status(&self, id: &InfrastructureId) -> Result<Option<InfrastructureView>, PageError> {
        Ok((*id == *ID && self.count > 0).then(|| InfrastructureView {
            status: FakeSource::status(self),
            attached: true,
            tried: true,
        }))
    }

    async fn events(
        &self,
        _: &InfrastructureId,
        before_it: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Event>, PageError> {
        let newest = before_it.map_or(self.events, |id| (id - 1).min(self.events));
        let (node_id, node_name) = ("x".to_owned(), format!("app{}", self.word));
        let address = Address { value: format!("127.44.1.63{}", self.word), internal: false };
        let event = |id: u64| Event {
            id: Some(id),
            time: before(4 * (self.events - id) as i64),
            infra_id: ID.into(),
            kind: match id % 6 {
                0 => EventKind::InfraReady,
                1 => EventKind::NodeCreated {
                    node_id: node_id.clone(),
                    node_name: node_name.clone(),
                    addresses: vec![address.clone()],
                },
                2 => EventKind::NodeHealth {
                    node_id: node_id.clone(),
                    node_name: node_name.clone(),
                    healthy: false,
                    message: format!("port 8080 refuses connections{}", self.word),
                },
                3 => EventKind::NodeScaled { node_name: node_name.clone(), from: 2, to: 6 },
                4 => EventKind::NodeCreating {
                    node_id: node_id.clone(),
                    node_name: node_name.clone(),
                    driver: format!("local{}", self.word),
                },
                _ => EventKind::NodeFailed {
                    node_id: node_id.clone(),
                    node_name: node_name.clone(),
                    message: format!("the process ended{}", self.word),
                    output: Some(format!("cannot open /etc/app.conf{}", self.word)),
                },
            },
        };
        Ok((1..=newest).rev().take(limit).map(event).collect())
    }

    async fn operations(&self, id: &InfrastructureId) -> Result<Vec<Operation>, PageError> {
        if ![ID, GONE, FAILED].contains(&id.as_str()) {
            return Ok(Vec::new());
        }
        let word = &self.word;
        let operation = |at: u32, kind, state, error| Operation {
            id: format!("op{at}{word}"),
            infraid: id.to_string(),
            kind,
            state,
            by: format!("ada{word}"),
            requested: before(200),
            ended: (state != OperationState::Running).then(|| before(100)),
            message: (state == OperationState::Done).then(|| format!("every node is ready{word}")),
            error,
        };
        let error = ProblemDetails {
            detail: format!("database: the process ended with status 1{word}"),
            help: Some(format!("`occopus logs database` shows what it said{word}")),
            ..ProblemDetails::default()
        };
        Ok(vec![
            operation(3, OperationKind::Maintain, OperationState::Running, None),
            operation(2, OperationKind::Build, OperationState::Failed, Some(error)),
            operation(1, OperationKind::Build, OperationState::Done, None),
        ])
    }

    async fn description(&self, id: &InfrastructureId, tried: bool) -> Result<Option<DescriptionView>, PageError> {
        let name = format!("hello{}", self.word);
        let text = format!("infra_name: hello # {}{}\n", self.word, if tried { " tried" } else { "" });
        let etag = (*id == *ID).then(|| "\"7\"".into());
        Ok([ID, FAILED].contains(&id.as_str()).then_some(DescriptionView { name, text, etag }))
    }

    async fn failures(&self) -> Result<Vec<FailedBuildView>, PageError> {
        let failure = FailedBuildView {
            id: FAILED.into(),
            name: format!("unlucky{}", self.word),
            time: before(10),
            events: self.events(&testing::id(FAILED), None, 3).await?,
        };
        Ok(if self.count == 0 { Vec::new() } else { vec![failure] })
    }

    fn starter(&self) -> Starter {
        Starter { text: format!("infra_name: first # {}\n", self.word), help: "It can be built." }
    }

    async fn definitions(&self) -> Result<IndexMap<String, Vec<Implementation>>, PageError> {
        let implementation = Implementation {
            resource: json!({ "type": format!("docker{}", self.word), "image": "nginx" }),
            contextualisation: Some(json!({ "type": "docker", "env": ["A=1"] })),
            config_management: None,
            health_check: HealthCheck {
                checks: IndexMap::from([("ports".into(), json!([80]))]),
                timeout: 600,
                min_ready_seconds: None,
            },
            definition_dir: String::new(),
            origin: String::new(),
            lines: IndexMap::new(),
        };
        let types = ["nginx", "redis"].map(|name| (format!("{name}{}", self.word), vec![implementation.clone()]));
        Ok(if self.count == 0 { IndexMap::new() } else { types.into_iter().collect() })
    }

    async fn plugins(&self) -> Result<Vec<PluginItem>, PageError> {
        let plugin = |keyword: &str, kind: &str| PluginItem {
            name: format!("{keyword}{}", self.word),
            version: "0.1.0".into(),
            kind: kind.into(),
            keyword: keyword.into(),
            summary: format!("Makes machines, or looks at them{}.", self.word),
            origin: format!("bundled{}", self.word),
            digest: "0".repeat(64),
            contract: "0.1.0".into(),
            size: 1,
            schema: Arc::new(json!({})),
            credentials: None,
            network: Vec::new(),
            interfaces: Vec::new(),
        };
        Ok(vec![plugin("docker", "driver"), plugin("nova", "driver"), plugin("ports", "health-checker")])
    }

    async fn render_graph(&self, _: &Caller, id: &InfrastructureId) -> Result<Result<String, TooLarge>, PageError> {
        let shown =
            PageSource::status(self, id).await?.ok_or_else(|| PageError::new(http::StatusCode::NOT_FOUND, "gone"))?;
        Ok(svg_of_status(&shown.status))
    }

    async fn sign_in(&self, token: &TokenText, _: Option<IpAddr>) -> Result<[HeaderValue; 2], AccessError> {
        let cookies = [HeaderValue::from_static("occopus_session=ocs_x"), HeaderValue::from_static("occopus_token=")];
        if token.id() == "0123456789ab" { Ok(cookies) } else { Err(AccessError::Unauthenticated) }
    }

    async fn sign_out(&self, _: &HeaderMap) -> Result<[HeaderValue; 2], AccessError> {
        let cookies = ["occopus_session=; Max-Age=0", "occopus_token=; Max-Age=0"];
        Ok(cookies.map(HeaderValue::from_static))
    }
}
