//! An explanation for people: a heading, and below it rows of a label and what it says.
//!
//! Pure: text with colour, which whoever prints it does through `anstream`. Texts come from strangers and
//! are made printable; of long lists the first are shown and the rest is counted.

use std::fmt::Write;

use owo_colors::{AnsiColors, OwoColorize, Style};

use super::explanation::{Explanation, Identified, Judged, Key, Table};
use crate::record::printable;
use crate::watch::list::WHOLE_LIST;

/// Rows of one label; `--json` has them all.
const MAX_ROWS: usize = 25;
/// Expected or seen values of one key.
const MAX_VALUES: usize = 3;
/// The column of labels.
const LABEL: usize = 12;

/// `listed`: there is a watch list. `whole`: the records are shown whole.
pub fn of(explanation: &Explanation, listed: bool, whole: bool) -> String {
    let mut out = String::new();
    let place = explanation.place.as_ref().map(|place| format!(", {place}")).unwrap_or_default();
    let heading = format!("{}{place}", printable(&explanation.input));
    let _ = writeln!(out, "{}", heading.style(Style::new().bold()));
    if let Some(note) = &explanation.note {
        rows(&mut out, "note", [note.clone()]);
    }
    if let Some(malformed) = &explanation.malformed {
        rows(&mut out, "malformed", [format!("{}: {}", malformed.reason, malformed.message)]);
    }
    if let Some(certificate) = &explanation.certificate {
        let serial = certificate.serial.as_deref().unwrap_or("none");
        let issuer = match certificate.issuer.as_str() {
            "" => "an issuer that is not named",
            issuer => issuer,
        };
        rows(&mut out, certificate.entry, [format!("serial {serial}"), format!("issued by {issuer}")]);
        if let (Some(from), Some(to)) = (&certificate.not_before, &certificate.not_after) {
            rows(&mut out, "", [format!("valid from {from} to {to}")]);
        }
        if let Some(id) = &certificate.issuer_key_id {
            rows(&mut out, "", [format!("issuer key id {id}")]);
        }
        if let Some(key) = &certificate.spki_sha256 {
            rows(&mut out, "", [format!("key of SHA-256 {key}")]);
        }
        if let (Some(log), Some(index)) = (&certificate.log, certificate.index) {
            rows(&mut out, "", [format!("logged in {log} at index {index}")]);
        }
    }
    match explanation.identities.as_slice() {
        [] => rows(&mut out, "identities", ["none".to_owned()]),
        some => {
            let width = some.iter().map(|i| i.value.chars().count()).max().unwrap_or(0).min(40);
            rows(&mut out, "identities", some.iter().map(|i| identified(i, width)));
        }
    }
    rows(&mut out, "anomalies", explanation.anomalies.iter().map(|a| (*a).to_owned()));
    if !listed {
        return out;
    }
    match explanation.matches.as_slice() {
        [] => rows(&mut out, "matches", ["nothing".to_owned()]),
        some => rows(
            &mut out,
            "matches",
            some.iter().map(|m| format!("{}: {} by {} {}", named(&m.asset), m.identity, m.kind, m.pattern)),
        ),
    }
    rows(
        &mut out,
        "nearly",
        explanation.near.iter().map(|n| {
            format!("{}: {} not by {} {}: {}", named(&n.asset), n.identity, n.kind, n.pattern, n.why)
        }),
    );
    rows(
        &mut out,
        "policy",
        explanation.policies.iter().map(|p| format!("{}, {}: {}", named(&p.asset), p.policy, p.asks)),
    );
    for verdict in &explanation.verdicts {
        judged(&mut out, verdict);
    }
    let records = explanation.records.iter();
    rows(&mut out, "records", records.map(|r| format!("{} {}", r.topic, r.id)));
    if whole {
        for value in explanation.records.iter().filter_map(|record| record.value.as_ref()) {
            let _ = writeln!(out, "{}", lines_printable(&format!("{value:#}")));
        }
    }
    out
}

