//! The log client against scripted servers on loopback: every way in which a log can answer otherwise than it
//! should has its outcome, is bounded in time and memory, and leaves the log alone for a while.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use certsieve::config::Proxies;
use certsieve::ctlog::{
    Api, Fetch, Get, IssuerCache, Limits, LogClient, LogError, LogList, OUTCOMES, Outcome, Signature,
    Transport, TransportError,
};
use certsieve::entry::leaf::{Fetched, Leaf};
use certsieve::feed::dial::TlsFiles;
use certsieve::fetch::Fetcher;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

use crate::support::certificates::Authority;
use crate::support::entries::{Certificate, dns};
use crate::support::leaves::{LOGGED_AT, Logged};
use crate::support::raw_server::{RawServer, header};

/// Long enough for a machine that is busy, and never waited for where all is well.
const PATIENT: Limits = Limits { concurrent: 2, per_second: 1_000, within: Duration::from_secs(20) };

/// For what never ends.
const HASTY: Limits = Limits { within: Duration::from_millis(300), ..PATIENT };

/// A generous ceiling for what ends by a limit of 300 ms.
const SOON: Duration = Duration::from_secs(10);

/// A server that answers each request with raw bytes, and keeps what it was asked. An answer that says
/// `Connection: close`, or none, is the last of its connection.
struct Site {
    server: RawServer,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Site {
    fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Site {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&asked);
        let server = RawServer::start(None, move |peer, _| {
            loop {
                let request = peer.request()?;
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                keep.lock().unwrap().push(request);
                let answer = answer(&path);
                peer.send(&answer)?;
                if answer.is_empty() || answer.windows(17).any(|part| part == b"Connection: close") {
                    return Ok(());
                }
            }
        });
        Site { server, asked }
    }

    fn url(&self) -> String {
        format!("http://{}/log", self.server.address())
    }

    /// The paths that were asked for, below the log's own.
    fn paths(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let path = |request: &String| request.split(' ').nth(1).unwrap_or_default().replacen("/log/", "", 1);
        asked.iter().map(path).collect()
    }
}

fn with(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    with("200 OK", "Content-Type: application/json\r\n", body.as_ref())
}

fn not_found() -> Vec<u8> {
    with("404 Not Found", "", b"404 page not found\n")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Runs to the end, and closes every connection: a site waits for that.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn fetcher() -> Arc<Fetcher> {
    Arc::new(Fetcher::new(Some("ct-ops@example.net"), Proxies::default(), TlsFiles::default()))
}

/// A client of the log at `url` in the list, or of that URL alone.
fn client(list: Option<LogList>, url: &str, limits: Limits) -> LogClient {
    let mut list = list.unwrap_or_default();
    list.allow(url).unwrap();
    let log = Arc::clone(list.find(url).unwrap());
    LogClient::new(log, fetcher(), Arc::new(IssuerCache::default()), &limits, fastrand::Rng::with_seed(1))
}

/// The key of one log.
struct Signer {
    pair: EcdsaKeyPair,
    spki: Vec<u8>,
}

impl Signer {
    fn new() -> Signer {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let prefix = STANDARD.decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA=").unwrap();
        let spki = [&prefix, pair.public_key().as_ref()].concat();
        Signer { pair, spki }
    }

    fn id(&self) -> Vec<u8> {
        digest(&SHA256, &self.spki).as_ref().to_vec()
    }

    /// TreeHeadSignature, RFC 6962, 3.5, as a `digitally-signed` value.
    fn tree_head(&self, size: u64) -> Vec<u8> {
        let message = [&[0, 1][..], &LOGGED_AT.to_be_bytes(), &size.to_be_bytes(), &[7; 32]].concat();
        let signature = self.pair.sign(&SystemRandom::new(), &message).unwrap();
        let length = (signature.as_ref().len() as u16).to_be_bytes();
        [&[4, 3], &length[..], signature.as_ref()].concat()
    }

    fn sth(&self, size: u64) -> Vec<u8> {
        let signature = STANDARD.encode(self.tree_head(size));
        let root = STANDARD.encode([7; 32]);
        ok(json!({ "tree_size": size, "timestamp": LOGGED_AT, "sha256_root_hash": root,
            "tree_head_signature": signature })
        .to_string())
    }

    /// A checkpoint of `origin`, with a witness's signature above the log's.
    fn checkpoint(&self, origin: &str, size: u64) -> Vec<u8> {
        let id = digest(&SHA256, &[origin.as_bytes(), &[0x0a, 0x05], &self.id()].concat());
        let signed = [&id.as_ref()[..4], &LOGGED_AT.to_be_bytes(), &self.tree_head(size)].concat();
        let witness = STANDARD.encode([1; 76]);
        ok(format!(
            "{origin}\n{size}\n{}\n\n\u{2014} witness.example {witness}\n\u{2014} {origin} {}\n",
            STANDARD.encode([7; 32]),
            STANDARD.encode(signed)
        ))
    }

    /// A list with one log of this key.
    fn list(&self, url: &str, api: Api) -> LogList {
        let (logs, tiled) = match api {
            Api::Rfc6962 => ("logs", "tiled_logs"),
            Api::Static => ("tiled_logs", "logs"),
        };
        let log = json!({ "log_id": STANDARD.encode(self.id()), "key": STANDARD.encode(&self.spki), "url": url,
            "monitoring_url": url, "submission_url": "https://submit.example/log/", "description": "Example" });
        let list = json!({ "operators": [{ "name": "Example", logs: [log], tiled: [] }] });
        LogList::read(list.to_string().as_bytes()).unwrap()
    }
}

/// The outcome counted, the error, and how long the log is left alone.
fn refused(site: &Site, limits: Limits) -> (LogError, Duration) {
    let (signer, url) = (Signer::new(), site.url());
    run(async {
        let client = client(Some(signer.list(&url, Api::Rfc6962)), &url, limits);
        let error = client.tree_head().await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("{url}/ct/v1/get-sth ")), "{error}");
        let mut counts = OUTCOMES.map(|_| 0);
        counts[OUTCOMES.iter().position(|outcome| *outcome == error.outcome()).unwrap()] = 1;
        assert_eq!(client.requests(), counts, "{error}");
        (error, client.rest())
    })
}

