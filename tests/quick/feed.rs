//! The CertStream client against a scripted server that keeps and breaks every rule.
//!
//! Each case states what the metrics and the log must show of it, has a ceiling in time, and, where a
//! stranger could make the program grow, a bound in memory.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use certsieve::config::{CertstreamFeed, Secret};
use certsieve::entry::Timestamp;
use certsieve::feed::certstream::{self, Timing};
use certsieve::feed::{CONNECT_RESULTS, DISCONNECT_REASONS, FeedMeter, Intake, Refusal};
use tokio::sync::watch;

use crate::support::captured::Logs;
use crate::support::certificates::Authority;
use crate::support::memory::{alone, resident};
use crate::support::raw_server::*;

/// No case takes nearly so long; a stuck one ends here.
pub const CEILING: Duration = Duration::from_secs(15);

/// What any server may make the client grow by, with messages of up to [`MAX_MESSAGE`]: the message
/// twice over, buffers, and what the allocator keeps.
const MEMORY: usize = 12 << 20;

const MAX_MESSAGE: usize = 1 << 20;

/// Sent with every request; must show up nowhere else.
pub const TOKEN: &str = "tok3n-0123456789";

/// What the client is told, where a case wants it otherwise than these.
pub fn feed(port: u16) -> CertstreamFeed {
    CertstreamFeed {
        name: "eu-1".to_owned(),
        url: format!("ws://127.0.0.1:{port}/full-stream?key={TOKEN}"),
        ca_file: None,
        client_cert_file: None,
        client_key_file: None,
        headers: vec![("Authorization".to_owned(), Secret::new(format!("Bearer {TOKEN}")))],
        proxy: None,
        max_message_bytes: MAX_MESSAGE,
        silence_after: Duration::from_secs(20),
    }
}

/// Patient where a case does not say otherwise, quick to come back.
pub fn timing() -> Timing {
    Timing {
        retry_first: Duration::from_millis(10),
        retry_most: Duration::from_millis(20),
        refused_retry: Duration::from_millis(20),
        ..Timing::default()
    }
}

pub const SOON: Duration = Duration::from_millis(150);

type Verdict = dyn Fn(&[u8]) -> Result<(), Refusal> + Send + Sync;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Event {
    Took(Vec<u8>),
    Rested,
}

/// An intake that remembers, and does what a test wants with each message.
#[derive(Clone)]
pub struct Notes {
    events: Arc<Mutex<Vec<Event>>>,
    verdict: Arc<Verdict>,
}

impl Default for Notes {
    fn default() -> Notes {
        Notes { events: Arc::default(), verdict: Arc::new(|_| Ok(())) }
    }
}

impl Notes {
    fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    pub fn taken(&self) -> Vec<Vec<u8>> {
        self.events()
            .into_iter()
            .filter_map(|event| match event {
                Event::Took(message) => Some(message),
                Event::Rested => None,
            })
            .collect()
    }
}

impl Intake for Notes {
    fn take(&mut self, message: &[u8], at: Timestamp) -> Result<(), Refusal> {
        assert!(at.0 > 0);
        (self.verdict)(message)?;
        self.events.lock().unwrap().push(Event::Took(message.to_vec()));
        Ok(())
    }

    fn rest(&mut self, _: Timestamp) {
        self.events.lock().unwrap().push(Event::Rested);
    }
}

/// A run of the client, as a condition sees it and as it was at its end.
pub struct Seen {
    pub meter: Arc<FeedMeter>,
    pub notes: Notes,
    pub logs: Logs,
    /// The most that the process grew by.
    growth: usize,
}

impl Seen {
    pub fn connects(&self, result: &str) -> u64 {
        let at = CONNECT_RESULTS.iter().position(|label| *label == result).unwrap();
        self.meter.connects()[at]
    }

    pub fn disconnects(&self, reason: &str) -> u64 {
        let at = DISCONNECT_REASONS.iter().position(|label| *label == reason).unwrap();
        self.meter.disconnects()[at]
    }
}

/// Runs the client until `until` holds, stops it, and checks what every run must keep.
pub fn drive(feed: CertstreamFeed, timing: Timing, notes: Notes, until: impl Fn(&Seen) -> bool) -> Seen {
    let meter = Arc::new(FeedMeter::new(feed.name.clone(), Some(feed.silence_after)));
    let mut seen = Seen { meter: Arc::clone(&meter), notes: notes.clone(), logs: Logs::default(), growth: 0 };
    // Sockets and timers are looked at only where a task gives way: one that does not is found out.
    let runtime =
        tokio::runtime::Builder::new_current_thread().event_interval(1_000_000).enable_all().build().unwrap();
    let before = resident();
    seen.logs.clone().collect(|| {
        runtime.block_on(async {
            let (stop, stopping) = watch::channel(false);
            let client = tokio::spawn(certstream::run(feed, timing, notes, meter, stopping));
            let start = Instant::now();
            while !until(&seen) {
                assert!(start.elapsed() < CEILING, "not within {CEILING:?}: {}", seen.logs.text());
                assert!(!client.is_finished(), "a feed never ends by itself: {}", seen.logs.text());
                tokio::time::sleep(Duration::from_millis(2)).await;
                seen.growth = seen.growth.max(resident().saturating_sub(before));
            }
            stop.send(true).unwrap();
            tokio::time::timeout(CEILING, client).await.expect("it stops when it is told to").unwrap();
        });
    });
    assert!(!seen.meter.connected());
    let logs = seen.logs.text();
    assert!(!logs.contains(TOKEN), "the token is in the log: {logs}");
    assert!(logs.lines().all(|line| !line.chars().any(char::is_control)), "raw control characters: {logs}");
    seen
}

