//! `certsieve check`: every problem in configuration and watch list at once; with `--online` also what
//! feeds and Kafka say.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tokio::sync::watch;

use super::{Environment, Exit, run::refuse};
use crate::ccadb::{Authorities, Data};
use crate::clock;
use crate::config::{CertstreamFeed, Config, FeedConfig, Loaded};
use crate::entry::Timestamp;
use crate::entry::message::{Message, decode};
use crate::feed::{CONNECT_RESULTS, FeedMeter, Intake, Refusal, certstream};
use crate::sieve::Sieve;
use crate::watch::{Asset, MatchKind, Matcher, WatchList};

/// Arguments of `certsieve check`.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "certsieve.toml", env = "CERTSIEVE_CONFIG")]
    pub config: PathBuf,
    /// Also ask the feeds and Kafka: reachable, topics, replication, rights, clock.
    #[arg(long)]
    pub online: bool,
}

/// A feed has so long to connect and give its first message.
const FIRST_MESSAGE_WITHIN: Duration = Duration::from_secs(20);

/// Root programs change every few weeks.
const STALE_AFTER: time::Duration = time::Duration::days(30);

/// A clock that differs by more from the server's makes every latency wrong.
const CLOCK_SKEW_MS: i64 = 5_000;

pub async fn run(args: CheckArgs, env: Environment, out: &mut impl Write) -> Exit {
    let Loaded { config, list, authorities } = match Config::load_whole(&args.config, env.into_iter()) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&problems),
    };
    let matcher = match Matcher::new(list) {
        Ok(matcher) => matcher,
        Err(error) => {
            anstream::eprintln!("the watch list cannot be compiled: {error}");
            return Exit::Usage;
        }
    };
    let mut said = Said { out, exit: Exit::Done };
    said.line("ok", &contents(&config, &matcher));
    said.authorities(&authorities);
    said.owners(matcher.list(), &authorities);
    let sieve = Sieve::new(matcher);
    for feed in &config.feeds {
        said.fitness(feed, &sieve);
    }
    if args.online {
        for feed in &config.feeds {
            match feed {
                FeedConfig::Certstream(feed) => said.feed(feed).await,
                FeedConfig::File(feed) => said.line("ok", &format!("feed {}: a recording", feed.name)),
            }
        }
        said.kafka(&config).await;
    }
    said.exit
}

/// How much there is of what.
fn contents(config: &Config, matcher: &Matcher) -> String {
    let entries = MatchKind::ALL.map(|kind| {
        let name = match kind {
            MatchKind::Domain => "domain",
            MatchKind::Exact => "exact name",
            MatchKind::Network => "network",
            MatchKind::Keyword => "keyword",
        };
        (matcher.counts().of(kind), name)
    });
    let all =
        [(config.feeds.len(), "feed"), (matcher.list().assets.len(), "asset")].into_iter().chain(entries);
    let all: Vec<_> =
        all.map(|(count, name)| format!("{count} {name}{}", if count == 1 { "" } else { "s" })).collect();
    all.join(", ")
}

/// A difference of clocks in a unit that is read at a glance: never in more than two figures or so.
fn span(ms: i64) -> String {
    let seconds = ms.unsigned_abs() / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

struct Said<'a, W> {
    out: &'a mut W,
    exit: Exit,
}

