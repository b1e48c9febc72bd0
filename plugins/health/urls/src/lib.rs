//! `urls`: checks that each of these URLs answers with success.

use std::time::Duration;

use occopus_sdk::http::{Http, HttpError, HttpErrorKind, Response};
use occopus_sdk::jinja::Templates;
use occopus_sdk::{About, Fault, HealthChecker, Observation, Target, Verdict};
use schemars::JsonSchema;
use serde::Deserialize;

/// Time-out for each request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of redirects that are followed.
const MAX_REDIRECTS: usize = 10;
/// Statuses of servers that have no answer to HEAD (RFC 9110, sections 15.5.6 and 15.6.2).
const METHOD_NOT_ALLOWED: u16 = 405;
const NOT_IMPLEMENTED: u16 = 501;

/// URLs, each a template with `ip`, `variables`, `node_id` and `instance_data`.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Urls(Vec<Url>);

/// Write an `http` or `https` URL, such as `http://{{ip}}:8080/health`.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
struct Url(
    #[schemars(regex(pattern = "^https?://[^/?#]"))]
    String,
);

/// The plugin.
pub struct UrlsChecker;

impl HealthChecker for UrlsChecker {
    type Section = Urls;

    const ABOUT: About = About {
        name: "urls",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "urls",
        summary: "URLs answer HEAD or GET requests with success",
        ..About::HEALTH
    };

    fn check(target: &Target<Urls>) -> Result<Observation, Fault> {
        let templates = Templates::new(&target.template_data);
        let mut urls = Vec::new();
        for (index, source) in target.section.0.iter().enumerate() {
            let pointer = format!("/{index}");
            let url = templates.text(&pointer, &source.0)?;
            if !is_http(&url) {
                return Err(Fault::give_up("urls.bad-url", format!("`{url}` is not an http or https URL"))
                    .at(pointer, "this one"));
            }
            urls.push(url);
        }

        let mut observation = Observation::healthy("all URLs answer");
        for url in urls {
            let (verdict, result) = check_url(target.http(), &url);
            // The first failure is the reason, but a certain one counts for more than an uncertain one.
            let worse = match observation.verdict {
                Verdict::Healthy => verdict != Verdict::Healthy,
                Verdict::CannotTell => verdict == Verdict::Unhealthy,
                Verdict::Unhealthy => false,
            };
            if worse {
                observation.verdict = verdict;
                observation.reason = format!("{url}: {result}");
            }
            observation.details.push((url, result));
        }
        Ok(observation)
    }
}

fn is_http(url: &str) -> bool {
    url.strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .is_some_and(|rest| !rest.starts_with(['/', '?', '#']) && !rest.is_empty())
}

/// Checks a URL and its redirects. A reason about another URL than the first names it.
fn check_url(http: Http, first: &str) -> (Verdict, String) {
    let mut url = first.to_owned();
    for _ in 0..=MAX_REDIRECTS {
        let told = |what: String| if url == first { what } else { format!("it leads to {url}: {what}") };
        let (response, method) = match head_or_get(http, &url) {
            Ok(answer) => answer,
            Err(error) if error.kind == HttpErrorKind::Refused && url != first => {
                return (Verdict::CannotTell, told(format!("this check may not go there: {}", error.message)));
            }
            Err(error) if error.kind == HttpErrorKind::Refused => return (Verdict::CannotTell, error.message),
            Err(error) => return (Verdict::Unhealthy, told(error.message)),
        };
        let location = response.header("location").filter(|_| (300..400).contains(&response.status));
        let next = match location {
            Some(location) => join(&url, location),
            None if response.is_success() => return (Verdict::Healthy, "ready".to_owned()),
            None => return (Verdict::Unhealthy, told(format!("status {} to {method}", response.status))),
        };
        if !is_http(&next) {
            return (Verdict::Unhealthy, told(format!("it leads to `{next}`")));
        }
        url = next;
    }
    (Verdict::Unhealthy, format!("more than {MAX_REDIRECTS} redirects, the last one to {url}"))
}

/// Sends HEAD, or GET if the server does not support or allow HEAD; returns the answer and the method.
fn head_or_get(http: Http, url: &str) -> Result<(Response, &'static str), HttpError> {
    let sent = url.split('#').next().unwrap_or_default();
    let response = http.head(sent).timeouts(REQUEST_TIMEOUT, REQUEST_TIMEOUT).send()?;
    if !matches!(response.status, METHOD_NOT_ALLOWED | NOT_IMPLEMENTED) {
        return Ok((response, "HEAD"));
    }
    Ok((http.get(sent).timeouts(REQUEST_TIMEOUT, REQUEST_TIMEOUT).send()?, "GET"))
}

/// Resolves a `Location` (RFC 9110, section 10.2.2). Steps such as `..` are left to the server.
fn join(base: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    let (scheme, rest) = base.split_once("://").unwrap_or(("http", base));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if let Some(other_host) = location.strip_prefix("//") {
        format!("{scheme}://{other_host}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{host}/{path}{location}")
    } else {
        let folder = path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        format!("{scheme}://{host}/{folder}{location}")
    }
}

occopus_sdk::export_health_checker!(UrlsChecker);

#[cfg(test)]
mod tests {
    use occopus_sdk::http::{HttpError, Response};
    use occopus_sdk::testing::{self, FakeHost, check};
    use occopus_sdk::{Fault, Observation, Verdict};
    use serde_json::json;