type Script = fn(&mut Peer) -> io::Result<()>;

/// One way a server can fail.
struct Case {
    name: &'static str,
    script: Script,
    adapt: fn(&mut CertstreamFeed, &mut Timing),
    /// The label that counts it, and what the log says among other things.
    label: &'static str,
    says: &'static [&'static str],
}

const AS_IT_IS: fn(&mut CertstreamFeed, &mut Timing) = |_, _| {};

/// Runs every case: its label alone is counted, its words are said, the client comes again.
fn check(cases: &[Case], counts: fn(&FeedMeter) -> Vec<(&'static str, u64)>) {
    for case in cases {
        let script = case.script;
        let server = RawServer::start(None, move |peer, _| script(peer));
        let (mut feed, mut timing) = (feed(server.address().port()), timing());
        (case.adapt)(&mut feed, &mut timing);
        // Where a case gets stuck, its name is the last of the output.
        println!("{}", case.name);
        let count = |seen: &Seen, label| counts(&seen.meter).iter().find(|(l, _)| *l == label).unwrap().1;
        let seen = drive(feed, timing, Notes::default(), |seen| {
            count(seen, case.label) > 0 && server.connections() > 1
        });
        let others: Vec<_> =
            counts(&seen.meter).into_iter().filter(|(l, n)| *l != case.label && *n > 0).collect();
        let logs = seen.logs.text();
        assert!(others.is_empty(), "{}: also counted as {others:?}: {logs}", case.name);
        for words in case.says {
            assert!(logs.contains(words), "{}: {words:?} is not said: {logs}", case.name);
        }
        assert!(seen.growth < MEMORY, "{}: grew by {} MiB", case.name, seen.growth >> 20);
    }
}

#[test]
fn every_answer_that_is_no_websocket_is_named_and_tried_again() {
    let cases = [
        Case {
            name: "a page",
            script: |peer| {
                peer.request()?;
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")?;
                peer.send(b"<html><title>Welcome\x1b[31m</title>")?;
                peer.hold()
            },
            adapt: AS_IT_IS,
            label: "http",
            says: &["answered 200", "<html><title>Welcome\\u{1b}[31m</title>"],
        },
        Case {
            name: "a redirect",
            script: |peer| {
                peer.request()?;
                let location = format!("https://other.example/full-stream?key={TOKEN}");
                peer.send(format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n").as_bytes())
            },
            adapt: AS_IT_IS,
            label: "http",
            says: &["answered 302", "https://other.example/full-stream?key=(secret)"],
        },
        Case {
            name: "unauthorized, and it repeats the token",
            script: |peer| {
                let request = peer.request()?;
                let body = format!("bad {}", header(&request, "Authorization").unwrap_or("nothing"));
                let length = body.len();
                peer.send(format!("HTTP/1.1 401 No\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes())
            },
            adapt: AS_IT_IS,
            label: "http",
            says: &["answered 401", "header", "bad (secret)"],
        },
        Case {
            name: "too many",
            script: |peer| {
                peer.request()?;
                peer.send(b"HTTP/1.1 429 Too Many Requests\r\n\r\n")
            },
            adapt: AS_IT_IS,
            label: "http",
            says: &["answered 429"],
        },
        Case {
            name: "a page without end",
            script: |peer| {
                peer.request()?;
                peer.send(b"HTTP/1.1 200 OK\r\n\r\n")?;
                loop {
                    peer.send(&[b'x'; 4096])?;
                }
            },
            adapt: AS_IT_IS,
            label: "http",
            says: &["answered 200"],
        },
        Case {
            name: "no HTTP",
            script: |peer| {
                peer.request()?;
                peer.send(b"SSH-2.0-OpenSSH_9.2\r\n")?;
                peer.hold()
            },
            adapt: AS_IT_IS,
            label: "http",
            says: &["not HTTP/1.1"],
        },
        Case {
            name: "a key that was not asked for",
            script: |peer| {
                peer.request()?;
                peer.send(switching("").as_bytes())?;
                peer.hold()
            },
            adapt: AS_IT_IS,
            label: "http",
            says: &["Sec-WebSocket-Accept"],
        },
        Case {
            name: "one header without end",
            script: |peer| {
                peer.request()?;
                peer.send(b"HTTP/1.1 101 Switching Protocols\r\nX-Long: ")?;
                loop {
                    peer.send(&[b'x'; 4096])?;
                }
            },
            adapt: AS_IT_IS,
            label: "http",
            says: &["64 KiB"],
        },
        Case {
            name: "headers without end",
            script: |peer| {
                peer.request()?;
                peer.send(b"HTTP/1.1 101 Switching Protocols\r\n")?;
                loop {
                    peer.send(&b"X-Some: header\r\n".repeat(256))?;
                }
            },
            adapt: AS_IT_IS,
            label: "http",
            says: &["64 KiB"],
        },
        Case {
            name: "closes at once",
            script: |peer| peer.request().map(|_| ()),
            adapt: AS_IT_IS,
            label: "http",
            says: &["closed the connection before it had answered"],
        },
        Case {
            name: "resets",
            script: |peer| peer.wait_for_unread(),
            adapt: AS_IT_IS,
            label: "other",
            says: &["reset"],
        },
        Case {
            name: "half-open: never answers",
            script: |peer| peer.hold(),
            adapt: |_, timing| timing.handshake_within = SOON,
            label: "timeout",
            says: &["WebSocket handshake took longer than 150ms"],
        },
        Case {
            name: "one byte at a time",
            script: |peer| {
                let answer = switching(&peer.request()?);
                for byte in answer.as_bytes() {
                    peer.send(&[*byte])?;
                    std::thread::sleep(Duration::from_millis(20));
                }
                peer.hold()
            },
            adapt: |_, timing| timing.handshake_within = 2 * SOON,
            label: "timeout",
            says: &["WebSocket handshake took longer"],
        },
    ];
    let counts = |meter: &FeedMeter| CONNECT_RESULTS.into_iter().zip(meter.connects()).collect();
    alone("feed::every_answer_that_is_no_websocket_is_named_and_tried_again", || check(&cases, counts));
}

#[test]
fn every_way_to_break_a_connection_is_named_and_survived() {
    let cases = [
        Case {
            name: "silent, but it answers pings",
            script: |peer| {
                peer.upgrade()?;
                peer.answer_pings()
            },
            adapt: |feed, timing| {
                feed.silence_after = 2 * SOON;
                timing.ping_every = SOON / 5;
            },
            label: "silent",
            says: &["no message for 300ms", "silence_after"],
        },
        Case {
            name: "no pong, and nothing else",
            script: |peer| {
                peer.upgrade()?;
                peer.hold()
            },
            adapt: |_, timing| {
                timing.ping_every = SOON / 5;
                timing.pong_within = SOON;
            },
            label: "pong_timeout",
            says: &["no pong"],
        },
        Case {
            name: "a message that comes byte by byte for ever",
            script: |peer| {
                peer.upgrade()?;
                peer.send(&frame_head(FIN | TEXT, 100_000))?;
                loop {
                    peer.send(b"x")?;
                    std::thread::sleep(Duration::from_millis(5));
                }
            },
            adapt: |feed, timing| {
                feed.silence_after = 4 * SOON;
                timing.ping_every = SOON / 5;
                timing.pong_within = 2 * SOON;
            },
            label: "silent",
            says: &["no message for"],
        },
        Case {
            name: "empty fragments without end",
            script: |peer| {
                peer.upgrade()?;
                peer.send(&frame(TEXT, b""))?;
                let many = frame(CONTINUATION, b"").repeat(8192);
                loop {
                    peer.send(&many)?;
                }
            },
            adapt: |feed, _| feed.silence_after = 2 * SOON,
            label: "silent",
            says: &["no message for"],
        },
        Case {
            name: "pings without end, whose pongs it does not read",
            script: |peer| {
                peer.upgrade()?;
                let many = frame(FIN | PING, &[b'p'; 125]).repeat(512);
                loop {
                    peer.send(&many)?;
                }
            },
            adapt: |feed, timing| {
                feed.silence_after = 4 * SOON;
                timing.goodbye_within = SOON;
            },
            label: "silent",
            says: &["no message for"],
        },
        Case {
            name: "150,000 pings, whose pongs it does not read",
            script: |peer| {
                peer.upgrade()?;
                let many = frame(FIN | PING, &[b'p'; 125]).repeat(500);
                for _ in 0..300 {
                    peer.send(&many)?;
                }
                peer.send(&close(1000, "enough"))?;
                // Until the client has gone, whom nobody reads.
                loop {
                    peer.send(b"x")?;
                    std::thread::sleep(Duration::from_millis(5));
                }
            },
            adapt: |_, timing| timing.goodbye_within = SOON,
            label: "close",
            says: &["enough"],
        },
        Case {
            name: "a frame of 2^63 bytes",
            script: |peer| {
                peer.upgrade()?;
                peer.send(&frame_head(FIN | TEXT, 1 << 63))?;
                peer.hold()
            },
            adapt: AS_IT_IS,
            label: "too_large",
            says: &["9223372036854775808 bytes", "max_message_bytes is 1048576"],
        },
        Case {
            name: "one byte over the limit",
            script: |peer| {
                peer.upgrade()?;
                peer.send(&frame(FIN | BINARY, &vec![b'x'; MAX_MESSAGE + 1]))?;
                peer.hold()
            },
            adapt: AS_IT_IS,
            label: "too_large",
            says: &["1048577 bytes"],
        },
        Case {
            name: "fragments without end",
            script: |peer| {
                peer.upgrade()?;
                peer.send(&frame(TEXT, b""))?;
                let piece = frame(CONTINUATION, &[b'x'; 65_536]);
                loop {
                    peer.send(&piece)?;
                }
            },
            adapt: AS_IT_IS,
            label: "too_large",
            says: &["or more", "max_message_bytes is 1048576"],
        },
        Case {
            name: "text that is not UTF-8",
            script: |peer| {
                peer.upgrade()?;
                peer.send(&frame(FIN | TEXT, b"\xff\xfe\x1b[2J"))?;
                peer.hold()
            },
            adapt: AS_IT_IS,
            label: "protocol",
            says: &["not UTF-8"],
        },
        Case {
            name: "reserved bits, as of a compression nobody agreed to",
            script: |peer| {
                peer.upgrade()?;
                peer.send(&frame(FIN | 0x40 | TEXT, b"x"))?;
                peer.hold()
            },
            adapt: AS_IT_IS,
            label: "protocol",
            says: &["Reserved bits"],
        },
        Case {
            name: "a masked frame",
            script: |peer| {
                peer.upgrade()?;
                peer.send(&[FIN | TEXT, 0x81, 1, 2, 3, 4, b'x'])?;
                peer.hold()
            },
            adapt: AS_IT_IS,
            label: "protocol",
            says: &["masked"],
        },
        Case {
            name: "an opcode that nobody knows",
            script: |peer| {
                peer.upgrade()?;
                peer.send(&frame(FIN | 0x3, b"x"))?;
                peer.hold()
            },
            adapt: AS_IT_IS,
            label: "protocol",
            says: &[],
        },
        Case {
            name: "a continuation of nothing",
            script: |peer| {
                peer.upgrade()?;
                peer.send(&frame(FIN | CONTINUATION, b"x"))?;
                peer.hold()
            },
            adapt: AS_IT_IS,
            label: "protocol",
            says: &["nothing to continue"],
        },
        Case {
            name: "a message inside a message",
            script: |peer| {
                peer.upgrade()?;
                peer.send(&[frame(TEXT, b"x"), frame(FIN | TEXT, b"y")].concat())?;
                peer.hold()
            },
            adapt: AS_IT_IS,
            label: "protocol",
            says: &["more fragments"],
        },
        Case {
            name: "a ping in fragments",
            script: |peer| {
                peer.upgrade()?;
                peer.send(&frame(PING, b"x"))?;
                peer.hold()
            },
            adapt: AS_IT_IS,
            label: "protocol",
            says: &["Fragmented control frame"],
        },
        Case {
            name: "a ping of 126 bytes",
            script: |peer| {
                peer.upgrade()?;
                peer.send(&frame(FIN | PING, &[b'x'; 126]))?;
                peer.hold()
            },
            adapt: AS_IT_IS,
            label: "protocol",
            says: &["125 bytes"],
        },
        Case {
            name: "a close frame of one byte",
            script: |peer| {
                peer.upgrade()?;
                peer.send(&frame(FIN | CLOSE, b"x"))?;
                peer.hold()
            },
            adapt: AS_IT_IS,
            label: "protocol",
            says: &["Invalid close"],
        },
        Case {
            name: "close 1000",
            script: |peer| said_goodbye(peer, &close(1000, "")),
            adapt: AS_IT_IS,
            label: "close",
            says: &["closed it with code 1000"],
        },
        Case {
            name: "close 1001",
            script: |peer| said_goodbye(peer, &close(1001, "going away")),
            adapt: AS_IT_IS,
            label: "close",
            says: &["closed it with code 1001: going away"],
        },
        Case {
            name: "close 1008, with words for the operator's terminal",
            script: |peer| said_goodbye(peer, &close(1008, &format!("\x1b[2J\n{TOKEN}"))),
            adapt: AS_IT_IS,
            label: "close",
            says: &["closed it with code 1008: \\u{1b}[2J\\n(secret)"],
        },
        Case {
            name: "close 1011",
            script: |peer| said_goodbye(peer, &close(1011, "oops")),
            adapt: AS_IT_IS,
            label: "close",
            says: &["closed it with code 1011: oops"],
        },
        Case {
            name: "close without a code",
            script: |peer| said_goodbye(peer, &frame(FIN | CLOSE, b"")),
            adapt: AS_IT_IS,
            label: "close",
            says: &["closed it without a code"],
        },
        Case {
            name: "gone in the middle of a frame",
            script: |peer| {
                peer.upgrade()?;
                peer.send(&frame(FIN | TEXT, &[b'x'; 1000])[..500])
            },
            adapt: AS_IT_IS,
            label: "eof",
            says: &["without a word"],
        },
        Case {
            name: "gone between messages",
            script: |peer| peer.upgrade().map(|_| ()),
            adapt: AS_IT_IS,
            label: "eof",
            says: &["without a word"],
        },
        Case {
            name: "reset",
            script: |peer| {
                peer.upgrade()?;
                peer.wait_for_unread()
            },
            adapt: |_, timing| timing.ping_every = SOON / 5,
            label: "io",
            says: &["reset"],
        },
    ];
    let counts = |meter: &FeedMeter| DISCONNECT_REASONS.into_iter().zip(meter.disconnects()).collect();
    alone("feed::every_way_to_break_a_connection_is_named_and_survived", || check(&cases, counts));
}

/// Sends a close frame and wants an answer to it before it closes.
fn said_goodbye(peer: &mut Peer, bytes: &[u8]) -> io::Result<()> {
    peer.upgrade()?;
    peer.send(bytes)?;
    let (first, _) = match peer.frame() {
        // The case is over, and this was one connection more.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(error),
        answered => answered.expect("a close frame is answered"),
    };
    assert_eq!(first, FIN | CLOSE);
    Ok(())
}

#[test]
fn a_port_where_nobody_listens_is_said_once_and_tried_on() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let seen = drive(feed(port), timing(), Notes::default(), |seen| seen.connects("refused") >= 5);
    let logs = seen.logs.text();
    assert_eq!(logs.matches("cannot connect").count(), 1, "{logs}");
    assert!(logs.contains(&format!("cannot connect: 127.0.0.1:{port}: Connection refused")), "{logs}");
    let every = Timing { complain_every: Duration::ZERO, ..timing() };
    let seen = drive(feed(port), every, Notes::default(), |seen| seen.connects("refused") >= 3);
    assert!(seen.logs.text().matches("failures=1").count() >= 3);
}

#[test]
fn a_url_or_a_header_that_is_none_is_said_and_does_not_end_the_feed() {
    type Break = fn(&mut CertstreamFeed);
    let cases: [(Break, &str); 3] = [
        (|feed| feed.url = format!("https://h/?key={TOKEN}"), "begins with \"https\""),
        (|feed| feed.url = format!("wss://user:{TOKEN}@h/"), "holds a user name or password"),
        (
            |feed| feed.headers[0].1 = Secret::new(format!("{TOKEN}\n")),
            "the value of header \"Authorization\"",
        ),
    ];
    let server = RawServer::start(None, |peer, _| peer.hold());
    for (break_it, words) in cases {
        let mut feed = feed(server.address().port());
        break_it(&mut feed);
        let seen = drive(feed, timing(), Notes::default(), |seen| seen.connects("other") >= 2);
        assert!(seen.logs.text().contains(words), "{words}: {}", seen.logs.text());
    }
}

/// Messages of a server, and how it may cut them: what is sent, and what must arrive.
fn stream(seed: u64) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut bytes, mut messages) = (Vec::new(), Vec::new());
    for n in 0..random.usize(1..60) {
        let length = match random.u8(0..10) {
            0 => 0,
            1..6 => random.usize(1..200),
            6..9 => random.usize(200..20_000),
            _ => random.usize(60_000..200_000),
        };
        let mut message = format!("{n}:é").into_bytes();
        message.extend((0..length).map(|_| random.alphanumeric() as u8));
        let kind = if random.bool() { TEXT } else { BINARY };
        let mut cuts: Vec<usize> = (0..random.usize(0..5)).map(|_| random.usize(0..=message.len())).collect();
        // As the Go server has it: the last fragment may be empty.
        if random.bool() {
            cuts.push(message.len());
        }
        cuts.sort_unstable();
        let mut from = 0;
        for (i, cut) in cuts.iter().enumerate() {
            bytes.extend(frame(if i == 0 { kind } else { CONTINUATION }, &message[from..*cut]));
            from = *cut;
            if random.u8(0..4) == 0 {
                bytes.extend(frame(FIN | random.choice([PING, PONG]).unwrap(), b"between"));
            }
        }
        let last = if cuts.is_empty() { kind } else { CONTINUATION };
        bytes.extend(frame(FIN | last, &message[from..]));
        messages.push(message);
    }
    (bytes, messages)
}

#[test]
fn messages_arrive_whole_and_in_order_however_they_are_cut() {
    for seed in 0..24 {
        let (bytes, messages) = stream(seed);
        let server = RawServer::start(None, move |peer, _| {
            peer.upgrade()?;
            let mut random = fastrand::Rng::with_seed(seed);
            // Some streams in one piece: a segment then holds many messages.
            let most = if seed % 3 == 0 { bytes.len() } else { random.usize(1..30_000) };
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let piece = rest.len().min(random.usize(1..=most));
                peer.send(&rest[..piece])?;
                rest = &rest[piece..];
            }
            peer.answer_pings()
        });
        let count = messages.len();
        let seen = drive(feed(server.address().port()), timing(), Notes::default(), |seen| {
            let events = seen.notes.events();
            seen.notes.taken().len() >= count && events.last() == Some(&Event::Rested)
        });
        assert!(seen.notes.taken() == messages, "seed {seed}");
        assert_eq!(seen.meter.bytes(), messages.iter().map(|m| m.len() as u64).sum::<u64>(), "seed {seed}");
        assert!(seen.meter.last_message().0 > 0);
        assert_eq!((server.connections(), seen.connects("ok")), (1, 1), "seed {seed}");
    }
}

