//! A server that does what its script says, byte by byte: TCP or TLS, and as much or as little of
//! WebSocket as the script wants. It knows no WebSocket library, so it can break every rule.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A script that waits longer than this for its client is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;

/// Set in a frame's first byte when it is the last of its message.
pub const FIN: u8 = 0x80;

pub struct RawServer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl RawServer {
    /// Runs `script` for every connection, on a thread of its own, with the connection's number from 0.
    /// An I/O error ends a script: the client has gone. A panic of one fails the test when the server
    /// is dropped, which waits for all of them.
    pub fn start(
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&mut Peer, usize) -> io::Result<()> + Send + Sync + 'static,
    ) -> RawServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let (counted, stopped, script) = (Arc::clone(&connections), Arc::clone(&stopping), Arc::new(script));
        let acceptor = std::thread::spawn(move || {
            let mut running = Vec::new();
            while let Ok((tcp, _)) = listener.accept() {
                if stopped.load(SeqCst) {
                    break;
                }
                let number = counted.fetch_add(1, SeqCst);
                let (script, tls) = (Arc::clone(&script), tls.clone());
                running.push(std::thread::spawn(move || {
                    let _ = Peer::open(tcp, tls).and_then(|mut peer| script(&mut peer, number));
                }));
            }
            for script in running {
                script.join().expect("no script panics");
            }
        });
        RawServer { address, connections, stopping, acceptor: Some(acceptor) }
    }

    /// `host:port`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that were accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.stopping.store(true, SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let joined = acceptor.join();
            assert!(joined.is_ok() || std::thread::panicking(), "a script of this server panicked");
        }
    }
}

trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// The server's end of one connection.
pub struct Peer {
    tcp: TcpStream,
    stream: Box<dyn Duplex>,
}

impl Peer {
    fn open(tcp: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<Peer> {
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        tcp.set_nodelay(true)?;
        let raw = tcp.try_clone()?;
        let stream: Box<dyn Duplex> = match tls {
            None => Box::new(tcp),
            Some(config) => {
                let connection = ServerConnection::new(config).map_err(io::Error::other)?;
                Box::new(StreamOwned::new(connection, tcp))
            }
        };
        Ok(Peer { tcp: raw, stream })
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Another handle of the socket, for a thread that reads while this one writes (not with TLS).
    pub fn second(&self) -> io::Result<Peer> {
        Ok(Peer { tcp: self.tcp.try_clone()?, stream: Box::new(self.tcp.try_clone()?) })
    }

    /// The client's request, up to the empty line.
    pub fn request(&mut self) -> io::Result<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&head).into_owned())
    }

    /// Reads the request and answers it as a WebSocket server does. Gives the request.
    pub fn upgrade(&mut self) -> io::Result<String> {
        let request = self.request()?;
        let answer = switching(&request);
        self.send(answer.as_bytes())?;
        Ok(request)
    }

    /// One frame of the client: its first byte, and its payload unmasked.
    pub fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        assert!(head[1] & 0x80 != 0, "a client masks its frames");
        let length = usize::from(head[1] & 0x7f);
        assert!(length <= 125, "this client only sends control frames");
        let mut mask = [0; 4];
        self.stream.read_exact(&mut mask)?;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        Ok((head[0], payload))
    }

    /// Answers pings until the client goes.
    pub fn answer_pings(&mut self) -> io::Result<()> {
        loop {
            let (first, payload) = self.frame()?;
            if first == FIN | PING {
                self.send(&frame(FIN | PONG, &payload))?;
            }
        }
    }

    /// Reads and says nothing until the client goes.
    pub fn hold(&mut self) -> io::Result<()> {
        let mut sink = [0; 4096];
        while self.stream.read(&mut sink)? > 0 {}
        Ok(())
    }

    /// Carries bytes both ways between the client and `to` until either has gone (not with TLS).
    pub fn relay(&mut self, to: TcpStream) -> io::Result<()> {
        let (mut here, mut there) = (self.tcp.try_clone()?, to.try_clone()?);
        to.set_nodelay(true)?;
        let up = std::thread::spawn(move || {
            let _ = io::copy(&mut here, &mut there);
            there.shutdown(Shutdown::Both)
        });
        let down = io::copy(&mut &to, &mut &self.tcp);
        self.tcp.shutdown(Shutdown::Both).or(up.join().expect("copying does not panic")).and(down).map(|_| ())
    }

    /// Waits until something has come that nobody reads: a socket closed now is reset.
    pub fn wait_for_unread(&mut self) -> io::Result<()> {
        self.tcp.peek(&mut [0]).map(|_| ())
    }
}

/// The answer to a WebSocket request.
pub fn switching(request: &str) -> String {
    let key = header(request, "Sec-WebSocket-Key").unwrap_or_default();
    // RFC 6455, section 4.2.2: no secret is made with SHA-1 here.
    let accept = ring::digest::digest(
        &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
    );
    let accept = base64::engine::general_purpose::STANDARD.encode(accept);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// A header's value in a request.
pub fn header<'r>(request: &'r str, name: &str) -> Option<&'r str> {
    request.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// An unmasked frame; `first` is its first byte: FIN, reserved bits, opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_head(first, payload.len() as u64);
    frame.extend_from_slice(payload);
    frame
}

/// The head of a frame that says it has `length` bytes.
pub fn frame_head(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first];
    match length {
        0..=125 => head.push(length as u8),
        126..=0xffff => {
            head.push(126);
            head.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend_from_slice(&length.to_be_bytes());
        }
    }
    head
}

/// A close frame's payload.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}
