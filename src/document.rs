//! A TOML file that an operator wrote, read key by key, so that every mistake is found and not only
//! the first.
//!
//! [`Keys`] lends the values of one table by name, notes a wrong type in the [`Report`], and at the
//! end names each key that nobody asked for: as one of a later version, as a slip of the pen of a
//! known one, or as unknown. What values mean is left to those who ask.
//!
//! Nothing is copied: values borrow the text. Depth is bounded by the parser.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::problem::Report;

/// A key that is part of the contract but not of this version.
pub type Later = &'static str;

/// Parses the text of a report. What is no TOML is noted there; what could be read is returned.
pub fn parse<'t>(report: &mut Report<'t>) -> Spanned<DeTable<'t>> {
    let (table, errors) = DeTable::parse_recoverable(report.text());
    for error in errors {
        let end = report.text().len();
        report.syntax(error.span().unwrap_or(end..end), format!("this is no TOML: {}", error.message()));
    }
    table
}

/// The keys of one table.
pub struct Keys<'d, 't> {
    table: &'d DeTable<'t>,
    place: Range<usize>,
    /// How messages call the table: `[kafka]`, `[[asset]]`.
    title: &'static str,
    asked: Vec<&'static str>,
}

impl<'d, 't> Keys<'d, 't> {
    pub fn new(table: &'d DeTable<'t>, place: Range<usize>, title: &'static str) -> Keys<'d, 't> {
        Keys { table, place, title, asked: Vec::new() }
    }

    /// Where the table begins.
    pub fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    /// Where a key stands; the table where it is missing.
    pub fn place_of(&self, key: &str) -> Range<usize> {
        self.table
            .iter()
            .find(|(name, _)| name.get_ref() == key)
            .map_or(self.place(), |(name, _)| name.span())
    }

