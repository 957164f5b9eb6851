//! Feeds through an HTTP proxy on loopback: one that does its work, and one for each way to fail.
//!
//! The proxy names hosts that have no address here: what arrives can only have gone through it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use certsieve::config::{CertstreamFeed, Config, FeedConfig, Proxy, Secret};
use certsieve::feed::certstream::Timing;

use crate::feed::{Notes, SOON, Seen, drive, feed, timing};
use crate::support::certificates::Authority;
use crate::support::raw_server::*;

/// A host that no resolver knows (RFC 6761).
const HOST: &str = "feed.invalid";

/// Of the proxy; shows up in its requests and nowhere else.
const PASSWORD: &str = "hunter2-0123456789";

fn proxy_at(address: SocketAddr, login: Option<&str>) -> Proxy {
    Proxy {
        host: address.ip().to_string(),
        port: address.port(),
        login: login.map(Secret::new),
        named_by: "HTTPS_PROXY",
    }
}

/// A proxy that leads everybody to `to`, and keeps what it was asked.
fn proxy_to(to: SocketAddr) -> (RawServer, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&asked);
    let server = RawServer::start(None, move |peer, _| {
        keep.lock().unwrap().push(peer.request()?);
        let tunnel = TcpStream::connect(to)?;
        // In two pieces, the second of which ends in the middle of what is to be read.
        peer.send(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r")?;
        std::thread::sleep(Duration::from_millis(5));
        peer.send(b"\n\r\n")?;
        peer.relay(tunnel)
    });
    (server, asked)
}

fn one_message(peer: &mut Peer) -> io::Result<()> {
    peer.upgrade()?;
    peer.send(&frame(FIN | TEXT, b"through"))?;
    peer.answer_pings()
}

/// Runs the feed until its first message, and shows that no secret got out.
fn receive(feed: CertstreamFeed) -> Seen {
    let seen = drive(feed, timing(), Notes::default(), |seen| !seen.notes.taken().is_empty());
    assert_eq!(seen.notes.taken(), [b"through"]);
    assert_eq!((seen.connects("ok"), seen.meter.connects().iter().sum::<u64>()), (1, 1));
    let logs = seen.logs.text();
    assert!(!logs.contains(PASSWORD), "{logs}");
    seen
}

#[test]
fn ws_and_wss_go_through_the_proxy_by_connect() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    let ca = ours.write(&folder.path().join("ca.pem"));
    for (scheme, port, tls, ca_file) in
        [("ws", 80, None, None), ("wss", 443, Some(Authority::server(&ours.leaf(HOST), None)), Some(ca))]
    {
        let server = RawServer::start(tls, |peer, _| one_message(peer));
        let (proxy, asked) = proxy_to(server.address());
        let seen = receive(CertstreamFeed {
            url: format!("{scheme}://{HOST}/"),
            ca_file,
            proxy: Some(proxy_at(proxy.address(), Some(&format!("user:{PASSWORD}")))),
            ..feed(0)
        });
        let asked = asked.lock().unwrap();
        let request = asked.first().unwrap();
        assert!(request.starts_with(&format!("CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\n")));
        // user:hunter2-0123456789
        let basic = "Basic dXNlcjpodW50ZXIyLTAxMjM0NTY3ODk=";
        assert_eq!(header(request, "Proxy-Authorization"), Some(basic));
        assert_eq!(header(request, "Authorization"), None, "the feed's own headers are for its server");
        let logs = seen.logs.text();
        assert!(logs.contains(&format!("proxy={}", proxy.address())), "{logs}");
        assert!(!logs.contains(basic), "{logs}");
    }
}

