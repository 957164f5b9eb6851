//! Real Certificate Transparency, on loopback: an authority that issues, a static-ct log (Sunlight writes,
//! Skylight serves), an RFC 6962 log (Google's own, in memory), and certstream-server-go in front of them.
//!
//! Two things of the real server shape every test. Of a tiled log it never emits the first entry it
//! could: the first new one after its start, or index 0 when it starts from there. Of an RFC 6962 log it
//! waits until 100 new entries are there, or 45 seconds. So tests sacrifice an issuance to a tiled log,
//! and submit to an RFC 6962 log a hundred entries at once. And an entry that Go cannot parse, such as
//! one with an address of five octets, never comes out of the server at all.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;
use serde_json::json;
use time::macros::format_description;

use super::command;
use super::process::{Process, StartError, answers, with_free_ports};

/// The certificate authority of one test: a key and a root, which its logs accept.
pub struct Authority {
    folder: PathBuf,
}

/// What a pair of precertificate and certificate names. `Ip` is 1.1.1.1, `Ip6` 2606:4700:4700::1111; names
/// lie under `example.test`, another one for each issuance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Dns,
    Ip,
    Ip6,
    /// A name and 1.1.1.1.
    Mixed,
    /// 1.1.1.1 as common name too.
    CommonNameIp,
    Wildcard,
    Many {
        names: usize,
    },
    /// An iPAddress of five octets, alone.
    BadIp,
    /// The same beside a name.
    BadIpMixed,
}

/// One entry that a log took.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Submitted {
    /// The log's URL as a feed names it (`source.url`).
    pub log: String,
    /// Known at once for a static-ct log, whose SCT carries it.
    pub index: Option<u64>,
    /// `precertificate` or `certificate`.
    pub entry: String,
    /// Of the DER as submitted, lower-case hex.
    pub sha256: String,
    /// The serial's magnitude, lower-case hex.
    pub serial: String,
    pub issuer_key_id: String,
    pub common_name: String,
    pub names: Vec<String>,
    pub ips: Vec<String>,
    /// The octets of each iPAddress that is no address, hex.
    pub bad_ips: Vec<String>,
}

/// Where a log is, and what the server in front is told about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogAddress {
    /// Submission prefix.
    submit: String,
    /// Where it is read, and what a feed names it.
    pub url: String,
    pub description: &'static str,
    pub tiled: bool,
}

impl Authority {
    /// Makes the authority in `folder`.
    pub fn create(folder: &Path) -> Self {
        let folder = folder.join("ca");
        run(Command::new(command("submit", "go")).arg("ca").arg("-dir").arg(&folder));
        Self { folder }
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root.pem")
    }

    /// Issues `n` pairs and submits each to every log of `to`; returns once all logs have taken all.
    pub fn submit(&self, kind: Kind, n: usize, to: &[&LogAddress]) -> Vec<Submitted> {
        let mut submit = Command::new(command("submit", "go"));
        submit.arg("add").arg("-dir").arg(&self.folder).args(["-n", &n.to_string(), "-kind"]);
        match kind {
            Kind::Dns => submit.arg("dns"),
            Kind::Ip => submit.arg("ip"),
            Kind::Ip6 => submit.arg("ip6"),
            Kind::Mixed => submit.arg("mixed"),
            Kind::CommonNameIp => submit.arg("cnip"),
            Kind::Wildcard => submit.arg("wild"),
            Kind::Many { names } => submit.args(["many", "-names", &names.to_string()]),
            Kind::BadIp => submit.arg("badip"),
            Kind::BadIpMixed => submit.arg("badip-mixed"),
        };
        for log in to {
            submit.args(["-log", &log.submit]);
        }
        let lines = run(&mut submit).stdout;
        serde_json::Deserializer::from_slice(&lines)
            .into_iter::<Submitted>()
            .map(|line| {
                let mut line = line.expect("submit prints one JSON object a line");
                let log = to.iter().find(|log| log.submit == line.log).expect("a log that was named");
                line.log.clone_from(&log.url);
                line
            })
            .collect()
    }
}

