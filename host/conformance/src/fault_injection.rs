//! Faults of clouds and networks, injected between a plugin and its server.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use occopus_engine::ports::{Fault, Reaction};
use serde_json::Value;

use crate::fixture::merge_patched;
use crate::proxy::{Backend, ForeignAnswer, Proxy, ProxyAction, Request};
use crate::report::{CheckError, TestResult, describe_fault};
use crate::testbed::Testbed;

/// A fault with its name.
pub(crate) type NamedFault = (&'static str, ProxyAction);

/// Faults of a cloud and its network for calls that only read. Such a call may be repeated.
pub(crate) const READ_FAULTS: [NamedFault; 6] = [
    ("status 429", ProxyAction::Respond("429 Too Many Requests\r\nRetry-After: 7")),
    ("status 500", ProxyAction::Respond("500 Internal Server Error")),
    ("status 503", ProxyAction::Respond("503 Service Unavailable")),
    ("a cut connection", ProxyAction::CloseConnection),
    ("a lost answer", ProxyAction::LoseAnswer),
    ("half an answer", ProxyAction::TruncateAnswer),
];

/// Fault for calls that change something, beside [`READ_FAULTS`].
pub(crate) const FAULT_AFTER_EFFECT: NamedFault =
    ("status 500 after the server acted", ProxyAction::FailAfter("500 Internal Server Error"));

/// Name of the throttling fault among [`READ_FAULTS`], and the delay after which the call may be repeated.
pub(crate) const THROTTLING_FAULT: (&str, Duration) = ("status 429", Duration::from_secs(7));

/// A fault, and the requests of a call that it hits.
#[derive(Clone, Copy)]
pub(crate) struct Injection {
    /// Name of the fault.
    pub(crate) name: &'static str,
    action: ProxyAction,
    /// Index of the one request that it hits; none if it hits all.
    pub(crate) at: Option<usize>,
    /// Number of requests of the call.
    requests: usize,
}

impl Injection {
    /// Returns the injection of a fault at one of the requests of a call.
    pub(crate) fn at((name, action): NamedFault, index: usize, requests: usize) -> Self {
        Self { name, action, at: Some(index), requests }
    }

    /// Returns an injection for each fault and each request of a call.
    pub(crate) fn at_each(faults: impl IntoIterator<Item = NamedFault>, requests: usize) -> impl Iterator<Item = Self> {
        faults.into_iter().flat_map(move |fault| (0..requests).map(move |index| Self::at(fault, index, requests)))
    }

    /// Returns an injection for each fault and each request of a call, and for each fault at all requests.
    pub(crate) fn at_each_and_all(
        faults: impl IntoIterator<Item = NamedFault>,
        requests: usize,
    ) -> impl Iterator<Item = Self> {
        faults.into_iter().flat_map(move |fault| {
            let at_all = Self { at: None, ..Self::at(fault, 0, requests) };
            Self::at_each([fault], requests).chain([at_all])
        })
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, requests, .. } = self;
        match self.at {
            Some(index) => write!(formatter, "{name} at request {} of {requests}", index + 1),
            None => write!(formatter, "{name} at all requests"),
        }
    }
}

const JSON: &str = "application/json";
const HTML: &str = "text/html";

const fn foreign_answer(status: &'static str, kind: &'static str, body: &'static str) -> ProxyAction {
    ProxyAction::RespondForeign(ForeignAnswer { status, kind, body })
}

