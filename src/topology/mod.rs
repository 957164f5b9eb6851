//! Tasks, bounded queues, reload and the order of shutdown: how `certsieve run` hangs together.
//!
//! ```text
//! feed ─ Worker (sieve, inline) ─ Queue ─ account's thread ─ publisher
//!          each connection                 one, plain
//! ```
//!
//! Each feed has a task (a recording: a thread) that sifts what it reads with the list of the moment,
//! which is swapped under it. Shutdown goes with the stream: feeds stop and let go of their last batch,
//! the account takes it in, the publisher flushes, within a deadline.

mod account;
mod intake;
mod reload;

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use account::Desk;
pub(crate) use account::Event;
pub use account::Farewell;
pub(crate) use intake::{Queue, Worker};
use reload::Looks;

use crate::account::evidence::Place;
use crate::account::{Account, Bounds, InMemory, Journal, State};
use crate::ccadb::Authorities;
use crate::clock;
use crate::config::{self, Config, FeedConfig, Loaded, Problems, RefillConfig};
use crate::entry::Timestamp;
use crate::feed::file::FileError;
use crate::feed::{FeedMeter, certstream, file};
use crate::http::{BindError, Check, Http, Ready};
use crate::metrics::{CHECKS, Metrics};
use crate::publish::{Ended, Publisher, Reports};
use crate::record::value::HealthDetail;
use crate::record::{Composer, Health, HealthKind, REFILL};
use crate::refill::{self, Lists, Reach};
use crate::sieve::Sieve;
use crate::store::Found;
use crate::watch::Matcher;
use crate::watch::canary::Canaries;

/// A stop takes no longer, whatever hangs: systemd and Kubernetes kill after 30 s or more.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// Of it, what is kept back for the last reports and for taking down a producer, which may wait for a
/// broker. Until then what is left is delivered.
const TAKE_DOWN_WITHIN: Duration = Duration::from_secs(5);

/// Feeds have so long to say goodbye and let go of their last batch.
const FEEDS_WITHIN: Duration = Duration::from_secs(3);

/// The account comes round a few times a second; one that has not for so long is held up.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// A record that waits longer makes the instance not ready.
const BACKLOG_AFTER_MS: i64 = 60_000;

/// A browser takes an older list of logs for outdated, too.
const OLD_LIST_MS: i64 = 70 * 86_400_000;

/// Histograms are tidied so often.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Of an account's thread that did not come to its end.
const LOST: Farewell = Farewell { undelivered: 0, ended: None };

/// Makes the way out; called again when the configuration of Kafka changes.
pub type MakePublisher = Box<dyn Fn(&Config, Reports) -> Result<Way, String> + Send + Sync>;

/// A publisher and how its other end is doing.
pub struct Way {
    pub publisher: Box<dyn Publisher>,
    pub standing: Standing,
}

/// How the publisher's other end is doing.
pub type Standing = Box<dyn Fn() -> Stand + Send + Sync>;

