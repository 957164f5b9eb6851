//! The check of a record's headers is itself checked: it lets a right record pass and names what is wrong
//! with each of the others, also where the SDK alone would make something up.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::python;

fn record() -> Value {
    json!({
        "topic": "certsieve.alert.v1", "partition": 0, "offset": 7, "timestamp": 1_764_063_002_412_i64,
        "key": "7f3c1d9a:d3167e",
        "headers": [
            ["ce_specversion", "1.0"],
            ["ce_id", "2d39ba4b-2e06-5ed1-b27a-65c9af5cfb6f"],
            ["ce_type", "certsieve.alert.raised.v1"],
            ["ce_source", "urn:certsieve:certsieve"],
            ["ce_subject", "resolver"],
            ["ce_time", "2026-11-25T09:30:02.412Z"],
            ["ce_dataschema", "urn:certsieve:schema:alert:1"],
            ["ce_severity", "critical"],
            ["content-type", "application/json"],
        ],
        "value": "{\"message\":\"m\u{fc}nchen\"}",
    })
}

/// Runs the check on one record, changed by `change`; gives whether it passed, and what was said.
fn check(change: impl FnOnce(&mut Value)) -> (bool, String) {
    let mut record = record();
    change(&mut record);
    let mut check = python("cloudevents_check.py")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(check.stdin.take().unwrap(), "{record}").unwrap();
    let output = check.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_right_record_passes() {
    assert_eq!(check(|_| {}), (true, String::new()));
}

#[test]
fn what_is_wrong_is_named() {
    fn headers(record: &mut Value) -> &mut Vec<Value> {
        record["headers"].as_array_mut().unwrap()
    }
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 8] = [
        ("header ce_id is missing", |r| drop(headers(r).remove(1))),
        ("attribute id stands in no header", |r| drop(headers(r).remove(1))),
        ("header odd is no attribute", |r| headers(r).push(json!(["odd", "1"]))),
        ("a header stands twice", |r| headers(r).push(json!(["ce_subject", "shop"]))),
        ("the SDK refuses it", |r| headers(r)[5] = json!(["ce_time", "yesterday"])),
        ("ce_specversion is '0.3'", |r| headers(r)[0] = json!(["ce_specversion", "0.3"])),
        ("not JSON", |r| r["value"] = json!("{")),
        ("is null", |r| r["value"] = Value::Null),
    ];
    for (expected, change) in cases {
        let (passed, said) = check(change);
        assert!(!passed && said.contains(expected), "{expected}: {passed} {said}");
    }
}
