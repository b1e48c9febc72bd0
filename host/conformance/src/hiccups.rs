//! What clouds and networks do, put between a plugin and its server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use occopus_engine::ports::{Fault, Reaction};
use serde_json::Value;

use crate::fixture::merged;
use crate::proxy::{Meddling, Proxy};
use crate::report::{Checked, Miss, words};

/// What a cloud and its network may do to a call that only reads: the call may be made again.
pub(crate) const HICCUPS: [(&str, Meddling); 6] = [
    ("status 429", Meddling::Refuse("429 Too Many Requests\r\nRetry-After: 7")),
    ("status 500", Meddling::Refuse("500 Internal Server Error")),
    ("status 503", Meddling::Refuse("503 Service Unavailable")),
    ("a cut connection", Meddling::Cut),
    ("a lost answer", Meddling::LoseAnswer),
    ("half an answer", Meddling::HalfAnswer),
];

/// After how long [`HICCUPS`] lets a throttled call be repeated.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(7);

/// Answers of something that is not the API.
pub(crate) const NOT_THIS_API: [Meddling; 2] = [
    Meddling::Page("<!DOCTYPE html><title>Welcome</title><h1>It works!</h1>"),
    Meddling::NotFound("<!DOCTYPE html><title>404 Not Found</title><h1>Not Found</h1>"),
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

impl Faults {
    /// Proxies before a section's endpoint, and before other servers that it names in its answers.
    pub(crate) fn before(section: &Value, services: &[String]) -> Result<Self, Miss> {
        let Some(endpoint) = section.get("endpoint").and_then(Value::as_str) else {
            return Err(Miss::Skipped("the section has no `endpoint`".to_owned()));
        };
        let (server, path) = if let Some(socket) = endpoint.strip_prefix("unix://") {
            (format!("/{}", socket.trim_start_matches('/')), "")
        } else if let Some(rest) = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("tcp://")) {
            let (server, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
            let server = if server.contains(':') { server.to_owned() } else { format!("{server}:80") };
            (server, path)
        } else {
            let why = "faults are put between the plugin and `http://`, `tcp://` and `unix://` only";
            return Err(Miss::Skipped(why.to_owned()));
        };
        let plan = Arc::new(Mutex::new(Plan::default()));
        let planned = || {
            let plan = Arc::clone(&plan);
            move |_: &str| plan.lock().unwrap_or_else(PoisonError::into_inner).next()
        };
        let failed = |error: std::io::Error| Miss::Failed(error.to_string());
        let (mut others, mut names) = (Vec::new(), Vec::new());
        for service in services {
            let proxy = Proxy::before(service, planned()).map_err(failed)?;
            names.push((service.clone(), proxy.address.clone()));
            others.push(proxy);
        }
        let proxy = Proxy::renaming(&server, names, planned()).map_err(failed)?;
        let section = merged(section, &serde_json::json!({"endpoint": format!("http://{}{path}", proxy.address)}));
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

    /// So far.
    pub(crate) fn requests(&self) -> usize {
        self.proxy.requests() + self.others.iter().map(Proxy::requests).sum::<usize>()
    }

    /// Waits until so many requests have come, but not for ever.
    pub(crate) async fn come(&self, requests: usize, patience: Duration) {
        let began = Instant::now();
        while self.requests() < requests && began.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn set(&self, plan: Plan) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }
}

/// For a call that only reads: every fault must let it be repeated, and no answer may be `wrong`.
pub(crate) async fn reads<T>(
    faults: &Faults,
    call: impl AsyncFn() -> Result<T, Fault>,
    wrong: impl Fn(&T) -> bool,
) -> Checked {
    let before = faults.requests();
    faults.none();
    if wrong(&call().await?) {
        return Err("the answer is wrong even without faults".into());
    }
    let requests = faults.requests() - before;
    for (name, meddling) in HICCUPS {
        for after in 0..requests {
            faults.once(after, meddling);
            let answer = call().await;
            faults.none();
            let place = format!("{name} at request {} of {requests}", after + 1);
            match answer {
                Ok(answer) if wrong(&answer) => return Err(format!("{place}: it is taken for an answer").into()),
                Ok(_) => {}
                Err(fault) => may_be_repeated(&place, name, &fault)?,
            }
        }
    }
    for page in NOT_THIS_API {
        faults.always(page);
        let answer = call().await;
        faults.none();
        if requests > 0 && answer.is_ok() {
            return Err(format!("{page:?} instead of the API's answer is taken for an answer").into());
        }
    }
    Ok(format!("{} faults at {requests} requests, and web pages", HICCUPS.len() * requests))
}

/// A hiccup of the cloud must not end a deployment, and who is told when to come again must say so.
pub(crate) fn may_be_repeated(place: &str, hiccup: &str, fault: &Fault) -> Result<(), Miss> {
    if !matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) {
        return Err(format!("{place} must be `retry` or `unknown-outcome`: {}", words(fault)).into());
    }
    let heeded = fault.retry_after.is_some_and(|delay| delay >= RETRY_AFTER);
    if hiccup == "status 429" && (fault.reaction != Reaction::Retry || !heeded) {
        return Err(format!("{place} must be `retry`, with the delay of `Retry-After`: {}", words(fault)).into());
    }
    Ok(())
}
