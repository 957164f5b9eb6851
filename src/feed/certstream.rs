//! Edge: a CertStream server's WebSocket, for ever. The only knower of tungstenite among the feeds, with
//! its `reader`, which reads one open connection.
//!
//! [`run`] connects, hands every complete message to its intake inline, and connects again whatever
//! happens, until it is told to stop. Text and binary frames are one thing to it, fragments are put
//! together, and what a message means is left to the intake. It waits for nothing but the socket:
//! pings are answered while it reads, and nothing that it has read is queued or kept.
//!
//! A connection ends when its server closes it, breaks the protocol, sends a message that is too large,
//! gives no byte after a ping or no message for too long; each has its label in [`DisconnectReason`]
//! and a sentence in the log. Attempts are spaced by jittered back-off, so log lines are rare by
//! construction; failures to connect are said at once and then once a minute with their number.
//!
//! Bounds: one message (`max_message_bytes`) twice over while its fragments are put together, 128 KiB of
//! read buffer, 64 KiB of pongs that the server does not read, 64 KiB of handshake. Cost: one clock
//! reading a message, and a look at the timers once a millisecond.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::SinkExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Uri, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tracing::{error, info, warn};

use self::reader::{Ending, Reader};
use super::dial::{DialError, Endpoint, TlsFiles, Wire, dial, tls_cause, tls_error};
use super::retry::{Backoff, Complaints};
use super::words::{Secrets, printable};
use super::{ConnectResult, DisconnectReason, FeedMeter, Intake, Refusal};
use crate::config::CertstreamFeed;

mod reader;

/// One read takes what a burst of a server brings: lite messages come 90 at a time.
const READ_BUFFER: usize = 128 * 1024;

/// Pongs that the server does not read; beyond it only the latest is kept (RFC 6455, section 5.5.3).
const MAX_UNREAD_PONGS: usize = 64 * 1024;

/// Characters of a server's words that are said: a page's title, a close reason.
const MAX_WORDS: usize = 100;

/// Characters of a Location that are said.
const MAX_LOCATION: usize = 300;

/// Bytes of an answer's body that are read for its first words, and how long they may take.
const BODY_BYTES: usize = 1024;
const BODY_WITHIN: Duration = Duration::from_millis(500);

/// Every time span of a connection's life.
#[derive(Clone, Debug)]
pub struct Timing {
    /// For look-up and TCP, and as long again for the answer of a proxy.
    pub dial_within: Duration,
    /// For the TLS handshake.
    pub tls_within: Duration,
    /// For the WebSocket handshake.
    pub handshake_within: Duration,
    /// The servers cut a client off after 60 s without a ping.
    pub ping_every: Duration,
    /// No byte for so long after a ping: the connection is dead.
    pub pong_within: Duration,
    /// The first pause before connecting again; each further one is twice as long …
    pub retry_first: Duration,
    /// … up to this.
    pub retry_most: Duration,
    /// A connection that gave messages for so long was a good one: the pause begins anew.
    pub stable_after: Duration,
    /// A refused stream is tried again: its server may have changed.
    pub refused_retry: Duration,
    /// Failures to connect are said so often at most.
    pub complain_every: Duration,
    /// For a last close frame.
    pub goodbye_within: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            dial_within: Duration::from_secs(10),
            tls_within: Duration::from_secs(10),
            handshake_within: Duration::from_secs(10),
            ping_every: Duration::from_secs(15),
            pong_within: Duration::from_secs(30),
            retry_first: Duration::from_millis(500),
            retry_most: Duration::from_secs(30),
            stable_after: Duration::from_secs(60),
            refused_retry: Duration::from_secs(60),
            complain_every: Duration::from_secs(60),
            goodbye_within: Duration::from_secs(1),
        }
    }
}

