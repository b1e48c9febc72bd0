//! What clouds and networks do, put between a plugin and its server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use occopus_engine::ports::{Fault, Reaction};
use serde_json::Value;

use crate::bed::Bed;
use crate::fixture::merged;
use crate::proxy::{Backend, Foreign, Meddling, Proxy, Request};
use crate::report::{Checked, Miss, words};

/// A fault with its name.
pub(crate) type Hiccup = (&'static str, Meddling);

/// What a cloud and its network may do to a call that only reads: the call may be made again.
pub(crate) const HICCUPS: [Hiccup; 6] = [
    ("status 429", Meddling::Refuse("429 Too Many Requests\r\nRetry-After: 7")),
    ("status 500", Meddling::Refuse("500 Internal Server Error")),
    ("status 503", Meddling::Refuse("503 Service Unavailable")),
    ("a cut connection", Meddling::Cut),
    ("a lost answer", Meddling::LoseAnswer),
    ("half an answer", Meddling::HalfAnswer),
];

/// What may happen to a call that changes something, beside [`HICCUPS`].
pub(crate) const AFTER_IT_ACTED: Hiccup =
    ("status 500 after the server acted", Meddling::FailAfter("500 Internal Server Error"));

/// The name of a throttled call among [`HICCUPS`], and after how long it may be repeated.
pub(crate) const THROTTLED: (&str, Duration) = ("status 429", Duration::from_secs(7));

const JSON: &str = "application/json";
const HTML: &str = "text/html";

const fn foreign(status: &'static str, kind: &'static str, body: &'static str) -> Meddling {
    Meddling::Foreign(Foreign { status, kind, body })
}

/// Answers of something that is not the service: gateways, proxies, portals and other programs at the same address. Nothing
/// follows from them: no machine is gone, none is removed, and no inventory is empty.
pub(crate) const STRANGERS: [Hiccup; 13] = [
    ("a web page", foreign("200 OK", HTML, "<!DOCTYPE html><title>Welcome</title><h1>It works!</h1>")),
    ("a web page with status 404", foreign("404 Not Found", HTML, "<!DOCTYPE html><title>404 Not Found</title>")),
    (
        "a gateway without a route",
        foreign("404 Not Found", JSON, r#"{"message": "no Route matched with those values"}"#),
    ),
    ("status 404 and an empty object", foreign("404 Not Found", JSON, "{}")),
    ("status 404 and a word", foreign("404 Not Found", JSON, "\"not found\"")),
    ("status 404 and an empty list", foreign("404 Not Found", JSON, "[]")),
    ("status 404 and nothing", foreign("404 Not Found", "", "")),
    ("an empty object", foreign("200 OK", JSON, "{}")),
    ("an empty list", foreign("200 OK", JSON, "[]")),
    ("another program's object", foreign("200 OK", JSON, r#"{"status": "ok", "version": "7.1"}"#)),
    ("status 204", foreign("204 No Content", "", "")),
    ("a gateway's status 403", foreign("403 Forbidden", JSON, r#"{"message": "Forbidden"}"#)),
    ("a gateway's status 502", foreign("502 Bad Gateway", HTML, "<html><h1>502 Bad Gateway</h1></html>")),
];

/// A proxy, and what it is to do next.
pub(crate) struct Faults {
    proxy: Proxy,
    /// Before the servers that the endpoint names.
    others: Vec<Proxy>,
    plan: Arc<Mutex<Plan>>,
    /// The section that works, through the proxy.
    pub(crate) section: Arc<Value>,
}

#[derive(Debug, Default)]
enum Plan {
    #[default]
    Pass,
    /// The request after so many, once.
    Once(usize, Meddling),
    Always(Meddling),
}

impl Plan {
    fn next(&mut self) -> Meddling {
        match self {
            Self::Pass => Meddling::Pass,
            Self::Always(meddling) => *meddling,
            Self::Once(0, meddling) => {
                let meddling = *meddling;
                *self = Self::Pass;
                meddling
            }
            Self::Once(before, _) => {
                *before -= 1;
                Meddling::Pass
            }
        }
    }
}

/// The server of an endpoint (`HOST:PORT`, or a socket), and the path on it.
fn server_of(endpoint: &str) -> Result<(String, &str), Miss> {
    if let Some(socket) = endpoint.strip_prefix("unix://") {
        // Two slashes are taken for three, as elsewhere.
        return Ok((format!("/{}", socket.trim_start_matches('/')), ""));
    }
    let Some(rest) = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("tcp://")) else {
        let why = "faults are put between the plugin and `http://`, `tcp://` and `unix://` only";
        return Err(Miss::Skipped(why.to_owned()));
    };
    let (server, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    Ok((if server.contains(':') { server.to_owned() } else { format!("{server}:80") }, path))
}

impl Faults {
    /// Proxies before a fixture's endpoint, and before other servers that it names in its answers.
    pub(crate) fn before(bed: &Bed) -> Result<Self, Miss> {
        let Some(endpoint) = bed.section.get("endpoint").and_then(Value::as_str) else {
            return Err(Miss::Skipped("the section has no `endpoint`".to_owned()));
        };
        let (server, path) = server_of(endpoint)?;
        let stranger = bed.fixture.stranger.as_ref();
        let stranger = stranger.map(|stranger| server_of(&stranger.endpoint).map(|(server, _)| server)).transpose()?;
        let plan = Arc::new(Mutex::new(Plan::default()));
        let planned = || {
            let plan = Arc::clone(&plan);
            move |_: &Request| plan.lock().unwrap_or_else(PoisonError::into_inner).next()
        };
        let failed = |error: std::io::Error| Miss::Failed(error.to_string());
        let (mut others, mut names) = (Vec::new(), Vec::new());
        for service in &bed.fixture.services {
            let backend = Backend { address: service.clone(), ..Backend::default() };
            let proxy = Proxy::start(backend, planned()).map_err(failed)?;
            names.push((service.clone(), proxy.address.clone()));
            others.push(proxy);
        }
        let proxy = Proxy::start(Backend { address: server, names, stranger }, planned()).map_err(failed)?;
        let section = merged(&bed.section, &serde_json::json!({"endpoint": format!("http://{}{path}", proxy.address)}));
        Ok(Self { proxy, others, plan, section: Arc::new(section) })
    }

    pub(crate) fn once(&self, after: usize, meddling: Meddling) {
        self.set(Plan::Once(after, meddling));
    }

    pub(crate) fn always(&self, meddling: Meddling) {
        self.set(Plan::Always(meddling));
    }

    pub(crate) fn none(&self) {
        self.set(Plan::Pass);
    }

    /// Remembers what is said from now on.
    pub(crate) fn record(&self) {
        self.all().for_each(|proxy| proxy.tape.record());
    }

    /// Says of what has these words what was recorded of what has the others.
    pub(crate) fn hide(&self, words: &[(String, String)], time: Duration) {
        self.all().for_each(|proxy| proxy.tape.hide(words.to_vec(), time));
    }

    /// Ends the hiding.
    pub(crate) fn show(&self) {
        self.all().for_each(|proxy| proxy.tape.show());
    }

    /// So far.
    pub(crate) fn requests(&self) -> usize {
        self.all().map(Proxy::requests).sum()
    }

    /// Waits until so many requests have come, but not for ever.
    pub(crate) async fn come(&self, requests: usize, patience: Duration) {
        let began = Instant::now();
        while self.requests() < requests && began.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn all(&self) -> impl Iterator<Item = &Proxy> {
        std::iter::once(&self.proxy).chain(&self.others)
    }

    fn set(&self, plan: Plan) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }
}

/// For a call that only reads: every fault must let it be repeated, and no answer may be `wrong`.
pub(crate) async fn reads<T>(
    faults: &Faults,
    bed: &Bed,
    call: impl AsyncFn() -> Result<T, Fault>,
    wrong: impl Fn(&T) -> bool,
) -> Checked {
    let requests = requests_of(faults, &call, &wrong).await?;
    for (name, meddling) in HICCUPS {
        for after in 0..requests {
            let place = format!("{name} at request {} of {requests}", after + 1);
            bed.at(&place);
            faults.once(after, meddling);
            let answer = call().await;
            faults.none();
            match answer {
                Ok(answer) if wrong(&answer) => return Err(format!("{place}: it is taken for an answer").into()),
                Ok(_) => {}
                Err(fault) => may_be_repeated(&place, name, &fault)?,
            }
        }
    }
    Ok(format!("{} faults at {requests} requests", HICCUPS.len() * requests))
}

/// For a call that only reads: from the answers of strangers, at one request or at all, nothing follows.
pub(crate) async fn believes_no_stranger<T>(
    faults: &Faults,
    bed: &Bed,
    call: impl AsyncFn() -> Result<T, Fault>,
    wrong: impl Fn(&T) -> bool,
) -> Checked {
    let requests = requests_of(faults, &call, &wrong).await?;
    for (name, meddling) in STRANGERS {
        for after in (0..requests).map(Some).chain([None]) {
            let place = match after {
                Some(after) => format!("{name} at request {} of {requests}", after + 1),
                None => format!("{name} at all requests"),
            };
            bed.at(&place);
            match after {
                Some(after) => faults.once(after, meddling),
                None => faults.always(meddling),
            }
            let answer = call().await;
            faults.none();
            match answer {
                Ok(answer) if wrong(&answer) => {
                    let why = "it is believed, though it is not what the service says of this machine";
                    return Err(format!("{place}: {why}").into());
                }
                Ok(_) => {}
                Err(fault) => is_unknown(&place, &fault)?,
            }
        }
    }
    Ok(format!("{} answers of others at {requests} requests, and at all", STRANGERS.len()))
}

/// How many requests a call takes, whose answer must be right.
async fn requests_of<T>(
    faults: &Faults,
    call: &impl AsyncFn() -> Result<T, Fault>,
    wrong: &impl Fn(&T) -> bool,
) -> Result<usize, Miss> {
    faults.none();
    let before = faults.requests();
    if wrong(&call().await?) {
        return Err("the answer is wrong even without faults".into());
    }
    Ok(faults.requests() - before)
}

/// A hiccup of the cloud must not end a deployment, and who is told when to come again must say so.
pub(crate) fn may_be_repeated(place: &str, hiccup: &str, fault: &Fault) -> Result<(), Miss> {
    let (throttled, delay) = THROTTLED;
    if !matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) {
        return Err(format!("{place} must be `retry` or `unknown-outcome`: {}", words(fault)).into());
    }
    let heeded = fault.retry_after.is_some_and(|after| after >= delay);
    if hiccup == throttled && (fault.reaction != Reaction::Retry || !heeded) {
        return Err(format!("{place} must be `retry`, with the delay of `Retry-After`: {}", words(fault)).into());
    }
    Ok(())
}

/// The answer of a stranger is no answer: whoever gets it looks again.
pub(crate) fn is_unknown(place: &str, fault: &Fault) -> Result<(), Miss> {
    match fault.reaction {
        Reaction::Retry | Reaction::UnknownOutcome | Reaction::Denied => Ok(()),
        _ => Err(format!("{place} must be `retry`, or `denied` where it is refused: {}", words(fault)).into()),
    }
}