#[test]
fn what_the_environment_and_the_feed_say_is_obeyed() {
    let server = RawServer::start(None, |peer, _| one_message(peer));
    let (proxy, asked) = proxy_to(server.address());
    let (other, other_asked) = proxy_to(server.address());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("watchlist.toml"), "").unwrap();
    std::fs::write(folder.path().join("url"), format!("http://{}\n", other.address())).unwrap();
    let named = format!("http://user:{PASSWORD}@{}", proxy.address());
    for (own, variables, through) in [
        ("", vec![("HTTP_PROXY", named.as_str())], Some(&asked)),
        ("", vec![("all_proxy", &named)], Some(&asked)),
        ("", vec![("HTTPS_PROXY", &named)], None),
        ("", vec![("HTTP_PROXY", &named), ("NO_PROXY", "127.0.0.0/8")], None),
        ("proxy = 'none'", vec![("HTTP_PROXY", &named)], None),
        ("proxy = ''", vec![("HTTP_PROXY", &named)], None),
        (&format!("proxy = 'http://{}'", other.address()), vec![("HTTP_PROXY", &named)], Some(&other_asked)),
        ("proxy = { file = 'url' }", vec![("HTTP_PROXY", &named), ("NO_PROXY", "*")], Some(&other_asked)),
        ("proxy = { env = 'FEED_PROXY' }", vec![("FEED_PROXY", &named)], Some(&asked)),
        ("proxy = 'none'", vec![("CERTSIEVE_FEED__0__PROXY", &named)], Some(&asked)),
    ] {
        let path = folder.path().join("certsieve.toml");
        let text = format!(
            "watchlists = 'watchlist.toml'\n[[feed]]\nkind = 'certstream'\nurl = 'ws://{}/'\n{own}\n",
            server.address()
        );
        std::fs::write(&path, text).unwrap();
        let env = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Config::load(&path, env).unwrap();
        assert!(!format!("{config:?}").contains(PASSWORD), "{config:?}");
        let FeedConfig::Certstream(feed) = &config.feeds[0] else { panic!("{config:?}") };
        receive(feed.clone());
        for (which, requests) in [("HTTP_PROXY's", &asked), ("the other", &other_asked)] {
            let count = std::mem::take(&mut *requests.lock().unwrap()).len();
            let want = usize::from(through.is_some_and(|through| Arc::ptr_eq(through, requests)));
            assert_eq!(count, want, "{which} proxy, {own} {:?}", variables[0].0);
        }
    }
}

