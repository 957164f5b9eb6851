//! What `deploy/` ships does what it says: linted, loaded by the library that Docker Compose is made of, the
//! samples run as they are, topics and rights made on a real broker, and every query of every dashboard asked
//! of a real Prometheus that scrapes a running certsieve. Nothing is built from the Dockerfile here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use certsieve::record::Topic;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;

use crate::broker::Broker;
use crate::support::ccadb;
use crate::support::process::{Process, answers, with_free_ports};
use crate::support::{command, python};

/// A ceiling for what takes seconds.
const SOON: Duration = Duration::from_secs(60);

const OVERVIEW: &str = "grafana/dashboards/certsieve-overview.json";

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

fn certsieve() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certsieve"));
    // What this shell has set is not what the samples say.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CERTSIEVE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Standard output of what must succeed.
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", both(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn until(what: &str, mut done: impl FnMut() -> Result<(), String>) {
    let end = Instant::now() + SOON;
    while let Err(why) = done() {
        assert!(Instant::now() < end, "{what}: not within {SOON:?}: {why}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn the_image_is_linted() {
    succeed(
        Command::new(command("hadolint", "python"))
            .args(["--failure-threshold", "style"])
            .arg(deploy("Dockerfile")),
    );
}

/// A project as `docker compose` sees it.
fn compose(file: &Path) -> Value {
    serde_json::from_str(&succeed(Command::new(command("compose", "go")).arg(file))).unwrap()
}

fn yaml(file: &str) -> Value {
    let mut compose = Command::new(command("compose", "go"));
    serde_json::from_str(&succeed(compose.arg("--yaml").arg(deploy(file)))).unwrap()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn the_compose_file_holds_together() {
    let project = compose(&deploy("compose.yaml"));
    let services = project["services"].as_object().unwrap();
    let names: Vec<_> = services.keys().map(String::as_str).collect();
    assert_eq!(names, ["certsieve", "certstream", "grafana", "kafka", "prometheus", "simulate"]);
    for (name, service) in services {
        let image = service["image"].as_str().unwrap();
        assert!(image.contains(':') && !image.ends_with(":latest"), "{name}: {image} moves");
        assert!(service["healthcheck"]["test"].is_array(), "{name}: no health check");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        for port in service["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name} is published: {port}");
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume["source"].as_str().unwrap();
            match volume["type"].as_str().unwrap() {
                "bind" => {
                    assert!(Path::new(source).exists(), "{name}: {source} is missing");
                    assert_eq!(volume["read_only"], true, "{name}: {volume}");
                }
                _ => assert!(project["volumes"][source].is_object(), "{name}: {source}"),
            }
        }
    }
    for name in ["certsieve", "simulate"] {
        assert_eq!(services[name]["read_only"], true);
        assert_eq!(services[name]["build"]["dockerfile"], "deploy/Dockerfile");
        assert_eq!(services[name]["build"]["context"], env!("CARGO_MANIFEST_DIR"));
    }
    // What one file says of another.
    let url = |service: &str, port: u64| {
        assert!(services.contains_key(service));
        format!("{service}:{port}")
    };
    let sources = yaml("grafana/provisioning/datasources/prometheus.yaml");
    assert_eq!(sources["datasources"][0]["url"], format!("http://{}", url("prometheus", 9090)));
    let providers = yaml("grafana/provisioning/dashboards/certsieve.yaml");
    let folder = providers["providers"][0]["options"]["path"].as_str().unwrap();
    let mounted = services["grafana"]["volumes"].as_array().unwrap().iter();
    let mounted: Vec<_> = mounted.filter(|volume| volume["target"] == folder).collect();
    assert_eq!(mounted.len(), 1, "the dashboards are where Grafana looks");
    let home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].as_str();
    let home = home.unwrap().strip_prefix(folder).unwrap().trim_start_matches('/');
    assert!(Path::new(mounted[0]["source"].as_str().unwrap()).join(home).exists());
    let prometheus = yaml("prometheus/prometheus.yml");
    let targets: Vec<_> = prometheus["scrape_configs"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|job| texts(&job["static_configs"][0]["targets"]))
        .collect();
    assert_eq!(targets, [&url("certsieve", 9464), &url("certstream", 8080), "127.0.0.1:9090"]);
    // The feed server's own word on its configuration, and on how it is told.
    let arguments = texts(&services["certstream"]["entrypoint"]);
    let config = &services["certstream"]["volumes"][0];
    assert_eq!(config["target"], arguments[2]);
    let mut server = Command::new(command("certstream-server-go", "go"));
    succeed(server.args(["validate", arguments[1]]).arg(config["source"].as_str().unwrap()));
    let feed_server = yaml("certstream-server-go.yaml");
    assert_eq!(feed_server["webserver"]["listen_port"], 8080);
    let environment = &services["certsieve"]["environment"];
    let stream = feed_server["webserver"]["full_url"].as_str().unwrap();
    assert_eq!(environment["CERTSIEVE_FEED__0__URL"], format!("ws://{}{stream}", url("certstream", 8080)));
    let door = environment["CERTSIEVE_KAFKA__BROKERS"].as_str().unwrap();
    let advertised = services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].as_str().unwrap();
    assert!(advertised.contains(&format!("INSIDE://{door},")), "{advertised}");
    // The samples with what Compose lays over them.
    let mut check = certsieve();
    check.args(["check", "--config"]).arg(deploy("certsieve.toml"));
    for (key, value) in environment.as_object().unwrap() {
        check.env(key, value.as_str().unwrap());
    }
    succeed(&mut check);
}

