//! The metrics of the contract, and the one lock behind them.
//!
//! Workers and the account count in plain integers and add them here once for each batch or turn; a
//! scrape copies everything under the lock, sets the registry from that one copy and renders it. So both
//! equations of the contract hold exactly at every scrape, and no counter is touched for each message.
//! Histograms take rare or sampled values. Every series whose labels are known is there from the start,
//! at 0: a counter that is born at 1 has no increase.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::account::canaries::CanaryState;
use crate::account::following::Standing;
use crate::account::logs::LogState;
use crate::account::{AssetCounts, Counts, JournalError, Settled};
use crate::clock;
use crate::ctlog::OUTCOMES;
use crate::entry::{Anomaly, Timestamp};
use crate::feed::{CONNECT_RESULTS, DISCONNECT_REASONS, FeedMeter};
use crate::judge::Ruling;
use crate::record::{Rejection, Topic};
use crate::sieve::{MALFORMED_REASONS, STAGES, Tally};
use crate::watch::list::WHOLE_LIST;
use crate::watch::{MatchKind, Matcher as WatchMatcher, Severity};

/// Assets with series of their own, in list order; the rest share `other`.
pub const MAX_ASSETS: usize = 500;

const OTHER: &str = "other";

/// Logs with series of their own; a list has some sixty.
const MAX_LOG_LABELS: usize = 256;

/// The label of logs that no list has.
const UNLISTED: &str = "unlisted";

/// The checks of `/readyz`.
pub const CHECKS: [&str; 6] = ["config", "state", "feed", "kafka", "topics", "backlog"];

/// Routes and codes of `certsieve_http_requests_total`.
const PATHS: [&str; 5] = ["metrics", "livez", "readyz", "ledger", "other"];

/// What Kafka says of itself; all zero with `--stdout`.
#[derive(Clone, Default, Debug)]
pub struct KafkaFigures {
    pub errors: Vec<(&'static str, u64)>,
    pub last_delivery: Option<Timestamp>,
    pub brokers_up: u64,
    pub rebuilds: u64,
}

type Kafka = Box<dyn Fn() -> KafkaFigures + Send + Sync>;

/// Everything that is counted.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    process: metrics_process::Collector,
    totals: Mutex<Totals>,
    /// One scrape at a time, from the copy to the text.
    scraping: Mutex<()>,
    kafka: Mutex<Option<Kafka>>,
    histograms: Histograms,
}

