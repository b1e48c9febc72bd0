//! Calls of Azure Resource Manager against scripted answers.

mod codes;
mod links;
mod log_in;

use std::cell::RefCell;
use std::rc::Rc;

use occopus_sdk::http::{HttpError, Request, Response};
use occopus_sdk::testing::{self, FakeHost};
use occopus_sdk::{About, Driver, Fault, Handle, NodeRequest, Observed, Scope};
use serde_json::{Value, json};

use crate::{Arm, Credentials, Purpose, Subject};

/// Endpoint of the scripted Azure.
const AZURE: &str = "http://azure.test";

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Section {
    endpoint: String,
}

type Work = Box<dyn FnOnce(&Scope<Section>)>;

thread_local! {
    static WORK: RefCell<Option<Work>> = const { RefCell::new(None) };
}

/// A driver that lends its scope to a test.
struct Lender;

impl Driver for Lender {
    type Section = Section;
    type Credentials = Credentials;

    const ABOUT: About = About::DRIVER;

    fn create(_: &NodeRequest<Section>) -> Result<Observed, Fault> {
        Err(Fault::unsupported("test", "it makes nothing"))
    }

    fn find(scope: &Scope<Section>, _: &str) -> Result<Option<Observed>, Fault> {
        if let Some(work) = WORK.take() {
            work(scope);
        }
        Ok(None)
    }

    fn observe(_: &Scope<Section>, _: &[Handle]) -> Result<Vec<Observed>, Fault> {
        Ok(Vec::new())
    }

    fn destroy(_: &Scope<Section>, _: &Handle) -> Result<(), Fault> {
        Ok(())
    }
}

fn pointer(subject: Subject) -> &'static str {
    match subject {
        Subject::Size => "/vm_size",
        Subject::Location => "/location",
        _ => "",
    }
}

/// Returns a host with a service principal.
fn host() -> FakeHost {
    let host = FakeHost { time_passes: false, ..FakeHost::default() };
    let host = host.credential("subscription_id", "sub-1").credential("tenant_id", "tenant-1");
    host.credential("client_id", "client-1").credential("client_secret", "hunter2")
}

/// Runs `work` on a session with this host. A second call within it has the host's cache.
fn with_arm<R: 'static>(
    host: FakeHost,
    endpoint: &str,
    purpose: Purpose,
    work: impl Fn(Result<Arm, Fault>) -> R + 'static,
) -> R {
    let driver = testing::driver::<Lender>(host, json!({"endpoint": endpoint})).unwrap();
    let result = Rc::new(RefCell::new(None));
    let kept = Rc::clone(&result);
    WORK.replace(Some(Box::new(move |scope| {
        let done = work(Arm::new(scope, &scope.section.endpoint, purpose, pointer));
        kept.replace(Some(done));
    })));
    driver.find("x").unwrap();
    result.take().unwrap()
}

fn answer(status: u16, body: &Value) -> Response {
    let headers = vec![
        ("x-ms-correlation-request-id".to_owned(), "corr-7".to_owned()),
        ("x-ms-request-id".to_owned(), "req-7".to_owned()),
    ];
    Response { status, headers, body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() } }
}

fn with_header(mut response: Response, name: &str, value: &str) -> Response {
    response.headers.push((name.to_owned(), value.to_owned()));
    response
}

fn token(text: &str) -> Response {
    answer(200, &json!({"token_type": "Bearer", "expires_in": 3599, "access_token": text}))
}

fn is_log_in(request: &Request) -> bool {
    request.url.ends_with("/oauth2/v2.0/token")
}

/// Returns a handler that logs in with the token `t-1`, and answers everything else by this.
fn logged_in(
    rest: impl Fn(&Request) -> Response + 'static,
) -> impl Fn(&Request) -> Result<Response, HttpError> + 'static {
    move |request| Ok(if is_log_in(request) { token("t-1") } else { rest(request) })
}

fn authorization(request: &Request) -> String {
    let found = request.headers.iter().find(|(name, _)| name == "authorization");
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

fn details(fault: &Fault) -> String {
    fault.details.iter().map(|detail| format!("{}: {}\n", detail.pointer, detail.message)).collect()
}
