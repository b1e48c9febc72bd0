//! The page, rendered for a fake service.

mod fake;
mod markup;

use std::collections::BTreeSet;

use axum::Extension;
use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use occopus_engine::InfrastructureState;
use tower::ServiceExt;

use super::routes;
use crate::access::{Caller, Scope};
use fake::{FAILED, FakeSource, GONE, ID};

/// A text that breaks out of texts, attributes and scripts where it is not escaped.
const HOSTILE: &str = "<b x=\"'\">&amp;</textarea></script>\u{202e}{{x}}";

async fn answer(fake: &FakeSource, caller: &Caller, request: Request<Body>) -> Response {
    let router = routes::<FakeSource>().with_state(fake.clone()).layer(Extension(caller.clone()));
    router.oneshot(request).await.expect("an answer")
}

async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

async fn get(fake: &FakeSource, caller: &Caller, path: &str) -> (StatusCode, String) {
    let response = answer(fake, caller, Request::get(path).body(Body::empty()).expect("a request")).await;
    (response.status(), text(response).await)
}

async fn page(fake: &FakeSource, path: &str) -> String {
    let (status, html) = get(fake, &admin(), path).await;
    assert_eq!(status, StatusCode::OK, "{path}");
    html
}

fn admin() -> Caller {
    Caller::anyone(None)
}

fn reader() -> Caller {
    Caller { name: "grace".into(), scope: Scope::Read, ..admin() }
}

fn limited(id: &str) -> Caller {
    Caller { infrastructures: Some(BTreeSet::from([id.to_owned()])), ..admin() }
}

fn pages() -> Vec<String> {
    let infrastructure = format!("/ui/infrastructures/{ID}");
    let more = ["/parts", "/change", "?before=20"].map(|end| format!("{infrastructure}{end}"));
    let others = ["/", "/?name=none", "/ui/parts", "/ui/new", "/ui/definitions", "/ui/plugins", "/ui/login"];
    others.map(str::to_owned).into_iter().chain(more).chain([infrastructure]).collect()
}

#[tokio::test]
async fn every_page_is_sound_with_any_text() {
    let none = FakeSource { count: 0, ..FakeSource::of("") };
    for word in ["", HOSTILE, "\u{0}\u{1b}\r\n]]>", "日本語"] {
        for path in pages() {
            markup::check(&page(&FakeSource::of(word), &path).await, &path);
        }
    }
    for path in ["/", "/ui/definitions"] {
        markup::check(&page(&none, path).await, path);
    }
    for path in ["/ui/nothing", "/ui/infrastructures/nothing", "/ui/infrastructures/%3Cb%3E"] {
        let (status, html) = get(&none, &admin(), path).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        markup::check(&html, path);
    }
}

#[tokio::test]
async fn a_gone_infrastructure_shows_its_operations() {
    let path = format!("/ui/infrastructures/{GONE}");
    for word in ["", HOSTILE] {
        let (status, html) = get(&FakeSource::of(word), &admin(), &path).await;
        assert_eq!(status, StatusCode::GONE);
        markup::check(&html, &path);
        assert!(html.contains("It no longer exists") && html.contains("failed"), "{html}");
    }
    let (status, html) = get(&FakeSource::of(""), &limited("other"), &path).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(!html.contains("Operations"));
}

#[tokio::test]
async fn a_failed_build_shows_its_events_and_its_description() {
    let list = page(&FakeSource::of(""), "/").await;
    assert!(list.contains("Could not be built") && list.contains(&format!("href=\"/ui/infrastructures/{FAILED}\"")));
    let path = format!("/ui/infrastructures/{FAILED}");
    for word in ["", HOSTILE] {
        let (status, html) = get(&FakeSource::of(word), &admin(), &path).await;
        assert_eq!(status, StatusCode::GONE);
        markup::check(&html, &path);
        for expected in ["unlucky", "could not be built", "the process ended", "id=\"events\"", "/change?tried\""] {
            assert!(html.contains(expected), "{expected}: {html}");
        }
        let change = page(&FakeSource::of(word), &format!("{path}/change?tried")).await;
        markup::check(&change, &path);
        assert!(
            change.contains("infra_name: hello") && change.contains("data-etag=\"\"") && change.contains(">Build<")
        );
    }
    let (_, html) = get(&FakeSource::of(""), &reader(), &path).await;
    assert!(!html.contains("/change"), "a reader builds nothing");
    let (_, html) = get(&FakeSource::of(""), &limited("other"), "/").await;
    assert!(!html.contains("unlucky"));
    let none = page(&FakeSource { count: 0, ..FakeSource::of("") }, "/").await;
    assert!(none.contains("id=\"part-failed\" aria-labelledby=\"failed-title\" hidden"));
}

