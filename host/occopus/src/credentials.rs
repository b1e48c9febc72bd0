//! The user's credentials, for whoever calls plugins: chosen for each section, and read again when they have changed, when
//! what a command printed has ended, and when a cloud has refused them.

mod file_stamps;
mod recorded_schemas;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use occopus_engine::ports::{Fault, Reaction};
use occopus_model::{AuthData, CommandOutputs, Credential, CredentialsReading, Diagnostics, Schemas, SectionKind};
use occopus_runtime::CredentialSource;
use serde_json::Value;

use file_stamps::{FileStamps, stamp_files};
use recorded_schemas::{RecordedSchemas, SchemaRecorder};

/// Between two looks at the files.
const FILE_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Until another attempt after one that failed, while the files stay as they are: a command may have failed.
const FAILED_READ_RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// Between two readings because a cloud refused, when the last one gave something new, and when it did not.
const REJECTED_REREAD_INTERVALS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// How long calls wait for a reading. Commands that take longer go on, and calls with what there was.
const REREAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The credentials in a file. Nothing is run for them before [`Credentials::read`].
#[derive(Debug)]
pub struct Credentials {
    /// The file that somebody named.
    named: Option<PathBuf>,
    cache: Arc<CredentialCache>,
    /// One reads at a time, and the others wait for what it finds.
    read_lock: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct CredentialCache {
    state: Mutex<CacheState>,
}

#[derive(Debug, Default)]
struct CacheState {
    /// Where the file may be when nobody named it, the first that exists wins.
    default_paths: Vec<PathBuf>,
    current: Option<Arc<AuthData>>,
    /// Whether its values are real, so that it may be read again by itself.
    has_real_values: bool,
    outputs: CommandOutputs,
    /// What plugins say of credentials, as far as it was asked for.
    plugin_schemas: RecordedSchemas,
    /// The files as they were at the last attempt to read them.
    stamps: FileStamps,
    last_check: Option<Instant>,
    read_attempts: u64,
    /// When the last attempt failed.
    last_failure: Option<Instant>,
    /// When a refusal last led to a reading, and whether that gave something new.
    last_rejection: Option<(Instant, bool)>,
}

/// Why the file is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RereadReason {
    /// It may have changed, or something of it may have ended.
    Periodic,
    /// A cloud refused what it gave.
    Rejected,
}

impl Credentials {
    /// Those in this file, otherwise in the first of the usual ones that exists; none at all without one.
    pub fn new(named: Option<PathBuf>, usual: Vec<PathBuf>) -> Self {
        let state = Mutex::new(CacheState { default_paths: usual, ..CacheState::default() });
        Self { named, cache: Arc::new(CredentialCache { state }), read_lock: Arc::default() }
    }

    /// Adds a file to the usual ones, such as the one beside a description. That of the user's settings comes first.
    pub fn add_default_path(&self, path: PathBuf) {
        let mut state = self.cache.state();
        if !state.default_paths.contains(&path) {
            let at = state.default_paths.len().min(1);
            state.default_paths.insert(at, path);
        }
    }