impl<W: Write> Said<'_, W> {
    fn line(&mut self, level: &str, text: &str) {
        if level == "error" && self.exit == Exit::Done {
            self.exit = Exit::Failed;
        }
        // A reader that has seen enough is no failure.
        let _ = writeln!(self.out, "{level:<8} {text}");
    }

    /// Wrong in the configuration, whatever feeds and Kafka say.
    fn usage(&mut self, text: &str) {
        self.line("error", text);
        self.exit = Exit::Usage;
    }

    /// What there is to look issuers up in, and how old it is.
    fn authorities(&mut self, authorities: &Authorities) {
        let now = clock::now();
        let age = authorities.as_of().map(|as_of| now.date() - as_of);
        match age.filter(|age| *age > STALE_AFTER) {
            None => self.line("ok", &format!("root programs and owners by {authorities}")),
            Some(age) => {
                let days = age.whole_days();
                let text = format!(
                    "root programs and owners by {authorities}; {days} days old, fetch CCADB's reports again"
                );
                self.line("warning", &text);
            }
        }
    }

    /// Assets that expect an owner which nothing here can tell.
    fn owners(&mut self, list: &WatchList, authorities: &Authorities) {
        if authorities.data() == Data::Ccadb {
            return;
        }
        let asks = |asset: &&Asset| asset.expect.iter().any(|table| !table.ca_owner.is_empty());
        for asset in list.assets.iter().filter(asks) {
            let id = &asset.id;
            let text = format!(
                "asset {id} expects a ca_owner, and [trust] names no CCADB report: it is never verified"
            );
            self.line("warning", &text);
        }
    }

    /// What the feed's stream can never decide, as far as its URL says which stream it is.
    fn fitness(&mut self, feed: &FeedConfig, sieve: &Sieve) {
        let FeedConfig::Certstream(feed) = feed else { return };
        let path = feed.url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        if let (true, Some(what)) = (path.ends_with("/domains-only"), sieve.needs_certificates()) {
            let unfit = crate::sieve::Unfit(what);
            self.usage(&format!("feed {}: {unfit}", feed.name));
        }
    }

    async fn feed(&mut self, feed: &CertstreamFeed) {
        let meter = Arc::new(FeedMeter::new(feed.name.as_str(), Some(feed.silence_after)));
        let (first, heard) = channel();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(certstream::run(
            feed.clone(),
            certstream::Timing::default(),
            Probe(first),
            meter.clone(),
            stopped,
        ));
        let heard = tokio::task::spawn_blocking(move || heard.recv_timeout(FIRST_MESSAGE_WITHIN)).await;
        stop.send_replace(true);
        let _ = task.await;
        let name = &feed.name;
        match heard {
            Ok(Ok(Heard { what, skew })) => {
                self.line("ok", &format!("feed {name}: connected, first message is {what}"));
                if let Some(skew) = skew.filter(|skew| skew.abs() > CLOCK_SKEW_MS) {
                    let (by, way) = (span(skew), if skew > 0 { "ahead of" } else { "behind" });
                    let text = format!(
                        "feed {name}: this clock is {by} {way} the server's, or the feed is a recording"
                    );
                    self.line("warning", &text);
                }
            }
            _ if meter.connects()[0] > 0 => {
                let text = format!("feed {name}: connected, and no message within {FIRST_MESSAGE_WITHIN:?}");
                self.line("error", &text);
            }
            _ => {
                let tried = CONNECT_RESULTS.iter().zip(meter.connects()).find(|(_, n)| *n > 0);
                let result = tried.map_or("no answer", |(result, _)| result);
                self.line("error", &format!("feed {name}: not connected ({result}); the log above says why"));
            }
        }
    }

    #[cfg(feature = "kafka")]
    async fn kafka(&mut self, config: &Config) {
        use crate::publish::kafka::{self, Level};
        let Some(kafka) = config.kafka.clone() else {
            return self.line("skipped", "there is no [kafka] table: run needs --stdout");
        };
        let client_id = format!("certsieve-check-{}", config.instance);
        let asked = tokio::task::spawn_blocking(move || kafka::check(&kafka, &client_id)).await;
        for finding in asked.unwrap_or_default() {
            let level = match finding.level {
                Level::Fine => "ok",
                Level::NotChecked => "unknown",
                Level::Warning => "warning",
                Level::Error => "error",
            };
            self.line(level, &finding.text);
        }
    }

    #[cfg(not(feature = "kafka"))]
    async fn kafka(&mut self, _: &Config) {
        self.line("skipped", "this certsieve is built without Kafka");
    }
}

/// Says what the first message is.
struct Probe(Sender<Heard>);

struct Heard {
    what: &'static str,
    /// This clock against the server's, in milliseconds.
    skew: Option<i64>,
}

impl Intake for Probe {
    fn take(&mut self, message: &[u8], at: Timestamp) -> Result<(), Refusal> {
        let (what, seen) = match decode(message) {
            Ok(Message::Certificate(update)) => match update.leaf.as_der.as_str() {
                Some(_) => ("a certificate with DER (full stream)", update.seen.time()),
                None => ("a certificate without DER (lite stream, or a tiled log)", update.seen.time()),
            },
            Ok(Message::Names(_)) => ("names alone (domains-only stream)", None),
            Ok(Message::Idle) => return Ok(()),
            Err(_) => ("not decodable", None),
        };
        // Only the first one is waited for.
        let _ = self.0.send(Heard { what, skew: seen.map(|seen| at.millis_since(seen)) });
        Ok(())
    }

    fn rest(&mut self, _: Timestamp) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_clocks_is_read_at_a_glance() {
        for (ms, want) in [
            (-5_500, "5 s"),
            (119_999, "119 s"),
            (120_000, "2 minutes"),
            (-7_199_000, "119 minutes"),
            (7_200_000, "2 hours"),
            (36_000_000_000, "416 days"),
            (i64::MIN, "106751991167 days"),
        ] {
            assert_eq!(span(ms), want, "{ms}");
        }
    }
}
