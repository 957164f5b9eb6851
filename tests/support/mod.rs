//! What the integration tests share: servers that do as they are told, logs that can be read back, the
//! process's memory.

// Each test binary uses a part of it.
#![allow(dead_code)]

pub mod certificates;
pub mod logs;
pub mod memory;
pub mod raw_server;
