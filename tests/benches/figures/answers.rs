//! The search of answers for secrets, beside reading the same answer as JSON, which every driver does with it.

use occopus_runtime::AnswerSearch;
use serde_json::{Value, json};

use crate::measure::{line, median, ratio};

/// Size of the pieces, as they come from a connection.
const CHUNK_BYTES: usize = 16 << 10;
/// Size of the answer, as for about a thousand machines.
const ANSWER_BYTES: usize = 1 << 20;

/// Returns an answer of a cloud: labels, addresses, and here and there an escape.
fn answer() -> Vec<u8> {
    let machine = |number: usize| {
        json!({
            "id": format!("0b0e6b3c-0000-4000-8000-{number:012}"),
            "name": format!("occopus-infra-worker-{number}"),
            "address": format!("10.0.{}.{}", number / 256 % 256, number % 256),
            "links": [format!("https://compute.example.com/v2.1/servers/{number}?a=b%20c")],
            "metadata": {"occopus.instance": number.to_string(), "note": "said \"so\"\n"},
        })
    };
    let size = machine(1000).to_string().len();
    Value::from((0..ANSWER_BYTES / size).map(machine).collect::<Vec<_>>()).to_string().into_bytes()
}

pub(crate) fn run() {
    let answer = answer();
    let parsed = median(21, || drop(serde_json::from_slice::<Value>(&answer).expect("JSON")));
    line("an answer of 1 MiB: read as JSON", parsed);
    let key = format!(
        "-----BEGIN KEY-----\n{}-----END KEY-----\n",
        "MIIEpAIBAAKCAQEAx0a9Zq3vPdE7sWmYfT1uLr5nCk8jHb2gXo4iQ6tRvNyKzJwB\n".repeat(25)
    );
    for (what, value, aim) in [("a password", "correct-horse-battery-staple", 2.0), ("a key in PEM", key.as_str(), 8.0)]
    {
        let search = AnswerSearch::new(value).expect("long enough");
        let searched = median(21, || assert_eq!(search.read(&answer, CHUNK_BYTES).len(), answer.len()));
        line(&format!("the same: searched for {what}"), searched);
        ratio("ratio", searched, parsed, aim);
        let made = median(21, || drop(AnswerSearch::new(value)));
        line("once for a call with an answer: the forms of the value", made);
    }
}
