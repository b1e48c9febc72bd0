//! Malformed requests to the service, on every route: they are refused with an error, change nothing, and others are served.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use occopus_tests::Occopus;
use occopus_tests::processes::{processes_with, unique_sleep_seconds};
use occopus_tests::service::{Answer, NO_RATE_LIMITS, Service, document};
use occopus_tests::wait::{eventually, pause};
use serde_json::{Value, json};

const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// A service with one infrastructure, and a token for everything.
struct TestService {
    service: Service,
    mark: String,
    before: String,
}

/// A route of the OpenAPI document.
struct Route {
    method: String,
    path: String,
    is_public: bool,
    has_body: bool,
    parameters: Vec<Value>,
}

impl Route {
    /// Returns the path with an infrastructure, and with values for all other parameters.
    fn at(&self, id: &str) -> String {
        let path =
            self.path.replace("{id}", id).replace("{count}", "1").replace("{node}", "a").replace("{instance}", "x");
        path.replace("{operation}", "x").replace("{type}", "sleeper").replace("{key}", "infrastructure.name")
    }

    fn concerns_one(&self) -> bool {
        self.path.contains("{id}")
    }

    /// Returns the lowest scope that suffices.
    fn scope(&self) -> &'static str {
        let changes_definitions = self.method != "GET" && self.path.starts_with("/definitions");
        if self.path == "/audit" || changes_definitions {
            "admin"
        } else if self.path.starts_with("/definitions") {
            "operate"
        } else if self.method == "GET" || self.path == "/validate" || self.path.ends_with("/plan") {
            "read"
        } else {
            "operate"
        }
    }
}

impl TestService {
    fn new(test: u32) -> Self {
        let mark = unique_sleep_seconds(test);
        let mut service = Service::start();
        service.build("mine", &document(&["{name: a, type: sleeper, scaling: {min: 1, max: 3}}"], &mark, 9));
        service.token = Some(service.new_token("boss", "admin", &[]));
        eventually("tokens are needed", || {
            service.request("GET", "/whoami").header("authorization", "x").send("").status == 401
        });
        let mut bench = Self { service, mark, before: String::new() };
        bench.before = bench.state();
        bench
    }

    fn routes(&self) -> Vec<Route> {
        let document = self.service.get("/openapi.json").expect(200).json();
        let paths = document["paths"].as_object().expect("paths").clone();
        let operations = paths.into_iter().flat_map(|(path, operations)| {
            let operations = operations.as_object().expect("operations").clone();
            operations.into_iter().map(move |(method, operation)| (path.clone(), method, operation))
        });
        let routes: Vec<_> = operations
            .map(|(path, method, operation)| Route {
                method: method.to_uppercase(),
                path,
                is_public: operation["security"] == json!([{}]),
                has_body: operation.get("requestBody").is_some(),
                parameters: operation["parameters"].as_array().cloned().unwrap_or_default(),
            })
            .collect();
        assert!(routes.len() > 30);
        routes
    }

    /// Returns all state that requests could have changed.
    fn state(&self) -> String {
        let get = |path: &str| self.service.get(path).expect(200).json();
        let item = get("/infrastructures")["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| json!([item["id"], item["name"], item["suspended"], item["attached"]]))
            .collect::<Vec<_>>();
        let known = [get("/infrastructures/mine"), get("/infrastructures/mine/description"), get("/definitions")];
        let operations = get("/infrastructures/mine/operations")["operations"].as_array().expect("operations").len();
        json!([item, known, operations, processes_with(&self.mark)]).to_string()
    }

    #[track_caller]
    fn nothing_has_changed(&self) {
        assert_eq!(self.state(), self.before);
    }
}

impl Drop for TestService {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = self.service.request("DELETE", "/infrastructures/mine").send("");
            assert!(!self.service.log().contains("panicked"), "{}", self.service.log());
        }
    }
}