    /// Where they are looked for, for messages.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.named.clone().map_or_else(|| self.cache.state().default_paths.clone(), |named| vec![named])
    }

    /// Reads the file, unless it is as it was, and checks it against what the plugins say of their credentials. Gives warnings.
    ///
    /// # Errors
    /// What is wrong with it. Where it was good before, that is kept, and warned of in the log instead.
    pub fn read(&self, schemas: &dyn Schemas) -> Result<Diagnostics, Diagnostics> {
        let path = self.current_path();
        let mut state = self.cache.state();
        let Some(path) = path else {
            // One that is written later counts from then on.
            state.has_real_values = true;
            return Ok(Diagnostics::default());
        };
        let is_known = state.has_real_values && state.stamps == stamp_files(state.stamps.files());
        if is_known && state.stamps.has_primary_file(&path) && state.last_failure.is_none() {
            return Ok(Diagnostics::default());
        }
        let outputs = if state.has_real_values {
            state.outputs.unexpired_at(Instant::now())
        } else {
            CommandOutputs::empty_at(Instant::now())
        };
        drop(state);
        let recorder = SchemaRecorder::new(schemas);
        let before = stamp_files([path.clone()].iter());
        let reading = AuthData::read(&path, outputs, &recorder);
        self.cache.state().plugin_schemas.merge(recorder);
        let problems = match self.cache.store_reading(reading, before) {
            Ok(warnings) => return Ok(warnings),
            Err(problems) => problems,
        };
        let has_old = {
            let state = self.cache.state();
            state.has_real_values && state.current.is_some()
        };
        if !has_old {
            return Err(problems);
        }
        self.cache.warn_keeping_old(&problems);
        Ok(Diagnostics::default())
    }

    /// Checks the file as [`Credentials::read`] does, and runs nothing: what commands would print is not known.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, schemas: &dyn Schemas) -> Result<Diagnostics, Diagnostics> {
        let Some(path) = self.current_path().filter(|_| !self.cache.state().has_real_values) else {
            return Ok(Diagnostics::default());
        };
        let (data, warnings) = AuthData::check(&path, schemas).into_result()?;
        self.cache.state().current = Some(Arc::new(data));
        Ok(warnings)
    }

    /// The file that counts now.
    fn current_path(&self) -> Option<PathBuf> {
        self.named.clone().or_else(|| self.cache.state().default_paths.iter().find(|path| path.is_file()).cloned())
    }

    /// Reads again what has to be. Others that ask meanwhile wait for it.
    async fn reread_if_due(&self, why: RereadReason) {
        // Most calls find that somebody has just looked.
        if (why == RereadReason::Periodic && self.cache.is_recently_checked())
            || !self.cache.is_due(why, self.current_path())
        {
            return;
        }
        let seen = self.cache.state().read_attempts;
        let turn = tokio::time::timeout(REREAD_TIMEOUT, Arc::clone(&self.read_lock).lock_owned()).await;
        let Ok(turn) = turn else { return };
        // Whoever had the turn before has read it.
        let Some(path) = self.current_path().filter(|_| self.cache.state().read_attempts == seen) else { return };
        if why == RereadReason::Rejected && !self.cache.is_due(why, Some(path.clone())) {
            return;
        }
        let shared = Arc::clone(&self.cache);
        // Commands wait for others.
        let reading = tokio::task::spawn_blocking(move || {
            shared.reread(&path, why);
            drop(turn);
        });
        if tokio::time::timeout(REREAD_TIMEOUT, reading).await.is_err() {
            tracing::warn!(
                "reading the credentials takes more than {REREAD_TIMEOUT:?}; those from before are used meanwhile"
            );
        }
    }

    fn select(&self, section: SectionKind, settings: &Value) -> Option<Credential> {
        let current = self.cache.state().current.clone()?;
        current.select(section, settings).ok().flatten()
    }
}

impl CredentialCache {
    /// It is whole at any time, also after a panic.
    fn state(&self) -> MutexGuard<'_, CacheState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the files were looked at so shortly before that they need not be now, and nothing has ended since.
    fn is_recently_checked(&self) -> bool {
        let (state, now) = (self.state(), Instant::now());
        let has_ended = state.outputs.expires_at().is_some_and(|until| until <= now);
        !has_ended && state.last_check.is_some_and(|looked| now.duration_since(looked) < FILE_CHECK_INTERVAL)
    }

    fn is_due(&self, why: RereadReason, path: Option<PathBuf>) -> bool {
        let now = Instant::now();
        let passed = |since: Option<Instant>, pause: Duration| since.is_none_or(|at| now.duration_since(at) >= pause);
        let mut state = self.state();
        let Some(path) = path.filter(|_| state.has_real_values) else { return false };
        if why == RereadReason::Rejected {
            let pause = if state.last_rejection.is_some_and(|(_, gave_new)| !gave_new) {
                REJECTED_REREAD_INTERVALS.1
            } else {
                REJECTED_REREAD_INTERVALS.0
            };
            return passed(state.last_rejection.map(|(at, _)| at), pause);
        }
        if !passed(state.last_failure, FILE_CHECK_INTERVAL) {
            return false;
        }
        let has_ended = state.outputs.expires_at().is_some_and(|until| until <= now);
        if !has_ended && !passed(state.last_check, FILE_CHECK_INTERVAL) {
            return false;
        }
        state.last_check = Some(now);
        let is_same = state.stamps.has_primary_file(&path) && state.stamps == stamp_files(state.stamps.files());
        if is_same && (has_ended || state.last_failure.is_some()) {
            return passed(state.last_failure, FAILED_READ_RETRY_INTERVAL);
        }
        has_ended || !is_same
    }

