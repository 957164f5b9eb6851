//! A CertStream server on loopback: the firehose at `/`, `/full-stream` and `/domains-only`.
//!
//! It behaves as certstream-server-go does: frames as that server's library cuts them, its pings and time
//! limits, and for each client a bounded buffer behind which the newest messages are skipped without a word
//! (but counted here). Two things differ. While nobody is connected no entry is drawn, so a consumer that
//! starts late misses nothing. And it says goodbye: at the end buffers are written out and a close frame
//! follows.
//!
//! At the same address the logs serve their own API (see `log`), so that what a client missed can be read
//! there: an entry is in its log before its message goes out. With `drop_one_in`, messages go to nobody.
//!
//! `pace` draws and hands out, `connection` writes; their bounds are said there.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Stream;
use super::archive::{Archive, Recipe};
use super::authority::AuthorityError;
use super::connection::connection;
use super::firehose::{Firehose, ISSUANCES};
use super::log::{KeyError, LOG_LIST, Logs};
use super::pace::{Hub, pace};
use super::plants::Plantings;
use crate::clock;

/// How the server behaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    pub seed: u64,
    /// Messages a second, of each stream; 0 is as fast as clients read.
    pub rate: u32,
    /// Messages held for each client; `None` is the real server's 300, or a second's worth if that is more.
    pub buffer: Option<usize>,
    /// Issuances in the firehose's pool.
    pub issuances: usize,
    /// One message in so many, and one plant altogether, is sent to nobody; none without, and with 0.
    pub drop_one_in: Option<u32>,
    pub timers: Timers,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            seed: 1,
            rate: 200,
            buffer: None,
            issuances: ISSUANCES,
            drop_one_in: None,
            timers: Timers::default(),
        }
    }
}

impl Settings {
    fn buffer(&self) -> usize {
        self.buffer.unwrap_or((self.rate as usize).max(REAL_BUFFER)).max(1)
    }
}

/// The real server's, unless a test is in a hurry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timers {
    /// Between pings to a client.
    pub ping: Duration,
    /// A client that sends nothing for so long is cut off.
    pub silence: Duration,
    /// A client that takes nothing for so long is cut off.
    pub write: Duration,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            ping: Duration::from_secs(30),
            silence: Duration::from_secs(65),
            write: Duration::from_secs(60),
        }
    }
}

/// `buffer_sizes.websocket` of certstream-server-go.
const REAL_BUFFER: usize = 300;
/// For writing out buffers at the end.
const GOODBYE_WITHIN: Duration = Duration::from_secs(5);

/// The server did not start.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error("cannot listen on {listen}: {source}; another port (0 lets the system choose) may be free")]
    Listen { listen: String, source: std::io::Error },
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("cannot make the firehose: {0}")]
    Firehose(String),
}

/// A bound server, not yet serving.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    firehose: Firehose,
    logs: Arc<Logs>,
    settings: Settings,
    meter: Arc<Meter>,
}

/// What was served; read at any time.
#[derive(Debug, Default)]
pub struct Meter {
    pub(super) drawn: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) skipped: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) clients: AtomicUsize,
}

impl Meter {
    /// Entries drawn from the firehose, whoever listened.
    pub fn drawn(&self) -> u64 {
        self.drawn.load(Ordering::Relaxed)
    }

    /// Messages written to a client's socket.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Messages that did not fit into a client's buffer, or were in it when the client left.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Entries whose message was sent to nobody, on purpose.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Clients of the streams connected now.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }
}