    use super::{UrlsChecker, join};

    fn look(urls: &[&str]) -> Result<Observation, Fault> {
        let host = FakeHost::default().http(|request| {
            let (status, location) = match request.url.as_str() {
                "http://10.0.0.1/no-head" if request.method == "HEAD" => (405, None),
                "http://10.0.0.1/nothing-at-all" if request.method == "HEAD" => (501, None),
                "http://10.0.0.1/no-head" => (200, None),
                "http://10.0.0.1/nothing-at-all" => (503, None),
                _ if request.method != "HEAD" => panic!("{} of {}", request.method, request.url),
                "http://10.0.0.1/to-down" => (301, Some("https://10.0.0.1/down")),
                "http://10.0.0.1/to-secret" => (302, Some("/secret")),
                "https://10.0.0.1/down" => {
                    let message = "connection refused".to_owned();
                    return Err(HttpError { kind: occopus_sdk::http::HttpErrorKind::NotSent, message });
                }
                "http://10.0.0.1/ok" => (204, None),
                "http://10.0.0.1/moved" => (302, Some("ok")),
                "http://10.0.0.1/loop" => (301, Some("/loop")),
                "http://10.0.0.1/away" => (301, Some("ftp://elsewhere/")),
                "http://10.0.0.1/down" => {
                    let message = "connection refused".to_owned();
                    return Err(HttpError { kind: occopus_sdk::http::HttpErrorKind::NotSent, message });
                }
                "http://10.0.0.1/secret" => {
                    let message = "not granted".to_owned();
                    return Err(HttpError { kind: occopus_sdk::http::HttpErrorKind::Refused, message });
                }
                _ => (404, None),
            };
            let headers = location.map(|to: &str| ("Location".to_owned(), to.to_owned())).into_iter().collect();
            Ok(Response { status, headers, body: Vec::new() })
        });
        check::<UrlsChecker>(host, &json!(urls), "10.0.0.1", json!({"ip": "10.0.0.1"}))
    }

    #[test]
    fn all_must_answer_with_success() {
        for (url, verdict, reason) in [
            ("ok", Verdict::Healthy, "all URLs answer"),
            ("moved", Verdict::Healthy, "all URLs answer"),
            ("nothing", Verdict::Unhealthy, "http://10.0.0.1/nothing: status 404 to HEAD"),
            (
                "loop",
                Verdict::Unhealthy,
                "http://10.0.0.1/loop: more than 10 redirects, the last one to http://10.0.0.1/loop",
            ),
            ("no-head", Verdict::Healthy, "all URLs answer"),
            ("nothing-at-all", Verdict::Unhealthy, "http://10.0.0.1/nothing-at-all: status 503 to GET"),
            (
                "to-down",
                Verdict::Unhealthy,
                "http://10.0.0.1/to-down: it leads to https://10.0.0.1/down: connection refused",
            ),
            (
                "to-secret",
                Verdict::CannotTell,
                "http://10.0.0.1/to-secret: it leads to http://10.0.0.1/secret: this check may not go there: not granted",
            ),
            ("away", Verdict::Unhealthy, "http://10.0.0.1/away: it leads to `ftp://elsewhere/`"),
            ("down", Verdict::Unhealthy, "http://10.0.0.1/down: connection refused"),
            ("secret", Verdict::CannotTell, "http://10.0.0.1/secret: not granted"),
        ] {
            let observation = look(&[&format!("http://{{{{ ip }}}}/{url}")]).expect("an observation");
            assert_eq!((observation.verdict, observation.reason.as_str()), (verdict, reason));
        }
        let both = look(&["http://{{ip}}/secret", "http://{{ip}}/down", "http://{{ip}}/ok"]).expect("an observation");
        assert_eq!((both.verdict, both.details.len()), (Verdict::Unhealthy, 3));
    }

    #[test]
    fn what_can_be_no_url_is_seen_in_the_schema() {
        let schema = serde_json::to_value(schemars::schema_for!(super::Url)).expect("a schema");
        assert_eq!((&schema["type"], &schema["pattern"]), (&json!("string"), &json!("^https?://[^/?#]")));
        for (url, is_url) in [("http://h", true), ("https://h/", true), ("ftp://h", false), ("http:///h", false)] {
            assert_eq!(super::is_http(url), is_url, "{url}: the plugin and its schema agree");
        }
    }

    #[test]
    fn redirects_are_bounded() {
        look(&["http://{{ ip }}/loop"]).expect("an observation");
        assert_eq!(testing::host(|host| host.requests.len()), 11);
    }

    #[test]
    fn what_is_no_url_is_the_users_mistake() {
        for bad in ["{{ ip }}:80", "ftp://{{ ip }}", "http://{{ nothing }}", "{{ a.b }}", ""] {
            let fault = look(&["http://{{ ip }}/ok", bad]).expect_err("a fault");
            assert_eq!(fault.details[0].pointer, "/1", "{bad}");
        }
    }

    #[test]
    fn locations_join() {
        let base = "http://h:1/a/b?q#f";
        for (location, expected) in [
            ("https://x/", "https://x/"),
            ("//x/y", "http://x/y"),
            ("/c", "http://h:1/c"),
            ("c", "http://h:1/a/c"),
            ("?c", "http://h:1/a/b?c"),
        ] {
            assert_eq!(join(base, location), expected);
        }
        assert_eq!(join("http://h", "c"), "http://h/c");
    }
}
