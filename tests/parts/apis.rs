//! The two APIs of logs, against logs that nobody here wrote: Sunlight behind Skylight, and Google's CTFE. What
//! was submitted comes out, each entry once, in the bytes that were submitted, with its chain.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use certsieve::config::Proxies;
use certsieve::ctlog::{
    Api, Get, IssuerCache, Limits, LogClient, LogList, Outcome, Signature, Transport, TreeHead,
};
use certsieve::entry::leaf::{Fetched, Leaf};
use certsieve::feed::dial::TlsFiles;
use certsieve::fetch::Fetcher;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::support::logs::{Authority, Kind, LogAddress, MemLog, StaticLog, Submitted};

/// A log merges within a fraction of a second.
const CEILING: Duration = Duration::from_secs(30);

const LIMITS: Limits = Limits { concurrent: 2, per_second: 1_000, within: CEILING };

#[test]
fn both_apis_give_what_was_submitted() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::create(folder.path());
    let tiled = StaticLog::start(folder.path(), &authority);
    let rfc6962 = MemLog::start(folder.path(), &authority);
    let logs = [tiled.address(), rfc6962.address()];
    // A whole tile and a partial one, with entries that Go itself cannot parse.
    let kinds = [(Kind::Mixed, 140), (Kind::BadIp, 10), (Kind::Many { names: 500 }, 5)];
    let submitted: Vec<Submitted> =
        kinds.iter().flat_map(|&(kind, n)| authority.submit(kind, n, &logs)).collect();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    for log in logs {
        let ours: Vec<_> = submitted.iter().filter(|one| one.log == log.url).collect();
        assert_eq!(ours.len(), 310);
        runtime.block_on(read(log, &ours));
    }
}

async fn read(log: &LogAddress, submitted: &[&Submitted]) {
    let fetcher = Arc::new(Fetcher::new(Some("ops@example.net"), Proxies::default(), TlsFiles::default()));
    let mut list = if log.tiled { published(&fetcher, log).await } else { LogList::default() };
    list.allow(&log.url).unwrap();
    let known = Arc::clone(list.find(&log.url).unwrap());
    let issuers = Arc::new(IssuerCache::default());
    let client = LogClient::new(known, fetcher, issuers, &LIMITS, fastrand::Rng::with_seed(1));

    let head = grown(&client, submitted.len() as u64).await;
    let (api, signature) = match log.tiled {
        true => (Api::Static, Signature::Verified),
        false => (Api::Rfc6962, Signature::NoKey),
    };
    assert_eq!((client.api(), head.signature, head.size), (Some(api), signature, 310));

    let mut seen = BTreeSet::new();
    let mut next = 0;
    let mut range = std::pin::pin!(client.range(0, head.size - 1, head.size));
    while let Some(fetch) = range.next().await {
        let fetch = fetch.unwrap();
        let issuers = client.issuers(&fetch.fingerprints()).await;
        assert_eq!((issuers.missing, &issuers.error), (0, &None));
        for (index, form) in fetch.leaves(&issuers).iter() {
            assert_eq!(index, next);
            next += 1;
            let leaf = Leaf::read(Fetched { log: &log.url, log_name: None, index, form });
            assert_eq!(leaf.broken, None);
            assert_eq!(leaf.chain().count(), 1, "the authority's root");
            let sha256 = ring::digest::digest(&ring::digest::SHA256, leaf.submitted);
            seen.insert(sha256.as_ref().iter().map(|b| format!("{b:02x}")).collect::<String>());
        }
    }
    assert_eq!(next, head.size);
    assert_eq!(seen, submitted.iter().map(|one| one.sha256.clone()).collect());

    // One entry alone, as evidence is fetched.
    let one = client.entries(300, 300, head.size).await.unwrap();
    assert_eq!((one.first(), one.end()), (300, 301));
    // Beyond the tree, for a client that thinks it were larger.
    let error = client.entries(5_000, 5_000, 6_000).await.unwrap_err();
    let outcome = if log.tiled { Outcome::NotFound } else { Outcome::ServerError };
    assert_eq!(error.outcome(), outcome, "{error}");
}

/// The log as its own server describes it, with its key.
async fn published(fetcher: &Fetcher, log: &LogAddress) -> LogList {
    let url = format!("{}/log.v3.json", log.url);
    let answer = fetcher.get(Get { url, max_bytes: 100_000, within: CEILING }).await.unwrap();
    assert_eq!(answer.status, 200);
    let mut described: Value = serde_json::from_slice(&answer.body).unwrap();
    described["monitoring_url"] = log.url.as_str().into();
    let list = json!({ "operators": [{ "name": "Local", "tiled_logs": [described] }] });
    let list = LogList::read(list.to_string().as_bytes()).unwrap();
    assert_eq!(list.problems, []);
    list
}

/// The log's tree once it has so many entries.
async fn grown(client: &LogClient, size: u64) -> TreeHead {
    let start = Instant::now();
    loop {
        let head = client.tree_head().await.unwrap();
        if head.size >= size {
            return head;
        }
        assert!(start.elapsed() < CEILING, "{head:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
