//! Client of one EC2 endpoint: signed calls, and answers as XML
//! (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html>).

use std::cell::{Cell, RefCell};

use jiff::Timestamp;
use occopus_sdk::http::{HttpError, Response, encoded};
use occopus_sdk::{Credential, Fault, Scope};
use roxmltree::Document;

use crate::refusal::{self, Refusal};
use crate::section::Section;
use crate::sign::sign;

const API_VERSION: &str = "2016-11-15";

/// Possible effect of a call whose answer is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Effect excluded: the call only reads, or may be repeated.
    None,
    /// Effect possible: the cloud may have acted.
    Possible,
}

/// An EC2 endpoint with a credential.
pub(crate) struct Api<'a> {
    pub(crate) section: &'a Section,
    pub(crate) scope: &'a Scope<Section>,
    credential: &'a Credential,
    url: String,
    /// Time of the last answer, by the cloud's clock.
    time: Cell<Option<Timestamp>>,
    /// Account that owns the machines that were listed.
    account: RefCell<Option<String>>,
}

/// Parameters of a call, in order.
pub(crate) struct Form(String);

impl Form {
    pub(crate) fn new(action: &str) -> Self {
        Self(format!("Action={action}&Version={API_VERSION}"))
    }

    pub(crate) fn add(mut self, name: &str, value: &str) -> Self {
        self.push(name, value);
        self
    }

    pub(crate) fn push(&mut self, name: &str, value: &str) {
        self.0.push('&');
        self.0.push_str(&encoded(name));
        self.0.push('=');
        self.0.push_str(&encoded(value));
    }

    /// Adds the filter with this number, counted from 1.
    pub(crate) fn filter<'t>(mut self, number: usize, name: &str, values: impl IntoIterator<Item = &'t str>) -> Self {
        self.push(&format!("Filter.{number}.Name"), name);
        for (index, value) in values.into_iter().enumerate() {
            self.push(&format!("Filter.{number}.Value.{}", index + 1), value);
        }
        self
    }
}

impl<'a> Api<'a> {
    pub(crate) fn new(scope: &'a Scope<Section>) -> Result<Self, Fault> {
        let section = &scope.section;
        let url = scope.call().url_for(&section.endpoint).map_err(|fault| {
            fault.at("/endpoint", "write the URL of the EC2 API, such as https://ec2.eu-west-1.amazonaws.com")
        })?;
        let credential = scope.credential().ok_or_else(|| {
            Fault::denied("ec2.no-credential", format!("there are no credentials for {}", section.endpoint))
                .detail("Add a rule for it to auth_data.yaml, with `accesskey` and `secretkey`.")
        })?;
        let url = format!("{}/", url.trim_end_matches('/'));
        Ok(Self { section, scope, credential, url, time: Cell::default(), account: RefCell::default() })
    }

    /// Returns the time of the last answer, by the cloud's clock; none if it had none.
    pub(crate) fn cloud_time(&self) -> Option<Timestamp> {
        self.time.get()
    }

    /// Returns the account that answers in this call, as far as it is known.
    pub(crate) fn known_account(&self) -> Option<String> {
        self.account.borrow().clone()
    }

    pub(crate) fn remember_account(&self, account: Option<&String>) {
        if let Some(account) = account {
            self.account.replace(Some(account.clone()));
        }
    }

    /// Sends a call, and reads the document that answers it.
    pub(crate) fn call<T>(
        &self,
        effect: Effect,
        form: Form,
        read: impl FnOnce(&Document) -> Option<T>,
    ) -> Result<T, Fault> {
        let request = self.scope.http().post(&self.url).body(form.0);
        let request = sign(request, self.credential, self.section.signing_region())?;
        let response = request.send().map_err(|error| self.connection_fault(effect, error))?;
        self.time.set(refusal::answer_time(&response));
        let text = response.text();
        let document = Document::parse(&text).ok();
        if response.is_success() {
            return document.as_ref().and_then(read).ok_or_else(|| self.unreadable_fault(effect, &response));
        }
        let refusal = document.as_ref().and_then(Refusal::read);
        Err(refusal::fault(&self.section.endpoint, effect, &response, refusal))
    }

    fn connection_fault(&self, effect: Effect, error: HttpError) -> Fault {
        let mut fault = match effect {
            Effect::None => error.of_reading("ec2.unreachable"),
            Effect::Possible => error.of_change("ec2.unreachable"),
        };
        fault.message = format!("no answer from the EC2 API at {}: {}", self.section.endpoint, fault.message);
        fault.at("/endpoint", "is this where the API listens?")
    }

    /// Returns the fault for a success whose content was cut off, or that comes from something else.
    fn unreadable_fault(&self, effect: Effect, response: &Response) -> Fault {
        let endpoint = &self.section.endpoint;
        let start: String = response.text().trim().chars().take(200).collect();
        let is_xml = start.starts_with("<?xml") || start.contains("Response");
        if effect == Effect::Possible {
            let message = format!("the answer of the EC2 API at {endpoint} can't be read: {start}");
            return Fault::unknown_outcome("ec2.bad-answer", message);
        }
        if is_xml {
            return Fault::retry("ec2.bad-answer", format!("the answer of the EC2 API at {endpoint} is cut off"));
        }
        // Something else answers in place of the API, perhaps for a while, and proves nothing about machines.
        Fault::retry("ec2.not-ec2", format!("the server at {endpoint} does not answer like an EC2 API"))
            .at("/endpoint", format!("it answered: {start}"))
    }
}