    /// Whether a key stands there, of whatever type.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub fn value(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'t>>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table.get(key)
    }

    /// Text.
    pub fn text(&mut self, report: &mut Report<'_>, key: &'static str) -> Option<Spanned<&'d str>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Spanned::new(value.span(), text.as_ref())),
            other => {
                wrong_type(report, value.span(), key, "text in quotes", other);
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, report: &mut Report<'_>, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(boolean) => return Some(*boolean),
            DeValue::String(text) if report.is_variable(&value.span()) => match text.as_ref() {
                "true" => return Some(true),
                "false" => return Some(false),
                _ => report.add(
                    value.span(),
                    format!("{key} is neither true nor false"),
                    "write true or false",
                ),
            },
            other => wrong_type(report, value.span(), key, "true or false", other),
        }
        None
    }

    /// A whole number that is not negative.
    pub fn number(&mut self, report: &mut Report<'_>, key: &'static str) -> Option<Spanned<u64>> {
        let value = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            DeValue::String(text) if report.is_variable(&value.span()) => text.parse().ok(),
            other => {
                wrong_type(report, value.span(), key, "a whole number", other);
                return None;
            }
        };
        if number.is_none() {
            report.add(
                value.span(),
                format!("{key} is no whole number, or is negative or too large"),
                "write digits",
            );
        }
        number.map(|number| Spanned::new(value.span(), number))
    }

    /// Text, or a list of texts; each is handed over with its place. Returns how many stand there, those
    /// of a wrong type included; `None` without the key.
    pub fn each_text(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        mut take: impl FnMut(&mut Report<'_>, &'d str, Range<usize>),
    ) -> Option<usize> {
        let value = self.value(key)?;
        let count = value.get_ref().as_array().map_or(1, |list| list.len());
        match value.get_ref() {
            DeValue::String(text) if report.is_variable(&value.span()) && text.trim().starts_with('[') => {
                let hint = "write one,two: in a variable a list has commas, and neither brackets nor quotes";
                report.add(value.span(), format!("{key} is a list in brackets"), hint);
            }
            DeValue::String(text) if report.is_variable(&value.span()) => {
                text.split(',').for_each(|part| take(report, part.trim(), value.span()));
            }
            DeValue::String(text) => take(report, text.as_ref(), value.span()),
            DeValue::Array(list) => {
                for element in list {
                    match element.get_ref() {
                        DeValue::String(text) => take(report, text.as_ref(), element.span()),
                        other => wrong_type(report, element.span(), key, "a list of texts", other),
                    }
                }
            }
            other => wrong_type(report, value.span(), key, "text or a list of texts", other),
        }
        Some(count)
    }

    /// A table of its own.
    pub fn table(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        title: &'static str,
    ) -> Option<Keys<'d, 't>> {
        let place = self.place_of(key);
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Keys::new(table, place, title)),
            other => {
                report.add(
                    place,
                    format!("{key} is a table, not {}", kind(other)),
                    format!("write {title} and its keys below it"),
                );
                None
            }
        }
    }

    /// An array of tables.
    pub fn tables(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        title: &'static str,
    ) -> Vec<Keys<'d, 't>> {
        let place = self.place_of(key);
        let Some(value) = self.value(key) else { return Vec::new() };
        let hint = || format!("write {title}, with two brackets, and its keys below it");
        let DeValue::Array(list) = value.get_ref() else {
            report.add(place, format!("{key} is a list of tables, not {}", kind(value.get_ref())), hint());
            return Vec::new();
        };
        let list: &'d DeArray<'t> = list;
        let mut tables = Vec::with_capacity(list.len());
        for element in list {
            match element.get_ref() {
                DeValue::Table(table) => tables.push(Keys::new(table, element.span(), title)),
                other => report.add(
                    element.span(),
                    format!("{key} is a list of tables, not {}", kind(other)),
                    hint(),
                ),
            }
        }
        tables
    }

    /// Every key and value, for tables whose keys the operator chooses.
    pub fn entries(
        &self,
    ) -> impl Iterator<Item = (Spanned<&'d str>, &'d Spanned<DeValue<'t>>)> + use<'d, 't> {
        self.table.iter().map(|(key, value)| (Spanned::new(key.span(), key.get_ref().as_ref()), value))
    }

    /// Names every key that was not asked for. `later` are keys of the contract that this version does
    /// not implement; `elsewhere` are keys of another table, by that table's title.
    pub fn finish(self, report: &mut Report<'_>, later: &[Later], elsewhere: &[(&str, &[&str])]) {
        for (key, _) in self.entries() {
            let (name, title) = (*key.get_ref(), self.title);
            if self.asked.contains(&name) {
                continue;
            }
            let shown: String = name.chars().take(64).collect();
            if later.contains(&name) {
                report.add(
                    key.span(),
                    format!("this version does not implement `{shown}` in {title}"),
                    "remove it: a key that is not obeyed is never ignored",
                );
            } else if let Some((there, _)) = elsewhere.iter().find(|(_, keys)| keys.contains(&name)) {
                report.add(
                    key.span(),
                    format!("`{shown}` is no key of {title}"),
                    format!("it belongs in {there}"),
                );
            } else {
                let hint = match nearest(name, self.asked.iter().chain(later)) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => format!("{title} has {}", listed(&self.asked)),
                };
                report.add(key.span(), format!("unknown key `{shown}` in {title}"), hint);
            }
        }
    }
}

/// Notes a value of the wrong type.
pub fn wrong_type(
    report: &mut Report<'_>,
    place: Range<usize>,
    key: &str,
    wanted: &str,
    found: &DeValue<'_>,
) {
    report.add(place, format!("{key} is {}", kind(found)), format!("it takes {wanted}"));
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// `a, b and c`.
pub fn listed(names: &[&str]) -> String {
    match names {
        [] => "no keys".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The name that was probably meant: at most one edit in three characters away.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a &'a str>) -> Option<&'a str> {
    let limit = name.len().clamp(3, 12) / 3;
    if name.len() > 64 {
        return None;
    }
    known
        .map(|known| (edits(name, known), *known))
        .filter(|(edits, _)| *edits <= limit)
        .min()
        .map(|(_, known)| known)
}

/// Edit distance, an exchange of neighbours being one edit.
fn edits(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        let known = ["policy", "domains", "domains_file", "exact", "id"];
        for (name, expected) in [
            ("polcy", Some("policy")),
            ("ploicy", Some("policy")),
            ("domain", Some("domains")),
            ("domain_file", Some("domains_file")),
            ("di", Some("id")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known.iter()), expected, "{name}");
        }
    }
}
