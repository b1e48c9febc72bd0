//! The call in progress.

use std::time::Duration;

use crate::{Fault, platform};

/// The call in progress. There is no ambient state: everything about a call comes through here.
pub struct Call(pub(crate) platform::Context);

impl Call {
    /// Returns the time until the host ends this call.
    pub fn remaining(&self) -> Duration {
        Duration::from_millis(self.0.remaining_ms())
    }

    /// Waits for a time. In tests it returns at once if `time_passes` of the fake host is not set.
    pub fn wait(&self, time: Duration) {
        self.0.wait(time);
    }

    /// Returns true if the user cancelled the call. The plugin returns soon then, with a fault that says what happened.
    pub fn cancelled(&self) -> bool {
        self.0.cancelled()
    }

    /// Reports progress to the user, in a few words.
    pub fn progress(&self, phase: &str, detail: Option<&str>) {
        self.0.progress(phase, detail);
    }

    /// Warns the user of something in the section that probably does not do what they want, before anything is made.
    /// The pointer leads into the section; a message that begins with `line N: ` is about that line of the text there.
    pub fn warn(&self, code: &str, message: &str, pointer: &str) {
        self.0.warn(code, message, pointer);
    }

    /// Returns the URL under which the HTTP client reaches an endpoint that the user wrote, such as
    /// `unix:///var/run/docker.sock`.
    ///
    /// # Errors
    /// `give-up` if it is not an endpoint.
    pub fn url_for(&self, endpoint: &str) -> Result<String, Fault> {
        self.0.url_for(endpoint)
    }
}
