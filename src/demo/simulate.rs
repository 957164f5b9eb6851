//! A CertStream server on loopback: the firehose at `/`, `/full-stream` and `/domains-only`.
//!
//! It behaves as certstream-server-go does: frames as that server's library cuts them, a ping every
//! 30 s, a client that is silent for 65 s cut off, clients' messages over 512 bytes refused, and for each
//! client a bounded buffer behind which the newest messages are skipped without a word (but counted
//! here). Two things differ. While nobody is connected no entry is drawn, so a consumer that starts late
//! misses nothing. And it says goodbye: at the end buffers are written out and a close frame follows.
//!
//! Every few milliseconds the messages that are due are drawn once, written once for each stream that has
//! a client, and handed to clients as one shared chunk: one system call carries hundreds of messages.
//! At rate 0 the pace is that of the slowest client, and nothing is skipped.
//!
//! At the same address the logs serve their own API (see `log`), so that what a client missed can be read
//! there: an entry is in its log before its message goes out. With `drop_one_in`, messages go out to nobody.
//!
//! Bounds: 64 clients of the streams, `buffer` messages each; 64 connections to the logs, of which four are
//! answered at once; 8 KiB and ten seconds for a request.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::Stream;
use super::archive::{Archive, Entry, Recipe};
use super::authority::AuthorityError;
use super::firehose::{Firehose, ISSUANCES};
use super::frames::{self, FromClient, take_from_client};
use super::http::{Answer, Request};
use super::log::{KeyError, LOG_LIST, Logs};
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
/// Between two draws: at 50,000 messages a second 250 in one write, and no visible delay at 1.
const TICK: Duration = Duration::from_millis(5);
/// Messages in one chunk: bounds the memory that a shared chunk holds, about 4 MB of full.
const CHUNK: usize = 512;
/// A pause of the machine is made up for, but not more than this much of it.
const CATCH_UP: Duration = Duration::from_secs(1);
/// A demo serves itself and a few who look.
const CLIENTS: usize = 64;
/// Connections that are no stream's, and requests of theirs that are answered at once: one answer has some
/// megabytes at most.
const READERS: usize = 64;
const ANSWERS: usize = 4;
/// A connection to the logs may wait so long for its next request, as with usual servers.
const KEPT_FOR: Duration = Duration::from_secs(60);
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
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
    drawn: AtomicU64,
    sent: AtomicU64,
    skipped: AtomicU64,
    dropped: AtomicU64,
    clients: AtomicUsize,
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
        let hub = Arc::new(Hub {
            clients: Mutex::new(Some(Vec::new())),
            wake: Notify::new(),
            buffer: settings.buffer(),
            timers: settings.timers,
            meter,
            logs,
            readers: AtomicUsize::new(0),
            answers: Semaphore::new(ANSWERS),
        });
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

/// What pacer and connections share.
struct Hub {
    /// Those past their handshake; `None` once nothing is drawn any more.
    clients: Mutex<Option<Vec<Outbox>>>,
    /// A client came, or one has room again. The pacer alone waits for it.
    wake: Notify,
    buffer: usize,
    timers: Timers,
    meter: Arc<Meter>,
    logs: Arc<Logs>,
    /// Connections before their upgrade, and those to the logs.
    readers: AtomicUsize,
    answers: Semaphore,
}

/// The pacer's end of one client.
struct Outbox {
    stream: Stream,
    chunks: mpsc::UnboundedSender<Arc<Chunk>>,
    /// Messages handed over and not yet written: what bounds `chunks`.
    queued: Arc<AtomicUsize>,
}

/// Consecutive messages of one stream, as frames.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Where each message ends.
    ends: Vec<usize>,
}

impl Hub {
    fn clients(&self) -> MutexGuard<'_, Option<Vec<Outbox>>> {
        // Nothing is left half done under this lock.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a client, and whether every one has room for a chunk.
    fn ready(&self) -> (bool, bool) {
        let mut clients = self.clients();
        let Some(clients) = clients.as_mut() else { return (false, false) };
        clients.retain(|client| !client.chunks.is_closed());
        // Two chunks at least: one is written while the next is made.
        let bound = self.buffer.max(2 * CHUNK);
        let room = |client: &Outbox| client.queued.load(Ordering::Acquire) + CHUNK <= bound;
        (!clients.is_empty(), clients.iter().all(room))
    }

    /// Writes `entries` once for each stream that somebody listens to, and hands them out.
    fn publish(&self, firehose: &Firehose, entries: &[Entry], skip: bool, scratch: &mut Vec<u8>) {
        let clients = self.clients();
        let clients = clients.as_deref().unwrap_or_default();
        for stream in Stream::ALL {
            let mut listeners = clients.iter().filter(|client| client.stream == stream).peekable();
            if listeners.peek().is_none() {
                continue;
            }
            let mut chunk = Chunk::default();
            for entry in entries {
                scratch.clear();
                firehose.write(entry, stream, scratch);
                frames::push_text(&mut chunk.bytes, scratch);
                chunk.ends.push(chunk.bytes.len());
            }
            let chunk = Arc::new(chunk);
            for client in listeners {
                let room = match skip {
                    true => self.buffer.saturating_sub(client.queued.load(Ordering::Acquire)),
                    false => usize::MAX,
                };
                self.meter.skipped.fetch_add(entries.len().saturating_sub(room) as u64, Ordering::Relaxed);
                let Some(part) = chunk.first(room) else { continue };
                client.queued.fetch_add(part.ends.len(), Ordering::AcqRel);
                // A client that just left takes nothing; `ready` forgets it.
                let _ = client.chunks.send(part);
            }
        }
    }
}

