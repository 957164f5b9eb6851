//! The program as it is operated, on standard output: what changes under it, and who does not read.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{self, Certsieve, SOON, Scrape, Simulate, certsieve};
use crate::support::entries::names;
#[cfg(feature = "kafka")]
use crate::support::process::Process;

const LIST: &str = "[[asset]]\nid = \"a\"\ndomains = [\"example.com\"]\npolicy = \"observe\"\n";

/// Nobody listens there.
const NOWHERE: &str = "ws://127.0.0.1:1/";

/// Kinds of the health topic so far.
fn health(certsieve: &Certsieve) -> Vec<String> {
    let records = certsieve.records();
    let actions = records.iter().filter_map(|record| record["value"]["event"]["action"].as_str());
    actions.map(str::to_owned).collect()
}

/// Put back as it was, it has the same version: that is no reason to say nothing.
#[test]
fn a_list_that_is_put_back_is_said_to_judge_again() {
    let folder = tempfile::tempdir().unwrap();
    program::write(folder.path(), &program::config("back", NOWHERE, ""), LIST);
    let list = folder.path().join("watchlist.toml");
    let mut certsieve = Certsieve::run(folder.path(), &["--stdout"]);
    let reloads = |c: &Certsieve, result: &str| {
        c.scrape().get(&format!("watchlist_reloads_total{{result=\"{result}\"}}"))
    };
    std::fs::write(&list, "nonsense = 1\n").unwrap();
    certsieve.until("it is refused", SOON, |c| (reloads(c, "refused") == 1).then_some(()));
    assert_eq!(reloads(&certsieve, "ok"), 0);
    std::fs::write(&list, LIST).unwrap();
    certsieve.until("it is loaded", SOON, |c| (reloads(c, "ok") == 1).then_some(()));
    certsieve.until("and said to be", SOON, |c| {
        let said: Vec<_> = health(c).into_iter().filter(|kind| kind.starts_with("watchlist")).collect();
        (said == ["watchlist-refused", "watchlist-loaded"]).then_some(())
    });
    let stopped = certsieve.stop();
    assert!(stopped.log.contains("goes on to judge"), "{}", stopped.log);
}

/// A file that holds a secret is part of the configuration, and its change is noticed as any other.
#[test]
fn a_rotated_token_is_what_the_feed_shows_next() {
    let folder = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", server.local_addr().unwrap());
    let config = "\nheader = { Authorization = { file = \"token\" } }\n\n[http]";
    let config = program::config("rotates", &url, "").replace("\n\n[http]", config);
    program::write(folder.path(), &config, LIST);
    let token = folder.path().join("token");
    std::fs::write(&token, "Bearer first\n").unwrap();
    // Nobody is let in; what was shown is kept.
    let (shown, tokens) = channel();
    std::thread::spawn(move || {
        for stream in server.incoming().map_while(Result::ok) {
            let head = BufReader::new(&stream).lines().map_while(Result::ok);
            let header = head
                .take_while(|line| !line.is_empty())
                .find_map(|line| line.to_lowercase().strip_prefix("authorization: ").map(str::to_owned));
            let _ = (&stream).write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
            if shown.send(header).is_err() {
                return;
            }
        }
    });
    let certsieve = Certsieve::run(folder.path(), &["--stdout"]);
    let first = tokens.recv_timeout(SOON).unwrap();
    assert_eq!(first.as_deref(), Some("bearer first"));
    std::fs::write(&token, "Bearer second\n").unwrap();
    let second = std::iter::from_fn(|| tokens.recv_timeout(SOON).ok()).find(|shown| *shown != first);
    assert_eq!(second.flatten().as_deref(), Some("bearer second"), "{}", certsieve.log());
    drop(certsieve);
}

#[test]
#[cfg(feature = "kafka")]
fn a_rotated_password_makes_a_new_producer() {
    let folder = tempfile::tempdir().unwrap();
    let kafka = "[kafka]\nbrokers = \"127.0.0.1:1\"\nusername = \"u\"\npassword_file = \"password\"\n\
                 [kafka.properties]\n\"security.protocol\" = \"sasl_plaintext\"\n\"sasl.mechanism\" = \"PLAIN\"\n";
    program::write(folder.path(), &program::config("rotates", NOWHERE, kafka), LIST);
    let password = folder.path().join("password");
    std::fs::write(&password, "first\n").unwrap();
    let mut certsieve = Certsieve::run(folder.path(), &[]);
    std::fs::write(&password, "second\n").unwrap();
    certsieve.until("a new producer", SOON, |c| c.log().contains("records go to Kafka anew").then_some(()));
    certsieve.kill();
}

/// The header is for who sees the demo run: a port that is taken is said without it.
#[test]
#[cfg(feature = "kafka")]
fn a_demo_whose_port_is_taken_says_so_and_nothing_else() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = certsieve().args(["demo", "--for", "1s", "--http", &address]).output().unwrap();
    assert_eq!((said.status.code(), said.stdout.as_slice()), (Some(1), &b""[..]));
    assert!(String::from_utf8_lossy(&said.stderr).contains(&address));
}

/// Its terminal goes, and whatever wraps it says so once more: it ends with its summary.
#[test]
#[cfg(feature = "kafka")]
fn a_demo_that_is_hung_up_ends_with_its_summary() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = certsieve();
    let mut demo = Process::spawn("demo", command.arg("demo"), folder.path().join("output"));
    demo.wait_until(|said| said.contains("metrics ").then_some(())).unwrap_or_else(|e| panic!("{e}"));
    demo.signal("HUP");
    demo.signal("TERM");
    demo.exit(SOON);
    assert!(demo.output().contains("messages sieved"), "{}", demo.output());
}

/// A `run --stdout` whose output only the test reads.
struct Unread {
    child: Child,
    folder: PathBuf,
    address: String,
}

