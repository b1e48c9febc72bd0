//! Lists in pages (`{"value": [...], "nextLink"?: URL}`).

use std::collections::BTreeSet;

use occopus_sdk::Fault;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::client::{Arm, Call, Effect, is_azures};
use crate::link;

/// Pages of one list.
const MAX_PAGES: usize = 10_000;

/// Page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage<T> {
    /// Items in Azure's order.
    pub items: Vec<T>,
    /// Path and query of the next page ([`Call::follow`]); none on the last.
    pub next: Option<String>,
}

#[derive(Deserialize)]
struct Answer<T> {
    value: Vec<T>,
    #[serde(default, rename = "nextLink")]
    next_link: Option<String>,
}

impl Arm<'_> {
    /// Reads one page.
    ///
    /// # Errors
    /// `retry` if the answer is not a list of Azure's, or if its next page is on another host.
    pub fn page<T: DeserializeOwned>(&self, call: &Call) -> Result<ListPage<T>, Fault> {
        let response = self.send(call)?;
        // An empty list of a gateway would be an inventory without machines.
        if !is_azures(&response) {
            return Err(self.unreadable(Effect::None, "nothing in it shows that Azure sent it"));
        }
        let answer: Answer<T> = response.json().map_err(|error| self.unreadable(Effect::None, &error.to_string()))?;
        let next = match answer.next_link.as_deref().map(str::trim).filter(|next| !next.is_empty()) {
            None => None,
            Some(next) => Some(self.own_link(next)?.to_owned()),
        };
        Ok(ListPage { items: answer.value, next })
    }

    /// Reads all pages.
    ///
    /// # Errors
    /// As [`Arm::page`]; `retry` also if pages repeat: the list would be incomplete.
    pub fn list<T: DeserializeOwned>(&self, call: &Call) -> Result<Vec<T>, Fault> {
        let mut all = Vec::new();
        let mut seen = BTreeSet::new();
        let mut page = self.page(call)?;
        loop {
            all.append(&mut page.items);
            let Some(next) = page.next else { return Ok(all) };
            if seen.len() >= MAX_PAGES || !seen.insert(next.clone()) {
                let message = format!("Azure at {} repeats a page of a list, which is not complete", self.endpoint());
                return Err(Fault::retry("azure.repeating-page", message));
            }
            page = self.page(&Call::follow(&next))?;
        }
    }

    /// Returns path and query of a link that Azure gave.
    ///
    /// # Errors
    /// `retry` if it leads to another host: the token is not sent there.
    pub(crate) fn own_link<'l>(&self, url: &'l str) -> Result<&'l str, Fault> {
        link::on_same_host(&self.cloud().management, url).ok_or_else(|| {
            let host = link::origin(url).map_or_else(|| "what is not a URL".to_owned(), |origin| origin.host);
            let message = format!(
                "Azure at {} names {host} for the rest of its answer; the token is not sent there",
                self.endpoint()
            );
            Fault::retry("azure.foreign-link", message)
        })
    }
}