#[test]
fn a_compose_file_with_a_mistake_is_refused() {
    let good = fs::read_to_string(deploy("compose.yaml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [
        ("restart: unless-stopped", "restrat: unless-stopped"),
        ("condition: service_healthy", "condition: service_happy"),
        ("- kafka-data:", "- kafka-date:"),
    ] {
        assert!(good.contains(from));
        let file = folder.path().join("compose.yaml");
        fs::write(&file, good.replacen(from, to, 1)).unwrap();
        let output = Command::new(command("compose", "go")).arg(&file).output().unwrap();
        assert!(!output.status.success(), "{to}");
    }
}

#[test]
fn the_samples_are_without_problems() {
    let said = succeed(certsieve().args(["check", "--config"]).arg(deploy("certsieve.toml")));
    assert!(said.starts_with("ok"), "{said}");
    assert!(said.lines().all(|line| line.starts_with("ok ")), "nothing is said beside it: {said}");
}

/// Every key that is commented out is one that this version knows; only its files are missing.
#[test]
fn what_the_samples_have_commented_out_is_known() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["certsieve.toml", "watchlist.toml"] {
        let text = fs::read_to_string(deploy(name)).unwrap();
        let lines = text.lines().map(|line| match line.strip_prefix('#') {
            // Prose has a space after the sign.
            Some(code) if !code.starts_with(' ') => code.replace("\"…\"", "\"7f:3c:1d\""),
            _ => line.to_owned(),
        });
        let text: Vec<_> = lines.collect();
        fs::write(folder.path().join(name), text.join("\n").replace("ws://", "wss://")).unwrap();
    }
    let certificates = ccadb::certificates("2026-11-20");
    for (name, text) in [
        ("AllCertificateRecordsCSVFormatV5", certificates.as_str()),
        ("AllIncludedRootCertsCSV", &certificates),
        ("AllProblemReportingMechanismsCSV", ccadb::problem_reporting()),
        ("feed-ca.pem", "."),
        ("feed-client.pem", "."),
        ("feed-client.key", "."),
        ("feed-token", "t"),
        ("kafka-password", "p"),
        ("kafka-ca.pem", "."),
        ("capture.jsonl.zst", "."),
        ("customers.txt", "example.com\n"),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    succeed(certsieve().args(["check", "--config"]).arg(folder.path().join("certsieve.toml")));
}

#[test]
fn prometheus_takes_its_configuration() {
    let mut promtool = Command::new(command("promtool", "prometheus"));
    succeed(promtool.args(["check", "config", "--lint-fatal"]).arg(deploy("prometheus/prometheus.yml")));
}

/// The check of dashboards is itself checked: the shipped one passes but for one thing done to it.
#[test]
fn what_is_wrong_with_a_dashboard_is_named() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 10] = [
        ("no uid", |d| d["uid"] = Value::Null),
        ("__inputs", |d| d["__inputs"] = Value::Array(Vec::new())),
        ("no variable `datasource`", |d| d["templating"]["list"][0]["name"] = "ds".into()),
        ("its data source is fixed", |d| d["panels"][1]["datasource"]["uid"] = "prometheus".into()),
        ("overlaps", |d| d["panels"][2]["gridPos"]["x"] = 0.into()),
        ("outside of the grid", |d| d["panels"][1]["gridPos"]["w"] = 25.into()),
        ("two panels have one id", |d| d["panels"][1]["id"] = d["panels"][2]["id"].clone()),
        ("/colourMode is unknown", |d| d["panels"][1]["options"]["colourMode"] = "value".into()),
        ("no unit", |d| d["panels"][1]["fieldConfig"]["defaults"]["unit"] = Value::Null),
        ("certsieve_reday is no metric", |d| {
            d["panels"][1]["targets"][0]["expr"] = "min(certsieve_reday)".into()
        }),
    ];
    let folder = tempfile::tempdir().unwrap();
    let good: Value = serde_json::from_slice(&fs::read(deploy(OVERVIEW)).unwrap()).unwrap();
    let text = good.to_string();
    let metrics = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metrics: BTreeSet<_> =
        metrics.filter(|word| word.starts_with("certsieve_") || word.starts_with("process_")).collect();
    let exposition = folder.path().join("metrics");
    fs::write(&exposition, metrics.iter().map(|name| format!("{name} 0\n")).collect::<String>()).unwrap();
    let check = |dashboard: &Value| {
        let file = folder.path().join("dashboard.json");
        fs::write(&file, dashboard.to_string()).unwrap();
        let output = python("dashboards.py").arg(&exposition).arg("-").arg(file).output().unwrap();
        (output.status.success(), both(&output))
    };
    let (passed, said) = check(&good);
    assert!(passed, "{said}");
    for (expected, change) in cases {
        let mut bad = good.clone();
        change(&mut bad);
        let (passed, said) = check(&bad);
        assert!(!passed && said.contains(expected), "{expected}: {said}");
    }
}