fn rfc_date(in_seconds: i64) -> String {
    use time::format_description::well_known::Rfc2822;
    let at = time::OffsetDateTime::now_utc() + time::Duration::seconds(in_seconds);
    at.format(&Rfc2822).unwrap().replace("+0000", "GMT")
}

#[test]
fn every_other_answer_has_its_outcome_and_makes_the_client_rest() {
    let html = b"<html><body>\x1b[31mBusy</body></html>";
    let bomb = gzip(&vec![b' '; 4 << 20]);
    let long = vec![b' '; 300_000];
    let close = "Connection: close\r\n";
    let sth = |change: fn(&mut String)| {
        let body = Signer::new().sth(9);
        let body = String::from_utf8(body).unwrap();
        let mut body = body.split_once("\r\n\r\n").unwrap().1.to_owned();
        change(&mut body);
        ok(body)
    };
    for (answer, outcome, said, wait) in [
        (
            with("429 Slow", "Retry-After: 120\r\n", b""),
            Outcome::RateLimited,
            "asked again after 120 s",
            Some(120),
        ),
        (with("429 Slow", "Retry-After: 86400\r\n", b""), Outcome::RateLimited, "after 3600 s", Some(3600)),
        (
            with("429 Slow", &format!("Retry-After: {}\r\n", rfc_date(600)), b""),
            Outcome::RateLimited,
            "too many requests, and to be asked again after",
            Some(590),
        ),
        (
            with("429 Slow", "Retry-After: soon\r\n", b""),
            Outcome::RateLimited,
            "answers 429: too many requests",
            None,
        ),
        (with("429 Slow", "", b"{}"), Outcome::RateLimited, "answers 429: too many requests", None),
        (
            with("503 Away", "Retry-After: 7\r\n", html),
            Outcome::ServerError,
            "answers 503, and to be asked",
            Some(7),
        ),
        (with("500 Oh", "", html), Outcome::ServerError, "answers 500", None),
        (with("502 Oh", close, b""), Outcome::ServerError, "answers 502", None),
        (with("403 No", "", html), Outcome::ServerError, "answers 403", None),
        (not_found(), Outcome::NotFound, "answers 404: it is not there", None),
        (with("410 Gone", "", b""), Outcome::NotFound, "answers 410", None),
        (
            with("301 There", "Location: http://127.0.0.1:9/\r\n", b""),
            Outcome::BadData,
            "answers 301, a redirect",
            None,
        ),
        (ok(html), Outcome::BadData, "bad data: no STH: expected value", None),
        (ok(""), Outcome::BadData, "bad data: no STH: EOF", None),
        (ok("{\"tree_size\":1}"), Outcome::BadData, "missing field", None),
        (ok("[".repeat(100_000)), Outcome::BadData, "bad data: no STH: ", None),
        (sth(|body| body.truncate(body.len() / 2)), Outcome::BadData, "bad data: no STH: EOF", None),
        (sth(|_| {}), Outcome::BadData, "the signature is not the key's", None),
        (ok(&long), Outcome::BadData, "more than 262145 bytes", None),
        (
            [&b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"[..], &long].concat(),
            Outcome::BadData,
            "more than 262145 bytes",
            None,
        ),
        (
            with("200 OK", "Content-Encoding: gzip\r\n", &bomb),
            Outcome::BadData,
            "more than 262145 bytes once decompressed",
            None,
        ),
        (with("200 OK", "Content-Encoding: gzip\r\n", html), Outcome::BadData, "no gzip", None),
        (
            with("200 OK", "Content-Encoding: gzip\r\n", &gzip(html)[..20]),
            Outcome::BadData,
            "cannot be decompressed: no gzip",
            None,
        ),
        (
            with("200 OK", "Content-Encoding: br\r\n", html),
            Outcome::BadData,
            "its Content-Encoding is br",
            None,
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\nConnection: close\r\n\r\n{\"tree".to_vec(),
            Outcome::ServerError,
            "broke its answer off",
            None,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\n{\"tre".to_vec(),
            Outcome::ServerError,
            "broke its answer off",
            None,
        ),
        (
            b"SSH-2.0-OpenSSH_9.2\r\nConnection: close".to_vec(),
            Outcome::ServerError,
            "broke its answer off",
            None,
        ),
        (Vec::new(), Outcome::ServerError, "broke its answer off", None),
    ] {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(80)]).into_owned();
        let site = Site::start(move |_| answer.clone());
        let (error, rest) = refused(&site, PATIENT);
        assert_eq!(error.outcome(), outcome, "{shown}: {error}");
        let text = error.to_string();
        assert!(text.contains(said) && text.len() < 400, "{shown}: {text}");
        assert!(!text.contains('\x1b'), "{text:?}");
        let (least, most) =
            wait.map_or((0.4, 1.0), |wait| (wait as f64 - 0.1 * wait as f64, wait as f64 * 1.1));
        assert!((least..=most).contains(&rest.as_secs_f64()), "{shown}: rests for {rest:?}");
        assert_eq!(error.wait().is_some(), wait.is_some(), "{shown}: {error}");
        assert_eq!(site.paths().len(), 1, "{shown}");
    }
}

#[test]
fn an_answer_that_never_ends_ends_in_time() {
    for head in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n",
        "HTTP/1.1 500 No\r\nContent-Length: 900\r\n\r\n",
    ] {
        let server = RawServer::start(None, move |peer, _| {
            peer.request()?;
            peer.send(head.as_bytes())?;
            loop {
                std::thread::sleep(Duration::from_millis(5));
                peer.send(b"{")?;
            }
        });
        let site = Site { server, asked: Arc::default() };
        let start = Instant::now();
        let (error, _) = refused(&site, HASTY);
        assert!(start.elapsed() < SOON, "{head}: {:?}", start.elapsed());
        if head.contains("500") {
            assert_eq!(error.outcome(), Outcome::ServerError, "{error}");
        } else if head.is_empty() {
            // What drips in is no header, and soon known to be none.
            assert!(matches!(error.outcome(), Outcome::Timeout | Outcome::ServerError), "{error}");
        } else {
            assert_eq!(error.outcome(), Outcome::Timeout, "{error}");
            assert!(error.to_string().contains("took longer than 300ms for a whole answer"), "{error}");
        }
    }
    // Nobody answers at all.
    let server = RawServer::start(None, |peer, _| peer.hold());
    let site = Site { server, asked: Arc::default() };
    let (error, _) = refused(&site, HASTY);
    assert_eq!(error.outcome(), Outcome::Timeout, "{error}");
    assert!(error.to_string().contains("for an answer's header"), "{error}");
}

