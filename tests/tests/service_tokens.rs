//! Matrix of the permissions of each token, on every route: the routes, and the scopes that they need, are those of the OpenAPI
//! document, and of the page's own list.

use std::sync::Arc;

use occopus_tests::Occopus;
use occopus_tests::processes::unique_sleep_seconds;
use occopus_tests::service::{Answer, NO_RATE_LIMITS, Service, document};
use occopus_tests::wait::eventually;
use serde_json::Value;

/// An infrastructure of the limited tokens, one of theirs that does not exist, and one that is not theirs.
const OWN: &str = "own-1";
const NONE: &str = "none-1";
const FOREIGN: &str = "foreign-4711";

const SCOPES: [&str; 3] = ["read", "operate", "admin"];

/// Routes of the page with the scopes that they need, in the form of the OpenAPI document.
const PAGES: [(&str, &str, &[&str]); 16] = [
    ("GET", "/", &["read"]),
    ("GET", "/ui", &["read"]),
    ("GET", "/ui/", &["read"]),
    ("GET", "/ui/parts", &["read"]),
    ("GET", "/ui/infrastructures/{id}", &["read"]),
    ("GET", "/ui/infrastructures/{id}/parts", &["read"]),
    ("GET", "/ui/infrastructures/{id}/change", &["read"]),
    ("GET", "/ui/new", &["read"]),
    ("GET", "/ui/definitions", &["operate"]),
    ("GET", "/ui/plugins", &["read"]),
    ("GET", "/ui/login", &[]),
    ("POST", "/ui/login", &[]),
    ("POST", "/ui/logout", &["read"]),
    ("GET", "/ui/static/{name}", &[]),
    ("GET", "/ui/{*rest}", &["read"]),
    ("GET", "/docs", &[]),
];

/// A route.
struct Route {
    method: String,
    path: String,
    /// A scope, and `unlimited` where a token that is limited to some infrastructures is not enough. Empty if none is needed.
    needs: Vec<String>,
    is_page: bool,
}

/// A valid token.
struct Token {
    text: String,
    scope: usize,
    limited: bool,
}

impl Route {
    /// Returns all routes of the OpenAPI document and of the page.
    fn all(document: &Value) -> Vec<Self> {
        let mut routes = Vec::new();
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for (method, operation) in operations.as_object().expect("operations") {
                let what = format!("{method} {path}");
                let security = operation["security"].as_array();
                let security = security.unwrap_or_else(|| panic!("{what} does not say which token it needs"));
                assert_eq!(security.len(), 1, "{what}");
                let roles = security[0].get("token").and_then(Value::as_array).into_iter().flatten();
                let needs: Vec<_> = roles.map(|role| role.as_str().expect("a role").to_owned()).collect();
                assert!(needs.is_empty() == security[0].as_object().is_some_and(serde_json::Map::is_empty), "{what}");
                routes.push(Self { method: method.to_uppercase(), path: path.clone(), needs, is_page: false });
            }
        }
        assert!(routes.len() > 35, "{}", routes.len());
        for (method, path, needs) in PAGES {
            let needs = needs.iter().map(|role| (*role).to_owned()).collect();
            routes.push(Self { method: method.to_owned(), path: path.to_owned(), needs, is_page: true });
        }
        routes
    }

    /// Returns whether the route is about one infrastructure.
    fn is_of_one(&self) -> bool {
        self.path.contains("{id}") || self.path.contains("{key}")
    }

    /// Returns whether the token permits the route, on this infrastructure if it is about one.
    fn allows(&self, token: &Token, id: &str) -> bool {
        let Some(scope) = self.needs.first() else { return true };
        let scope = SCOPES.iter().position(|known| known == scope).expect("a scope");
        let is_enough = match (token.limited, self.is_of_one()) {
            (false, _) => true,
            (true, true) => id != FOREIGN,
            (true, false) => scope == 0 && !self.needs.iter().any(|role| role == "unlimited"),
        };
        token.scope >= scope && is_enough
    }

    fn send(&self, service: &Service, id: &str, token: Option<&str>) -> Answer {
        let mut path = self.path.replace("{id}", id);
        for (name, value) in [
            ("{node}", "a"),
            ("{instance}", "i"),
            ("{count}", "1"),
            ("{operation}", "o"),
            ("{type}", "t"),
            ("{name}", "page.css"),
            ("{*rest}", "nowhere"),
        ] {
            path = path.replace(name, value);
        }
        path = path.replace("{key}", &format!("infrastructure.name?infra_id={id}"));
        assert!(!path.contains('{'), "{path}: unknown parameter");
        let request = service.request(&self.method, &path);
        let request = match token {
            Some(token) => request.header("authorization", &format!("Bearer {token}")),
            None => request,
        };
        // Neither a description nor a token: the request changes nothing, and is refused before or after its body is read.
        request.send(if ["POST", "PUT"].contains(&&*self.method) { "x" } else { "" })
    }
}