/// Reads the feed until `shutdown` is true or its sender is gone.
pub async fn run<I: Intake>(
    feed: CertstreamFeed,
    timing: Timing,
    mut intake: I,
    meter: Arc<FeedMeter>,
    mut shutdown: watch::Receiver<bool>,
) {
    let client = Client { secrets: Secrets::of(&feed), feed: &feed, timing: &timing, meter: &meter };
    let mut backoff = Backoff::new(timing.retry_first, timing.retry_most, fastrand::Rng::new());
    let mut complaints = Complaints::new(timing.complain_every);
    let mut told_refusal = None;
    loop {
        let pause = match client.visit(&mut intake, &mut shutdown).await {
            Ok(Visit { ending: Ending::Stopped, .. }) => return,
            Ok(Visit { ending: Ending::Lost(lost), stable }) => {
                if stable {
                    backoff.reset();
                }
                let pause = backoff.pause();
                meter.count_disconnect(lost.reason());
                let reason = lost.reason().label();
                warn!(feed = feed.name, reason, retry_in = ?pause, "connection lost: {lost}");
                pause
            }
            Ok(Visit { ending: Ending::Refused(Refusal(reason)), .. }) => {
                let pause = timing.refused_retry;
                meter.count_disconnect(DisconnectReason::Close);
                meter.set_refused(Some(reason.clone()));
                if told_refusal.as_ref() != Some(&reason) {
                    error!(feed = feed.name, retry_in = ?pause, "the feed cannot be used: {reason}");
                    told_refusal = Some(reason);
                }
                pause
            }
            Err(failed) => {
                let now = Instant::now();
                let said = complaints.due(now);
                // The next try comes no later than the next time to say it.
                let rest = complaints.rest(now);
                let pause = if rest.is_zero() { backoff.pause() } else { backoff.pause().min(rest) };
                let result = failed.result();
                meter.count_connect(result);
                if let Some(failures) = said {
                    let result = result.label();
                    warn!(feed = feed.name, result, failures, retry_in = ?pause, "cannot connect: {failed}");
                }
                pause
            }
        };
        tokio::select! {
            biased;
            () = stopped(&mut shutdown) => return,
            () = sleep(pause) => {}
        }
    }
}

/// Where a feed's URL leads, or what is wrong with it.
pub fn endpoint(url: &str) -> Result<Endpoint, UrlError> {
    // The URL itself is in no message: its path and query may hold a token.
    let uri: Uri = url.parse().map_err(|_| UrlError::Syntax)?;
    let secure = match uri.scheme_str() {
        Some("ws") => false,
        Some("wss") => true,
        other => return Err(UrlError::Scheme(printable(other.unwrap_or_default().as_bytes(), 20))),
    };
    let authority = uri.authority().ok_or(UrlError::Host)?;
    if authority.as_str().contains('@') {
        return Err(UrlError::Login);
    }
    let host = authority.host();
    let port = match authority.as_str()[host.len()..].strip_prefix(':') {
        None => {
            if secure {
                443
            } else {
                80
            }
        }
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err(UrlError::Port(printable(port.as_bytes(), 20))),
            Ok(port) => port,
        },
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err(UrlError::Host);
    }
    Ok(Endpoint { secure, host: host.to_owned(), port })
}

/// A URL that no WebSocket can be opened to.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    #[error("is no URL; an example is wss://feed.example.net/full-stream")]
    Syntax,
    #[error("begins with {0:?}; a WebSocket's begins with ws:// or wss://, in lower case")]
    Scheme(String),
    #[error("has no host")]
    Host,
    #[error("has a port {0:?}; a port is 1 to 65535")]
    Port(String),
    #[error(
        "holds a user name or password; header = {{ Authorization = {{ file = … }} }} carries one in secret"
    )]
    Login,
}

/// Resolves once the shutdown is announced; a sender that is gone announces it too.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// What all connections of one feed share.
struct Client<'a> {
    feed: &'a CertstreamFeed,
    timing: &'a Timing,
    meter: &'a FeedMeter,
    secrets: Secrets,
}

/// How a connection went.
struct Visit {
    ending: Ending,
    /// It gave messages for [`Timing::stable_after`].
    stable: bool,
}

