//! The ids of records: UUIDv5 over what the record is about, so that two instances, a retry and a
//! replay give one thing one id, and two different things never share one.

use uuid::Uuid;

use crate::entry::{Facts, Identities, Timestamp, Value};
use crate::judge::Rule;

/// UUIDv5 of `urn:certsieve` in the URL namespace.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x0ae7a2cf_5ae2_53e7_8ecc_b3c2d6b0c25c);

fn of(parts: &[&str]) -> Uuid {
    Uuid::new_v5(&NAMESPACE, parts.join("\n").as_bytes())
}

/// Of an alert: issuance, asset, rule, validity and the matched identities. `key` is added where the
/// same alert was raised for another subject key. What could not be decoded, or has nothing to know its
/// issuance by, is known by where it stands.
pub fn alert(facts: &Facts, asset: &str, rule: Rule, matched: &[usize], key: Option<&str>) -> Uuid {
    if (rule == Rule::Suspected && facts.malformed) || facts.has_no_key() {
        let entry = facts.address();
        let mut parts = vec!["alert"];
        parts.extend(entry.iter().map(String::as_str));
        parts.push(asset);
        return of(&parts);
    }
    let time = |time: Option<Timestamp>| time.map(|t| t.to_string()).unwrap_or_default();
    let (not_before, not_after) = (time(facts.not_before), time(facts.not_after));
    let names = identities(&facts.identities, matched);
    let mut parts = vec!["alert", &facts.issuance_key, asset, rule.label(), &not_before, &not_after];
    parts.extend(names.iter().map(String::as_str));
    parts.extend(key);
    of(&parts)
}

/// Of a match: one log entry and asset.
pub fn matched(facts: &Facts, asset: &str) -> Uuid {
    let entry = facts.address();
    let mut parts = vec!["match"];
    parts.extend(entry.iter().map(String::as_str));
    parts.push(asset);
    of(&parts)
}

/// Of what could not be decoded; `entry` as [`Facts::address`] gives it.
pub fn malformed(entry: &[String]) -> Uuid {
    let mut parts = vec!["malformed"];
    parts.extend(entry.iter().map(String::as_str));
    parts.push("-");
    of(&parts)
}

/// Of a health record; `what` is the range or the time.
pub fn health(instance: &str, kind: &str, log: &str, what: &str) -> Uuid {
    of(&["health", instance, kind, log, what])
}

/// `dns:…`, `ip:…`, normalised, sorted, each once.
fn identities(identities: &Identities, which: &[usize]) -> Vec<String> {
    let mut names: Vec<String> = which
        .iter()
        .filter_map(|i| identities.get(*i))
        .map(|identity| match identity.value {
            Value::Name { .. } => format!("dns:{}", identities.value(identity)),
            Value::Address(_) | Value::Network(_) => format!("ip:{}", identities.value(identity)),
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_what_the_contract_says() {
        assert_eq!(Uuid::new_v5(&Uuid::NAMESPACE_URL, b"urn:certsieve"), NAMESPACE);
    }

    #[test]
    fn the_worked_alert_of_the_contract() {
        let key = "7f3c1d9a0b52e4886ad1c0f7e93b5d2468ac0e1f:d3167efd77cad759000000005fc7c672";
        let parts = [
            "alert",
            key,
            "resolver",
            "unexpected-issuer",
            "2026-11-25T08:29:58.000Z",
            "2027-11-25T08:29:58.000Z",
            "ip:1.1.1.1",
        ];
        assert_eq!(of(&parts).to_string(), "2d39ba4b-2e06-5ed1-b27a-65c9af5cfb6f");
    }
}
