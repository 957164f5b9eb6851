//! One connection to the simulated server: requests to the logs, or a stream until its end.
//!
//! Streams are served as certstream-server-go serves them: a ping every 30 s, a client that is silent for
//! 65 s cut off, clients' messages over 512 bytes refused. A connection to the logs carries one request after
//! the other. What is neither is refused with a reason.
//!
//! Bounds: 64 clients of the streams; 64 connections that are no stream's, of which four are answered at
//! once; 8 KiB and ten seconds for a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, timeout};

use super::frames::{self, FromClient, take_from_client};
use super::http::{Answer, Request};
use super::pace::{Chunk, Hub, Outbox};
use crate::clock;

/// A demo serves itself and a few who look.
const CLIENTS: usize = 64;
/// Connections that are no stream's, and requests of theirs that are answered at once: one answer has some
/// megabytes at most.
const READERS: usize = 64;
pub const ANSWERS: usize = 4;
/// A connection to the logs may wait so long for its next request, as with usual servers.
const KEPT_FOR: Duration = Duration::from_secs(60);
const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// One connection, from its first request to its end.
pub async fn connection(hub: Arc<Hub>, mut socket: TcpStream, stopped: watch::Receiver<bool>) {
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
