//! One log's server: every request goes through here, politely, and is counted by how it ended.
//!
//! A request waits for its turn, and its answer is read before the turn ends: an answer that is not what the
//! API says is a failure like an error of the server, and both make the log rest. What is asked in the
//! knowledge that it may not be there, such as a partial tile, is no failure.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::polite::{Limits, Polite, retry_after};
use super::transport::{Answer, Get, Transport, TransportError};

/// How a request ended; the label of `certsieve_refill_requests_total`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Outcome {
    Ok,
    NotFound,
    RateLimited,
    ServerError,
    BadData,
    Timeout,
}

pub const OUTCOMES: [Outcome; 6] = [
    Outcome::Ok,
    Outcome::NotFound,
    Outcome::RateLimited,
    Outcome::ServerError,
    Outcome::BadData,
    Outcome::Timeout,
];

impl Outcome {
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::NotFound => "not_found",
            Outcome::RateLimited => "rate_limited",
            Outcome::ServerError => "server_error",
            Outcome::BadData => "bad_data",
            Outcome::Timeout => "timeout",
        }
    }
}

/// What a log was asked for and did not give.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{url} {fault}")]
pub struct LogError {
    pub url: String,
    pub fault: Fault,
}

/// What is said follows the URL.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    #[error("answers {0}: it is not there")]
    NotFound(u16),
    #[error("answers 429: too many requests{}", asked(.wait))]
    RateLimited { wait: Option<Duration> },
    #[error("answers {status}{}", asked(.wait))]
    Status { status: u16, wait: Option<Duration> },
    #[error("answers {0}, a redirect, which is not followed: is this the log's own URL?")]
    Redirect(u16),
    #[error("answers bad data: {0}")]
    BadData(String),
    #[error("{0}")]
    Transport(#[from] TransportError),
    #[error("is not asked for index {index}, which is not below the tree size {size}")]
    Beyond { index: u64, size: u64 },
}

fn asked(wait: &Option<Duration>) -> String {
    wait.map_or(String::new(), |wait| format!(", and to be asked again after {} s", wait.as_secs()))
}

impl LogError {
    pub fn outcome(&self) -> Outcome {
        self.fault.outcome()
    }

    /// How long the log itself asks to be left alone, an hour at most.
    pub fn wait(&self) -> Option<Duration> {
        self.fault.wait()
    }
}

impl Fault {
    fn outcome(&self) -> Outcome {
        match self {
            Fault::NotFound(_) => Outcome::NotFound,
            Fault::RateLimited { .. } => Outcome::RateLimited,
            Fault::Status { .. } => Outcome::ServerError,
            Fault::Redirect(_) | Fault::BadData(_) | Fault::Beyond { .. } => Outcome::BadData,
            Fault::Transport(error) => match error {
                TransportError::Timeout { .. } => Outcome::Timeout,
                TransportError::Unreachable(_) | TransportError::Broken(_) => Outcome::ServerError,
                TransportError::TooLarge { .. } | TransportError::Encoding(_) | TransportError::Url(_) => {
                    Outcome::BadData
                }
            },
        }
    }

    fn wait(&self) -> Option<Duration> {
        match self {
            Fault::RateLimited { wait } | Fault::Status { wait, .. } => *wait,
            _ => None,
        }
    }

    /// What a server answers that has no such API.
    pub(super) fn is_of_another_api(&self) -> bool {
        matches!(
            self,
            Fault::NotFound(_)
                | Fault::BadData(_)
                | Fault::Redirect(_)
                | Fault::Status { status: 400 | 403 | 405, .. }
        )
    }

    /// The log cannot give so much at once.
    pub(super) fn is_too_much(&self) -> bool {
        matches!(
            self,
            Fault::Status { status: 400 | 413, .. } | Fault::Transport(TransportError::TooLarge { .. })
        )
    }
}

/// One log's server.
pub(super) struct Server {
    /// Without a slash at its end.
    url: String,
    transport: Arc<dyn Transport>,
    polite: Polite,
    within: Duration,
    counts: [AtomicU64; OUTCOMES.len()],
}

impl Server {
    pub fn new(url: &str, transport: Arc<dyn Transport>, limits: &Limits, random: fastrand::Rng) -> Server {
        Server {
            url: url.trim_end_matches('/').to_owned(),
            transport,
            polite: Polite::new(limits, random),
            within: limits.within,
            counts: Default::default(),
        }
    }

    /// Asks for `path`, and reads the answer with `read`, whose error says what is wrong with it. A status of
    /// `expected` is an error that makes nobody rest.
    pub async fn ask<T>(
        &self,
        path: &str,
        max_bytes: usize,
        expected: &[u16],
        read: impl FnOnce(Vec<u8>) -> Result<T, String>,
    ) -> Result<T, LogError> {
        let url = format!("{}/{path}", self.url);
        let turn = self.polite.turn().await;
        let request = Get { url: url.clone(), max_bytes, within: self.within };
        let got = match self.transport.get(request).await {
            // Whoever carries it out should have seen to that; what is read counts on it.
            Ok(answer) if answer.body.len() > max_bytes => {
                Err(TransportError::TooLarge { limit: max_bytes, compressed: false }.into())
            }
            Ok(answer) => body(answer).and_then(|body| read(body).map_err(Fault::BadData)),
            Err(error) => Err(error.into()),
        };
        self.count(got.as_ref().map_or_else(Fault::outcome, |_| Outcome::Ok));
        match &got {
            Ok(_) => turn.succeeded(),
            Err(Fault::NotFound(status) | Fault::Status { status, wait: None })
                if expected.contains(status) => {}
            Err(fault) => turn.failed(fault.wait()),
        }
        got.map_err(|fault| LogError { url, fault })
    }

    /// An error that no request was made for.
    pub fn refuse(&self, fault: Fault) -> LogError {
        LogError { url: self.url.clone(), fault }
    }

    /// How long the log is left alone from now, after a failure.
    pub fn rest(&self) -> Duration {
        self.polite.rest()
    }

    /// Requests so far, in the order of [`OUTCOMES`].
    pub fn counts(&self) -> [u64; OUTCOMES.len()] {
        std::array::from_fn(|n| self.counts[n].load(Ordering::Relaxed))
    }

    fn count(&self, outcome: Outcome) {
        self.counts[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// The body of an answer that is one.
fn body(answer: Answer) -> Result<Vec<u8>, Fault> {
    let wait = answer.retry_after.as_deref().and_then(|value| retry_after(value, answer.at));
    match answer.status {
        200 => Ok(answer.body),
        status @ (404 | 410) => Err(Fault::NotFound(status)),
        429 => Err(Fault::RateLimited { wait }),
        status @ 300..=399 => Err(Fault::Redirect(status)),
        status => Err(Fault::Status { status, wait }),
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url", &self.url).field("polite", &self.polite).finish_non_exhaustive()
    }
}
