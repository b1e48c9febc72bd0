//! `GET /infrastructures/ID` with 100 nodes, beside a constant body of that size.

use std::time::Duration;

use super::child::{Child, Setup};
use super::client::{ask, description};
use super::wrk::{self, Rate};
use crate::measure::{median_of_numbers, ratio};

const PATH: &str = "/infrastructures/hundred";
const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(2);

pub(crate) fn run() {
    if !wrk::is_there() {
        println!("  skipped the requests: there is no `wrk` (Debian: apt install wrk)");
        return;
    }
    for closed in [false, true] {
        let child = Child::start(Setup { closed, ..Setup::default() });
        child.build("hundred", &description(10, 10));
        let answer = child.ask("GET", PATH, "");
        assert_eq!(answer.json().as_object().map(serde_json::Map::len), Some(100));
        println!(
            " GET with 100 nodes ({} bytes), {} a token",
            answer.body.len(),
            if closed { "with" } else { "without" }
        );
        assert_eq!(ask(child.addresses.bare, None, "PUT", PATH, &answer.body).status, 200);
        let tag = answer.header("etag").expect("a tag").to_owned();
        compare(&child, &tag);
    }
    while_it_builds();
}

/// Every change makes another response.
fn while_it_builds() {
    let slow = Setup { create: Duration::from_secs(1), boot: Duration::from_millis(500), closed: false };
    let description = description(10, 100);
    let alone = Child::start(slow).build("hundred", &description);
    let child = Child::start(slow);
    let building = child.begin("hundred", &description);
    let rate = wrk::run(child.addresses.service, PATH, &[], Duration::from_secs(10));
    let built = building.end(&child);
    println!(" GET while 1,000 nodes build, 16 at a time without a pause");
    let (median, p99) = (rate.median.as_secs_f64() * 1e3, rate.p99.as_secs_f64() * 1e3);
    println!("  {:<58} {:>12.0} /s   median {median:.2} ms, p99 {p99:.2} ms", "requests", rate.requests);
    ratio("the build, without requests for it", built, alone, 1.25);
}

fn compare(child: &Child, tag: &str) {
    let token: Vec<_> = child.addresses.token.iter().map(|token| format!("Authorization: Bearer {token}")).collect();
    let tagged: Vec<_> = token.iter().cloned().chain([format!("If-None-Match: {tag}")]).collect();
    let at = &child.addresses;
    let measured = [
        ("a constant body, bare server", at.bare, &token),
        ("a constant body behind the same layers and guard", at.guarded, &token),
        ("the service", at.service, &token),
        ("the service, If-None-Match: 304", at.service, &tagged),
    ];
    // Alternating, so that other load of the machine is shared among them.
    let mut rates = measured.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, address, headers), rates) in measured.iter().zip(&mut rates) {
            rates.push(wrk::run(*address, PATH, headers, TIME));
        }
    }
    for ((what, ..), rates) in measured.iter().zip(&rates) {
        let requests = median_of_numbers(rates.iter().map(|rate| rate.requests));
        let milliseconds =
            |of: fn(&Rate) -> Duration| median_of_numbers(rates.iter().map(|rate| of(rate).as_secs_f64() * 1e3));
        let (median, p99) = (milliseconds(|rate| rate.median), milliseconds(|rate| rate.p99));
        println!("  {what:<58} {requests:>12.0} /s   median {median:.2} ms, p99 {p99:.2} ms");
    }
    let [bare, guarded, service, tagged] = &rates;
    for (what, ours, theirs) in [
        ("of the constant body behind the same", service, guarded),
        ("of the constant body on a bare server", service, bare),
        ("304, of the constant body behind the same", tagged, guarded),
    ] {
        let pairs = || ours.iter().zip(theirs);
        let requests: Vec<_> = pairs().map(|(ours, theirs)| ours.requests / theirs.requests).collect();
        let p99 = median_of_numbers(pairs().map(|(ours, theirs)| ours.p99.as_secs_f64() / theirs.p99.as_secs_f64()));
        let least = requests.iter().copied().fold(f64::INFINITY, f64::min);
        println!(
            "  {what:<58} {:>12.2}    (least {least:.2}, aim 0.5); p99 {p99:.2} times (aim 3)",
            median_of_numbers(requests.iter().copied())
        );
    }
}
