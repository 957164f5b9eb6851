//! What tests start and own: real servers, each in its own folder, on loopback, on ports that were free,
//! stopped by pid when the test is over.

pub mod logs;
pub mod process;

use std::path::{Path, PathBuf};

/// The folder that `tests/setup` fills: `CERTSIEVE_PARTS`, or `.parts` beside the sources.
pub fn parts() -> PathBuf {
    match std::env::var_os("CERTSIEVE_PARTS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".parts"),
    }
}

/// A command that `tests/setup PART` has put there. A test is never skipped because it is missing.
pub fn command(name: &str, part: &str) -> PathBuf {
    let path = parts().join("bin").join(name);
    assert!(path.exists(), "{} is missing: run tests/setup {part}", path.display());
    path
}