#[tokio::test]
async fn hostile_texts_are_escaped() {
    let html = page(&FakeSource::of(HOSTILE), &format!("/ui/infrastructures/{ID}")).await;
    assert!(!html.contains("<b ") && !html.contains("</textarea></script>"));
    assert!(html.contains("&#60;b x=&#34;&#39;&#34;&#62;&#38;amp;"), "{html}");
    // A node's name in the path of an action can't leave its segment.
    assert!(html.contains("/scaleto/frontend%3Cb%20x%3D%22%27%22%3E%26amp%3B%3C%2Ftextarea"), "{html}");
    let change = page(&FakeSource::of(HOSTILE), &format!("/ui/infrastructures/{ID}/change")).await;
    assert_eq!(change.matches("</textarea>").count(), 1);
}

#[tokio::test]
async fn states_are_shown_in_words_with_their_details() {
    let html = page(&FakeSource::of(""), &format!("/ui/infrastructures/{ID}")).await;
    for expected in [
        "<span class=\"state bad\">degraded</span>",
        "<span class=\"state bad\">unknown-outcome</span>",
        "<span class=\"state busy\">pending</span>",
        "7 of 12 ready",
        "port 8080 refuses connections",
        "127.44.22.60, which no longer exists",
        "no longer described",
        "by this service",
        "node-1 process 4711",
        "role=\"group\" aria-label=\"The nodes of hello and what they need\"",
        "href=\"#node-app\"",
        "`occopus logs database` shows what it said",
        "min=\"2\" max=\"5\" value=\"2\"",
        "could not be observed: these credentials belong to another account",
        "failed 3 times in a row, next attempt at ",
        "<pre>cannot open /etc/app.conf</pre>",
    ] {
        assert!(html.contains(expected), "{expected}");
    }
}

#[tokio::test]
async fn a_hold_can_be_ended_by_operators_only() {
    let ends = format!("data-url=\"/infrastructures/{ID}/maintain?release=true\"");
    let path = format!("/ui/infrastructures/{ID}");
    let held = FakeSource { held: true, ..FakeSource::of("") };
    assert!(page(&held, &path).await.contains(&ends));
    assert!(!page(&FakeSource::of(""), &path).await.contains(&ends), "it is not held");
    let (_, html) = get(&held, &reader(), &path).await;
    assert!(html.contains("held") && !html.contains(&ends), "a reader");
}

#[tokio::test]
async fn a_graph_that_is_too_large_is_shown_in_tables_only() {
    let large = FakeSource { more: 600, ..FakeSource::of("") };
    let html = page(&large, &format!("/ui/infrastructures/{ID}")).await;
    assert!(html.contains("cannot draw 607 nodes") && !html.contains("class=\"graph\""));
    assert!(html.contains("id=\"node-n599\""));
}

