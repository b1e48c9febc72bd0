//! Tests of access over real connections: tokens, sessions, origins and rate limits.

mod common;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Service, eventually};
use occopus_server::access::{RateLimits, Scope, TokenText, Tokens};

#[tokio::test]
async fn tokens_allow_only_their_scope_and_infrastructures() {
    let service = Service::start(|_| {}).await;
    assert_eq!(service.request("GET /infrastructures/one", &[], "").await.status, 200);
    let reader = service.token("reader", Scope::Read, None).await;
    let operator = service.token("operator", Scope::Operate, Some(&["one"])).await;
    eventually("tokens are needed", async || service.request("GET /infrastructures/one", &[], "").await.status == 401)
        .await;

    let rejected = service.request("GET /infrastructures/one", &[], "").await;
    assert_eq!(rejected.status, 401);
    assert!(rejected.head.contains("www-authenticate: bearer"), "{}", rejected.head);
    assert!(rejected.head.contains("x-content-type-options: nosniff"), "{}", rejected.head);
    assert!(rejected.body.contains(r#""code":"access.unauthenticated""#), "{}", rejected.body);
    assert_eq!(service.request("GET /healthz", &[], "").await.status, 200);

    let mut wrong = reader.clone();
    wrong.replace_range(17..18, if reader[17..].starts_with('A') { "B" } else { "A" });
    assert_eq!(service.get("/infrastructures/one", &wrong).await, 401);
    assert_eq!(service.get("/infrastructures/one", "occ_000000000000_x").await, 401);

    assert_eq!(service.get("/infrastructures/one", &reader).await, 200);
    assert_eq!(service.get("/infrastructures/one", &operator).await, 200);
    assert_eq!(service.get("/infrastructures/two", &operator).await, 403);
    let post = async |id: &str, token: &str| {
        let bearer = format!("authorization: Bearer {token}");
        service.request(&format!("POST /infrastructures/{id}"), &[bearer], "some text").await
    };
    let too_little = post("one", &reader).await;
    assert_eq!(too_little.status, 403);
    assert!(too_little.body.contains("`operate`"), "{}", too_little.body);
    assert_eq!((post("one", &operator).await.body, post("two", &operator).await.status), ("9".to_owned(), 403));

    // A session is not a token, and is accepted only as a cookie.
    let [cookie, _] = service.access.sign_in(&TokenText::parse(&reader).unwrap(), None).await.unwrap();
    let cookie = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
    assert!(!cookie.contains(&reader[17..]));
    assert_eq!(service.request("GET /whoami", &[format!("cookie: {cookie}")], "").await.body, "reader Some(127.0.0.1)");
    assert_eq!(service.get("/whoami", cookie.split_once('=').unwrap().1).await, 401);
    assert_eq!(service.request("GET /whoami", &[format!("cookie: occopus_session={reader}")], "").await.status, 401);
    assert!([reader, operator].iter().all(|token| !service.store.values_as_text().contains(&token[17..])));
}

#[tokio::test]
async fn a_token_revoked_by_another_process_is_rejected_within_about_a_second() {
    let service = Service::start(|_| {}).await;
    let token = service.token("ci", Scope::Read, None).await;
    assert_eq!(service.get("/whoami", &token).await, 200);
    Tokens::new(Arc::new(service.store.clone())).revoke("ci").await.unwrap();
    let begun = Instant::now();
    while service.get("/whoami", &token).await == 200 {
        assert!(begun.elapsed() < Duration::from_secs(3));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn requests_from_other_web_sites_are_rejected() {
    let service = Service::start(|_| {}).await;
    let port = service.address.port();
    let status_of = async |request: &str, lines: &[&str]| {
        let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        service.request(request, &lines, "").await.status
    };
    assert_eq!(status_of("GET /whoami", &["host: evil.example"]).await, 421);
    assert_eq!(status_of("GET http://evil.example/whoami", &[]).await, 421);
    assert_eq!(status_of("GET /whoami", &[&format!("host: 127.0.0.1:{port}")]).await, 200);
    let host = format!("host: localhost:{port}");
    let post = "POST /infrastructures/one";
    assert_eq!(status_of(post, &[&host, "origin: http://evil.example"]).await, 403);
    assert_eq!(status_of(post, &[&host, "sec-fetch-site: cross-site"]).await, 403);
    assert_eq!(status_of(post, &[&host, &format!("origin: http://localhost:{port}")]).await, 200);
    assert_eq!(status_of("OPTIONS /infrastructures/one", &["origin: http://evil.example"]).await, 405);
}

#[tokio::test]
async fn rate_limits_apply_to_each_token() {
    let number = |number| NonZeroU32::new(number).unwrap();
    let rates = RateLimits { requests: number(1), burst: number(5), checks: number(1), checks_burst: number(4) };
    let service = Service::start(|setup| setup.rates = rates).await;
    let (one, two) = (service.token("one", Scope::Read, None).await, service.token("two", Scope::Read, None).await);
    for _ in 0..5 {
        assert_eq!(service.get("/whoami", &one).await, 200);
    }
    let rejected = service.request("GET /whoami", &[format!("authorization: Bearer {one}")], "").await;
    assert_eq!(rejected.status, 429);
    assert!(rejected.head.contains("retry-after: 1"), "{}", rejected.head);
    assert_eq!(service.get("/whoami", &two).await, 200);
    // Attempts with wrong secrets do not lock out the token's owner.
    let tried = format!("{}{}", &two[..17], &one[17..]);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(service.get("/whoami", &tried).await);
    }
    assert!(statuses.starts_with(&[401]) && statuses.ends_with(&[429]), "{statuses:?}");
    assert_eq!(service.get("/whoami", &two).await, 200);
}
