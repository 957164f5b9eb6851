//! `certsieve ledger`: which entries of which logs were accounted for, and which records Kafka refused.
//!
//! Asks a running `run` over its `[http]`, and opens the store itself when none runs. Of a store alone what
//! is missing is only known up to the last index that was seen.

use std::io;
use std::path::PathBuf;

use std::time::Duration;

use tracing::error;

use super::run::refuse;
use super::{Environment, Exit};
use crate::account::report::{LogReport, Report};
use crate::account::{Account, Bounds};
use crate::clock;
use crate::config::{Config, Proxies};
use crate::ctlog::{Get, Transport};
use crate::feed::dial::TlsFiles;
use crate::fetch::Fetcher;
use crate::record::Composer;
use crate::store::Store;
use crate::topology;

/// Arguments of `certsieve ledger`.
#[derive(Clone, Debug, clap::Args)]
pub struct LedgerArgs {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "certsieve.toml", env = "CERTSIEVE_CONFIG")]
    pub config: PathBuf,
    /// Print one JSON object, as /ledger has it.
    #[arg(long)]
    pub json: bool,
    /// Show the records that Kafka refused for themselves, in place of the logs.
    #[arg(long)]
    pub rejected: bool,
    /// Put them back among those that wait for Kafka; no certsieve may be running on the state_dir.
    #[arg(long, requires = "rejected")]
    pub retry: bool,
}

/// An answer of some ten thousand logs and records.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

const WITHIN: Duration = Duration::from_secs(10);

pub async fn run(args: LedgerArgs, env: Environment) -> Exit {
    let config = match Config::load(&args.config, env.into_iter()) {
        Ok(config) => config,
        Err(problems) => return refuse(&problems),
    };
    let report = match &config.http {
        Some(http) if !args.retry => ask(&http.listen).await,
        _ => None,
    };
    let report = match report {
        Some(report) => report,
        None => match open(&config, args.retry) {
            Ok(report) => report,
            Err(exit) => return exit,
        },
    };
    match show(&args, &report) {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            error!("cannot write: {error}");
            Exit::Failed
        }
    }
}

/// What a running one says; `None` when none answers.
async fn ask(listen: &str) -> Option<Report> {
    // It listens on every address where it says so, and is asked on this machine.
    let host = listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
    let fetcher = Fetcher::new(None, Proxies::default(), TlsFiles::default());
    let get = Get { url: format!("http://{host}/ledger"), max_bytes: MAX_ANSWER, within: WITHIN };
    let answer = fetcher.get(get).await.ok()?;
    serde_json::from_slice(&answer.body).ok()
}

/// What lies in the store.
fn open(config: &Config, retry: bool) -> Result<Report, Exit> {
    let Some(dir) = &config.state_dir else {
        error!("no certsieve answers at [http], and there is no state_dir to open");
        return Err(Exit::Failed);
    };
    if !Store::is_in(dir) {
        error!("no certsieve answers at [http], and {} has no state", dir.display());
        return Err(Exit::Failed);
    }
    let _lock = topology::lock(dir).map_err(|error| {
        if retry {
            error!("{error}: stop it first, records are put back for its next start");
        } else {
            error!("{error}: it can be asked where it has an [http] table");
        }
        Exit::Failed
    })?;
    let failed = |error: &dyn std::fmt::Display| {
        error!("{error}");
        Exit::Failed
    };
    let mut found = Store::open(dir).map_err(|error| failed(&error))?;
    if let Some(rebuilt) = &found.rebuilt {
        error!("{rebuilt}");
    }
    if retry {
        let count = found.store.retry_refused().map_err(|error| failed(&error))?;
        anstream::eprintln!("{count} records wait for Kafka again and go out with the next start");
        drop(found);
        found = Store::open(dir).map_err(|error| failed(&error))?;
    }
    let bounds = Bounds { memory: usize::MAX, store: 0 };
    let mut account = Account::new(Composer::new(&config.instance, "certsieve"), bounds, "");
    account.resume(found.state);
    account.tend_logs(clock::now());
    Ok(Report::of(account.counts(), clock::now()))
}

fn show(args: &LedgerArgs, report: &Report) -> io::Result<()> {
    use io::Write;
    let mut out = anstream::stdout().lock();
    if args.json {
        return writeln!(out, "{}", serde_json::to_string_pretty(report)?);
    }
    if args.rejected {
        for record in &report.rejected {
            let at = record.at.as_str();
            writeln!(out, "{at}  {}  {}  {}  {}", record.topic, record.id, record.reason, record.message)?;
        }
        return writeln!(out, "{} records were refused and are kept", report.rejected.len());
    }
    let rows: Vec<[String; 9]> = report.logs.iter().map(row).collect();
    let head = ["log", "state", "first", "last", "tree size", "lag", "missing", "refilled", "lost"];
    let mut widths = head.map(str::len);
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
    }
    let line = |cells: [&str; 9]| {
        let cells = cells.iter().zip(widths).enumerate();
        let cells =
            cells.map(|(i, (cell, w))| if i < 2 { format!("{cell:<w$}") } else { format!("{cell:>w$}") });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    writeln!(out, "{}", line(head))?;
    for (row, log) in rows.iter().zip(&report.logs) {
        writeln!(out, "{}", line(row.each_ref().map(String::as_str)))?;
        for (first, last) in &log.holes {
            writeln!(out, "    missing {first} to {last}")?;
        }
    }
    let missing: u64 = report.logs.iter().map(|log| log.missing).sum();
    writeln!(out, "{} logs, {missing} entries missing", report.logs.len())
}

fn row(log: &LogReport) -> [String; 9] {
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    [
        log.name.clone().unwrap_or_else(|| log.log.clone()),
        log.state.clone(),
        number(log.first),
        number(log.last),
        number(log.tree_size),
        number(log.lag),
        log.missing.to_string(),
        log.refilled.to_string(),
        log.lost.to_string(),
    ]
}
