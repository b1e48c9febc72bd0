//! Subscribers and readers of lists, when the store has something that can't be read.

use futures::stream;
use occopus_engine::testing::{Fakes, id, infrastructure, node};
use tokio::time::timeout;

use super::*;

struct NoObserver;

impl FeedObserver for NoObserver {
    fn event_stored(&self, _: &str) {}
    fn request_stored(&self, _: &InfrastructureId) {}
}

#[tokio::test(start_paused = true)]
async fn an_event_of_another_version_stops_no_stream() {
    let fakes = Fakes::new();
    fakes.build(&infrastructure(vec![node("db", 1, &[])])).await.unwrap();
    let last = fakes.events().await.unwrap().last().unwrap().id.unwrap();
    let feed = Feed::new(fakes.engine.clone(), Arc::new(NoObserver));
    feed.start().await.unwrap();
    let mut frames = Box::pin(subscribe(feed.clone(), fakes.id.clone(), last));
    let mut next_event = async || loop {
        // Shorter than the interval of the comments that keep the connection alive.
        let frame = timeout(Duration::from_secs(5), frames.next()).await.ok()??.unwrap();
        let frame = String::from_utf8(frame.to_vec()).unwrap();
        if frame.starts_with("id: ") {
            return Some(frame);
        }
    };
    let event = |number: u64, rest: &str| {
        format!(r#"{{"v":1,"id":{number},"time":"2026-01-01T00:00:00Z","infra_id":"test",{rest}}}"#)
    };
    assert_eq!(next_event().await, None, "there is no new one");
    fakes.store_event(last + 1, &event(last + 1, r#""event":"node-moved","rack":3"#)).await.unwrap();
    let moved = next_event().await.unwrap();
    assert!(moved.contains("event: node-moved\n") && moved.contains(r#""rack":3"#), "{moved}");
    fakes.store_event(last + 2, r#"{"v":2}"#).await.unwrap();
    assert_eq!(next_event().await, None, "it can't be read");
    for number in [last + 3, last + 4] {
        fakes.store_event(number, &event(number, r#""event":"resumed""#)).await.unwrap();
        let resumed = next_event().await.expect("the stream goes on");
        assert!(resumed.starts_with(&format!("id: {number}\nevent: resumed\n")), "{resumed}");
    }
    // Who reconnects where it can't be read goes on as well.
    let mut again = Box::pin(subscribe(feed, fakes.id.clone(), last + 1));
    let (_retry, frame) = (again.next().await, again.next().await.unwrap().unwrap());
    assert!(frame.starts_with(format!("id: {}\n", last + 3).as_bytes()));
}

#[tokio::test(start_paused = true)]
async fn a_change_before_an_error_wakes_readers_of_lists() {
    let feed = Feed::new(Fakes::new().engine, Arc::new(NoObserver));
    let mut all = feed.watch_all();
    all.mark_unchanged();
    let position = Position::after(7);
    let kind = ChangeKind::Infrastructure(Presence::Written);
    let change = InfrastructureChange { id: id("i"), position: position.clone(), kind };
    let error = StoreError::Unusable { message: "it is gone".into() };
    let changes: InfrastructureChanges = Box::pin(stream::iter([Ok(change), Err(error)]));
    let (mut reached, mut local) = (Position::after(0), feed.local.take_receiver().unwrap());
    assert!(feed.process_changes(changes, &mut local, &mut reached).await.is_some());
    assert!(all.has_changed().unwrap() && reached == position);
}
