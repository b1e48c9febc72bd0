use std::num::NonZeroU32;

use axum::routing::{any, get};
use http::StatusCode;
use occopus_engine::ports::{
    Changes, CommitOutcome, Entry, LeaseId, Revision, Store, StoreError, SystemClock, Transaction,
};
use occopus_engine::testing::MemoryStore;
use tower::ServiceExt as _;

use super::*;
use crate::access::{NewToken, Scope};

struct GuardedService {
    tokens: Tokens,
    access: Access,
    router: Router,
}

impl GuardedService {
    fn at(address: &str, change: impl FnOnce(&mut AccessConfig)) -> Self {
        let tokens = Tokens::new(Arc::new(MemoryStore::new(Arc::new(SystemClock))));
        let mut config = AccessConfig::at(address.parse().unwrap());
        change(&mut config);
        let access = Access::new(tokens.clone(), config).unwrap();
        let router = Router::new()
            .route("/", any(|caller: Caller| async move { caller.name }))
            .route("/healthz", get(|| async { "well" }))
            .route("/events", get(endless))
            .route("/ui/login", any(|body: String| async move { body.len().to_string() }));
        Self { tokens, router: guard(router, &access), access }
    }

    fn loopback() -> Self {
        Self::at("127.0.0.1:80", |_| {})
    }

    async fn token(&self, name: &str) -> String {
        let new = NewToken { name: name.to_owned(), scope: Scope::Read, infrastructures: None, expires: None };
        self.tokens.create(new).await.unwrap().0.reveal().to_owned()
    }

    async fn send(&self, request: &str, headers: &[(&str, &str)]) -> Response {
        let (method, path) = request.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "localhost");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn status(&self, request: &str, headers: &[(&str, &str)]) -> u16 {
        self.send(request, headers).await.status().as_u16()
    }
}

/// Sends one event, and then nothing more.
async fn endless() -> Response {
    let events = futures::stream::iter([Ok::<_, std::io::Error>("data: one\n\n")]).chain(futures::stream::pending());
    ([("content-type", "text/event-stream")], Body::from_stream(events)).into_response()
}

/// A store that always fails.
struct UnreadableStore;

fn unavailable<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable { message: "the disk has a name that is nobody's business".to_owned() })
}

#[async_trait::async_trait]
impl Store for UnreadableStore {
    async fn get(&self, _: &str) -> Result<Option<Entry>, StoreError> {
        unavailable()
    }

    async fn range(&self, _: &str, _: Option<&str>, _: usize) -> Result<Vec<Entry>, StoreError> {
        unavailable()
    }

    async fn commit(&self, _: Transaction) -> Result<CommitOutcome, StoreError> {
        unavailable()
    }

    async fn grant_lease(&self, _: Duration) -> Result<LeaseId, StoreError> {
        unavailable()
    }

    async fn keep_alive(&self, _: LeaseId) -> Result<bool, StoreError> {
        unavailable()
    }

    async fn revoke_lease(&self, _: LeaseId) -> Result<(), StoreError> {
        unavailable()
    }

    async fn watch(&self, _: &str, _: Revision) -> Result<Changes, StoreError> {
        unavailable()
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        unavailable()
    }
}