/// Asserts that the response is an error with a message, and not an internal one.
#[track_caller]
fn refused(answer: &Answer, statuses: &[u16], what: &str) -> String {
    assert!(statuses.contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
    let problem = answer.json();
    let code = problem["code"].as_str().unwrap_or_default();
    answer.problem(answer.status, code);
    assert!(!code.is_empty() && !problem["detail"].as_str().unwrap_or_default().is_empty(), "{what}: {problem}");
    code.to_owned()
}

/// A client that sends requests all the time, and records the longest response time.
struct Probe<'a> {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::ScopedJoinHandle<'a, Duration>>,
}

impl<'a> Probe<'a> {
    fn start<'b: 'a>(scope: &'a std::thread::Scope<'a, 'b>, service: &'b Service) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let thread = scope.spawn(move || {
            let mut longest = Duration::ZERO;
            while !ended.load(Ordering::Relaxed) {
                let began = Instant::now();
                service.get("/healthz").expect(200);
                service.get("/infrastructures/mine").expect(200);
                longest = longest.max(began.elapsed());
                pause("other clients send now and then", Duration::from_millis(10));
            }
            longest
        });
        Self { stop, thread: Some(thread) }
    }

    /// Asserts that no request had to wait.
    fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let longest = self.thread.take().expect("a thread").join().expect("all were answered");
        assert!(longest < Duration::from_secs(1), "others waited for {longest:?}");
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        // Also when a test fails.
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[test]
fn who_may_not_is_told_so_on_every_route() {
    let bench = TestService::new(141);
    let service = &bench.service;
    let scopes = ["read", "operate", "admin"];
    let tokens = scopes.map(|scope| service.new_token(scope, scope, &[]));
    let foreign = service.new_token("foreign", "admin", &["other"]);
    // Good tokens are cached from now on, however many wrong ones come.
    for token in tokens.iter().chain([&foreign]) {
        service.request("GET", "/whoami").header("authorization", &format!("Bearer {token}")).send("").expect(200);
    }
    let text = document(&["{name: b, type: sleeper}"], &bench.mark, 9);
    let wrong = ["", "Bearer", "Basic Ym9zczpib3Nz"];
    for route in bench.routes() {
        let what = format!("{} {}", route.method, route.path);
        let body = if route.has_body { text.as_str() } else { "" };
        let send = |authorization: &str| {
            service.request(&route.method, &route.at("mine")).header("authorization", authorization).send(body)
        };
        if route.is_public {
            send("").expect(200);
            continue;
        }
        for authorization in wrong {
            let answer = send(authorization);
            let code = refused(&answer, &[401, 429], &what);
            let is_told_how = match answer.status {
                401 => code == "access.unauthenticated" && answer.header("www-authenticate").starts_with("Bearer"),
                _ => code == "access.too-many" && !answer.header("retry-after").is_empty(),
            };
            assert!(is_told_how, "{what}: {}", answer.text());
        }
        let needed = scopes.iter().position(|scope| *scope == route.scope()).expect("a scope");
        for token in &tokens[..needed] {
            assert_eq!(refused(&send(&format!("Bearer {token}")), &[403], &what), "access.scope");
        }
        let answer = send(&format!("Bearer {foreign}"));
        if route.concerns_one() {
            assert_eq!(refused(&answer, &[403], &what), "access.infrastructure");
        } else if route.scope() != "read" {
            assert_eq!(refused(&answer, &[403], &what), "access.limited");
        } else {
            assert!(!answer.text().contains("mine"), "{what}: {}", answer.text());
        }
    }
    let request = service
        .request("GET", "/info/infrastructure.name?infra_id=mine")
        .header("authorization", &format!("Bearer {foreign}"));
    assert_eq!(refused(&request.send(""), &[403], "info"), "access.infrastructure");
    // A good id with a wrong secret is a wrong token, however often it comes.
    let guess = format!("Bearer {}x", &tokens[2][..tokens[2].len() - 1]);
    for _ in 0..40 {
        let answer = service.request("GET", "/whoami").header("authorization", &guess).send("");
        assert_eq!(refused(&answer, &[401], "guess"), "access.unauthenticated");
    }
    bench.nothing_has_changed();
    assert!(!service.log().contains(&tokens[2]) && !service.log().contains(&guess));
}