#[test]
fn a_log_that_is_away_is_a_server_error() {
    let server = RawServer::start(None, |_, _| Ok(()));
    let url = format!("http://{}/log", server.address());
    drop(server);
    run(async {
        let error = client(None, &url, PATIENT).tree_head().await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::ServerError);
        assert!(error.to_string().contains("cannot be reached: Connection refused"), "{error}");
    });
}

#[test]
fn a_redirect_leads_nowhere() {
    let other = Site::start(|_| ok("{}"));
    let location = format!("Location: {}\r\n", other.url());
    let site = Site::start(move |_| with("302 Found", &location, b""));
    refused(&site, PATIENT);
    assert_eq!(other.server.connections(), 0);
}

#[test]
fn the_request_says_who_asks_and_connections_are_kept() {
    let signer = Signer::new();
    let sth = signer.sth(9);
    let site = Site::start(move |_| sth.clone());
    let url = site.url();
    run(async {
        let client = client(Some(signer.list(&url, Api::Rfc6962)), &url, PATIENT);
        for _ in 0..5 {
            let head = client.tree_head().await.unwrap();
            assert_eq!((head.size, head.signature), (9, Signature::Verified));
        }
        assert_eq!(client.requests()[0], 5);
    });
    assert_eq!(site.server.connections(), 1);
    let asked = site.asked.lock().unwrap();
    let agent = concat!("certsieve/", env!("CARGO_PKG_VERSION"), " (+ct-ops@example.net)");
    assert!(asked[0].starts_with("GET /log/ct/v1/get-sth HTTP/1.1\r\n"), "{}", asked[0]);
    assert_eq!(header(&asked[0], "User-Agent"), Some(agent));
    assert_eq!(header(&asked[0], "Host"), Some(site.server.address().to_string().as_str()));
    assert_eq!(header(&asked[0], "Accept-Encoding"), Some("gzip, identity"));
}

