//! A real browser: headless Chromium, driven over WebDriver (<https://www.w3.org/TR/webdriver2/>).

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{
    By, CapabilitiesHelper as _, ChromiumLikeCapabilities as _, DesiredCapabilities, WebDriver, WebElement,
};

use crate::skip;

/// For something to come up on a page.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// A browser that ends with its value.
pub struct Browser {
    /// For all that is not made easy here.
    pub driver: WebDriver,
    _chromedriver: Chromedriver,
    /// Its URL.
    session: String,
    _profile: TempDir,
}

/// How large the window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// 1280 by 900.
    Desktop,
    /// 360 by 740, with a finger.
    Phone,
}

impl Browser {
    /// Starts `chromedriver` (or what `CHROMEDRIVER` names). None, after saying why, when it can't.
    ///
    /// # Panics
    /// When it starts and no browser comes of it.
    pub async fn start(test: &str, screen: Screen) -> Option<Self> {
        let program = std::env::var("CHROMEDRIVER").unwrap_or_else(|_| "chromedriver".to_owned());
        let started = Command::new(&program).arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut chromedriver) = started.map(Chromedriver) else {
            skip(test, &format!("no browser: `{program}` does not start (Debian: chromium, chromium-driver)"));
            return None;
        };
        let output = BufReader::new(chromedriver.0.stdout.take().expect("an output"));
        let port = output.lines().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("started successfully on port ")?;
            rest.trim_end_matches('.').parse::<u16>().ok()
        });
        let port = port.expect("chromedriver says its port");
        let profile = tempfile::tempdir().expect("a directory");
        let mut capabilities = DesiredCapabilities::chrome();
        let folder = format!("--user-data-dir={}", profile.path().display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
            &folder,
        ];
        for argument in arguments {
            capabilities.add_arg(argument).expect("an argument");
        }
        if screen == Screen::Phone {
            let metrics = json!({"deviceMetrics": {"width": 360, "height": 740, "pixelRatio": 1.0, "touch": true}});
            capabilities.add_experimental_option("mobileEmulation", metrics).expect("an option");
        }
        capabilities.set("goog:loggingPrefs", json!({"browser": "ALL"})).expect("a capability");
        // Its client may be built with TLS, for others of this workspace, and then needs to know by whom. It may know already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities).await.expect("a browser");
        let session = format!("http://127.0.0.1:{port}/session/{}", driver.session_id());
        Some(Self { driver, _chromedriver: chromedriver, session, _profile: profile })
    }

    /// Goes to a page.
    ///
    /// # Panics
    /// When there is none.
    pub async fn open(&self, url: &str) {
        self.driver.goto(url).await.expect("a page");
    }

    /// The element, once it is there and shown.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn wait_for_element(&self, css: &str) -> WebElement {
        self.wait_for(&format!("{css} is shown"), async || {
            let found = self.driver.find(By::Css(css)).await.ok()?;
            found.is_displayed().await.unwrap_or(false).then_some(found)
        })
        .await
    }

    /// Waits until the text of an element has this in it.
    ///
    /// # Panics
    /// When it does not come to that.
    pub async fn wait_for_text(&self, css: &str, text: &str) {
        self.wait_for(&format!("{css} says {text:?}"), async || {
            // It may be replaced at any moment.
            let found = self.driver.find(By::Css(css)).await.ok()?.text().await.ok()?;
            found.contains(text).then_some(())
        })
        .await;
    }

    /// Waits until something is so.
    ///
    /// # Panics
    /// When it does not come to that: with the page's text, and a picture of it in the temporary directory.
    pub async fn wait_for<T>(&self, what: &str, mut is_so: impl AsyncFnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = is_so().await {
                return found;
            }
            if began.elapsed() > WAIT_TIMEOUT {
                let text = self.run("return document.body.innerText").await;
                let picture = self.screenshot("failed").await;
                panic!("it does not come to it that {what}; {} shows it:\n{text}", picture.display());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Clicks on what is shown.
    ///
    /// # Panics
    /// When it does not come, or can't be clicked.
    pub async fn click(&self, css: &str) {
        self.wait_for(&format!("{css} can be clicked"), async || {
            self.driver.find(By::Css(css)).await.ok()?.click().await.ok()
        })
        .await;
    }

    /// Types into a field in place of what is in it.
    ///
    /// # Panics
    /// When there is no such field.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.wait_for_element(css).await;
        field.clear().await.expect("cleared");
        field.send_keys(text).await.expect("typed");
    }

    /// What a script gives.
    ///
    /// # Panics
    /// When it fails.
    pub async fn run(&self, script: &str) -> Value {
        self.driver.execute(script, Vec::new()).await.expect("a script").json().clone()
    }

    /// What a script gives by its last argument, which is a function.
    ///
    /// # Panics
    /// When it fails.
    pub async fn run_async(&self, script: &str) -> Value {
        self.driver.execute_async(script, Vec::new()).await.expect("a script").json().clone()
    }

    /// Errors that the browser has told since the last time: of scripts, of the content security policy, of files that are
    /// not there.
    ///
    /// # Panics
    /// When it does not tell.
    pub async fn console_errors(&self) -> Vec<String> {
        let lines = self.driver.get_log("browser").await.expect("a log").into_iter();
        lines.filter(|line| line.level == "SEVERE").map(|line| line.message).collect()
    }

    /// A picture of the page, in the temporary directory.
    ///
    /// # Panics
    /// When it can't be taken.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("occopus-{name}-{}.png", std::process::id()));
        std::fs::write(&path, self.driver.screenshot_as_png().await.expect("a picture")).expect("written");
        path
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // When its driver is killed it stays, but it ends with the session.
        let _ = ureq::delete(&self.session).call();
    }
}

/// Ends with its value, whether a browser has come of it or not.
struct Chromedriver(Child);

impl Drop for Chromedriver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