async fn text(response: Response) -> String {
    let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_loopback_address_is_open_until_there_is_a_token() {
    let service = GuardedService::loopback();
    assert_eq!(text(service.send("GET /", &[]).await).await, "anyone on this machine");
    assert_eq!(service.status("GET /", &[("x-forwarded-for", "10.0.0.1")]).await, 401);
    let token = service.token("ci").await;
    tokio::time::advance(Duration::from_millis(1050)).await;
    let response = service.send("GET /", &[]).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["www-authenticate"], r#"Bearer realm="occopus""#);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let bearer = format!("Bearer {token}");
    assert_eq!(text(service.send("GET /", &[("authorization", &bearer)]).await).await, "ci");
    // Revoking the only token does not open the service again.
    service.tokens.revoke("ci").await.unwrap();
    assert_eq!(service.status("GET /", &[]).await, 401);
}

#[tokio::test]
async fn other_addresses_are_never_open_and_have_any_name() {
    let service = GuardedService::at("0.0.0.0:80", |_| {});
    let host = ("host", "occopus.example");
    assert_eq!(service.status("GET /", &[host]).await, 401);
    assert_eq!(service.status("GET /healthz", &[host]).await, 200);
    let bearer = format!("Bearer {}", service.token("ci").await);
    assert_eq!(service.status("GET /", &[host, ("authorization", &bearer)]).await, 200);
}

#[tokio::test]
async fn tokens_come_in_two_ways_and_the_header_counts() {
    let service = GuardedService::loopback();
    let token = service.token("ci").await;
    let [session, _] = service.access.sign_in(&TokenText::parse(&token).unwrap(), None).await.unwrap();
    let session = session.to_str().unwrap().split(';').next().unwrap().to_owned();
    let (bearer, cookie) = (format!("bearer  {token}"), format!("a=b; {session}"));
    assert_eq!(service.status("GET /", &[("authorization", &bearer)]).await, 200);
    assert_eq!(service.status("GET /", &[("cookie", &cookie)]).await, 200);
    let swapped = [format!("occopus_session={token}"), format!("occopus_token={token}"), format!("__Host-{session}")];
    for wrong in &swapped {
        assert_eq!(service.status("GET /", &[("cookie", wrong)]).await, 401, "{wrong}");
    }
    let session = session.split_once('=').unwrap().1;
    assert_eq!(service.status("GET /", &[("authorization", &format!("Bearer {session}"))]).await, 401);
    for wrong in ["Basic YTpi", "Bearer", "Bearer x", &token] {
        assert_eq!(service.status("GET /", &[("cookie", &cookie), ("authorization", wrong)]).await, 401, "{wrong}");
    }
}

#[tokio::test]
async fn people_are_led_to_the_page_where_they_sign_in() {
    let service = GuardedService::loopback();
    service.token("ci").await;
    let page = ("accept", "text/html,application/xhtml+xml");
    let redirect = service.send("GET /", &[page, ("cookie", "occopus_session=old")]).await;
    assert_eq!(
        (redirect.status(), redirect.headers()["location"].to_str().unwrap()),
        (StatusCode::SEE_OTHER, "/ui/login")
    );
    assert_eq!(service.status("GET /ui/x", &[page]).await, 303);
    assert_eq!(service.status("POST /", &[page]).await, 401);
    assert_eq!(service.status("GET /metrics", &[page]).await, 401);
    assert_eq!(service.status("GET /", &[("accept", "*/*")]).await, 401);
    assert_eq!(service.status("GET /healthz", &[]).await, 200);
    assert_eq!(service.status("GET /nowhere", &[]).await, 401);
}

#[tokio::test]
async fn names_that_are_not_ours_are_refused() {
    let service = GuardedService::loopback();
    assert_eq!(service.status("GET /healthz", &[("host", "evil.example")]).await, 421);
    assert_eq!(service.status("GET /", &[("host", "127.0.0.1:8080")]).await, 200);
    let proxied = GuardedService::at("[::1]:80", |config| config.names = vec!["occopus.example".into()]);
    assert_eq!(proxied.status("GET /", &[("host", "occopus.example")]).await, 200);
}

#[tokio::test]
async fn pages_of_others_change_nothing() {
    let service = GuardedService::loopback();
    let host = ("host", "localhost:5000");
    for foreign in [
        ("origin", "https://evil.example"),
        ("origin", "http://localhost:5001"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        assert_eq!(service.status("POST /", &[host, foreign]).await, 403, "{foreign:?}");
        assert_eq!(service.status("DELETE /", &[host, foreign]).await, 403, "{foreign:?}");
        assert_eq!(service.status("GET /", &[host, foreign]).await, 200, "{foreign:?}");
    }
    let (own_origin, same_origin) = (("origin", "http://localhost:5000"), ("sec-fetch-site", "same-origin"));
    assert_eq!(service.status("POST /", &[host, own_origin]).await, 200);
    assert_eq!(service.status("POST /", &[host, ("origin", "null"), same_origin]).await, 200);
    assert_eq!(service.status("POST /", &[host]).await, 200);
    assert!(!service.send("GET /", &[host, own_origin]).await.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn origins_that_are_configured_may_come() {
    let friend = "https://friend.example";
    let service = GuardedService::at("127.0.0.1:80", |config| config.cors_origins = vec![friend.to_owned()]);
    service.token("ci").await;
    let preflight = [("access-control-request-method", "PUT"), ("access-control-request-headers", "authorization")];
    let answer = service.send("OPTIONS /", &[&[("origin", friend)], &preflight[..]].concat()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["access-control-allow-origin"], friend);
    assert!(answer.headers()["access-control-allow-methods"].to_str().unwrap().contains("PUT"));
    let other = service.send("OPTIONS /", &[&[("origin", "https://evil.example")], &preflight[..]].concat()).await;
    assert!(!other.headers().contains_key("access-control-allow-origin"));
    // The origin is allowed, but there is no token.
    assert_eq!(service.status("POST /", &[("origin", friend), ("sec-fetch-site", "cross-site")]).await, 401);
    assert_eq!(service.status("POST /", &[("origin", "https://evil.example")]).await, 403);
}

#[test]
fn origins_are_written_as_browsers_send_them() {
    for wrong in ["friend.example", "https://friend.example/path", "*", "null", ""] {
        let tokens = Tokens::new(Arc::new(MemoryStore::new(Arc::new(SystemClock))));
        let config =
            AccessConfig { cors_origins: vec![wrong.to_owned()], ..AccessConfig::at("127.0.0.1:80".parse().unwrap()) };
        assert!(Access::new(tokens, config).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn too_much_is_refused_and_what_others_send_keeps_nobody_out() {
    let number = |number| NonZeroU32::new(number).unwrap();
    let service = GuardedService::at("127.0.0.1:80", |config| {
        config.rates = RateLimits { requests: number(1), burst: number(8), checks: number(1), checks_burst: number(3) };
    });
    let token = service.token("ci").await;
    let valid = format!("Bearer {token}");
    // Invalid tokens, one of them with the id of a valid one, and requests without any.
    let mut near_miss = valid.clone();
    near_miss.replace_range(24..25, if near_miss[24..].starts_with('A') { "B" } else { "A" });
    let unknown = format!("Bearer {}", TokenText::random().unwrap().reveal());
    let mut statuses = Vec::new();
    for wrong in ["Bearer x", &near_miss, &unknown].repeat(10) {
        statuses.push(service.status("GET /", &[("authorization", wrong)]).await);
    }
    assert!(statuses.starts_with(&[401]) && statuses.ends_with(&[429]), "{statuses:?}");
    for _ in 0..20 {
        service.status("GET /", &[]).await;
    }
    assert_eq!(service.status("GET /ui/login", &[]).await, 429);
    // The owner of a valid token is admitted, can sign in, and health checks are answered.
    assert!(service.access.sign_in(&TokenText::parse(&token).unwrap(), None).await.is_ok());
    assert_eq!(service.status("POST /ui/login", &[]).await, 200);
    for _ in 0..7 {
        assert_eq!(service.status("GET /", &[("authorization", &valid)]).await, 200);
    }
    let response = service.send("GET /", &[("authorization", &valid)]).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "1");
    for _ in 0..100 {
        assert_eq!(service.status("GET /healthz", &[]).await, 200);
    }
}

#[tokio::test]
async fn forms_without_a_token_are_counted_with_the_wrong_ones() {
    let number = |number| NonZeroU32::new(number).unwrap();
    let service = GuardedService::at("127.0.0.1:80", |config| {
        config.rates = RateLimits { requests: number(1), burst: number(3), ..RateLimits::default() };
    });
    let token = TokenText::parse(&service.token("ci").await).unwrap();
    let mut errors = Vec::new();
    for _ in 0..10 {
        errors.push(service.access.sign_in(&TokenText::malformed(), None).await.unwrap_err());
    }
    assert_eq!(errors[0], AccessError::Unauthenticated);
    assert!(matches!(errors[9], AccessError::RateLimited { .. }), "{errors:?}");
    assert!(service.access.sign_in(&token, None).await.is_ok());
}

#[tokio::test]
async fn whose_session_has_ended_is_led_to_sign_in_where_others_try_tokens() {
    let number = |number| NonZeroU32::new(number).unwrap();
    let service = GuardedService::at("127.0.0.1:80", |config| {
        config.rates = RateLimits { requests: number(1), burst: number(3), ..RateLimits::default() };
    });
    let token = TokenText::parse(&service.token("ci").await).unwrap();
    let [session, _] = service.access.sign_in(&token, None).await.unwrap();
    let cookie = session.to_str().unwrap().split(';').next().unwrap().to_owned();
    service.access.sign_out(&[(header::COOKIE, cookie.parse().unwrap())].into_iter().collect()).await.unwrap();
    for _ in 0..10 {
        service.status("GET /", &[("authorization", "Bearer x")]).await;
    }
    assert_eq!(service.status("GET /", &[("authorization", "Bearer x")]).await, 429);
    let page = ("accept", "text/html");
    assert_eq!(service.status("GET /", &[page, ("cookie", &cookie)]).await, 303);
    assert_eq!(service.status("GET /", &[page, ("cookie", "occopus_session=old")]).await, 303);
}

#[tokio::test]
async fn answers_that_are_not_read_take_places_and_leave_some() {
    let service =
        GuardedService::at("127.0.0.1:80", |config| (config.connections, config.streams_per_token) = ((400, 400), 10));
    let valid = format!("Bearer {}", service.token("one").await);
    let other = format!("Bearer {}", service.token("two").await);
    let mut open = Vec::new();
    loop {
        let answer = service.send("GET /events", &[("authorization", &valid)]).await;
        if answer.status() != 200 {
            assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
            break;
        }
        open.push(answer);
    }
    assert_eq!(open.len(), 10 + MAX_REQUESTS_PER_TOKEN);
    assert_eq!(service.status("GET /", &[("authorization", &valid)]).await, 429);
    assert_eq!(service.status("GET /", &[("authorization", &other)]).await, 200);
    assert_eq!(service.status("GET /healthz", &[]).await, 200);
    drop(open);
    assert_eq!(service.status("GET /", &[("authorization", &valid)]).await, 200);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_ends_with_its_session() {
    let service = GuardedService::loopback();
    let token = TokenText::parse(&service.token("ci").await).unwrap();
    let [session, _] = service.access.sign_in(&token, None).await.unwrap();
    let cookie = session.to_str().unwrap().split(';').next().unwrap().to_owned();
    let mut events = service.send("GET /events", &[("cookie", &cookie)]).await.into_body().into_data_stream();
    assert_eq!(events.next().await.unwrap().unwrap(), "data: one\n\n");
    let headers = [(header::COOKIE, cookie.parse().unwrap())].into_iter().collect();
    service.access.sign_out(&headers).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(6), events.next()).await.unwrap().is_none());
    assert_eq!(service.status("GET /", &[("cookie", &cookie)]).await, 401);
}

#[tokio::test]
async fn a_handler_without_the_guard_admits_nobody() {
    let router = Router::new().route("/", get(|_: Caller| async { "" }));
    let response = router.oneshot(Request::builder().uri("/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_ends_with_its_token() {
    let service = GuardedService::loopback();
    let bearer = format!("Bearer {}", service.token("ci").await);
    let mut events = service.send("GET /events", &[("authorization", &bearer)]).await.into_body().into_data_stream();
    assert_eq!(events.next().await.unwrap().unwrap(), "data: one\n\n");
    assert!(tokio::time::timeout(Duration::from_secs(60), events.next()).await.is_err());
    service.tokens.revoke("ci").await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(6), events.next()).await;
    assert!(ended.unwrap().is_none());
}

#[tokio::test]
async fn a_crowd_with_one_good_token_is_let_in_whole() {
    let number = |number| NonZeroU32::new(number).unwrap();
    let service = GuardedService::at("127.0.0.1:80", |config| {
        config.rates =
            RateLimits { burst: number(1000), checks: number(1), checks_burst: number(1), ..RateLimits::default() };
    });
    let bearer = format!("Bearer {}", service.token("ci").await);
    let authorization = [("authorization", bearer.as_str())];
    let crowd = (0..500).map(|_| service.status("GET /", &authorization));
    assert!(futures::future::join_all(crowd).await.into_iter().all(|status| status == 200));
}

#[tokio::test]
async fn who_is_not_known_sends_little() {
    let service = GuardedService::loopback();
    let sign_in = async |length: usize| {
        let request = Request::post("/ui/login").header("host", "localhost").body(Body::from("x".repeat(length)));
        service.router.clone().oneshot(request.unwrap()).await.unwrap().status()
    };
    assert_eq!(sign_in(MAX_ANONYMOUS_BODY_BYTES).await, StatusCode::OK);
    assert_eq!(sign_in(MAX_ANONYMOUS_BODY_BYTES + 1).await, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn when_the_store_does_not_answer_nobody_comes_in() {
    let access =
        Access::new(Tokens::new(Arc::new(UnreadableStore)), AccessConfig::at("127.0.0.1:80".parse().unwrap())).unwrap();
    let router = guard(Router::new().route("/", get(|| async { "in" })), &access);
    let token = TokenText::random().unwrap();
    for authorization in [None, Some(format!("Bearer {}", token.reveal()))] {
        let mut request = Request::get("/").header("host", "localhost");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let text = text(response).await;
        assert!(!text.contains("disk"), "{text}");
    }
}

#[tokio::test]
async fn who_signs_in_slowly_keeps_nobody_from_it() {
    let service = GuardedService::at("127.0.0.1:80", |config| config.connections = (64, 64));
    service.token("ci").await;
    let slow = || {
        let body = Body::from_stream(futures::stream::pending::<std::io::Result<&str>>());
        let request = Request::post("/ui/login").header("host", "localhost").body(body).unwrap();
        tokio::spawn(service.router.clone().oneshot(request))
    };
    let slow: Vec<_> = (0..50).map(|_| slow()).collect();
    tokio::task::yield_now().await;
    for _ in 0..10 {
        assert_eq!(service.status("POST /ui/login", &[]).await, 200);
        assert_eq!(service.status("GET /healthz", &[]).await, 200);
    }
    // All but the newest of them are evicted; the tasks notice that a moment later.
    let ended = || slow.iter().filter(|slow| slow.is_finished()).count();
    let waiting = async {
        while ended() < 48 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), waiting).await.is_ok(), "{} of 50", ended());
    slow.iter().for_each(tokio::task::JoinHandle::abort);
}