#[tokio::test]
async fn events_are_paged_and_the_stream_continues_from_the_newest() {
    let path = format!("/ui/infrastructures/{ID}");
    let first = page(&FakeSource::of(""), &path).await;
    assert_eq!(first.matches("data-event=").count(), 50);
    assert!(first.contains("data-after=\"64\"") && first.contains("?before=15#events") && !first.contains("Newest"));
    let last = page(&FakeSource::of(""), &format!("{path}?before=15")).await;
    assert_eq!(last.matches("data-event=").count(), 14);
    assert!(last.contains("data-after=\"64\"") && last.contains("Newest") && !last.contains("Older"));
    assert!(last.contains("/parts?before=15"));
    let (status, _) = get(&FakeSource::of(""), &admin(), &format!("{path}?before=x")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn lists_are_filtered() {
    let html = page(&FakeSource::of(""), "/?name=DOCK&state=ready").await;
    assert!(html.contains("docker-swarm") && html.contains("flowbster-autodock") && !html.contains("kubernetes"));
    assert!(html.contains("data-parts=\"/ui/parts?name=DOCK&#38;state=ready\""), "{html}");
    let none = page(&FakeSource { count: 0, ..FakeSource::of("") }, "/").await;
    assert!(none.contains("No infrastructures yet") && none.contains("href=\"/ui/new\""));
    for state in InfrastructureState::all() {
        assert!(none.contains(&format!("<option>{state}</option>")), "{state}");
    }
    let many = page(&FakeSource { count: 400, ..FakeSource::of("") }, "/").await;
    assert!(many.contains("100 more are not shown"));
}

#[tokio::test]
async fn a_reader_gets_no_actions() {
    let fake = FakeSource::of("");
    let path = format!("/ui/infrastructures/{ID}");
    let (_, html) = get(&fake, &admin(), &path).await;
    assert!(html.contains("data-method=\"DELETE\"") && html.contains("/scaleto/"));
    let (_, html) = get(&fake, &reader(), &path).await;
    assert!(html.contains("degraded") && !html.contains("data-method") && !html.contains("/change"));
    let (_, html) = get(&fake, &reader(), "/").await;
    assert!(html.contains("hello") && !html.contains("/ui/new") && !html.contains("/ui/definitions"));
    let (status, html) = get(&fake, &reader(), "/ui/definitions").await;
    assert!(status == StatusCode::FORBIDDEN && html.contains("scope `operate`"), "{html}");
}

#[tokio::test]
async fn an_infrastructure_is_unknown_to_a_caller_who_may_not_see_it() {
    let (fake, other) = (FakeSource::of(""), limited("other"));
    for end in ["", "/parts", "/change"] {
        let path = format!("/ui/infrastructures/{ID}{end}");
        let (status, html) = get(&fake, &other, &path).await;
        let (unknown, _) = get(&fake, &admin(), &path.replace(ID, "none")).await;
        assert_eq!((status, unknown), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND), "{path}");
        assert!(!html.contains("hello"));
        assert_eq!(get(&fake, &limited(ID), &path).await.0, StatusCode::OK);
    }
    let (_, html) = get(&fake, &other, "/").await;
    assert!(!html.contains("hello") && !html.contains("ceph"));
}

#[tokio::test]
async fn files_are_small_and_cached_for_ever_under_names_with_digests() {
    let html = page(&FakeSource::of(""), "/").await;
    let paths = markup::attributes(&html, "/ui/static/");
    assert_eq!(paths.len(), 3, "{paths:?}");
    for path in paths {
        let request = Request::get(&path).body(Body::empty()).expect("a request");
        let response = answer(&FakeSource::of(""), &admin(), request).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CACHE_CONTROL], "public, max-age=31536000, immutable");
        let content_type = response.headers()[CONTENT_TYPE].to_str().expect("a type").to_owned();
        assert!(["text/css", "text/javascript", "image/svg+xml"].iter().any(|known| content_type.starts_with(known)));
        let file = text(response).await;
        assert!(file.len() < 12 * 1024, "{path}: {}", file.len());
        assert!(!file.contains("https://") && !file.contains("innerHTML") && !file.contains("eval("), "{path}");
    }
    let (status, _) = get(&FakeSource::of(""), &admin(), "/ui/static/page-0000000000000000.js").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

async fn sign_in(body: String) -> Response {
    let router = routes::<FakeSource>().with_state(FakeSource::of(""));
    router.oneshot(Request::post("/ui/login").body(Body::from(body)).expect("a request")).await.expect("an answer")
}

#[tokio::test]
async fn people_sign_in_and_out() {
    let token = |id: &str| format!("occ_{id}_{}", "A".repeat(43));
    let response = sign_in(format!("token={}", token("0123456789ab"))).await;
    assert_eq!(
        (response.status(), &response.headers()[LOCATION]),
        (StatusCode::SEE_OTHER, &"/".parse().expect("a value"))
    );
    let cookie = response.headers()[SET_COOKIE].to_str().expect("a cookie");
    assert_eq!(cookie, "occopus_session=ocs_x");
    assert!(!response.headers().get_all(SET_COOKIE).iter().any(|set| format!("{set:?}").contains("occ_")));
    for body in [format!("token={}", token("ffffffffffff")), "token=<b>".into(), String::new(), "\u{0}".repeat(100)] {
        let response = sign_in(body).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(!response.headers().contains_key(SET_COOKIE));
        let html = text(response).await;
        assert!(html.contains("unknown, expired or revoked") && !html.contains("ffffffffffff"));
    }
    let out =
        answer(&FakeSource::of(""), &admin(), Request::post("/ui/logout").body(Body::empty()).expect("a request"))
            .await;
    assert_eq!(out.headers()[LOCATION], "/ui/login");
    assert!(out.headers()[SET_COOKIE].to_str().expect("a cookie").contains("Max-Age=0"));
}