/// A static-ct log: Sunlight, which takes submissions, and Skylight, which serves what it wrote.
pub struct StaticLog {
    address: LogAddress,
    // Dropped in this order: the writer first.
    _sunlight: Process,
    _skylight: Process,
}

impl StaticLog {
    /// Starts the log of `folder`, which is made the first time. A tile is cut every 100 ms.
    pub fn start(folder: &Path, authority: &Authority) -> Self {
        let folder = folder.join("static-log");
        let tiles = folder.join("tiles");
        std::fs::create_dir_all(&tiles).expect("a folder for the log");
        let (seed, checkpoints) = (folder.join("seed.bin"), folder.join("checkpoints.db"));
        if !seed.exists() {
            run(mutable(&command("sunlight-keygen", "go")).arg("-f").arg(&seed));
        }
        if !checkpoints.exists() {
            run(Command::new(command("checkpoints", "go")).arg(&checkpoints));
        }
        // Sunlight makes a log on the very day of its inception only, and later asks that it be the same.
        let inception = folder.join("inception");
        if !tiles.join("checkpoint").exists() {
            let today = time::OffsetDateTime::now_utc().date();
            let today = today.format(format_description!("[year]-[month]-[day]")).expect("a date");
            write(&inception, &today);
        }
        let inception = std::fs::read_to_string(&inception).expect("written above or at the first start");

        with_free_ports(|[submission, monitoring]| {
            let address = LogAddress {
                submit: format!("http://localhost:{submission}/static"),
                url: format!("http://localhost:{monitoring}/static"),
                description: "Local static-ct log",
                tiled: true,
            };
            // JSON is YAML too, and quotes every path rightly.
            let skylight = json!({
                "listen": [format!("127.0.0.1:{monitoring}")],
                "logs": [{
                    "shortname": "static",
                    "monitoringprefix": "https://localhost/static",
                    "localdirectory": tiles,
                    "staging": true,
                }],
            });
            let sunlight = json!({
                "listen": [format!("127.0.0.1:{submission}")],
                "checkpoints": checkpoints,
                "logs": [{
                    "shortname": "static",
                    "inception": inception,
                    "period": 100,
                    "submissionprefix": "https://localhost/static",
                    "monitoringprefix": address.url,
                    "roots": authority.root(),
                    "secret": seed,
                    "cache": folder.join("cache.db"),
                    "poolsize": 0,
                    "localdirectory": tiles,
                    "notafterstart": "2020-01-01T00:00:00Z",
                    "notafterlimit": "2060-01-01T00:00:00Z",
                }],
            });
            let server = |name: &'static str, config: serde_json::Value| {
                let file = folder.join(format!("{name}.yaml"));
                write(&file, &config.to_string());
                let mut server = mutable(&command(name, "go"));
                // The day of inception is taken in local time.
                server.current_dir(&folder).env("TZ", "UTC").arg("-c").arg(file);
                Process::spawn(name, &mut server, folder.join(format!("{name}.out")))
            };
            // The reader first: at a restart the writer compares its checkpoint with what is served, and
            // ends when it cannot.
            let mut skylight = server("skylight", skylight);
            skylight.wait_until(|_| answers(monitoring, "localhost", "/logs.json").then_some(()))?;
            let mut sunlight = server("sunlight", sunlight);
            sunlight.wait_until(|_| {
                let writes = answers(submission, "localhost", "/static/ct/v1/get-roots");
                (writes && answers(monitoring, "localhost", "/static/checkpoint")).then_some(())
            })?;
            Ok(Self { address, _sunlight: sunlight, _skylight: skylight })
        })
    }

    pub fn address(&self) -> &LogAddress {
        &self.address
    }
}

/// An RFC 6962 log in memory; it forgets everything when it stops.
pub struct MemLog {
    address: LogAddress,
    _process: Process,
}