impl Client<'_> {
    /// One connection, from the look-up of its name to its end.
    async fn visit<I: Intake>(
        &self,
        intake: &mut I,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<Visit, ConnectError> {
        let nothing = Visit { ending: Ending::Stopped, stable: false };
        let to = endpoint(&self.feed.url)?;
        let mut wire = tokio::select! {
            biased;
            () = stopped(shutdown) => return Ok(nothing),
            dialled = self.dial(&to) => dialled?,
        };
        let mut socket = tokio::select! {
            biased;
            () = stopped(shutdown) => return Ok(nothing),
            shaken = self.shake_hands(&mut wire) => match shaken? {
                Ok(socket) => socket,
                Err(WsError::Http(response)) => return Err(self.unwelcome(*response, &mut wire).await),
                Err(error) => return Err(self.handshake_error(error)),
            },
        };

        self.meter.count_connect(ConnectResult::Ok);
        self.meter.set_connected(true);
        info!(feed = self.feed.name, %to, proxy = self.feed.proxy.as_ref().map(display), "connected");
        intake.begin();
        let mut reader = Reader::new(self, intake);
        let ending = reader.read(&mut socket, shutdown).await;
        let stable = reader.is_stable();
        self.meter.set_connected(false);

        // Politeness, and no more: the close frame goes out if the socket takes it now.
        let _ = timeout(self.timing.goodbye_within, async {
            let _ = socket.close(ending.goodbye()).await;
            // Where the server closed first, the answer to that is what is left to send.
            let _ = socket.flush().await;
        })
        .await;
        drop(socket);
        let _ = timeout(self.timing.goodbye_within, wire.shutdown()).await;
        Ok(Visit { ending, stable })
    }

    async fn dial(&self, to: &Endpoint) -> Result<Wire, ConnectError> {
        let files = TlsFiles {
            ca: self.feed.ca_file.clone(),
            client_cert: self.feed.client_cert_file.clone(),
            client_key: self.feed.client_key_file.clone(),
        };
        let proxy = self.feed.proxy.as_ref();
        let dialled = dial(to, proxy, &files, self.timing.dial_within, self.timing.tls_within).await;
        dialled.map_err(|error| ConnectError::Dial { to: to.clone(), error })
    }

    /// The inner error is the handshake's own; a response that is no 101 is among them.
    async fn shake_hands<'w>(
        &self,
        wire: &'w mut Wire,
    ) -> Result<Result<WebSocketStream<&'w mut Wire>, WsError>, ConnectError> {
        let limit = self.timing.handshake_within;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(MAX_UNREAD_PONGS)
            .max_message_size(Some(self.feed.max_message_bytes))
            .max_frame_size(Some(self.feed.max_message_bytes));
        match timeout(limit, client_async_with_config(self.request()?, wire, Some(config))).await {
            Ok(shaken) => Ok(shaken.map(|(socket, _)| socket)),
            Err(_) => Err(ConnectError::Timeout { limit }),
        }
    }

    fn request(&self) -> Result<Request, ConnectError> {
        let mut request = self.feed.url.as_str().into_client_request().map_err(|_| UrlError::Syntax)?;
        let agent = concat!("certsieve/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(agent));
        for (name, value) in &self.feed.headers {
            let bad = |what| ConnectError::Header { name: printable(name.as_bytes(), MAX_WORDS), what };
            let key: HeaderName = name.parse().map_err(|_| bad("name"))?;
            let mut secret = HeaderValue::from_str(value.expose()).map_err(|_| bad("value"))?;
            secret.set_sensitive(true);
            request.headers_mut().insert(key, secret);
        }
        Ok(request)
    }

    /// What the server said in place of a WebSocket.
    async fn unwelcome(&self, response: Response, wire: &mut Wire) -> ConnectError {
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        if head.status.is_redirection()
            && let Some(location) = head.headers.get(header::LOCATION)
        {
            let location = self.secrets.printable(location.as_bytes(), MAX_LOCATION);
            return ConnectError::Redirect { status, location };
        }
        let mut body = body.unwrap_or_default();
        body.truncate(BODY_BYTES);
        // Its first words often come a moment after the header.
        let _ = timeout(BODY_WITHIN, async {
            while body.len() < BODY_BYTES {
                let room = (BODY_BYTES - body.len()) as u64;
                if (&mut *wire).take(room).read_buf(&mut body).await.unwrap_or(0) == 0 {
                    break;
                }
            }
        })
        .await;
        let words = self.secrets.printable(body.trim_ascii(), MAX_WORDS);
        let hint = match status {
            401 | 403 => " (is the feed's header right?)",
            404 => " (is the path of the feed's url right?)",
            429 => " (it limits how often we may connect)",
            _ => "",
        };
        let body = if words.is_empty() { words } else { format!("; its answer begins: {words}") };
        ConnectError::Unwelcome { status, hint, body }
    }

    fn handshake_error(&self, error: WsError) -> ConnectError {
        let what = match error {
            // With TLS 1.3 the server judges our certificate after the TLS handshake is through.
            WsError::Io(error) if tls_error(&error).is_some() => {
                return ConnectError::Tls(tls_cause(&error, self.feed.ca_file.as_deref()));
            }
            WsError::Io(error) => return ConnectError::Io(error),
            WsError::Protocol(ProtocolError::HandshakeIncomplete) => {
                "it closed the connection before it had answered".to_owned()
            }
            WsError::Protocol(ProtocolError::HttparseError(error)) => {
                format!("its answer is not HTTP/1.1 ({error}); a server with TLS wants wss://")
            }
            WsError::AttackAttempt | WsError::Capacity(_) => {
                "its answer's header is over 64 KiB, has over 124 fields or comes in hundreds of pieces"
                    .to_owned()
            }
            other => self.secrets.printable(other.to_string().as_bytes(), MAX_WORDS),
        };
        ConnectError::Handshake(what)
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("the feed's url {0}")]
    Url(#[from] UrlError),
    #[error("the {what} of header {name:?} holds characters that HTTP does not allow")]
    Header { name: String, what: &'static str },
    #[error("{to}: {error}")]
    Dial { to: Endpoint, error: DialError },
    #[error("TLS: {0}")]
    Tls(String),
    #[error("the WebSocket handshake took longer than {limit:?}")]
    Timeout { limit: Duration },
    #[error(
        "the server redirects: it answered {status} with Location {location}; redirects are not followed, \
         set the feed's url to where it leads"
    )]
    Redirect { status: u16, location: String },
    #[error("the server answered {status} in place of a WebSocket{hint}{body}")]
    Unwelcome { status: u16, hint: &'static str, body: String },
    #[error("the server does not speak WebSocket here: {0}")]
    Handshake(String),
    #[error("the connection failed during the WebSocket handshake: {0}")]
    Io(io::Error),
}

impl ConnectError {
    fn result(&self) -> ConnectResult {
        match self {
            ConnectError::Dial { error, .. } => error.result(),
            ConnectError::Tls(_) => ConnectResult::Tls,
            ConnectError::Timeout { .. } => ConnectResult::Timeout,
            ConnectError::Redirect { .. } | ConnectError::Unwelcome { .. } | ConnectError::Handshake(_) => {
                ConnectResult::Http
            }
            ConnectError::Url(_) | ConnectError::Header { .. } | ConnectError::Io(_) => ConnectResult::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    pub fn feed(url: &str, headers: &[(&str, &str)]) -> CertstreamFeed {
        CertstreamFeed {
            name: "test".to_owned(),
            url: url.to_owned(),
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            headers: headers.iter().map(|(k, v)| ((*k).to_owned(), Secret::new(*v))).collect(),
            proxy: None,
            max_message_bytes: 1024,
            silence_after: Duration::from_secs(60),
        }
    }

    pub fn client<R>(feed: &CertstreamFeed, ask: impl FnOnce(&Client<'_>) -> R) -> R {
        let meter = FeedMeter::new("test", None);
        ask(&Client { secrets: Secrets::of(feed), feed, timing: &Timing::default(), meter: &meter })
    }

    #[test]
    fn urls_lead_to_endpoints() {
        for (url, want) in [
            ("ws://feed.example.net/full-stream", "feed.example.net:80"),
            ("wss://feed.example.net", "feed.example.net:443"),
            ("wss://feed.example.net?token=x", "feed.example.net:443"),
            ("ws://127.0.0.1:8080/", "127.0.0.1:8080"),
            ("ws://[::1]/", "[::1]:80"),
            ("wss://[2001:db8::1]:4000/x", "[2001:db8::1]:4000"),
        ] {
            let got = endpoint(url).unwrap();
            assert_eq!((got.to_string(), got.secure), (want.to_owned(), url.starts_with("wss")), "{url}");
        }
    }

    #[test]
    fn bad_urls_are_refused_without_being_repeated() {
        for (url, want) in [
            ("", UrlError::Syntax),
            ("wss://feed example/", UrlError::Syntax),
            ("https://feed.example.net/", UrlError::Scheme("https".to_owned())),
            ("WSS://feed.example.net/", UrlError::Scheme("WSS".to_owned())),
            ("/full-stream", UrlError::Scheme(String::new())),
            ("ws://host:0/", UrlError::Port("0".to_owned())),
            ("ws://user:s3cret@host/", UrlError::Login),
        ] {
            let got = endpoint(url).unwrap_err();
            assert_eq!(got, want, "{url}");
            assert!(!got.to_string().contains("s3cret"));
        }
        for url in ["ws://host:70000/", "ws://host:/", "ws://:80/", "ws:///x"] {
            assert!(endpoint(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_request_carries_the_headers_and_an_error_only_their_names() {
        let made = client(&feed("ws://h/x?y=1", &[("Authorization", "Bearer tok3n-value")]), |client| {
            client.request().unwrap()
        });
        assert_eq!(made.headers()["authorization"], "Bearer tok3n-value");
        assert_eq!(made.headers()["user-agent"], concat!("certsieve/", env!("CARGO_PKG_VERSION")));
        assert_eq!(made.uri().path_and_query().unwrap(), "/x?y=1");
        assert!(!format!("{made:?}").contains("tok3n"));
        for (name, value, what) in [("Author ization", "v", "name"), ("X-Key", "tok3n\nx", "value")] {
            let error = client(&feed("ws://h/", &[(name, value)]), |client| {
                client.request().unwrap_err().to_string()
            });
            assert!(error.contains(what) && error.contains(name) && !error.contains("tok3n"), "{error}");
        }
    }
}
