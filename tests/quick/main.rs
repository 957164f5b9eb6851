//! What a contributor runs: no JVM, no Go, no network, no root. One file a subject.

#[path = "../support/mod.rs"]
mod support;

// Each test binary uses a part of it.
#[allow(dead_code)]
#[path = "../support/program.rs"]
mod program;

mod cli;
mod contract;
mod crash;
mod dialects;
mod expectations;
mod explain;
mod feed;
mod identities;
mod judging;
mod leaves;
mod ledger;
mod logs;
mod month;
mod operating;
mod proxy;
mod records;
mod siem;
mod store;
mod tidy;
mod trust;
