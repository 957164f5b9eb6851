//! `/metrics`, `/livez`, `/readyz` and `/ledger` on one address, loopback unless the operator says otherwise.
//!
//! No framework: four routes, GET and HEAD, no body read. Paging must not depend on this: a scrape that
//! fails harms nothing.
//!
//! A connection is for one request: who asks every few seconds needs no more, and nobody can line up
//! scrapes behind each other. 64 may be open. One may take two seconds for its headers; it is cut when for
//! ten seconds no byte goes either way, and after a minute in any case. When all are taken a new one gets
//! the place of that which has stood still for longest: clients that never read keep nobody out.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::debug;

use crate::account::report as ledger;
use crate::clock;
use crate::metrics::{CHECKS, Metrics};

const HEADERS_WITHIN: Duration = Duration::from_secs(2);
const CONNECTIONS: usize = 64;

/// How long a connection may be what it is.
#[derive(Clone, Copy)]
struct Patience {
    /// Without a byte read or written.
    stalled: Duration,
    /// In all.
    lifetime: Duration,
}

/// A scrape takes milliseconds; Prometheus gives up after ten seconds.
const PATIENCE: Patience = Patience { stalled: Duration::from_secs(10), lifetime: Duration::from_secs(60) };

/// The account's thread comes round five times a second, and may wait for a disk now and then.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// What the readiness is made of, asked at each request.
pub type Readiness = Arc<dyn Fn() -> Ready + Send + Sync>;

/// As the body of `/readyz` has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Ready {
    pub ready: bool,
    /// As [`CHECKS`].
    pub checks: [Check; CHECKS.len()],
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    pub check: &'static str,
    pub ready: bool,
    /// What is in the way, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}: {source}; choose another [http] listen")]
pub struct BindError {
    pub listen: String,
    pub source: std::io::Error,
}

/// The bound server.
pub struct Http {
    listener: TcpListener,
    address: SocketAddr,
}

