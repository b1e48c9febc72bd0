use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Instant, SystemTime};

use serde_json::json;
use tempfile::TempDir;

use super::*;

/// A driver `cloud` whose credentials are one token.
struct Plugins;

impl Schemas for Plugins {
    fn schema(&self, _: SectionKind, _: &str) -> Option<Arc<Value>> {
        None
    }

    fn keywords(&self, _: SectionKind) -> Vec<String> {
        vec!["cloud".to_owned()]
    }

    fn credentials_schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        let schema = json!({"type": "object", "properties": {"token": {"type": "string"}}, "required": ["token"]});
        (section == SectionKind::Resource && keyword == "cloud").then(|| Arc::new(schema))
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("permissions");
}

fn rule(token: &str) -> String {
    format!("resource:\n- type: cloud\n  auth_data:\n    token: {token}\n")
}

/// Creates a folder with `auth_data.yaml`, and the credentials of that file.
fn folder(text: Option<&str>) -> (TempDir, PathBuf, Credentials) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("auth_data.yaml");
    if let Some(text) = text {
        write(&path, text);
    }
    let credentials = Credentials::new(None, vec![path.clone()]);
    (folder, path, credentials)
}

fn current_credential(credentials: &Credentials) -> Option<Credential> {
    credentials.credential(SectionKind::Resource, &json!({"type": "cloud"})).expect("one rule at most")
}

fn token(credentials: &Credentials) -> Option<String> {
    Some(current_credential(credentials)?.fields["token"].expose().to_owned())
}

/// Refreshes as before a call some time later, and returns the token.
async fn token_after_refresh(credentials: &Credentials) -> Option<String> {
    credentials.cache.state().last_check = None;
    if let Some(failed) = &mut credentials.cache.state().last_failure {
        *failed -= FILE_CHECK_INTERVAL;
    }
    credentials.refresh().await;
    token(credentials)
}

/// Writes a command that prints another token each time.
fn counting_command(folder: &Path) -> PathBuf {
    let (script, count) = (folder.join("token.sh"), folder.join("count"));
    write(&count, "");
    let text = format!("#!/bin/sh\necho x >> {0}\necho token-$(wc -l < {0})\n", count.display());
    write(&script, &text);
    script
}

#[tokio::test]
async fn a_changed_file_is_read_again() {
    let (_folder, path, credentials) = folder(Some(&rule("a")));
    credentials.read(&Plugins).expect("reads");
    assert_eq!(token(&credentials).as_deref(), Some("a"));
    // As long as before, and at the same time for a clock with large ticks.
    let modified = fs::metadata(&path).and_then(|data| data.modified()).expect("a time");
    write(&path, &rule("b"));
    fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(modified)).expect("the same time");
    assert_eq!(token_after_refresh(&credentials).await.as_deref(), Some("b"));
    // Replaced by a file with an old time.
    let other = path.with_extension("new");
    write(&other, &rule("c"));
    fs::File::options()
        .write(true)
        .open(&other)
        .and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))
        .expect("old");
    fs::rename(&other, &path).expect("renamed");
    assert_eq!(token_after_refresh(&credentials).await.as_deref(), Some("c"));
}

#[tokio::test]
async fn a_change_of_a_referenced_file_is_noticed() {
    let (folder, _, credentials) = folder(Some(&rule("!ini keys default token")));
    write(&folder.path().join("keys"), "[default]\ntoken = a\n");
    credentials.read(&Plugins).expect("reads");
    write(&folder.path().join("keys"), "[default]\ntoken = b\n");
    assert_eq!(token_after_refresh(&credentials).await.as_deref(), Some("b"));
}

#[tokio::test]
async fn a_file_that_is_written_later_is_noticed() {
    let (_folder, path, credentials) = folder(None);
    credentials.read(&Plugins).expect("there is none");
    assert_eq!(token_after_refresh(&credentials).await, None);
    write(&path, &rule("a"));
    assert_eq!(token_after_refresh(&credentials).await.as_deref(), Some("a"));
}

