//! certsieve takes in the live Certificate Transparency firehose and publishes the few certificates
//! that name what its operator owns.
//!
//! What goes in: messages of CertStream servers, recordings. What comes out: numbered records for
//! Kafka topics. The modules below stand in the order of the data path: a pure middle that does no
//! I/O, reads no clock and spawns nothing, and thin edges around it.

pub mod command;
pub mod config;
pub mod document;
pub mod problem;

pub mod feed;

pub mod account;
pub mod ccadb;
pub mod ctlog;
pub mod entry;
pub mod judge;
pub mod record;
pub mod sieve;
pub mod watch;

pub mod publish;
pub mod store;

pub mod clock;
pub mod demo;
pub mod fetch;
pub mod http;
pub mod metrics;
pub mod topology;
