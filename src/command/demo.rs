//! `certsieve demo`: everything in one process, without set-up or network.
//!
//! A CertStream server on loopback sends a made-up firehose in which look-alikes of the twelve mis-issued
//! certificates for 1.1.1.1 and other plants are hidden; the pipeline reads it and publishes to an
//! embedded Kafka broker; what is printed is read back from that broker's topics. Ends on Ctrl-C,
//! when its terminal goes, or after `--for`, with what was planted and what was caught.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;

use super::simulate::span;
use super::{Exit, run};
use crate::account::Counts;
use crate::account::logs::LogState;
use crate::ccadb::Authorities;
use crate::config::{CertstreamFeed, Config, FeedConfig, HttpConfig, KafkaConfig, Loaded};
use crate::config::{
    DEFAULT_OUTBOX, ListSource, MAX_MESSAGE_BYTES, Proxies, RefillConfig, SILENCE_AFTER, TrustConfig,
};
use crate::demo::Stream;
use crate::demo::broker::{Broker, Reader};
use crate::demo::plants::{Plantings, WATCH_LIST};
use crate::demo::simulate::{Server, Settings};
use crate::demo::table::{self, Alert, Caught};
use crate::entry::Timestamp;
use crate::metrics::Metrics;
use crate::record::Topic;
use crate::topology::{Never, Past, Pipeline};
use crate::watch::WatchList;

/// The server sends one message in so many to nobody, so that there is something to find missing.
const DROP_ONE_IN: u32 = 50;

/// Its messages come in order and at once: what the log has and it has not shown for so long is missing.
const GRACE: Duration = Duration::from_secs(2);

/// Arguments of `certsieve demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Stop after so long: 30s, 5m, 1h. All plants are out after 22 s. Without it, until Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub run_for: Option<Duration>,
    /// Messages a second.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub rate: u32,
    /// Same seed, same names, serials and indexes in the same order.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Where /metrics and /readyz listen; port 0 lets the system choose.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    pub http: String,
}

const PREFIX: &str = "certsieve";

/// How long the reader looks for records after the pipeline has stopped.
const LAST_LOOK: Duration = Duration::from_millis(500);

pub async fn run(args: DemoArgs) -> Exit {
    match demo(args).await {
        Ok(exit) => exit,
        Err(error) => {
            anstream::eprintln!("{error}");
            Exit::Failed
        }
    }
}

async fn demo(args: DemoArgs) -> Result<Exit, Box<dyn std::error::Error + Send + Sync>> {
    let settings =
        Settings { seed: args.seed, rate: args.rate, drop_one_in: Some(DROP_ONE_IN), ..Settings::default() };
    let server = Server::bind("127.0.0.1:0", settings).await?;
    let broker = Broker::start(PREFIX)?;
    let reader = Reader::new(&broker, PREFIX, &[Topic::Alert, Topic::Match])?;
    let list = WatchList::parse("demo", WATCH_LIST.as_bytes(), &mut |_| Err("the demo has no files".into()))?;
    let metrics = Arc::new(Metrics::new()?);
    let config = config(&server, &broker, &args);
    let make = run::kafka(metrics.clone());
    let loaded = Loaded { config, list, authorities: Authorities::built_in() };
    let mut pipeline = Pipeline::new(loaded, None, metrics.clone(), make, Past::none())?;
    pipeline.listen().await?;

    let (plantings, meter) = (server.plantings(), server.meter());
    introduce(&server, &broker, args.rate);
    let (stop_server, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async { drop(stopped.await) }));
    let done = Arc::new(AtomicBool::new(false));
    let reading = {
        let (plantings, done) = (plantings.clone(), done.clone());
        tokio::task::spawn_blocking(move || read(&reader, &broker, &plantings, &done))
    };
    let until = async {
        tokio::select! {
            () = run::signal_or_hangup() => {}
            () = async { match args.run_for {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            } } => {}
        }
    };
    let listening = |address| {
        anstream::println!("metrics     http://{address}/metrics and /readyz\n\n{}", table::heading());
    };
    let farewell = pipeline.run(until, Never, listening).await;
    let _ = stop_server.send(());
    done.store(true, Relaxed);
    let caught = reading.await?;
    let _ = serving.await;
    farewell?;
    let counts = metrics.counts();
    let rows = plantings.iter().map(|p| (p, caught.get(&p.issuance_key).copied().unwrap_or_default()));
    let (closing, right) = table::closing(rows);
    anstream::println!("\n{closing}");
    anstream::println!(
        "{} messages sieved, {} matched, {} were no certificates, {} shed",
        counts.messages(),
        counts.matched,
        counts.other + counts.malformed,
        counts.shed
    );
    anstream::println!("{}", completeness(&counts, meter.dropped()));
    Ok(if right { Exit::Done } else { Exit::Failed })
}

