//! The instruments are checked before anything is measured with them: both kinds of log take what the
//! authority issues, and the real server emits it, with the peculiarities that the other tests allow for.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::support::logs::{Authority, CertstreamServer, Kind, MemLog, Settings, StaticLog, Submitted};

/// The server polls a tiled log every second and waits up to 45 seconds for a hundred entries of another.
const CEILING: Duration = Duration::from_secs(90);

/// What the server can parse, and hence emits.
const GOOD: [Kind; 7] = [
    Kind::Dns,
    Kind::Ip,
    Kind::Ip6,
    Kind::Mixed,
    Kind::CommonNameIp,
    Kind::Wildcard,
    Kind::Many { names: 500 },
];
const BAD: [Kind; 2] = [Kind::BadIp, Kind::BadIpMixed];
/// Of each kind, to each log: 9 kinds of 8 pairs are 144 entries, more than the hundred waited for.
const EACH: usize = 8;

#[test]
fn both_kinds_of_log_come_out_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::create(folder.path());
    let tiled = StaticLog::start(folder.path(), &authority);
    let rfc6962 = MemLog::start(folder.path(), &authority);
    let logs = [tiled.address(), rfc6962.address()];
    let settings = Settings { buffer: 10_000, from_start: false };
    let server = CertstreamServer::start(folder.path(), &logs, settings);
    let mut client = Client::connect(&server.url("/full-stream"));

    // Until the server has asked each log for its size, what is submitted counts as old.
    let mut first: Vec<Submitted> = Vec::new();
    client.read_until("a message of each log", |seen| {
        let silent: Vec<_> = logs.into_iter().filter(|log| !seen.contains_log(&log.url)).collect();
        if silent.is_empty() {
            return true;
        }
        first.extend(authority.submit(Kind::Dns, 50, &silent));
        false
    });

    let submit = |kinds: &[Kind]| -> Vec<Submitted> {
        kinds.iter().flat_map(|&kind| authority.submit(kind, EACH, &logs)).collect()
    };
    // The good ones last: once they are through, the bad ones had their turn.
    let bad = submit(&BAD);
    let good = submit(&GOOD);
    // What rounds the last batch of a hundred up.
    let filler = authority.submit(Kind::Dns, 50, &[rfc6962.address()]);
    client.read_until("every entry that Go can parse", |seen| good.iter().all(|s| seen.get(s).is_some()));

    for submitted in &good {
        agrees(submitted, client.seen.get(submitted).unwrap(), &server);
    }
    for submitted in &bad {
        assert!(!submitted.bad_ips.is_empty(), "{submitted:?}");
        assert_eq!(client.seen.get(submitted), None, "{submitted:?}");
    }
    let ours = first.len() + bad.len() + good.len() + filler.len();
    assert!(client.seen.len() <= ours, "{} messages of {ours} entries", client.seen.len());
}

#[test]
fn from_start_only_index_0_of_a_tiled_log_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::create(folder.path());
    let tiled = StaticLog::start(folder.path(), &authority);
    let rfc6962 = MemLog::start(folder.path(), &authority);
    let logs = [tiled.address(), rfc6962.address()];
    let settings = Settings { from_start: true, ..Settings::default() };
    let server = CertstreamServer::start(folder.path(), &logs, settings);
    let mut client = Client::connect(&server.url("/"));

    // Two entries each: the hundred that the server waits for.
    let submitted = authority.submit(Kind::Mixed, 50, &logs);
    assert_eq!(submitted.len(), 200);
    let (lost, owed): (Vec<_>, Vec<_>) = submitted.iter().partition(|s| s.index == Some(0));
    assert_eq!(lost.len(), 1);
    client.read_until("every entry but one", |seen| owed.iter().all(|s| seen.get(s).is_some()));
    assert_eq!(client.seen.get(lost[0]), None);
}

