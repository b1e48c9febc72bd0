//! Answers of servers in a text: the call of a driver, and the answers that it receives.
//!
//! The first line names the call and its variants. After each line `~` follows an answer: a line with its status (or `lost`,
//! `none`) and its headers, separated by tabs, and the body.
#![allow(dead_code, reason = "not every target needs all of it")]

use std::cell::RefCell;
use std::rc::Rc;

use occopus_sdk::http::{HttpError, HttpErrorKind, Request, Response};
use occopus_sdk::testing::{DriverHarness, FakeHost};
use occopus_sdk::{Fault, Handle, Inventory, Observed, Page, Reaction};
use serde_json::{Value, json};

/// Bytes of a handle, by the contract.
const LONGEST_HANDLE: usize = 4 << 10;

/// An input of the targets for drivers.
pub(crate) struct Input<'a> {
    first: &'a str,
    answers: Vec<&'a [u8]>,
}

/// A request and its answer.
pub(crate) struct Exchange {
    pub(crate) request: Request,
    pub(crate) answer: Response,
}

/// All exchanges of a call.
pub(crate) type Heard = Rc<RefCell<Vec<Exchange>>>;

/// Result of a driver.
pub(crate) enum Said {
    Machine(Observed),
    Machines(Vec<Observed>),
    Nothing,
    Removed,
    Page(Page),
    Failed(Fault),
    /// Texts for people.
    Words,
}

impl<'a> Input<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Self {
        let mut parts = parts(bytes).into_iter();
        let first = parts.next().and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
        Self { first: first.trim(), answers: parts.collect() }
    }

    /// Returns whether the first line has this word.
    pub(crate) fn wants(&self, word: &str) -> bool {
        self.first.split_ascii_whitespace().any(|one| one == word)
    }

    /// Returns a host whose server gives these answers, one after the other, and then none.
    pub(crate) fn host(&self) -> (FakeHost, Heard) {
        let heard = Heard::default();
        let log = Rc::clone(&heard);
        let answers = RefCell::new(self.answers.iter().map(|part| answer(part)).collect::<Vec<_>>().into_iter());
        let host = FakeHost { time_passes: false, repeated: self.wants("again"), ..FakeHost::default() };
        let host = host.http(move |request: &Request| {
            let answer = answers.borrow_mut().next().unwrap_or(Err(HttpErrorKind::NotSent));
            let answer = answer.map_err(|kind| HttpError { kind, message: "no answer".to_owned() })?;
            log.borrow_mut().push(Exchange { request: request.clone(), answer: answer.clone() });
            Ok(answer)
        });
        (host, heard)
    }

    /// Makes the call that the first line names.
    pub(crate) fn call<T: Inventory>(&self, driver: &DriverHarness<T>, handles: &[Handle], instance: &str) -> Said {
        let attributes = json!({"command": "sleep 9", "env": {"A": "1"}});
        let handle = handles.first().cloned().unwrap_or_else(|| Handle::new(1, ""));
        let said = match self.first.split_ascii_whitespace().next().unwrap_or_default() {
            "create" => driver.create(instance, attributes).map(Said::Machine),
            "find" => driver.find(instance).map(|found| found.map_or(Said::Nothing, Said::Machine)),
            "destroy" => driver.destroy(&handle).map(|()| Said::Removed),
            "list" => driver.list_owned(None).map(Said::Page),
            "more" => driver.list_owned(Some("place")).map(Said::Page),
            "tail" => driver.tail(&handle, 20).map(|_| Said::Words),
            "check" => driver.check(attributes).map(|_| Said::Words),
            _ => driver.observe(handles).map(Said::Machines),
        };
        let said = said.unwrap_or_else(Said::Failed);
        self.check(&said, handles);
        said
    }

    /// Asserts the properties of every driver.
    fn check(&self, said: &Said, handles: &[Handle]) {
        match said {
            Said::Machine(machine) => fits(&machine.handle),
            Said::Machines(machines) => {
                assert_eq!(machines.len(), handles.len(), "as many answers as handles");
                machines.iter().for_each(|machine| fits(&machine.handle));
            }
            Said::Page(page) => {
                for machine in &page.machines {
                    fits(&machine.observed.handle);
                }
            }
            Said::Failed(fault) => {
                assert!(!fault.code.is_empty() && !fault.message.trim().is_empty(), "{fault:?}");
                // The host takes it for the machine's absence, which `destroy` must prove.
                let is_absence = fault.reaction == Reaction::NotFound && !self.wants("tail");
                assert!(!is_absence, "absence is said by an answer and not by a fault: {fault:?}");
            }
            Said::Nothing | Said::Removed | Said::Words => {}
        }
    }
}

fn fits(handle: &Handle) {
    assert!(handle.data.len() <= LONGEST_HANDLE, "a handle of {} bytes", handle.data.len());
    assert!(!handle.data.trim().is_empty(), "a handle of nothing");
}

impl Exchange {
    /// Returns whether the method is this one and the path, without query, ends so.
    pub(crate) fn asked(&self, method: &str, path: &str) -> bool {
        let url = self.request.url.split('?').next().unwrap_or_default();
        self.request.method == method && url.ends_with(path)
    }

    pub(crate) fn is_success(&self) -> bool {
        self.answer.is_success()
    }

    /// Returns the body as JSON, read as drivers read it; null if it is not JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.answer.body).into_owned()
    }
}

/// Returns whether this text is one of the texts in a value, at any depth.
pub(crate) fn has_text(value: &Value, text: &str) -> bool {
    match value {
        Value::String(own) => own == text,
        Value::Array(items) => items.iter().any(|item| has_text(item, text)),
        Value::Object(fields) => fields.values().any(|field| has_text(field, text)),
        _ => false,
    }
}

/// Returns the pieces between lines `~`.
fn parts(bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(3).position(|window| window == b"\n~\n") {
        parts.push(&rest[..at]);
        rest = &rest[at + 3..];
    }
    parts.push(rest);
    parts
}

fn answer(part: &[u8]) -> Result<Response, HttpErrorKind> {
    let end = part.iter().position(|byte| *byte == b'\n').unwrap_or(part.len());
    let head = String::from_utf8_lossy(&part[..end]);
    let mut fields = head.split('\t');
    let status = match fields.next().unwrap_or_default().trim() {
        "lost" => return Err(HttpErrorKind::MaybeSent),
        "none" => return Err(HttpErrorKind::NotSent),
        status => status.parse().unwrap_or(200),
    };
    let header = |field: &str| field.split_once(':').map(|(a, b)| (a.trim().to_owned(), b.trim().to_owned()));
    let body = part.get(end + 1..).unwrap_or_default().to_vec();
    Ok(Response { status, headers: fields.filter_map(header).collect(), body })
}
