//! `certsieve explain`: what would match and why, for a name, an address, a certificate or a message.
//!
//! The same decoder, sieve, judge and composer as in `run`, and beside what they say what nearly matches.
//! `explanation` asks them, `text` writes for people; `--json` prints the same as one object a line. An
//! argument is a file where one of that name exists, else an address, else a name. A name or an address has
//! no issuer: it is said what the policy will ask of one.

mod explanation;
mod text;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tracing::{error, warn};

use super::{Exit, hunt};
use crate::config::{MAX_MESSAGE_BYTES, TrustConfig};
use crate::entry::Decoder;
use crate::feed::bundle::{Bundle, BundleError, Item};
use crate::record::printable;
use crate::sieve::Sieve;
use explanation::{Explanation, Subject};

/// Arguments of `certsieve explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// A watch list; may be given more than once. Without one the identities alone are shown.
    #[arg(short, long = "watchlist", value_name = "FILE")]
    pub watchlists: Vec<PathBuf>,
    /// CCADB's all-certificate-records report (V5, or V4a and V4b), and its report of included roots; may be
    /// given more than once. Without it Mozilla's roots alone are known.
    #[arg(long, value_name = "FILE", requires = "watchlists")]
    pub ccadb: Vec<PathBuf>,
    /// CCADB's problem-reporting-mechanisms report.
    #[arg(long, value_name = "FILE", requires = "ccadb")]
    pub problem_reporting: Option<PathBuf>,
    /// Names, addresses, or files: certificates as PEM or DER, recorded messages as JSON lines, plain, gzip or
    /// zstd; `-` is standard input. A file may hold many: each is explained.
    #[arg(value_name = "NAME|IP|FILE", required = true)]
    pub inputs: Vec<OsString>,
    /// Show the records that would be published, whole. Without it their topics and ids are shown.
    #[arg(long)]
    pub record: bool,
    /// Print one object a line and argument; of a file that holds several things, one for each.
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &ExplainArgs) -> Exit {
    let trust = TrustConfig { ccadb: args.ccadb.clone(), problem_reporting: args.problem_reporting.clone() };
    let sieve = match args.watchlists.as_slice() {
        [] => None,
        lists => match hunt::sieve(lists, &trust) {
            Ok(sieve) => Some(sieve),
            Err(exit) => return exit,
        },
    };
    let mut explain = Explain { args, sieve, matched: false, failed: None, first: true };
    for input in &args.inputs {
        match explain.input(input) {
            Ok(()) => {}
            Err(ExplainError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Exit::Done;
            }
            Err(error) => {
                error!("{error}");
                let usage = matches!(error, ExplainError::Argument { .. });
                explain.fails(if usage { Exit::Usage } else { Exit::Failed });
                if matches!(error, ExplainError::Write(_)) {
                    break;
                }
            }
        }
    }
    match explain.failed {
        Some(exit) => exit,
        // Without a list there is nothing to match.
        None if explain.matched || explain.sieve.is_none() => Exit::Done,
        None => Exit::Failed,
    }
}

#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error(transparent)]
    File(#[from] BundleError),
    #[error("`{given}` {what}")]
    Argument { given: String, what: &'static str },
    #[error("{0} holds neither a message nor a certificate")]
    Nothing(String),
    #[error("cannot write to standard output: {0}")]
    Write(#[from] io::Error),
}

struct Explain<'a> {
    args: &'a ExplainArgs,
    sieve: Option<Sieve>,
    matched: bool,
    failed: Option<Exit>,
    first: bool,
}

impl Explain<'_> {
    fn input(&mut self, input: &OsStr) -> Result<(), ExplainError> {
        let shown = input.to_string_lossy();
        let path = Path::new(input);
        if input == "-" || path.exists() {
            return self.file(path, &shown);
        }
        let what = match input.to_str() {
            Some(text) => refused(text),
            None => Some("is no file here, and no name or address"),
        };
        if let Some(what) = what {
            return Err(ExplainError::Argument { given: printable(&shown), what });
        }
        let subject = Subject::Asked(&shown);
        let explanation = Explanation::of(&shown, None, subject, self.sieve.as_ref(), self.args.record);
        self.tell(&explanation)
    }

    fn file(&mut self, path: &Path, shown: &str) -> Result<(), ExplainError> {
        let mut bundle = Bundle::open(path, MAX_MESSAGE_BYTES)?;
        let mut any = false;
        while let Some(item) = bundle.next()? {
            any = true;
            let (subject, place) = match item {
                Item::Message { bytes, line } => (Subject::Message(bytes), format!("line {line}")),
                Item::Certificate { der, number } => {
                    (Subject::Certificate(der), format!("certificate {number}"))
                }
                Item::Skipped(skip) => {
                    warn!("{shown}, {skip}: skipped");
                    if skip.is_broken() {
                        self.fails(Exit::Failed);
                    }
                    continue;
                }
            };
            let sieve = self.sieve.as_ref();
            let explanation = Explanation::of(shown, Some(place), subject, sieve, self.args.record);
            self.tell(&explanation)?;
        }
        if any { Ok(()) } else { Err(ExplainError::Nothing(printable(shown))) }
    }

    fn tell(&mut self, explanation: &Explanation) -> Result<(), ExplainError> {
        self.matched |= !explanation.matches.is_empty();
        let mut out = anstream::stdout().lock();
        if self.args.json {
            let line = serde_json::to_string(explanation).map_err(io::Error::from)?;
            writeln!(out, "{line}")?;
        } else {
            if !std::mem::take(&mut self.first) {
                writeln!(out)?;
            }
            write!(out, "{}", text::of(explanation, self.sieve.is_some(), self.args.record))?;
        }
        Ok(out.flush()?)
    }

    fn fails(&mut self, exit: Exit) {
        self.failed = self.failed.or(Some(exit));
    }
}

/// Ends of files that people have certificates and messages in; none is a top-level domain.
const FILE_ENDS: [&str; 11] =
    ["pem", "der", "crt", "cer", "cert", "json", "jsonl", "gz", "zst", "txt", "p7b"];

/// Why what is no file is no name or address either.
fn refused(text: &str) -> Option<&'static str> {
    let text = text.trim();
    if text.parse::<ipnet::IpNet>().is_ok() {
        return Some("is a network: give one address of it");
    }
    if text.rsplit_once('.').is_some_and(|(_, end)| FILE_ENDS.contains(&end.to_ascii_lowercase().as_str())) {
        return Some("looks like a file, and there is none of that name here");
    }
    if text.contains('/') && !text.contains("://") {
        return Some("is no file here, and no name or address: give a host name, such as example.com");
    }
    let mut decoder = Decoder::default();
    let entry = decoder.asked(text);
    if entry.identities.is_empty() {
        return Some("is no file here, and no name or address: give a host name, such as example.com");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_that_is_no_file() {
        for (text, want) in [
            ("example.com", None),
            ("*.example.com", None),
            ("bücher.example", None),
            ("https://example.com/x", None),
            ("localhost", None),
            ("1.1.1.1", None),
            ("::ffff:1.1.1.1", None),
            ("2606:4700:4700::1111", None),
            ("1.1.1.0/24", Some("network")),
            ("certs/missing", Some("no file")),
            ("missing.PEM", Some("looks like a file")),
            ("", Some("no file")),
            ("...", Some("no file")),
        ] {
            let got = refused(text);
            match want {
                None => assert_eq!(got, None, "{text}"),
                Some(word) => assert!(got.is_some_and(|got| got.contains(word)), "{text}: {got:?}"),
            }
        }
    }
}