#[test]
fn a_connection_that_the_server_has_closed_costs_no_request() {
    let signer = Signer::new();
    let sth = signer.sth(9);
    // One answer a connection, without a word about it.
    let server = RawServer::start(None, move |peer, _| {
        peer.request()?;
        peer.send(&sth)
    });
    let url = format!("http://{}/log", server.address());
    run(async {
        let client = client(Some(signer.list(&url, Api::Rfc6962)), &url, PATIENT);
        for _ in 0..5 {
            client.tree_head().await.unwrap();
        }
        assert_eq!(client.requests()[0], 5);
    });
    assert_eq!(server.connections(), 5);
}

#[test]
fn https_goes_by_the_ca_file_and_through_the_proxy_of_the_environment() {
    const HOST: &str = "log.invalid";
    const PASSWORD: &str = "hunter2-0123456789";
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    let ca = ours.write(&folder.path().join("ca.pem"));
    let server = RawServer::start(Some(Authority::server(&ours.leaf(HOST), None)), |peer, _| {
        peer.request()?;
        peer.send(&with("200 OK", "Content-Encoding: gzip\r\n", &gzip(b"through")))
    });
    let to = server.address();
    for refuses in [false, true] {
        let proxy = RawServer::start(None, move |peer, _| {
            peer.request()?;
            if refuses {
                return peer.send(&with("407 No", "", format!("bad login user:{PASSWORD}").as_bytes()));
            }
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")?;
            peer.relay(std::net::TcpStream::connect(to)?)
        });
        let named = format!("http://user:{PASSWORD}@{}", proxy.address());
        let variables =
            [("HTTPS_PROXY".to_owned(), named), ("NO_PROXY".to_owned(), "other.invalid".to_owned())];
        let proxies = Proxies::read(variables.into_iter()).unwrap();
        let get = |host: &str| Get {
            url: format!("https://{host}/file"),
            max_bytes: 100,
            within: Duration::from_secs(20),
        };
        run(async {
            let tls = TlsFiles { ca: Some(ca.clone()), ..TlsFiles::default() };
            let fetcher = Fetcher::new(None, proxies, tls);
            match fetcher.get(get(HOST)).await {
                Ok(answer) => {
                    assert_eq!((answer.status, &answer.body[..], refuses), (200, &b"through"[..], false))
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(refuses && text.contains("407"), "{text}");
                    assert!(!text.contains(PASSWORD), "{text}");
                }
            }
            // Not through the proxy, and without it there is no such host.
            let error = fetcher.get(get("other.invalid")).await.unwrap_err();
            assert!(
                matches!(&error, TransportError::Unreachable(said) if said.contains("looked up")),
                "{error}"
            );
        });
        assert_eq!(proxy.connections(), 1);
    }
}