#[derive(Clone, Default)]
struct Totals {
    feeds: Vec<Arc<FeedMeter>>,
    /// Messages of each feed.
    messages: Vec<u64>,
    in_flight: u64,
    /// Messages that were shed before they reached the account.
    shed_early: u64,
    counts: Counts,
    /// By id: the label of each log in the list.
    log_labels: HashMap<Arc<str>, Arc<str>>,
    log_list: Option<Timestamp>,
    refill: Vec<(Arc<str>, [u64; OUTCOMES.len()])>,
    /// Those that were looked for once: their series stay.
    former_canaries: BTreeSet<Arc<str>>,
    clock_skew: u64,
    list: Option<List>,
    /// By the label that an asset had when they were raised.
    alerts: HashMap<String, AssetCounts>,
    reloads: [u64; 2],
    ready: [bool; CHECKS.len()],
    /// When the account's thread last came round.
    turned: Option<Instant>,
    state_bytes: u64,
    /// As [`JournalError::REASONS`].
    state_errors: [u64; JournalError::REASONS.len()],
    state_problem: Option<String>,
    http: BTreeMap<(&'static str, u16), u64>,
}

#[derive(Clone)]
struct List {
    entries: [usize; MatchKind::ALL.len()],
    loaded: Timestamp,
    /// With a series of their own.
    assets: Arc<Vec<String>>,
    capped: usize,
}

impl Totals {
    /// Counts new alerts under their asset's label of now: a counter must not fall, nor count one alert
    /// twice, when a reload takes its asset out of the list or moves it behind the first [`MAX_ASSETS`].
    fn attribute(&mut self, assets: &HashMap<String, AssetCounts>) {
        for (asset, now) in assets {
            let before = self.counts.assets.get(asset).copied().unwrap_or_default();
            if *now == before {
                continue;
            }
            let known = self.list.as_ref().is_some_and(|list| list.assets.contains(asset));
            let label = if known { asset.as_str() } else { OTHER };
            self.alerts.entry(label.to_owned()).or_default().add(&before, now);
        }
    }
}

impl Totals {
    /// Remembers canaries that are looked for no more.
    fn part_with(&mut self, now: &Arc<Vec<CanaryState>>) {
        let before = std::mem::take(&mut self.counts.canaries);
        if !Arc::ptr_eq(&before, now) {
            self.former_canaries.extend(before.iter().map(|canary| canary.name.clone()));
            self.former_canaries.retain(|name| !now.iter().any(|canary| canary.name == *name));
        }
    }
}

struct Histograms {
    stages: [Histogram; STAGES.len()],
    commit: Histogram,
    /// The same among the stages.
    commit_stage: Histogram,
    delivery: [Histogram; Topic::ALL.len()],
    /// By feed and refill.
    alert_latency: [Histogram; 2],
}

/// Name, kind, help; kinds are g, c and h.
const DESCRIPTIONS: &[(&str, char, &str)] = &[
    ("feed_connected", 'g', "Whether the feed's connection is up."),
    ("feed_connects_total", 'c', "Attempts to connect, by result."),
    ("feed_disconnects_total", 'c', "Connections that ended, by reason."),
    ("feed_messages_total", 'c', "Messages received."),
    ("feed_bytes_total", 'c', "Bytes of messages received."),
    ("feed_last_message_timestamp_seconds", 'g', "When the feed's last message came; 0 before the first."),
    ("feed_lag_seconds", 'h', "From the log's time of an entry to its reception, sampled."),
    ("clock_skew_total", 'c', "Sampled messages whose log's time lies ahead of this clock."),
    ("messages_total", 'c', "Messages by what became of them."),
    ("messages_in_flight", 'g', "Messages received whose outcome is not known yet."),
    ("malformed_total", 'c', "Messages and entries that could not be decoded, by reason."),
    ("anomalies_total", 'c', "Oddities of decoded entries, by kind."),
    ("stage_duration_seconds", 'h', "Time that a stage took for one message, sampled; for one commit."),
    ("matches_total", 'c', "Matches of entry and asset, by verdict."),
    ("alerts_total", 'c', "Alerts raised."),
    ("alerts_capped_total", 'c', "Alerts of low and medium severity that were held back by alert_cap."),
    ("last_alert_timestamp_seconds", 'g', "When the last alert was raised; 0 before the first."),
    ("alert_latency_seconds", 'h', "From the log's time of an entry to Kafka's report of its alert."),
    ("log_last_index", 'g', "The last index that was accounted for."),
    ("log_tree_size", 'g', "The size of the log's tree, when it was last asked; 0 before that."),
    ("log_holes", 'g', "Indexes below the tree's size that are missing now."),
    ("log_oldest_hole_timestamp_seconds", 'g', "Since when indexes are missing; 0 while none are."),
    ("log_refilled_total", 'c', "Indexes that were read from the log itself."),
    ("log_lost_total", 'c', "Indexes that were given up."),
    ("log_implausible_total", 'c', "Indexes at or beyond the tree's size, which count as never seen."),
    ("logs", 'g', "Logs by state."),
    ("log_list_timestamp_seconds", 'g', "Of what day the list of logs is; 0 without one."),
    ("canary_last_seen_timestamp_seconds", 'g', "When the canary was last seen; 0 before the first time."),
    ("canary_overdue", 'g', "Whether the canary was not seen for longer than its every."),
    ("refill_requests_total", 'c', "Requests to logs, by result."),
    ("refill_backlog", 'g', "Indexes that are to be read from logs."),
    ("records_total", 'c', "Records numbered."),
    ("records_recovered_total", 'c', "Records found undelivered at the start."),
    ("records_delivered_total", 'c', "Records that Kafka confirmed."),
    ("records_rejected_total", 'c', "Records that Kafka refused for themselves, by reason."),
    ("records_pending", 'g', "Records that have no final report yet."),
    ("oldest_pending_timestamp_seconds", 'g', "When the oldest pending record was numbered; 0 if none."),
    ("outbox_bytes", 'g', "Bytes of pending records."),
    ("outbox_limit_bytes", 'g', "Bytes of pending records above which findings are shed."),
    ("state_bytes", 'g', "Bytes of the state's file."),
    ("state_errors_total", 'c', "Commits of the state that failed, by reason."),
    ("state_commit_duration_seconds", 'h', "Time that a commit of the state took."),
    ("delivery_duration_seconds", 'h', "From a record's numbering to Kafka's report."),
    ("kafka_errors_total", 'c', "Errors of the Kafka client, by reason."),
    ("kafka_last_delivery_timestamp_seconds", 'g', "When Kafka last confirmed a record; 0 before the first."),
    ("kafka_brokers_up", 'g', "Brokers with a connection."),
    ("kafka_producer_rebuilds_total", 'c', "How often the producer was replaced."),
    ("watchlist_entries", 'g', "Entries of the watch list, by kind."),
    ("watchlist_loaded_timestamp_seconds", 'g', "When the list that judges was loaded."),
    ("watchlist_reloads_total", 'c', "Reloads of the watch list, by result."),
    ("watchlist_series_capped", 'g', "Assets that share the label other."),
    ("ready", 'g', "Whether a check of /readyz passes."),
    ("build_info", 'g', "The version that runs; always 1."),
    ("http_requests_total", 'c', "HTTP requests answered."),
];

const LAG: &[f64] = &[0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0, 86400.0];
const STAGE: &[f64] = &[1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 1e-3, 1e-2, 1e-1];
const ALERT: &[f64] = &[1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 3600.0, 86400.0];
const COMMIT: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
const DELIVERY: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 86400.0];