#[tokio::test]
async fn a_broken_file_keeps_the_previous_credentials() {
    let (_folder, path, credentials) = folder(Some(&rule("a")));
    credentials.read(&Plugins).expect("reads");
    for broken in ["", "resource:\n- type: cloud\n  auth_data: {token", "resource:\n- type: cloud\n  auth_data: {}\n"] {
        write(&path, broken);
        assert_eq!(token_after_refresh(&credentials).await.as_deref(), Some("a"), "{broken}");
        assert!(credentials.cache.state().last_failure.is_some(), "{broken}");
        assert!(credentials.read(&Plugins).expect("the old ones").is_empty());
    }
    fs::remove_file(&path).expect("removed");
    assert_eq!(token_after_refresh(&credentials).await.as_deref(), Some("a"));
    write(&path, &rule("b"));
    assert_eq!(token_after_refresh(&credentials).await.as_deref(), Some("b"));
    assert!(credentials.cache.state().last_failure.is_none());
}

#[tokio::test]
async fn a_command_is_run_again_when_its_lifetime_ends_and_not_before() {
    let (folder, path, credentials) = folder(None);
    let script = counting_command(folder.path());
    write(&path, &rule(&format!("!command {{run: [sh, {}], lifetime: 1s}}", script.display())));
    credentials.read(&Plugins).expect("reads");
    assert_eq!(token(&credentials).as_deref(), Some("token-1"));
    // The file is read again; the command is not run for that.
    fs::write(&path, format!("# changed\n{}", fs::read_to_string(&path).expect("text"))).expect("written");
    assert_eq!(token_after_refresh(&credentials).await.as_deref(), Some("token-1"));
    let ran = Instant::now();
    while token(&credentials).as_deref() == Some("token-1") {
        assert!(ran.elapsed() < Duration::from_secs(10), "its lifetime does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
        credentials.refresh().await;
    }
    assert_eq!(token(&credentials).as_deref(), Some("token-2"));
}

#[tokio::test]
async fn concurrent_rejections_cause_one_reading() {
    let (folder, path, credentials) = folder(None);
    let script = counting_command(folder.path());
    write(&path, &rule(&format!("!command sh {}", script.display())));
    credentials.read(&Plugins).expect("reads");
    let used = current_credential(&credentials).expect("one");
    let section = json!({"type": "cloud"});
    let all = (0..20).map(|_| credentials.renew(SectionKind::Resource, &section, &used));
    let mut renewals = 0;
    for renewed in join_all(all).await {
        renewals += usize::from(renewed);
    }
    assert_eq!((renewals, token(&credentials).as_deref()), (20, Some("token-2")));
    // Rejected again at once: a cloud that rejects everything does not run the command without end.
    let used = current_credential(&credentials).expect("one");
    assert!(!credentials.renew(SectionKind::Resource, &section, &used).await);
    assert_eq!(token(&credentials).as_deref(), Some("token-2"));
}

/// Polls all futures concurrently, and returns their results in order.
async fn join_all<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (future, slot) in all.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *slot = Some(value);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(done.drain(..).flatten().collect())
        } else {
            std::task::Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn a_check_runs_no_command() {
    let (folder, path, credentials) = folder(None);
    let script = counting_command(folder.path());
    write(&path, &rule(&format!("!command sh {}", script.display())));
    credentials.check(&Plugins).expect("checks");
    let used = current_credential(&credentials).expect("one");
    token_after_refresh(&credentials).await;
    credentials.renew(SectionKind::Resource, &json!({"type": "cloud"}), &used).await;
    assert_eq!(fs::read_to_string(folder.path().join("count")).expect("text"), "");
    credentials.read(&Plugins).expect("reads");
    assert_eq!(token(&credentials).as_deref(), Some("token-1"));
}

#[test]
fn settings_come_before_the_folder_of_a_description() {
    let credentials = Credentials::new(None, vec!["home/auth_data.yaml".into(), "auth_data.yaml".into()]);
    credentials.add_default_path("project/auth_data.yaml".into());
    let expected = ["home/auth_data.yaml", "project/auth_data.yaml", "auth_data.yaml"].map(PathBuf::from);
    assert_eq!(credentials.paths(), expected);
    assert_eq!(Credentials::new(Some("x.yaml".into()), Vec::new()).paths(), [PathBuf::from("x.yaml")]);
}
