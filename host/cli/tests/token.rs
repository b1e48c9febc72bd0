//! `occopus token` on the command line.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

fn run(home: &TempDir, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_occopus"))
        .args(arguments)
        .current_dir(home.path())
        .env("OCCOPUS_HOME", "home")
        .env("NO_COLOR", "1")
        .env_remove("OCCOPUS_CONFIG_PATH")
        .env_remove("OCCOPUS_LOG")
        .env_remove("OCCOPUS_SERVER")
        .output()
        .expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn json(home: &TempDir, arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = run(home, &[arguments, &["--output", "json"]].concat());
    assert_eq!(code, Some(0), "{stderr}");
    serde_json::from_str(&stdout).expect("JSON")
}

/// Returns whether a file in this folder contains this text.
fn is_written(folder: &Path, text: &str) -> bool {
    let files = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    files.into_iter().any(|path| match path.is_dir() {
        true => is_written(&path, text),
        false => String::from_utf8_lossy(&fs::read(&path).expect("a file")).contains(text),
    })
}

#[test]
fn a_token_is_printed_once_and_not_stored() {
    let home = TempDir::new().expect("a directory");
    assert_eq!(run(&home, &["token", "list"]).1, "No tokens; `occopus token create NAME --scope read` makes one.\n");
    let (code, token, notes) = run(&home, &["token", "create", "ci", "--scope", "operate", "--expires", "30d"]);
    assert_eq!(code, Some(0), "{notes}");
    let (id, secret) = token.trim().strip_prefix("occ_").and_then(|rest| rest.split_once('_')).expect("a token");
    assert_eq!((id.len(), secret.len(), token.lines().count()), (12, 43, 1));
    assert!(notes.contains("operate  ci, until 20") && !notes.contains(secret), "{notes}");
    assert!(is_written(home.path(), id) && !is_written(home.path(), secret));

    let created =
        json(&home, &["token", "create", "b", "--scope", "read", "--infrastructure", "x", "--infrastructure", "y"]);
    assert_eq!((&created["scope"], &created["infrastructures"]), (&"read".into(), &serde_json::json!(["x", "y"])));
    assert!(
        created["token"]
            .as_str()
            .expect("a token")
            .starts_with(&format!("occ_{}_", created["id"].as_str().expect("an id")))
    );

    let (_, listed, _) = run(&home, &["token", "list"]);
    assert!(listed.contains(id) && listed.contains("read     b, for x, y only"), "{listed}");
    assert!(!listed.contains(secret), "{listed}");
    assert_eq!(run(&home, &["token", "revoke", "b"]).0, Some(0));
    assert_eq!(json(&home, &["token", "revoke", id])[0]["name"], "ci");
    let listed = json(&home, &["token", "list"]);
    assert!(listed.as_array().expect("a list").iter().all(|token| token["revoked"].is_string()), "{listed}");
    assert_eq!(listed[0].as_object().expect("a token").len(), 7, "{listed}");
}

#[test]
fn errors_are_reported() {
    let home = TempDir::new().expect("a directory");
    let create = |arguments: &[&str]| run(&home, &[&["token", "create"], arguments].concat());
    assert_eq!(create(&["ci", "--scope", "read"]).0, Some(0));
    let (code, _, error) = create(&["ci", "--scope", "read"]);
    assert!(code == Some(1) && error.contains("a token called `ci` already exists"), "{error}");
    let (code, _, error) = create(&["x", "--scope", "all"]);
    assert!(code == Some(2) && error.contains("unknown scope `all`: use `read`, `operate` or `admin`"), "{error}");
    for wrong in ["soon", "-1d", "0s", "99999y"] {
        let (code, _, error) = create(&["x", "--scope", "read", &format!("--expires={wrong}")]);
        assert_eq!(code, Some(2), "{wrong}: {error}");
    }
    assert_eq!(create(&["x\ny", "--scope", "read"]).0, Some(2));
    let (code, stdout, error) = run(&home, &["token", "revoke", "nobody", "--output", "json"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(stdout.contains(r#""code": "token.unknown""#), "{stdout}");
}