    fn reread(&self, path: &Path, why: RereadReason) {
        let (outputs, known, before) = {
            let state = self.state();
            let now = Instant::now();
            let outputs = match why {
                RereadReason::Periodic => state.outputs.unexpired_at(now),
                RereadReason::Rejected => CommandOutputs::empty_at(now),
            };
            (outputs, state.plugin_schemas.clone(), state.current.clone())
        };
        let stamps = stamp_files([path.to_owned()].iter());
        let reading = AuthData::read(path, outputs, &known);
        if let Err(problems) = self.store_reading(reading, stamps) {
            self.warn_keeping_old(&problems);
        }
        let mut state = self.state();
        let gave_new = state.current != before;
        // Only now: whoever is refused meanwhile waits for what this reading gives.
        if why == RereadReason::Rejected {
            state.last_rejection = Some((Instant::now(), gave_new));
        }
        if gave_new {
            tracing::info!("the credentials were read again, and have changed");
        }
    }

    /// Keeps what was read, if it is usable; gives all that is wrong, or what is doubtful.
    fn store_reading(&self, reading: CredentialsReading, first: FileStamps) -> Result<Diagnostics, Diagnostics> {
        let mut state = self.state();
        state.read_attempts += 1;
        // The first one as it was before it was read: whoever wrote to it since is noticed.
        state.stamps = first.with_files(&reading.files);
        let Some(data) = reading.data else { return Err(reading.diagnostics) };
        state.last_failure = None;
        state.has_real_values = true;
        state.outputs = reading.outputs;
        if state.current.as_deref() != Some(&data) {
            state.current = Some(Arc::new(data));
        }
        Ok(reading.diagnostics)
    }

    /// Says once that the file is broken. It may be half written.
    fn warn_keeping_old(&self, problems: &Diagnostics) {
        let mut state = self.state();
        if state.last_failure.replace(Instant::now()).is_none() {
            let file = state.stamps.files().first().map(|path| path.display().to_string()).unwrap_or_default();
            tracing::warn!("{file} can't be used as it is now, and the credentials from before are kept: {problems}");
        }
    }
}

#[async_trait]
impl CredentialSource for Credentials {
    fn credential(&self, section: SectionKind, settings: &Value) -> Result<Option<Credential>, Fault> {
        let current = self.cache.state().current.clone();
        match (current, self.current_path()) {
            (Some(data), _) => data
                .select(section, settings)
                .map_err(|error| Fault::new(Reaction::GiveUp, "credentials.ambiguous", error.to_string())),
            (None, None) => Ok(None),
            (None, Some(path)) => Err(Fault::new(
                Reaction::GiveUp,
                "credentials.unread",
                format!(
                    "the credentials in {} have not been read (a program does it by `Occopus::credentials`)",
                    path.display()
                ),
            )),
        }
    }

    async fn refresh(&self) {
        self.reread_if_due(RereadReason::Periodic).await;
    }

    async fn renew(&self, section: SectionKind, settings: &Value, refused: &Credential) -> bool {
        let is_other =
            |now: Option<Credential>| now.is_some_and(|now| (&now.fields, &now.tls) != (&refused.fields, &refused.tls));
        // Somebody else was refused before, or the file has changed meanwhile.
        if is_other(self.select(section, settings)) {
            return true;
        }
        self.reread_if_due(RereadReason::Rejected).await;
        is_other(self.select(section, settings))
    }
}

#[cfg(test)]
mod tests;