#[test]
fn messages_that_come_with_the_handshakes_answer_are_not_lost() {
    let server = RawServer::start(None, |peer, _| {
        let mut answer = switching(&peer.request()?).into_bytes();
        answer.extend(frame(FIN | TEXT, b"first"));
        answer.extend(frame(FIN | TEXT, b"second\n"));
        peer.send(&answer)?;
        peer.answer_pings()
    });
    let seen = drive(feed(server.address().port()), timing(), Notes::default(), |seen| {
        seen.notes.taken().len() == 2
    });
    assert_eq!(seen.notes.taken(), [&b"first"[..], b"second\n"]);
}

#[test]
fn a_message_at_the_limit_passes() {
    let server = RawServer::start(None, |peer, _| {
        peer.upgrade()?;
        let whole = vec![b'x'; MAX_MESSAGE];
        peer.send(&frame(FIN | TEXT, &whole))?;
        // As the Go server has it: everything in one frame, and an empty last one.
        peer.send(&[frame(TEXT, &whole), frame(FIN | CONTINUATION, b"")].concat())?;
        peer.answer_pings()
    });
    let seen = drive(feed(server.address().port()), timing(), Notes::default(), |seen| {
        seen.notes.taken().len() == 2
    });
    assert!(seen.notes.taken().iter().all(|message| message.len() == MAX_MESSAGE));
}

