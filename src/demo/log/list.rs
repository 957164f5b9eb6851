//! The list of the demo's logs, in version 3 of the JSON in which Chrome and Apple publish theirs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::head::LogKey;
use crate::demo::archive::Log;
use crate::entry::Timestamp;

const DAY: i64 = 86_400_000;

/// The list. Certificates of all logs expire within the interval, which is that of one shard.
pub fn log_list<'a>(logs: impl Iterator<Item = (&'a Log, &'a LogKey)>, now: Timestamp) -> Vec<u8> {
    let (mut rfc6962, mut tiled) = (Vec::new(), Vec::new());
    for (log, key) in logs {
        let mut row = json!({
            "description": log.name,
            "log_id": STANDARD.encode(key.id),
            "key": STANDARD.encode(&key.public),
            // Seconds in which an entry must be in the tree; it always is at once.
            "mmd": if log.tiled { 60 } else { 86_400 },
            "state": { "usable": { "timestamp": now.plus_millis(-30 * DAY).to_string() } },
            "temporal_interval": {
                "start_inclusive": now.plus_millis(-400 * DAY).to_string(),
                "end_exclusive": now.plus_millis(800 * DAY).to_string(),
            },
        });
        if log.tiled {
            row["monitoring_url"] = Value::from(format!("{}/", log.url));
            row["submission_url"] = Value::from(format!("{}/", log.submission_url));
            tiled.push(row);
        } else {
            row["url"] = Value::from(format!("{}/", log.url));
            rfc6962.push(row);
        }
    }
    let list = json!({
        "version": "1.0",
        "log_list_timestamp": now.to_string(),
        "operators": [{
            "name": "certsieve simulate",
            "email": ["nobody@log.example"],
            "logs": rfc6962,
            "tiled_logs": tiled,
        }],
    });
    list.to_string().into_bytes()
}