fn topics_script() -> Command {
    Command::new(deploy("kafka/topics.sh"))
}

/// What the contract says of the topics, whoever makes them.
const TOPICS: [(Topic, usize, u64); 4] =
    [(Topic::Alert, 3, 90), (Topic::Match, 6, 30), (Topic::Malformed, 3, 30), (Topic::Health, 1, 30)];

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[test]
fn the_topics_script_says_what_it_would_do() {
    let said = succeed(topics_script().env_remove("KAFKA_BIN").args([
        "--bootstrap-server",
        "k1:9092,k2:9092",
        "--command-config",
        "admin.properties",
        "--principal",
        "certsieve",
        "--consumer",
        "siem",
        "--prefix",
        "ct",
        "--dry-run",
    ]));
    let mut expected: Vec<_> = TOPICS
        .iter()
        .map(|(topic, partitions, days)| {
            format!(
                "kafka-topics.sh --bootstrap-server k1:9092,k2:9092 --command-config admin.properties --create \
                 --if-not-exists --topic {} --partitions {partitions} --replication-factor 3 \
                 --config min.insync.replicas=2 --config retention.ms={} --config cleanup.policy=delete",
                topic.name("ct"),
                days * DAY_MS,
            )
        })
        .collect();
    expected.push(
        "kafka-acls.sh --bootstrap-server k1:9092,k2:9092 --command-config admin.properties --add \
         --allow-principal User:certsieve --operation Write --operation Describe --operation DescribeConfigs \
         --topic ct. --resource-pattern-type prefixed"
            .into(),
    );
    expected.push(
        "kafka-acls.sh --bootstrap-server k1:9092,k2:9092 --command-config admin.properties --add \
         --allow-principal User:siem --consumer --topic ct. --group siem --resource-pattern-type prefixed"
            .into(),
    );
    let said: Vec<_> = said.lines().map(|line| line.trim_end().replace('\\', "")).collect();
    assert_eq!(said, expected);
}

#[test]
fn the_topics_script_refuses_what_makes_no_sense() {
    for (arguments, expected) in [
        (vec![], "--bootstrap-server is missing"),
        (vec!["--bootstrap-server"], "needs a value"),
        (vec!["--bootstrap-server", "k:1", "--replicas", "3"], "unknown option --replicas"),
        (vec!["--bootstrap-server", "k:1", "--replication", "0"], "no number"),
        (vec!["--bootstrap-server", "k:1", "--replication", "1"], "nothing could be written"),
        (vec!["--bootstrap-server", "k:1", "--prefix", "a b"], "no part of a topic's name"),
        (vec!["--bootstrap-server", "k:1", "--may-create"], "--principal says to whom"),
    ] {
        let output = topics_script().args(&arguments).arg("--dry-run").output().unwrap();
        let expected_code = Some(2);
        assert_eq!(output.status.code(), expected_code, "{arguments:?}: {}", both(&output));
        assert!(both(&output).contains(expected), "{arguments:?}: {}", both(&output));
        assert!(output.stdout.is_empty(), "nothing is done before all is understood");
    }
}

