//! Edge: asks an HTTP proxy for a tunnel: CONNECT (RFC 9110, section 9.3.6).
//!
//! [`tunnel`] sends the request over a TCP connection to the proxy and reads its answer, up to the empty
//! line and not one byte further: what follows belongs to the tunnel. `ws://` goes through a tunnel as
//! `wss://` does: a proxy that passes requests on rarely passes an Upgrade on.
//!
//! The proxy is told where to, the program's name and its login, nothing else of the feed. Its words are
//! as hostile as a server's: they are bounded, escaped, and said without the login. The time is the
//! caller's to limit.

use std::io;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ConnectResult;
use super::dial::Endpoint;
use super::words::{Secrets, printable};
use crate::config::{Proxy, Secret};

/// An answer's header may have so many bytes; usual ones have a hundred.
const MAX_HEADER: usize = 64 * 1024;

/// Read at once.
const PIECE: usize = 4 * 1024;

/// Bytes of an answer's body that are read for its first words, and how long they may take.
const BODY_BYTES: usize = 1024;
const BODY_WITHIN: Duration = Duration::from_millis(500);

/// Characters of a proxy's words that are said.
const MAX_WORDS: usize = 100;

/// Every answer begins so.
const HTTP: &[u8] = b"HTTP/1.";

/// Makes of a connection to the proxy one to `to`.
pub(super) async fn tunnel(tcp: &mut TcpStream, proxy: &Proxy, to: &Endpoint) -> Result<(), TunnelError> {
    tcp.write_all(request(proxy, to).as_bytes()).await.map_err(TunnelError::Io)?;
    let header = read_header(tcp).await?;
    let status = status(&header)?;
    if (200..300).contains(&status) {
        return Ok(());
    }
    let mut body = Vec::new();
    // Its first words often come a moment after the header; none may come at all.
    let _ = timeout(BODY_WITHIN, tcp.take(BODY_BYTES as u64).read_to_end(&mut body)).await;
    let words = match body.trim_ascii() {
        [] => first_line(&header).get(HTTP.len()..).unwrap_or_default().trim_ascii(),
        body => body,
    };
    let words = Secrets::of_proxy(proxy).printable(words, MAX_WORDS);
    Err(TunnelError::Unwelcome { status, hint: hint(status, proxy), words })
}

fn request(proxy: &Proxy, to: &Endpoint) -> String {
    let agent = concat!("certsieve/", env!("CARGO_PKG_VERSION"));
    let login =
        proxy.login.as_ref().map(Secret::expose).map_or(String::new(), |login| {
            format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(login))
        });
    format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: {agent}\r\n{login}\r\n")
}

/// The answer up to its empty line. What is behind that is left in the socket.
async fn read_header(tcp: &mut TcpStream) -> Result<Vec<u8>, TunnelError> {
    let mut header = Vec::new();
    let mut piece = [0; PIECE];
    loop {
        let length = tcp.peek(&mut piece).await.map_err(TunnelError::Io)?;
        if length == 0 {
            return Err(TunnelError::Closed);
        }
        let before = header.len();
        header.extend_from_slice(&piece[..length]);
        let begin = &header[..header.len().min(HTTP.len())];
        if !HTTP.starts_with(begin) {
            return Err(TunnelError::NotHttp(printable(first_line(&header), MAX_WORDS)));
        }
        let end = end_of_header(&header, before);
        header.truncate(end.unwrap_or(header.len()));
        let taken = header.len() - before;
        tcp.read_exact(&mut piece[..taken]).await.map_err(TunnelError::Io)?;
        if end.is_some() {
            return Ok(header);
        }
        if header.len() > MAX_HEADER {
            return Err(TunnelError::TooLong);
        }
    }
}

/// Where the body begins. Up to `before` it is known not to. Some proxies write no carriage return.
fn end_of_header(header: &[u8], before: usize) -> Option<usize> {
    let from = before.saturating_sub(2);
    memchr::memchr_iter(b'\n', &header[from..]).map(|at| from + at + 1).find_map(|line| {
        match &header[line..] {
            [b'\n', ..] => Some(line + 1),
            [b'\r', b'\n', ..] => Some(line + 2),
            _ => None,
        }
    })
}

fn first_line(header: &[u8]) -> &[u8] {
    header.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or(header)
}

