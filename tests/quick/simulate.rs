//! The simulated server and its logs: what the real log client reads there is what the feed said, and what the
//! feed lost on purpose is there and nowhere else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use certsieve::config::Proxies;
use certsieve::ctlog::{
    Api, Get, IssuerCache, Limits, LogClient, LogList, Outcome, Signature, Transport, TreeHead,
};
use certsieve::demo::Stream;
use certsieve::demo::log::Logs;
use certsieve::demo::plants::{Expects, LOST_PLANT, PLANTS, Plantings, WATCH_LIST};
use certsieve::demo::simulate::{Server, Settings};
use certsieve::entry::leaf::Fetched;
use certsieve::entry::{Anomaly, Timestamp};
use certsieve::feed::dial::TlsFiles;
use certsieve::fetch::Fetcher;
use certsieve::record::Arrival;
use certsieve::sieve::{Batch, Finding, Source};
use futures::StreamExt;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::cli::certsieve;
use crate::support::pipeline::Bench;
use crate::support::process::Process;

const LIMITS: Limits = Limits { concurrent: 4, per_second: 10_000, within: Duration::from_secs(60) };

/// A ceiling for what takes a moment.
const SOON: Duration = Duration::from_secs(60);

/// A feed's entries by log and index, each with its message.
type Said = BTreeMap<(String, u64), String>;

async fn connect(url: &str) -> WebSocketStream<TcpStream> {
    let address = url.strip_prefix("ws://").unwrap().split('/').next().unwrap();
    let socket = TcpStream::connect(address).await.unwrap();
    tokio_tungstenite::client_async(url, socket).await.unwrap().0
}

/// Reads messages until `enough` has seen them all.
async fn listen(client: &mut WebSocketStream<TcpStream>, mut enough: impl FnMut(&Said) -> bool) -> Said {
    let mut said = Said::new();
    while !enough(&said) {
        let Message::Text(text) = client.next().await.unwrap().unwrap() else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        let log = message["data"]["source"]["url"].as_str().unwrap().to_owned();
        let index = message["data"]["cert_index"].as_u64().unwrap();
        assert!(said.insert((log, index), text.to_string()).is_none());
    }
    said
}

/// First and last index of each log.
fn spans(said: &Said) -> HashMap<String, (u64, u64)> {
    let mut spans: HashMap<String, (u64, u64)> = HashMap::new();
    for (log, index) in said.keys() {
        spans.entry(log.clone()).or_insert((*index, *index)).1 = *index;
    }
    spans
}

/// A client of every log in the list at `url`.
async fn clients(url: String) -> Vec<LogClient> {
    let proxies = Proxies::default();
    let fetcher: Arc<dyn Transport> = Arc::new(Fetcher::new(None, proxies, TlsFiles::default()));
    let get = Get { url, max_bytes: 1 << 20, within: LIMITS.within };
    let list = LogList::read(&fetcher.get(get).await.unwrap().body).unwrap();
    assert_eq!(list.problems, []);
    let issuers = Arc::new(IssuerCache::default());
    let random = fastrand::Rng::with_seed(1);
    let client = |log: &Arc<_>| {
        LogClient::new(Arc::clone(log), Arc::clone(&fetcher), Arc::clone(&issuers), &LIMITS, random.clone())
    };
    list.logs().iter().map(client).collect()
}

/// The client's own log as a feed names it.
fn url(client: &LogClient) -> String {
    client.log().url.trim_end_matches('/').to_owned()
}

/// Sifts what the log has from `first` to `last`, each leaf on its own.
async fn read(client: &LogClient, first: u64, last: u64, mut each: impl FnMut(u64, Batch)) -> TreeHead {
    let head = client.tree_head().await.unwrap();
    assert_eq!(head.signature, Signature::Verified);
    assert!(head.size > last, "an entry is in its log before its message goes out");
    let mut bench = Bench::new(WATCH_LIST);
    let (name, mut next) = (url(client), first);
    let range = client.range(first, last, head.size);
    let mut range = std::pin::pin!(range);
    while let Some(fetch) = range.next().await {
        let fetch = fetch.unwrap();
        let issuers = client.issuers(&fetch.fingerprints()).await;
        assert_eq!(issuers.missing, 0);
        for (index, form) in fetch.leaves(&issuers).iter() {
            assert_eq!(index, next, "every index once, in order");
            next += 1;
            let fetched = Fetched { log: &name, log_name: None, index, form };
            each(index, sift(&mut bench, Source::Leaf(fetched)));
        }
    }
    assert_eq!(next, last + 1);
    head
}

