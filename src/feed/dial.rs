//! Edge: from a host and a port to a byte stream, plain or TLS. The only knower of rustls in the feeds.
//!
//! Each stage has its own limit: look-up and TCP together, the answer of a proxy, then TLS. All addresses of a host are tried,
//! each a little after the one before, so that a family that leads nowhere costs a fraction of a second
//! and not the attempt. Trust comes from the system's roots, or from `ca_file` alone; all files are read
//! again at each attempt, so that a renewed certificate needs no restart. What is spoken on the stream
//! is left to the caller.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::ConnectResult;
use super::proxy::{TunnelError, tunnel};
use super::words::printable;
use crate::config::Proxy;

/// The next address of a host is tried so long after the one before (RFC 8305, section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// More addresses of one host are not tried: the last would begin 4 s after the first.
const MAX_ADDRESSES: usize = 16;

/// A connection's task gives way after so many bytes. What a server packs into them, a hundred thousand
/// empty frames say, keeps the thread for milliseconds.
const BYTES_PER_TURN: usize = 256 * 1024;

/// Characters of a TLS error that are said: it can hold names from the server's certificate.
const MAX_CAUSE: usize = 400;

/// Where to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint {
    pub secure: bool,
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse() {
            Ok(IpAddr::V6(_)) => write!(f, "[{}]:{}", self.host, self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The files that TLS needs, as configured.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TlsFiles {
    /// PEM; in place of the system's roots.
    pub ca: Option<PathBuf>,
    /// PEM; the certificate that we show, its chain behind it.
    pub client_cert: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
}

/// Opens a byte stream to `to`, through `proxy` where there is one; look-up and TCP may take `tcp_within`,
/// the proxy's answer as long again, the TLS handshake `tls_within`.
pub async fn dial(
    to: &Endpoint,
    proxy: Option<&Proxy>,
    files: &TlsFiles,
    tcp_within: Duration,
    tls_within: Duration,
) -> Result<Wire, DialError> {
    let tcp = match proxy {
        None => connect(&to.host, to.port, tcp_within).await?,
        // The proxy looks the name up: here it may have no address at all.
        Some(proxy) => through(proxy, to, tcp_within).await?,
    };
    // Pongs and pings are small and wait for nothing. A socket without the option works as well.
    let _ = tcp.set_nodelay(true);
    if !to.secure {
        return Ok(Wire::new(tcp));
    }

    let name = ServerName::try_from(to.host.clone()).map_err(|_| DialError::Name(to.host.clone()))?;
    let owned = files.clone();
    // Reading the system's roots takes milliseconds: not on a thread that other feeds read on.
    let config = match tokio::task::spawn_blocking(move || owned.client_config()).await {
        Ok(config) => config?,
        Err(failed) => return Err(DialError::Tcp { source: io::Error::other(failed) }),
    };
    match timeout(tls_within, TlsConnector::from(Arc::new(config)).connect(name, tcp)).await {
        Ok(Ok(stream)) => Ok(Wire::new(stream)),
        Ok(Err(error)) => Err(DialError::Tls(tls_cause(&error, files.ca.as_deref()))),
        Err(_) => Err(DialError::Timeout { stage: "the TLS handshake", limit: tls_within }),
    }
}

/// A TCP connection that leads through the proxy.
async fn through(proxy: &Proxy, to: &Endpoint, within: Duration) -> Result<TcpStream, DialError> {
    let named = || format!("{proxy} ({})", proxy.named_by);
    let mut tcp = connect(&proxy.host, proxy.port, within)
        .await
        .map_err(|error| DialError::Proxy { proxy: named(), error: Box::new(error) })?;
    let answered = timeout(within, tunnel(&mut tcp, proxy, to)).await;
    match answered.unwrap_or(Err(TunnelError::Timeout { limit: within })) {
        Ok(()) => Ok(tcp),
        Err(error) => Err(DialError::Tunnel { proxy: named(), error }),
    }
}

async fn connect(host: &str, port: u16, within: Duration) -> Result<TcpStream, DialError> {
    match timeout(within, connect_to_any(host, port)).await {
        Ok(connected) => connected,
        Err(_) => Err(DialError::Timeout { stage: "a TCP connection", limit: within }),
    }
}

async fn connect_to_any(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let addresses =
        tokio::net::lookup_host((host, port)).await.map_err(|source| DialError::Lookup { source })?;
    let mut tries: FuturesUnordered<_> = addresses
        .take(MAX_ADDRESSES)
        .enumerate()
        .map(|(n, address)| async move {
            tokio::time::sleep(NEXT_ADDRESS_AFTER * n as u32).await;
            TcpStream::connect(address).await
        })
        .collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    while let Some(tried) = tries.next().await {
        match tried {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(DialError::Tcp { source: last })
}

impl TlsFiles {
    fn client_config(&self) -> Result<ClientConfig, DialError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| DialError::Tls(error.to_string()))?
            .with_root_certificates(self.roots()?);
        let mut config = match (&self.client_cert, &self.client_key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| file_error(key, error))?;
                builder.with_client_auth_cert(chain, secret).map_err(|error| file_error(cert, error))?
            }
            (None, None) => builder.with_no_client_auth(),
            (Some(alone), None) | (None, Some(alone)) => {
                return Err(file_error(alone, "client_cert_file and client_key_file go together"));
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, DialError> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(file) => {
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|error| file_error(file, error))?;
                }
            }
            None => {
                // One root that cannot be read is no reason to trust none.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(DialError::NoRoots);
                }
            }
        }
        Ok(roots)
    }
}

