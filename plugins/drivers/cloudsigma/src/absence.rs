//! Judgement of servers that CloudSigma does not know. It says the same of a server that is gone, and of one of another
//! account or location.

use occopus_sdk::Fault;

use crate::cloud::Cloud;
use crate::handle::{Reference, value};

impl Cloud<'_> {
    /// Checks that this is the account and the location that the server was made in, so that the server is gone if
    /// CloudSigma says that there is no such server.
    ///
    /// # Errors
    /// `denied` if it may exist all the same.
    pub(crate) fn require_same_account(&self, server: &Reference) -> Result<(), Fault> {
        let (endpoint, id) = (&self.section.endpoint, &server.server);
        let here = value(self.location());
        if server.location != here {
            let made = server.location.as_deref().unwrap_or("another place");
            let message = format!("the server {id} was made at {made}, and requests go to {endpoint}");
            return Err(Fault::denied("cloudsigma.other-location", message)
                .at("/endpoint", "write the URL of the location of the server"));
        }
        let account = self.account()?.id;
        if server.account != value(&account) {
            let made = server.account.as_deref().unwrap_or("an account that is not known");
            let message = format!("the account at {endpoint} is {account}, and the server {id} was made in {made}");
            return Err(Fault::denied("cloudsigma.other-account", message)
                .detail("Are the e-mail address and the password in auth_data.yaml those of that account?"));
        }
        Ok(())
    }
}