/// Asserts that a message of the full stream says what was submitted.
fn agrees(submitted: &Submitted, data: &Value, server: &CertstreamServer) {
    let context = || format!("{submitted:?}\nfrom {}: {data}", server.url("/full-stream"));
    let leaf = &data["leaf_cert"];
    let precertificate = submitted.entry == "precertificate";
    assert_eq!(data["update_type"] == "PrecertLogEntry", precertificate, "{}", context());
    let serial = leaf["serial_number"].as_str().unwrap_or_default().to_lowercase();
    assert_eq!(serial, submitted.serial, "{}", context());
    let key_id = leaf["extensions"]["authorityKeyIdentifier"].as_str().unwrap_or_default();
    let key_id: String = key_id.trim_start_matches("keyid:").split(':').collect();
    assert_eq!(key_id.trim().to_lowercase(), submitted.issuer_key_id, "{}", context());
    let common_name = leaf["subject"]["CN"].as_str().unwrap_or_default();
    assert_eq!(common_name, submitted.common_name, "{}", context());
    let domains = leaf["all_domains"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(
        submitted.names.iter().all(|name| domains.contains(&Value::from(name.as_str()))),
        "{}",
        context()
    );
    let alternative = leaf["extensions"]["subjectAltName"].as_str().unwrap_or_default();
    for ip in &submitted.ips {
        // IPv6 is sixteen decimal octets there: only the prefix is compared.
        let written = if ip.contains(':') { "IP Address:" } else { ip };
        assert!(alternative.contains(written), "{}", context());
    }
    // The tiled log's precertificates alone come without their DER.
    if let Some(der) = leaf["as_der"].as_str().filter(|der| !der.is_empty()) {
        let der = STANDARD.decode(der).unwrap();
        if !precertificate {
            assert_eq!(sha256(&der), submitted.sha256, "{}", context());
        }
    } else {
        assert!(precertificate && submitted.index.is_some(), "{}", context());
    }
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// The messages seen so far, by log, serial and kind of entry.
#[derive(Default)]
struct Seen(BTreeMap<(String, String, bool), Value>);

impl Seen {
    fn add(&mut self, data: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let log = text(&data["source"]["url"]);
        let serial = text(&data["leaf_cert"]["serial_number"]).to_lowercase();
        let key = (log, serial, data["update_type"] == "PrecertLogEntry");
        self.0.insert(key, data.clone());
    }

    fn get(&self, s: &Submitted) -> Option<&Value> {
        self.0.get(&(s.log.clone(), s.serial.clone(), s.entry == "precertificate"))
    }

    fn contains_log(&self, url: &str) -> bool {
        self.0.keys().any(|(log, ..)| log == url)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A plain client of the server, not certsieve's.
struct Client {
    socket: WebSocket<TcpStream>,
    seen: Seen,
}

impl Client {
    fn connect(url: &str) -> Self {
        let address = url.trim_start_matches("ws://").split('/').next().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        // A silent second is a chance to look at the condition again.
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let (socket, _) = tungstenite::client::client(url, stream).unwrap();
        Self { socket, seen: Seen::default() }
    }

    /// Reads until `done` says so, asking after every burst of messages.
    fn read_until(&mut self, what: &str, mut done: impl FnMut(&Seen) -> bool) {
        let start = Instant::now();
        while !done(&self.seen) {
            assert!(start.elapsed() < CEILING, "{what}: not seen; {} messages were", self.seen.len());
            // At most a second's worth, or until the server pauses.
            let burst = Instant::now();
            while burst.elapsed() < Duration::from_secs(1) {
                match self.socket.read() {
                    Ok(Message::Text(text)) => {
                        let message: Value = serde_json::from_str(&text).unwrap();
                        self.seen.add(&message["data"]);
                    }
                    Ok(_) => {}
                    Err(tungstenite::Error::Io(e))
                        if matches!(
                            e.kind(),
                            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                        ) =>
                    {
                        break;
                    }
                    Err(e) => panic!("{what}: {e}"),
                }
            }
        }
    }
}
