//! `webhooks`: who is told of what happens.

use crate::check;
use crate::diagnostic::{Diagnostic, Diagnostics, suggestion};
use crate::infrastructure::Webhook;
use crate::schema::Schemas;
use crate::yaml::Item;

const KEYS: [&str; 3] = ["url", "name", "events"];

/// Blank means none.
pub(super) fn check(list: &Item, events: &[&str], schemas: &dyn Schemas, problems: &mut Diagnostics) -> Vec<Webhook> {
    if check::is_null(list) {
        return Vec::new();
    }
    let items = check::sequence(list, "`webhooks`", problems).unwrap_or_default();
    items.iter().filter_map(|item| webhook(item, events, schemas, problems)).collect()
}

fn webhook(item: &Item, known: &[&str], schemas: &dyn Schemas, problems: &mut Diagnostics) -> Option<Webhook> {
    let entries = check::mapping(item, "an item of `webhooks`", problems)?;
    check::keys(item, entries, "an item of `webhooks`", &KEYS, &[], problems);
    let name = item.get("name").and_then(|name| check::text(name, "`name`", problems)).map(str::to_owned);
    let url = match item.get("url") {
        Some(at) => Some(url(at, schemas, problems)?),
        None if item.get("name").is_some() => None,
        None => {
            let help = "or a `name`, with the `url` in auth_data.yaml under `webhook`";
            problems.push(check::missing_key("url", "an item of `webhooks`", item).help(help));
            return None;
        }
    };
    Some(Webhook { name, url, events: events(item, known, problems) })
}

fn url(at: &Item, schemas: &dyn Schemas, problems: &mut Diagnostics) -> Option<String> {
    let url = check::text(at, "`url`", problems)?;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    if host.is_none_or(str::is_empty) {
        let problem =
            Diagnostic::error("webhook.url", "the `url` of a webhook must begin with `https://` or `http://`");
        problems.push(problem.at(&at.at, "not such a URL"));
        return None;
    }
    if host.is_some_and(|host| host.contains('@')) {
        let problem = Diagnostic::error("webhook.secret", "a `url` must not contain a password");
        let help = "put it into auth_data.yaml, under `webhook`: descriptions are kept in the store";
        problems.push(problem.at(&at.at, "there is one before the `@`").help(help));
        return None;
    }
    if let Some(why) = schemas.webhook_problem(url) {
        let problem = Diagnostic::error("webhook.url", format!("the `url` of a webhook can't be used: {why}"));
        problems.push(problem.at(&at.at, "nobody can be told here"));
        return None;
    }
    Some(url.to_owned())
}

fn events(item: &Item, known: &[&str], problems: &mut Diagnostics) -> Vec<String> {
    let names = item.get("events").and_then(|list| check::sequence(list, "`events`", problems)).unwrap_or_default();
    let mut events = Vec::new();
    for item in names {
        let Some(name) = check::text(item, "the name of an event", problems) else { continue };
        if !known.is_empty() && !known.contains(&name) {
            let problem = Diagnostic::error("webhook.event", format!("there is no event `{name}`"));
            let help = suggestion(name, known.iter().copied());
            problems.push(problem.at(&item.at, "not the name of an event").help(help));
        }
        events.push(name.to_owned());
    }
    events
}