#[test]
fn urls_that_cannot_be_fetched_are_refused() {
    run(async {
        for (url, want) in [
            ("ftp://h/", "does not begin with"),
            ("/path", "does not begin with"),
            ("https://u:hunter2@h/", "user or a password"),
            ("http://", "cannot be read"),
            ("http://h h/", "cannot be read"),
        ] {
            let get = Get { url: url.to_owned(), max_bytes: 1, within: SOON };
            let error = fetcher().get(get).await.unwrap_err().to_string();
            assert!(error.contains(want) && !error.contains("hunter2"), "{url}: {error}");
        }
    });
}

/// A certificate or a precertificate, with a chain.
fn logged(n: u64) -> Logged {
    let certificate = Certificate::of([dns(format!("{n}.example.com"))]);
    let chain = [certificate.issuer_certificate().der(), format!("issuer {}", n % 3).into_bytes()];
    if n.is_multiple_of(2) {
        Logged::certificate(&certificate.der(), &chain)
    } else {
        Logged::precertificate(&certificate.poisoned().der(), &chain)
    }
}

/// The indexes of all leaves, each of which is shown to be the log's.
fn shown(fetch: &Fetch, issuers: &certsieve::ctlog::Issuers, chain: bool) -> Vec<u64> {
    let leaves = fetch.leaves(issuers);
    let each = leaves.iter().map(|(index, form)| {
        let leaf = Leaf::read(Fetched { log: "log", log_name: None, index, form });
        let want = logged(index);
        assert_eq!((leaf.broken, leaf.submitted), (None, &want.submitted[..]), "{index}");
        let certificates: Vec<_> = leaf.chain().map(<[u8]>::to_vec).collect();
        assert_eq!(certificates, if chain { want.chain } else { Vec::new() }, "{index}");
        index
    });
    each.collect()
}

/// `get-entries` of a log of so many entries that gives so many at most, from an index on.
fn get_entries(size: u64, answer: impl Fn(u64, u64) -> (u64, u64)) -> impl Fn(&str) -> Vec<u8> {
    move |path| {
        let Some((_, query)) = path.split_once("?start=") else { return Signer::new().sth(size) };
        let (start, end) = query.split_once("&end=").unwrap();
        let (start, end): (u64, u64) = (start.parse().unwrap(), end.parse().unwrap());
        let (start, end) = answer(start, end);
        if end < start {
            return with("400 Bad Request", "", b"");
        }
        let entries: Vec<_> = (start..=end)
            .map(|n| {
                let (input, extra) = (logged(n).leaf_input(), logged(n).extra_data());
                json!({ "leaf_input": STANDARD.encode(input), "extra_data": STANDARD.encode(extra) })
            })
            .collect();
        ok(json!({ "entries": entries }).to_string())
    }
}

#[test]
fn an_rfc_6962_log_gives_its_entries_as_it_likes() {
    type Answer = fn(u64, u64) -> (u64, u64);
    let answers: [(&str, Answer, usize); 5] = [
        ("all", |start, end| (start, end), 1),
        ("at most 32", |start, end| (start, end.min(start + 31)), 7),
        ("at most 64, to multiples of it", |start, end| (start, end.min(start | 63)), 4),
        // All 201, then half of what was asked for each time: 100, 50, 25.
        ("400 beyond 32", |start, end| if end - start < 32 { (start, end) } else { (1, 0) }, 12),
        ("more than asked for", |start, end| (start, end + 9), 1),
    ];
    for (what, answer, requests) in answers {
        let site = Site::start(get_entries(300, answer));
        let url = site.url();
        run(async {
            let client = client(None, &url, Limits { concurrent: 1, ..PATIENT });
            let size = client.tree_head().await.unwrap().size;
            assert_eq!((size, client.api()), (300, Some(Api::Rfc6962)));
            let fetched: Vec<_> = client.range(50, 250, size).collect().await;
            let issuers = Default::default();
            let indexes: Vec<u64> =
                fetched.iter().flat_map(|fetch| shown(fetch.as_ref().unwrap(), &issuers, true)).collect();
            assert!(indexes.into_iter().eq(50..=250), "{what}");
            assert_eq!(client.rest(), Duration::ZERO, "{what}: that is no failure");
        });
        assert_eq!(site.paths().len() - 1, requests, "{what}: {:?}", site.paths());
    }
}

