//! How the client reaches a log: one GET, which somebody else carries out.
//!
//! The client knows no sockets. What does it bounds each answer in time and in size, decodes gzip, follows no
//! redirect, and says when the answer came, so that a date in it can be measured from there.

use std::time::Duration;

use futures::future::BoxFuture;

use crate::entry::Timestamp;

/// Carries out GET requests. Errors are those of the way; whatever a server answered is an [`Answer`],
/// a redirect as well.
pub trait Transport: Send + Sync + 'static {
    fn get(&self, request: Get) -> BoxFuture<'_, Result<Answer, TransportError>>;
}

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Get {
    pub url: String,
    /// Bytes of the body, compressed or not.
    pub max_bytes: usize,
    /// From the first look-up to the last byte.
    pub within: Duration,
}

/// One answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: u16,
    /// The header's value, if it has one that is text.
    pub retry_after: Option<String>,
    /// The body, decompressed.
    pub body: Vec<u8>,
    pub at: Timestamp,
}

/// Why there is no answer. What is said follows the URL.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TransportError {
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    #[error("took longer than {limit:?} for {what}")]
    Timeout { what: &'static str, limit: Duration },
    #[error("answers with more than {limit} bytes{decompressed}", decompressed = if *.compressed { " once decompressed" } else { "" })]
    TooLarge { limit: usize, compressed: bool },
    #[error("broke its answer off: {0}")]
    Broken(String),
    #[error("answers what cannot be decompressed: {0}")]
    Encoding(String),
    #[error("is no URL that can be fetched: {0}")]
    Url(&'static str),
}
