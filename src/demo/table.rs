//! What a person reads while the demo runs, and at its end.
//!
//! Pure: rows to lines of at most 100 columns. Lines are coloured; whoever prints them does so through
//! `anstream`, which takes the colour out where no terminal is. Texts come from strangers: what could
//! move a cursor or turn the direction of writing is replaced, what is too long is cut with `…`.

use std::fmt::Write;

use owo_colors::{AnsiColors, OwoColorize, Style};

use super::plants::{Expects, Plant, Planting};
use crate::entry::Timestamp;
use crate::record::printable as clean;

/// Widths of the columns of [`alert`]; with a space between each they are 100.
const TIME: usize = 12;
const SEVERITY: usize = 8;
const ASSET: usize = 14;
const WHAT: usize = 21;
const ISSUER: usize = 20;
const REASON: usize = 20;

/// One alert, as far as a person at a terminal wants it.
#[derive(Clone, Copy, Debug)]
pub struct Alert<'a> {
    pub at: Timestamp,
    /// low, medium, high or critical.
    pub severity: &'a str,
    pub asset: &'a str,
    /// The identity that matched.
    pub what: &'a str,
    pub issuer: &'a str,
    pub reason: &'a str,
}

/// The line above the alerts.
pub fn heading() -> String {
    let line = columns(["time", "severity", "asset", "what", "issuer", "reason"].map(String::from));
    line.style(Style::new().bold()).to_string()
}

/// One line for one alert.
pub fn alert(alert: &Alert<'_>) -> String {
    // 2026-11-25T09:30:02.412Z: the day is known to whoever watches.
    let at = alert.at.to_string();
    let time = at.get(11..23).unwrap_or_default();
    let line =
        columns([time, alert.severity, alert.asset, alert.what, alert.issuer, alert.reason].map(clean));
    // Only the severity is coloured, behind the time and its space.
    let (head, rest) = line.split_at(TIME + 1);
    let (severity, tail) = rest.split_at(rest.char_indices().nth(SEVERITY).map_or(rest.len(), |(at, _)| at));
    format!("{head}{}{tail}", severity.style(colour(alert.severity)))
}

fn columns(cells: [String; 6]) -> String {
    let widths = [TIME, SEVERITY, ASSET, WHAT, ISSUER, REASON];
    let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| fit(cell, width)).collect();
    padded.join(" ").trim_end().to_string()
}

fn colour(severity: &str) -> Style {
    match severity {
        "critical" => Style::new().bold().color(AnsiColors::BrightRed),
        "high" => Style::new().color(AnsiColors::Red),
        "medium" => Style::new().color(AnsiColors::Yellow),
        _ => Style::new().color(AnsiColors::Blue),
    }
}

/// What became of one plant so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Caught {
    /// When the first alert that it must raise arrived.
    alert: Option<Timestamp>,
    /// Alerts that it must raise: one is right.
    alerts: u32,
    /// Alerts for another asset or of another severity.
    strange: u32,
    /// Match records.
    matches: u32,
}

impl Caught {
    /// An alert record of the plant arrived.
    pub fn alerted(&mut self, plant: &Plant, asset: &str, severity: &str, at: Timestamp) {
        match plant.expects {
            Expects::Alert { asset: a, severity: s } if (a, s) != (asset, severity) => self.strange += 1,
            _ => {
                self.alert.get_or_insert(at);
                self.alerts += 1;
            }
        }
    }

    /// A match record of the plant arrived.
    pub fn matched(&mut self) {
        self.matches += 1;
    }
}

/// Widths of the closing table.
const PLANT: usize = 16;
const DESCRIPTION: usize = 58;
const OUTCOME: usize = 24;