#[test]
fn wrong_ids_methods_and_parameters_on_every_route() {
    let bench = TestService::new(142);
    let service = &bench.service;
    let text = document(&["{name: b, type: sleeper}"], &bench.mark, 9);
    let routes = bench.routes();
    std::thread::scope(|scope| {
        let probe = Probe::start(scope, service);
        for route in &routes {
            let what = format!("{} {}", route.method, route.path);
            let body = if route.has_body { text.as_str() } else { "" };
            if route.concerns_one() {
                // A PUT creates an unknown infrastructure, and can be planned.
                let makes = route.has_body;
                if !makes {
                    let code = refused(&service.request(&route.method, &route.at("unknown")).send(body), &[404], &what);
                    assert_eq!(code, "engine.unknown-infrastructure", "{what}");
                }
                let long = "x".repeat(65);
                for id in [
                    "%20",
                    "a%20b",
                    "%C3%A9",
                    "%00",
                    "a%0d%0ab",
                    "..%2fmine",
                    "%2e%2e",
                    "*",
                    "a;b",
                    "a%3Fb",
                    "%ff",
                    long.as_str(),
                ] {
                    refused(
                        &service.request(&route.method, &route.at(id)).send(body),
                        &[400, 404],
                        &format!("{what} {id}"),
                    );
                }
            }
            // A request for something missing gets the names of what exists.
            let there: Vec<_> =
                routes.iter().filter(|other| other.path == route.path).map(|other| other.method.as_str()).collect();
            for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"] {
                if there.contains(&method) {
                    continue;
                }
                let answer = service.request(method, &route.at("mine")).send("");
                assert_eq!(refused(&answer, &[405], &format!("{method} {}", route.path)), "request.method");
                let allowed: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
                assert!(
                    there.iter().all(|method| allowed.contains(method)),
                    "{method} {}: {allowed:?} {there:?}",
                    route.path
                );
                assert!(!allowed.contains(&method));
            }
            // Query parameters of a wrong type, or unknown ones.
            if route.path != "/info/{key}" {
                for parameter in route.parameters.iter().filter(|parameter| parameter["in"] == "query") {
                    let name = parameter["name"].as_str().expect("a name");
                    if name == "name" {
                        continue;
                    }
                    for value in ["%00", "-1", "99999999999999999999999", "[]", "%ff"] {
                        let path = format!("{}?{name}={value}", route.at("mine"));
                        let code = refused(
                            &service.request(&route.method, &path).send(body),
                            &[400],
                            &format!("{what} {path}"),
                        );
                        assert_eq!(code, "request.query");
                    }
                }
            }
            if route.path.contains("{count}") {
                for count in ["-1", "x", "1.0", "4294967296", "%00"] {
                    let path = route.path.replace("{id}", "mine").replace("{node}", "a").replace("{count}", count);
                    refused(&service.request(&route.method, &path).send(""), &[400, 404, 405], &what);
                }
            }
        }
        probe.end();
    });
    bench.nothing_has_changed();
}

