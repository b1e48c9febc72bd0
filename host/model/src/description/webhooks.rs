//! `webhooks`: receivers of events.

use crate::check;
use crate::diagnostic::{Diagnostic, Diagnostics, suggestion};
use crate::infrastructure::Webhook;
use crate::schema::Schemas;
use crate::yaml::Item;

const KEYS: [&str; 3] = ["url", "name", "events"];

/// Returns the webhooks of a list; empty for a blank one.
pub(super) fn check(
    list: &Item,
    events: &[&str],
    schemas: &dyn Schemas,
    diagnostics: &mut Diagnostics,
) -> Vec<Webhook> {
    if check::is_null(list) {
        return Vec::new();
    }
    let items = check::sequence(list, "`webhooks`", diagnostics).unwrap_or_default();
    items.iter().filter_map(|item| webhook(item, events, schemas, diagnostics)).collect()
}

fn webhook(item: &Item, known: &[&str], schemas: &dyn Schemas, diagnostics: &mut Diagnostics) -> Option<Webhook> {
    let entries = check::mapping(item, "an item of `webhooks`", diagnostics)?;
    check::keys(item, entries, "an item of `webhooks`", &KEYS, &[], diagnostics);
    let name = item.get("name").and_then(|name| check::text(name, "`name`", diagnostics)).map(str::to_owned);
    let url = match item.get("url") {
        Some(at) => Some(url(at, schemas, diagnostics)?),
        None if item.get("name").is_some() => None,
        None => {
            let help = "or a `name`, with the `url` in auth_data.yaml under `webhook`";
            diagnostics.push(check::missing_key("url", "an item of `webhooks`", item).help(help));
            return None;
        }
    };
    Some(Webhook { name, url, events: events(item, known, diagnostics) })
}

fn url(at: &Item, schemas: &dyn Schemas, diagnostics: &mut Diagnostics) -> Option<String> {
    let url = check::text(at, "`url`", diagnostics)?;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    if host.is_none_or(str::is_empty) {
        let diagnostic =
            Diagnostic::error("webhook.url", "the `url` of a webhook must begin with `https://` or `http://`");
        diagnostics.push(diagnostic.at(&at.at, "not such a URL"));
        return None;
    }
    if host.is_some_and(|host| host.contains('@')) {
        let diagnostic = Diagnostic::error("webhook.secret", "a `url` must not contain a password");
        let help = "put it into auth_data.yaml, under `webhook`: descriptions are kept in the store";
        diagnostics.push(diagnostic.at(&at.at, "there is one before the `@`").help(help));
        return None;
    }
    if let Some(why) = schemas.webhook_problem(url) {
        let diagnostic = Diagnostic::error("webhook.url", format!("the `url` of a webhook can't be used: {why}"));
        diagnostics.push(diagnostic.at(&at.at, "no event can be sent here"));
        return None;
    }
    Some(url.to_owned())
}

fn events(item: &Item, known: &[&str], diagnostics: &mut Diagnostics) -> Vec<String> {
    let names = item.get("events").and_then(|list| check::sequence(list, "`events`", diagnostics)).unwrap_or_default();
    let mut events = Vec::new();
    for item in names {
        let Some(name) = check::text(item, "the name of an event", diagnostics) else { continue };
        if !known.is_empty() && !known.contains(&name) {
            let diagnostic = Diagnostic::error("webhook.event", format!("there is no event `{name}`"));
            let help = suggestion(name, known.iter().copied());
            diagnostics.push(diagnostic.at(&item.at, "not the name of an event").help(help));
        }
        events.push(name.to_owned());
    }
    events
}