#[test]
fn a_log_whose_servers_disagree_about_its_size_is_not_asked_for_less_afterwards() {
    // The STH is of another server: this one has no more than 100 entries yet, then all.
    let behind = std::sync::atomic::AtomicBool::new(true);
    let entries = get_entries(300, |start, end| (start, end));
    let site = Site::start(move |path| {
        let late = path.contains("start=200") && behind.load(std::sync::atomic::Ordering::SeqCst);
        if path.ends_with("start=200&end=200") {
            behind.store(false, std::sync::atomic::Ordering::SeqCst);
        }
        if late { with("400 Bad Request", "", b"") } else { entries(path) }
    });
    let url = site.url();
    run(async {
        let client = client(None, &url, PATIENT);
        let size = client.tree_head().await.unwrap().size;
        assert_eq!(client.entries(200, 299, size).await.unwrap_err().outcome(), Outcome::ServerError);
        assert_eq!(client.entries(200, 299, size).await.unwrap().entries(), 100);
    });
}

#[test]
fn a_range_keeps_its_order_with_several_answers_under_way() {
    // Some answers overtake others.
    let slow = get_entries(2_000, |start, end| (start, end.min(start + 31)));
    let site = Site::start(move |path| {
        let mixed = path.bytes().fold(0, |mixed, b| (mixed * 31 + u64::from(b)) % 7);
        std::thread::sleep(Duration::from_millis(mixed));
        slow(path)
    });
    let url = site.url();
    run(async {
        let client = client(None, &url, Limits { concurrent: 4, ..PATIENT });
        let size = client.tree_head().await.unwrap().size;
        let issuers = Default::default();
        let mut indexes = Vec::new();
        let mut range = std::pin::pin!(client.range(0, 1_999, size));
        while let Some(fetch) = range.next().await {
            indexes.extend(shown(&fetch.unwrap(), &issuers, true));
        }
        assert!(indexes.into_iter().eq(0..2_000));
    });
    assert!(site.server.connections() > 1);
}

#[test]
fn entries_that_are_none_are_bad_data() {
    for (body, want) in [
        ("{\"entries\":[]}", "no entry in an answer"),
        ("{\"entries\":[{\"leaf_input\":\"AA\"", "no entries: EOF"),
        ("<html>", "it begins: <html>"),
    ] {
        let site =
            Site::start(move |path| if path.contains("sth") { Signer::new().sth(9) } else { ok(body) });
        let url = site.url();
        run(async {
            let client = client(None, &url, PATIENT);
            let size = client.tree_head().await.unwrap().size;
            let error = client.entries(0, 8, size).await.unwrap_err();
            assert_eq!(error.outcome(), Outcome::BadData);
            assert!(error.to_string().contains(want), "{error}");
            assert!(client.rest() > Duration::ZERO);
            // What lies above the tree is not asked for.
            let error = client.entries(9, 9, size).await.unwrap_err();
            assert!(error.to_string().contains("index 9, which is not below the tree size 9"), "{error}");
        });
        assert_eq!(site.paths().len(), 2);
    }
}

/// A data tile.
fn tile(indexes: std::ops::Range<u64>) -> Vec<u8> {
    indexes.flat_map(|n| logged(n).tile_leaf(n)).collect()
}

/// Every file of a static-ct log of so many entries.
fn static_log(signer: &Signer, size: u64) -> impl Fn(&str) -> Vec<u8> + use<> {
    let checkpoint = signer.checkpoint("submit.example/log", size);
    move |path| {
        let path = path.trim_start_matches("/log/");
        if path == "checkpoint" {
            return checkpoint.clone();
        }
        if let Some(hex) = path.strip_prefix("issuer/") {
            let all = logged(0).chain.into_iter().chain(logged(1).chain).chain(logged(2).chain);
            let mut found = all.filter(|der| {
                hex == digest(&SHA256, der).as_ref().iter().map(|b| format!("{b:02x}")).collect::<String>()
            });
            return found.next().map_or_else(not_found, ok);
        }
        let Some(number) = path.strip_prefix("tile/data/") else { return not_found() };
        let (number, width) = match number.split_once(".p/") {
            Some((number, width)) => (number, width.parse().unwrap()),
            None => (number, 256),
        };
        let start = 256 * number.parse::<u64>().unwrap();
        let there = size.saturating_sub(start).min(256);
        if there != width {
            return not_found();
        }
        with("200 OK", "Content-Encoding: gzip\r\n", &gzip(&tile(start..start + width)))
    }
}

