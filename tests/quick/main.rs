//! What `cargo test` runs: no network beyond 127.0.0.1, no root, no JVM, no Go.

#[path = "../support/mod.rs"]
mod support;

mod feed;
