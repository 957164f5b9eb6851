//! A real Apache Kafka, in a folder and on ports of its own.
//!
//! Doors: plaintext (the tests' own, whose nameless user may do everything), SASL_SSL (SCRAM-SHA-512 and
//! PLAIN), SSL with client certificates. Everybody but the first needs rights. Users `alice` and `bob`
//! log in with `<name>-secret`, the client certificate is `certuser`'s; nobody has a right at first.
//!
//! The broker runs below a shell that ends it, by its id, when this process is gone, however that came
//! about. Ready in 5 s, 200 MB resident. Needs Java 17 and the jars that `tests/setup` puts into
//! `.parts/kafka/libs` (`CERTSIEVE_PARTS` names another `.parts`).

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use base64::Engine;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A broker that is not ready by then never will be.
const READY_WITHIN: Duration = Duration::from_secs(90);

const JAVA: [&str; 6] = [
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-Djava.awt.headless=true",
];

/// Started from `"$@"`; ends it when standard input does.
const KEEPER: &str = r#""$@" </dev/null >>"$LOG" 2>&1 &
echo $!
cat >/dev/null
kill -KILL $! 2>/dev/null
wait
[ -z "$SWEEP" ] || rm -rf -- "$SWEEP""#;

pub struct Broker {
    dir: PathBuf,
    ports: [u16; 4],
    certificates: Certificates,
    running: Option<Running>,
    owned: bool,
}

struct Running {
    keeper: Child,
    pid: String,
}

/// PEM files.
#[derive(Clone)]
pub struct Certificates {
    pub ca: PathBuf,
    /// Signs nothing that the broker trusts.
    pub other_ca: PathBuf,
    pub client: PathBuf,
    pub client_key: PathBuf,
    /// Of the other CA.
    pub stranger: PathBuf,
    pub stranger_key: PathBuf,
    keystore: PathBuf,
}

