//! What is wrong with the files an operator wrote: each mistake with its file, line and a hint.
//!
//! A [`Report`] collects the mistakes of one text while it is read; [`Problems`] holds those of every
//! text, in the order of their lines, and renders them with the line they are about. Reading the
//! files, and deciding what is a mistake, is left to `config` and `watch::list`.
//!
//! Bounds: [`PER_FILE`] mistakes of one file and [`IN_ALL`] of all are kept, the rest are counted, so
//! that a wrong file of a million lines costs neither memory nor a screen. A text that may hold
//! secrets is `private`: of its lines only what stands before the first `=` is ever shown.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

/// More of one file help nobody: they have one cause.
pub const PER_FILE: usize = 100;

/// Of all files together; a list may name many bulk lists.
pub const IN_ALL: usize = 1_000;

/// Longer lines are named by number and column, not shown.
const LINE_SHOWN: usize = 160;

/// Every mistake that was found. Never empty where it is an error.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Problems {
    problems: Vec<Problem>,
    left_out: Vec<(String, usize)>,
}

impl Problems {
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// How many there are, those left out included.
    pub fn len(&self) -> usize {
        self.problems.len() + self.left_out.iter().map(|(_, count)| count).sum::<usize>()
    }

    /// Those that were kept.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.problems.iter()
    }

    pub fn push(&mut self, problem: Problem) {
        if self.problems.len() < IN_ALL {
            self.problems.push(problem);
        } else {
            self.leave_out(problem.file, 1);
        }
    }

    pub fn append(&mut self, other: Problems) {
        other.problems.into_iter().for_each(|problem| self.push(problem));
        other.left_out.into_iter().for_each(|(file, count)| self.leave_out(file, count));
    }

    /// As an operator reads them, with the lines they are about; `color` for a terminal.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&problem.render(&renderer));
            text.push_str("\n\n");
        }
        for (file, count) in &self.left_out {
            text.push_str(&format!("{file}: {count} more\n\n"));
        }
        text.push_str(&match self.len() {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        });
        text
    }

    fn leave_out(&mut self, file: String, count: usize) {
        match self.left_out.iter_mut().find(|(known, _)| *known == file) {
            Some((_, sum)) => *sum += count,
            None => self.left_out.push((file, count)),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems { problems: vec![problem], left_out: Vec::new() }
    }
}

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// A path, or `environment variable NAME`.
    pub file: String,
    /// From 1; `None` for a file as a whole.
    pub line: Option<usize>,
    /// In characters, from 1.
    pub column: Option<usize>,
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    excerpt: Option<Excerpt>,
}

/// The line it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Excerpt {
    text: String,
    marked: Range<usize>,
}

impl Problem {
    /// About a file as a whole.
    pub fn of_file(file: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Problem {
        let (file, message, hint) = (file.into(), message.into(), hint.into());
        Problem { file, line: None, column: None, message, hint, excerpt: None }
    }

    fn render(&self, renderer: &Renderer) -> String {
        let title = Level::ERROR.primary_title(&self.message);
        let mut group = match &self.excerpt {
            Some(excerpt) => title.element(
                Snippet::source(&excerpt.text)
                    .line_start(self.line.unwrap_or(1))
                    .path(&self.file)
                    .annotation(AnnotationKind::Primary.span(excerpt.marked.clone())),
            ),
            None => {
                let mut origin = Origin::path(&self.file);
                if let Some(line) = self.line {
                    origin = origin.line(line);
                }
                if let Some(column) = self.column {
                    origin = origin.char_column(column);
                }
                title.element(origin)
            }
        };
        if !self.hint.is_empty() {
            group = group.element(Level::HELP.message(&self.hint));
        }
        renderer.render(&[group])
    }
}

/// The mistakes of one text, while it is read. Places are byte ranges of the text; a place behind its
/// end is one of the environment variables that were laid over it.
pub struct Report<'t> {
    file: String,
    text: &'t str,
    private: bool,
    variables: Vec<String>,
    found: Vec<(usize, Problem)>,
    left_out: usize,
    /// Lines that are no TOML.
    unreadable: Vec<Range<usize>>,
    /// Whether something may stand there that was not read.
    incomplete: bool,
}

