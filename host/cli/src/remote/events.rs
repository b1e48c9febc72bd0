//! The event stream of an infrastructure: Server-Sent Events, resumed where the connection broke off.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::header::{ACCEPT, HeaderName};
use occopus_engine::{Event, EventKind};
use reqwest::{Response, StatusCode};
use sse_stream::{Sse, SseByteStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::client::ServiceClient;
use crate::failure::Failure;

/// Time without data after which a connection counts as broken. The service sends comments in between.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause before the first reconnection.
const MIN_RECONNECT_DELAY: Duration = Duration::from_millis(200);
/// Pause before a reconnection after many failures.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(10);
/// Size limit of one event, in bytes.
const MAX_EVENT_BYTES: usize = 16 << 20;
/// The header by which an event stream is resumed.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Start of an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamStart {
    /// Events from now on. The infrastructure exists.
    Now,
    /// Events after this one. The infrastructure exists.
    After(u64),
    /// All events of an infrastructure that may not exist yet.
    Beginning,
}

/// Subscribes to the events of an infrastructure, and forwards them in the background until the infrastructure is gone or the
/// receiver is dropped. Reconnects without limit.
pub(crate) async fn subscribe(
    service: &ServiceClient,
    id: &str,
    start: StreamStart,
) -> Result<UnboundedReceiver<Event>, Failure> {
    let (sender, events) = unbounded_channel();
    let position = match start {
        StreamStart::Now => None,
        StreamStart::After(event) => Some(event),
        StreamStart::Beginning => Some(0),
    };
    let mut stream = EventStream { service: service.clone(), id: id.to_owned(), position, sender };
    // The caller waits for the connection, so that it misses no event of what it requests afterwards.
    let first = if start == StreamStart::Beginning { None } else { Some(stream.connect().await?) };
    tokio::spawn(async move { stream.forward(first).await });
    Ok(events)
}

struct EventStream {
    service: ServiceClient,
    id: String,
    /// Id of the last known event.
    position: Option<u64>,
    sender: UnboundedSender<Event>,
}

/// End of a connection.
enum ConnectionEnd {
    /// The stream has ended, or the receiver is gone.
    Finished,
    /// The stream can be resumed by another connection.
    Interrupted,
}

impl EventStream {
    async fn connect(&self) -> Result<Response, Failure> {
        let request =
            self.service.stream(&["infrastructures", &self.id, "events"], &[]).header(ACCEPT, "text/event-stream");
        let request = match self.position {
            Some(position) => request.header(LAST_EVENT_ID, position),
            None => request,
        };
        self.service.send(request).await
    }

    async fn forward(&mut self, first: Option<Response>) {
        // An infrastructure that has not existed yet may still be created.
        let mut has_existed = first.is_some();
        let mut next = first;
        let mut pause = MIN_RECONNECT_DELAY;
        loop {
            let connected = match next.take() {
                Some(response) => Ok(response),
                None => self.connect().await,
            };
            match connected {
                Ok(response) => {
                    has_existed = true;
                    pause = MIN_RECONNECT_DELAY;
                    if let ConnectionEnd::Finished = self.read_events(response).await {
                        return;
                    }
                }
                Err(Failure::Service(error)) if error.status == Some(StatusCode::NOT_FOUND) => {
                    if has_existed {
                        return;
                    }
                }
                // Such as a revoked token: a retry cannot succeed.
                Err(Failure::Service(error)) if !error.is_transient => return,
                Err(_) => pause = (pause * 2).min(MAX_RECONNECT_DELAY),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.sender.closed() => return,
            }
        }
    }

    async fn read_events(&mut self, response: Response) -> ConnectionEnd {
        let mut blocks = SseByteStream::new(body_chunks(response).boxed());
        loop {
            let block = tokio::select! {
                block = blocks.next() => block,
                () = self.sender.closed() => return ConnectionEnd::Finished,
            };
            let Some(Ok(block)) = block else { return ConnectionEnd::Interrupted };
            let is_last = block.id.is_none() && block.event.as_deref() == Some("infradrop");
            if let Some(event) = parse_event(&block) {
                self.position = event.id.or(self.position);
                let is_drop = is_last || event.kind == EventKind::InfraDrop;
                if self.sender.send(event).is_err() || is_drop {
                    return ConnectionEnd::Finished;
                }
            }
            if is_last {
                return ConnectionEnd::Finished;
            }
        }
    }
}