impl Unread {
    /// Of the files in `folder`, with [http].
    fn run(folder: &Path) -> (Unread, ChildStdout) {
        let mut command = certsieve();
        command.args(["run", "--stdout", "-c"]).arg(folder.join("certsieve.toml"));
        let log = std::fs::File::create(folder.join("stderr")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let unread = child.stdout.take().unwrap();
        let mut run = Unread { child, folder: folder.to_owned(), address: String::new() };
        run.address = run.until("it listens", |run| {
            let log = run.log();
            Some(log.split_once("at http://")?.1.split_once('/')?.0.to_owned())
        });
        (run, unread)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("stderr")).unwrap()
    }

    /// A scrape in which both equations hold.
    fn scrape(&self) -> Scrape {
        let scrape = program::scrape(&self.address).unwrap_or_else(|| panic!("no answer\n{}", self.log()));
        scrape.balances();
        scrape
    }

    fn until<T>(&self, what: &str, mut done: impl FnMut(&Unread) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = done(self) {
                return found;
            }
            assert!(start.elapsed() < SOON, "{what}: never\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.child.id());
        std::process::Command::new("sh").args(["-c", &kill]).status().unwrap();
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that the program still writes, in whole lines.
fn read_on(mut unread: ChildStdout) -> JoinHandle<Vec<Value>> {
    std::thread::spawn(move || {
        let mut text = String::new();
        unread.read_to_string(&mut text).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    })
}

/// A reader of standard output that stalls holds up the records, and nothing else: the account goes on,
/// what cannot be kept is shed and counted, nobody takes the process for dead. Then it reads on.
#[test]
fn a_reader_that_stalls_holds_up_its_records_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let simulate = Simulate::start(folder.path(), &["--rate", "2000", "--buffer", "100000"]);
    // Nearly every message matches, and what may wait is little.
    let list =
        "[[asset]]\nid = \"a\"\nkeywords = [\"com\", \"net\", \"org\", \"example\"]\npolicy = \"observe\"\n";
    let outbox = "[outbox]\nmemory_bytes = 4194304\n";
    program::write(folder.path(), &program::config("stalls", &simulate.url("/full-stream"), outbox), list);
    let (mut run, unread) = Unread::run(folder.path());
    let mut most = 0;
    run.until("it sheds, and counts it", |run| {
        let scrape = run.scrape();
        most = most.max(scrape.sum("messages_in_flight"));
        (scrape.get("messages_total{outcome=\"shed\"}") > 5_000).then_some(())
    });
    assert!(most < 5_000, "{most} in flight");
    assert_eq!(program::get(&run.address, "/livez").map(|(code, _)| code), Some(200));
    run.until("it is said", |run| run.log().contains("messages were shed").then_some(()));
    let log = run.log();
    assert!(log.contains("records wait for standard output") && !log.contains("Kafka"), "{log}");
    // Whoever reads on gets what was kept, whole.
    drop(simulate);
    let records = read_on(unread);
    run.until("all that was kept is written", |run| {
        let scrape = run.scrape();
        (scrape.sum("records_pending") == 0 && scrape.sum("messages_in_flight") == 0).then_some(())
    });
    assert_eq!(
        run.scrape().sum("records_rejected_total"),
        0,
        "nothing was left to a store that is not there"
    );
    run.terminate();
    assert_eq!(run.child.wait().unwrap().code(), Some(0), "{}", run.log());
    let records = records.join().unwrap();
    assert_eq!(records.last().unwrap()["value"]["event"]["action"], "stopped");
    let said = |record: &Value| record["value"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(records.iter().any(|record| said(record).starts_with("messages were shed")));
}

/// A recording is read once: it waits for its reader, and nothing of it is shed.
#[test]
fn a_recording_waits_for_a_reader_that_stalls() {
    let list = "[[asset]]\nid = \"a\"\nkeywords = [\"name\"]\npolicy = \"observe\"\n";
    let count = 6_000;
    let text: String = (0..count).map(|n| format!("{}\n", names(&[&format!("name-{n}.example")]))).collect();
    let config = "watchlists = ['watchlist.toml']\n[[feed]]\nkind = 'file'\nname = 'rec'\npath = 'rec.jsonl'\n\
                  [outbox]\nmemory_bytes = 4194304\n[http]\nlisten = '127.0.0.1:0'\n";
    let folder = tempfile::tempdir().unwrap();
    program::write(folder.path(), config, list);
    std::fs::write(folder.path().join("rec.jsonl"), text).unwrap();
    let (mut run, unread) = Unread::run(folder.path());
    run.until("all that may wait waits", |run| (run.scrape().sum("outbox_bytes") >= 4_194_304).then_some(()));
    let records = read_on(unread);
    assert_eq!(run.child.wait().unwrap().code(), Some(0), "{}", run.log());
    let records = records.join().unwrap();
    let matches = records.iter().filter(|record| record["topic"] == "certsieve.match.v1").count();
    assert_eq!(matches, count, "{}", run.log());
}

/// More clients than there are places ask without end and never read: who comes after them is answered.
#[test]
fn clients_that_never_read_keep_nobody_from_the_health_checks() {
    let folder = tempfile::tempdir().unwrap();
    program::write(folder.path(), &program::config("unread", NOWHERE, ""), LIST);
    let (run, _unread) = Unread::run(folder.path());
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(600);
    let silent: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut client = TcpStream::connect(&run.address).unwrap();
            // Those who came first may be sent away while they still ask.
            let _ = client.write_all(&request);
            client
        })
        .collect();
    for _ in 0..5 {
        let asked = Instant::now();
        assert_eq!(program::get(&run.address, "/livez").map(|(code, _)| code), Some(200));
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
    drop(silent);
}
