//! `[[canary]]`: a name or an address that must appear in the stream every so often.

use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use crate::document::Keys;
use crate::problem::Report;
use crate::watch::canary::{Canary, MAX_CANARIES};
use crate::watch::name;

use super::{NOTHING_LATER, refill, shown};

const CANARY: &str = "[[canary]]";

/// Every key of the table, for those that stand elsewhere.
pub const KEYS: &[&str] = &["name", "address", "every"];

/// A feed may lag by minutes, and nobody issues more often; a certificate of today lives for 47 days or more.
const EVERY: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(60 * 86_400);
const EVERY_HINT: &str = "it is one minute to 60 days, such as \"26h\"";

/// Every canary that could be read.
pub fn all(keys: &mut Keys<'_, '_>, report: &mut Report<'_>) -> Vec<Canary> {
    let mut canaries: Vec<Canary> = Vec::new();
    for (index, table) in keys.tables(report, "canary", CANARY).into_iter().enumerate() {
        let place = table.place();
        if index == MAX_CANARIES {
            report.add(place, format!("more than {MAX_CANARIES} canaries"), "a few of each log are enough");
            break;
        }
        let Some(canary) = one(table, report) else { continue };
        if canaries.iter().any(|other| other.name == canary.name) {
            let message = format!("two canaries are {}", shown(&canary.name));
            report.add(place, message, "records and metrics tell canaries apart by name or address");
        }
        canaries.push(canary);
    }
    canaries
}

fn one(mut keys: Keys<'_, '_>, report: &mut Report<'_>) -> Option<Canary> {
    let name = keys.text(report, "name").map(|name| (name.get_ref().to_string(), name.span()));
    let address = keys.text(report, "address").map(|address| (address.get_ref().to_string(), address.span()));
    let every = refill::time(&mut keys, report, "every", &EVERY, EVERY_HINT);
    if !keys.has("every") {
        report.missing(keys.place(), "a canary without every", "write every = \"26h\"");
    }
    let (has_name, has_address) = (keys.has("name"), keys.has("address"));
    if has_name == has_address {
        let what =
            if has_name { "a canary with name and address" } else { "a canary without name or address" };
        report.missing(keys.place(), what, "write name = \"…\" or address = \"…\"");
    }
    keys.finish(report, NOTHING_LATER, &[]);
    // What is missing was told: the canary stands for it until the report is given.
    let every = every.unwrap_or(*EVERY.end());
    match (name, address) {
        (Some((text, place)), None) => named(&text, place, every, report),
        (None, Some((text, place))) => match text.trim().parse::<IpAddr>() {
            Ok(address) => Some(Canary::of_address(address, every)),
            Err(_) => {
                let hint = "write one address, such as \"192.0.2.1\"; a name stands in name";
                report.add(place, format!("address `{}` is no address", shown(&text)), hint);
                None
            }
        },
        _ => None,
    }
}

/// A public suffix is a name as well: nobody has to own a canary.
fn named(text: &str, place: Range<usize>, every: Duration, report: &mut Report<'_>) -> Option<Canary> {
    if text.contains('*') {
        let hint = "write the whole name that a certificate will have";
        report.add(place, format!("the canary `{}` has a wildcard", shown(text)), hint);
        return None;
    }
    match name::parse_any(text) {
        Ok(name) => Some(Canary::of_name(&name, every)),
        Err(error @ (name::NameError::Address(_) | name::NameError::Network(_))) => {
            report.add(place, error.to_string(), "a single address stands in address");
            None
        }
        Err(error) => {
            report.add(place, error.to_string(), error.hint());
            None
        }
    }
}