impl Chunk {
    /// The first messages of the chunk, at most `count`. A part is copied: a slow client must not hold
    /// on to hundreds of messages for the sake of one.
    fn first(self: &Arc<Chunk>, count: usize) -> Option<Arc<Chunk>> {
        if count >= self.ends.len() {
            return Some(Arc::clone(self)).filter(|chunk| !chunk.ends.is_empty());
        }
        let end = *self.ends.get(count.checked_sub(1)?)?;
        Some(Arc::new(Chunk { bytes: self.bytes[..end].to_vec(), ends: self.ends[..count].to_vec() }))
    }
}

/// Draws entries at the rate, or as fast as clients take them, until stopped.
async fn pace(hub: Arc<Hub>, mut firehose: Firehose, rate: u32, mut stopped: watch::Receiver<bool>) {
    let mut scratch = Vec::new();
    let mut entries = Vec::with_capacity(CHUNK);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Fractions of a message that are owed, at the rate.
    let mut owed = 0.0;
    let mut last = Instant::now();
    loop {
        let (anybody, room) = hub.ready();
        let wait = !anybody || (rate == 0 && !room);
        if wait {
            tokio::select! {
                () = hub.wake.notified() => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
            if !anybody {
                // Nothing is owed for the time in which nobody listened.
                last = Instant::now();
            }
            continue;
        }
        let count = if rate == 0 {
            tokio::task::yield_now().await;
            CHUNK
        } else {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
            let now = Instant::now();
            owed += (now - last).min(CATCH_UP).as_secs_f64() * f64::from(rate);
            last = now;
            let whole = owed.floor();
            owed -= whole;
            whole as usize
        };
        if *stopped.borrow() {
            break;
        }
        let now = clock::now();
        for first in (0..count).step_by(CHUNK) {
            entries.clear();
            entries.extend((first..count.min(first + CHUNK)).map(|_| firehose.draw(now)));
            hub.meter.drawn.fetch_add(entries.len() as u64, Ordering::Relaxed);
            let before = entries.len();
            entries.retain(|entry| !hub.logs.archive().drops(entry));
            hub.meter.dropped.fetch_add((before - entries.len()) as u64, Ordering::Relaxed);
            hub.publish(&firehose, &entries, rate > 0, &mut scratch);
        }
    }
    *hub.clients() = None;
}

/// One connection, from its first request to its end.
async fn connection(hub: Arc<Hub>, mut socket: TcpStream, stopped: watch::Receiver<bool>) {
    let _ = socket.set_nodelay(true);
    let mut rest = Vec::with_capacity(1024);
    let Some(entered) = Entered::new(&hub) else {
        return refuse(socket, &Answer::refused("503 Service Unavailable", "too many connections")).await;
    };
    let request = read(&hub, &mut socket, &mut rest, stopped).await;
    drop(entered);
    let Some(request) = request else { return };
    let (stream, accept) = match request.upgrade() {
        Ok(upgrade) if hub.meter.clients() < CLIENTS => upgrade,
        Ok(_) => {
            return refuse(socket, &Answer::refused("503 Service Unavailable", "too many clients")).await;
        }
        Err(refused) => return refuse(socket, &refused).await,
    };
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    if socket.write_all(response.as_bytes()).await.is_err() {
        return;
    }
    let (reader, writer) = socket.into_split();
    let (send, chunks) = mpsc::unbounded_channel();
    let queued = Arc::new(AtomicUsize::new(0));
    match hub.clients().as_mut() {
        Some(clients) => clients.push(Outbox { stream, chunks: send, queued: Arc::clone(&queued) }),
        None => return,
    }
    hub.meter.clients.fetch_add(1, Ordering::Relaxed);
    hub.wake.notify_one();
    // Pongs and a close, in the rare case of a client that asks for more than one at a time.
    let (control, controls) = mpsc::channel(4);
    let listening = tokio::spawn(listen(reader, rest, control, hub.timers.silence));
    talk(&hub, writer, chunks, controls, &queued).await;
    listening.abort();
    hub.meter.skipped.fetch_add(queued.load(Ordering::Acquire) as u64, Ordering::Relaxed);
    hub.meter.clients.fetch_sub(1, Ordering::Relaxed);
    hub.wake.notify_one();
}

/// A connection that is no stream's yet.
struct Entered<'h>(&'h AtomicUsize);

