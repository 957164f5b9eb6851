//! Keywords: which of them a name contains, all at once.
//!
//! A [`KeywordList`] collects keywords as they are read; [`Keywords`] is one Aho-Corasick automaton
//! over the different ones, with the assets of each. Keywords overlap, and all are found. Keywords
//! and names are folded to lower case before they come here; a keyword in another script is kept in
//! Unicode and found only in a name's Unicode form.
//!
//! Cost: one step of the automaton a byte. Memory: about 150 bytes a keyword; for few keywords up to
//! 8 MB, so that a step is one look into a table.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::entry::name::to_u_labels;

/// Shorter ones are found in names by chance.
pub const SHORTEST: usize = 3;

/// A name has no more.
const LONGEST: usize = 253;

/// Bytes of keywords up to which the automaton is a table: a state a byte, at most 64 classes of
/// bytes, four bytes each. Larger ones are twice as slow, but no longer fit any cache.
const TABLE_BYTES: usize = 32 * 1024;

/// Keywords as they are read.
#[derive(Clone, Default, Debug)]
pub struct KeywordList {
    entries: Vec<(Box<str>, u32)>,
}

impl KeywordList {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    pub fn push(&mut self, keyword: &str, asset: u32) {
        self.entries.push((keyword.into(), asset));
    }
}

/// Keywords, ready to be looked for.
#[derive(Debug)]
pub struct Keywords {
    /// `None` without keywords.
    automaton: Option<AhoCorasick>,
    /// The different ones, in the order of the automaton's patterns.
    texts: Box<[Box<str>]>,
    /// Where each one's assets begin; one more at the end.
    firsts: Box<[u32]>,
    assets: Box<[u32]>,
}

/// The automaton would be too large.
#[derive(Debug, thiserror::Error)]
#[error("{count} keywords are too many for one automaton: {source}")]
pub struct TooManyKeywords {
    count: usize,
    source: aho_corasick::BuildError,
}

impl Keywords {
    pub fn new(list: KeywordList) -> Result<Keywords, TooManyKeywords> {
        let mut entries = list.entries;
        entries.sort_unstable();
        entries.dedup();
        let mut texts: Vec<Box<str>> = Vec::new();
        let (mut firsts, mut assets) = (Vec::new(), Vec::with_capacity(entries.len()));
        for (keyword, asset) in entries {
            if texts.last() != Some(&keyword) {
                firsts.push(assets.len() as u32);
                texts.push(keyword);
            }
            assets.push(asset);
        }
        firsts.push(assets.len() as u32);
        let automaton = if texts.is_empty() {
            None
        } else {
            let table = texts.iter().map(|text| text.len()).sum::<usize>() <= TABLE_BYTES;
            // Standard semantics report every match, also those inside others.
            let built = AhoCorasick::builder()
                .match_kind(MatchKind::Standard)
                .kind(table.then_some(AhoCorasickKind::DFA))
                .build(texts.iter().map(|text| text.as_bytes()));
            Some(built.map_err(|source| TooManyKeywords { count: texts.len(), source })?)
        };
        Ok(Keywords { automaton, texts: texts.into(), firsts: firsts.into(), assets: assets.into() })
    }

    /// How many, counted for each asset.
    pub fn count(&self) -> usize {
        self.assets.len()
    }

    pub fn text(&self, index: usize) -> &str {
        &self.texts[index]
    }

    /// Hands over the index and the asset of every keyword that a name contains, once for each place
    /// where it stands.
    pub fn within(&self, name: &str, mut found: impl FnMut(usize, u32)) {
        let Some(automaton) = &self.automaton else { return };
        for occurrence in automaton.find_overlapping_iter(name) {
            let index = occurrence.pattern().as_usize();
            for asset in &self.assets[self.firsts[index] as usize..self.firsts[index + 1] as usize] {
                found(index, *asset);
            }
        }
    }
}

/// What an operator writes for a keyword, folded to the form in which names are compared.
pub fn parse(text: &str) -> Result<String, KeywordError> {
    let given = text.trim();
    let folded = if given.is_ascii() { given.to_ascii_lowercase() } else { to_u_labels(given).into_owned() };
    let shown = || given.chars().take(100).collect::<String>();
    let count = folded.chars().count();
    if count < SHORTEST {
        return Err(KeywordError::TooShort(shown()));
    }
    if folded.len() > LONGEST {
        return Err(KeywordError::TooLong(shown(), folded.len()));
    }
    let strange = |c: char| match c {
        c if c.is_ascii() => !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')),
        c => c.is_whitespace() || c.is_control() || c == char::REPLACEMENT_CHARACTER,
    };
    match folded.chars().find(|c| strange(*c)) {
        Some(c) => Err(KeywordError::Strange(shown(), c)),
        None => Ok(folded),
    }
}

/// Why an entry is no keyword.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeywordError {
    #[error("keyword `{0}` has fewer than {SHORTEST} characters")]
    TooShort(String),
    #[error("keyword `{0}` has {1} bytes; a name has at most {LONGEST}")]
    TooLong(String, usize),
    #[error("keyword `{0}` has {1:?} in it, which stands in no name")]
    Strange(String, char),
}

impl KeywordError {
    pub fn hint(&self) -> String {
        match self {
            KeywordError::TooShort(_) => {
                "so short a text stands in thousands of strangers' names by chance".to_owned()
            }
            KeywordError::TooLong(..) => "write the part that tells".to_owned(),
            KeywordError::Strange(..) => {
                "a keyword is a part of a name: letters, digits, hyphens and dots, without wildcards"
                    .to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keywords: &[&str], name: &str, expected: &[&str]) {
        let mut list = KeywordList::default();
        keywords.iter().for_each(|keyword| list.push(&parse(keyword).unwrap(), 0));
        let keywords = Keywords::new(list).unwrap();
        let mut found = Vec::new();
        keywords.within(name, |index, _| found.push(keywords.text(index)));
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn keywords_that_overlap_are_all_found() {
        check(
            &["bank", "example", "examplebank", "ebank", "bank-"],
            "www.examplebank-login.com",
            &["bank", "bank-", "ebank", "example", "examplebank"],
        );
        check(&["BANK"], "bank.bank.example", &["bank", "bank"]);
        check(&["bücher", "ＢＡＮＫ"], "bücherbank.example", &["bank", "bücher"]);
        check(&["BÜCHER"], "bücher.example", &["bücher"]);
        check(&[], "bank.example", &[]);
    }

    #[test]
    fn what_is_no_keyword_is_refused() {
        for (given, expected) in [
            ("", "keyword `` has fewer than 3 characters"),
            ("ab", "keyword `ab` has fewer than 3 characters"),
            ("  ab  ", "keyword `ab` has fewer than 3 characters"),
            ("two words", "keyword `two words` has ' ' in it, which stands in no name"),
            ("bank*", "keyword `bank*` has '*' in it, which stands in no name"),
            ("a/b/c", "keyword `a/b/c` has '/' in it, which stands in no name"),
        ] {
            assert_eq!(parse(given).unwrap_err().to_string(), expected);
        }
    }
}
