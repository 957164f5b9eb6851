//! The other side of the topics: OpenSearch, rsyslog, Alertmanager, the pager, and somebody who is paged.
//!
//! Each is the real program on loopback, on the files that `deploy/siem/` ships: only addresses, topics, folders and
//! waiting times are others, and a replacement that finds nothing to replace is an error.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use crate::support::process::{Process, StartError, answers, with_free_ports};
use crate::support::{command, parts};

const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

pub fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/siem").join(file)
}

/// A shipped file with some of its words replaced, written into a folder under its own name.
fn adapted(file: &str, folder: &Path, changes: &[(&str, &str)]) -> PathBuf {
    let mut text = fs::read_to_string(deploy(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    for (from, to) in changes {
        assert!(text.contains(from), "{file} has no {from}");
        text = text.replace(from, to);
    }
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(Path::new(file).file_name().unwrap());
    fs::write(&path, text).unwrap();
    path
}

/// One request on loopback: status code and body.
pub fn http(port: u16, method: &str, path: &str, body: &str) -> (u16, String) {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {answer}"));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.unwrap_or_else(|| panic!("{method} {path}: {head}")), body.to_owned())
}

pub fn java() -> PathBuf {
    std::env::var_os("JAVA_HOME").map_or("java".into(), |home| Path::new(&home).join("bin/java"))
}

/// Java on the jars of a part, about to run one of the sources in `tests/parts/siem`.
pub fn java_source(jars: &str, source: &str, memory: &str) -> Command {
    let libs = parts().join(jars).join("libs");
    assert!(libs.is_dir(), "{} is missing: run tests/setup", libs.display());
    let mut command = Command::new(java());
    command.args([&format!("-Xmx{memory}"), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(libs.join("*"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parts/siem").join(source));
    command
}

/// A real OpenSearch of one node.
pub struct OpenSearch {
    _process: Process,
    port: u16,
}

impl OpenSearch {
    /// Ready in ten seconds or so.
    pub fn start(folder: &Path) -> OpenSearch {
        with_free_ports(|[port, transport]| {
            let folder = folder.join(format!("opensearch-{port}"));
            fs::create_dir_all(&folder).unwrap();
            let mut java = java_source("opensearch", "Node.java", "512m");
            java.arg(folder.join("data")).args([port.to_string(), transport.to_string()]);
            java.current_dir(&folder);
            let mut process = Process::spawn("opensearch", &mut java, folder.join("output"));
            process.wait_until(|output| output.lines().any(|line| line == "ready").then_some(()))?;
            Ok(OpenSearch { _process: process, port })
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A request that must succeed; its answer.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let (code, answer) = http(self.port, method, path, body);
        assert!((200..300).contains(&code), "{method} {path}: {code} {answer}");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
    }

    /// Documents in certsieve's indexes now.
    pub fn count(&self) -> u64 {
        self.ask("POST", "/certsieve-*/_refresh", "");
        self.ask("GET", "/certsieve-*/_count", "")["count"].as_u64().expect("a count")
    }

    /// Every document that a query finds.
    pub fn search(&self, query: &Value) -> Vec<Value> {
        let mut query = query.clone();
        query["size"] = 10_000.into();
        let mut answer = self.ask("POST", "/certsieve-*/_search", &query.to_string());
        match answer["hits"]["hits"].take() {
            Value::Array(hits) => hits,
            other => panic!("no hits: {other}"),
        }
    }
}

/// rsyslog on the shipped configuration.
pub struct Rsyslog {
    _process: Process,
    refused: PathBuf,
}

impl Rsyslog {
    pub fn start(folder: &Path, broker: &str, opensearch: u16, prefix: &str, group: &str) -> Rsyslog {
        let folder = folder.join(group);
        fs::create_dir_all(&folder).unwrap();
        let refused = folder.join("refused");
        let conf = adapted(
            "rsyslog/certsieve.conf",
            &folder,
            &[
                ("127.0.0.1:9092", broker),
                ("http://127.0.0.1:9200", &format!("http://127.0.0.1:{opensearch}")),
                ("topic=\"certsieve.", &format!("topic=\"{prefix}.")),
                ("consumergroup=\"certsieve-siem\"", &format!("consumergroup={group:?}")),
                ("/var/spool/rsyslog", folder.to_str().unwrap()),
                ("/var/log/certsieve-refused", refused.to_str().unwrap()),
            ],
        );
        let rsyslogd = command("rsyslogd", "siem");
        let check = Command::new(&rsyslogd).args(["-N1", "-f"]).arg(&conf).output().expect("rsyslogd runs");
        let said = String::from_utf8_lossy(&check.stderr).into_owned();
        assert!(check.status.success() && !said.contains("error"), "{said}");
        let mut run = Command::new(&rsyslogd);
        run.arg("-n").arg("-f").arg(&conf).arg("-i").arg(folder.join("pid"));
        Rsyslog { _process: Process::spawn("rsyslog", &mut run, folder.join("output")), refused }
    }

    /// What was refused for itself so far, with the reasons.
    pub fn refused(&self) -> String {
        fs::read_to_string(&self.refused).unwrap_or_default()
    }
}

/// A real Alertmanager on the shipped routes, which come into effect within seconds.
pub struct Alertmanager {
    _process: Process,
}

impl Alertmanager {
    pub fn start(folder: &Path, port: u16, webhook: u16) -> Result<Alertmanager, StartError> {
        let conf = adapted(
            "pager/alertmanager.yml",
            folder,
            &[
                ("http://127.0.0.1:9999", &format!("http://127.0.0.1:{webhook}")),
                ("group_wait: 20s", "group_wait: 3s"),
                ("group_interval: 5m", "group_interval: 1s"),
            ],
        );
        let mut run = Command::new(command("alertmanager", "siem"));
        run.arg(format!("--config.file={}", conf.display()));
        run.arg(format!("--storage.path={}", folder.join("alertmanager").display()));
        run.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        run.arg("--cluster.listen-address=");
        let mut process = Process::spawn("alertmanager", &mut run, folder.join("alertmanager.out"));
        process.wait_until(|_| answers(port, "localhost", "/-/ready").then_some(()))?;
        Ok(Alertmanager { _process: process })
    }
}

/// Somebody who is paged: what Alertmanager's webhook was told, by path.
pub struct Webhook {
    port: u16,
    told: Receiver<(String, Value)>,
}

impl Webhook {
    pub fn listen() -> Webhook {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, told) = channel();
        // It ends with the test binary: nobody else connects to its port.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let Ok(request) = request(&mut stream) else { continue };
                if tell.send(request).is_err() {
                    return;
                }
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Webhook { port, told }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next notification.
    pub fn next(&self, what: &str) -> (String, Value) {
        self.told.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("{what}: nobody was told"))
    }
}

fn request(stream: &mut TcpStream) -> std::io::Result<(String, Value)> {
    stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
    let mut reader = BufReader::new(stream);
    let (mut path, mut length) = (String::new(), 0);
    for number in 0.. {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if number == 0 {
            path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        } else if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        } else if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((path, serde_json::from_slice(&body)?))
}

/// The shipped pager.
pub struct Pager {
    process: Process,
}

impl Pager {
    pub fn start(folder: &Path, broker: &str, alertmanager: u16, prefix: &str, group: &str) -> Pager {
        let folder = folder.join(group);
        let conf = adapted(
            "pager/pager.toml",
            &folder,
            &[
                ("127.0.0.1:9092", broker),
                ("http://127.0.0.1:9093", &format!("http://127.0.0.1:{alertmanager}")),
                ("topic_prefix = \"certsieve\"", &format!("topic_prefix = {prefix:?}")),
                ("group = \"certsieve-pager\"", &format!("group = {group:?}")),
            ],
        );
        let mut run = Command::new(parts().join("python/bin/python3"));
        run.arg("-B").arg(deploy("pager/pager.py")).arg(conf);
        Pager { process: Process::spawn("pager", &mut run, folder.join("output")) }
    }

    /// Waits until it has said something.
    pub fn until_it_says(&mut self, what: &str) {
        let said = self.process.wait_until(|output| output.contains(what).then_some(()));
        said.unwrap_or_else(|error| panic!("{what}: {error}"));
    }

    /// Waits until so many of the records that it has read became this: new, seen, firing.
    pub fn until_it_has_read(&mut self, number: usize, outcome: &str) {
        let read = self.process.wait_until(|output| {
            let reads = output
                .lines()
                .filter_map(|line| line.split_once(" read "))
                .flat_map(|(_, what)| what.split(", "));
            let counts = reads.filter_map(|what| what.split_once(' ').filter(|(_, is)| *is == outcome));
            let sum: usize = counts.filter_map(|(count, _)| count.parse::<usize>().ok()).sum();
            (sum >= number).then_some(())
        });
        read.unwrap_or_else(|error| panic!("{number} {outcome}: {error}"));
    }

    pub fn said(&self) -> String {
        self.process.output()
    }

    pub fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.exit(Duration::from_secs(10));
    }

    /// SIGTERM, and a clean end.
    pub fn stop(&mut self) {
        self.process.signal("TERM");
        let status = self.process.exit(Duration::from_secs(30));
        assert!(status.success(), "{status}: {}", self.said());
    }
}
