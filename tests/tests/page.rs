//! The page of the service, in a real browser.

use std::path::PathBuf;
use std::sync::Arc;

use occopus_tests::processes::{instances_with, unique_sleep_seconds};
use occopus_tests::service::{NO_RATE_LIMITS, Service, free_port};
use occopus_tests::{Browser, Occopus, Screen, skip};
use serde_json::Value;
use thirtyfour::{By, Key};

/// Returns a description of two nodes, with its definitions.
fn document(name: &str, test: u32) -> String {
    format!(
        "infra_name: {name}\nuser_id: tester\nnodes:\n- {{name: db, type: sleeper}}\n\
         - {{name: web, type: sleeper, scaling: {{min: 2, max: 4}}}}\ndependencies:\n- [web, db]\n\
         'node_def:sleeper':\n- resource: {{type: local}}\n  contextualisation:\n    type: basic\n    attributes:\n      \
         command: [sleep, '{}']\n  health_check: {{ping: false}}\n",
        unique_sleep_seconds(test)
    )
}

async fn browser(test: &str, screen: Screen) -> Option<Browser> {
    Browser::start(test, screen).await
}

/// Asserts that the browser logs no errors, and loads nothing from other origins.
async fn is_clean(browser: &Browser, service: &Service) {
    let mut complaints = browser.console_errors().await;
    // The page shows error responses itself.
    complaints.retain(|complaint| {
        !["400", "404", "410"].iter().any(|status| complaint.contains(&format!("a status of {status}")))
    });
    assert_eq!(complaints, Vec::<String>::new());
    let loaded = browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)").await;
    let loaded = loaded.as_array().expect("a list");
    assert!(!loaded.is_empty(), "a page without its style sheet");
    for url in loaded {
        assert!(url.as_str().expect("a URL").starts_with(&service.url("/")), "{url} is from elsewhere");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_infrastructure_is_submitted_watched_scaled_and_destroyed() {
    let Some(browser) = browser("page", Screen::Desktop).await else { return };
    let service = Service::start();
    browser.open(&service.url("/")).await;
    browser.wait_for_text("#part-list", "No infrastructures yet").await;
    browser.click("a[href='/ui/new']").await;

    // A mistake is shown at its line.
    let text = document("seen", 61);
    write(&browser, &text.replace("type: sleeper, scaling", "type: sleper, scaling")).await;
    browser.click("[data-does=check]").await;
    browser.wait_for_text(".result h2", "1 problem").await;
    browser.wait_for_text(".result .found", "did you mean `sleeper`?").await;
    browser.wait_for_text(".result .found button", "line 5").await;
    browser.click(".result .found button").await;
    let selected = "const text = document.querySelector('textarea'); \
                    return text.value.slice(text.selectionStart, text.selectionEnd)";
    assert_eq!(browser.run(selected).await, "sleper");
    assert_eq!(browser.run("return document.querySelector('.gutter .error').textContent").await, "5");

    // A plan changes nothing.
    write(&browser, &text).await;
    browser.click("[data-does=check]").await;
    browser.wait_for_text(".result h2", "The description is valid").await;
    browser.click("[data-does=plan]").await;
    browser.wait_for_text(".result h2", "3 to do").await;
    assert!(instances_with(&unique_sleep_seconds(61)).is_empty());

    browser.click("[data-does=build]").await;
    browser.wait_for_text("#part-head", "3 of 3 ready").await;
    browser.wait_for_text("#part-head .facts", "ready").await;
    let id = browser.run("return document.querySelector('#part-head .id').textContent").await;
    let id = id.as_str().expect("an id").to_owned();
    for (part, text) in [
        ("#part-graph svg", "2 of 2 ready"),
        ("#part-nodes", "web"),
        ("#part-instances", "local"),
        ("#part-operations", "done"),
        ("#part-events", "web: ready at"),
    ] {
        browser.wait_for_text(part, text).await;
    }
    browser.wait_for_text("#live", "live").await;

    // Changes appear without loading the page again.
    browser.run("window.stayed = true").await;
    browser.fill("input[aria-label^='Instances of web']", "3").await;
    browser.click("button[aria-label='Scale web']").await;
    browser.wait_for_text("#part-head", "4 of 4 ready").await;
    browser.wait_for_text("#part-events", "web: scaling from 2 to 3").await;
    assert_eq!(instances_with(&unique_sleep_seconds(61)).len(), 4);
    assert_eq!(browser.run("return window.stayed").await, true);

    browser.click("form[data-url$='/suspend'] button").await;
    browser.wait_for_text("#part-head .facts", "suspended").await;
    browser.click("form[data-url$='/resume'] button").await;
    browser.wait_for_text("#part-head .facts", "by this service").await;

    // Changes by other clients, too.
    service.request("POST", &format!("/infrastructures/{id}/scaleto/web/2")).send("").expect(200);
    browser.wait_for_text("#part-head", "3 of 3 ready").await;

    // The page asks for confirmation before it destroys.
    browser.click("[data-opens=destroy]").await;
    let destroy = browser.wait_for_element("dialog .danger").await;
    assert!(!destroy.is_enabled().await.expect("a button"));
    browser.fill("#sure", "something else").await;
    assert!(!destroy.is_enabled().await.expect("a button"));
    browser.fill("#sure", "seen").await;
    browser.click("dialog .danger").await;
    browser.wait_for_text("main", "It no longer exists").await;
    assert!(instances_with(&unique_sleep_seconds(61)).is_empty());
    is_clean(&browser, &service).await;
}

/// Puts a text into the editor, as if it were pasted.
async fn write(browser: &Browser, text: &str) {
    browser.wait_for_element("textarea").await;
    let text = serde_json::to_string(text).expect("JSON");
    let script = format!(
        "const area = document.querySelector('textarea'); area.value = {text}; \
         area.dispatchEvent(new Event('input', {{bubbles: true}}))"
    );
    browser.run(&script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_live_and_an_infrastructure_can_be_changed() {
    let Some(browser) = browser("page", Screen::Desktop).await else { return };
    let service = Service::start();
    browser.open(&service.url("/")).await;
    browser.wait_for_text("#part-list", "No infrastructures yet").await;
    service.build("listed", &document("listed", 62));
    browser.wait_for_text("#infra-listed", "ready").await;
    browser.wait_for_text("#infra-listed", "3 of 3").await;
    browser.click("#infra-listed a").await;
    browser.click("a[href$='/change']").await;
    let there = browser.run("return document.querySelector('textarea').value").await;
    let there = there.as_str().expect("a text");
    assert!(there.contains("node_def:sleeper"), "{there}");
    write(&browser, &there.replacen("max: 4", "max: 6", 1)).await;
    browser.click("[data-does=build]").await;
    browser.wait_for_element("input[aria-label='Instances of web, 2 to 6']").await;
    is_clean(&browser, &service).await;
    service.destroy("listed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_built_says_why_and_keeps_its_text() {
    let Some(browser) = browser("page", Screen::Desktop).await else { return };
    let service = Service::start();
    browser.open(&service.url("/ui/new")).await;
    browser.click("[data-does=check]").await;
    browser.wait_for_text(".result h2", "The description is valid").await;
    let sick = format!("{{ping: false, ports: [{}], timeout: 2}} # as I wrote it", free_port());
    write(&browser, &document("unlucky", 67).replace("{ping: false}", &sick)).await;
    browser.click("[data-does=build]").await;
    browser.wait_for_text("main", "It could not be built").await;
    browser.wait_for_text("h1", "unlucky").await;
    browser.wait_for_text("#part-operations", "not healthy").await;
    browser.wait_for_text(".log", "rolling back").await;
    // The text is still there after going back, and after following the link.
    let text = "return document.querySelector('textarea').value";
    browser.driver.back().await.expect("back");
    browser.wait_for_element("textarea").await;
    assert!(browser.run(text).await.as_str().expect("a text").contains("# as I wrote it"));
    browser.open(&service.url("/")).await;
    browser.click("#part-failed a").await;
    browser.click("a[href$='/change?tried']").await;
    browser.wait_for_element("textarea").await;
    let there = browser.run(text).await.as_str().expect("a text").replace(&sick, "{ping: false}");
    write(&browser, &there).await;
    browser.click("[data-does=build]").await;
    browser.wait_for_text("#part-head", "3 of 3 ready").await;
    let id = browser.run("return document.querySelector('#part-head .id').textContent").await;
    is_clean(&browser, &service).await;
    service.destroy(id.as_str().expect("an id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_the_page_as_far_as_it_goes() {
    let Some(browser) = browser("page", Screen::Desktop).await else { return };
    let home = Arc::new(Occopus::new());
    let mut service = Service::in_home(home, NO_RATE_LIMITS);
    service.build("guarded", &document("guarded", 63));
    service.build("hidden", &document("hidden", 63));
    let read = service.new_token("reader", "read", &["guarded"]);
    service.token = Some(service.new_token("boss", "admin", &[]));
    service.eventually("the tokens are known", || service.get("/whoami").json()["name"] == "boss");

    browser.open(&service.url("/ui/infrastructures/guarded")).await;
    browser.wait_for_text("h1", "Sign in").await;
    browser.fill("#token", "occ_000000000000_nonsense").await;
    browser.click("main form button").await;
    browser.wait_for_element("main [role=alert]").await;
    // A refused sign-in, which the browser logs as well.
    browser.console_errors().await;
    browser.fill("#token", &read).await;
    browser.click("main form button").await;
    browser.wait_for_text("#infra-guarded", "ready").await;
    assert!(browser.driver.find(By::Css("#infra-hidden")).await.is_err(), "it is for others");
    browser.click("#infra-guarded a").await;
    browser.wait_for_text("#part-head", "3 of 3 ready").await;
    assert!(browser.driver.find(By::Css("[data-opens=destroy]")).await.is_err(), "who reads destroys nothing");
    assert!(browser.driver.find(By::Css(".scale")).await.is_err());
    browser.wait_for_text(".caller", "reader").await;
    is_clean(&browser, &service).await;
    browser.open(&service.url("/ui/infrastructures/hidden")).await;
    assert!(!browser.run("return document.body.innerText").await.as_str().expect("a text").contains("sleeper"));
    browser.open(&service.url("/")).await;
    browser.click("form[action='/ui/logout'] button").await;
    browser.wait_for_text("h1", "Sign in").await;
    for id in ["guarded", "hidden"] {
        service.destroy(id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_fits_a_phone_works_by_keyboard_and_is_accessible() {
    let service = Service::start();
    service.build("small", &document("small", 64));
    let paths = [
        "/",
        "/ui/infrastructures/small",
        "/ui/infrastructures/small/change",
        "/ui/new",
        "/ui/definitions",
        "/ui/plugins",
        "/docs",
    ];
    for screen in [Screen::Phone, Screen::Desktop] {
        let Some(browser) = browser("page", screen).await else { return };
        for path in paths {
            browser.open(&service.url(path)).await;
            browser.wait_for_element("h1").await;
            let wide = browser.run("return [document.scrollingElement.scrollWidth, window.innerWidth]").await;
            assert!(wide[0].as_f64() <= wide[1].as_f64(), "{path} on {screen:?} is too wide: {wide}");
            for theme in ["light", "dark"] {
                browser.run(&format!("document.documentElement.dataset.theme = '{theme}'")).await;
                is_accessible(&browser, &format!("{path} in {theme} on {screen:?}")).await;
            }
        }
        is_clean(&browser, &service).await;
        if screen == Screen::Desktop {
            by_keyboard(&browser, &service).await;
        }
    }
    service.destroy("small");
}

/// Checks the rules of axe (<https://github.com/dequelabs/axe-core>); `AXE_CORE` names its directory.
async fn is_accessible(browser: &Browser, what: &str) {
    let Some(folder) = std::env::var_os("AXE_CORE").map(PathBuf::from) else {
        return skip("page", "no rules of accessibility (npm install axe-core; AXE_CORE names its folder)");
    };
    let axe = std::fs::read_to_string(folder.join("axe.min.js")).expect("axe");
    browser.run(&format!("{axe};")).await;
    let script = "const done = arguments[arguments.length - 1]; \
                  axe.run().then((found) => done(found.violations.map(({id, nodes}) => \
                  [id, ...nodes.map(({html, failureSummary}) => html + ' ' + failureSummary)])), (error) => done([String(error)]))";
    let found = browser.run_async(script).await;
    assert_eq!(found, Value::Array(Vec::new()), "{what}: {found:#}");
}

/// Uses the page without a mouse.
async fn by_keyboard(browser: &Browser, service: &Service) {
    let focused = "const element = document.activeElement; \
                   return [element.tagName, element.className, element.getAttribute('aria-label') || element.textContent]";
    let press = async |key: Key| {
        let there = browser.driver.active_element().await.expect("a focus");
        there.send_keys(key).await.expect("pressed");
    };
    browser.open(&service.url("/ui/infrastructures/small")).await;
    browser.wait_for_text("#part-head", "3 of 3 ready").await;
    press(Key::Tab).await;
    assert_eq!(browser.run(focused).await[1], "skip", "the first stop leads past the head");
    press(Key::Enter).await;
    assert_eq!(browser.run(focused).await[0], "MAIN");
    for _ in 0..40 {
        press(Key::Tab).await;
        if browser.run(focused).await[2].as_str().is_some_and(|text| text.starts_with("Destroy")) {
            break;
        }
    }
    let outline = "const style = getComputedStyle(document.activeElement); return style.outlineStyle + style.boxShadow";
    assert_ne!(browser.run(outline).await, "nonenone", "the focus is seen");
    press(Key::Enter).await;
    browser.wait_for_element("dialog #sure").await;
    press(Key::Escape).await;
    assert_eq!(browser.run("return document.querySelector('dialog').open").await, false);
    assert!(
        browser.run(focused).await[2].as_str().is_some_and(|text| text.starts_with("Destroy")),
        "the focus is back"
    );
    // Changes are announced to screen readers.
    service.request("POST", "/infrastructures/small/scaleto/web/3").send("").expect(200);
    browser.wait_for_text("#part-head", "4 of 4 ready").await;
    browser
        .wait_for("it is announced", async || {
            let announcement = browser.run("return document.querySelector('#announce').textContent").await;
            announcement.as_str().is_some_and(|text| !text.is_empty()).then_some(())
        })
        .await;
}
