//! What does one message cost, frames in memory to verdict, on one core?
//!
//! 20,000 messages of the demo's firehose, lite and full, are sifted again and again, with a list of the
//! usual size and with one of a million domains. The cases take turns, so that a machine that slows down
//! slows all of them; each case's figure is the median of its rounds. Beside them stands a floor: the same
//! bytes, only checked to be JSON by serde_json, which keeps nothing.
//!
//! The messages lie one after another in memory and are more than any cache holds. What is not measured:
//! the socket, the WebSocket, and what becomes of a batch after it left the worker.
//!
//! Time is what the thread spent on a core where the kernel says it (`/proc/thread-self/schedstat`), else
//! the clock's. Arguments: `--rounds N`; `--case WORDS` runs only the cases whose name has the words, for
//! a profiler.

use std::hint::black_box;
use std::time::{Duration, Instant};

use certsieve::demo::Stream;
use certsieve::demo::firehose::Firehose;
use certsieve::entry::Timestamp;
use certsieve::record::Arrival;
use certsieve::sieve::{Batch, Origin, Position, Scratch, Sieve, Source};
use certsieve::watch::list::Bulk;
use certsieve::watch::{Matcher, WatchList};
use fastrand::Rng;

/// Enough that names and sizes are those of the whole pool.
const MESSAGES: usize = 20_000;

/// Of the firehose and of the lists.
const SEED: u64 = 1;

/// A worker hands its batch on after so many.
const PER_BATCH: usize = 1024;

const ROUNDS: usize = 15;

/// A round takes the pool as often as fills this: kernels count a thread's time in steps of up to 4 ms.
const ROUND: Duration = Duration::from_millis(200);

fn main() {
    let arguments = Arguments::parse();
    let now = Timestamp(1_790_000_000_000);
    let pools = [Stream::Lite, Stream::Full].map(|stream| Pool::new(stream, now));
    let lists = [("10 domains", 10), ("1,000,000 domains", 1_000_000)]
        .map(|(name, domains)| (name, Sieve::new(matcher(domains))));

    let mut cases = Vec::new();
    for pool in &pools {
        cases.push(Case::new(format!("{}, floor: is it JSON?", pool.name), pool, None));
        for (name, sieve) in &lists {
            cases.push(Case::new(format!("{}, {name}", pool.name), pool, Some(sieve)));
        }
    }
    cases.retain(|case| case.name.contains(&arguments.case));
    for round in 0..=arguments.rounds {
        for case in &mut cases {
            let took = case.round(now);
            if round > 0 {
                case.rounds.push(took);
            } else {
                // The first one warms up, and tells how long the pool takes.
                case.passes = (ROUND.as_nanos() / took.as_nanos().max(1)).max(1) as u32;
            }
        }
    }

    for pool in &pools {
        println!("{}: {MESSAGES} messages, {} bytes each on average", pool.name, pool.bytes.len() / MESSAGES);
    }
    println!("lists: 1,000 keywords, 100 networks and the domains named; {} rounds\n", arguments.rounds);
    println!(
        "{:<28} {:>10} {:>8} {:>8} {:>9} {:>8}",
        "case", "ns/message", "least", "most", "messages/s", "matched"
    );
    for case in &mut cases {
        case.report();
    }
}

struct Arguments {
    rounds: usize,
    case: String,
}

impl Arguments {
    fn parse() -> Arguments {
        let mut arguments = Arguments { rounds: ROUNDS, case: String::new() };
        let mut given = std::env::args().skip(1);
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--rounds" => arguments.rounds = given.next().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS),
                "--case" => arguments.case = given.next().unwrap_or_default(),
                // What cargo adds.
                "--bench" => {}
                other => panic!("{other}: there are --rounds N and --case WORDS"),
            }
        }
        arguments.rounds = arguments.rounds.max(1);
        arguments
    }
}

/// Messages one after another.
struct Pool {
    name: &'static str,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Pool {
    fn new(stream: Stream, now: Timestamp) -> Pool {
        let mut firehose = Firehose::new(SEED, "https://ct.example", now).expect("a firehose");
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(MESSAGES));
        for n in 0..MESSAGES {
            // A thousand a second: the plants, which match, are among them.
            let entry = firehose.draw(now.plus_millis(n as i64));
            firehose.write(&entry, stream, &mut bytes);
            ends.push(bytes.len());
        }
        let name = if stream == Stream::Full { "full" } else { "lite" };
        Pool { name, bytes, ends }
    }

    fn messages(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| &self.bytes[std::mem::replace(&mut start, *end)..*end])
    }
}

