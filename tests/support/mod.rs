//! What tests start and own: real servers, each in its own folder, on loopback, on ports that were free,
//! stopped by pid when the test is over.

// Each test binary uses a part of it.
#![allow(dead_code)]

pub mod accounted;
pub mod captured;
pub mod ccadb;
pub mod certificates;
pub mod disk;
pub mod entries;
pub mod leaves;
pub mod logs;
pub mod memory;
pub mod pipeline;
pub mod process;
pub mod raw_server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The folder that `tests/setup` fills: `CERTSIEVE_PARTS`, or `.parts` beside the sources.
pub fn parts() -> PathBuf {
    match std::env::var_os("CERTSIEVE_PARTS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".parts"),
    }
}

/// The Python of `tests/setup python`, about to run one of the scripts in `tests/parts/python`.
pub fn python(script: &str) -> Command {
    let python = parts().join("python/bin/python3");
    assert!(python.exists(), "{} is missing: run tests/setup python", python.display());
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parts/python").join(script));
    command
}

/// A command that `tests/setup PART` has put there. A test is never skipped because it is missing.
pub fn command(name: &str, part: &str) -> PathBuf {
    let path = parts().join("bin").join(name);
    assert!(path.exists(), "{} is missing: run tests/setup {part}", path.display());
    path
}

/// How long a test lasts that is long by nature: the long time under `tests/run soak` (CERTSIEVE_SOAK=1).
pub fn soak(long: Duration, short: Duration) -> Duration {
    if is_soak() { long } else { short }
}

/// Whether `tests/run soak` runs.
pub fn is_soak() -> bool {
    std::env::var_os("CERTSIEVE_SOAK").is_some_and(|value| value == "1")
}
