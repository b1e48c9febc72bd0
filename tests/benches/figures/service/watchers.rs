//! Clients that receive events, each on a connection of its own, in this process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Highest number of events.
const MAX_EVENTS: usize = 20_000;
/// Number of clients of one address.
const CLIENTS_PER_ADDRESS: usize = 250;

/// Many clients, until their results are collected.
pub(crate) struct Watchers {
    tokio: tokio::runtime::Runtime,
    tasks: Vec<JoinHandle<Received>>,
    reached: Vec<Arc<AtomicU64>>,
    cancel: CancellationToken,
}

/// Results of one client.
#[derive(Default)]
pub(crate) struct Received {
    /// Microseconds from the time in an event until its arrival.
    pub(crate) latencies: Vec<u32>,
    /// Set if an event was missed, came twice, or out of order.
    pub(crate) disorder: Option<String>,
}

impl Watchers {
    /// Opens this number of streams of the events after this one. They are open when this returns.
    pub(crate) fn open(address: SocketAddr, id: &str, after: u64, streams: usize) -> Self {
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        // The time of an event is parsed by the first client that receives it.
        let times: Arc<[AtomicI64]> = (0..MAX_EVENTS).map(|_| AtomicI64::new(0)).collect();
        let enough = CancellationToken::new();
        let reached: Vec<Arc<AtomicU64>> = (0..streams).map(|_| Arc::default()).collect();
        let mut tasks = Vec::new();
        for (number, reached) in reached.iter().enumerate() {
            let request = format!(
                "GET /infrastructures/{id}/events?after={after} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n"
            );
            let client =
                Client { last: after, reached: reached.clone(), times: times.clone(), heard: Received::default() };
            // One address may not have all of the service's event streams.
            let from = Ipv4Addr::new(127, 0, 0, u8::try_from(1 + number / CLIENTS_PER_ADDRESS).expect("few"));
            let stream = tokio.block_on(client.connect(from, address, &request));
            let enough = enough.clone();
            tasks.push(tokio.spawn(async move {
                let (mut stream, mut client) = stream;
                tokio::select! {
                    () = client.listen(&mut stream) => {}
                    () = enough.cancelled() => {}
                }
                client.heard
            }));
        }
        Self { tokio, tasks, reached, cancel: enough }
    }

    /// Waits until all have received this event, and returns their results.
    pub(crate) fn until(self, last: u64) -> Vec<Received> {
        let began = Instant::now();
        while self.reached.iter().any(|reached| reached.load(Ordering::Relaxed) < last) {
            assert!(began.elapsed() < Duration::from_secs(120), "some events did not arrive");
            std::thread::sleep(Duration::from_micros(500));
        }
        self.cancel.cancel();
        self.tasks.into_iter().map(|task| self.tokio.block_on(task).expect("no panic")).collect()
    }
}

struct Client {
    last: u64,
    reached: Arc<AtomicU64>,
    times: Arc<[AtomicI64]>,
    heard: Received,
}

impl Client {
    /// Returns with the first byte of the stream.
    async fn connect(self, from: Ipv4Addr, address: SocketAddr, request: &str) -> (Chunks, Self) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address of this machine");
        let mut stream = socket.connect(address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut read = Vec::new();
        let end = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(stream.read_buf(&mut read).await.expect("an answer") > 0, "an answer");
        };
        assert!(read.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&read));
        read.drain(..end);
        (Chunks { stream, read }, self)
    }

    async fn listen(&mut self, chunks: &mut Chunks) {
        let mut text = Vec::new();
        while chunks.take(&mut text).await {
            let now = micros(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros());
            let mut begin = 0;
            while let Some(length) = text.get(begin..).and_then(|rest| rest.windows(2).position(|pair| pair == b"\n\n"))
            {
                self.receive(&text[begin..begin + length], now);
                begin += length + 2;
            }
            text.drain(..begin);
            self.reached.store(self.last, Ordering::Relaxed);
        }
    }

    fn receive(&mut self, frame: &[u8], now: i64) {
        let Some(rest) = frame.strip_prefix(b"id: ") else { return };
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
        let id = digits.fold(0, |id, byte| id * 10 + u64::from(byte - b'0'));
        if id != self.last + 1 {
            self.heard.disorder.get_or_insert_with(|| format!("{id} came after {}", self.last));
        }
        self.last = id;
        let Some(time) = usize::try_from(id).ok().and_then(|id| self.times.get(id)) else { return };
        if time.load(Ordering::Relaxed) == 0 {
            let text = std::str::from_utf8(rest).expect("text");
            let stamp = text.split("\"time\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a time");
            time.store(stamp.parse::<Timestamp>().expect("a time").as_microsecond(), Ordering::Relaxed);
        }
        self.heard.latencies.push(u32::try_from(now - time.load(Ordering::Relaxed)).unwrap_or(0));
    }
}

fn micros(time: u128) -> i64 {
    i64::try_from(time).expect("a time of today")
}

/// A body that comes in chunks.
struct Chunks {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Chunks {
    /// Adds all that has arrived; returns false at the end.
    async fn take(&mut self, text: &mut Vec<u8>) -> bool {
        loop {
            let mut begin = 0;
            while let Some((from, to)) = self.chunk(begin) {
                if from == to {
                    return false;
                }
                text.extend_from_slice(&self.read[from..to]);
                begin = to + 2;
            }
            if begin > 0 {
                self.read.drain(..begin);
                return true;
            }
            if !matches!(self.stream.read_buf(&mut self.read).await, Ok(1..)) {
                return false;
            }
        }
    }

    /// Returns the range of the content of the chunk that begins here, if all of it has arrived.
    fn chunk(&self, begin: usize) -> Option<(usize, usize)> {
        let rest = self.read.get(begin..)?;
        let line = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let from = begin + line + 2;
        let to = from + size.expect("the size of a chunk");
        (self.read.len() >= to + 2).then_some((from, to))
    }
}
