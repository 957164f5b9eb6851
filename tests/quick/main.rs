//! What a contributor runs: no JVM, no Go, no network, no root. One file a subject.

#[path = "../support/mod.rs"]
mod support;

// Each test binary uses a part of it.
#[allow(dead_code)]
#[path = "../support/program.rs"]
mod program;

mod broken;
mod canary;
mod cli;
mod contract;
mod crash;
mod dialects;
mod expectations;
mod explain;
mod feed;
mod hunt;
mod identities;
mod incident;
mod judging;
mod leaves;
mod ledger;
mod logs;
mod month;
mod operating;
mod proxy;
mod records;
mod refill;
mod siem;
mod simulate;
mod store;
mod tidy;
mod trust;
