//! Edge: GET over HTTP/1.1, for log lists and logs; the only client of hyper.
//!
//! [`Fetcher`] carries out what [`Transport`] asks: it dials as feeds do ([`dial`]: TLS with the system's roots
//! or a CA file, proxies of the environment), keeps connections of a host for the next request, and decodes
//! gzip while it comes. A redirect is an answer: nobody but the operator decides which host is called.
//!
//! Every wait has an end: `TCP_WITHIN`, `TLS_WITHIN` and `HEADER_WITHIN`, all of them within the
//! request's own time, which a body that drips in is cut off by. A body counts against the request's bound as
//! it comes and once it is decompressed. A connection that was kept may have been closed at the other end at
//! the same moment: then the request goes once more, on a new one.
//!
//! Bounds: the body, 64 KiB of header and some 400 KiB of read buffer for each request under way;
//! [`KEPT_PER_HOST`] idle connections of a host, for [`KEPT_FOR`].

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use flate2::write::MultiGzDecoder;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::clock;
use crate::config::Proxies;
use crate::ctlog::{Answer, Get, Transport, TransportError};
use crate::feed::dial::{DialError, Endpoint, TlsFiles, dial};

/// Look-up and TCP together; a proxy's answer as long again.
const TCP_WITHIN: Duration = Duration::from_secs(10);
const TLS_WITHIN: Duration = Duration::from_secs(10);

/// From the request to the end of the answer's header: a log looks a thousand entries up meanwhile.
const HEADER_WITHIN: Duration = Duration::from_secs(20);

/// The body of an answer that is no 200 is read to its end so far, so that the connection can be kept.
const OTHER_BODY: usize = 16 * 1024;
const OTHER_BODY_WITHIN: Duration = Duration::from_secs(1);

/// A usual server closes an idle connection after 5 to 75 seconds.
pub const KEPT_FOR: Duration = Duration::from_secs(30);
pub const KEPT_PER_HOST: usize = 4;

/// Characters of a contact that are sent.
const MAX_CONTACT: usize = 200;

/// Fetches, for all of the process.
pub struct Fetcher {
    agent: HeaderValue,
    proxies: Proxies,
    tls: TlsFiles,
    idle: Mutex<HashMap<Endpoint, Vec<Idle>>>,
}

/// A connection between two requests.
struct Idle {
    sender: Sender,
    since: Instant,
}

type Sender = SendRequest<Empty<Bytes>>;

impl Fetcher {
    /// `contact` is said to every server, so that its operator can reach ours. `tls` names a CA file where the
    /// system's roots are not what is trusted.
    pub fn new(contact: Option<&str>, proxies: Proxies, tls: TlsFiles) -> Fetcher {
        Fetcher { agent: agent(contact), proxies, tls, idle: Mutex::default() }
    }

    async fn fetch(&self, request: Get) -> Result<Answer, TransportError> {
        let target = Target::of(&request.url)?;
        let within = Within { end: Instant::now() + request.within, limit: request.within };
        let (sender, answer) = self.send(&target, within).await?;
        let status = answer.status();
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        let (body, whole) = if status == StatusCode::OK {
            (body(answer, request.max_bytes, within).await?, true)
        } else {
            // What it says besides is nothing to us, and not worth an error.
            let short = Within { end: within.end.min(Instant::now() + OTHER_BODY_WITHIN), ..within };
            let rest = body(answer, OTHER_BODY.min(request.max_bytes), short).await;
            rest.map_or((Vec::new(), false), |body| (body, true))
        };
        if whole {
            self.keep(target.endpoint, sender);
        }
        Ok(Answer { status: status.as_u16(), retry_after, body, at: clock::now() })
    }