impl Server {
    /// Binds `listen` (`host:port`; port 0 lets the system choose) and makes the firehose, which names its
    /// logs under the address bound.
    pub async fn bind(listen: &str, settings: Settings) -> Result<Server, SimulateError> {
        let refused = |source| SimulateError::Listen { listen: listen.into(), source };
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let recipe = Recipe {
            seed: settings.seed,
            base_url: format!("http://{address}"),
            now: clock::now(),
            issuances: settings.issuances,
            drop_one_in: settings.drop_one_in,
        };
        let now = recipe.now;
        // A second of signing has no place among tasks.
        let made = tokio::task::spawn_blocking(move || Archive::new(&recipe));
        let made = made.await.map_err(|failed| SimulateError::Firehose(failed.to_string()))??;
        let archive = Arc::new(made);
        let logs = Arc::new(Logs::new(Arc::clone(&archive), now)?);
        Ok(Server {
            listener,
            address,
            firehose: Firehose::of(archive),
            logs,
            settings,
            meter: Arc::default(),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where a client finds `stream`.
    pub fn url(&self, stream: Stream) -> String {
        format!("ws://{}{}", self.address, stream.path())
    }

    /// Where the list of the logs lies.
    pub fn log_list(&self) -> String {
        format!("http://{}{LOG_LIST}", self.address)
    }

    /// The logs, which know every entry, and which messages were dropped.
    pub fn logs(&self) -> Arc<Logs> {
        Arc::clone(&self.logs)
    }

    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// What is planted, and when it was shown.
    pub fn plantings(&self) -> Arc<Plantings> {
        self.firehose.plantings()
    }

    /// Serves until `shutdown` is ready, then writes out what clients are owed.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Server { listener, firehose, logs, settings, meter, .. } = self;
        let hub = Arc::new(Hub::new(settings.buffer(), settings.timers, meter, logs));
        let (stop, stopped) = watch::channel(false);
        let pacer = tokio::spawn(pace(Arc::clone(&hub), firehose, settings.rate, stopped.clone()));
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => {
                        connections.spawn(connection(Arc::clone(&hub), socket, stopped.clone()));
                    }
                    // Out of file descriptors, most likely: not worth ending for, nor a busy loop.
                    Err(_) => sleep(Duration::from_millis(100)).await,
                },
                // Ended connections are reaped as they end.
                Some(_) = connections.join_next() => {}
            }
        }
        // The pacer closes every outbox when it ends, and a connection ends when its outbox is written out.
        let _ = stop.send(true);
        let _ = timeout(GOODBYE_WITHIN, async {
            let _ = pacer.await;
            while connections.join_next().await.is_some() {}
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use futures::{SinkExt, StreamExt};
    use serde_json::Value;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;

    use super::*;
    use crate::demo::http::{REQUEST_LIMIT, Request};

    /// No test takes so long unless it hangs.
    const CEILING: Duration = Duration::from_secs(60);

    struct Running {
        address: SocketAddr,
        meter: Arc<Meter>,
        stop: oneshot::Sender<()>,
        served: JoinHandle<()>,
    }

    async fn start(settings: Settings) -> Running {
        let server = Server::bind("127.0.0.1:0", Settings { issuances: 60, ..settings }).await.unwrap();
        let (address, meter) = (server.address(), server.meter());
        assert_eq!(server.url(Stream::Full), format!("ws://{address}/full-stream"));
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(server.serve(async {
            let _ = stopped.await;
        }));
        Running { address, meter, stop, served }
    }

    impl Running {
        async fn connect(&self, path: &str) -> WebSocketStream<TcpStream> {
            let socket = TcpStream::connect(self.address).await.unwrap();
            let url = format!("ws://{}{path}", self.address);
            tokio_tungstenite::client_async(url, socket).await.unwrap().0
        }

        async fn http(&self, request: &str) -> String {
            let mut socket = TcpStream::connect(self.address).await.unwrap();
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            timeout(CEILING, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
            answer
        }

        async fn end(self) {
            let _ = self.stop.send(());
            timeout(CEILING, self.served).await.unwrap().unwrap();
        }
    }

    async fn next(client: &mut WebSocketStream<TcpStream>) -> Message {
        timeout(CEILING, client.next()).await.expect("a message in time").expect("no end").unwrap()
    }

    async fn text(client: &mut WebSocketStream<TcpStream>) -> String {
        loop {
            if let Message::Text(text) = next(client).await {
                return text.to_string();
            }
        }
    }

    async fn closed(client: &mut WebSocketStream<TcpStream>) -> CloseFrame {
        loop {
            if let Message::Close(frame) = next(client).await {
                return frame.expect("a code");
            }
        }
    }

    async fn until(what: &str, met: impl Fn() -> bool) {
        let waited = timeout(CEILING, async {
            while !met() {
                sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.expect(what);
    }

    #[tokio::test]
    async fn streams_show_the_same_entries_in_order() {
        let running = start(Settings { rate: 2_000, ..Settings::default() }).await;
        let mut lite = running.connect("/").await;
        let mut full = running.connect("/full-stream/").await;
        let mut domains = running.connect("/domains-only").await;
        let mut seen: HashMap<(String, u64), String> = HashMap::new();
        let mut next_of: HashMap<String, u64> = HashMap::new();
        for _ in 0..1_500 {
            let text = text(&mut full).await;
            assert!(text.ends_with("}\n"));
            let data = &serde_json::from_str::<Value>(&text).unwrap()["data"];
            let log = data["source"]["url"].as_str().unwrap().to_string();
            assert!(log.starts_with(&format!("http://{}/log/", running.address)), "{log}");
            let index = data["cert_index"].as_u64().unwrap();
            assert_eq!(*next_of.entry(log.clone()).or_insert(index), index, "contiguous in {log}");
            next_of.insert(log.clone(), index + 1);
            seen.insert((log, index), data["leaf_cert"]["serial_number"].to_string());
        }
        assert_eq!(next_of.len(), 4);
        let mut both = 0;
        for _ in 0..1_500 {
            let data = &serde_json::from_str::<Value>(&text(&mut lite).await).unwrap()["data"];
            let log = data["source"]["url"].as_str().unwrap().to_string();
            if let Some(serial) = seen.get(&(log, data["cert_index"].as_u64().unwrap())) {
                assert_eq!(*serial, data["leaf_cert"]["serial_number"].to_string());
                both += 1;
            }
        }
        assert!(both > 500, "{both} entries seen on both");
        let names = text(&mut domains).await;
        assert!(names.starts_with("{\"data\":[") && names.ends_with("\"dns_entries\"}"), "{names}");
        running.end().await;
    }

    #[tokio::test]
    async fn what_is_sent_at_the_end_arrives() {
        let running = start(Settings { rate: 5_000, ..Settings::default() }).await;
        let mut client = running.connect("/").await;
        for _ in 0..100 {
            text(&mut client).await;
        }
        let meter = Arc::clone(&running.meter);
        let ending = tokio::spawn(running.end());
        let mut received = 100;
        let close = loop {
            match next(&mut client).await {
                Message::Text(_) => received += 1,
                Message::Close(frame) => break frame.unwrap(),
                _ => {}
            }
        };
        assert_eq!(u16::from(close.code), 1001);
        ending.await.unwrap();
        assert_eq!((meter.sent(), meter.skipped()), (received, 0));
    }

    /// The buffer bounds what waits for a slow client; what it misses is counted, and the rest is whole.
    #[tokio::test]
    async fn slow_client_misses_messages_but_stays() {
        let running = start(Settings { rate: 20_000, buffer: Some(400), ..Settings::default() }).await;
        let mut client = running.connect("/full-stream").await;
        let meter = Arc::clone(&running.meter);
        until("skipped messages", || meter.skipped() > 2_000).await;
        let (mut last, mut gaps): (HashMap<String, u64>, u64) = (HashMap::new(), 0);
        for _ in 0..4_000 {
            let data = &serde_json::from_str::<Value>(&text(&mut client).await).unwrap()["data"];
            let index = data["cert_index"].as_u64().unwrap();
            let log = data["source"]["url"].as_str().unwrap().to_string();
            if let Some(before) = last.insert(log, index) {
                assert!(index > before);
                gaps += index - before - 1;
            }
        }
        assert!(gaps > 0 && gaps <= meter.skipped(), "{gaps} of {}", meter.skipped());
        running.end().await;
    }

    #[tokio::test]
    async fn at_rate_zero_the_client_sets_the_pace() {
        let running = start(Settings { rate: 0, ..Settings::default() }).await;
        let mut client = running.connect("/").await;
        let mut next_of: HashMap<String, u64> = HashMap::new();
        for n in 0..6_000 {
            if n == 10 {
                // Longer than sockets and buffers last.
                sleep(Duration::from_millis(300)).await;
            }
            let data = &serde_json::from_str::<Value>(&text(&mut client).await).unwrap()["data"];
            let log = data["source"]["url"].as_str().unwrap().to_string();
            let index = data["cert_index"].as_u64().unwrap();
            assert_eq!(*next_of.entry(log.clone()).or_insert(index), index);
            next_of.insert(log, index + 1);
        }
        assert_eq!(running.meter.skipped(), 0);
        running.end().await;
    }

    #[tokio::test]
    async fn nothing_is_drawn_while_nobody_listens() {
        let running = start(Settings { rate: 1_000, ..Settings::default() }).await;
        let index = async |client: &mut WebSocketStream<TcpStream>| {
            let data = &serde_json::from_str::<Value>(&text(client).await).unwrap()["data"];
            (data["source"]["url"].to_string(), data["cert_index"].as_u64().unwrap())
        };
        let mut client = running.connect("/").await;
        let mut next_of: HashMap<String, u64> = HashMap::new();
        for _ in 0..100 {
            let (log, index) = index(&mut client).await;
            next_of.insert(log, index + 1);
        }
        client.close(None).await.unwrap();
        let meter = Arc::clone(&running.meter);
        until("the client left", || meter.clients() == 0).await;
        sleep(Duration::from_millis(100)).await;
        let before = meter.drawn();
        sleep(Duration::from_millis(200)).await;
        assert_eq!(meter.drawn(), before);
        // It goes on where it stopped: what is missing was on its way when the client left.
        let mut client = running.connect("/").await;
        let (log, index) = index(&mut client).await;
        assert!(index >= next_of[&log] && index - next_of[&log] <= before - 100);
        running.end().await;
    }

    #[tokio::test]
    async fn clients_are_held_to_the_real_servers_rules() {
        let timers = Timers {
            ping: Duration::from_millis(50),
            silence: Duration::from_millis(400),
            write: Duration::from_secs(60),
        };
        let running = start(Settings { rate: 50, timers, ..Settings::default() }).await;
        // tungstenite answers pings only while it is driven: this one hears the ping and stays.
        let mut client = running.connect("/domains-only").await;
        let mut pings = 0;
        while pings < 12 {
            pings += usize::from(matches!(next(&mut client).await, Message::Ping(_)));
        }
        client.send(Message::Ping("are you there".into())).await.unwrap();
        while !matches!(next(&mut client).await, Message::Pong(payload) if payload.as_ref() == b"are you there")
        {
        }
        client.send(Message::Binary(vec![0; 512].into())).await.unwrap();
        text(&mut client).await;
        client.send(Message::Binary(vec![0; 513].into())).await.unwrap();
        assert_eq!(u16::from(closed(&mut client).await.code), 1009);
        // Silent: sends nothing, not even a pong.
        let mut client = running.connect("/").await.into_inner();
        let mut heard = Vec::new();
        timeout(CEILING, client.read_to_end(&mut heard)).await.unwrap().unwrap();
        assert!(heard.ends_with(b"\x88\x13\x03\xf0No ping received!"), "close 1008 comes last");
        running.end().await;
    }

    #[tokio::test]
    async fn full_messages_come_in_the_real_servers_fragments() {
        let running = start(Settings { rate: 500, ..Settings::default() }).await;
        let mut socket = running.connect("/full-stream").await.into_inner();
        let mut sizes: HashMap<&str, u32> = HashMap::new();
        let mut lengths: Vec<usize> = Vec::new();
        while ["one", "fragments", "empty final"].iter().any(|kind| !sizes.contains_key(kind)) {
            let mut head = [0; 2];
            timeout(CEILING, socket.read_exact(&mut head)).await.unwrap().unwrap();
            let length = match head[1] {
                126 => u64::from(socket.read_u16().await.unwrap()),
                127 => socket.read_u64().await.unwrap(),
                short => u64::from(short),
            };
            let mut payload = vec![0; length as usize];
            socket.read_exact(&mut payload).await.unwrap();
            assert_eq!(head[0] & 0x7f, u8::from(lengths.is_empty()), "text, then continuations");
            lengths.push(payload.len());
            if head[0] & 0x80 == 0 {
                continue;
            }
            let kind = match lengths.as_slice() {
                [..=4096] => "one",
                [8221..=usize::MAX, 0] => "empty final",
                [whole @ .., 1..=4096] if whole.iter().all(|&length| length == 4096) => "fragments",
                other => panic!("{other:?}"),
            };
            *sizes.entry(kind).or_default() += 1;
            lengths.clear();
        }
        running.end().await;
    }

    #[tokio::test]
    async fn other_requests_are_refused_with_a_reason() {
        let running = start(Settings::default()).await;
        let upgrade = "Upgrade: WebSocket\r\nConnection: Upgrade\r\n";
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        for (request, want) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".into(), "HTTP/1.1 426 "),
            ("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".into(), "HTTP/1.1 404 "),
            ("GET // HTTP/1.1\r\n\r\n".into(), "HTTP/1.1 404 "),
            ("POST / HTTP/1.1\r\n\r\n".into(), "HTTP/1.1 405 "),
            (format!("GET / HTTP/1.1\r\n{upgrade}{key}\r\n"), "HTTP/1.1 400 "),
            (format!("GET / HTTP/1.1\r\n{upgrade}Sec-WebSocket-Version: 13\r\n\r\n"), "HTTP/1.1 400 "),
            ("\r\n\r\n".into(), "HTTP/1.1 "),
            (format!("GET / HTTP/1.1\r\nX: {}\r\n", "y".repeat(REQUEST_LIMIT)), ""),
        ] {
            let answer = running.http(&request).await;
            assert!(answer.starts_with(want), "{request} gave {answer}");
        }
        // RFC 6455 section 1.3 gives this key and its answer.
        let head = format!("GET /?a=b HTTP/1.1\r\n{upgrade}{key}Sec-WebSocket-Version: 13\r\n\r\n");
        assert_eq!(
            Request::parse(&head).upgrade(),
            Ok((Stream::Lite, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".into()))
        );
        running.end().await;
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let running = start(Settings::default()).await;
        let listen = running.address.to_string();
        let error = Server::bind(&listen, Settings::default()).await.err().unwrap().to_string();
        assert!(error.contains(&listen), "{error}");
        running.end().await;
    }
}
