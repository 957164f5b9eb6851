//! What `certsieve demo` and `certsieve simulate` show to the pipeline: a firehose, and what is hidden
//! in it.
//!
//! Nothing here knows the pipeline, and the pipeline knows nothing of this: it is fed over a real
//! WebSocket on loopback, as by any other CertStream server. From the ground up: `authority` signs
//! real DER under names of invented organisations, `names` and `message` say what is in it and how
//! the Go server writes it, `archive` is what four logs hold, `firehose` the order in which it comes,
//! `plants` hides in it what must be found, `frames` and `simulate` serve it, `log` serves the logs
//! themselves. `broker` is librdkafka's embedded Kafka;
//! `table` is what a person reads.

pub mod archive;
pub mod authority;
#[cfg(feature = "kafka")]
pub mod broker;
mod connection;
pub mod firehose;
mod frames;
mod http;
pub mod log;
mod message;
mod names;
mod pace;
pub mod plants;
pub mod simulate;
pub mod table;

/// What a CertStream server has on offer, each at a path of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stream {
    /// Everything but the DER.
    Lite,
    /// With `as_der` and `chain`.
    Full,
    /// Bare lists of names.
    Domains,
}

impl Stream {
    pub const ALL: [Stream; 3] = [Stream::Lite, Stream::Full, Stream::Domains];

    /// Where the Go server has it unless it is told otherwise.
    pub fn path(self) -> &'static str {
        match self {
            Stream::Lite => "/",
            Stream::Full => "/full-stream",
            Stream::Domains => "/domains-only",
        }
    }
}
