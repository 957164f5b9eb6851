//! What needs the real parts that `tests/setup` installs; `tests/run` starts it. One file a subject.

#[path = "../support/broker.rs"]
mod broker;
#[path = "../support/landing.rs"]
mod landing;
// Each test binary uses a part of it.
#[allow(dead_code)]
#[path = "../support/program.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/topics.rs"]
mod topics;

mod apis;
mod cloudevents;
mod complete;
mod deploy;
mod load;
mod logs;
mod operating;
mod outage;
mod pipeline;
mod publish;
mod refused;
mod siem;