struct Case<'a> {
    name: String,
    pool: &'a Pool,
    /// `None`: the floor.
    sieve: Option<&'a Sieve>,
    scratch: Scratch,
    matched: u64,
    /// How often a round takes the pool.
    passes: u32,
    /// What one pass took, on average.
    rounds: Vec<Duration>,
}

impl<'a> Case<'a> {
    fn new(name: String, pool: &'a Pool, sieve: Option<&'a Sieve>) -> Case<'a> {
        Case { name, pool, sieve, scratch: Scratch::default(), matched: 0, passes: 1, rounds: Vec::new() }
    }

    /// Takes the whole pool, as often as a round does; the time is that of one pass.
    fn round(&mut self, now: Timestamp) -> Duration {
        let start = Clock::start();
        for _ in 0..self.passes {
            match self.sieve {
                Some(sieve) => self.sift(sieve, now),
                None => self.check(),
            }
        }
        start.elapsed() / self.passes
    }

    fn check(&self) {
        for message in self.pool.messages() {
            black_box(serde_json::from_slice::<serde::de::IgnoredAny>(message).is_ok());
        }
    }

    fn sift(&mut self, sieve: &Sieve, now: Timestamp) {
        let arrival = Arrival { feed: "bench".into(), received: now };
        let position = Position { feed: "bench".into(), origin: Origin::Feed };
        let mut batch = Batch::new(position.clone());
        self.matched = 0;
        for (n, message) in self.pool.messages().enumerate() {
            sieve
                .sift(Source::Message(message), &arrival, &mut self.scratch, &mut batch)
                .expect("fit streams");
            if n % PER_BATCH == PER_BATCH - 1 {
                self.matched += batch.tally.matched;
                black_box(std::mem::replace(&mut batch, Batch::new(position.clone())));
            }
        }
        self.matched += batch.tally.matched;
    }

    fn report(&mut self) {
        self.rounds.sort();
        let nanos = |took: Duration| took.as_nanos() as f64 / MESSAGES as f64;
        let median = nanos(self.rounds[self.rounds.len() / 2]);
        println!(
            "{:<28} {median:>10.0} {:>8.0} {:>8.0} {:>9.0}k {:>8}",
            self.name,
            nanos(self.rounds[0]),
            nanos(self.rounds[self.rounds.len() - 1]),
            1e6 / median,
            self.matched
        );
    }
}

/// Time on a core; other programs on the machine cost none of it.
struct Clock {
    on_core: Option<u64>,
    wall: Instant,
}

impl Clock {
    fn start() -> Clock {
        Clock { on_core: Clock::on_core(), wall: Instant::now() }
    }

    fn elapsed(&self) -> Duration {
        match (self.on_core, Clock::on_core()) {
            (Some(before), Some(after)) => Duration::from_nanos(after - before),
            _ => self.wall.elapsed(),
        }
    }

    fn on_core() -> Option<u64> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split(' ').next()?.parse().ok()
    }
}

/// 1,000 keywords, 100 networks, among them the one that is planted for, and so many domains.
fn matcher(domains: usize) -> Matcher {
    let mut rng = Rng::with_seed(SEED);
    let keywords: Vec<_> = (0..1_000).map(|_| word(&mut rng, 6..15)).collect();
    let networks: Vec<_> =
        (0..99).map(|_| format!("{}.{}.{}.0/24", rng.u8(1..224), rng.u8(..), rng.u8(..))).collect();
    let mut names = String::new();
    for _ in 0..domains {
        let tld = ["com", "net", "org", "de", "co.uk", "io", "fr", "nl"][rng.usize(..8)];
        names += &format!("{}.{tld}\n", word(&mut rng, 5..18));
    }
    let text = format!(
        "[[asset]]\nid = 'bench'\npolicy = 'never-issue'\nkeywords = {keywords:?}\n\
         networks = ['1.1.1.1/32', {}]\ndomains_file = 'names'\n",
        networks.iter().map(|network| format!("'{network}'")).collect::<Vec<_>>().join(", ")
    );
    let mut bulk = |file: &str| Ok(Bulk { file: file.to_owned(), bytes: names.clone().into() });
    let list = WatchList::parse("bench", text.as_bytes(), &mut bulk).expect("a list without mistakes");
    Matcher::new(list).expect("1,000 keywords are not too many")
}

/// Of letters as names have them, so that an automaton is led astray as often as by real ones.
fn word(rng: &mut Rng, length: std::ops::Range<usize>) -> String {
    let length = rng.usize(length);
    (0..length)
        .map(|n| match n % 2 {
            0 => ["b", "c", "d", "f", "g", "l", "m", "n", "p", "r", "s", "t", "sh", "st", "tr"]
                [rng.usize(..15)],
            _ => ["a", "e", "i", "o", "u"][rng.usize(..5)],
        })
        .collect()
}
