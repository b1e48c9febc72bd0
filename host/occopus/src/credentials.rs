//! The user's credentials, for whoever calls plugins: chosen for each section, and read again when they have changed, when
//! what a command printed has ended, and when a cloud has refused them.

mod files;
mod known;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use occopus_engine::ports::{Fault, Reaction};
use occopus_model::{AuthData, Credential, Outputs, Problems, Reading, Schemas, Section};
use occopus_runtime::CredentialSource;
use serde_json::Value;

use files::{Stamps, stamps};
use known::{Known, Recorder};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_millis(500);
/// Until another attempt after one that failed, while the files stay as they are: a command may have failed.
const AGAIN: Duration = Duration::from_secs(15);
/// Between two readings because a cloud refused, when the last one gave something new, and when it did not.
const REFUSED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// How long calls wait for a reading. Commands that take longer go on, and calls with what there was.
const PATIENCE: Duration = Duration::from_secs(30);

/// The credentials in a file. Nothing is run for them before [`Credentials::read`].
#[derive(Debug)]
pub struct Credentials {
    /// The file that somebody named.
    named: Option<PathBuf>,
    shared: Arc<Shared>,
    /// One reads at a time, and the others wait for what it finds.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where the file may be when nobody named it, the first that exists wins.
    usual: Vec<PathBuf>,
    current: Option<Arc<AuthData>>,
    /// Whether its values are real, so that it may be read again by itself.
    is_real: bool,
    outputs: Outputs,
    /// What plugins say of credentials, as far as it was asked for.
    known: Known,
    /// The files as they were at the last attempt to read them.
    stamps: Stamps,
    looked: Option<Instant>,
    attempts: u64,
    /// When the last attempt failed.
    failed: Option<Instant>,
    /// When a refusal last led to a reading, and whether that gave something new.
    refused: Option<(Instant, bool)>,
}

/// Why the file is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It may have changed, or something of it may have ended.
    Time,
    /// A cloud refused what it gave.
    Refused,
}

impl Credentials {
    /// Those in this file, otherwise in the first of the usual ones that exists; none at all without one.
    pub fn new(named: Option<PathBuf>, usual: Vec<PathBuf>) -> Self {
        let state = Mutex::new(State { usual, ..State::default() });
        Self { named, shared: Arc::new(Shared { state }), turn: Arc::default() }
    }

    /// Adds a file to the usual ones, such as the one beside a description. That of the user's settings comes first.
    pub fn add_usual(&self, path: PathBuf) {
        let mut state = self.shared.state();
        if !state.usual.contains(&path) {
            let at = state.usual.len().min(1);
            state.usual.insert(at, path);
        }
    }

    /// Where they are looked for, for messages.
    pub fn places(&self) -> Vec<PathBuf> {
        self.named.clone().map_or_else(|| self.shared.state().usual.clone(), |named| vec![named])
    }

    /// Reads the file, unless it is as it was, and checks it against what the plugins say of their credentials. Gives warnings.
    ///
    /// # Errors
    /// What is wrong with it. Where it was good before, that is kept, and warned of in the log instead.
    pub fn read(&self, schemas: &dyn Schemas) -> Result<Problems, Problems> {
        let path = self.path();
        let mut state = self.shared.state();
        let Some(path) = path else {
            // One that is written later counts from then on.
            state.is_real = true;
            return Ok(Problems::default());
        };
        let is_known = state.is_real && state.stamps == stamps(state.stamps.files());
        if is_known && state.stamps.is_of(&path) && state.failed.is_none() {
            return Ok(Problems::default());
        }
        let outputs = if state.is_real { state.outputs.living(Instant::now()) } else { Outputs::none(Instant::now()) };
        drop(state);
        let recorder = Recorder::new(schemas);
        let before = stamps([path.clone()].iter());
        let reading = AuthData::read(&path, outputs, &recorder);
        self.shared.state().known.learn(recorder);
        let problems = match self.shared.take(reading, before) {
            Ok(warnings) => return Ok(warnings),
            Err(problems) => problems,
        };
        let has_old = {
            let state = self.shared.state();
            state.is_real && state.current.is_some()
        };
        if !has_old {
            return Err(problems);
        }
        self.shared.keep_the_old(&problems);
        Ok(Problems::default())
    }

    /// Checks the file as [`Credentials::read`] does, and runs nothing: what commands would print is not known.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn look(&self, schemas: &dyn Schemas) -> Result<Problems, Problems> {
        let Some(path) = self.path().filter(|_| !self.shared.state().is_real) else { return Ok(Problems::default()) };
        let (data, warnings) = AuthData::look(&path, schemas).usable()?;
        self.shared.state().current = Some(Arc::new(data));
        Ok(warnings)
    }

    /// The file that counts now.
    fn path(&self) -> Option<PathBuf> {
        self.named.clone().or_else(|| self.shared.state().usual.iter().find(|path| path.is_file()).cloned())
    }

    /// Reads again what has to be. Others that ask meanwhile wait for it.
    async fn again(&self, why: Why) {
        // Most calls find that somebody has just looked.
        if (why == Why::Time && self.shared.is_early()) || !self.shared.is_due(why, self.path()) {
            return;
        }
        let seen = self.shared.state().attempts;
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turn).lock_owned()).await;
        let Ok(turn) = turn else { return };
        // Whoever had the turn before has read it.
        let Some(path) = self.path().filter(|_| self.shared.state().attempts == seen) else { return };
        if why == Why::Refused && !self.shared.is_due(why, Some(path.clone())) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        // Commands wait for others.
        let reading = tokio::task::spawn_blocking(move || {
            shared.read_again(&path, why);
            drop(turn);
        });
        if tokio::time::timeout(PATIENCE, reading).await.is_err() {
            tracing::warn!(
                "reading the credentials takes more than {PATIENCE:?}; those from before are used meanwhile"
            );
        }
    }

    fn select(&self, section: Section, settings: &Value) -> Option<Credential> {
        let current = self.shared.state().current.clone()?;
        current.select(section, settings).ok().flatten()
    }
}