impl Http {
    pub async fn bind(listen: &str) -> Result<Http, BindError> {
        let failed = |source| BindError { listen: listen.to_owned(), source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Http { listener, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` is true.
    pub async fn serve(
        self,
        metrics: Arc<Metrics>,
        readiness: Readiness,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let mut open = JoinSet::new();
        let mut progress: HashMap<Id, (AbortHandle, Progress)> = HashMap::new();
        loop {
            let stream = tokio::select! {
                () = stopping(&mut shutdown) => return,
                Some(ended) = open.join_next_with_id() => {
                    progress.remove(&ended.map_or_else(|error| error.id(), |(id, ())| id));
                    continue;
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    // Out of file handles, say: it passes, and the loop must not spin meanwhile.
                    Err(error) => {
                        debug!("cannot accept a connection: {error}");
                        sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            if progress.len() >= CONNECTIONS {
                let oldest = progress.iter().min_by_key(|(_, (_, last))| last.at()).map(|(id, _)| *id);
                if let Some((handle, _)) = oldest.and_then(|id| progress.remove(&id)) {
                    debug!("an HTTP connection makes room for a new one");
                    handle.abort();
                }
            }
            let last = Progress::now();
            let (metrics, readiness) = (metrics.clone(), readiness.clone());
            let served = connection(Watched::new(stream, last.clone()), PATIENCE, move |request| {
                answer(request, &metrics, &readiness)
            });
            let handle = open.spawn(served);
            progress.insert(handle.id(), (handle, last));
        }
    }
}

/// Serves one connection to its end.
async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: Watched<S>,
    patience: Patience,
    answer: impl Fn(&Request<Incoming>) -> Response<Full<Bytes>>,
) {
    let last = stream.last.clone();
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut served = pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_WITHIN)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
    );
    let end = Instant::now() + patience.lifetime;
    loop {
        tokio::select! {
            served = served.as_mut() => {
                if let Err(error) = served {
                    debug!("an HTTP connection ended early: {error}");
                }
                return;
            }
            () = sleep_until(end.min(last.at() + patience.stalled)) => {}
        }
        if Instant::now() >= end || last.at().elapsed() >= patience.stalled {
            debug!("an HTTP connection is cut: its client reads too slowly or not at all");
            return;
        }
    }
}

/// When a byte last went over a connection.
#[derive(Clone)]
struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    fn now() -> Progress {
        Progress(Arc::new(Mutex::new(Instant::now())))
    }

    fn at(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn made(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// A stream whose progress is noted: of the request, and then of the answer alone.
struct Watched<S> {
    stream: S,
    last: Progress,
    answering: bool,
}

impl<S> Watched<S> {
    fn new(stream: S, last: Progress) -> Watched<S> {
        Watched { stream, last, answering: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if !self.answering {
            self.last.made();
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.answering = true;
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.last.made();
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Until `shutdown` is true or its sender is gone.
async fn stopping(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|stop| *stop).await);
}

fn answer(request: &Request<Incoming>, metrics: &Metrics, readiness: &Readiness) -> Response<Full<Bytes>> {
    let (path, mut response) = match request.uri().path() {
        _ if request.method() != Method::GET && request.method() != Method::HEAD => {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            ("other", response)
        }
        "/metrics" => {
            // The gauges of the checks are of now, too.
            let checks = readiness().checks;
            metrics.ready(checks.map(|check| check.ready));
            ("metrics", text(StatusCode::OK, metrics.render()))
        }
        "/livez" => ("livez", live(metrics)),
        "/ledger" => {
            let mut response = text(StatusCode::OK, ledger::json(&metrics.counts(), clock::now()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            ("ledger", response)
        }
        "/readyz" => {
            let ready = readiness();
            let code = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let mut body = serde_json::to_string_pretty(&ready).unwrap_or_default();
            body.push('\n');
            let mut response = text(code, body);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            ("readyz", response)
        }
        _ => (
            "other",
            text(StatusCode::NOT_FOUND, "there are /metrics, /livez, /readyz and /ledger\n".to_owned()),
        ),
    };
    if path == "metrics" {
        let kind = HeaderValue::from_static("text/plain; version=0.0.4");
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    metrics.answered(path, response.status().as_u16());
    response
}

/// The loops turn; nothing outside is asked.
fn live(metrics: &Metrics) -> Response<Full<Bytes>> {
    match metrics.turned() {
        Some(ago) if ago > STUCK_AFTER => {
            let said = format!("the account's thread has not come round for {} s\n", ago.as_secs());
            text(StatusCode::SERVICE_UNAVAILABLE, said)
        }
        _ => text(StatusCode::OK, "ok\n".to_owned()),
    }
}

fn text(code: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    /// A ceiling for what takes a tenth of a second.
    const SOON: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(100);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    /// Serves answers of a thousand bytes over a pipe that holds less, until the connection ends.
    async fn serve(patience: Patience, client: impl AsyncFnOnce(DuplexStream)) {
        let (stream, other) = duplex(512);
        let served = connection(Watched::new(stream, Progress::now()), patience, |_| {
            text(StatusCode::OK, "x".repeat(1000))
        });
        let both = async { tokio::join!(served, client(other)) };
        timeout(SOON, both).await.expect("the connection ends");
    }

    #[tokio::test]
    async fn a_client_that_never_reads_its_answer_is_cut() {
        serve(Patience { stalled: SHORT, lifetime: SOON * 10 }, async |mut client: DuplexStream| {
            client.write_all(REQUEST).await.unwrap();
            while client.write_all(b"x").await.is_ok() {
                sleep(SHORT / 10).await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_client_that_reads_for_ever_is_cut() {
        serve(Patience { stalled: SOON * 10, lifetime: SHORT }, async |mut client: DuplexStream| {
            client.write_all(REQUEST).await.unwrap();
            let mut read = 0;
            while client.read_u8().await.is_ok() {
                read += 1;
                sleep(SHORT / 50).await;
            }
            assert!(read < 1000, "the whole answer");
        })
        .await;
    }

    #[tokio::test]
    async fn one_request_is_answered_and_no_more() {
        serve(Patience { stalled: SOON * 10, lifetime: SOON * 10 }, async |mut client: DuplexStream| {
            client.write_all(&REQUEST.repeat(2)).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
            assert!(answer.ends_with(&"x".repeat(1000)), "{answer}");
            assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
        })
        .await;
    }
}
