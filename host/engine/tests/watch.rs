//! Typed changes of infrastructures: what a reader sees of each kind, and from where it resumes.

use std::time::Duration;

use futures::StreamExt as _;
use occopus_engine::ports::{Store as _, Transaction, Write};
use occopus_engine::testing::{Fakes, infrastructure, node};
use occopus_engine::{ChangeKind, InfrastructureChange, Position, Presence, RecordError, Scale};
use occopus_model::Infrastructure;

fn graph() -> Infrastructure {
    let mut web = node("web", 2, &["db"]);
    web.scaling.max = 5;
    infrastructure(vec![node("db", 1, &[]), web])
}

/// Returns all changes after a position until there are no more.
async fn changes_after(fakes: &Fakes, position: Position) -> Vec<InfrastructureChange> {
    let mut stream = fakes.engine.watch(position).await.expect("watched");
    let mut changes = Vec::new();
    // With time paused, this timeout ends when nothing else is left to do.
    while let Ok(change) = tokio::time::timeout(Duration::from_millis(1), stream.next()).await {
        changes.push(change.expect("no end").expect("a change"));
    }
    changes
}

/// Runs what has changes of every kind, and returns the changes that a reader sees of each step.
async fn changes_of_each_step(fakes: &Fakes) -> Vec<Vec<InfrastructureChange>> {
    let mut steps = Vec::new();
    for step in 0..7 {
        let position = fakes.engine.newest_position().await.expect("a position");
        match step {
            0 => drop(fakes.build(&graph()).await.expect("built")),
            1 => drop(fakes.engine.scale(&fakes.id, "web", Scale::To(3)).await.expect("recorded")),
            2 => drop(fakes.maintain().await.expect("a pass")),
            3 => fakes.engine.suspend(&fakes.id).await.expect("suspended"),
            4 => fakes.engine.resume(&fakes.id).await.expect("resumed"),
            5 => fakes.engine.set_cursor(&fakes.id, "reader", 1).await.expect("saved"),
            _ => drop(fakes.destroy().await.expect("destroyed")),
        }
        let changes = changes_after(fakes, position).await;
        assert!(changes.iter().all(|change| change.id == "test"), "{changes:?}");
        steps.push(changes);
    }
    steps
}

#[tokio::test(start_paused = true)]
async fn a_change_of_every_kind_is_seen() {
    let fakes = Fakes::new();
    let steps = changes_of_each_step(&fakes).await;
    let has = |step: usize, kind: ChangeKind| steps[step].iter().any(|change| change.kind == kind);
    let instances = |step: usize, expected: Presence| {
        let of = |change: &InfrastructureChange| match &change.kind {
            ChangeKind::Instance { instance, presence } if *presence == expected => Some(instance.clone()),
            _ => None,
        };
        steps[step].iter().filter_map(of).collect::<Vec<_>>()
    };
    assert!(has(0, ChangeKind::Infrastructure(Presence::Written)));
    // The build has ended: its last change is the end of its lease.
    assert!(has(0, ChangeKind::Owner(Presence::Removed)));
    assert_eq!(instances(0, Presence::Written).len(), 3);
    assert!(has(1, ChangeKind::Request(Presence::Written)) && steps[1].len() == 1, "{:?}", steps[1]);
    assert!(has(2, ChangeKind::Request(Presence::Removed)) && has(2, ChangeKind::Other));
    assert_eq!(instances(2, Presence::Written).len(), 1, "the new one");
    assert!(has(3, ChangeKind::Suspension(Presence::Written)), "{:?}", steps[3]);
    assert!(has(4, ChangeKind::Suspension(Presence::Removed)), "{:?}", steps[4]);
    assert!(matches!(&steps[5][..], [InfrastructureChange { kind: ChangeKind::Other, .. }]), "{:?}", steps[5]);
    assert!(has(6, ChangeKind::Infrastructure(Presence::Removed)));
    assert_eq!(instances(6, Presence::Removed).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_reader_resumes_after_each_change_and_misses_and_repeats_nothing() {
    let fakes = Fakes::new();
    changes_of_each_step(&fakes).await;
    fakes.build(&graph()).await.expect("built again");
    fakes.engine.suspend(&fakes.id).await.expect("suspended");
    fakes.engine.scale(&fakes.id, "web", Scale::To(4)).await.expect("recorded");
    let all = changes_after(&fakes, Position::after(0)).await;
    assert!(all.len() > 40, "{}", all.len());
    for (index, change) in all.iter().enumerate() {
        assert_eq!(changes_after(&fakes, change.position.clone()).await, all[index + 1..], "after {change:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_reconnects_after_each_change_sees_each_event_once_and_in_order() {
    let fakes = Fakes::new();
    let start = fakes.engine.newest_position().await.expect("a position");
    let reading = tokio::spawn({
        let (fakes, mut position) = (fakes.clone(), start);
        async move {
            let (mut events, mut ready) = (Vec::new(), 0);
            while ready < 2 {
                let change = fakes.engine.watch(position).await.expect("watched").next().await;
                let change = change.expect("no end").expect("a change");
                if let ChangeKind::Event(event) = change.kind {
                    ready += usize::from(matches!(event.kind, occopus_engine::EventKind::InfraReady));
                    events.push(*event);
                }
                position = change.position;
            }
            events
        }
    });
    fakes.build(&graph()).await.expect("built");
    fakes.build(&infrastructure(vec![node("db", 1, &[])])).await.expect("changed");
    let seen = reading.await.expect("both builds");
    let stored = fakes.events().await.expect("events");
    assert_eq!(seen[..], stored[..seen.len()]);
    assert!(seen.len() > 15, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_newer_version_is_an_error_that_says_so() {
    let fakes = Fakes::new();
    let position = fakes.engine.newest_position().await.expect("a position");
    let (key, value) = ("infra/test/event/00000000000000000007".to_owned(), br#"{"v": 2}"#.to_vec());
    let writes = vec![Write::Put { key, value, lease: None }];
    fakes.store.commit(Transaction { compares: Vec::new(), writes }).await.expect("written");
    let [InfrastructureChange { kind: ChangeKind::UnreadableEvent(error), .. }] =
        &changes_after(&fakes, position).await[..]
    else {
        panic!("one change")
    };
    assert!(matches!(error, RecordError::Newer { found: 2, known: 1, .. }), "{error}");
    assert_eq!(fakes.engine.unreadable_events(&fakes.id).await.expect("read"), std::slice::from_ref(error));
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_event_withholds_no_other_and_no_rollback() {
    let fakes = Fakes::new();
    fakes.build(&graph()).await.expect("built");
    let events = fakes.events().await.expect("events");
    let number = events[2].id.expect("stored");
    let (key, value) = (format!("infra/test/event/{number:020}"), br#"{"v": 2}"#.to_vec());
    let writes = vec![Write::Put { key, value, lease: None }];
    fakes.store.commit(Transaction { compares: Vec::new(), writes }).await.expect("written");
    assert_eq!(fakes.events().await.expect("the others"), [&events[..2], &events[3..]].concat());
    // A page is full as long as there are more.
    let page = fakes.engine.events(&fakes.id, events[0].id.expect("stored"), 2).await.expect("a page");
    assert_eq!(page, [events[1].clone(), events[3].clone()]);
    assert!(fakes.destroy().await.expect("destroyed").left.is_empty());
}