/// The checks `kafka` and `topics` of `/readyz`, with what is in the way.
#[derive(Clone, Default, Debug)]
pub struct Stand {
    pub kafka: bool,
    pub topics: bool,
    pub reason: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Http(#[from] BindError),
    #[error("{0}")]
    Publisher(String),
    #[error("the watch list cannot be compiled: {0}")]
    WatchList(String),
    #[error(transparent)]
    Feed(#[from] FileError),
}

/// What an instance goes on with, and where it keeps it.
pub struct Past {
    pub journal: Box<dyn Journal>,
    pub state: State,
    /// Said on the health topic at the start.
    pub remark: Option<String>,
    /// The journal gives back what was committed: what waits may be left to it.
    kept: bool,
}

impl Past {
    /// An instance that keeps nothing beyond its process.
    pub fn none() -> Past {
        Past { journal: Box::new(InMemory), state: State::default(), remark: None, kept: false }
    }

    /// Of a store, whatever state it was found in.
    pub fn of(found: Found) -> Past {
        let remark = found.rebuilt.map(|rebuilt| {
            let remark = rebuilt.to_string();
            error!("{remark}");
            remark
        });
        Past { journal: Box::new(found.store), state: found.state, remark, kept: true }
    }
}

/// One running pipeline.
pub struct Pipeline {
    config: Config,
    /// Reads configuration and list again; of a running program, its file and environment.
    source: Option<Source>,
    make: MakePublisher,
    sieve: Arc<ArcSwap<Sieve>>,
    metrics: Arc<Metrics>,
    standing: Arc<Mutex<Standing>>,
    queue: Queue,
    events: Sender<Event>,
    inbox: Option<Receiver<Event>>,
    publisher: Option<Box<dyn Publisher>>,
    past: Past,
    wanted: Option<mpsc::UnboundedSender<Place>>,
    feeds: HashMap<String, Running>,
    list_version: String,
    list_files: Vec<PathBuf>,
    /// The last reload was refused.
    refused: bool,
    /// Bound, and not served yet.
    http: Option<Http>,
}

/// What was said of a live feed on the health topic.
struct FeedState {
    /// Up or down; nothing yet.
    said: Option<bool>,
    since: Instant,
}

impl FeedState {
    fn new() -> FeedState {
        FeedState { said: None, since: Instant::now() }
    }
}

/// A feed that is not up so soon after its start is said to be down.
const UP_WITHIN: Duration = Duration::from_secs(10);

/// Where the configuration comes from, for a reload.
pub struct Source {
    pub path: PathBuf,
    pub env: Vec<(String, String)>,
    /// When they were first read.
    pub read: Timestamp,
}

/// One feed's task.
struct Running {
    config: FeedConfig,
    stop: watch::Sender<bool>,
    stop_file: Arc<AtomicBool>,
    task: JoinHandle<Result<(), FileError>>,
    meter: Arc<FeedMeter>,
}

impl Pipeline {
    pub fn new(
        loaded: Loaded,
        source: Option<Source>,
        metrics: Arc<Metrics>,
        make: MakePublisher,
        past: Past,
    ) -> Result<Pipeline, RunError> {
        let Loaded { config, list, authorities } = loaded;
        let list_files = list.sources.iter().map(PathBuf::from).collect();
        let matcher = Matcher::new(list).map_err(|error| RunError::WatchList(error.to_string()))?;
        let list_version = matcher.list().version.clone();
        metrics.list_loaded(&matcher, false);
        let (events, inbox) = channel();
        let reports = events.clone();
        // The account's thread outlives the publisher.
        let reports: Reports = Box::new(move |report| drop(reports.send(Event::Report(report))));
        let way = make(&config, reports).map_err(RunError::Publisher)?;
        let canaries = Arc::new(Canaries::new(&config.canaries));
        let sieve = Sieve::new(matcher).knowing(authorities).looking_for(canaries);
        Ok(Pipeline {
            config,
            source,
            make,
            sieve: Arc::new(ArcSwap::from_pointee(sieve)),
            metrics,
            standing: Arc::new(Mutex::new(way.standing)),
            queue: Queue::new(events.clone()),
            events,
            inbox: Some(inbox),
            publisher: Some(way.publisher),
            past,
            wanted: None,
            feeds: HashMap::new(),
            list_version,
            list_files,
            refused: false,
            http: None,
        })
    }

    /// Runs until `shutdown`, or until every feed is a recording that has ended. `listening` hears of the
    /// address of `[http]`.
    pub async fn run(
        mut self,
        shutdown: impl Future<Output = ()>,
        mut reload: impl AsyncReload,
        listening: impl FnOnce(std::net::SocketAddr),
    ) -> Result<Farewell, RunError> {
        let (stop, stopped) = watch::channel(false);
        self.listen().await?;
        let http = self.http.take();
        if let Some(http) = &http {
            listening(http.address());
        }
        let remark = self.past.remark.take();
        let refill = self.prepare_refill();
        let desk = self.start_desk();
        self.say(HealthKind::Started, "certsieve starts".to_owned());
        if let Some(remark) = remark {
            self.say(HealthKind::InternalError, remark);
        }
        for feed in self.config.feeds.clone() {
            self.start_feed(feed);
        }
        let refill = refill.map(|(config, lists, reach, wanted)| {
            tokio::spawn(refill::run(config, lists, reach, wanted, stopped.clone()))
        });
        // Answered only now: the first scrape finds every feed's series.
        let http = http
            .map(|http| tokio::spawn(http.serve(self.metrics.clone(), self.readiness(), stopped.clone())));
        let mut shutdown = std::pin::pin!(shutdown);
        let mut desk = std::pin::pin!(desk);
        let ended = tokio::select! {
            ended = self.work(shutdown.as_mut(), &mut reload) => ended,
            // The way out is closed for good.
            farewell = desk.as_mut() => {
                self.stop_feeds().await;
                return Ok(farewell.unwrap_or(LOST));
            }
        };
        let mut end = Instant::now() + STOP_WITHIN;
        let failed = self.stop_feeds().await;
        if let Some(refill) = &refill {
            refill.abort();
        }
        let farewell = match ended {
            true => {
                // The last record of a recording is waited for, unless somebody says that it is enough.
                self.queue.send(Event::Finish { within: None });
                tokio::select! {
                    farewell = desk.as_mut() => Some(farewell),
                    () = shutdown => {
                        end = Instant::now() + STOP_WITHIN;
                        None
                    }
                }
            }
            false => None,
        };
        let farewell = match farewell {
            Some(farewell) => farewell,
            None => {
                let left = end.saturating_duration_since(Instant::now());
                let within = Some(left.saturating_sub(TAKE_DOWN_WITHIN));
                self.queue.send(Event::Finish { within });
                let stuck = || {
                    let why = "what takes the records, or the disk, takes no more: some were not written";
                    Ok(Farewell { undelivered: 0, ended: Some(Ended::Failed(why.to_owned())) })
                };
                tokio::time::timeout(left, desk).await.unwrap_or_else(|_| stuck())
            }
        }
        .unwrap_or(LOST);
        stop.send_replace(true);
        if let Some(http) = http {
            http.abort();
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(farewell),
        }
    }

    /// Binds `[http]`, so that an address that is taken is known before anything begins.
    pub async fn listen(&mut self) -> Result<(), RunError> {
        if let (None, Some(http)) = (&self.http, &self.config.http) {
            self.http = Some(Http::bind(&http.listen).await?);
        }
        Ok(())
    }

    /// Until there is a reason to stop. True when every recording has ended.
    async fn work(
        &mut self,
        mut shutdown: std::pin::Pin<&mut impl Future<Output = ()>>,
        reload: &mut impl AsyncReload,
    ) -> bool {
        let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
        let mut look = tokio::time::interval(reload::LOOK_EVERY);
        let mut looks = self.looks();
        if let Some(source) = &self.source {
            looks = looks.untouched_since(source.read);
        }
        let mut states = HashMap::new();
        loop {
            let asked = tokio::select! {
                () = shutdown.as_mut() => return false,
                () = reload.asked() => true,
                _ = look.tick() => {
                    self.watch_feeds(&mut states);
                    if self.all_ended() {
                        return true;
                    }
                    false
                }
                _ = upkeep.tick() => {
                    self.metrics.upkeep();
                    continue;
                }
            };
            let now = looks.again();
            if asked || now != looks {
                looks = now;
                self.reload().await;
                looks = self.looks_after(looks);
            }
        }
    }

    fn all_ended(&self) -> bool {
        let recordings = self.feeds.values().all(|feed| matches!(feed.config, FeedConfig::File(_)));
        recordings && self.feeds.values().all(|feed| feed.task.is_finished())
    }

    fn looks(&self) -> Looks {
        let source = self.source.iter().map(|source| source.path.as_path());
        let lists = self.config.watchlists.iter().map(PathBuf::as_path);
        let bulk = self.list_files.iter().map(PathBuf::as_path);
        let secrets = self.config.files.iter().map(PathBuf::as_path);
        Looks::of(source.chain(lists).chain(bulk).chain(self.config.trust.files()).chain(secrets))
    }

    /// The looks of the files that count now; of those that were known, as they were before the reload,
    /// so that a change meanwhile is noticed.
    fn looks_after(&self, before: Looks) -> Looks {
        let now = self.looks();
        if now == before { before } else { now }
    }

    fn start_desk(&mut self) -> JoinHandle<Farewell> {
        let composer = Composer::new(&self.config.instance, &self.prefix());
        let (Some(inbox), Some(publisher)) = (self.inbox.take(), self.publisher.take()) else {
            return tokio::spawn(async { LOST });
        };
        let past = std::mem::replace(&mut self.past, Past::none());
        // Without a store, all that waits is in memory: it must not be left to nobody.
        let store = if past.kept { self.config.outbox.store } else { 0 };
        let mut account = Account::new(composer, Bounds { store, ..self.config.outbox }, &self.list_version);
        if let Some(refill) = &self.config.refill {
            account.grace(refill.grace.as_millis() as i64);
        }
        account.resume(past.state);
        account.look_for(&self.config.canaries, clock::now());
        // The first scrape knows what was found.
        account.tend_logs(clock::now());
        self.metrics.settle(0, account.counts());
        let desk = Desk {
            account,
            publisher,
            journal: past.journal,
            metrics: self.metrics.clone(),
            queue: self.queue.clone(),
            complained: account::Complained::default(),
            wanted: self.wanted.take(),
            held: VecDeque::new(),
            refused: None,
        };
        tokio::task::spawn_blocking(move || desk.run(inbox))
    }

    /// What reads the logs, where `[refill]` says so; it begins with the feeds.
    fn prepare_refill(&mut self) -> Option<(RefillConfig, Lists, Reach, mpsc::UnboundedReceiver<Place>)> {
        let config = self.config.refill.clone()?;
        let lists = Lists::new(&config, self.config.state_dir.as_deref());
        let (wanted, receiver) = mpsc::unbounded_channel();
        self.wanted = Some(wanted);
        let meter = Arc::new(FeedMeter::new(REFILL, None));
        let feed = self.metrics.feed(meter);
        let reach = Reach {
            sieve: self.sieve.clone(),
            queue: self.queue.clone(),
            metrics: self.metrics.clone(),
            feed,
        };
        Some((config, lists, reach, receiver))
    }

    fn prefix(&self) -> String {
        self.config.kafka.as_ref().map_or("certsieve", |kafka| &kafka.topic_prefix).to_owned()
    }

    fn start_feed(&mut self, config: FeedConfig) {
        let silence = match &config {
            FeedConfig::Certstream(feed) => Some(feed.silence_after),
            FeedConfig::File(_) => None,
        };
        let meter = Arc::new(FeedMeter::new(config.name(), silence));
        let index = self.metrics.feed(meter.clone());
        let (stop, stopped) = watch::channel(false);
        let stop_file = Arc::new(AtomicBool::new(false));
        let waits = matches!(config, FeedConfig::File(_)).then(|| stop_file.clone());
        let worker = Worker::new(
            config.name(),
            index,
            self.sieve.clone(),
            self.queue.clone(),
            self.metrics.clone(),
            waits,
        );
        let task = match config.clone() {
            FeedConfig::Certstream(feed) => {
                let meter = meter.clone();
                tokio::spawn(async move {
                    certstream::run(feed, certstream::Timing::default(), worker, meter, stopped).await;
                    Ok(())
                })
            }
            FeedConfig::File(feed) => {
                let (meter, stop) = (meter.clone(), stop_file.clone());
                tokio::task::spawn_blocking(move || file::run(feed, worker, meter, stop))
            }
        };
        self.feeds.insert(config.name().to_owned(), Running { config, stop, stop_file, task, meter });
    }

    /// Says on the health topic when a live feed came up or went down, or does not come up at all.
    fn watch_feeds(&self, states: &mut HashMap<String, FeedState>) {
        for (name, feed) in &self.feeds {
            if matches!(feed.config, FeedConfig::File(_)) {
                continue;
            }
            let refused = feed.meter.refused();
            let up = feed.meter.connected() && refused.is_none();
            let state = states.entry(name.clone()).or_insert_with(FeedState::new);
            if state.said == Some(up) || (state.said.is_none() && !up && state.since.elapsed() < UP_WITHIN) {
                continue;
            }
            state.said = Some(up);
            let (kind, message) = match (up, refused) {
                (true, _) => (HealthKind::FeedUp, format!("feed {name} is connected")),
                (false, Some(why)) => (HealthKind::FeedDown, format!("feed {name} cannot be used: {why}")),
                (false, None) => (HealthKind::FeedDown, format!("feed {name} is not connected")),
            };
            let detail = HealthDetail { feed: Some(name.clone()), ..HealthDetail::default() };
            self.queue.send(Event::Say(Health { kind, message, detail }));
        }
    }

    /// Stops every feed and waits for its last batch. The first error of a recording is returned.
    async fn stop_feeds(&mut self) -> Option<FileError> {
        for feed in self.feeds.values() {
            feed.stop.send_replace(true);
            feed.stop_file.store(true, Relaxed);
        }
        let mut failed = None;
        let end = tokio::time::Instant::now() + FEEDS_WITHIN;
        for (name, feed) in self.feeds.drain() {
            // Standard input may never give another byte; its thread ends with the process.
            if let Ok(Ok(Err(error))) = tokio::time::timeout_at(end, feed.task).await {
                error!(feed = name, "the recording cannot be read: {error}");
                failed = failed.or(Some(error));
            }
        }
        failed
    }

    fn say(&self, kind: HealthKind, message: String) {
        self.queue.send(Event::Say(Health { kind, message, detail: HealthDetail::default() }));
    }

    /// Reads configuration and list again. What is wrong is refused whole, and the old goes on.
    async fn reload(&mut self) {
        let Some(source) = &self.source else { return };
        let (path, env) = (source.path.clone(), source.env.clone());
        let read = tokio::task::spawn_blocking(move || {
            let (config, list) = config::Config::load_with_watchlists(&path, env.into_iter())?;
            let authorities = config::read_authorities(&config.trust);
            Ok::<_, Problems>((config, list.sources.clone(), Matcher::new(list), authorities))
        })
        .await;
        let (config, files, matcher, authorities) = match read {
            Ok(Ok((config, files, Ok(matcher), authorities))) => (config, files, matcher, authorities),
            Ok(Ok((_, _, Err(error), _))) => return self.refuse(&error.to_string()),
            Ok(Err(problems)) => return self.refuse(&problems.render(false)),
            Err(error) => return self.refuse(&error.to_string()),
        };
        self.list_files = files.into_iter().map(PathBuf::from).collect();
        self.take_authorities(authorities);
        let mended = std::mem::take(&mut self.refused);
        self.take_config(config).await;
        self.take_list(matcher, mended && !self.refused);
    }

    /// A report that is refused keeps no new list from judging: it goes on with what was known.
    fn take_authorities(&self, read: Result<Arc<Authorities>, Problems>) {
        let sieve = self.sieve.load();
        match read {
            Ok(authorities) if authorities == *sieve.authorities() => {}
            Ok(authorities) => {
                info!("root programs and owners by {authorities}");
                self.sieve.store(Arc::new(sieve.knowing(authorities)));
            }
            Err(problems) => error!(
                "the changed reports of [trust] are refused, what was known goes on:\n{}",
                problems.render(false)
            ),
        }
    }

    fn refuse(&mut self, why: &str) {
        self.refused = true;
        error!("the changed configuration or watch list is refused, the old one goes on:\n{why}");
        self.metrics.list_refused();
        let first = why.lines().next().unwrap_or_default();
        self.say(HealthKind::WatchlistRefused, format!("refused, the old one goes on: {first}"));
    }

    /// `mended`: the files before these were refused, so that it is said even when they are as they were.
    fn take_list(&mut self, matcher: Matcher, mended: bool) {
        let same = matcher.list().version == self.list_version;
        if same && !mended {
            return;
        }
        self.list_version.clone_from(&matcher.list().version);
        let (assets, version) = (matcher.list().assets.len(), matcher.list().version.clone());
        self.metrics.list_loaded(&matcher, true);
        let authorities = self.sieve.load().authorities().clone();
        let logs = self.sieve.load().logs().clone();
        let canaries = self.sieve.load().canaries().clone();
        let sieve = Sieve::new(matcher).knowing(authorities).naming(logs).looking_for(canaries);
        self.sieve.store(Arc::new(sieve));
        let message = match same {
            true => {
                format!("all files are whole again: watch list {version} goes on to judge, {assets} assets")
            }
            false => format!("watch list {version} judges from now on, {assets} assets"),
        };
        info!("{message}");
        self.queue.send(Event::ListChanged { version, message });
    }

    async fn take_config(&mut self, config: Config) {
        if config.instance != self.config.instance || config.http != self.config.http {
            warn!("`instance` and `[http]` change with the next start only");
        }
        if (&config.state_dir, config.outbox) != (&self.config.state_dir, self.config.outbox) {
            warn!("`state_dir` and `[outbox]` change with the next start only");
        }
        if config.canaries != self.config.canaries {
            self.take_canaries(&config);
        }
        let kafka_taken = config.kafka == self.config.kafka || self.take_kafka(&config);
        let wanted: HashMap<&str, &FeedConfig> = config.feeds.iter().map(|f| (f.name(), f)).collect();
        let gone: Vec<String> = self
            .feeds
            .iter()
            .filter(|(name, feed)| wanted.get(name.as_str()) != Some(&&feed.config))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(feed) = self.feeds.remove(&name) {
                info!(feed = name, "the feed stops: its configuration changed");
                feed.stop.send_replace(true);
                feed.stop_file.store(true, Relaxed);
                let _ = tokio::time::timeout(FEEDS_WITHIN, feed.task).await;
            }
        }
        for feed in &config.feeds {
            if !self.feeds.contains_key(feed.name()) {
                info!(feed = feed.name(), "the feed starts: its configuration is new");
                self.start_feed(feed.clone());
            }
        }
        let before = std::mem::replace(&mut self.config, config);
        self.config.instance = before.instance;
        self.config.http = before.http;
        self.config.state_dir = before.state_dir;
        self.config.outbox = before.outbox;
        if !kafka_taken {
            self.config.kafka = before.kafka;
        }
    }

    fn take_canaries(&self, config: &Config) {
        let canaries = config.canaries.clone();
        info!("{} canaries are looked for from now on", canaries.len());
        let compiled = Arc::new(Canaries::new(&canaries));
        self.sieve.rcu(|sieve| sieve.looking_for(compiled.clone()));
        self.queue.send(Event::Ask(Box::new(move |account, now| account.look_for(&canaries, now))));
    }

    /// False when the old settings go on.
    fn take_kafka(&mut self, config: &Config) -> bool {
        let prefix = |config: &Config| config.kafka.as_ref().map(|kafka| kafka.topic_prefix.clone());
        if prefix(config) != prefix(&self.config) {
            warn!(
                "`[kafka] topic_prefix` changes with the next start only, and so do the settings beside it"
            );
            return false;
        }
        let events = self.events.clone();
        let reports: Reports = Box::new(move |report| drop(events.send(Event::Report(report))));
        match (self.make)(config, reports) {
            Ok(way) => {
                *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = way.standing;
                self.queue.send(Event::Publisher(way.publisher));
                true
            }
            Err(error) => {
                self.refuse(&error);
                false
            }
        }
    }

    /// The checks of `/readyz`.
    fn readiness(&self) -> Arc<dyn Fn() -> Ready + Send + Sync> {
        let (metrics, standing) = (self.metrics.clone(), self.standing.clone());
        Arc::new(move || readiness(&metrics, &standing))
    }
}

fn readiness(metrics: &Metrics, standing: &Mutex<Standing>) -> Ready {
    let now = clock::now();
    let feeds = metrics.feeds();
    // One feed that gives messages is enough, but a stream that can never serve the list is a mistake.
    let live = feeds.iter().any(|feed| feed.is_live(now)) && feeds.iter().all(|f| f.refused().is_none());
    let feed_reason = (!live).then(|| {
        let refused = feeds.iter().find_map(|feed| Some(format!("{}: {}", feed.name(), feed.refused()?)));
        refused.unwrap_or_else(|| "no feed gave a message within its silence_after".to_owned())
    });
    let stand = standing.lock().unwrap_or_else(PoisonError::into_inner)();
    let oldest = metrics.oldest_pending();
    let backlog = oldest.is_none_or(|oldest| now.millis_since(oldest) < BACKLOG_AFTER_MS);
    let kafka_reason = (!stand.kafka).then(|| {
        stand.reason.clone().unwrap_or_else(|| "Kafka has not answered in the last 60 s".to_owned())
    });
    let topics_reason = (!stand.topics)
        .then(|| stand.reason.clone().unwrap_or_else(|| "not all topics are there".to_owned()));
    let stuck = metrics.turned().filter(|since| *since >= STUCK_AFTER).map(|since| {
        let seconds = since.as_secs();
        format!("the account has not come round for {seconds} s: what takes the records, or the disk, takes no more")
    });
    let state_reason = stuck.or_else(|| metrics.state_problem());
    let backlog_reason = (!backlog).then(|| "the oldest pending record is older than 60 s".to_owned());
    let reasons = [None, state_reason, feed_reason, kafka_reason, topics_reason, backlog_reason];
    let mut checks = CHECKS.map(|check| Check { check, ready: true, reason: None });
    for (check, reason) in checks.iter_mut().zip(reasons) {
        check.ready = reason.is_none();
        check.reason = reason;
    }
    // It does its work, and may not know of the newest logs.
    let old = metrics.log_list().filter(|of| now.millis_since(*of) > OLD_LIST_MS);
    checks[0].reason = old.map(|of| {
        let days = now.millis_since(of) / 86_400_000;
        format!("a warning: the log list is {days} days old, and logs that are newer count as unlisted")
    });
    Ready { ready: checks.iter().all(|check| check.ready), checks }
}

/// A request to read configuration and list again: SIGHUP.
pub trait AsyncReload {
    fn asked(&mut self) -> impl Future<Output = ()>;
}

/// No such request ever comes; files are looked at all the same.
pub struct Never;

impl AsyncReload for Never {
    async fn asked(&mut self) {
        std::future::pending().await
    }
}

#[cfg(unix)]
impl AsyncReload for tokio::signal::unix::Signal {
    async fn asked(&mut self) {
        if self.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Locks a state directory for this process. The lock goes with the process, however it ends.
pub fn lock(state_dir: &Path) -> Result<std::fs::File, LockError> {
    let failed = |source| LockError::Io { dir: state_dir.to_owned(), source };
    std::fs::create_dir_all(state_dir).map_err(failed)?;
    let path = state_dir.join("lock");
    let file =
        std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(LockError::Taken(state_dir.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("state_dir {} is in use by another certsieve: give each instance its own", .0.display())]
    Taken(PathBuf),
    #[error("state_dir {} cannot be used: {source}", dir.display())]
    Io { dir: PathBuf, source: std::io::Error },
}