impl Metrics {
    pub fn new() -> Result<Metrics, BuildError> {
        let recorder = [
            ("feed_lag_seconds", LAG),
            ("stage_duration_seconds", STAGE),
            ("alert_latency_seconds", ALERT),
            ("state_commit_duration_seconds", COMMIT),
            ("delivery_duration_seconds", DELIVERY),
        ]
        .into_iter()
        .try_fold(PrometheusBuilder::new(), |builder, (name, buckets)| {
            builder.set_buckets_for_metric(Matcher::Full(format!("certsieve_{name}")), buckets)
        })?
        .build_recorder();
        for (name, kind, help) in DESCRIPTIONS {
            let name = KeyName::from(format!("certsieve_{name}"));
            let help = SharedString::const_str(help);
            match kind {
                'c' => recorder.describe_counter(name, None, help),
                'g' => recorder.describe_gauge(name, None, help),
                _ => recorder.describe_histogram(name, None, help),
            }
        }
        let histogram = |name: &str, labels: &[(&'static str, &str)]| {
            recorder.register_histogram(&key(name, labels), &METADATA)
        };
        let histograms = Histograms {
            stages: STAGES.map(|stage| histogram("stage_duration_seconds", &[("stage", stage)])),
            commit: histogram("state_commit_duration_seconds", &[]),
            commit_stage: histogram("stage_duration_seconds", &[("stage", "commit")]),
            delivery: Topic::ALL
                .map(|topic| histogram("delivery_duration_seconds", &[("topic", topic.suffix())])),
            alert_latency: ["feed", "refill"]
                .map(|origin| histogram("alert_latency_seconds", &[("origin", origin)])),
        };
        let _unlisted = histogram("feed_lag_seconds", &[("log", UNLISTED)]);
        let handle = recorder.handle();
        let process = metrics_process::Collector::default();
        metrics::with_local_recorder(&recorder, || process.describe());
        Ok(Metrics {
            recorder,
            handle,
            process,
            totals: Mutex::new(Totals::default()),
            scraping: Mutex::new(()),
            kafka: Mutex::new(None),
            histograms,
        })
    }

    fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A feed with this meter; returns its index for [`in_flight`](Metrics::in_flight). A feed that comes
    /// back under its name goes on where it stopped.
    pub fn feed(&self, meter: Arc<FeedMeter>) -> usize {
        let mut totals = self.totals();
        if let Some(at) = totals.feeds.iter().position(|known| known.name() == meter.name()) {
            totals.feeds[at] = meter;
            return at;
        }
        totals.feeds.push(meter);
        totals.messages.push(0);
        totals.feeds.len() - 1
    }

    /// Messages were received and are on their way to the account.
    pub fn in_flight(&self, feed: usize, messages: u64) {
        let mut totals = self.totals();
        totals.in_flight += messages;
        if let Some(sum) = totals.messages.get_mut(feed) {
            *sum += messages;
        }
    }

    /// Messages that were received are shed, and will never reach the account.
    pub fn shed(&self, messages: u64) {
        let mut totals = self.totals();
        totals.in_flight = totals.in_flight.saturating_sub(messages);
        totals.shed_early += messages;
    }

    /// Messages that were shed before they reached the account.
    pub fn shed_early(&self) -> u64 {
        self.totals().shed_early
    }

    /// The account's counts, which know the outcome of so many messages more.
    pub fn settle(&self, messages: u64, counts: &Counts) {
        let mut totals = self.totals();
        totals.in_flight = totals.in_flight.saturating_sub(messages);
        totals.attribute(&counts.assets);
        totals.part_with(&counts.canaries);
        totals.counts.clone_from(counts);
        totals.turned = Some(Instant::now());
    }

    /// How long ago the account's thread last came round; `None` before it first did.
    pub fn turned(&self) -> Option<Duration> {
        self.totals().turned.map(|at| at.elapsed())
    }

    /// Sampled times of a batch.
    pub fn samples(&self, tally: &Tally) {
        let mut ahead = 0;
        if !tally.lags.is_empty() {
            let labels = self.totals().log_labels.clone();
            for (log, lag) in &tally.lags {
                ahead += u64::from(*lag < 0.0);
                let label = log.as_ref().and_then(|log| labels.get(log)).map_or(UNLISTED, |label| label);
                self.lag(label).record(lag.max(0.0));
            }
        }
        if ahead > 0 {
            self.totals().clock_skew += ahead;
        }
        for (stage, took) in &tally.stages {
            self.histograms.stages[*stage].record(took.as_secs_f64());
        }
    }

    pub fn delivered(&self, settled: Settled) {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        self.histograms.delivery[settled.topic as usize].record(seconds(settled.delivery_ms));
        if let (Topic::Alert, Some(latency)) = (settled.topic, settled.latency_ms) {
            self.histograms.alert_latency[usize::from(settled.refilled)].record(seconds(latency));
        }
    }

    /// Another list of logs counts from now on: id and description of each, and of what day it is.
    pub fn logs_listed(&self, logs: impl IntoIterator<Item = (Arc<str>, Arc<str>)>, of: Option<Timestamp>) {
        let labels: HashMap<Arc<str>, Arc<str>> = logs.into_iter().take(MAX_LOG_LABELS).collect();
        for label in labels.values() {
            let _registered = self.lag(label);
        }
        let mut totals = self.totals();
        totals.log_labels = labels;
        totals.log_list = of;
    }

    /// Of what day the list of logs is.
    pub fn log_list(&self) -> Option<Timestamp> {
        self.totals().log_list
    }

    /// Requests to logs so far, by label and result.
    pub fn refill_requests(&self, requests: Vec<(Arc<str>, [u64; OUTCOMES.len()])>) {
        self.totals().refill = requests;
    }

    fn lag(&self, log: &str) -> Histogram {
        self.recorder.register_histogram(&key("feed_lag_seconds", &[("log", log)]), &METADATA)
    }

    pub fn committed(&self, took: Duration) {
        self.histograms.commit.record(took.as_secs_f64());
        self.histograms.commit_stage.record(took.as_secs_f64());
    }

    /// Bytes that the state takes up on disk.
    pub fn state_size(&self, bytes: u64) {
        self.totals().state_bytes = bytes;
    }

    /// The state was not written.
    pub fn state_failed(&self, error: &JournalError) {
        let mut totals = self.totals();
        let reason = JournalError::REASONS.iter().position(|reason| *reason == error.reason());
        if let Some(count) = reason.and_then(|at| totals.state_errors.get_mut(at)) {
            *count += 1;
        }
        totals.state_problem = Some(format!("the state is not written: {error}"));
    }

    pub fn state_problem_is(&self, problem: Option<String>) {
        self.totals().state_problem = problem;
    }

    /// Why the state takes no commits, while it does not.
    pub fn state_problem(&self) -> Option<String> {
        self.totals().state_problem.clone()
    }

    /// Another list judges from now on.
    pub fn list_loaded(&self, matcher: &WatchMatcher, reload: bool) {
        let assets = &matcher.list().assets;
        let list = List {
            entries: MatchKind::ALL.map(|kind| matcher.counts().of(kind)),
            loaded: clock::now(),
            // What concerns the list as a whole has a label of its own.
            assets: Arc::new(
                assets
                    .iter()
                    .take(MAX_ASSETS)
                    .map(|asset| asset.id.clone())
                    .chain([WHOLE_LIST.to_owned()])
                    .collect(),
            ),
            capped: assets.len().saturating_sub(MAX_ASSETS),
        };
        let mut totals = self.totals();
        totals.list = Some(list);
        totals.reloads[0] += u64::from(reload);
    }

    pub fn list_refused(&self) {
        self.totals().reloads[1] += 1;
    }

    /// As [`CHECKS`].
    pub fn ready(&self, checks: [bool; CHECKS.len()]) {
        self.totals().ready = checks;
    }

    pub fn kafka(&self, figures: impl Fn() -> KafkaFigures + Send + Sync + 'static) {
        *self.kafka.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(figures));
    }

