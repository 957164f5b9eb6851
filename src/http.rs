//! `/metrics`, `/livez`, `/readyz` and `/ledger` on one address, loopback unless the operator says otherwise.
//!
//! No framework: four routes, GET and HEAD, no body read. A connection may take two seconds for its
//! headers, and 64 may be open. Paging must not depend on this: a scrape that fails harms nothing.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tracing::debug;

use crate::account::report as ledger;
use crate::clock;
use crate::metrics::{CHECKS, Metrics};

const HEADERS_WITHIN: Duration = Duration::from_secs(2);
const CONNECTIONS: usize = 64;

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
        let open = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let permit = tokio::select! {
                () = stopping(&mut shutdown) => return,
                permit = open.clone().acquire_owned() => permit,
            };
            let stream = tokio::select! {
                () = stopping(&mut shutdown) => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    // Out of file handles, say: it passes, and the loop must not spin meanwhile.
                    Err(error) => {
                        debug!("cannot accept a connection: {error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let (metrics, readiness) = (metrics.clone(), readiness.clone());
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let response = answer(&request, &metrics, &readiness);
                    async move { Ok::<_, Infallible>(response) }
                });
                let served = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADERS_WITHIN)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                if let Err(error) = served {
                    debug!("an HTTP connection ended early: {error}");
                }
                drop(permit);
            });
        }
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
