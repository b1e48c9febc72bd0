//! Runs the inputs of the fuzzing corpus through the same functions on stable Rust.

use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

#[path = "../fuzz/properties/answers.rs"]
mod answers;
#[path = "../fuzz/properties/boundary.rs"]
mod boundary;
#[path = "../fuzz/properties/description.rs"]
mod description;
#[path = "../fuzz/properties/docker.rs"]
mod docker;
#[path = "../fuzz/properties/ec2.rs"]
mod ec2;
#[path = "../fuzz/properties/nova.rs"]
mod nova;
#[path = "../fuzz/properties/secrets.rs"]
mod secrets;
#[path = "../fuzz/properties/template.rs"]
mod template;

/// Time for one input, also without optimisation.
const PATIENCE: Duration = Duration::from_secs(60);

fn replay(target: &str, hold: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", corpus.display());
    for file in files {
        let bytes = std::fs::read(&file).expect("reads");
        let began = Instant::now();
        assert!(catch_unwind(|| hold(&bytes)).is_ok(), "{} breaks a promise", file.display());
        assert!(began.elapsed() < PATIENCE, "{} takes {:?}", file.display(), began.elapsed());
    }
}

macro_rules! replays {
    ($($target:ident),+) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target), $target::hold);
            }
        )+

        /// Asserts that the other workspace, and its directory, have the same names.
        #[test]
        fn every_target_is_replayed() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
            let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
            let replayed = [$(stringify!($target)),+];
            for target in replayed {
                assert!(manifest.contains(&format!("\nname = \"{target}\"\n")), "{target} is not in Cargo.toml");
            }
            assert_eq!(manifest.matches("[[bin]]").count(), replayed.len());
            let corpora = std::fs::read_dir(folder.join("corpus")).expect("corpora").count();
            assert_eq!(corpora, replayed.len());
        }
    };
}

replays!(boundary, description, docker, ec2, nova, secrets, template);
