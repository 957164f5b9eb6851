//! Fifty thousand messages a second, into Kafka: nothing is shed, nothing skipped, and memory stays flat.

use std::time::{Duration, Instant};

use certsieve::record::Topic;

use crate::broker::Broker;
use crate::program::{self, Certsieve, SOON, Simulate};
use crate::support::soak;
use crate::topics::{self, consume, door, ids};

const RATE: u64 = 50_000;

/// One in a few hundred certificates of the firehose.
const LIST: &str = "[[asset]]\nid = \"needles\"\nkeywords = [\"meadowr\", \"walnutp\"]\nkeyword_severity = \"high\"\n\
                    policy = \"observe\"\nnetworks = [\"1.1.1.1/32\"]\n";

/// Buffers, pools and the table of raised alerts are at their size after so long.
const WARM_UP: Duration = Duration::from_secs(4);

/// What a second half may have above the first: an allocator's mood.
const SLACK: u64 = 8 << 20;

#[test]
fn fifty_thousand_messages_a_second() {
    let time = soak(Duration::from_secs(60), Duration::from_secs(10));
    let broker = Broker::shared();
    let prefix = "e2e-load";
    // Made before the flood: a broker that makes its first topics wants both cores.
    topics::make_all(broker, prefix);
    let folder = tempfile::tempdir().unwrap();
    let simulate = Simulate::start(folder.path(), &["--rate", &RATE.to_string(), "--buffer", "200000"]);
    let config = program::config(prefix, &simulate.url("/"), &door::plain(broker, prefix));
    program::write(folder.path(), &config, LIST);
    let mut certsieve = Certsieve::run(folder.path(), &[]);
    certsieve.until_ready("under load", SOON);
    std::thread::sleep(WARM_UP);

    let start = Instant::now();
    let (first, first_cpu) = (certsieve.scrape(), [certsieve.id(), simulate.id()].map(cpu));
    let mut resident = [0; 2];
    while start.elapsed() < time {
        let half = usize::from(start.elapsed() > time / 2);
        resident[half] = resident[half].max(rss(certsieve.id()));
        std::thread::sleep(Duration::from_millis(100));
    }
    let (last, last_cpu) = (certsieve.scrape(), [certsieve.id(), simulate.id()].map(cpu));
    let seconds = start.elapsed().as_secs_f64();

    let messages = last.sum("feed_messages_total") - first.sum("feed_messages_total");
    let rate = messages as f64 / seconds;
    let [used, server] = [0, 1].map(|i| (last_cpu[i] - first_cpu[i]).as_secs_f64());
    let matched =
        last.get("messages_total{outcome=\"matched\"}") - first.get("messages_total{outcome=\"matched\"}");
    eprintln!(
        "{messages} messages in {seconds:.1} s: {rate:.0}/s, {:.0} bytes each, one in {} matched; {:.2} µs of CPU \
         a message, {:.0} % of a core (the feed's server: {:.0} %); at most {:.1} MiB resident in the first half, \
         {:.1} MiB in the second",
        (last.sum("feed_bytes_total") - first.sum("feed_bytes_total")) as f64 / messages as f64,
        messages / matched.max(1),
        used * 1e6 / messages as f64,
        used / seconds * 100.0,
        server / seconds * 100.0,
        resident[0] as f64 / f64::from(1 << 20),
        resident[1] as f64 / f64::from(1 << 20),
    );

    let served = simulate.finish();
    assert_eq!(served.skipped, 0, "the reader was too slow: {served:?}");
    certsieve.until("every message is settled", SOON, |c| {
        let scrape = c.scrape();
        let rest = scrape.sum("messages_in_flight") + scrape.sum("records_pending");
        (scrape.sum("messages_total") == served.sent && rest == 0).then_some(())
    });
    let stopped = certsieve.stop();
    eprintln!("{:?}", stopped.audit);
    assert!(stopped.status.success(), "{}", stopped.log);
    assert_eq!(stopped.last.get("messages_total{outcome=\"shed\"}"), 0);
    assert!(rate > 0.95 * RATE as f64, "{rate:.0} messages a second");
    assert!(resident[1] <= resident[0] + SLACK, "memory grows: {resident:?}");
    assert!(matched > 0);
    let found = consume(broker, prefix, &[Topic::Match]);
    let numbered = stopped.last.get("records_total{topic=\"match.v1\"}");
    assert_eq!((found.len() as u64, ids(&found).len() as u64), (numbered, numbered));
}

/// Bytes of a process that lie in memory.
fn rss(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
    kib * 1024
}

/// User and system time of a process so far.
fn cpu(pid: u32) -> Duration {
    // USER_HZ, which is 100 on every Linux.
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    // The name in parentheses may hold anything.
    let fields: Vec<&str> = stat[stat.rfind(')').expect("a name") + 2..].split(' ').collect();
    let ticks = |field: usize| fields[field].parse::<u32>().expect("a number of ticks");
    TICK * (ticks(11) + ticks(12))
}