#[test]
fn wrong_bodies_on_every_route_that_reads_one() {
    let bench = TestService::new(143);
    let service = &bench.service;
    let large = vec![b'#'; BODY_LIMIT + 1024 * 1024];
    let address = service.address;
    let token = service.token.clone().expect("a token");
    std::thread::scope(|scope| {
        let probe = Probe::start(scope, service);
        for route in bench.routes() {
            let what = format!("{} {}", route.method, route.path);
            let path = route.at("mine");
            let send = |body: &[u8]| service.request(&route.method, &path).send(body);
            if !route.has_body {
                if route.method == "POST" {
                    // This route reads no body, so it accepts any; but not an endless one.
                    let answer = service.request("POST", &route.at("unknown")).send(&large);
                    refused(&answer, &[413], &what);
                }
                continue;
            }
            assert_eq!(refused(&send(b""), &[400], &what), "body.empty");
            assert_eq!(refused(&send(b" \n\t "), &[400], &what), "body.empty");
            assert_eq!(refused(&send(b"infra_name: \xff\xfe"), &[400], &what), "body.not-utf8");
            assert_eq!(refused(&send(&large), &[413], &what), "request.body");
            for text in [
                "1",
                "null",
                "[]",
                "{}",
                "true",
                "- - -",
                "{",
                "\"",
                "a: b: c",
                "? a",
                "\u{feff}",
                "\0",
                "a: \0",
                "%YAML 9.9",
            ] {
                // Missing definitions are not an error.
                if (text, route.path.as_str()) != ("{}", "/definitions") {
                    refused(&send(text.as_bytes()), &[400], &format!("{what} {text:?}"));
                }
            }
            // Less than was announced.
            let head = format!(
                "{} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Length: 1000\r\n\r\n",
                route.method
            );
            let mut broken = service.connect();
            broken.write_all(format!("{head}infra_name: x").as_bytes()).expect("sent");
            broken.shutdown(std::net::Shutdown::Write).expect("half closed");
            broken.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
            let mut answer = String::new();
            let _ = broken.read_to_string(&mut answer);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{what}: {answer}");
        }
        probe.end();
    });
    bench.nothing_has_changed();
}

#[test]
fn slow_bodies_end_and_keep_nobody_waiting() {
    let bench = TestService::new(144);
    let service = &bench.service;
    let head = format!(
        "POST /validate HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: 100000\r\n\r\n",
        service.address,
        service.token.as_deref().expect("a token")
    );
    std::thread::scope(|scope| {
        let probe = Probe::start(scope, service);
        let began = Instant::now();
        let mut slow: Vec<_> = (0..200)
            .map(|_| {
                let mut stream = service.connect();
                stream.write_all(head.as_bytes()).expect("sent");
                stream
            })
            .collect();
        // A byte now and then does not help.
        slow[0].set_read_timeout(Some(Duration::from_secs(1))).expect("a time");
        let mut answer = Vec::new();
        while slow[0].read_to_end(&mut answer).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            assert!(began.elapsed() < Duration::from_secs(45), "{}", String::from_utf8_lossy(&answer));
            slow.iter_mut().for_each(|stream| drop(stream.write_all(b"#")));
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request.slow"), "{answer}");
        probe.end();
    });
    bench.nothing_has_changed();
}

