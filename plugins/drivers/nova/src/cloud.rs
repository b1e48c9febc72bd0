//! Calls of one cloud's services, with a token.

use std::cell::RefCell;

use occopus_sdk::http::{HttpError, Response};
use occopus_sdk::{Fault, Reaction, Scope};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::catalogue::Service;
use crate::handle::Tenancy;
use crate::refusal;
use crate::section::Section;
use crate::session::{NOT_KEYSTONE_CODE, Session};

/// Possible effect of a call whose answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Effect excluded: the call only reads, or may be repeated.
    None,
    /// Effect possible: the cloud may have acted.
    Possible,
}

/// A cloud, after the login.
pub(crate) struct Cloud<'a> {
    pub(crate) section: &'a Section,
    pub(crate) scope: &'a Scope<Section>,
    session: RefCell<Session>,
    /// Set if the token was obtained in this call.
    is_token_fresh: RefCell<bool>,
}

/// A request to a service, below its URL.
pub(crate) struct ServiceRequest<'t> {
    pub(crate) service: Service,
    pub(crate) effect: Effect,
    pub(crate) method: &'static str,
    pub(crate) path: &'t str,
    pub(crate) query: &'t [(&'t str, &'t str)],
    pub(crate) body: Option<&'t Value>,
    pub(crate) headers: &'t [(&'t str, String)],
}

impl<'t> ServiceRequest<'t> {
    pub(crate) fn new(service: Service, method: &'static str, path: &'t str) -> Self {
        Self { service, effect: Effect::None, method, path, query: &[], body: None, headers: &[] }
    }
}

impl<'a> Cloud<'a> {
    pub(crate) fn new(scope: &'a Scope<Section>) -> Result<Self, Fault> {
        let kept = Session::cached(scope);
        let fresh = kept.is_none();
        let session = kept.map_or_else(|| Session::log_in(scope), Ok)?;
        Ok(Self { section: &scope.section, scope, session: RefCell::new(session), is_token_fresh: RefCell::new(fresh) })
    }

    /// Logs in as [`Cloud::new`] does, for servers that may exist: something that answers in the place of Keystone may
    /// go away again.
    pub(crate) fn for_existing_servers(scope: &'a Scope<Section>) -> Result<Self, Fault> {
        Self::new(scope).map_err(|fault| match fault.code.as_str() {
            NOT_KEYSTONE_CODE => Fault { reaction: Reaction::Retry, ..fault },
            _ => fault,
        })
    }

    /// Sends a request; returns the answer if it is a success. Logs in again if a token of an earlier call was revoked.
    pub(crate) fn send(&self, call: &ServiceRequest) -> Result<Response, Fault> {
        let response = self.attempt(call)?;
        // The token of an earlier call may have been revoked. Nothing was done, so it may be done again.
        let response = if response.status == 401 && !self.is_token_fresh.replace(true) {
            let session = Session::log_in(self.scope)?;
            self.session.replace(session);
            self.attempt(call)?
        } else {
            response
        };
        if response.is_success() {
            return Ok(response);
        }
        Err(refusal::fault(&self.section.endpoint, call.service, call.effect, &response))
    }

    /// Sends a request, and reads the content of the answer.
    pub(crate) fn read<T: DeserializeOwned>(&self, call: &ServiceRequest) -> Result<T, Fault> {
        let response = self.send(call)?;
        response.json().map_err(|error| self.unreadable_fault(call, &error.to_string()))
    }

    /// Sends a deletion; false if the service says that it does not exist.
    pub(crate) fn remove(&self, service: Service, path: &str) -> Result<bool, Fault> {
        let call = ServiceRequest::new(service, "DELETE", path);
        match self.send(&call) {
            Err(fault) if fault.reaction == Reaction::NotFound => Ok(false),
            Err(fault) => Err(fault),
            Ok(response) if response.status == 204 || response.body.is_empty() => Ok(true),
            // A page of something in between, which has deleted nothing.
            Ok(_) => Err(self.unreadable_fault(&call, "there should be nothing in it")),
        }
    }

    /// Returns the part of the cloud that the token opens.
    pub(crate) fn tenancy(&self) -> Tenancy {
        self.session.borrow().tenancy()
    }

    pub(crate) fn unreadable_fault(&self, call: &ServiceRequest, why: &str) -> Fault {
        let (kind, endpoint) = (call.service.kind(), &self.section.endpoint);
        let message = format!("{kind} of the cloud at {endpoint} sent an answer that can't be read: {why}");
        match call.effect {
            Effect::None => Fault::retry("nova.bad-answer", message),
            Effect::Possible => Fault::unknown_outcome("nova.bad-answer", message),
        }
    }

    fn attempt(&self, call: &ServiceRequest) -> Result<Response, Fault> {
        let session = self.session.borrow();
        let url = format!("{}{}", session.url(call.service, self.section)?, call.path);
        let mut request = self.scope.http().request(call.method, url).header("x-auth-token", &session.token);
        request = request.header("accept", "application/json");
        for (name, value) in call.query {
            request = request.query(name, value);
        }
        for (name, value) in call.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = call.body {
            request = request.json(body);
        }
        let host = request.url.split('/').nth(2).unwrap_or_default().to_owned();
        request.send().map_err(|error| self.connection_fault(call, &host, error))
    }

    fn connection_fault(&self, call: &ServiceRequest, host: &str, error: HttpError) -> Fault {
        let mut fault = match call.effect {
            Effect::None => error.of_reading("nova.unreachable"),
            Effect::Possible => error.of_change("nova.unreachable"),
        };
        let kind = call.service.kind();
        fault.message = format!(
            "no answer from {kind} of the cloud at {}, which is at {host}: {}",
            self.section.endpoint, fault.message
        );
        fault
    }
}