#[test]
fn the_intake_rests_when_the_socket_is_empty_and_after_a_thousand_messages() {
    let server = RawServer::start(None, |peer, _| {
        peer.upgrade()?;
        peer.send(&frame(FIN | TEXT, b"m").repeat(20_000))?;
        peer.answer_pings()
    });
    let seen = drive(feed(server.address().port()), timing(), Notes::default(), |seen| {
        let events = seen.notes.events();
        events.iter().filter(|event| matches!(event, Event::Took(_))).count() == 20_000
            && events.last() == Some(&Event::Rested)
    });
    let events = seen.notes.events();
    let runs: Vec<usize> = events.split(|event| *event == Event::Rested).map(<[Event]>::len).collect();
    let (last, runs) = runs.split_last().unwrap();
    assert_eq!(*last, 0);
    assert!(runs.iter().all(|run| (1..=1024).contains(run)), "{runs:?}");
}

#[test]
fn a_flood_of_pings_is_answered_and_hides_no_message() {
    const PINGS: u32 = 100_000;
    let answered = Arc::new(Mutex::new(Vec::new()));
    let pongs = Arc::clone(&answered);
    let server = RawServer::start(None, move |peer, _| {
        peer.upgrade()?;
        let (mut reader, pongs) = (peer.second()?, Arc::clone(&pongs));
        let reading = std::thread::spawn(move || {
            while let Ok((first, payload)) = reader.frame() {
                if first == FIN | PONG {
                    pongs.lock().unwrap().push(u32::from_be_bytes(payload.try_into().unwrap()));
                }
            }
        });
        let mut flood = Vec::new();
        for n in 0..PINGS {
            flood.extend(frame(FIN | PING, &n.to_be_bytes()));
        }
        peer.send(&flood)?;
        peer.send(&frame(FIN | TEXT, b"after the flood"))?;
        let _ = reading.join();
        Ok(())
    });
    let pongs = Arc::clone(&answered);
    let seen = drive(feed(server.address().port()), timing(), Notes::default(), |seen| {
        seen.notes.taken() == [b"after the flood"] && pongs.lock().unwrap().last() == Some(&(PINGS - 1))
    });
    let pongs = answered.lock().unwrap();
    assert!(pongs.is_sorted_by(|a, b| a < b));
    // Where a pong cannot be sent at once, RFC 6455 lets the latest stand for all before it.
    assert!(pongs.len() >= PINGS as usize / 10, "{} of {PINGS}", pongs.len());
    assert_eq!(seen.connects("ok"), 1);
}

