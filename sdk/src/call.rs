//! The call in progress.

use std::time::Duration;

use crate::{Fault, platform};

/// The call in progress. There is no ambient state: everything about a call comes through here.
pub struct Call(pub(crate) platform::Context);

impl Call {
    /// Time until the host ends this call.
    pub fn remaining(&self) -> Duration {
        Duration::from_millis(self.0.remaining_ms())
    }

    /// Waits for so long. In tests no time passes where the fake host says so.
    pub fn wait(&self, time: Duration) {
        self.0.wait(time);
    }

    /// The user gave up: return soon, with a fault that tells what happened.
    pub fn cancelled(&self) -> bool {
        self.0.cancelled()
    }

    /// Tells the user what is going on, in a few words.
    pub fn progress(&self, phase: &str, detail: Option<&str>) {
        self.0.progress(phase, detail);
    }

    /// Tells the user of something in the section that probably does not do what they want, before anything is made. The pointer
    /// leads into the section; a message that begins with `line N: ` is about that line of the text there.
    pub fn warn(&self, code: &str, message: &str, pointer: &str) {
        self.0.warn(code, message, pointer);
    }

    /// The URL under which the HTTP client reaches an endpoint that the user wrote, such as `unix:///var/run/docker.sock`.
    ///
    /// # Errors
    /// `give-up` when it is no endpoint.
    pub fn url_for(&self, endpoint: &str) -> Result<String, Fault> {
        self.0.url_for(endpoint)
    }
}
