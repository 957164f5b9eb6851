//! A bound in memory is measured in a process of its own: other tests run beside this one.

use std::process::Command;
use std::time::Duration;

/// No such test takes nearly so long.
const HANGS_AFTER: Duration = Duration::from_secs(120);

/// Set in the process of one test.
const ALONE: &str = "CERTSIEVE_TEST_ALONE";

/// Runs `body` in a process in which nothing else runs. `test` is the full name of the calling test.
pub fn alone(test: &str, body: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        // A body that hangs takes its process with it.
        std::thread::spawn(|| {
            std::thread::sleep(HANGS_AFTER);
            println!("still running after {HANGS_AFTER:?}");
            std::process::exit(1);
        });
        return body();
    }
    let this = std::env::current_exe().expect("this test binary has a path");
    let output = Command::new(this)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .expect("this test binary runs");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test} alone: {said}");
    assert!(said.contains("1 passed"), "no test is named {test}: {said}");
}

/// Bytes of this process that lie in memory now.
pub fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells a process its size");
    let pages: usize =
        statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("statm has a second number");
    // The page size of every machine these tests run on; elsewhere the bound is only looser.
    pages * 4096
}