#[test]
fn a_slow_intake_delays_a_pong_by_no_more_than_itself_and_is_not_taken_for_silence() {
    let answered = Arc::new(AtomicUsize::new(0));
    let pongs = Arc::clone(&answered);
    let server = RawServer::start(None, move |peer, _| {
        peer.upgrade()?;
        for n in 0..3 {
            peer.send(&frame(FIN | TEXT, format!("{n}").as_bytes()))?;
            peer.send(&frame(FIN | PING, b"are you there"))?;
        }
        loop {
            let (first, payload) = peer.frame()?;
            match first & 0x0f {
                PING => peer.send(&frame(FIN | PONG, &payload))?,
                PONG if payload == b"are you there" => {
                    pongs.fetch_add(1, SeqCst);
                }
                _ => {}
            }
        }
    });
    let mut feed = feed(server.address().port());
    feed.silence_after = 2 * SOON;
    let timing = Timing { ping_every: SOON / 5, pong_within: SOON, ..timing() };
    let notes = Notes {
        verdict: Arc::new(|_| {
            // Longer than both limits: what is slow here is not the server.
            std::thread::sleep(3 * SOON);
            Ok(())
        }),
        ..Notes::default()
    };
    let seen = drive(feed, timing, notes, |seen| answered.load(SeqCst) >= 1 && seen.notes.taken().len() == 3);
    assert_eq!(seen.connects("ok"), 1);
    assert_eq!(seen.meter.disconnects().iter().sum::<u64>(), 0, "{}", seen.logs.text());
}