impl<'t> Report<'t> {
    /// For a text without secrets.
    pub fn new(file: impl Into<String>, text: &'t str) -> Report<'t> {
        Report {
            file: file.into(),
            text,
            private: false,
            variables: Vec::new(),
            found: Vec::new(),
            left_out: 0,
            unreadable: Vec::new(),
            incomplete: false,
        }
    }

    /// For a text whose values are never shown.
    pub fn private(file: impl Into<String>, text: &'t str) -> Report<'t> {
        Report { private: true, ..Report::new(file, text) }
    }

    pub fn text(&self) -> &'t str {
        self.text
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    /// The place that stands for an environment variable.
    pub fn variable(&mut self, name: &str) -> Range<usize> {
        let place = self.text.len() + 1 + self.variables.len();
        self.variables.push(name.to_owned());
        place..place
    }

    /// Whether a value came from an environment variable: then it is text, whatever its key holds.
    pub fn is_variable(&self, place: &Range<usize>) -> bool {
        place.start > self.text.len()
    }

    /// Notes a mistake. What stands on a line that is no TOML is not judged a second time.
    pub fn add(&mut self, place: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        if self.unreadable.iter().any(|line| line.contains(&place.start)) {
            return;
        }
        self.keep(place, message.into(), hint.into(), true);
    }

    /// How many mistakes were noted so far.
    pub fn count(&self) -> usize {
        self.found.len() + self.left_out
    }

    /// Says that the text is not all there: from now on nothing is noted as missing.
    pub fn incomplete(&mut self) {
        self.incomplete = true;
    }

    /// Notes that a key is missing, unless it may stand where the text could not be read.
    pub fn missing(&mut self, place: Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        if !self.incomplete {
            self.add(place, message, hint);
        }
    }

    /// Notes that the text is no TOML here. A private line is not shown: nobody knows what on it is a
    /// value.
    pub fn syntax(&mut self, place: Range<usize>, message: impl Into<String>) {
        self.incomplete();
        let line = line_around(self.text, place.start);
        if self.unreadable.contains(&line) {
            return;
        }
        // Bounded, as it is searched for each mistake.
        if self.unreadable.len() < PER_FILE {
            self.unreadable.push(line);
        }
        let hint = "text stands in quotes, a list in [ ], a table's name on a line of its own";
        self.keep(place, message.into(), hint.to_owned(), !self.private);
    }

    /// Hands over what was found, in the order of the lines.
    pub fn finish(mut self, problems: &mut Problems) {
        self.found.sort_by_key(|(place, _)| *place);
        self.found.into_iter().for_each(|(_, problem)| problems.push(problem));
        if self.left_out > 0 {
            problems.leave_out(self.file, self.left_out);
        }
    }

    fn keep(&mut self, place: Range<usize>, message: String, hint: String, shown: bool) {
        if self.found.len() >= PER_FILE {
            self.left_out += 1;
            return;
        }
        if self.is_variable(&place) {
            let name = &self.variables[place.start - self.text.len() - 1];
            let problem = Problem::of_file(format!("environment variable {name}"), message, hint);
            self.found.push((place.start, problem));
            return;
        }
        let line = line_around(self.text, place.start);
        let before = &self.text.as_bytes()[..line.start];
        let problem = Problem {
            file: self.file.clone(),
            line: Some(memchr::memchr_iter(b'\n', before).count() + 1),
            column: Some(
                self.text[line.start..]
                    .char_indices()
                    .take_while(|(at, _)| line.start + at < place.start)
                    .count()
                    + 1,
            ),
            message,
            hint,
            excerpt: if shown { self.excerpt(line, &place) } else { None },
        };
        self.found.push((place.start, problem));
    }

    fn excerpt(&self, line: Range<usize>, place: &Range<usize>) -> Option<Excerpt> {
        let mut text = self.text[line.clone()].trim_end_matches('\r').to_owned();
        let mut marked = place.start - line.start..place.end.min(line.end).max(place.start) - line.start;
        if self.private {
            // An element of a list that goes over several lines has no key on its own line.
            let cut = text.find('=').or_else(|| text.trim_start().starts_with('[').then_some(text.len()))?;
            if cut < text.len() {
                let value = text[cut + 1..].len() - text[cut + 1..].trim_start().len() + cut + 1;
                text.truncate(value);
                text.push('…');
                if marked.start > cut {
                    marked = value..text.len();
                }
            }
        }
        marked.end = marked.end.min(text.len());
        (text.len() <= LINE_SHOWN && marked.start <= marked.end).then_some(Excerpt { text, marked })
    }
}

/// The line, without its end, on which a byte stands.
fn line_around(text: &str, at: usize) -> Range<usize> {
    let at = at.min(text.len());
    let start = memchr::memrchr(b'\n', &text.as_bytes()[..at]).map_or(0, |newline| newline + 1);
    let end = memchr::memchr(b'\n', &text.as_bytes()[at..]).map_or(text.len(), |newline| at + newline);
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(private: bool, text: &str, mistakes: &[(Range<usize>, &str)], expected: &str) {
        let mut report = if private { Report::private("f.toml", text) } else { Report::new("f.toml", text) };
        for (place, message) in mistakes {
            report.add(place.clone(), *message, "");
        }
        let mut problems = Problems::default();
        report.finish(&mut problems);
        assert_eq!(problems.render(false), expected);
    }

    #[test]
    fn a_mistake_shows_its_line() {
        check(
            false,
            "a = 1\nbe = 2\n",
            &[(6..8, "second"), (0..1, "first")],
            "error: first\n --> f.toml:1:1\n  |\n1 | a = 1\n  | ^\n\nerror: second\n --> f.toml:2:1\n  |\n2 | be = 2\n  | ^^\n\n2 problems",
        );
    }

    #[test]
    fn a_private_line_shows_no_value() {
        let text = "key = \"hunter2\" # hunter2\n  \"hunter2\",\n[a]\n";
        check(
            true,
            text,
            &[(0..3, "key"), (6..15, "value"), (28..37, "element"), (39..42, "table")],
            "error: key\n --> f.toml:1:1\n  |\n1 | key = …\n  | ^^^\n\nerror: value\n --> f.toml:1:7\n  |\n1 | key = …\n  |       ^\n\n\
             error: element\n--> f.toml:2:3\n\nerror: table\n --> f.toml:3:1\n  |\n3 | [a]\n  | ^^^\n\n4 problems",
        );
    }

    #[test]
    fn a_hundred_of_one_file_are_kept_and_the_rest_counted() {
        let text = "x\n".repeat(150);
        let mut report = Report::new("f", &text);
        (0..150).for_each(|line| report.add(line * 2..line * 2 + 1, "bad", "hint"));
        let mut problems = Problems::default();
        report.finish(&mut problems);
        assert_eq!((problems.iter().count(), problems.len()), (PER_FILE, 150));
        assert!(problems.to_string().ends_with("f: 50 more\n\n150 problems"), "{problems}");
    }

    #[test]
    fn a_place_on_an_unreadable_line_is_judged_once() {
        let text = "a = \"x\nb = 1\n";
        let mut report = Report::new("f", text);
        report.syntax(4..6, "no end of text");
        report.syntax(5..6, "and again");
        report.add(0..1, "follows from it", "");
        report.missing(0..1, "may stand there", "");
        report.add(7..8, "another", "");
        let mut problems = Problems::default();
        report.finish(&mut problems);
        let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(messages, ["no end of text", "another"]);
    }
}
