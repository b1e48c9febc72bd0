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

/// Time within which something must come up on a page.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// A browser, which ends when its value is dropped.
pub struct Browser {
    /// The driver, for everything that has no method here.
    pub driver: WebDriver,
    _chromedriver: Chromedriver,
    /// URL of the WebDriver session.
    session: String,
    _profile: TempDir,
}

/// Size of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// 1280 by 900.
    Desktop,
    /// 360 by 740, with a finger.
    Phone,
}

impl Browser {
    /// Starts `chromedriver` (or what `CHROMEDRIVER` names). Returns `None`, and reports the cause, if it does not start.
    ///
    /// # Panics
    /// Panics if it starts and does not start a browser.
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
        // The client may be built with TLS, for other crates of the workspace, and then needs a provider. One may be installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities).await.expect("a browser");
        let session = format!("http://127.0.0.1:{port}/session/{}", driver.session_id());
        Some(Self { driver, _chromedriver: chromedriver, session, _profile: profile })
    }

    /// Opens a page.
    ///
    /// # Panics
    /// Panics if there is none.
    pub async fn open(&self, url: &str) {
        self.driver.goto(url).await.expect("a page");
    }

    /// Waits until the element exists and is shown, and returns it.
    ///
    /// # Panics
    /// Panics if this takes longer than the timeout.
    pub async fn wait_for_element(&self, css: &str) -> WebElement {
        self.wait_for(&format!("{css} is shown"), async || {
            let found = self.driver.find(By::Css(css)).await.ok()?;
            found.is_displayed().await.unwrap_or(false).then_some(found)
        })
        .await
    }

    /// Waits until the text of an element contains this one.
    ///
    /// # Panics
    /// Panics if this takes longer than the timeout.
    pub async fn wait_for_text(&self, css: &str, text: &str) {
        self.wait_for(&format!("{css} says {text:?}"), async || {
            // It may be replaced at any moment.
            let found = self.driver.find(By::Css(css)).await.ok()?.text().await.ok()?;
            found.contains(text).then_some(())
        })
        .await;
    }

    /// Waits until a condition is met, and returns its value.
    ///
    /// # Panics
    /// Panics if this takes longer than the timeout: with the page's text, and a screenshot in the temporary directory.
    pub async fn wait_for<T>(&self, what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            if began.elapsed() > WAIT_TIMEOUT {
                let text = self.run("return document.body.innerText").await;
                let picture = self.screenshot("failed").await;
                panic!("timed out waiting until {what}; screenshot: {}\n{text}", picture.display());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Clicks on an element, once it can be clicked.
    ///
    /// # Panics
    /// Panics if this takes longer than the timeout.
    pub async fn click(&self, css: &str) {
        self.wait_for(&format!("{css} can be clicked"), async || {
            self.driver.find(By::Css(css)).await.ok()?.click().await.ok()
        })
        .await;
    }

    /// Replaces the text of a field.
    ///
    /// # Panics
    /// Panics if there is no such field.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.wait_for_element(css).await;
        field.clear().await.expect("cleared");
        field.send_keys(text).await.expect("typed");
    }

    /// Runs a script, and returns its value.
    ///
    /// # Panics
    /// Panics if it fails.
    pub async fn run(&self, script: &str) -> Value {
        self.driver.execute(script, Vec::new()).await.expect("a script").json().clone()
    }

    /// Runs a script, and returns the value that it passes to its last argument, a callback.
    ///
    /// # Panics
    /// Panics if it fails.
    pub async fn run_async(&self, script: &str) -> Value {
        self.driver.execute_async(script, Vec::new()).await.expect("a script").json().clone()
    }

    /// Returns the errors that the browser has logged since the last call: of scripts, of the content security policy, of
    /// missing files.
    ///
    /// # Panics
    /// Panics if it does not return its log.
    pub async fn console_errors(&self) -> Vec<String> {
        let lines = self.driver.get_log("browser").await.expect("a log").into_iter();
        lines.filter(|line| line.level == "SEVERE").map(|line| line.message).collect()
    }

    /// Writes a screenshot of the page into the temporary directory, and returns its path.
    ///
    /// # Panics
    /// Panics if it can't be taken.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("occopus-{name}-{}.png", std::process::id()));
        std::fs::write(&path, self.driver.screenshot_as_png().await.expect("a picture")).expect("written");
        path
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser survives its driver, but ends with the session.
        let _ = ureq::delete(&self.session).call();
    }
}

/// The process of the driver. Killed when dropped, with or without a browser.
struct Chromedriver(Child);

impl Drop for Chromedriver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