#[test]
fn the_request_carries_the_headers_and_says_who_comes() {
    let requests = Arc::new(Mutex::new(VecDeque::new()));
    let seen_requests = Arc::clone(&requests);
    let server = RawServer::start(None, move |peer, _| {
        let request = peer.upgrade()?;
        seen_requests.lock().unwrap().push_back(request);
        peer.answer_pings()
    });
    let port = server.address().port();
    drive(feed(port), timing(), Notes::default(), |_| !requests.lock().unwrap().is_empty());
    let request = requests.lock().unwrap().pop_front().unwrap();
    assert!(request.starts_with(&format!("GET /full-stream?key={TOKEN} HTTP/1.1\r\n")), "{request}");
    for (name, want) in [
        ("Host", format!("127.0.0.1:{port}")),
        ("Authorization", format!("Bearer {TOKEN}")),
        ("User-Agent", format!("certsieve/{}", env!("CARGO_PKG_VERSION"))),
        ("Sec-WebSocket-Version", "13".to_owned()),
    ] {
        assert_eq!(header(&request, name), Some(want.as_str()), "{name} in {request}");
    }
}

#[test]
fn it_pings_and_says_goodbye() {
    let frames = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&frames);
    let server = RawServer::start(None, move |peer, _| {
        peer.upgrade()?;
        while let Ok((first, payload)) = peer.frame() {
            heard.lock().unwrap().push((first, payload));
        }
        Ok(())
    });
    let often = Timing { ping_every: SOON / 5, ..timing() };
    drive(feed(server.address().port()), often, Notes::default(), |_| frames.lock().unwrap().len() >= 3);
    let start = Instant::now();
    let close = loop {
        if let Some(close) = frames.lock().unwrap().iter().find(|(first, _)| *first == FIN | CLOSE) {
            break close.1.clone();
        }
        assert!(start.elapsed() < CEILING);
        std::thread::sleep(Duration::from_millis(2));
    };
    assert_eq!(close, 1001u16.to_be_bytes());
    assert_eq!(
        frames.lock().unwrap()[..2],
        [(FIN | PING, b"certsieve 1".to_vec()), (FIN | PING, b"certsieve 2".to_vec())]
    );
}