/// Answers of something that is not the service: gateways, proxies, portals and other programs at the same address.
/// Nothing follows from them: no machine is gone, none is removed, and no inventory is empty.
pub(crate) const FOREIGN_ANSWERS: [NamedFault; 13] = [
    ("a web page", foreign_answer("200 OK", HTML, "<!DOCTYPE html><title>Welcome</title><h1>It works!</h1>")),
    (
        "a web page with status 404",
        foreign_answer("404 Not Found", HTML, "<!DOCTYPE html><title>404 Not Found</title>"),
    ),
    (
        "a gateway without a route",
        foreign_answer("404 Not Found", JSON, r#"{"message": "no Route matched with those values"}"#),
    ),
    ("status 404 and an empty object", foreign_answer("404 Not Found", JSON, "{}")),
    ("status 404 and a word", foreign_answer("404 Not Found", JSON, "\"not found\"")),
    ("status 404 and an empty list", foreign_answer("404 Not Found", JSON, "[]")),
    ("status 404 and nothing", foreign_answer("404 Not Found", "", "")),
    ("an empty object", foreign_answer("200 OK", JSON, "{}")),
    ("an empty list", foreign_answer("200 OK", JSON, "[]")),
    ("another program's object", foreign_answer("200 OK", JSON, r#"{"status": "ok", "version": "7.1"}"#)),
    ("status 204", foreign_answer("204 No Content", "", "")),
    ("a gateway's status 403", foreign_answer("403 Forbidden", JSON, r#"{"message": "Forbidden"}"#)),
    ("a gateway's status 502", foreign_answer("502 Bad Gateway", HTML, "<html><h1>502 Bad Gateway</h1></html>")),
];

/// A proxy with a plan of faults.
pub(crate) struct FaultProxy {
    proxy: Proxy,
    /// Proxies in front of the servers that the endpoint names.
    others: Vec<Proxy>,
    plan: Arc<Mutex<FaultPlan>>,
    /// The section that works, through the proxy.
    pub(crate) section: Arc<Value>,
}

#[derive(Debug, Default)]
enum FaultPlan {
    #[default]
    Forward,
    /// A fault for one request, after so many others.
    Once(usize, ProxyAction),
    Always(ProxyAction),
}

impl FaultPlan {
    fn next(&mut self) -> ProxyAction {
        match self {
            Self::Forward => ProxyAction::Forward,
            Self::Always(action) => *action,
            Self::Once(0, action) => {
                let action = *action;
                *self = Self::Forward;
                action
            }
            Self::Once(before, _) => {
                *before -= 1;
                ProxyAction::Forward
            }
        }
    }
}

/// Splits an endpoint into the server (`HOST:PORT`, or a socket) and the path on it.
fn server_of(endpoint: &str) -> Result<(String, &str), CheckError> {
    if let Some(socket) = endpoint.strip_prefix("unix://") {
        // Two slashes count as three, as elsewhere.
        return Ok((format!("/{}", socket.trim_start_matches('/')), ""));
    }
    let Some(rest) = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("tcp://")) else {
        let why = "faults are put between the plugin and `http://`, `tcp://` and `unix://` only";
        return Err(CheckError::Skipped(why.to_owned()));
    };
    let (server, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    Ok((if server.contains(':') { server.to_owned() } else { format!("{server}:80") }, path))
}

impl FaultProxy {
    /// Starts proxies in front of a fixture's endpoint, and of other servers that it names in its answers.
    pub(crate) fn in_front_of(testbed: &Testbed) -> Result<Self, CheckError> {
        let Some(endpoint) = testbed.section.get("endpoint").and_then(Value::as_str) else {
            return Err(CheckError::Skipped("the section has no `endpoint`".to_owned()));
        };
        let (server, path) = server_of(endpoint)?;
        let stranger = testbed.fixture.stranger.as_ref();
        let stranger = stranger.map(|stranger| server_of(&stranger.endpoint).map(|(server, _)| server)).transpose()?;
        let plan = Arc::new(Mutex::new(FaultPlan::default()));
        let planned = || {
            let plan = Arc::clone(&plan);
            move |_: &Request| plan.lock().unwrap_or_else(PoisonError::into_inner).next()
        };
        let failed = |error: std::io::Error| CheckError::Failed(error.to_string());
        let (mut others, mut names) = (Vec::new(), Vec::new());
        for service in &testbed.fixture.services {
            let backend = Backend { address: service.clone(), ..Backend::default() };
            let proxy = Proxy::start(backend, planned()).map_err(failed)?;
            names.push((service.clone(), proxy.address.clone()));
            others.push(proxy);
        }
        let proxy =
            Proxy::start(Backend { address: server, replacements: names, stranger }, planned()).map_err(failed)?;
        let section = merge_patched(
            &testbed.section,
            &serde_json::json!({"endpoint": format!("http://{}{path}", proxy.address)}),
        );
        Ok(Self { proxy, others, plan, section: Arc::new(section) })
    }

    pub(crate) fn inject_once(&self, after: usize, action: ProxyAction) {
        self.set(FaultPlan::Once(after, action));
    }

    pub(crate) fn inject_always(&self, action: ProxyAction) {
        self.set(FaultPlan::Always(action));
    }

    pub(crate) fn clear(&self) {
        self.set(FaultPlan::Forward);
    }

    /// Records all answers from now on.
    pub(crate) fn start_recording(&self) {
        self.proxies().for_each(|proxy| proxy.replay_cache.record());
    }

    /// Hides what has the first words of the pairs: for a while, requests about it get the answers that were recorded
    /// for the second words.
    pub(crate) fn hide(&self, words: &[(String, String)], time: Duration) {
        self.proxies().for_each(|proxy| proxy.replay_cache.hide(words.to_vec(), time));
    }

    /// Ends the hiding.
    pub(crate) fn show(&self) {
        self.proxies().for_each(|proxy| proxy.replay_cache.show());
    }

    /// Returns the number of requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.proxies().map(Proxy::requests).sum()
    }

    /// Waits until so many requests have come, or until the time-out.
    pub(crate) async fn wait_for_requests(&self, requests: usize, timeout: Duration) {
        let began = Instant::now();
        while self.requests() < requests && began.elapsed() < timeout {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Makes a call with an injected fault.
    pub(crate) async fn call_with<T>(
        &self,
        testbed: &Testbed,
        injection: Injection,
        call: impl AsyncFnOnce() -> T,
    ) -> T {
        testbed.set_step(&injection.to_string());
        match injection.at {
            Some(index) => self.inject_once(index, injection.action),
            None => self.inject_always(injection.action),
        }
        let answer = call().await;
        self.clear();
        answer
    }

    fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        std::iter::once(&self.proxy).chain(&self.others)
    }

    fn set(&self, plan: FaultPlan) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }
}

/// Checks that a call that only reads may be repeated after each fault, and that no answer is `wrong`.
pub(crate) async fn check_read_faults<T>(
    faults: &FaultProxy,
    testbed: &Testbed,
    call: impl AsyncFn() -> Result<T, Fault>,
    wrong: impl Fn(&T) -> bool,
) -> TestResult {
    let requests = count_requests(faults, &call, &wrong).await?;
    for injection in Injection::at_each(READ_FAULTS, requests) {
        match faults.call_with(testbed, injection, &call).await {
            Ok(answer) if wrong(&answer) => return Err(format!("{injection}: it is accepted as an answer").into()),
            Ok(_) => {}
            Err(fault) => require_retriable(&injection.to_string(), injection.name, &fault)?,
        }
    }
    Ok(format!("{} faults at {requests} requests", READ_FAULTS.len() * requests))
}

/// Checks that a call that only reads concludes nothing from the answers of other servers, at one request or at all.
pub(crate) async fn check_foreign_answers<T>(
    faults: &FaultProxy,
    testbed: &Testbed,
    call: impl AsyncFn() -> Result<T, Fault>,
    wrong: impl Fn(&T) -> bool,
) -> TestResult {
    let requests = count_requests(faults, &call, &wrong).await?;
    for injection in Injection::at_each_and_all(FOREIGN_ANSWERS, requests) {
        match faults.call_with(testbed, injection, &call).await {
            Ok(answer) if wrong(&answer) => {
                let why = "it is accepted, though the service does not report this of the machine";
                return Err(format!("{injection}: {why}").into());
            }
            Ok(_) => {}
            Err(fault) => require_inconclusive(&injection.to_string(), &fault)?,
        }
    }
    Ok(format!("{} answers of others at {requests} requests, and at all", FOREIGN_ANSWERS.len()))
}

/// Counts the requests of a call without faults. Fails if its answer is wrong.
async fn count_requests<T>(
    faults: &FaultProxy,
    call: &impl AsyncFn() -> Result<T, Fault>,
    wrong: &impl Fn(&T) -> bool,
) -> Result<usize, CheckError> {
    faults.clear();
    let before = faults.requests();
    if wrong(&call().await?) {
        return Err("the answer is wrong even without faults".into());
    }
    Ok(faults.requests() - before)
}

/// Checks the reaction to a transient fault: it must not end a deployment, and a throttled call must report the delay
/// of `Retry-After`.
pub(crate) fn require_retriable(step: &str, name: &str, fault: &Fault) -> Result<(), CheckError> {
    let (throttled, delay) = THROTTLING_FAULT;
    if !matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) {
        return Err(format!("{step} must be `retry` or `unknown-outcome`: {}", describe_fault(fault)).into());
    }
    let has_delay = fault.retry_after.is_some_and(|after| after >= delay);
    if name == throttled && (fault.reaction != Reaction::Retry || !has_delay) {
        return Err(
            format!("{step} must be `retry`, with the delay of `Retry-After`: {}", describe_fault(fault)).into()
        );
    }
    Ok(())
}

/// Checks the reaction to an answer of another server: nothing follows from it, and the call is repeated.
pub(crate) fn require_inconclusive(step: &str, fault: &Fault) -> Result<(), CheckError> {
    match fault.reaction {
        Reaction::Retry | Reaction::UnknownOutcome | Reaction::Denied => Ok(()),
        _ => Err(format!("{step} must be `retry`, or `denied` where it is refused: {}", describe_fault(fault)).into()),
    }
}