#[test]
fn a_password_has_no_place_in_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("certsieve.toml");
    let feed = "watchlists = 'w'\n[[feed]]\nkind = 'certstream'\nurl = 'wss://h/'\n";
    for (own, want) in [
        (format!("'http://user:{PASSWORD}@proxy:3128'"), "user and password are a secret"),
        (format!("'https://user:{PASSWORD}@proxy:3128'"), "of kind https://"),
        (format!("'socks5://user:{PASSWORD}@proxy:3128'"), "of kind socks5://"),
        (format!("'http://proxy:{PASSWORD}'"), "a port that is not from 1 to 65535"),
        ("{ env = 'NO_SUCH' }".to_owned(), "no environment variable `NO_SUCH`"),
        ("3128".to_owned(), "proxy is a whole number"),
    ] {
        std::fs::write(&path, format!("{feed}proxy = {own}\n")).unwrap();
        let env = [("ALL_PROXY", "socks5://a:1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let problems = Config::load(&path, env.into_iter()).map(|_| ()).unwrap_err();
        // What the environment says of it does not matter to a feed that says it itself.
        assert_eq!(problems.len(), 1, "{problems}");
        let text = problems.render(true);
        assert!(text.contains(want) && !text.contains(PASSWORD), "{own}: {text}");
    }
}

#[test]
fn every_way_a_proxy_can_fail_is_named_and_tried_again() {
    type Script = fn(&mut Peer) -> io::Result<()>;
    const AS_IT_IS: fn(&mut Timing) = |_| {};
    type Case = (&'static str, Script, fn(&mut Timing), &'static str, &'static [&'static str]);
    let cases: [Case; 14] = [
        (
            "forbidden",
            |peer| {
                peer.request()?;
                peer.send(b"HTTP/1.1 403 Forbidden\r\n\r\n<html>\x1b[31mnot this host")
            },
            AS_IT_IS,
            "http",
            &["answered 403 to CONNECT", "allow CONNECT", "<html>\\u{1b}[31mnot this host"],
        ),
        (
            "wants another login, and repeats what it got",
            |peer| {
                let request = peer.request()?;
                let basic = header(&request, "Proxy-Authorization").unwrap_or("nothing");
                let head = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n";
                peer.send(format!("{head}bad {basic}, that is user:{PASSWORD}").as_bytes())
            },
            AS_IT_IS,
            "http",
            &[
                "answered 407",
                "are user and password in HTTPS_PROXY right?",
                "bad Basic (secret), that is (secret)",
            ],
        ),
        (
            "the feed's host is away",
            |peer| {
                peer.request()?;
                peer.send(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            },
            AS_IT_IS,
            "http",
            &["answered 502", "can it reach the feed's host?", "502 Bad Gateway"],
        ),
        (
            "a page that never ends, half a second of which is enough",
            |peer| {
                peer.request()?;
                peer.send(b"HTTP/1.1 503 Busy\r\n\r\nlater")?;
                peer.hold()
            },
            AS_IT_IS,
            "http",
            &["answered 503", "its answer begins: later"],
        ),
        (
            "a redirect",
            |peer| {
                peer.request()?;
                peer.send(b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n")
            },
            AS_IT_IS,
            "http",
            &["answered 302"],
        ),
        (
            "no HTTP, and nothing after it",
            |peer| {
                peer.request()?;
                peer.send(b"SSH-2.0-OpenSSH_9.2\x1b")?;
                peer.hold()
            },
            AS_IT_IS,
            "http",
            &["does not speak HTTP/1.1", "SSH-2.0-OpenSSH_9.2\\u{1b}"],
        ),
        (
            "no status",
            |peer| {
                peer.request()?;
                peer.send(b"HTTP/1.1 fine\r\n\r\n")
            },
            AS_IT_IS,
            "http",
            &["does not speak HTTP/1.1", "HTTP/1.1 fine"],
        ),
        (
            "a header without end",
            |peer| {
                peer.request()?;
                peer.send(b"HTTP/1.1 200 OK\r\n")?;
                loop {
                    peer.send(&b"X-Some: header\r\n".repeat(256))?;
                }
            },
            AS_IT_IS,
            "http",
            &["a header of over 65536 bytes"],
        ),
        (
            "closes at once",
            |peer| peer.request().map(|_| ()),
            AS_IT_IS,
            "http",
            &["closed the connection before it had answered CONNECT"],
        ),
        (
            "resets",
            |peer| peer.wait_for_unread(),
            AS_IT_IS,
            "other",
            &["failed before it had answered", "reset"],
        ),
        (
            "half-open: never answers",
            |peer| peer.hold(),
            |timing| timing.dial_within = SOON,
            "timeout",
            &["took longer than 150ms to answer CONNECT"],
        ),
        (
            "one byte at a time",
            |peer| {
                peer.request()?;
                for byte in b"HTTP/1.1 200 Connection established\r\n\r\n" {
                    peer.send(&[*byte])?;
                    std::thread::sleep(Duration::from_millis(20));
                }
                peer.hold()
            },
            |timing| timing.dial_within = SOON,
            "timeout",
            &["took longer than 150ms to answer CONNECT"],
        ),
        (
            "a tunnel that leads nowhere",
            |peer| {
                peer.request()?;
                peer.send(b"HTTP/1.0 200\n\n")
            },
            AS_IT_IS,
            "tls",
            &["TLS"],
        ),
        (
            "a tunnel that is silent",
            |peer| {
                peer.request()?;
                peer.send(b"HTTP/1.1 200 OK\r\n\r\n")?;
                peer.hold()
            },
            |timing| timing.tls_within = SOON,
            "timeout",
            &["the TLS handshake took longer"],
        ),
    ];
    for (name, script, adapt, label, says) in cases {
        let server = RawServer::start(None, move |peer, _| script(peer));
        let login = format!("user:{PASSWORD}");
        let feed = CertstreamFeed {
            url: format!("wss://{HOST}/"),
            proxy: Some(proxy_at(server.address(), Some(&login))),
            ..feed(0)
        };
        let mut timing = timing();
        adapt(&mut timing);
        println!("{name}");
        let seen = drive(feed, timing, Notes::default(), |seen| {
            seen.connects(label) > 0 && server.connections() > 1
        });
        let logs = seen.logs.text();
        assert_eq!(seen.connects(label), seen.meter.connects().iter().sum::<u64>(), "{name}: {logs}");
        for words in says {
            assert!(logs.contains(words), "{name}: {words:?} is not said: {logs}");
        }
        // Which of the two it was is said wherever the proxy is what failed.
        let named = format!("the proxy {} (HTTPS_PROXY)", server.address());
        assert!(logs.contains(&named) || name.contains("tunnel"), "{name}: {logs}");
        for secret in [PASSWORD, "dXNlcjpodW50ZXIy"] {
            assert!(!logs.contains(secret), "{name}: {logs}");
        }
    }
}

#[test]
fn a_proxy_that_is_away_or_unknown_is_named() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let at = proxy_at(closed, None);
    for (proxy, label, words) in [
        (at.clone(), "refused", format!("the proxy {closed} (HTTPS_PROXY) cannot be reached: ")),
        (
            Proxy { host: HOST.to_owned(), ..at },
            "other",
            format!(
                "the proxy {HOST}:{} (HTTPS_PROXY) cannot be reached: its name cannot be looked up",
                closed.port()
            ),
        ),
    ] {
        let feed = CertstreamFeed { url: format!("wss://{HOST}/"), proxy: Some(proxy), ..feed(0) };
        let seen = drive(feed, timing(), Notes::default(), |seen| seen.connects(label) > 0);
        let logs = seen.logs.text();
        assert!(logs.contains(&words) && logs.contains(&format!("{HOST}:443")), "{logs}");
    }
}