#[test]
fn a_refused_stream_is_said_once_and_taken_when_its_server_has_changed() {
    let server = RawServer::start(None, |peer, number| {
        peer.upgrade()?;
        peer.send(&frame(FIN | TEXT, b"heartbeat"))?;
        // Its ping says that the client has dealt with the heartbeat.
        peer.frame()?;
        let kind = if number < 3 { &b"domains only"[..] } else { b"full" };
        for _ in 0..40 {
            peer.send(&frame(FIN | TEXT, kind))?;
        }
        peer.answer_pings()
    });
    let refusing = |message: &[u8]| match message {
        b"domains only" => Err(Refusal("this stream has no addresses".to_owned())),
        _ => Ok(()),
    };
    let notes = Notes { verdict: Arc::new(refusing), ..Notes::default() };
    let was_refused = AtomicUsize::new(0);
    let often = Timing { ping_every: SOON / 5, ..timing() };
    let seen = drive(feed(server.address().port()), often, notes, |seen| {
        if seen.meter.refused().as_deref() == Some("this stream has no addresses") {
            assert!(!seen.meter.is_live(certsieve::clock::now()));
            was_refused.fetch_add(1, SeqCst);
        }
        server.connections() > 3 && seen.meter.is_live(certsieve::clock::now())
    });
    assert!(was_refused.load(SeqCst) > 0);
    assert_eq!(seen.disconnects("close"), 3);
    assert!(!seen.notes.taken().contains(&b"domains only".to_vec()));
    let logs = seen.logs.text();
    assert_eq!(logs.matches("this stream has no addresses").count(), 1, "{logs}");
    assert_eq!(logs.matches("can be used again").count(), 1, "{logs}");
}

#[test]
fn it_stops_at_once_wherever_it_is() {
    // In the handshake, on a silent connection, and while it waits to come again.
    let scripts: [Script; 3] = [
        |peer| peer.hold(),
        |peer| {
            peer.upgrade()?;
            peer.hold()
        },
        |peer| peer.request().map(|_| ()),
    ];
    for script in scripts {
        let server = RawServer::start(None, move |peer, _| script(peer));
        let slow = Timing { retry_first: CEILING * 4, retry_most: CEILING * 4, ..Timing::default() };
        drive(feed(server.address().port()), slow, Notes::default(), |seen| {
            server.connections() == 1 && (seen.meter.connects().iter().sum::<u64>() <= 1)
        });
    }
}