    /// One request was answered; `path` is one of `metrics`, `livez`, `readyz`, `ledger` and `other`.
    pub fn answered(&self, path: &'static str, code: u16) {
        *self.totals().http.entry((path, code)).or_default() += 1;
    }

    /// When the oldest pending record was numbered.
    pub fn oldest_pending(&self) -> Option<Timestamp> {
        self.totals().counts.oldest_pending
    }

    /// The account has little room for further records.
    pub fn is_holding(&self) -> bool {
        let totals = self.totals();
        totals.counts.outbox_bytes > totals.counts.outbox_limit / 4 * 3
    }

    /// The feeds' meters.
    pub fn feeds(&self) -> Vec<Arc<FeedMeter>> {
        self.totals().feeds.clone()
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        let totals = self.totals();
        let mut counts = totals.counts.clone();
        counts.shed += totals.shed_early;
        counts
    }

    /// To be called every few seconds: without it, histograms keep their raw values.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self) -> String {
        let _one = self.scraping.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = self.totals().clone();
        let kafka = self.kafka.lock().unwrap_or_else(PoisonError::into_inner);
        self.set(&totals, &kafka.as_ref().map(|figures| figures()).unwrap_or_default());
        drop(kafka);
        metrics::with_local_recorder(&self.recorder, || self.process.collect());
        self.handle.render()
    }

    fn set(&self, totals: &Totals, kafka: &KafkaFigures) {
        for (feed, messages) in totals.feeds.iter().zip(&totals.messages) {
            self.set_feed(feed, *messages);
        }
        let counts = &totals.counts;
        for (outcome, n) in [
            ("screened_out", 0),
            ("matched", counts.matched),
            ("unmatched", counts.unmatched),
            ("repeated", counts.repeated),
            ("malformed", counts.malformed),
            ("other", counts.other),
            ("shed", counts.shed + totals.shed_early),
        ] {
            self.counter("messages_total", &[("outcome", outcome)], n);
        }
        self.gauge("messages_in_flight", &[], totals.in_flight as f64);
        for (reason, n) in MALFORMED_REASONS.iter().zip(counts.reasons) {
            self.counter("malformed_total", &[("reason", reason)], n);
        }
        for (kind, n) in Anomaly::ALL.iter().zip(counts.anomalies) {
            self.counter("anomalies_total", &[("kind", kind.label())], n);
        }
        self.counter("clock_skew_total", &[], totals.clock_skew);
        for (verdict, n) in Ruling::ALL.iter().zip(counts.matches) {
            self.counter("matches_total", &[("verdict", verdict.label())], n);
        }
        for (severity, at) in Severity::ALL.iter().zip(counts.last_alert) {
            self.time("last_alert_timestamp_seconds", &[("severity", severity.label())], at);
        }
        self.set_logs(totals);
        for canary in counts.canaries.iter() {
            let label = [("canary", &*canary.name)];
            self.time("canary_last_seen_timestamp_seconds", &label, canary.seen);
            self.gauge("canary_overdue", &label, f64::from(u8::from(canary.missing)));
        }
        for canary in &totals.former_canaries {
            self.gauge("canary_overdue", &[("canary", canary)], 0.0);
        }
        self.gauge("state_bytes", &[], totals.state_bytes as f64);
        for (reason, count) in JournalError::REASONS.iter().zip(totals.state_errors) {
            self.counter("state_errors_total", &[("reason", reason)], count);
        }
        self.set_alerts(totals);
        self.set_records(counts);
        self.set_kafka(kafka);
        if let Some(list) = &totals.list {
            for (kind, n) in MatchKind::ALL.iter().zip(list.entries) {
                self.gauge("watchlist_entries", &[("kind", kind.label())], n as f64);
            }
            self.time("watchlist_loaded_timestamp_seconds", &[], Some(list.loaded));
            self.gauge("watchlist_series_capped", &[], list.capped as f64);
        }
        for (result, n) in ["ok", "refused"].iter().zip(totals.reloads) {
            self.counter("watchlist_reloads_total", &[("result", result)], n);
        }
        for (check, passes) in CHECKS.iter().zip(totals.ready) {
            self.gauge("ready", &[("check", check)], f64::from(u8::from(passes)));
        }
        let commit = option_env!("CERTSIEVE_COMMIT").unwrap_or("unknown");
        let version = env!("CARGO_PKG_VERSION");
        self.gauge("build_info", &[("version", version), ("commit", commit)], 1.0);
        for path in PATHS {
            self.counter("http_requests_total", &[("path", path), ("code", "200")], 0);
        }
        for ((path, code), n) in &totals.http {
            self.counter("http_requests_total", &[("path", path), ("code", &code.to_string())], *n);
        }
    }

    fn set_feed(&self, feed: &FeedMeter, messages: u64) {
        let name = ("feed", feed.name());
        self.gauge("feed_connected", &[name], f64::from(u8::from(feed.connected())));
        for (result, n) in CONNECT_RESULTS.iter().zip(feed.connects()) {
            self.counter("feed_connects_total", &[name, ("result", result)], n);
        }
        for (reason, n) in DISCONNECT_REASONS.iter().zip(feed.disconnects()) {
            self.counter("feed_disconnects_total", &[name, ("reason", reason)], n);
        }
        self.counter("feed_messages_total", &[name], messages);
        self.counter("feed_bytes_total", &[name], feed.bytes());
        self.time("feed_last_message_timestamp_seconds", &[name], Some(feed.last_message()));
    }

    fn set_logs(&self, totals: &Totals) {
        let logs = &totals.counts.logs;
        for standing in Standing::ALL {
            let count = logs.iter().filter(|log| log.standing == standing).count();
            self.gauge("logs", &[("state", standing.label())], count as f64);
        }
        self.time("log_list_timestamp_seconds", &[], totals.log_list);
        let missing = logs.iter().filter(|log| log.standing != Standing::Unlisted).map(|log| log.missing);
        let backlog: u64 = if totals.log_list.is_some() { missing.sum() } else { 0 };
        self.gauge("refill_backlog", &[], backlog as f64);
        // What the list does not have shares a label: its name comes from strangers.
        let mut by_label: BTreeMap<&str, Vec<&LogState>> = BTreeMap::new();
        for label in totals.log_labels.values() {
            by_label.entry(label).or_default();
        }
        by_label.entry(UNLISTED).or_default();
        for log in logs.iter() {
            let label = totals.log_labels.get(&log.log).map_or(UNLISTED, |label| label);
            by_label.entry(label).or_default().push(log);
        }
        for (label, logs) in by_label {
            let label = [("log", label)];
            let sum = |of: fn(&LogState) -> u64| logs.iter().map(|log| of(log)).fold(0, u64::saturating_add);
            let most = |of: fn(&LogState) -> Option<u64>| logs.iter().filter_map(|log| of(log)).max();
            self.gauge("log_last_index", &label, most(|log| log.last).unwrap_or(0) as f64);
            self.gauge("log_tree_size", &label, most(|log| log.tree_size).unwrap_or(0) as f64);
            self.gauge("log_holes", &label, sum(|log| log.missing) as f64);
            let since = logs.iter().filter_map(|log| log.missing_since).min();
            self.time("log_oldest_hole_timestamp_seconds", &label, since);
            self.counter("log_refilled_total", &label, sum(|log| log.refilled_now));
            self.counter("log_lost_total", &label, sum(|log| log.lost_now));
            self.counter("log_implausible_total", &label, sum(|log| log.implausible));
        }
        for (label, results) in &totals.refill {
            for (outcome, count) in OUTCOMES.iter().zip(results) {
                self.counter("refill_requests_total", &[("log", label), ("result", outcome.label())], *count);
            }
        }
    }

    fn set_alerts(&self, totals: &Totals) {
        let Some(list) = &totals.list else { return };
        let mut series: HashMap<&str, AssetCounts> =
            list.assets.iter().map(|asset| (asset.as_str(), AssetCounts::default())).collect();
        if list.capped > 0 {
            series.insert(OTHER, AssetCounts::default());
        }
        series.extend(totals.alerts.iter().map(|(label, counts)| (label.as_str(), *counts)));
        for (asset, counts) in series {
            for (severity, n) in Severity::ALL.iter().zip(counts.alerts) {
                self.counter("alerts_total", &[("asset", asset), ("severity", severity.label())], n);
            }
            self.counter("alerts_capped_total", &[("asset", asset)], counts.capped);
        }
    }

    fn set_records(&self, counts: &Counts) {
        for topic in Topic::ALL {
            let label = ("topic", topic.suffix());
            self.counter("records_total", &[label], counts.records[topic as usize]);
            self.counter("records_delivered_total", &[label], counts.delivered[topic as usize]);
            for reason in Rejection::ALL {
                let n = counts.rejected[topic as usize][reason as usize];
                self.counter("records_rejected_total", &[label, ("reason", reason.label())], n);
            }
            self.gauge("records_pending", &[label], counts.pending[topic as usize] as f64);
        }
        self.counter("records_recovered_total", &[], counts.recovered);
        self.time("oldest_pending_timestamp_seconds", &[], counts.oldest_pending);
        self.gauge("outbox_bytes", &[], counts.outbox_bytes as f64);
        self.gauge("outbox_limit_bytes", &[], counts.outbox_limit as f64);
    }

    fn set_kafka(&self, kafka: &KafkaFigures) {
        for (reason, n) in &kafka.errors {
            self.counter("kafka_errors_total", &[("reason", reason)], *n);
        }
        self.time("kafka_last_delivery_timestamp_seconds", &[], kafka.last_delivery);
        self.gauge("kafka_brokers_up", &[], kafka.brokers_up as f64);
        self.counter("kafka_producer_rebuilds_total", &[], kafka.rebuilds);
    }

    fn counter(&self, name: &str, labels: &[(&'static str, &str)], value: u64) {
        let counter: Counter = self.recorder.register_counter(&key(name, labels), &METADATA);
        counter.absolute(value);
    }

    fn gauge(&self, name: &str, labels: &[(&'static str, &str)], value: f64) {
        let gauge: Gauge = self.recorder.register_gauge(&key(name, labels), &METADATA);
        gauge.set(value);
    }

    /// Seconds since the epoch; 0 for never.
    fn time(&self, name: &str, labels: &[(&'static str, &str)], at: Option<Timestamp>) {
        self.gauge(name, labels, at.map_or(0.0, |at| at.0 as f64 / 1000.0));
    }
}

const METADATA: Metadata<'static> = Metadata::new("certsieve", Level::INFO, None);

fn key(name: &str, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> = labels.iter().map(|(k, v)| Label::new(*k, (*v).to_owned())).collect();
    Key::from_parts(format!("certsieve_{name}"), labels)
}