/// `HTTP/1.1 200 …`.
fn status(header: &[u8]) -> Result<u16, TunnelError> {
    let line = first_line(header);
    let number =
        line.get(HTTP.len() + 2..HTTP.len() + 5).filter(|number| number.iter().all(u8::is_ascii_digit));
    let number = number.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
    number.ok_or_else(|| TunnelError::NotHttp(printable(line, MAX_WORDS)))
}

/// What the operator can do.
fn hint(status: u16, proxy: &Proxy) -> String {
    let by = proxy.named_by;
    match (status, &proxy.login) {
        (407, None) => format!(" (it wants a login: write user:password@ before the host of {by})"),
        (407, Some(_)) => format!(" (are user and password in {by} right?)"),
        (403 | 405, _) => " (does it allow CONNECT to this host and port?)".to_owned(),
        (400 | 404 | 501, _) => " (is it a proxy that knows CONNECT?)".to_owned(),
        (502..=504, _) => " (can it reach the feed's host?)".to_owned(),
        _ => String::new(),
    }
}

/// Why there is no tunnel. What is said follows the proxy's name.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    #[error("answered {status} to CONNECT{hint}; its answer begins: {words}")]
    Unwelcome { status: u16, hint: String, words: String },
    #[error("does not speak HTTP/1.1 without TLS; its answer begins: {0}")]
    NotHttp(String),
    #[error("answered CONNECT with a header of over {MAX_HEADER} bytes")]
    TooLong,
    #[error("closed the connection before it had answered CONNECT")]
    Closed,
    #[error("took longer than {limit:?} to answer CONNECT")]
    Timeout { limit: Duration },
    #[error("failed before it had answered CONNECT: {0}")]
    Io(io::Error),
}

impl TunnelError {
    /// The metric's label.
    pub fn result(&self) -> ConnectResult {
        match self {
            TunnelError::Timeout { .. } => ConnectResult::Timeout,
            TunnelError::Io(_) => ConnectResult::Other,
            TunnelError::Unwelcome { .. }
            | TunnelError::NotHttp(_)
            | TunnelError::TooLong
            | TunnelError::Closed => ConnectResult::Http,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(login: Option<&str>) -> Proxy {
        Proxy { host: "p".to_owned(), port: 1, login: login.map(Secret::new), named_by: "HTTPS_PROXY" }
    }

    #[test]
    fn the_request_says_where_to_and_who_asks() {
        let agent = concat!("certsieve/", env!("CARGO_PKG_VERSION"));
        for (host, login, to, more) in [
            ("feed.example.net", None, "feed.example.net:443", ""),
            ("::1", None, "[::1]:443", ""),
            ("h", Some("user:hunter2"), "h:443", "Proxy-Authorization: Basic dXNlcjpodW50ZXIy\r\n"),
        ] {
            let endpoint = Endpoint { secure: true, host: host.to_owned(), port: 443 };
            let want = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: {agent}\r\n{more}\r\n");
            assert_eq!(request(&proxy(login), &endpoint), want);
        }
    }

    #[test]
    fn the_header_ends_at_its_empty_line_wherever_a_piece_ends() {
        for (text, want) in [
            ("HTTP/1.1 200 OK\r\n\r\nx", Some(19)),
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r\n\r\n\r\n", Some(25)),
            ("HTTP/1.0 200\n\nx", Some(14)),
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r", None),
            ("HTTP/1.1 200 OK", None),
        ] {
            let text = text.as_bytes();
            for cut in 0..text.len() {
                let early = end_of_header(&text[..cut], 0);
                assert_eq!(early.or_else(|| end_of_header(text, cut)), want, "cut at {cut}");
            }
        }
    }

    #[test]
    fn statuses_are_numbers() {
        for (line, want) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Some(200)),
            ("HTTP/1.0 407\r\n\r\n", Some(407)),
            ("HTTP/1.1 20\r\n\r\n", None),
            ("HTTP/1.1 +20 x\r\n\r\n", None),
            ("HTTP/1.\n\n", None),
        ] {
            assert_eq!(status(line.as_bytes()).ok(), want, "{line}");
        }
    }

    #[test]
    fn hints_name_what_to_change() {
        for (status, login, want) in [
            (407, None, "write user:password@ before the host of HTTPS_PROXY"),
            (407, Some("u:p"), "are user and password in HTTPS_PROXY right?"),
            (403, None, "allow CONNECT"),
            (502, None, "reach the feed's host"),
        ] {
            assert!(hint(status, &proxy(login)).contains(want), "{status}");
        }
        assert_eq!(hint(418, &proxy(None)), "");
    }
}
