//! One server process that a test started: its output goes to a file, its readiness is a condition, and
//! it ends with the test, by pid.
//!
//! What it printed last is in the error when it does not come up, and on standard error when the test
//! that owns it fails. A process that dies with its port taken by somebody else is told apart from one
//! that hangs, so that [`with_free_ports`] can try again on other ports.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A server that has not come up by then never will; the slowest takes a few seconds under load.
const START_CEILING: Duration = Duration::from_secs(60);
/// What a server gets between SIGTERM and SIGKILL.
const STOP_CEILING: Duration = Duration::from_secs(10);
/// The pause between two looks at a condition.
const LOOK: Duration = Duration::from_millis(20);
/// What is shown of a server's output.
const TAIL_BYTES: usize = 4096;

/// A running server, and the file that its output goes to.
pub struct Process {
    name: &'static str,
    child: Child,
    output: PathBuf,
}

/// Why a server did not come up, with the end of its output.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{name} ended before it was ready ({status}); its output ends with:\n{tail}")]
    Ended { name: &'static str, status: ExitStatus, tail: String },
    #[error("{name} was not ready after {START_CEILING:?}; its output ends with:\n{tail}")]
    NotReady { name: &'static str, tail: String },
}

impl Process {
    /// Starts `command` with both its outputs going to the file `output`.
    pub fn spawn(name: &'static str, command: &mut Command, output: PathBuf) -> Self {
        let file = create(&output);
        let both = file.try_clone().expect("a second handle of a file just made");
        Self::start(name, command.stdout(both).stderr(file), output)
    }

    /// Starts `command` with its standard output going to the file `stdout`, and standard error to
    /// `output`.
    pub fn spawn_apart(name: &'static str, command: &mut Command, stdout: &Path, output: PathBuf) -> Self {
        let error = create(&output);
        Self::start(name, command.stdout(create(stdout)).stderr(error), output)
    }

    fn start(name: &'static str, command: &mut Command, output: PathBuf) -> Self {
        let child =
            command.stdin(Stdio::null()).spawn().unwrap_or_else(|e| panic!("{name}: {command:?}: {e}"));
        Self { name, child, output }
    }

    /// Waits until `ready` gives something; it is asked again and again, with the output so far.
    pub fn wait_until<T>(&mut self, mut ready: impl FnMut(&str) -> Option<T>) -> Result<T, StartError> {
        let name = self.name;
        let start = Instant::now();
        loop {
            if let Some(found) = ready(&self.output()) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait().expect("our own child can be waited for") {
                return Err(StartError::Ended { name, status, tail: self.tail() });
            }
            if start.elapsed() > START_CEILING {
                return Err(StartError::NotReady { name, tail: self.tail() });
            }
            std::thread::sleep(LOOK);
        }
    }

    pub fn is_running(&mut self) -> bool {
        !self.ended()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal: `TERM`, `HUP`, `INT`.
    pub fn signal(&self, name: &str) {
        // The standard library can only kill; the shell's own `kill` needs no further program.
        let kill = format!("kill -{name} {}", self.child.id());
        let _ = Command::new("sh").args(["-c", &kill]).status();
    }

    /// Waits for its end, which the test has brought about.
    pub fn exit(&mut self, within: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child can be waited for") {
                return status;
            }
            let name = self.name;
            assert!(start.elapsed() < within, "{name} still runs after {within:?}:\n{}", self.tail());
            std::thread::sleep(LOOK);
        }
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.output).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    fn tail(&self) -> String {
        let text = self.output();
        let from = text.len().saturating_sub(TAIL_BYTES);
        let from = (from..text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len());
        text[from..].to_owned()
    }

    pub fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

fn create(path: &Path) -> File {
    File::create(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended() {
            self.signal("TERM");
            let start = Instant::now();
            while !self.ended() && start.elapsed() < STOP_CEILING {
                std::thread::sleep(LOOK);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {} printed at the end:\n{}", self.name, self.tail());
        }
    }
}

/// Starts something on `N` ports that were free a moment ago. For servers that cannot bind port 0 and say
/// which port they got: between the look and their own bind the port may go to another process, so one
/// that ends at once is tried again on other ports.
pub fn with_free_ports<T, const N: usize>(mut start: impl FnMut([u16; N]) -> Result<T, StartError>) -> T {
    const TRIES: usize = 3;
    for attempt in 1.. {
        // All are held until all are chosen, or two of them could be the same.
        let held = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
        let ports = held.map(|listener| listener.local_addr().expect("a bound address").port());
        match start(ports) {
            Ok(started) => return started,
            Err(StartError::Ended { .. }) if attempt < TRIES => {}
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("the last try returns or panics")
}

/// Whether a plain HTTP server on loopback answers a GET with 200. `host` is what virtual hosts go by.
pub fn answers(port: u16, host: &str, path: &str) -> bool {
    const CEILING: Duration = Duration::from_secs(2);
    const OK: [&[u8]; 2] = [b"HTTP/1.0 200", b"HTTP/1.1 200"];
    let get = || -> std::io::Result<[u8; 12]> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, CEILING)?;
        stream.set_read_timeout(Some(CEILING))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        // The rest is read too: a server whose answer is cut off would log an error.
        std::io::copy(&mut stream, &mut std::io::sink())?;
        Ok(status)
    };
    get().is_ok_and(|status| OK.contains(&status.as_slice()))
}
