//! `certsieve run`: the pipeline.
//!
//! Ends on SIGINT or SIGTERM with what is under way delivered, within a deadline; a second signal, more than
//! a second later, ends at once. When every feed is a recording it ends after the last record is delivered.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::{Environment, Exit};
use crate::account::State;
use crate::clock;
use crate::config::{Config, Problems};
use crate::feed::file::FileError;
use crate::metrics::Metrics;
use crate::publish::stdout::StdoutPublisher;
use crate::publish::{Ended, Reports};
use crate::store::{Store, StoreError};
use crate::topology::{self, AsyncReload, MakePublisher, Past, Pipeline, RunError, Source, Stand, Way};

/// Arguments of `certsieve run`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "certsieve.toml", env = "CERTSIEVE_CONFIG")]
    pub config: PathBuf,
    /// Write each record as one JSON line instead of to Kafka; keeps no state on disk.
    #[arg(long)]
    pub stdout: bool,
}

pub async fn run(args: RunArgs, env: Environment) -> Exit {
    let read = clock::now();
    let loaded = match Config::load_whole(&args.config, env.clone().into_iter()) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&problems),
    };
    let config = &loaded.config;
    if config.kafka.is_none() && !args.stdout {
        error!("{} has no [kafka] table: name the brokers, or use --stdout", args.config.display());
        return Exit::Usage;
    }
    let state_dir = config.state_dir.as_deref().filter(|_| !args.stdout);
    // Held until the end: the store behind it is this process's alone.
    let (_lock, past) = match state_dir.map(past).transpose() {
        Ok(Some((lock, past))) => (Some(lock), past),
        Ok(None) => (None, Past::none()),
        Err(exit) => return exit,
    };
    if state_dir.is_none() && !args.stdout {
        warn!("no state_dir: what was seen and raised, and what waits for Kafka, ends with the process");
    }
    let metrics = match Metrics::new() {
        Ok(metrics) => Arc::new(metrics),
        Err(error) => {
            error!("the metrics cannot be set up: {error}");
            return Exit::Failed;
        }
    };
    // Its series are there, at 0, with standard output too.
    let to_kafka = kafka(metrics.clone());
    let make: MakePublisher = if args.stdout { Box::new(standard_output) } else { to_kafka };
    let source = Source { path: args.config.clone(), env, read };
    info!("root programs and owners by {}", loaded.authorities);
    let pipeline = match Pipeline::new(loaded, Some(source), metrics, make, past) {
        Ok(pipeline) => pipeline,
        Err(error) => {
            error!("{error}");
            return Exit::Usage;
        }
    };
    let reload = match hangup() {
        Ok(reload) => reload,
        Err(error) => {
            error!("cannot listen to signals: {error}");
            return Exit::Failed;
        }
    };
    let listening = |address| info!("metrics and health at http://{address}/metrics and /readyz");
    match pipeline.run(signal(), reload, listening).await {
        Ok(farewell) => match farewell.ended {
            Some(Ended::Failed(why)) => {
                error!("{why}");
                Exit::Failed
            }
            Some(Ended::ReaderGone) => Exit::Done,
            None if farewell.undelivered > 0 => Exit::Failed,
            None => Exit::Done,
        },
        Err(error) => {
            error!("{error}");
            // A recording that can never serve the list is a mistake of the configuration.
            let unfit = matches!(error, RunError::Feed(FileError::Refused { .. }));
            if unfit { Exit::Usage } else { Exit::Failed }
        }
    }
}

/// Locks a state directory and opens what lies in it.
fn past(dir: &Path) -> Result<(std::fs::File, Past), Exit> {
    let lock = topology::lock(dir).map_err(|error| {
        error!("{error}");
        Exit::Usage
    })?;
    let found = Store::open(dir).map_err(|error| {
        error!("{error}");
        if matches!(error, StoreError::Newer { .. }) { Exit::Usage } else { Exit::Failed }
    })?;
    let State { alerts, outbox, .. } = &found.state;
    if !outbox.is_empty() {
        info!("{} records wait in {} for Kafka", outbox.len(), dir.display());
    }
    info!(
        "the state in {} knows {} ranges of log indexes and {} raised alerts",
        dir.display(),
        found.state.ledger.len(),
        alerts.len()
    );
    Ok((lock, Past::of(found)))
}

