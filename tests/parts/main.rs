//! What needs the real parts that `tests/setup` installs; `tests/run` starts it. One file a subject.

#[path = "../support/broker.rs"]
mod broker;
#[path = "../support/mod.rs"]
mod support;

mod cloudevents;
mod deploy;
mod logs;
mod publish;