fn config(server: &Server, broker: &Broker, args: &DemoArgs) -> Config {
    Config {
        file: PathBuf::from("demo"),
        instance: "demo".to_owned(),
        watchlists: Vec::new(),
        state_dir: None,
        feeds: vec![FeedConfig::Certstream(CertstreamFeed {
            name: "simulated".to_owned(),
            url: server.url(Stream::Full),
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            headers: Vec::new(),
            proxy: None,
            max_message_bytes: MAX_MESSAGE_BYTES,
            silence_after: SILENCE_AFTER,
        })],
        kafka: Some(KafkaConfig {
            brokers: broker.bootstrap().to_owned(),
            topic_prefix: PREFIX.to_owned(),
            // The embedded broker has them already, and answers to no administration.
            create_topics: false,
            compression: "zstd".to_owned(),
            username: None,
            password: None,
            properties: Default::default(),
        }),
        http: Some(HttpConfig { listen: args.http.clone() }),
        trust: TrustConfig::default(),
        outbox: DEFAULT_OUTBOX,
        refill: Some(RefillConfig {
            lists: vec![ListSource::Url(server.log_list())],
            allow: Vec::new(),
            contact: None,
            ca_file: None,
            grace: GRACE,
            ask_every: Duration::from_secs(1),
            requests_per_second: 100,
            concurrent_requests: 4,
            proxies: Proxies::default(),
        }),
        files: Vec::new(),
        canaries: Vec::new(),
    }
}

/// What the feed lost, by the account of the pipeline, and what became of it.
fn completeness(counts: &Counts, dropped: u64) -> String {
    let sum = |of: fn(&LogState) -> u64| counts.logs.iter().map(of).sum::<u64>();
    let (refilled, missing) = (sum(|log| log.refilled), sum(|log| log.missing));
    format!(
        "the feed lost {dropped} of them on purpose: {refilled} were found missing and read from their logs, \
         {missing} are known to be missing still, the rest is younger than {} s",
        GRACE.as_secs()
    )
}

fn introduce(server: &Server, broker: &Broker, rate: u32) {
    let bootstrap = broker.bootstrap();
    anstream::println!(
        "certsieve demo: a made-up Certificate Transparency firehose, {rate} certificates a second, in which\n\
         look-alikes of the twelve certificates mis-issued for 1.1.1.1 are hidden. The names and serials of\n\
         three of them are documented facts, the other nine are invented in their style; every key,\n\
         signature and log here is made up.\n\n\
         feed        {}\n\
         topics      kcat -b {bootstrap} -C -t {PREFIX}.alert.v1 -o beginning   (from another shell)",
        server.url(Stream::Full),
    );
}

/// Prints each alert as it arrives in the topic, and keeps the books of what was caught.
fn read(
    reader: &Reader,
    broker: &Broker,
    plantings: &Plantings,
    done: &AtomicBool,
) -> HashMap<String, Caught> {
    let mut caught: HashMap<String, Caught> = HashMap::new();
    loop {
        let Some((topic, value)) = reader.next(LAST_LOOK) else {
            if done.load(Relaxed) {
                return caught;
            }
            broker.tend();
            continue;
        };
        let Ok(value) = serde_json::from_slice::<Value>(&value) else { continue };
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let key = text("/certsieve/issuance_key");
        if topic == Topic::Match {
            caught.entry(key.to_owned()).or_default().matched();
            continue;
        }
        let at = at(text("/@timestamp"));
        anstream::println!(
            "{}",
            table::alert(&Alert {
                at,
                severity: text("/log/level"),
                asset: text("/certsieve/asset"),
                what: text("/certsieve/matches/0/identity"),
                issuer: text("/tls/server/x509/issuer/common_name/0"),
                reason: text("/rule/id"),
            })
        );
        if let Some(planting) = plantings.find(key) {
            let asset = text("/certsieve/asset");
            caught.entry(key.to_owned()).or_default().alerted(planting.plant, asset, text("/log/level"), at);
        }
    }
}

/// The instant that a record wrote.
fn at(text: &str) -> Timestamp {
    let parsed = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339);
    parsed.map_or(Timestamp(0), |t| Timestamp((t.unix_timestamp_nanos() / 1_000_000) as i64))
}