fn sift(bench: &mut Bench, source: Source<'_>) -> Batch {
    let mut batch = bench.sift::<&[u8]>("demo", true, &[]);
    let arrival = Arrival { feed: "demo".into(), received: Timestamp(bench.now.0 - 11) };
    bench.sieve.sift(source, &arrival, &mut bench.scratch, &mut batch).expect("a leaf fits every list");
    for wrong in [Anomaly::PrecertMismatch, Anomaly::IndexInvalid, Anomaly::ChainInvalid] {
        assert_eq!(batch.tally.anomalies[wrong as usize], 0, "{wrong:?}");
    }
    batch
}

/// What is found of an entry, as far as every dialect has it: the issuance, and the assets that it is of.
fn found(batch: &Batch) -> Vec<(String, Vec<u32>)> {
    let of_finding = |finding: &Finding| {
        let key = finding.facts.as_ref().map(|facts| facts.issuance_key.clone()).unwrap_or_default();
        (key, finding.verdicts.iter().map(|verdict| verdict.asset).collect())
    };
    batch.findings.iter().map(of_finding).collect()
}

fn der(batch: &Batch) -> Option<&Vec<u8>> {
    batch.findings.first()?.facts.as_ref()?.der.as_ref()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(future)
}

/// Starts a server in this process; it ends with the runtime.
async fn serve(settings: Settings) -> (Arc<Logs>, String, String, Arc<Plantings>) {
    let settings = Settings { issuances: 150, ..settings };
    let server = Server::bind("127.0.0.1:0", settings).await.unwrap();
    let (logs, list, feed) = (server.logs(), server.log_list(), server.url(Stream::Full));
    let plantings = server.plantings();
    tokio::spawn(server.serve(std::future::pending()));
    (logs, list, feed, plantings)
}

/// Both kinds of log, several thousand entries of each, over sockets.
#[test]
fn the_logs_say_what_the_feed_said() {
    run(async {
        let (_, list, feed, _) =
            serve(Settings { rate: 4_000, buffer: Some(100_000), ..Settings::default() }).await;
        let mut client = connect(&feed).await;
        let said = listen(&mut client, |said| said.len() == 6_000).await;
        let spans = spans(&said);
        let mut bench = Bench::new(WATCH_LIST);
        let (mut apis, mut compared, mut matched) = (Vec::new(), 0, 0);
        for log in clients(list).await {
            let name = url(&log);
            apis.extend(log.log().api);
            let (first, last) = spans[&name];
            assert!(last - first > 1_000, "{name}: {first} to {last}");
            read(&log, first, last, |index, got| {
                let message = &said[&(name.clone(), index)];
                let want = sift(&mut bench, Source::Message(message.as_bytes()));
                assert_eq!(got.receipts, want.receipts);
                assert_eq!(got.tally.matched, want.tally.matched, "{message}");
                assert_eq!(found(&got), found(&want), "{message}");
                if let Some(submitted) = der(&want) {
                    assert!(der(&got) == Some(submitted), "{name} {index}");
                }
                compared += 1;
                matched += want.tally.matched;
            })
            .await;
            // Long before the feed began, and where nothing is.
            read(&log, 0, 599, |_, batch| assert_eq!(batch.tally.unmatched, 1)).await;
            let size = log.tree_head().await.unwrap().size;
            let refused = log.entries(size + 1_000_000, size + 1_000_000, u64::MAX).await.unwrap_err();
            assert_ne!(refused.outcome(), Outcome::Ok, "{refused}");
        }
        assert_eq!((apis.len(), compared), (4, said.len()));
        assert!(apis.contains(&Api::Rfc6962) && apis.contains(&Api::Static));
        assert!(matched > 0, "no plant was among them");
    });
}