impl Broker {
    /// The one that tests share, each with its own topic prefix. It lives until the process ends.
    pub fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(|| Broker::launch(&[], false))
    }

    /// One for a test alone, which may end and restart it; `settings` are added to its own.
    pub fn start(settings: &[(&str, &str)]) -> Broker {
        Broker::launch(settings, true)
    }

    fn launch(settings: &[(&str, &str)], owned: bool) -> Broker {
        let dir = tempfile::Builder::new().prefix("certsieve-kafka-").tempdir().unwrap().keep();
        let certificates = Certificates::make(&dir);
        let mut broker = Broker { ports: free_ports(), certificates, running: None, owned, dir };
        broker.format(settings);
        broker.restart();
        broker
    }

    /// `host:port` of the plaintext door.
    pub fn plain(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    pub fn sasl(&self) -> String {
        format!("localhost:{}", self.ports[1])
    }

    pub fn tls(&self) -> String {
        format!("localhost:{}", self.ports[2])
    }

    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        self.end("KILL");
    }

    /// SIGTERM, and gone.
    pub fn stop(&mut self) {
        self.end("TERM");
    }

    /// On the same ports, with what it had.
    pub fn restart(&mut self) {
        assert!(self.running.is_none(), "the broker runs");
        let log = self.log();
        fs::write(&log, "").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "kafka"]).args(self.java());
        command.args(["kafka.Kafka".into(), self.dir.join("server.properties")]);
        command.env("LOG", &log).env("SWEEP", if self.owned { Path::new("") } else { &self.dir });
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.spawn().expect("sh runs");
        let mut pid = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        self.running = Some(Running { keeper, pid: pid.trim().into() });
        let end = Instant::now() + READY_WITHIN;
        while !fs::read_to_string(&log).unwrap().contains("Kafka Server started") {
            assert!(self.alive(), "the broker died:\n{}", self.log_tail());
            assert!(
                Instant::now() < end,
                "the broker is not ready after {READY_WITHIN:?}:\n{}",
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Gives a user the right to write to every topic of a prefix.
    pub fn allow(&self, user: &str, prefix: &str) {
        self.rights(&["--add"], user, prefix);
    }

    pub fn revoke(&self, user: &str, prefix: &str) {
        self.rights(&["--remove", "--force"], user, prefix);
    }

    fn rights(&self, what: &[&str], user: &str, prefix: &str) {
        let door = self.plain();
        let principal = format!("User:{user}");
        let mut arguments = vec!["--bootstrap-server", &door];
        arguments.extend(what);
        arguments.extend([
            "--allow-principal",
            &principal,
            "--operation",
            "Write",
            "--operation",
            "Describe",
        ]);
        arguments.extend(["--resource-pattern-type", "prefixed", "--topic", prefix]);
        self.tool("org.apache.kafka.tools.AclCommand", &arguments);
    }

    /// One of Kafka's own tools, in 2 to 4 s; what it prints.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> String {
        let mut java = self.java();
        let program = java.remove(0);
        let output = Command::new(program).args(java).arg(class).args(arguments).output().expect("java runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{class} {arguments:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// Puts Kafka's tools into a folder under the names that its distribution gives them, for scripts that
    /// call them.
    pub fn install_tools(&self, folder: &Path) {
        for (name, class) in [
            ("kafka-topics.sh", "org.apache.kafka.tools.TopicCommand"),
            ("kafka-acls.sh", "org.apache.kafka.tools.AclCommand"),
        ] {
            let words: Vec<_> = self.java().iter().map(|word| format!("'{}'", word.display())).collect();
            let path = folder.join(name);
            fs::write(&path, format!("#!/bin/sh\nexec {} {class} \"$@\"\n", words.join(" "))).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// The end of what the broker logged.
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    fn alive(&self) -> bool {
        let Some(running) = &self.running else { return false };
        Path::new("/proc").join(&running.pid).exists() || signal("0", &running.pid)
    }

    fn end(&mut self, with: &str) {
        let Some(mut running) = self.running.take() else { return };
        signal(with, &running.pid);
        let end = Instant::now() + Duration::from_secs(30);
        while signal("0", &running.pid) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Now the shell: it kills what is left.
        drop(running.keeper.stdin.take());
        running.keeper.wait().unwrap();
    }

    fn java(&self) -> Vec<PathBuf> {
        let java =
            std::env::var_os("JAVA_HOME").map_or("java".into(), |home| Path::new(&home).join("bin/java"));
        let mut command = vec![java];
        command.extend(JAVA.map(PathBuf::from));
        let logging = format!("-Dlog4j2.configurationFile={}", self.dir.join("log4j2.properties").display());
        command.extend([logging.into(), "-cp".into(), libs().join("*")]);
        command
    }

    fn format(&self, settings: &[(&str, &str)]) {
        let [plain, sasl, tls, controller] = self.ports;
        let dir = self.dir.display();
        let files = &self.certificates;
        let mut properties = format!(
            "\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{sasl},SSL://127.0.0.1:{tls},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://localhost:{sasl},SSL://localhost:{tls},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={dir}/data
# One node.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
default.replication.factor=1
min.insync.replicas=1
num.partitions=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
# After SIGKILL a new broker waits until the old one's registration has run out: 9 s unless said.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
# A deleted topic's files go soon.
file.delete.delay.ms=1000
# A small machine.
num.network.threads=2
num.io.threads=2
background.threads=2
log.cleaner.dedupe.buffer.size=4194304
# PEM files.
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
listener.name.ssl.ssl.client.auth=required
listener.name.sasl_ssl.ssl.client.auth=none
ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/,DEFAULT
sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"alice-secret\" user_bob=\"bob-secret\";
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
# The plaintext door's nameless user may do everything.
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=false
",
            keystore = files.keystore.display(),
            ca = files.ca.display(),
        );
        for (name, value) in settings {
            properties.push_str(&format!("{name}={value}\n"));
        }
        fs::write(self.dir.join("server.properties"), properties).unwrap();
        fs::write(
            self.dir.join("log4j2.properties"),
            "rootLogger.level=INFO\nrootLogger.appenderRef.c.ref=C\nappender.c.type=Console\nappender.c.name=C\n\
             appender.c.layout.type=PatternLayout\nappender.c.layout.pattern=[%d] %p %m (%c)%n\n",
        )
        .unwrap();
        let file = self.dir.join("server.properties");
        let mut arguments = vec!["format", "--standalone", "--cluster-id", "MkU3OEVBNTcwNTJENDM2Qg"];
        let users =
            ["alice", "bob"].map(|name| format!("SCRAM-SHA-512=[name={name},password={name}-secret]"));
        arguments.extend(["--config", file.to_str().unwrap()]);
        for user in &users {
            arguments.extend(["--add-scram", user]);
        }
        self.tool("kafka.tools.StorageTool", &arguments);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the broker's log ends:\n{}", self.log_tail());
        }
        self.end("KILL");
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Certificates {
    fn make(dir: &Path) -> Certificates {
        let file = |name: &str| dir.join(name);
        let ca = authority("certsieve test CA");
        let other = authority("a CA nobody knows");
        let broker =
            leaf("localhost", &["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth, &ca.issuer);
        let client = leaf("certuser", &[], ExtendedKeyUsagePurpose::ClientAuth, &ca.issuer);
        let stranger = leaf("certuser", &[], ExtendedKeyUsagePurpose::ClientAuth, &other.issuer);
        let made = Certificates {
            ca: file("ca.pem"),
            other_ca: file("other-ca.pem"),
            client: file("client.pem"),
            client_key: file("client.key"),
            stranger: file("stranger.pem"),
            stranger_key: file("stranger.key"),
            keystore: file("broker.pem"),
        };
        for (path, text) in [
            (&made.ca, &ca.pem),
            (&made.other_ca, &other.pem),
            (&made.client, &client.0),
            (&made.client_key, &client.1),
            (&made.stranger, &stranger.0),
            (&made.stranger_key, &stranger.1),
            // Kafka's order: the key, then the chain.
            (&made.keystore, &format!("{}{}{}", broker.1, broker.0, ca.pem)),
        ] {
            fs::write(path, text).unwrap();
        }
        made
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Authority { pem: pem("CERTIFICATE", certificate.der()), issuer: Issuer::new(params, key) }
}

/// Certificate and key.
fn leaf(
    name: &str,
    hosts: &[&str],
    usage: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'static, KeyPair>,
) -> (String, String) {
    let hosts: Vec<_> = hosts.iter().map(|host| host.to_string()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", &key.serialize_der()))
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn libs() -> PathBuf {
    let parts = std::env::var_os("CERTSIEVE_PARTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".parts"), PathBuf::from);
    let libs = parts.join("kafka/libs");
    assert!(libs.is_dir(), "Kafka's jars are not in {}: run tests/setup", libs.display());
    libs
}

/// Ports that were free a moment ago, all different.
fn free_ports() -> [u16; 4] {
    let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

/// True when the process is there.
fn signal(name: &str, pid: &str) -> bool {
    let status = Command::new("kill").args([&format!("-{name}"), pid]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