#[test]
fn hostile_documents_run_nothing_read_nothing_and_end() {
    let bench = TestService::new(145);
    let service = &bench.service;
    let touched = service.home.directory().join("touched");
    let secret = service.home.write("secret.txt", "t0p-s3cr3t");
    let around = |value: &str| {
        document(&["{name: b, type: sleeper}"], &bench.mark, 9)
            .replace("user_id: tester", &format!("user_id: tester\nvariables:\n  x: {value}"))
    };
    let file = secret.display();
    let python = format!("!!python/object/apply:os.system ['touch {}']", touched.display());
    let command = format!("!command 'touch {}'", touched.display());
    let mut hostile = vec![
        around(&python),
        around(&format!("!!python/object/new:os.system ['touch {}']", touched.display())),
        around("!!python/name:os.system"),
        around(&command),
        around("!env HOME"),
        around("!env_var HOME"),
        around(&format!("!text_import {{url: 'file://{file}'}}")),
        around(&format!("!yaml_import {{url: 'file://{file}'}}")),
        around("!yaml_import {url: 'http://127.0.0.1:1/'}"),
        around("!python_import [os]"),
        around("!text_import {url: 'file:///etc/passwd'}"),
        // More memory than there is, by few words.
        {
            let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
            for at in 1..12 {
                let before = format!("*a{}", at - 1);
                text += &format!("a{at}: &a{at} [{}]\n", vec![before; 10].join(", "));
            }
            around("1").replace("variables:\n", &format!("variables:\n  {}", text.replace('\n', "\n  ")))
        },
        around("&a [*a]"),
        around("*nobody"),
        format!("infra_name: x\nuser_id: y\nnodes: {}1{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("infra_name: x\nuser_id: y\nnodes: {}", "{a: ".repeat(100_000)),
        format!("infra_name: x\nuser_id: y\nnodes:{}", (0..2000).fold(String::new(), |text, at| text + "\n" + &*" ".repeat(at + 1) + "-")),
        "- ".repeat(100_000),
        format!("infra_name: x\nuser_id: y\nnodes: [{}]", "{name: a, type: b},".repeat(150_000)),
        format!("infra_name: {}\nuser_id: y\nnodes: []", "x".repeat(1_000_000)),
        around("1").replace("infra_name: sleepers", "infra_name: sleepers\ninfra_name: sleepers"),
        around("1").replace("infra_name: sleepers", "infra_name: \"a\\0b\""),
        around("1").replace("infra_name: sleepers", "infra_name: '../../etc'"),
        around("1").replace("{name: b,", "{name: '../x',"),
        around("1\n---\ninfra_name: other"),
        // Templates have no effect on this machine.
        around("1").replace("[sleep, ", &format!("[sleep, '{{{{cmd(\"touch {}\")}}}}', ", touched.display())),
        around("1").replace("[sleep, ", "[sleep, '{% include \"/etc/passwd\" %}', "),
        around("1").replace("[sleep, ", "[sleep, '{{ \"x\" * 1000000000 }}', "),
        around("1").replace("[sleep, ", "[sleep, '{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}x{% endfor %}{% endfor %}{% endfor %}', "),
        around("1").replace("[sleep, ", "[sleep, '{{ ().__class__.__base__.__subclasses__() }}', "),
    ];
    hostile.push(format!("{}{}", '\u{feff}', python));
    std::thread::scope(|scope| {
        let probe = Probe::start(scope, service);
        for text in &hostile {
            let shown: String = text.chars().take(150).collect();
            for (method, path) in
                [("POST", "/validate"), ("PUT", "/infrastructures/hostile"), ("POST", "/infrastructures/mine/plan")]
            {
                let began = Instant::now();
                let answer = service.request(method, path).send(text);
                let code = refused(&answer, &[400], &format!("{method} {path} {shown}"));
                assert!(
                    !answer.text().contains("t0p-s3cr3t") && !answer.text().contains("root:x:"),
                    "{}",
                    answer.text()
                );
                assert!(began.elapsed() < Duration::from_secs(20), "{code} after {:?}: {shown}", began.elapsed());
            }
        }
        probe.end();
    });
    assert!(!touched.exists(), "nothing has run");
    bench.nothing_has_changed();
    // A byte order mark at the beginning is allowed.
    service.request("POST", "/validate").send(format!("\u{feff}{}", around("1"))).expect(200);
}

#[test]
fn paths_lead_nowhere_else() {
    let bench = TestService::new(146);
    let service = &bench.service;
    let token = service.token.as_deref().expect("a token");
    let long = format!("/infrastructures/{}", "x".repeat(60_000));
    let longer = format!("/{}", "x".repeat(100_000));
    for path in [
        "/../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/ui/static/../../etc/passwd",
        "/ui/static/%2e%2e%2f%2e%2e%2fetc/passwd",
        "/ui/static/..%5c..%5cetc",
        "/ui/static//etc/passwd",
        "/infrastructures//mine",
        "/infrastructures/%2fmine",
        "/infrastructures/mine%2fstatus",
        "/infrastructures;x=1",
        "/infrastructures/mine;x",
        "/infrastructures/%00",
        "/infrastructures/mine/./status",
        "/infrastructures/x/../mine",
        "/healthz%00",
        "/healthz/../infrastructures",
        "/docs/..;/audit",
        "/INFRASTRUCTURES",
        "/infrastructures/mine/status/x",
        "/%",
        "/%zz",
        "/infrastructures/%c0%ae%c0%ae",
        "*",
        "http://127.0.0.1/infrastructures/mine/none",
        "infrastructures",
        "/infrastructures/mine\\status",
        "/ infrastructures",
        long.as_str(),
        longer.as_str(),
    ] {
        for authorization in ["", &format!("Authorization: Bearer {token}\r\n")] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{authorization}Connection: close\r\n\r\n", service.address);
            let answer = service.raw(request.as_bytes(), Duration::from_secs(10));
            let shown: String = path.chars().take(80).collect();
            assert!(answer.closed, "{shown}: {}", answer.text);
            let status = answer.status().unwrap_or_else(|| panic!("{shown}: {}", answer.text));
            assert!((400..500).contains(&status), "{shown}: {}", answer.text);
            assert!(authorization.is_empty() || status != 401, "{shown}: {}", answer.text);
            assert!(!answer.text.contains("root:x:"), "{shown}");
        }
    }
    // The same path spelled differently does not bypass the token.
    for path in ["//infrastructures", "/infrastructures/", "//infrastructures//"] {
        assert_eq!(service.request("GET", path).header("authorization", "").send("").status, 401, "{path}");
    }
    bench.nothing_has_changed();
}

#[test]
fn broken_and_flooding_heads_end_their_connection_only() {
    let bench = TestService::new(147);
    let service = &bench.service;
    let address = service.address;
    let start = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n");
    let many: String = (0..5000).map(|at| format!("x-{at}: y\r\n")).collect();
    let few: String = (0..101).map(|at| format!("x-{at}: y\r\n")).collect();
    let large = format!("x: {}\r\n", "y".repeat(200_000));
    let cookies: String = (0..90).map(|at| format!("Cookie: a{at}={}\r\n", "b".repeat(1000))).collect();
    std::thread::scope(|scope| {
        let probe = Probe::start(scope, service);
        for (what, request) in [
            ("5000 headers", format!("{start}{many}\r\n")),
            ("101 headers", format!("{start}{few}\r\n")),
            ("a large header", format!("{start}{large}\r\n")),
            ("many cookies", format!("{start}{cookies}\r\n")),
            ("no host", "GET /healthz HTTP/1.1\r\n\r\n".to_owned()),
            ("two hosts", format!("{start}Host: evil.example\r\n\r\n")),
            ("another host", "GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned()),
            ("no HTTP", "\u{16}\u{3}\u{1}hello\r\n\r\n".to_owned()),
            ("no version", "GET /healthz\r\n\r\n".to_owned()),
            ("another version", "GET /healthz HTTP/9.9\r\n\r\n".to_owned()),
            ("two lengths", format!("{start}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")),
            (
                "two ways to tell the length",
                format!("{start}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"),
            ),
            ("a wrong length", format!("{start}Content-Length: -1\r\n\r\n")),
            (
                "a wrong chunk",
                format!("POST /validate HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
            ),
            ("a wrong name", format!("{start}a b: c\r\n\r\n")),
            ("a broken line", format!("{start}\u{0}: c\r\n\r\n")),
            ("a folded line", format!("{start}a: b\r\n c: d\r\n\r\n")),
        ] {
            let answer = service.raw(request.as_bytes(), Duration::from_secs(12));
            let status = answer.status();
            let is_refused =
                status.is_some_and(|status| (400..500).contains(&status)) || (answer.closed && answer.text.is_empty());
            // A length matters only on routes that read a body, and this one does not.
            let is_harmless = what == "two ways to tell the length"
                && status == Some(200)
                && answer.text.matches("HTTP/1.1").count() <= 2;
            assert!(is_refused || is_harmless, "{what}: {}", answer.text);
        }
        probe.end();
    });
    bench.nothing_has_changed();
}

#[test]
fn thousands_of_silent_connections_keep_nobody_out() {
    let bench = TestService::new(148);
    let service = &bench.service;
    std::thread::scope(|scope| {
        let probe = Probe::start(scope, service);
        let mut idle = Vec::new();
        for at in 0..4000 {
            let Ok(mut stream) = std::net::TcpStream::connect(service.address) else { continue };
            match at % 4 {
                // Nothing, half a head, one whole request, and half a body.
                0 => {}
                1 => drop(stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: ")),
                2 => drop(
                    stream.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", service.address).as_bytes()),
                ),
                _ => drop(
                    stream.write_all(
                        format!("POST /validate HTTP/1.1\r\nHost: {}\r\nContent-Length: 9\r\n\r\nx", service.address)
                            .as_bytes(),
                    ),
                ),
            }
            idle.push((at, stream));
        }
        // The last whole request is answered, or its connection closed: all connections are known by then.
        let last = idle.iter_mut().rfind(|(at, _)| at % 4 == 2).map(|(_, stream)| stream).expect("a connection");
        last.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
        let read = last.read(&mut [0; 1024]);
        assert!(!read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "neither answered nor closed");
        let began = Instant::now();
        let fresh = service.raw(
            format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", service.address).as_bytes(),
            Duration::from_secs(5),
        );
        assert_eq!(fresh.status(), Some(200), "who comes now is served, too: {}", fresh.text);
        assert!(began.elapsed() < Duration::from_secs(1), "after {:?}", began.elapsed());
        assert!(idle.len() > 3000, "{}", idle.len());
        probe.end();
    });
    bench.nothing_has_changed();
}

#[test]
fn what_the_operator_does_not_allow_is_refused_with_its_line() {
    let home = Arc::new(Occopus::new());
    let service = Service::in_home(home.clone(), &NO_RATE_LIMITS.replace("allow_processes: true, ", ""));
    let text = document(&["{name: a, type: sleeper}"], &unique_sleep_seconds(149), 9);
    for (method, path) in [
        ("POST", "/infrastructures/"),
        ("PUT", "/infrastructures/x"),
        ("POST", "/validate"),
        ("POST", "/infrastructures/x/plan"),
    ] {
        let problem = service.request(method, path).send(&text).problem(400, "service.process");
        let line = problem["problems"][0]["line"].as_u64().expect("a line") as usize;
        assert!(text.lines().nth(line - 1).is_some_and(|line| line.contains("local")), "{problem:#}");
        assert!(problem["problems"][0]["help"].as_str().is_some_and(|help| help.contains("allow_processes")));
    }
    drop(service);
    let endpoints = "service: {requests_per_second: 100000, endpoints: ['tcp://docker.example:2376']}\n";
    let service = Service::in_home(home, endpoints);
    let docker = |endpoint: &str| {
        format!(
            "infra_name: x\nuser_id: y\nnodes: [{{name: a, type: t}}]\nnode_def:t:\n- resource:\n    type: docker\n    endpoint: {endpoint}\n    \
             origin: local\n    image: x\n    tag: y\n  contextualisation: {{type: docker, env: [], command: sleep 1}}\n  health_check: {{ping: false}}\n"
        )
    };
    for endpoint in [
        "tcp://other.example:2376",
        "tcp://docker.example:2376/",
        "unix:///var/run/docker.sock",
        "'{{variables.x}}'",
        "'tcp://docker.example:2376{{\"\"}}'",
    ] {
        let answer = service.request("POST", "/validate").send(docker(endpoint));
        let code = refused(&answer, &[400], endpoint);
        assert!(["service.endpoint", "files.invalid"].contains(&code.as_str()), "{endpoint}: {}", answer.text());
    }
    let allowed = service.request("POST", "/validate").send(docker("tcp://docker.example:2376"));
    assert!(!allowed.text().contains("service.endpoint"), "{}", allowed.text());
}
