//! The user's credentials for calls of plugins: selected for each section, and read again when the files have changed, when
//! the output of a command has expired, and when a cloud has rejected them.

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

/// Pause between two checks of the files.
const FILE_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Pause after a failed attempt while the files stay unchanged: a command may have failed.
const FAILED_READ_RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// Pauses between two readings after a rejection: if the last one gave new values, and if it did not.
const REJECTED_REREAD_INTERVALS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// Time for which calls wait for a reading. Commands that take longer go on, and the calls use the previous values.
const REREAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The credentials in a file. No command is run for them before [`Credentials::read`].
#[derive(Debug)]
pub struct Credentials {
    /// The file that the command line or a variable names.
    named: Option<PathBuf>,
    cache: Arc<CredentialCache>,
    /// A lock for one reader at a time; the others wait for its result.
    read_lock: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct CredentialCache {
    state: Mutex<CacheState>,
}

#[derive(Debug, Default)]
struct CacheState {
    /// Candidates for the file if none is named; the first that exists counts.
    default_paths: Vec<PathBuf>,
    current: Option<Arc<AuthData>>,
    /// Set by [`Credentials::read`]: the values are real, and the file may be read again without a request.
    has_real_values: bool,
    outputs: CommandOutputs,
    /// Schemas of the plugins, as far as they were needed.
    plugin_schemas: RecordedSchemas,
    /// The files as they were at the last attempt to read them.
    stamps: FileStamps,
    last_check: Option<Instant>,
    read_attempts: u64,
    /// Time of the last attempt, if it failed.
    last_failure: Option<Instant>,
    /// Time of the last reading after a rejection, and whether it gave new values.
    last_rejection: Option<(Instant, bool)>,
}

/// A reason to read the file again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RereadReason {
    /// The file may have changed, or an output of a command may have expired.
    Periodic,
    /// A cloud rejected the credentials.
    Rejected,
}

impl Credentials {
    /// Creates the credentials of the named file, otherwise of the first default file that exists; none without one.
    pub fn new(named: Option<PathBuf>, default_paths: Vec<PathBuf>) -> Self {
        let state = Mutex::new(CacheState { default_paths, ..CacheState::default() });
        Self { named, cache: Arc::new(CredentialCache { state }), read_lock: Arc::default() }
    }

    /// Adds a default file, such as the one beside a description. The one in the user's settings stays first.
    pub fn add_default_path(&self, path: PathBuf) {
        let mut state = self.cache.state();
        if !state.default_paths.contains(&path) {
            let at = state.default_paths.len().min(1);
            state.default_paths.insert(at, path);
        }
    }

    /// Returns the files in which credentials are looked for, for messages.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.named.clone().map_or_else(|| self.cache.state().default_paths.clone(), |named| vec![named])
    }

    /// Reads the file, unless it is unchanged, and checks it against the plugins' schemas of credentials. Returns warnings.
    ///
    /// # Errors
    /// Returns all errors in the file. If it was valid before, the previous values are kept, and the errors are logged
    /// instead.
    pub fn read(&self, schemas: &dyn Schemas) -> Result<Diagnostics, Diagnostics> {
        let path = self.current_path();
        let mut state = self.cache.state();
        let Some(path) = path else {
            // A file that is written later counts from then on.
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
        let errors = match self.cache.store_reading(reading, before) {
            Ok(warnings) => return Ok(warnings),
            Err(errors) => errors,
        };
        let has_old = {
            let state = self.cache.state();
            state.has_real_values && state.current.is_some()
        };
        if !has_old {
            return Err(errors);
        }
        self.cache.warn_keeping_old(&errors);
        Ok(Diagnostics::default())
    }

    /// Checks the file as [`Credentials::read`] does, but runs no command: the outputs of commands stay unknown.
    ///
    /// # Errors
    /// Returns all errors in the file.
    pub fn check(&self, schemas: &dyn Schemas) -> Result<Diagnostics, Diagnostics> {
        let Some(path) = self.current_path().filter(|_| !self.cache.state().has_real_values) else {
            return Ok(Diagnostics::default());
        };
        let (data, warnings) = AuthData::check(&path, schemas).into_result()?;
        self.cache.state().current = Some(Arc::new(data));
        Ok(warnings)
    }

    /// Returns the file that counts now.
    fn current_path(&self) -> Option<PathBuf> {
        self.named.clone().or_else(|| self.cache.state().default_paths.iter().find(|path| path.is_file()).cloned())
    }

    /// Reads the file again if that is due. Concurrent callers wait for the same reading.
    async fn reread_if_due(&self, reason: RereadReason) {
        // Most calls find that the files have just been checked.
        if (reason == RereadReason::Periodic && self.cache.is_recently_checked())
            || !self.cache.is_due(reason, self.current_path())
        {
            return;
        }
        let attempts_before = self.cache.state().read_attempts;
        let guard = tokio::time::timeout(REREAD_TIMEOUT, Arc::clone(&self.read_lock).lock_owned()).await;
        let Ok(guard) = guard else { return };
        // The previous holder of the lock may have read it.
        let unread = |_: &PathBuf| self.cache.state().read_attempts == attempts_before;
        let Some(path) = self.current_path().filter(unread) else { return };
        if reason == RereadReason::Rejected && !self.cache.is_due(reason, Some(path.clone())) {
            return;
        }
        let cache = Arc::clone(&self.cache);
        // Commands block.
        let reading = tokio::task::spawn_blocking(move || {
            cache.reread(&path, reason);
            drop(guard);
        });
        if tokio::time::timeout(REREAD_TIMEOUT, reading).await.is_err() {
            tracing::warn!(
                "reading the credentials takes longer than {REREAD_TIMEOUT:?}; the previous ones are used meanwhile"
            );
        }
    }

    fn select(&self, section: SectionKind, settings: &Value) -> Option<Credential> {
        let current = self.cache.state().current.clone()?;
        current.select(section, settings).ok().flatten()
    }
}