/// The certificates of a PEM file; one at least.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, DialError> {
    let read: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).and_then(|certificates| certificates.collect());
    match read {
        Ok(found) if found.is_empty() => Err(file_error(file, "holds no certificate in PEM")),
        Ok(found) => Ok(found),
        Err(error) => Err(file_error(file, error)),
    }
}

fn file_error(file: &Path, cause: impl fmt::Display) -> DialError {
    DialError::File { file: file.to_owned(), cause: cause.to_string() }
}

/// What went wrong in TLS, in words that say what to do. `ca_file` is what was trusted.
pub(super) fn tls_cause(error: &io::Error, ca_file: Option<&Path>) -> String {
    let Some(tls) = tls_error(error) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                "the server closed the connection during the handshake".to_owned()
            }
            _ => error.to_string(),
        };
    };
    let hint = match tls {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => match ca_file {
            Some(file) => {
                format!(": the server's certificate is not signed by a CA in {}", file.display())
            }
            None => ": the server's certificate is not signed by a CA of this system; ca_file names another"
                .to_owned(),
        },
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            ": the server wants a client certificate: client_cert_file, client_key_file".to_owned()
        }
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError,
        ) => ": the server refuses our client certificate".to_owned(),
        rustls::Error::InvalidMessage(_) => {
            ": the server does not speak TLS on this port; ws:// is without".to_owned()
        }
        _ => String::new(),
    };
    format!("{}{hint}", printable(tls.to_string().as_bytes(), MAX_CAUSE))
}

/// The TLS error that an I/O error carries.
pub(super) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Why there is no byte stream.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("its name cannot be looked up: {source}")]
    Lookup { source: io::Error },
    #[error("{source}")]
    Tcp { source: io::Error },
    #[error("the proxy {proxy} cannot be reached: {error}")]
    Proxy { proxy: String, error: Box<DialError> },
    #[error("the proxy {proxy} {error}")]
    Tunnel { proxy: String, error: TunnelError },
    #[error("{stage} took longer than {limit:?}")]
    Timeout { stage: &'static str, limit: Duration },
    #[error("{0:?} is no name that a certificate can have")]
    Name(String),
    #[error("{file}: {cause}", file = file.display())]
    File { file: PathBuf, cause: String },
    #[error("this system has no root certificates: install ca-certificates, or set ca_file")]
    NoRoots,
    #[error("TLS: {0}")]
    Tls(String),
}

impl DialError {
    /// The metric's label.
    pub fn result(&self) -> ConnectResult {
        match self {
            DialError::Tcp { source } if source.kind() == io::ErrorKind::ConnectionRefused => {
                ConnectResult::Refused
            }
            DialError::Tcp { source } if source.kind() == io::ErrorKind::TimedOut => ConnectResult::Timeout,
            DialError::Tcp { .. } | DialError::Lookup { .. } => ConnectResult::Other,
            DialError::Timeout { .. } => ConnectResult::Timeout,
            DialError::Proxy { error, .. } => error.result(),
            DialError::Tunnel { error, .. } => error.result(),
            DialError::Name(_) | DialError::File { .. } | DialError::NoRoots | DialError::Tls(_) => {
                ConnectResult::Tls
            }
        }
    }
}

/// What [`Wire`] wraps: TCP, or TLS over it.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A byte stream that counts what it receives, for any byte is a sign of life, even in the middle of a
/// message; and that gives way to other tasks when it has received much.
pub struct Wire {
    stream: Box<dyn Duplex>,
    received: u64,
    /// Bytes received in this turn.
    turn: usize,
    gave_way: bool,
}

impl Wire {
    fn new(stream: impl Duplex + 'static) -> Wire {
        Wire { stream: Box::new(stream), received: 0, turn: 0, gave_way: false }
    }

    /// Bytes received since it was opened.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The last read ended because the turn was over: there may be more.
    pub fn gave_way(&self) -> bool {
        self.gave_way
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.turn >= BYTES_PER_TURN {
            self.turn = 0;
            self.gave_way = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.gave_way = false;
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buffer) else {
            self.turn = 0;
            return Poll::Pending;
        };
        read?;
        let size = buffer.filled().len() - before;
        self.turn += size;
        self.received += size as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
