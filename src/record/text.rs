//! Text as a record may hold it: no control characters, and not longer than its field allows.

/// Each of U+0000 to U+001F and U+007F as backslash, x and two digits: rsyslog, Splunk and terminals
/// each stumble over some of them.
pub fn clean(text: &str) -> String {
    if !text.chars().any(is_control) {
        return text.to_owned();
    }
    let mut cleaned = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_control(c) {
            true => cleaned.push_str(&format!("\\x{:02x}", u32::from(c))),
            false => cleaned.push(c),
        }
    }
    cleaned
}

fn is_control(c: char) -> bool {
    c < '\u{20}' || c == '\u{7f}'
}

/// For a terminal: what could move its cursor or turn the direction of writing is replaced.
pub fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// Cleaned, and cut to at most `max` bytes, the last three of which then say so.
pub fn cut(text: &str, max: usize) -> String {
    fitted(text, max).unwrap_or_else(|cut| cut)
}

/// Cleaned; `Err` has what is left where it had to be cut as [`cut`] does it.
pub fn fitted(text: &str, max: usize) -> Result<String, String> {
    // A character written out has four bytes: of a long text no more is looked at than can be needed.
    let looked_at = start(text, max.saturating_add(4));
    let cleaned = clean(looked_at);
    if cleaned.len() <= max && looked_at.len() == text.len() {
        return Ok(cleaned);
    }
    let room = max.saturating_sub('…'.len_utf8());
    Err(format!("{}…", start(&cleaned, room)))
}

/// At most so many bytes of a text, whole characters.
pub fn start(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    &text[..end]
}

/// Cuts texts to their fields' lengths, and remembers which it cut: `certsieve.truncated`.
#[derive(Default)]
pub struct Cutter {
    fields: Vec<&'static str>,
}

impl Cutter {
    pub fn cut(&mut self, field: &'static str, text: &str, max: usize) -> String {
        fitted(text, max).unwrap_or_else(|cut| {
            self.note(field);
            cut
        })
    }

    /// Something of the field was left out.
    pub fn note(&mut self, field: &'static str) {
        if !self.fields.contains(&field) {
            self.fields.push(field);
        }
    }

    pub fn into_fields(self) -> Vec<&'static str> {
        self.fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(clean("a\0b\n\x7f\u{80}"), "a\\x00b\\x0a\\x7f\u{80}");
        assert_eq!(clean("plain é"), "plain é");
        assert_eq!(cut("éééé", 7), "éé…");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut(&"\0".repeat(100), 10), "\\x00\\x0…");
    }
}