    /// Sends the request, over a kept connection if there is one, and gives the answer's header.
    async fn send(
        &self,
        target: &Target,
        within: Within,
    ) -> Result<(Sender, Response<Incoming>), TransportError> {
        let kept = timeout_at(within.end, self.kept(&target.endpoint)).await;
        if let Ok(Some(mut sender)) = kept {
            match within.header(sender.send_request(self.request(target))).await? {
                Ok(answer) => return Ok((sender, answer)),
                // It was closed while it was idle, or will not be known to have been.
                Err(error) => debug!("a kept connection to {} has ended: {error}", target.endpoint),
            }
        }
        let mut sender = self.connect(target, within).await?;
        match within.header(sender.send_request(self.request(target))).await? {
            Ok(answer) => Ok((sender, answer)),
            Err(error) => Err(broken(&error)),
        }
    }

    async fn connect(&self, target: &Target, within: Within) -> Result<Sender, TransportError> {
        let proxy = self.proxies.of(&target.url);
        let wire = timeout_at(within.end, dial(&target.endpoint, proxy, &self.tls, TCP_WITHIN, TLS_WITHIN))
            .await
            .map_err(|_| within.over("a connection"))?
            .map_err(|error| match error {
                DialError::Timeout { stage, limit } => TransportError::Timeout { what: stage, limit },
                other => TransportError::Unreachable(other.to_string()),
            })?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(wire)).await.map_err(|error| broken(&error))?;
        tokio::spawn(connection.map(|ended| {
            if let Err(error) = ended {
                debug!("a connection ended early: {error}");
            }
        }));
        Ok(sender)
    }

    fn request(&self, target: &Target) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = target.path.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, target.host.clone());
        headers.insert(USER_AGENT, self.agent.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, identity"));
        request
    }

    /// A connection that another request was done with, the youngest one.
    async fn kept(&self, endpoint: &Endpoint) -> Option<Sender> {
        loop {
            let Idle { mut sender, since } = self.idle().get_mut(endpoint)?.pop()?;
            if since.elapsed() < KEPT_FOR && !sender.is_closed() && sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    fn keep(&self, endpoint: Endpoint, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle();
        idle.retain(|_, kept| {
            kept.retain(|one| one.since.elapsed() < KEPT_FOR && !one.sender.is_closed());
            !kept.is_empty()
        });
        let kept = idle.entry(endpoint).or_default();
        if kept.len() < KEPT_PER_HOST {
            kept.push(Idle { sender, since: Instant::now() });
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, HashMap<Endpoint, Vec<Idle>>> {
        // Nothing that is done under the lock panics half-way.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Fetcher {
    fn get(&self, request: Get) -> BoxFuture<'_, Result<Answer, TransportError>> {
        self.fetch(request).boxed()
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// Who asks: the program, its version, and the contact where there is one.
fn agent(contact: Option<&str>) -> HeaderValue {
    let program = concat!("certsieve/", env!("CARGO_PKG_VERSION"));
    let contact = contact.map(|contact| {
        let plain = |c: &char| c.is_ascii_graphic() && !matches!(c, '(' | ')' | '\\');
        contact.chars().filter(plain).take(MAX_CONTACT).collect::<String>()
    });
    let named = match contact.filter(|contact| !contact.is_empty()) {
        Some(contact) => format!("{program} (+{contact})"),
        None => program.to_owned(),
    };
    HeaderValue::try_from(named).unwrap_or(HeaderValue::from_static(program))
}

/// Where a URL leads.
struct Target {
    url: String,
    endpoint: Endpoint,
    host: HeaderValue,
    /// Path and query.
    path: Uri,
}

impl Target {
    fn of(url: &str) -> Result<Target, TransportError> {
        let uri: Uri = url.parse().map_err(|_| TransportError::Url("it cannot be read"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(TransportError::Url("it does not begin with https:// or http://")),
        };
        let authority = uri.authority().ok_or(TransportError::Url("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(TransportError::Url("it has a user or a password"));
        }
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if bare.is_empty() {
            return Err(TransportError::Url("it has no host"));
        }
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Target {
            url: url.to_owned(),
            endpoint: Endpoint { secure, host: bare.to_ascii_lowercase(), port },
            host: HeaderValue::try_from(authority.as_str())
                .map_err(|_| TransportError::Url("its host cannot be sent"))?,
            path: path.parse().map_err(|_| TransportError::Url("its path cannot be sent"))?,
        })
    }
}

/// The time of one request.
#[derive(Clone, Copy)]
struct Within {
    end: Instant,
    limit: Duration,
}

impl Within {
    async fn header<T>(self, answer: impl Future<Output = T>) -> Result<T, TransportError> {
        let end = Instant::now() + HEADER_WITHIN;
        let limit = if end < self.end { HEADER_WITHIN } else { self.limit };
        let over = |_| TransportError::Timeout { what: "an answer's header", limit };
        timeout_at(end.min(self.end), answer).await.map_err(over)
    }

    fn over(self, what: &'static str) -> TransportError {
        TransportError::Timeout { what, limit: self.limit }
    }
}

/// The body, decompressed, of at most so many bytes.
async fn body(answer: Response<Incoming>, limit: usize, within: Within) -> Result<Vec<u8>, TransportError> {
    let coding = answer.headers().get(CONTENT_ENCODING).map(|coding| coding.as_bytes().to_ascii_lowercase());
    let compressed = match coding.as_deref() {
        None | Some(b"" | b"identity") => false,
        Some(b"gzip" | b"x-gzip") => true,
        Some(other) => {
            let named: String = String::from_utf8_lossy(other).escape_debug().take(MAX_NAMED).collect();
            return Err(TransportError::Encoding(format!("its Content-Encoding is {named}")));
        }
    };
    let mut body = answer.into_body();
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(TransportError::TooLarge { limit, compressed: false });
    }
    let sink = Bounded { bytes: Vec::with_capacity(announced as usize), limit };
    let mut sink =
        if compressed { Sink::Gzip(Box::new(MultiGzDecoder::new(sink))) } else { Sink::Plain(sink) };
    let mut received = 0;
    loop {
        let frame = timeout_at(within.end, body.frame()).await.map_err(|_| within.over("a whole answer"))?;
        let Some(frame) = frame else { return sink.finish() };
        let frame = frame.map_err(|error| broken(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        received += data.len();
        if received > limit {
            return Err(TransportError::TooLarge { limit, compressed: false });
        }
        sink.take(&data)?;
    }
}

/// Characters of a strange Content-Encoding that are said.
const MAX_NAMED: usize = 40;

/// Where a body goes.
enum Sink {
    Plain(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
}

impl Sink {
    fn take(&mut self, data: &[u8]) -> Result<(), TransportError> {
        match self {
            Sink::Plain(sink) => sink.write_all(data).map_err(|error| sink.error(error)),
            Sink::Gzip(sink) => sink.write_all(data).map_err(|error| sink.get_ref().error(error)),
        }
    }

    fn finish(self) -> Result<Vec<u8>, TransportError> {
        match self {
            Sink::Plain(sink) => Ok(sink.bytes),
            Sink::Gzip(mut sink) => match sink.try_finish() {
                Ok(()) => sink.finish().map(|sink| sink.bytes).map_err(no_gzip),
                Err(error) => Err(sink.get_ref().error(error)),
            },
        }
    }
}

/// Bytes up to a limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Bounded {
    /// What an error of writing here, or of decompressing to here, was.
    fn error(&self, error: io::Error) -> TransportError {
        match error.kind() {
            io::ErrorKind::FileTooLarge => TransportError::TooLarge { limit: self.limit, compressed: true },
            _ => no_gzip(error),
        }
    }
}

fn no_gzip(error: io::Error) -> TransportError {
    TransportError::Encoding(format!("no gzip: {error}"))
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() > self.limit - self.bytes.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What became of an answer that had begun, or should have: hyper's words and what lies behind them.
fn broken(error: &hyper::Error) -> TransportError {
    use std::error::Error;
    let mut said = error.to_string();
    if let Some(cause) = error.source() {
        said += &format!(": {cause}");
    }
    TransportError::Broken(said)
}