#[test]
fn a_static_log_gives_tiles_and_issuers() {
    let signer = Signer::new();
    let site = Site::start(static_log(&signer, 600));
    let url = site.url();
    run(async {
        let client = client(Some(signer.list(&url, Api::Static)), &url, PATIENT);
        let head = client.tree_head().await.unwrap();
        assert_eq!((head.size, head.signature, head.root), (600, Signature::Verified, [7; 32]));
        let mut range = std::pin::pin!(client.range(100, 599, head.size));
        let mut indexes = Vec::new();
        while let Some(fetch) = range.next().await {
            let fetch = fetch.unwrap();
            assert_eq!(shown(&fetch, &Default::default(), false).len(), fetch.entries());
            let wanted = fetch.fingerprints();
            assert_eq!(wanted.len(), 4, "one CA and three that stand above it");
            let issuers = client.issuers(&wanted).await;
            assert_eq!((issuers.missing, &issuers.error), (0, &None));
            indexes.extend(shown(&fetch, &issuers, true));
        }
        assert!(indexes.into_iter().eq(100..600));
        let one = client.entries(300, 300, head.size).await.unwrap();
        assert_eq!(shown(&one, &Default::default(), false), [300]);
    });
    let (issuers, mut others): (Vec<_>, Vec<_>) =
        site.paths().into_iter().partition(|path| path.starts_with("issuer/"));
    assert_eq!(issuers.len(), 4, "each once: {issuers:?}");
    // Two tiles are asked for at once.
    others.sort();
    assert_eq!(
        others,
        ["checkpoint", "tile/data/000", "tile/data/001", "tile/data/001", "tile/data/002.p/88"]
    );
}

#[test]
fn a_log_that_is_known_by_its_url_alone_is_found_by_asking() {
    let signer = Signer::new();
    let site = Site::start(static_log(&signer, 5));
    let url = site.url();
    run(async {
        let client = client(None, &url, PATIENT);
        assert_eq!(client.api(), None);
        // Without a word before it.
        assert_eq!(client.entries(0, 4, 5).await.unwrap().entries(), 5);
        assert_eq!(client.api(), Some(Api::Static));
        let head = client.tree_head().await.unwrap();
        assert_eq!((head.size, head.signature, head.timestamp.0), (5, Signature::NoKey, LOGGED_AT as i64));
        assert_eq!(client.rest(), Duration::ZERO);
    });
    assert_eq!(site.paths(), ["ct/v1/get-sth", "checkpoint", "tile/data/000.p/5", "checkpoint"]);

    // What is neither, and what may be either and is away.
    for (answer, asked, outcome) in [
        (not_found(), 2, Outcome::NotFound),
        (with("500 Oh", "", b""), 1, Outcome::ServerError),
        (with("429 Slow", "Retry-After: 9\r\n", b""), 1, Outcome::RateLimited),
    ] {
        let site = Site::start(move |_| answer.clone());
        let url = site.url();
        run(async {
            let client = client(None, &url, PATIENT);
            assert_eq!(client.tree_head().await.unwrap_err().outcome(), outcome);
            assert_eq!(client.api(), None);
        });
        assert_eq!(site.paths().len(), asked);
    }
}

#[test]
fn a_checkpoint_of_another_log_or_key_is_refused() {
    let (signer, other) = (Signer::new(), Signer::new());
    for (checkpoint, want) in [
        (other.checkpoint("submit.example/log", 9), "a checkpoint that the log's key has not signed"),
        (signer.checkpoint("other.example/log", 9), "a checkpoint of \"other.example/log\", not of"),
        (ok("submit.example/log\n9\n"), "a checkpoint that the log's key has not signed"),
    ] {
        let site = Site::start(move |_| checkpoint.clone());
        let url = site.url();
        run(async {
            let client = client(Some(signer.list(&url, Api::Static)), &url, PATIENT);
            let error = client.tree_head().await.unwrap_err();
            assert_eq!(error.outcome(), Outcome::BadData);
            assert!(error.to_string().contains(want), "{error}");
        });
    }
}

