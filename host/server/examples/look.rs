//! For development: serves the page with a made-up service.
#![allow(clippy::print_stdout, missing_docs, unreachable_pub, dead_code, reason = "a toy")]
#[path = "../tests/page/fake.rs"]
mod fake;
use axum::response::sse::{Event, Sse};
use axum::{Extension, Json};
use axum::routing::{get, post, put};
use futures::StreamExt;
use occopus_server::access::Caller;
use http::StatusCode;
use serde_json::{Value, json};

#[tokio::main]
async fn main() {
    let mut app = axum::Router::new();
    for (prefix, fake) in [("", fake::Fake::of("")), ("/empty", fake::Fake { count: 0, ..fake::Fake::of("") }), ("/evil", fake::Fake::of("<b>\"'&</script>")), ("/many", fake::Fake{more: 480, ..fake::Fake::of("")})] {
        let pages = occopus_server::page::routes::<fake::Fake>().with_state(fake);
        app = if prefix.is_empty() { app.merge(pages) } else { app.nest(prefix, pages) };
    }
    let problem = |status: StatusCode| move || async move { (status, Json(json!({"title":"x","detail":"the node app can't be scaled: another process works on it","help":"wait until it has ended"}))) };
    let events = || async {
        let stream = futures::stream::unfold(64u64, |n| async move {
            tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
            Some((Ok::<_, std::convert::Infallible>(Event::default().event("nodecreated").id(n.to_string()).data("{}")), n + 1))
        });
        Sse::new(stream.boxed()).keep_alive(axum::response::sse::KeepAlive::new().interval(std::time::Duration::from_secs(1)))
    };
    let app = app
        .route("/infrastructures/{id}/events", get(events))
        .route("/infrastructures/{id}/scaleto/{node}/{n}", post(problem(StatusCode::CONFLICT)))
        .route("/infrastructures/{id}/suspend", post(problem(StatusCode::CONFLICT)))
        .route("/infrastructures/{id}/detach", post(|| async { Json(json!({})) }))
        .route("/infrastructures/{id}", put(|| async { Json::<Value>(json!({"actions":[{"kind":"create","node":"server","reason":"it is missing","on":["local"]},{"kind":"create","node":"client","reason":"it is missing","on":["local","docker"],"after":["server"]}]})) }).delete(|| async { (StatusCode::ACCEPTED, Json(json!({}))) }))
        .route("/validate", post(|| async { (StatusCode::BAD_REQUEST, Json(json!({"title":"Bad Request","detail":"2 problems","problems":[{"severity":"error","code":"x","message":"unknown key `scalling`","file":"x","line":9,"column":5,"end_line":9,"end_column":12,"help":"did you mean `scaling`?"},{"severity":"warning","code":"y","message":"`user_id` is not used","line":2,"column":1,"end_line":2,"end_column":8,"help":null},{"severity":"error","code":"z","message":"no definition of `http_server`","line":null}]}))) }))
        .layer(axum::middleware::map_response(|mut r: axum::response::Response| async move {
            r.headers_mut().insert("content-security-policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'".parse().unwrap());
            r.headers_mut().entry("cache-control").or_insert("no-store".parse().unwrap());
            r
        }))
        .layer(Extension(Caller::anyone(None)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8123").await.unwrap();
    println!("listening");
    axum::serve(listener, app).await.unwrap();
}