fn get(address: &str, path: &str) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SOON))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| error.to_string())?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.into()),
        _ => Err(answer),
    }
}

/// A word of a server's output that starts and ends so.
fn word<'a>(output: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let from = output.find(start)? + start.len();
    output[from..].split_once(end).map(|(word, _)| word)
}

/// The samples, run as they are by a user who has the rights that the script gives and no others.
#[test]
fn the_dashboards_show_a_running_certsieve() {
    let broker = Broker::shared();
    let folder = tempfile::tempdir().unwrap();
    let prefix = "deployed";
    make_topics(broker, folder.path(), prefix);

    let mut simulate = certsieve();
    simulate.args(["simulate", "--listen", "127.0.0.1:0"]);
    let mut simulate = Process::spawn("simulate", &mut simulate, folder.path().join("simulate.out"));
    let stream = simulate.wait_until(|said| Some(word(said, "ws://", "/")?.to_owned())).unwrap();

    let mut run = certsieve();
    run.args(["run", "--config"]).arg(deploy("certsieve.toml"));
    for (key, value) in [
        ("CERTSIEVE_STATE_DIR", folder.path().join("state").to_str().unwrap()),
        ("CERTSIEVE_FEED__0__URL", &format!("ws://{stream}/full-stream")),
        ("CERTSIEVE_HTTP__LISTEN", "127.0.0.1:0"),
        ("CERTSIEVE_KAFKA__BROKERS", &broker.sasl()),
        ("CERTSIEVE_KAFKA__TOPIC_PREFIX", prefix),
        ("CERTSIEVE_KAFKA__CREATE_TOPICS", "false"),
        ("CERTSIEVE_KAFKA__USERNAME", "alice"),
        ("CERTSIEVE_KAFKA__PASSWORD", "alice-secret"),
        ("CERTSIEVE_KAFKA__PROPERTIES__SECURITY_PROTOCOL", "sasl_ssl"),
        ("CERTSIEVE_KAFKA__PROPERTIES__SASL_MECHANISM", "SCRAM-SHA-512"),
        ("CERTSIEVE_KAFKA__PROPERTIES__SSL_CA_LOCATION", broker.certificates().ca.to_str().unwrap()),
    ] {
        run.env(key, value);
    }
    let mut run = Process::spawn("certsieve", &mut run, folder.path().join("certsieve.out"));
    let address =
        run.wait_until(|said| Some(word(said, "metrics and health at http://", "/")?.to_owned())).unwrap();
    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();

    // Compose's own health check, on the port that this one has.
    let health = compose(&deploy("compose.yaml"))["services"]["certsieve"]["healthcheck"]["test"].clone();
    let health: Vec<_> = texts(&health).iter().map(|text| text.replace("9464", &port.to_string())).collect();
    assert_eq!(health[0], "CMD");
    until("ready", || {
        let output = Command::new(&health[1]).args(&health[2..]).output().unwrap();
        if output.status.success() { Ok(()) } else { get(&address, "/readyz").map(drop) }
    });

    let prometheus = Prometheus::start(folder.path(), &address);
    let metrics = folder.path().join("metrics");
    fs::write(&metrics, get(&address, "/metrics").unwrap()).unwrap();
    let mut promtool = Command::new(command("promtool", "prometheus"));
    succeed(promtool.args(["check", "metrics"]).stdin(fs::File::open(&metrics).unwrap()));

    let dashboards = fs::read_dir(deploy("grafana/dashboards")).unwrap();
    let dashboards: Vec<_> = dashboards.map(|entry| entry.unwrap().path()).collect();
    assert!(dashboards.iter().any(|path| path.ends_with("certsieve-overview.json")));
    until("every query has data", || {
        let mut check = python("dashboards.py");
        let output =
            check.arg(&metrics).arg(&prometheus.url).args(&dashboards).stdin(Stdio::null()).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(both(&output)) }
    });
    let metrics = get(&address, "/metrics").unwrap();
    for (series, what) in [
        (
            r#"certsieve_alerts_total{asset="resolver",severity="critical"} "#,
            "the sample list finds the plants",
        ),
        (r#"certsieve_records_delivered_total{topic="alert.v1"} "#, "the script's rights are enough"),
    ] {
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)).unwrap();
        assert!(value.parse::<u64>().unwrap() > 0, "{what}: {value}");
    }
}