impl Shared {
    /// It is whole at any time, also after a panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the files were looked at so shortly before that they need not be now, and nothing has ended since.
    fn is_early(&self) -> bool {
        let (state, now) = (self.state(), Instant::now());
        let has_ended = state.outputs.until().is_some_and(|until| until <= now);
        !has_ended && state.looked.is_some_and(|looked| now.duration_since(looked) < LOOK)
    }

    fn is_due(&self, why: Why, path: Option<PathBuf>) -> bool {
        let now = Instant::now();
        let passed = |since: Option<Instant>, pause: Duration| since.is_none_or(|at| now.duration_since(at) >= pause);
        let mut state = self.state();
        let Some(path) = path.filter(|_| state.is_real) else { return false };
        if why == Why::Refused {
            let pause = if state.refused.is_some_and(|(_, gave_new)| !gave_new) { REFUSED.1 } else { REFUSED.0 };
            return passed(state.refused.map(|(at, _)| at), pause);
        }
        if !passed(state.failed, LOOK) {
            return false;
        }
        let has_ended = state.outputs.until().is_some_and(|until| until <= now);
        if !has_ended && !passed(state.looked, LOOK) {
            return false;
        }
        state.looked = Some(now);
        let is_same = state.stamps.is_of(&path) && state.stamps == stamps(state.stamps.files());
        if is_same && (has_ended || state.failed.is_some()) {
            return passed(state.failed, AGAIN);
        }
        has_ended || !is_same
    }

    fn read_again(&self, path: &Path, why: Why) {
        let (outputs, known, before) = {
            let state = self.state();
            let now = Instant::now();
            let outputs = match why {
                Why::Time => state.outputs.living(now),
                Why::Refused => Outputs::none(now),
            };
            (outputs, state.known.clone(), state.current.clone())
        };
        let stamps = stamps([path.to_owned()].iter());
        let reading = AuthData::read(path, outputs, &known);
        if let Err(problems) = self.take(reading, stamps) {
            self.keep_the_old(&problems);
        }
        let mut state = self.state();
        let gave_new = state.current != before;
        // Only now: whoever is refused meanwhile waits for what this reading gives.
        if why == Why::Refused {
            state.refused = Some((Instant::now(), gave_new));
        }
        if gave_new {
            tracing::info!("the credentials were read again, and have changed");
        }
    }

    /// Keeps what was read, if it is usable; gives all that is wrong, or what is doubtful.
    fn take(&self, reading: Reading, first: Stamps) -> Result<Problems, Problems> {
        let mut state = self.state();
        state.attempts += 1;
        // The first one as it was before it was read: whoever wrote to it since is noticed.
        state.stamps = first.with(&reading.files);
        let Some(data) = reading.data else { return Err(reading.problems) };
        state.failed = None;
        state.is_real = true;
        state.outputs = reading.outputs;
        if state.current.as_deref() != Some(&data) {
            state.current = Some(Arc::new(data));
        }
        Ok(reading.problems)
    }

    /// Says once that the file is broken. It may be half written.
    fn keep_the_old(&self, problems: &Problems) {
        let mut state = self.state();
        if state.failed.replace(Instant::now()).is_none() {
            let file = state.stamps.files().first().map(|path| path.display().to_string()).unwrap_or_default();
            tracing::warn!("{file} can't be used as it is now, and the credentials from before are kept: {problems}");
        }
    }
}

#[async_trait]
impl CredentialSource for Credentials {
    fn credential(&self, section: Section, settings: &Value) -> Result<Option<Credential>, Fault> {
        let current = self.shared.state().current.clone();
        match (current, self.path()) {
            (Some(data), _) => data
                .select(section, settings)
                .map_err(|error| Fault::new(Reaction::GiveUp, "credentials.ambiguous", error.to_string())),
            (None, None) => Ok(None),
            (None, Some(path)) => Err(Fault::new(
                Reaction::GiveUp,
                "credentials.unread",
                format!("the credentials in {} have not been read", path.display()),
            )),
        }
    }

    async fn refresh(&self) {
        self.again(Why::Time).await;
    }

    async fn renew(&self, section: Section, settings: &Value, refused: &Credential) -> bool {
        let is_other =
            |now: Option<Credential>| now.is_some_and(|now| (&now.fields, &now.tls) != (&refused.fields, &refused.tls));
        // Somebody else was refused before, or the file has changed meanwhile.
        if is_other(self.select(section, settings)) {
            return true;
        }
        self.again(Why::Refused).await;
        is_other(self.select(section, settings))
    }
}

#[cfg(test)]
mod tests;