impl CredentialCache {
    /// Locks the state, which is consistent at any time, also after a panic.
    fn state(&self) -> MutexGuard<'_, CacheState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the files were checked less than an interval ago, and no output of a command has expired since.
    fn is_recently_checked(&self) -> bool {
        let (state, now) = (self.state(), Instant::now());
        let has_expired = state.outputs.expires_at().is_some_and(|until| until <= now);
        !has_expired && state.last_check.is_some_and(|checked| now.duration_since(checked) < FILE_CHECK_INTERVAL)
    }

    fn is_due(&self, reason: RereadReason, path: Option<PathBuf>) -> bool {
        let now = Instant::now();
        let passed = |since: Option<Instant>, pause: Duration| since.is_none_or(|at| now.duration_since(at) >= pause);
        let mut state = self.state();
        let Some(path) = path.filter(|_| state.has_real_values) else { return false };
        if reason == RereadReason::Rejected {
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
        let has_expired = state.outputs.expires_at().is_some_and(|until| until <= now);
        if !has_expired && !passed(state.last_check, FILE_CHECK_INTERVAL) {
            return false;
        }
        state.last_check = Some(now);
        let is_same = state.stamps.has_primary_file(&path) && state.stamps == stamp_files(state.stamps.files());
        if is_same && (has_expired || state.last_failure.is_some()) {
            return passed(state.last_failure, FAILED_READ_RETRY_INTERVAL);
        }
        has_expired || !is_same
    }

    fn reread(&self, path: &Path, reason: RereadReason) {
        let (outputs, known, before) = {
            let state = self.state();
            let now = Instant::now();
            let outputs = match reason {
                RereadReason::Periodic => state.outputs.unexpired_at(now),
                RereadReason::Rejected => CommandOutputs::empty_at(now),
            };
            (outputs, state.plugin_schemas.clone(), state.current.clone())
        };
        let stamps = stamp_files([path.to_owned()].iter());
        let reading = AuthData::read(path, outputs, &known);
        if let Err(errors) = self.store_reading(reading, stamps) {
            self.warn_keeping_old(&errors);
        }
        let mut state = self.state();
        let gave_new = state.current != before;
        // Only now: calls that are rejected meanwhile wait for the result of this reading.
        if reason == RereadReason::Rejected {
            state.last_rejection = Some((Instant::now(), gave_new));
        }
        if gave_new {
            tracing::info!("the credentials have changed and were read again");
        }
    }

    /// Stores what was read if it is usable, and returns the warnings; otherwise returns all errors.
    fn store_reading(&self, reading: CredentialsReading, first: FileStamps) -> Result<Diagnostics, Diagnostics> {
        let mut state = self.state();
        state.read_attempts += 1;
        // The stamp of the first file is from before it was read: a later write is noticed.
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

    /// Logs once that the file is not usable, for example while it is half written.
    fn warn_keeping_old(&self, errors: &Diagnostics) {
        let mut state = self.state();
        if state.last_failure.replace(Instant::now()).is_none() {
            let file = state.stamps.files().first().map(|path| path.display().to_string()).unwrap_or_default();
            tracing::warn!("{file} is not usable as it is now; the previous credentials are kept: {errors}");
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

    async fn renew(&self, section: SectionKind, settings: &Value, rejected: &Credential) -> bool {
        let is_other = |now: Option<Credential>| {
            now.is_some_and(|now| (&now.fields, &now.tls) != (&rejected.fields, &rejected.tls))
        };
        // Another call was rejected before, or the file has changed meanwhile.
        if is_other(self.select(section, settings)) {
            return true;
        }
        self.reread_if_due(RereadReason::Rejected).await;
        is_other(self.select(section, settings))
    }
}

#[cfg(test)]
mod tests;