impl Entered<'_> {
    fn new(hub: &Hub) -> Option<Entered<'_>> {
        let entered = Entered(&hub.readers);
        (entered.0.fetch_add(1, Ordering::AcqRel) < READERS).then_some(entered)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Answers requests to the logs until one comes that is none; `None` at the end of the connection.
async fn read(
    hub: &Hub,
    socket: &mut TcpStream,
    rest: &mut Vec<u8>,
    mut stopped: watch::Receiver<bool>,
) -> Option<Request> {
    let mut within = REQUEST_WITHIN;
    loop {
        let request = tokio::select! {
            request = timeout(within, Request::read(socket, rest)) => request.ok()??,
            _ = stopped.wait_for(|stop| *stop) => return None,
        };
        if !hub.logs.is_for(&request) {
            return Some(request);
        }
        let keep_alive = request.keeps_alive();
        let answer = {
            let _permit = hub.answers.acquire().await.ok()?;
            let logs = Arc::clone(&hub.logs);
            // Entries are encoded and compressed: no work for among tasks.
            let answering = tokio::task::spawn_blocking(move || logs.answer(&request, clock::now()));
            answering.await.ok()?
        };
        timeout(hub.timers.write, write(socket, &answer, keep_alive)).await.ok()?.ok()?;
        if !keep_alive {
            let _ = socket.shutdown().await;
            return None;
        }
        within = KEPT_FOR;
    }
}

/// What the reading half asks the writing half to send.
enum Control {
    Frame(Vec<u8>),
    /// The last one; empty where the client is gone.
    Last(Vec<u8>),
}

/// Writes chunks, pings and what `listen` asks for, until the end of either.
async fn talk(
    hub: &Hub,
    mut writer: OwnedWriteHalf,
    mut chunks: mpsc::UnboundedReceiver<Arc<Chunk>>,
    mut controls: mpsc::Receiver<Control>,
    queued: &AtomicUsize,
) {
    let mut pings = interval(hub.timers.ping);
    pings.reset();
    loop {
        // Each arm only receives; what it received is written to its end below.
        let (frame, messages, last) = tokio::select! {
            biased;
            control = controls.recv() => match control {
                Some(Control::Frame(frame)) => (Part::Own(frame), 0, false),
                Some(Control::Last(frame)) => (Part::Own(frame), 0, true),
                None => return,
            },
            _ = pings.tick() => (Part::Own(frames::ping()), 0, false),
            chunk = chunks.recv() => match chunk {
                Some(chunk) => {
                    let messages = chunk.ends.len();
                    (Part::Shared(chunk), messages, false)
                }
                None => (Part::Own(frames::close(1001, "the server ends")), 0, true),
            },
        };
        match timeout(hub.timers.write, writer.write_all(frame.bytes())).await {
            Ok(Ok(())) if last => {
                let _ = writer.shutdown().await;
                return;
            }
            Ok(Ok(())) => {}
            _ => return,
        }
        if messages > 0 {
            hub.meter.sent.fetch_add(messages as u64, Ordering::Relaxed);
            queued.fetch_sub(messages, Ordering::AcqRel);
            hub.wake.notify_one();
        }
    }
}

enum Part {
    Own(Vec<u8>),
    Shared(Arc<Chunk>),
}

impl Part {
    fn bytes(&self) -> &[u8] {
        match self {
            Part::Own(bytes) => bytes,
            Part::Shared(chunk) => &chunk.bytes,
        }
    }
}

/// Reads what the client sends, behind `bytes` that came already: answers pings, and ends with a reason.
async fn listen(
    mut reader: OwnedReadHalf,
    mut bytes: Vec<u8>,
    control: mpsc::Sender<Control>,
    silence: Duration,
) {
    let last = loop {
        match take_from_client(&mut bytes) {
            Ok(Some(FromClient::Ping(payload))) => {
                if control.send(Control::Frame(frames::pong(&payload))).await.is_err() {
                    return;
                }
            }
            Ok(Some(FromClient::Pong | FromClient::Data)) => {}
            Ok(Some(FromClient::Close)) => break frames::close(1000, ""),
            Err(refused) => break frames::close(refused.close_code(), &refused.to_string()),
            Ok(None) => match timeout(silence, reader.read_buf(&mut bytes)).await {
                Ok(Ok(1..)) => {}
                Ok(_) => break Vec::new(),
                Err(_) => break frames::close(1008, "No ping received!"),
            },
        }
    };
    let _ = control.send(Control::Last(last)).await;
}

async fn refuse(mut socket: TcpStream, answer: &Answer) {
    let _ = timeout(REQUEST_WITHIN, async {
        write(&mut socket, answer, false).await?;
        socket.shutdown().await
    })
    .await;
}

async fn write(socket: &mut TcpStream, answer: &Answer, keep_alive: bool) -> std::io::Result<()> {
    socket.write_all(answer.head(keep_alive).as_bytes()).await?;
    socket.write_all(&answer.body).await
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use futures::{SinkExt, StreamExt};
    use serde_json::Value;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;

    use super::*;
    use crate::demo::http::REQUEST_LIMIT;

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
