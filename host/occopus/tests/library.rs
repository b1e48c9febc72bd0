//! The examples of the library, run.

#[path = "../examples/deploy.rs"]
#[expect(dead_code, reason = "its main function is not called")]
mod deploy;
#[path = "../examples/own_driver.rs"]
#[expect(dead_code, reason = "its main function is not called")]
mod own_driver;

use occopus::{Config, Occopus, OpenError, Preparation, Purpose, Step};
use serde_json::json;

/// Creates a folder whose compiled plugins are shared by all tests: a debug build takes seconds to compile each.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let program = std::env::current_exe().expect("a program");
    let shared = program.ancestors().nth(2).expect("target/PROFILE").join("plugins-compiled-for-tests");
    std::fs::create_dir_all(&shared).expect("a folder");
    std::os::unix::fs::symlink(shared, folder.path().join("cache")).expect("a link");
    folder
}

#[tokio::test]
async fn deploys_watches_scales_and_destroys() {
    let folder = folder();
    deploy::run(folder.path()).await.expect("deployed");
}

#[tokio::test]
async fn deploys_with_a_driver_in_the_program() {
    let folder = folder();
    own_driver::run(folder.path()).await.expect("deployed");
}

#[tokio::test]
async fn sections_of_own_drivers_are_checked() {
    let folder = folder();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let description = file("infra.yaml", "infra_name: a\nuser_id: me\nnodes: [{name: n, type: t}]\n");
    let definitions = file("definitions.yaml", "'node_def:t':\n- resource: {type: map, sise: small}\n");
    let schema = json!({"type": "object", "properties": {"size": {}}, "additionalProperties": false});
    let cloud = std::sync::Arc::new(own_driver::MapCloud::default());
    let occopus = Occopus::new(Config::in_folder(folder.path())).with_driver("map", cloud, schema);
    match occopus.compile(description, vec![definitions]).await {
        Err(OpenError::Files(diagnostics)) => {
            let texts: Vec<_> =
                diagnostics.iter().map(|diagnostic| format!("{:?}", diagnostic.to_file_diagnostic())).collect();
            assert!(texts.concat().contains("sise"), "{texts:?}");
        }
        other => panic!("no diagnostics: {:?}", other.map(|compiled| compiled.infrastructure.name)),
    }
}

#[tokio::test]
async fn a_preparation_does_what_its_purpose_wants() {
    let folder = folder();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let description = file("infra.yaml", "infra_name: a\nuser_id: me\nnodes: [{name: n, type: t}]\n");
    let resource = "resource: {type: map, size: replace_with_a_size}\n  health_check: {ping: false}";
    let definitions = file("definitions.yaml", &format!("'node_def:t':\n- {resource}\n"));
    let mark = folder.path().join("mark");
    let command = format!("!command {{run: [sh, -c, 'touch {}; echo secret']}}", mark.display());
    file("auth_data.yaml", &format!("resource:\n- type: map\n  auth_data: {{password: {command}}}\n"));
    let schema = json!({"type": "object", "properties": {"size": {}}});
    let cloud = std::sync::Arc::new(own_driver::MapCloud::default());
    let occopus = Occopus::new(Config::in_folder(folder.path())).with_driver("map", cloud, schema);
    let compile = async || occopus.compile(description.clone(), vec![definitions.clone()]).await.expect("compiled");

    for purpose in [Purpose::DryRun, Purpose::Deploy] {
        let refused = Preparation::new(&occopus, compile().await, purpose).err();
        assert!(matches!(refused, Some(OpenError::Files(_))), "{purpose:?}: an example must be filled in first");
    }
    let mut preparation = Preparation::new(&occopus, compile().await, Purpose::Inspect).expect("to be looked at");
    preparation.advance(Step::Check, |_| {}).await.expect("not checked");
    assert!(preparation.previews().is_empty() && preparation.authentications().is_empty(), "not so far yet");

    file("definitions.yaml", &format!("'node_def:t':\n- {}\n", resource.replace("replace_with_a_size", "small")));
    let mut preparation = Preparation::new(&occopus, compile().await, Purpose::DryRun).expect("deployable");
    preparation.advance(Step::Authenticate, |plugin| panic!("{plugin} is compiled")).await.expect("prepared");
    assert!(!mark.exists(), "a dry run runs no command");
    assert_eq!((preparation.previews().len(), preparation.authentications().len()), (1, 1));

    let mut preparation = Preparation::new(&occopus, compile().await, Purpose::Deploy).expect("deployable");
    preparation.advance(Step::Check, |_| {}).await.expect("checked");
    assert!(!mark.exists(), "credentials come after the check");
    preparation.advance(Step::Authenticate, |_| {}).await.expect("prepared");
    assert!(mark.exists() && preparation.previews().len() == 1);
    std::fs::remove_file(&mark).expect("removed");
    preparation.advance(Step::Authenticate, |_| {}).await.expect("done before");
    assert!(!mark.exists(), "no step is done twice");
}