#[test]
fn tiles_are_taken_as_they_must_be_or_not_at_all() {
    let half = |n: usize| gzip(&tile(0..5)[..n]);
    let five = tile(0..5).len();
    let gz = |body: &[u8]| with("200 OK", "Content-Encoding: gzip\r\n", body);
    for (partial, whole, want) in [
        // The tree has grown, and the partial tile is gone.
        (not_found(), gz(&gzip(&tile(0..256))), Ok(5)),
        (with("410 Gone", "", b""), gz(&gzip(&tile(0..256))), Ok(5)),
        (not_found(), not_found(), Err((Outcome::NotFound, "tile/data/000 answers 404"))),
        (gz(&half(five - 1)), not_found(), Err((Outcome::BadData, "leaf 4 of 5: certificate_chain"))),
        (gz(&half(five / 2)), not_found(), Err((Outcome::BadData, "no data tile: leaf 2 of 5"))),
        (gz(&gzip(&tile(0..4))), not_found(), Err((Outcome::BadData, "4 leaves where 5 must be"))),
        (
            gz(&gzip(&tile(1..6))),
            not_found(),
            Err((Outcome::BadData, "its leaf_index is 1 at the place of 0")),
        ),
        (gz(&gzip(&tile(0..5))[..90]), not_found(), Err((Outcome::BadData, "no gzip"))),
        (ok("<html>hello"), not_found(), Err((Outcome::BadData, "it begins: <html>hello"))),
        (with("500 Oh", "", b""), not_found(), Err((Outcome::ServerError, "000.p/5 answers 500"))),
        (not_found(), gz(&gzip(&tile(0..5))), Err((Outcome::BadData, "5 leaves where 256 must be"))),
    ] {
        let signer = Signer::new();
        let shown_partial = String::from_utf8_lossy(&partial[..30]).into_owned();
        let site =
            Site::start(move |path| if path.contains(".p/") { partial.clone() } else { whole.clone() });
        let url = site.url();
        run(async {
            let client = client(Some(signer.list(&url, Api::Static)), &url, PATIENT);
            match (client.entries(0, 999, 5).await, want) {
                (Ok(fetch), Ok(entries)) => {
                    assert_eq!(shown(&fetch, &Default::default(), false).len(), entries);
                    assert_eq!(client.rest(), Duration::ZERO, "a partial tile may be gone");
                }
                (Err(error), Err((outcome, said))) => {
                    assert_eq!(error.outcome(), outcome, "{shown_partial}: {error}");
                    assert!(error.to_string().contains(said), "{said}: {error}");
                    assert!(client.rest() > Duration::ZERO);
                }
                (got, want) => panic!("{shown_partial}: {want:?}, not {got:?}"),
            }
        });
    }
}

#[test]
fn issuers_that_a_log_does_not_give_are_left_out_and_not_asked_for_again() {
    let fingerprints: Vec<[u8; 32]> =
        [&b"one"[..], b"two", b"three"].map(|der| digest(&SHA256, der).as_ref().try_into().unwrap()).to_vec();
    for (answer, missing, asked, outcome) in [
        (ok("one"), 2, 2, Outcome::BadData),
        (not_found(), 3, 3, Outcome::NotFound),
        (with("500 Oh", "", b""), 3, 1, Outcome::ServerError),
        (ok(vec![0; 70_000]), 3, 1, Outcome::BadData),
    ] {
        let signer = Signer::new();
        let site = Site::start(move |_| answer.clone());
        let url = site.url();
        run(async {
            let client = client(Some(signer.list(&url, Api::Static)), &url, PATIENT);
            let issuers = client.issuers(&fingerprints).await;
            assert_eq!((issuers.missing, issuers.error.as_ref().unwrap().outcome()), (missing, outcome));
            assert_eq!(issuers.get(&fingerprints[0]).is_some(), missing == 2);
        });
        assert_eq!(site.paths().len(), asked, "{:?}", site.paths());
    }
    let signer = Signer::new();
    let site = Site::start(|_| not_found());
    let url = site.url();
    run(async {
        let client = client(Some(signer.list(&url, Api::Static)), &url, PATIENT);
        client.issuers(&fingerprints).await;
        let again = client.issuers(&fingerprints).await;
        assert_eq!((again.missing, again.error), (3, None));
    });
    assert_eq!(site.paths().len(), 3);
}