/// An asset's id; what stands for all of them, in words.
fn named(asset: &str) -> &str {
    if asset == WHOLE_LIST { "the whole list" } else { asset }
}

/// The label stands before the first row only.
fn rows(out: &mut String, label: &str, rows: impl IntoIterator<Item = String>) {
    let mut label = label;
    let mut more = 0;
    for (count, row) in rows.into_iter().enumerate() {
        if count >= MAX_ROWS {
            more += 1;
            continue;
        }
        let _ =
            writeln!(out, "  {} {}", format!("{label:LABEL$}").style(Style::new().dimmed()), printable(&row));
        label = "";
    }
    if more > 0 {
        let _ = writeln!(out, "  {:LABEL$} and {more} more", "");
    }
}

fn identified(identity: &Identified, width: usize) -> String {
    let Identified { value, raw, source, anomalies, .. } = identity;
    let mut row = format!("{value:width$}  {source}");
    if raw != value {
        let _ = write!(row, ", written {raw:?}");
    }
    if !anomalies.is_empty() {
        let _ = write!(row, ", {}", anomalies.join(", "));
    }
    row
}

fn judged(out: &mut String, verdict: &Judged) {
    let Judged { asset, verdict: ruling, rule, severity, reasons, expect, .. } = verdict;
    let style = match (*ruling, *severity) {
        ("expected", _) => Style::new().color(AnsiColors::Green),
        (_, Some("critical")) => Style::new().bold().color(AnsiColors::BrightRed),
        (_, Some("high")) => Style::new().color(AnsiColors::Red),
        (_, Some("medium")) => Style::new().color(AnsiColors::Yellow),
        _ => Style::new().color(AnsiColors::Blue),
    };
    let mut said = (*ruling).to_owned();
    if let (Some(rule), Some(severity)) = (rule, severity) {
        let _ = write!(said, " ({severity}), rule {rule}");
    }
    let label = format!("{:LABEL$}", "verdict");
    let _ =
        writeln!(out, "  {} {}: {}", label.style(Style::new().dimmed()), printable(asset), said.style(style));
    rows(out, "", reasons.iter().map(|reason| format!("- {reason}")));
    rows(out, "", expect.iter().enumerate().map(|(i, table)| format!("expect {}: {}", i + 1, fares(table))));
}

/// How one `[[asset.expect]]` fares, in one line.
fn fares(table: &Table) -> String {
    let failing: Vec<&Key> = table.keys.iter().filter(|key| key.holds != Some(true)).collect();
    let mut parts: Vec<String> = failing.iter().map(|key| fails(key)).collect();
    if let (Some(scope), false) = (&table.scope, table.outside.is_empty()) {
        parts.push(format!("is for {scope}, and not for {}", quoted(&table.outside, " or ")));
    }
    match (parts.len(), table.keys.len()) {
        (0, _) => {
            let keys: Vec<&str> = table.keys.iter().map(|key| key.key).collect();
            format!("holds ({})", keys.join(", "))
        }
        (1, keys) if keys > 1 && failing.len() == 1 => format!("fails on one key only: {}", parts.join("; ")),
        _ => parts.join("; "),
    }
}

fn fails(key: &Key) -> String {
    let expected = quoted(&key.expected, " or ");
    match (key.holds, key.seen.is_empty()) {
        (None, _) => format!("{} is {expected}, and this does not say it", key.key),
        (_, true) => format!("{} is {expected}, and there is none", key.key),
        _ => {
            let seen = quoted(&key.seen, ", ");
            let alike = if key.alike { ", different only in case, white space or punctuation" } else { "" };
            format!("{} is {expected}, not {seen}{alike}", key.key)
        }
    }
}

fn quoted(values: &[String], between: &str) -> String {
    let mut shown: Vec<String> = values.iter().take(MAX_VALUES).map(|value| format!("{value:?}")).collect();
    if values.len() > MAX_VALUES {
        shown.push(format!("{} more", values.len() - MAX_VALUES));
    }
    shown.join(between)
}

fn lines_printable(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}