/// Says every problem of the configuration.
pub fn refuse(problems: &Problems) -> Exit {
    use std::io::IsTerminal;
    anstream::eprintln!("{}", problems.render(io::stderr().is_terminal()));
    Exit::Usage
}

fn standard_output(config: &Config, reports: Reports) -> Result<Way, String> {
    let prefix = config.kafka.as_ref().map_or("certsieve", |kafka| &kafka.topic_prefix);
    let publisher = StdoutPublisher::new(io::stdout(), prefix, reports)
        .map_err(|error| format!("no thread to write to standard output: {error}"))?;
    Ok(Way {
        publisher: Box::new(publisher),
        standing: Box::new(|| Stand { kafka: true, topics: true, reason: None }),
    })
}

/// Makes a Kafka publisher whose figures go to the metrics.
#[cfg(feature = "kafka")]
pub fn kafka(metrics: Arc<Metrics>) -> MakePublisher {
    use crate::metrics::KafkaFigures;
    use crate::publish::kafka::{KafkaMeter, KafkaPublisher};
    // One meter for every publisher that follows: counters go on.
    let meter = Arc::new(KafkaMeter::default());
    let figures = meter.clone();
    metrics.kafka(move || KafkaFigures {
        errors: figures.errors().map(|(reason, n)| (reason.label(), n)).collect(),
        last_delivery: figures.last_delivery(),
        brokers_up: figures.brokers_up(),
        rebuilds: figures.producer_rebuilds(),
    });
    Box::new(move |config, reports| {
        let kafka = config.kafka.as_ref().ok_or("there is no [kafka] table any more")?;
        let client_id = format!("certsieve-{}", config.instance);
        let publisher = KafkaPublisher::new(kafka, &client_id, reports, meter.clone())
            .map_err(|error| error.to_string())?;
        let status = publisher.watch();
        Ok(Way {
            publisher: Box::new(publisher),
            standing: Box::new(move || {
                let status = status();
                let missing = (!status.topics_missing.is_empty())
                    .then(|| format!("topics are missing: {}", status.topics_missing.join(", ")));
                Stand {
                    kafka: status.kafka_ready(clock::now()),
                    topics: status.topics_ready(),
                    reason: status.problem.or(missing),
                }
            }),
        })
    })
}

#[cfg(not(feature = "kafka"))]
fn kafka(_: Arc<Metrics>) -> MakePublisher {
    Box::new(|_, _| Err("this certsieve is built without Kafka: use --stdout".to_owned()))
}

#[cfg(unix)]
fn hangup() -> io::Result<impl AsyncReload> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
}

#[cfg(unix)]
const HANGUP: [tokio::signal::unix::SignalKind; 1] = [tokio::signal::unix::SignalKind::hangup()];

#[cfg(not(unix))]
const HANGUP: [(); 0] = [];

#[cfg(not(unix))]
fn hangup() -> io::Result<impl AsyncReload> {
    Ok(topology::Never)
}

/// Signals that come so soon after the first one are the same wish: GNU `timeout` signals its child and
/// then the child's whole group, and a terminal's Ctrl-C may come through a wrapper once more.
const SAME_WISH: Duration = Duration::from_secs(1);

/// Until SIGINT or SIGTERM; a second one, not before `SAME_WISH` is over, ends the process.
pub async fn signal() {
    one_signal(&[]).await;
    stopping();
}

/// As [`signal`], and SIGHUP too: of a command with nothing to read again, whose terminal is gone.
pub async fn signal_or_hangup() {
    one_signal(&HANGUP).await;
    stopping();
}

fn stopping() {
    info!("stopping: what is under way is delivered first, a second signal stops at once");
    tokio::spawn(async {
        let over = Instant::now() + SAME_WISH;
        loop {
            one_signal(&[]).await;
            if Instant::now() >= over {
                std::process::exit(Exit::Failed as i32);
            }
        }
    });
}

#[cfg(unix)]
pub(super) async fn one_signal(more: &[tokio::signal::unix::SignalKind]) {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
    let Ok(mut signals) = kinds.iter().chain(more).map(|kind| signal(*kind)).collect::<io::Result<Vec<_>>>()
    else {
        return;
    };
    std::future::poll_fn(|context| {
        let came = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if came { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cfg(not(unix))]
pub(super) async fn one_signal(_: &[()]) {
    let _ = tokio::signal::ctrl_c().await;
}