impl MemLog {
    /// Starts a new log.
    pub fn start(folder: &Path, authority: &Authority) -> Self {
        let output = folder.join("memlog.out");
        let mut memlog = Command::new(command("memlog", "go"));
        memlog.current_dir(folder).arg("-roots").arg(authority.root());
        let mut process = Process::spawn("memlog", &mut memlog, output);
        let started = process.wait_until(|output| {
            // Its URL stands alone on a line, among what its libraries say.
            let url = |line: &str| line.starts_with("http://127.0.0.1:") && line.ends_with('\n');
            output.split_inclusive('\n').find(|line| url(line)).map(|line| line.trim_end().to_owned())
        });
        let url = started.unwrap_or_else(|error| panic!("{error}"));
        let address =
            LogAddress { submit: url.clone(), url, description: "Local RFC 6962 log", tiled: false };
        Self { address, _process: process }
    }

    pub fn address(&self) -> &LogAddress {
        &self.address
    }
}

/// What differs between the ways tests run the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Messages kept for a client that is slow; the server skips what is beyond them without a word.
    pub buffer: usize,
    /// Whether it reads its logs from index 0, or from where they end when it starts.
    pub from_start: bool,
}

impl Default for Settings {
    /// As people run it.
    fn default() -> Self {
        Self { buffer: 300, from_start: false }
    }
}

/// certstream-server-go, reading the given logs and none other.
pub struct CertstreamServer {
    address: String,
    _process: Process,
}

impl CertstreamServer {
    /// Starts the server; its logs must be up, or it ends at once. It has begun to read each of them when
    /// this returns, but may not have asked for the tree size yet: unless it starts from index 0, what is
    /// submitted within the first moments may count as old.
    pub fn start(folder: &Path, logs: &[&LogAddress], settings: Settings) -> Self {
        let folder = folder.join("certstream");
        std::fs::create_dir_all(&folder).expect("a folder for the server");
        let entries = |tiled: bool| -> Vec<serde_json::Value> {
            let entry = |log: &&LogAddress| json!({ "url": log.url, "operator": "Local", "description": log.description });
            logs.iter().filter(|log| log.tiled == tiled).map(entry).collect()
        };
        with_free_ports(|[port]| {
            let config = json!({
                "webserver": {
                    "listen_addr": "127.0.0.1",
                    "listen_port": port,
                    "full_url": "/full-stream",
                    "lite_url": "/",
                    "domains_only_url": "/domains-only",
                    "compression_enabled": false,
                },
                "prometheus": {
                    "enabled": true,
                    "listen_addr": "127.0.0.1",
                    "listen_port": port,
                    "metrics_url": "/metrics",
                    "expose_system_metrics": false,
                },
                "general": {
                    "disable_default_logs": true,
                    "additional_logs": entries(false),
                    "additional_tiled_logs": entries(true),
                    "buffer_sizes": { "websocket": settings.buffer, "ctlog": 1000, "broadcastmanager": 10000 },
                    "drop_old_logs": true,
                    // An index file that is not there means index 0.
                    "recovery": { "enabled": settings.from_start, "ct_index_file": folder.join("index.json") },
                },
            });
            let file = folder.join("certstream.yaml");
            write(&file, &config.to_string());
            let mut server = Command::new(command("certstream-server-go", "go"));
            server.current_dir(&folder).arg("-c").arg(file);
            let mut process =
                Process::spawn("certstream-server-go", &mut server, folder.join("certstream.out"));
            process.wait_until(|output| {
                let reads = |log: &&LogAddress| {
                    output.contains(&format!("Starting worker for CT log: {}\n", log.url))
                };
                (logs.iter().all(reads) && answers(port, "127.0.0.1", "/metrics")).then_some(())
            })?;
            Ok::<_, StartError>(Self { address: format!("ws://127.0.0.1:{port}"), _process: process })
        })
    }

    /// The URL of a stream: `/full-stream`, `/` (lite) or `/domains-only`.
    pub fn url(&self, stream: &str) -> String {
        format!("{}{stream}", self.address)
    }
}

/// A command that cannot make files immutable. Sunlight does so with its tiles when it runs as root, and
/// then nobody can remove a test's folder.
fn mutable(program: &Path) -> Command {
    use std::os::unix::fs::MetadataExt;
    let root = std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-linux_immutable", "--inh-caps=-linux_immutable"]).arg(program);
    command
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// Runs a command to its end; one that fails fails the test, with what it said.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