/// Runs the script on a broker of one node, and looks at what came of it.
fn make_topics(broker: &Broker, folder: &Path, prefix: &str) {
    let tools = folder.join("kafka-bin");
    fs::create_dir(&tools).unwrap();
    broker.install_tools(&tools);
    let door = broker.plain();
    let mut script = topics_script();
    script.env("KAFKA_BIN", &tools).args(["--bootstrap-server", &door, "--prefix", prefix]);
    script.args(["--principal", "alice", "--consumer", "bob"]);
    // One node; the numbers of a cluster are in the dry run.
    succeed(script.args(["--replication", "1", "--min-insync", "1"]));

    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &door).create().unwrap();
    for (topic, partitions, days) in TOPICS {
        let name = topic.name(prefix);
        let found = admin.inner().fetch_metadata(Some(&name), SOON).unwrap();
        assert_eq!(found.topics()[0].partitions().len(), partitions, "{name}");
        let (about, options) = ([ResourceSpecifier::Topic(&name)], AdminOptions::new());
        let asked = admin.describe_configs(&about, &options);
        let settings = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(asked);
        let settings = settings.unwrap().remove(0).unwrap();
        let setting = |key: &str| settings.get(key).and_then(|entry| entry.value.clone()).unwrap();
        assert_eq!(setting("retention.ms"), (days * DAY_MS).to_string(), "{name}");
        assert_eq!(setting("cleanup.policy"), "delete", "{name}");
        assert_eq!(setting("min.insync.replicas"), "1", "{name}");
    }
    let listed = broker.tool(
        "org.apache.kafka.tools.AclCommand",
        &["--bootstrap-server", &door, "--list", "--resource-pattern-type", "prefixed"],
    );
    let (alice, bob) = ("User:alice", "User:bob");
    let expected = BTreeMap::from([
        ((format!("TOPIC {prefix}."), alice), BTreeSet::from(["DESCRIBE", "DESCRIBE_CONFIGS", "WRITE"])),
        ((format!("TOPIC {prefix}."), bob), BTreeSet::from(["DESCRIBE", "READ"])),
        (("GROUP bob".into(), bob), BTreeSet::from(["READ"])),
    ]);
    // Other tests give rights on prefixes of their own.
    let mine = |resource: &str| resource.ends_with(&format!(" {prefix}.")) || resource == "GROUP bob";
    let found: BTreeMap<_, _> = rights(&listed).into_iter().filter(|((what, _), _)| mine(what)).collect();
    assert_eq!(found, expected, "{listed}");
}

/// Operations by resource and user, from what kafka-acls.sh prints.
fn rights(listed: &str) -> BTreeMap<(String, &str), BTreeSet<&str>> {
    let mut rights = BTreeMap::<_, BTreeSet<_>>::new();
    let mut resource = String::new();
    for line in listed.lines() {
        if let (Some(kind), Some(name)) = (word(line, "resourceType=", ","), word(line, "name=", ",")) {
            resource = format!("{kind} {name}");
        }
        if let (Some(user), Some(operation)) = (word(line, "principal=", ","), word(line, "operation=", ","))
        {
            rights.entry((resource.clone(), user)).or_default().insert(operation);
        }
    }
    rights
}

/// A real one, which scrapes one address every second.
struct Prometheus {
    url: String,
    _process: Process,
}

impl Prometheus {
    fn start(folder: &Path, address: &str) -> Prometheus {
        let config = folder.join("prometheus.yml");
        fs::write(
            &config,
            format!(
                "global: {{scrape_interval: 1s, scrape_timeout: 900ms}}\n\
                 scrape_configs:\n- job_name: certsieve\n  static_configs: [{{targets: ['{address}']}}]\n"
            ),
        )
        .unwrap();
        with_free_ports(|[port]| {
            let mut command = Command::new(command("prometheus", "prometheus"));
            command
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"));
            let mut process = Process::spawn("prometheus", &mut command, folder.join("prometheus.out"));
            process.wait_until(|_| answers(port, "localhost", "/-/ready").then_some(()))?;
            Ok(Prometheus { url: format!("http://127.0.0.1:{port}"), _process: process })
        })
    }
}