/// Returns the chunks of a response. Fails if it stays silent, or if a block exceeds the size limit.
fn body_chunks(response: Response) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((response, 0), async |(mut response, open)| {
        match tokio::time::timeout(IDLE_TIMEOUT, response.chunk()).await {
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some(chunk))) => {
                let end = chunk.windows(2).rposition(|pair| pair == b"\n\n");
                let open = end.map_or(open + chunk.len(), |end| chunk.len() - end);
                if open > MAX_EVENT_BYTES {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Ok(Some((chunk, (response, open))))
            }
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    })
}

/// Returns the event in a block; none if the block has no data, or an event that this version cannot read.
fn parse_event(block: &Sse) -> Option<Event> {
    let event: Event = serde_json::from_str(block.data.as_deref()?).ok()?;
    let id = event.id.or_else(|| block.id.as_deref()?.parse().ok());
    Some(Event { id, ..event })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    fn block(id: u64, name: &str) -> String {
        let data = format!(r#"{{"id":{id},"time":"2024-01-01T00:00:00Z","infra_id":"i","event":"{name}"}}"#);
        format!("id: {id}\nevent: {name}\ndata: {data}\n\n")
    }

    /// Starts a server that sends these responses, one for each connection, and records the requests.
    async fn server(answers: Vec<String>) -> (ServiceClient, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&requests);
        tokio::spawn(async move {
            for answer in answers {
                let (mut socket, _) = listener.accept().await.expect("a client");
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(socket.read_u8().await.expect("a request"));
                }
                recorded.lock().expect("no panic").push(String::from_utf8_lossy(&request).to_lowercase());
                // In small chunks, as a network may deliver them.
                for chunk in answer.as_bytes().chunks(7) {
                    socket.write_all(chunk).await.expect("written");
                    socket.flush().await.expect("written");
                }
            }
        });
        let service =
            ServiceClient::new(&address, Vec::new(), None).unwrap_or_else(|failure| panic!("{}", failure.render()));
        (service, requests)
    }

    async fn collect_events(mut events: UnboundedReceiver<Event>) -> Vec<(Option<u64>, String)> {
        let mut found = Vec::new();
        while let Some(event) = events.recv().await {
            found.push((event.id, event.to_string()));
        }
        found
    }

    #[tokio::test]
    async fn a_stream_is_resumed_where_it_broke_off() {
        let first = format!("{HEAD}: still here\n\n{}{}id: 9\nda", block(3, "suspended"), block(4, "resumed"));
        let second = format!("{HEAD}{}event: infradrop\ndata: {{}}\n\n", block(5, "infraready"));
        let (service, requests) = server(vec![first, second]).await;
        let events = subscribe(&service, "i", StreamStart::After(2))
            .await
            .unwrap_or_else(|failure| panic!("{}", failure.render()));
        let ids: Vec<_> = collect_events(events).await.into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, [Some(3), Some(4), Some(5)]);
        let requests = requests.lock().expect("no panic");
        assert!(
            requests[0].contains("last-event-id: 2\r\n") && requests[0].contains("accept: text/event-stream"),
            "{requests:?}"
        );
        assert!(requests[1].contains("last-event-id: 4\r\n"), "what was cut off is requested again: {requests:?}");
    }

    #[tokio::test]
    async fn a_missing_infrastructure_is_awaited_and_a_gone_one_ends_the_stream() {
        let answers = vec![
            NOT_FOUND.to_owned(),
            NOT_FOUND.to_owned(),
            format!("{HEAD}{}", block(1, "suspended")),
            NOT_FOUND.to_owned(),
        ];
        let (service, requests) = server(answers).await;
        let events = subscribe(&service, "i", StreamStart::Beginning)
            .await
            .unwrap_or_else(|failure| panic!("{}", failure.render()));
        assert_eq!(collect_events(events).await.len(), 1);
        assert_eq!(requests.lock().expect("no panic").len(), 4);
        let (service, _) = server(vec![NOT_FOUND.to_owned()]).await;
        assert!(subscribe(&service, "i", StreamStart::Now).await.is_err(), "it is not there");
    }

    #[tokio::test]
    async fn unreadable_events_are_skipped() {
        let answer = format!(
            "{HEAD}retry: 5\n\ndata: no json\n\nevent: other\nid: 7\n\n{}{}",
            block(8, "an-event-of-a-later-version"),
            block(9, "infradrop")
        );
        let (service, _) = server(vec![answer]).await;
        let events =
            subscribe(&service, "i", StreamStart::Now).await.unwrap_or_else(|failure| panic!("{}", failure.render()));
        let ids: Vec<_> = collect_events(events).await.into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, [Some(8), Some(9)]);
    }
}
