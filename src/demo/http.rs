//! As much HTTP/1.1 as the demo's server needs: requests without a body, and answers with one.
//!
//! A connection may carry several requests, one after the other. Bounds: 8 KiB for the head of a request.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Stream;

/// A browser's request is under 2 KiB.
pub const REQUEST_LIMIT: usize = 8 * 1024;

/// The head of one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub method: String,
    /// Without the query.
    pub path: String,
    query: String,
    http_1_0: bool,
    headers: Vec<(String, String)>,
}

impl Request {
    /// Reads one head; what came behind it stays in `bytes`. `None` where it is too long or the client is gone.
    pub async fn read(socket: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Option<Request> {
        loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = bytes.drain(..end + 4).collect();
                return Some(Request::parse(std::str::from_utf8(&head).ok()?));
            }
            if bytes.len() > REQUEST_LIMIT || socket.read_buf(bytes).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// What is missing is empty.
    pub fn parse(head: &str) -> Request {
        let mut lines = head.split("\r\n");
        let mut request = lines.next().unwrap_or_default().split(' ');
        let method = request.next().unwrap_or_default().to_owned();
        let (path, query) = match request.next().unwrap_or_default() {
            target if target.contains('?') => target.split_once('?').unwrap_or((target, "")),
            target => (target, ""),
        };
        let headers = lines.filter_map(|line| line.split_once(':'));
        Request {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            http_1_0: request.next() == Some("HTTP/1.0"),
            headers: headers.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect(),
        }
    }

    /// A parameter as it stands; the logs' own need no decoding.
    pub fn query(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Empty where there is none.
    fn header(&self, wanted: &str) -> &str {
        let found = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map_or("", |(_, value)| value)
    }

    pub fn accepts_gzip(&self) -> bool {
        self.header("accept-encoding").split(',').any(|coding| coding.trim().eq_ignore_ascii_case("gzip"))
    }

    /// Whether the connection is for more requests.
    pub fn keeps_alive(&self) -> bool {
        !self.http_1_0 && !self.header("connection").eq_ignore_ascii_case("close")
    }

    /// Stream and `Sec-WebSocket-Accept` of a good upgrade; the refusal of another request (RFC 6455, 4.2).
    pub fn upgrade(&self) -> Result<(Stream, String), Answer> {
        let stream = match self.path.strip_suffix('/').unwrap_or(&self.path) {
            "" => Stream::Lite,
            "/full-stream" => Stream::Full,
            "/domains-only" => Stream::Domains,
            _ => {
                let reason = "there are /, /full-stream, /domains-only, /log_list.json and the logs in it";
                return Err(Answer::refused("404 Not Found", reason));
            }
        };
        if self.method != "GET" {
            return Err(Answer::refused("405 Method Not Allowed", "only GET"));
        }
        if !self.header("upgrade").eq_ignore_ascii_case("websocket") {
            let refused = Answer::refused("426 Upgrade Required", "this is a WebSocket: connect with ws://");
            return Err(Answer { more: "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", ..refused });
        }
        if self.header("sec-websocket-version") != "13" {
            return Err(Answer::refused("400 Bad Request", "Sec-WebSocket-Version must be 13"));
        }
        let key = self.header("sec-websocket-key");
        if STANDARD.decode(key).map_or(0, |key| key.len()) != 16 {
            return Err(Answer::refused("400 Bad Request", "Sec-WebSocket-Key must be 16 bytes in base64"));
        }
        let keyed = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        Ok((stream, STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, keyed.as_bytes()))))
    }
}

/// What is answered to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    status: &'static str,
    content: &'static str,
    /// Headers as they stand.
    more: &'static str,
    /// The body is compressed.
    gzip: bool,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn ok(content: &'static str, body: Vec<u8>) -> Answer {
        Answer { status: "200 OK", content, more: "", gzip: false, body }
    }

    pub fn refused(status: &'static str, reason: &str) -> Answer {
        let body = format!("{reason}\n").into_bytes();
        Answer { status, content: "text/plain; charset=utf-8", more: "", gzip: false, body }
    }

    /// The same, its body compressed with gzip, fast.
    pub fn compressed(self) -> Answer {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        match encoder.write_all(&self.body).and_then(|()| encoder.finish()) {
            Ok(body) => Answer { gzip: true, body, ..self },
            // Writing to a vector does not fail.
            Err(_) => self,
        }
    }

    /// Status and headers; the body follows.
    pub fn head(&self, keep_alive: bool) -> String {
        format!(
            "HTTP/1.1 {}\r\n{}Content-Type: {}\r\n{}Content-Length: {}\r\nConnection: {}\r\n\r\n",
            self.status,
            self.more,
            self.content,
            if self.gzip { "Content-Encoding: gzip\r\n" } else { "" },
            self.body.len(),
            if keep_alive { "keep-alive" } else { "close" },
        )
    }
}
