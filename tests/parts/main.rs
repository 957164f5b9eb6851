//! Tests on real parts. `tests/setup` brings the parts, `tests/run` starts this; by hand:
//! `cargo test --profile ci --test parts -- --test-threads=1`.

#[path = "../support/broker.rs"]
mod broker;
mod publish;