#[test]
fn tls_trusts_whom_it_is_told_to_and_shows_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let ca = ours.write(&file("ca.pem"));
    let (cert, key) = ours.leaf("client").write(&file("client.pem"), &file("client.key"));
    let server =
        RawServer::start(Some(Authority::server(&ours.leaf("127.0.0.1"), Some(&ours))), |peer, _| {
            peer.upgrade()?;
            peer.send(&frame(FIN | TEXT, b"in secret"))?;
            peer.answer_pings()
        });
    let port = server.address().port();
    let over_tls = |port: u16| CertstreamFeed {
        url: format!("wss://127.0.0.1:{port}/?key={TOKEN}"),
        ca_file: Some(ca.clone()),
        client_cert_file: Some(cert.clone()),
        client_key_file: Some(key.clone()),
        ..feed(port)
    };
    let seen = drive(over_tls(port), timing(), Notes::default(), |seen| !seen.notes.taken().is_empty());
    assert_eq!(seen.notes.taken(), [b"in secret"]);

    // What fails, and what is said of it.
    let (their_cert, their_key) = theirs.leaf("client").write(&file("their.pem"), &file("their.key"));
    let their_ca = theirs.write(&file("their-ca.pem"));
    let elsewhere =
        RawServer::start(Some(Authority::server(&ours.leaf("other.example"), None)), |p, _| p.hold());
    let expired =
        RawServer::start(Some(Authority::server(&ours.expired_leaf("127.0.0.1"), None)), |p, _| p.hold());
    let plain = RawServer::start(None, |peer, _| {
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
        peer.hold()
    });
    let mute = RawServer::start(None, |peer, _| peer.hold());
    let to = |server: &RawServer| over_tls(server.address().port());
    let not_ca = file("client.key");
    let cases = [
        (
            "their CA",
            CertstreamFeed { ca_file: Some(their_ca), ..over_tls(port) },
            "tls",
            "not signed by a CA in",
        ),
        ("the system's roots", CertstreamFeed { ca_file: None, ..over_tls(port) }, "tls", "ca"),
        ("another name", to(&elsewhere), "tls", "not valid for name"),
        ("expired", to(&expired), "tls", "expired"),
        (
            "no client certificate",
            CertstreamFeed { client_cert_file: None, client_key_file: None, ..over_tls(port) },
            "tls",
            "the server wants a client certificate",
        ),
        (
            "a client certificate of theirs",
            CertstreamFeed {
                client_cert_file: Some(their_cert),
                client_key_file: Some(their_key.clone()),
                ..over_tls(port)
            },
            "tls",
            "client certificate",
        ),
        (
            "certificate and key do not belong together",
            CertstreamFeed { client_key_file: Some(their_key), ..over_tls(port) },
            "tls",
            "client.pem",
        ),
        ("half a pair", CertstreamFeed { client_key_file: None, ..over_tls(port) }, "tls", "go together"),
        (
            "no file",
            CertstreamFeed { ca_file: Some(file("missing.pem")), ..over_tls(port) },
            "tls",
            "missing.pem",
        ),
        (
            "no certificate in it",
            CertstreamFeed { ca_file: Some(not_ca), ..over_tls(port) },
            "tls",
            "holds no certificate",
        ),
        ("no TLS", to(&plain), "tls", "does not speak TLS"),
        ("mute", to(&mute), "timeout", "the TLS handshake took longer"),
    ];
    for (name, feed, label, words) in cases {
        let hurried = if name == "mute" { Timing { tls_within: SOON, ..timing() } } else { timing() };
        let seen = drive(feed, hurried, Notes::default(), |seen| seen.connects(label) >= 1);
        let logs = seen.logs.text();
        assert!(logs.contains(words), "{name}: {words:?} is not said: {logs}");
        assert_eq!(seen.meter.connects().iter().filter(|n| **n > 0).count(), 1, "{name}: {logs}");
    }
}

#[test]
fn tls_files_are_read_again_at_each_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let ca = theirs.write(&folder.path().join("ca.pem"));
    let server = RawServer::start(Some(Authority::server(&ours.leaf("127.0.0.1"), None)), |peer, _| {
        peer.upgrade()?;
        peer.send(&frame(FIN | TEXT, b"now"))?;
        peer.answer_pings()
    });
    let port = server.address().port();
    let feed =
        CertstreamFeed { url: format!("wss://127.0.0.1:{port}/"), ca_file: Some(ca.clone()), ..feed(port) };
    drive(feed, timing(), Notes::default(), |seen| {
        if seen.connects("tls") > 0 && seen.connects("ok") == 0 {
            ours.write(&ca);
        }
        !seen.notes.taken().is_empty()
    });
}