/// What was lost is what is missing, and an alert is among it that no message told of.
#[test]
fn what_the_feed_loses_is_in_the_logs() {
    run(async {
        let settings =
            Settings { rate: 1_200, buffer: Some(100_000), drop_one_in: Some(25), ..Settings::default() };
        let (logs, list, feed, plantings) = serve(settings).await;
        let mut client = connect(&feed).await;
        // Until both entries of the plant that is lost altogether are in their logs.
        let said = listen(&mut client, |said| said.len() >= 5_500).await;
        let mut bench = Bench::new(WATCH_LIST);
        let mut keys: BTreeSet<String> = BTreeSet::new();
        for message in said.values() {
            let batch = sift(&mut bench, Source::Message(message.as_bytes()));
            keys.extend(found(&batch).into_iter().map(|(key, _)| key));
        }
        assert!(keys.len() > 2, "{keys:?}");
        let lost = &PLANTS[LOST_PLANT];
        assert!(plantings.find(&lost.issuance_key()).unwrap().is_lost());
        assert!(matches!(lost.expects, Expects::Alert { severity: "critical", .. }));
        assert!(!keys.contains(&lost.issuance_key()), "no message told of {}", lost.id);

        let spans = spans(&said);
        let dropped: BTreeSet<(String, u64)> = logs
            .archive()
            .dropped()
            .into_iter()
            .filter(|(log, index)| (spans[*log].0..=spans[*log].1).contains(index))
            .map(|(log, index)| (log.to_owned(), index))
            .collect();
        let mut missing = BTreeSet::new();
        let mut refilled = BTreeSet::new();
        for log in clients(list).await {
            let name = url(&log);
            let (first, last) = spans[&name];
            read(&log, first, last, |index, batch| {
                if !said.contains_key(&(name.clone(), index)) {
                    missing.insert((name.clone(), index));
                    refilled.extend(found(&batch).into_iter().map(|(key, _)| key));
                }
            })
            .await;
        }
        assert_eq!(missing, dropped);
        assert!((100..400).contains(&missing.len()), "{}", missing.len());
        assert!(refilled.contains(&lost.issuance_key()), "the logs tell of {}", lost.id);
    });
}

/// The program: its list, its logs, and its last words.
#[test]
fn the_program_says_what_it_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = certsieve();
    command.args(["simulate", "--listen", "127.0.0.1:0", "--rate", "3000", "--drop", "10", "--seed", "7"]);
    let mut simulate = Process::spawn("simulate", &mut command, folder.path().join("simulate.out"));
    let list = simulate
        .wait_until(|said| said.split_whitespace().find(|word| word.ends_with(".json")).map(str::to_owned));
    let list = list.unwrap_or_else(|error| panic!("{error}"));
    let feed = list.replace("http://", "ws://").replace("log_list.json", "");
    let missing = run(async {
        let mut client = connect(&feed).await;
        let said = listen(&mut client, |said| said.len() == 3_000).await;
        let spans = spans(&said);
        let mut missing = 0;
        for log in clients(list).await {
            let name = url(&log);
            let (first, last) = spans[&name];
            read(&log, first, last, |index, _| {
                missing += u64::from(!said.contains_key(&(name.clone(), index)));
            })
            .await;
        }
        missing
    });
    simulate.signal("INT");
    assert!(simulate.exit(SOON).success());
    let output = simulate.output();
    let words: Vec<&str> =
        output.lines().last().unwrap().split([' ', ',']).filter(|w| !w.is_empty()).collect();
    let ["sent", sent, "messages", "skipped", _, "dropped", dropped, "on", "purpose"] = words[..] else {
        panic!("{output}")
    };
    let [sent, dropped] = [sent, dropped].map(|number| number.parse::<u64>().unwrap());
    assert!(missing > 200 && dropped >= missing && sent >= 3_000, "{output}, {missing} missing");
}