fn new_token(service: &Service, name: &str, scope: &str, limited: bool, more: &[&str]) -> String {
    let mut words = vec!["token", "create", name, "--scope", scope];
    if limited {
        words.extend(["--infrastructure", OWN, "--infrastructure", NONE]);
    }
    words.extend(more);
    service.home.ok(words).stdout.trim().to_owned()
}

/// Returns the state of the service, for comparison.
fn all(service: &Service, token: &str) -> Vec<Value> {
    let get = |path: &str| service.request("GET", path).header("authorization", &format!("Bearer {token}")).send("");
    let of_one = |id: &str| {
        ["", "/description", "/operations"].map(|what| get(&format!("/infrastructures/{id}{what}")).expect(200).json())
    };
    let mut all = [of_one(OWN), of_one(FOREIGN)].concat();
    all.extend(["/infrastructures", "/definitions"].map(|path| get(path).expect(200).json()));
    all
}

#[test]
fn every_token_may_do_on_every_route_what_it_is_for_and_nothing_else() {
    let service = Service::in_home(Arc::new(Occopus::new()), NO_RATE_LIMITS);
    let mark = unique_sleep_seconds(171);
    for id in [OWN, FOREIGN] {
        service.build(id, &document(&["{name: a, type: sleeper}"], &mark, 9));
    }
    let routes = Route::all(&service.get("/openapi.json").expect(200).json());
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (scope, name) in SCOPES.iter().enumerate() {
        for limited in [false, true] {
            let name_of = |kind: &str| format!("{kind} {name} {limited}");
            good.push(Token { text: new_token(&service, &name_of("good"), name, limited, &[]), scope, limited });
            bad.push(new_token(&service, &name_of("revoked"), name, limited, &[]));
            service.home.ok(["token", "revoke", &name_of("revoked")]);
            bad.push(new_token(&service, &name_of("expired"), name, limited, &["--expires", "1s"]));
        }
    }
    let admin = good.iter().find(|token| token.scope == 2 && !token.limited).expect("one").text.clone();
    eventually("the last has expired, and tokens are needed", || {
        let last = bad.last().expect("one");
        service.request("GET", "/whoami").header("authorization", &format!("Bearer {last}")).send("").status == 401
    });
    let before = all(&service, &admin);
    for route in &routes {
        let what = format!("{} {}", route.method, route.path);
        let is_public = route.needs.is_empty();
        for token in bad.iter().map(|token| Some(token.as_str())).chain([None, Some(""), Some("occ_x")]) {
            let status = route.send(&service, OWN, token).status;
            // A sign-in sends the token in the form.
            let is_let_in = status != 401 || (is_public && route.path == "/ui/login");
            assert_eq!(is_let_in, is_public, "{what}: {status}");
        }
        for token in &good {
            let ids: &[&str] = if route.is_of_one() { &[OWN, FOREIGN] } else { &[OWN] };
            for id in ids {
                let allowed = route.allows(token, id);
                // Permitted requests are sent where they change nothing.
                let changes = route.method != "GET";
                let id = if allowed && changes && route.is_of_one() { NONE } else { id };
                let answer = route.send(&service, id, Some(&token.text));
                let request =
                    format!("{what} of {id}, {} limited {}: {}", SCOPES[token.scope], token.limited, answer.status);
                let hidden = if route.is_page && route.is_of_one() { 404 } else { 403 };
                match (allowed, is_public) {
                    (true, false) => assert!(![401, 403].contains(&answer.status), "{request}: {}", answer.text()),
                    (true, true) => {}
                    (false, _) => assert_eq!(answer.status, hidden, "{request}: {}", answer.text()),
                }
                assert!(answer.status < 500, "{request}: {}", answer.text());
                if token.limited && id != FOREIGN {
                    assert!(!answer.text().contains(FOREIGN), "{request} discloses another one: {}", answer.text());
                }
            }
        }
    }
    assert_eq!(all(&service, &admin), before, "nothing has changed");
}

#[test]
fn the_list_of_the_pages_is_whole() {
    let source = include_str!("../../host/server/src/page/mod.rs");
    let routes: Vec<_> = source.split(".route(\"").skip(1).collect();
    assert!(routes.len() > 5, "the routes are written in another way");
    for route in routes {
        let path = route.split('"').next().expect("a path");
        assert!(PAGES.iter().any(|(_, known, _)| *known == path), "{path} is not among the pages of this test");
    }
}