/// The closing table: what was planted, what was caught, how soon; and the sum in words. True where
/// everything that was shown became what it must.
pub fn closing<'a>(rows: impl IntoIterator<Item = (&'a Planting, Caught)>) -> (String, bool) {
    let mut out = String::new();
    let head = [fit("planted", PLANT), fit("what it is", DESCRIPTION), "caught".to_string()].join(" ");
    let _ = writeln!(out, "{}", head.style(Style::new().bold()));
    let (mut shown, mut right, mut slowest) = (0, 0, 0);
    let mut planted = 0;
    for (planting, caught) in rows {
        planted += 1;
        let outcome = outcome(planting, caught);
        if let Outcome::Right { after, .. } = outcome {
            right += 1;
            slowest = slowest.max(after.unwrap_or(0));
        }
        shown += u32::from(outcome != Outcome::NotShown);
        let plant = planting.plant;
        let _ = writeln!(
            out,
            "{} {} {}",
            fit(plant.id, PLANT),
            fit(plant.description, DESCRIPTION),
            fit(&outcome.words(), OUTCOME).trim_end().style(outcome.style())
        );
    }
    let hidden = planted - shown;
    let all = shown == right;
    let _ = writeln!(
        out,
        "{} of {shown} as it should be; slowest alert after {}{}",
        right,
        seconds(slowest),
        if hidden > 0 { format!("; {hidden} were not shown yet") } else { String::new() }
    );
    out.push_str(
        "The twelve of 1.1.1.1: names and serials of three are documented, nine are invented in their style;\n\
         all are look-alikes, signed by a key of the demo.\n",
    );
    (out, all)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    NotShown,
    /// `after` in milliseconds where it is an alert.
    Right {
        after: Option<i64>,
        words: &'static str,
    },
    Wrong(&'static str),
}

fn outcome(planting: &Planting, caught: Caught) -> Outcome {
    let Some(shown) = planting.shown() else { return Outcome::NotShown };
    match (planting.plant.expects, caught.alerts) {
        _ if caught.strange > 0 => Outcome::Wrong("other asset or severity"),
        (Expects::Alert { .. }, 1) => {
            let after = caught.alert.map_or(0, |at| at.millis_since(shown).max(0));
            Outcome::Right { after: Some(after), words: "alert" }
        }
        (Expects::Alert { .. }, 0) => Outcome::Wrong("missed"),
        (Expects::Alert { .. }, _) => Outcome::Wrong("more than one alert"),
        (Expects::Expected { .. } | Expects::Silence, 1..) => Outcome::Wrong("false alarm"),
        (Expects::Expected { .. }, 0) if caught.matches == 0 => Outcome::Wrong("no match record"),
        (Expects::Expected { .. }, 0) => Outcome::Right { after: None, words: "expected, no alert" },
        (Expects::Silence, 0) if caught.matches > 0 => Outcome::Wrong("matched"),
        (Expects::Silence, 0) => Outcome::Right { after: None, words: "silent" },
    }
}

impl Outcome {
    fn words(self) -> String {
        match self {
            Outcome::NotShown => "not shown yet".into(),
            Outcome::Right { after: Some(after), words } => format!("{words} after {}", seconds(after)),
            Outcome::Right { after: None, words } => words.into(),
            Outcome::Wrong(words) => words.to_uppercase(),
        }
    }

    fn style(self) -> Style {
        match self {
            Outcome::NotShown => Style::new().dimmed(),
            Outcome::Right { .. } => Style::new().color(AnsiColors::Green),
            Outcome::Wrong(_) => Style::new().bold().color(AnsiColors::BrightRed),
        }
    }
}

fn seconds(ms: i64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{}.{:02} s", ms / 1000, ms % 1000 / 10) }
}

/// Cut or padded to `width` characters.
fn fit(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return format!("{text}{}", " ".repeat(width - length));
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;
    use crate::demo::plants::{PLANTS, Plantings};

    const AT: Timestamp = Timestamp(1_795_599_002_412);

    #[test]
    fn alerts_stand_in_columns() {
        let row = |severity, what, issuer, reason| {
            let alert = alert(&Alert { at: AT, severity, asset: "resolver", what, issuer, reason });
            strip_str(&alert).to_string()
        };
        assert_eq!(
            [
                strip_str(&heading()).to_string(),
                row(
                    "critical",
                    "1.1.1.1",
                    "Fina RDC 2020",
                    "issuer Financijska agencija is not one that resolver expects"
                ),
                row("low", "2606:4700:4700::1111", "Ancre Numérique TLS 3", "short"),
                row("high", "a\u{1b}[31mb\u{202e}c", "x", "y"),
            ],
            [
                "time         severity asset          what                  issuer               reason",
                "09:30:02.412 critical resolver       1.1.1.1               Fina RDC 2020        issuer Financijska …",
                "09:30:02.412 low      resolver       2606:4700:4700::1111  Ancre Numérique TLS… short",
                "09:30:02.412 high     resolver       a\u{fffd}[31mb\u{fffd}c             x                    y",
            ]
        );
        let coloured =
            alert(&Alert { at: AT, severity: "high", asset: "a", what: "b", issuer: "c", reason: "d" });
        assert!(coloured.contains("\u{1b}[31m"), "{coloured:?}");
    }

    #[test]
    fn no_line_is_wider_than_a_hundred_columns() {
        let long = "é".repeat(500);
        let line = alert(&Alert {
            at: AT,
            severity: &long,
            asset: &long,
            what: &long,
            issuer: &long,
            reason: &long,
        });
        assert_eq!(strip_str(&line).to_string().chars().count(), 100);
        let plantings = Plantings::new();
        let (text, _) = closing(plantings.iter().map(|planting| (planting, Caught::default())));
        for line in strip_str(&text).to_string().lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        for plant in &PLANTS {
            assert!(plant.id.len() <= PLANT, "{}", plant.id);
            assert!(plant.description.len() <= DESCRIPTION, "{}", plant.description);
        }
    }

    #[test]
    fn closing_says_what_became_of_each() {
        let index = |id: &str| PLANTS.iter().position(|plant| plant.id == id).unwrap();
        let resolver = ("resolver", "critical");
        for (id, shown, alerts, matches, want, good) in [
            ("fina-1", true, vec![resolver], 2, "alert after 1.23 s", true),
            ("fina-2", true, vec![resolver], 2, "alert after 30 ms", true),
            ("fina-1", true, vec![], 2, "MISSED", false),
            ("fina-1", true, vec![resolver, resolver], 2, "MORE THAN ONE ALERT", false),
            ("fina-1", true, vec![("resolver", "high")], 2, "OTHER ASSET OR SEVERITY", false),
            ("fina-1", true, vec![resolver, ("shop", "critical")], 2, "OTHER ASSET OR SEVERITY", false),
            ("fina-1", false, vec![], 0, "not shown yet", true),
            ("shop-renewal", true, vec![], 2, "expected, no alert", true),
            ("shop-renewal", true, vec![], 0, "NO MATCH RECORD", false),
            ("shop-renewal", true, vec![("shop", "high")], 2, "FALSE ALARM", false),
            ("near-misses", true, vec![], 0, "silent", true),
            ("near-misses", true, vec![], 1, "MATCHED", false),
        ] {
            let mut caught = Caught::default();
            for (asset, severity) in alerts {
                let after = if id == "fina-2" { 30 } else { 1_230 };
                caught.alerted(&PLANTS[index(id)], asset, severity, AT.plus_millis(after));
            }
            (0..matches).for_each(|_| caught.matched());
            let plantings = Plantings::new();
            if shown {
                plantings.show(index(id), AT);
            }
            let planting = plantings.iter().nth(index(id)).unwrap();
            let (text, all) = closing([(planting, caught)]);
            let text = strip_str(&text).to_string();
            let line = text.lines().nth(1).unwrap();
            assert!(line.starts_with(id) && line.ends_with(want), "{line}");
            assert_eq!(all, good, "{text}");
        }
    }
}
