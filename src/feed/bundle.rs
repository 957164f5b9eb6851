//! Edge: what a file holds that somebody wants searched: a recording, or certificates as PEM or DER.
//!
//! [`Bundle`] lends one item after the other. Which of the three a file is, its content says and not its
//! name: DER begins with the header of a SEQUENCE, PEM has a line `-----BEGIN …-----`, anything else is
//! JSON lines. Compression and `-` are those of [`Lines`]. DER certificates may stand one behind the
//! other; text around PEM blocks is passed over, messages between them are not. A block that is broken, or
//! holds something else than a certificate, is told by its number, and the rest goes on.
//!
//! What a certificate says is left to the sieve: of DER that breaks, what there is is lent, and nothing
//! behind it is lost in silence.
//!
//! Bounds: an item up to the limit; 1 MiB of text in front of the first block or message; what [`Lines`]
//! holds. Cost: a message is lent where it lies, a certificate is copied once.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::file::{FileError, Line, Lines};
use crate::record::clean;

/// Text in front of the first block: what `openssl x509 -text` says of a certificate of 5,000 names.
const MAX_PREAMBLE: usize = 1024 * 1024;

/// Bytes of a block's label that are shown.
const SHOWN: usize = 64;

/// The labels under which certificates stand (RFC 7468, 5.1); what OpenSSL adds to a trusted one stands
/// behind its end.
const CERTIFICATES: [&str; 3] = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"];

/// One thing that a file holds.
#[derive(PartialEq, Eq, Debug)]
pub enum Item<'a> {
    /// A line of a recording; lines count from 1.
    Message { bytes: &'a [u8], line: u64 },
    /// DER, or what claims to be; certificates and blocks count from 1.
    Certificate { der: &'a [u8], number: u64 },
    /// It is passed over.
    Skipped(Skip),
}

/// Why something is passed over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Skip {
    /// A line over the limit.
    Line { line: u64, bytes: u64, limit: usize },
    /// A block that is no PEM.
    Block { number: u64, line: u64, error: BlockError },
    /// A block of something else than a certificate.
    Foreign { number: u64, line: u64, label: String },
    /// A DER element over the limit.
    Element { number: u64, bytes: u64, limit: usize },
}

/// Why a block is no PEM.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BlockError {
    #[error("it has no end")]
    NoEnd,
    #[error("it ends as {0}")]
    OtherEnd(String),
    #[error("it is empty")]
    Empty,
    #[error("it is no base64: {0}")]
    Base64(base64::DecodeError),
    #[error("it has more than {0} bytes")]
    TooLarge(usize),
}

impl Skip {
    /// Whether what is passed over could have been a certificate or a message.
    pub fn is_broken(&self) -> bool {
        !matches!(self, Skip::Foreign { .. })
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Skip::Line { line, bytes, limit } => {
                write!(f, "line {line} has {bytes} bytes, more than {limit}")
            }
            Skip::Block { number, line, error } => write!(f, "block {number}, line {line}: {error}"),
            Skip::Foreign { number, line, label } => {
                write!(f, "block {number}, line {line}: {label} is no certificate")?;
                match label.as_str() {
                    "PKCS7" | "CMS" => f.write_str(" (openssl pkcs7 -print_certs takes them out)"),
                    _ => Ok(()),
                }
            }
            Skip::Element { number, bytes, limit } => {
                write!(f, "certificate {number} has {bytes} bytes, more than {limit}")
            }
        }
    }
}

/// Why a file was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{}: cannot be read on after {certificates} certificates, which were taken: {source}",
        path.display()
    )]
    Read { path: PathBuf, certificates: u64, source: io::Error },
}

/// The items of a file. See the module's words for what they are.
pub struct Bundle {
    path: PathBuf,
    lines: Lines,
    limit: usize,
    form: Form,
    /// Certificates and blocks so far.
    number: u64,
    /// Lines that wait until the form is known, or for their turn.
    held: VecDeque<(Vec<u8>, u64)>,
    held_bytes: usize,
    block: Option<Block>,
    /// What is lent.
    item: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Unknown,
    /// Nothing but text so far.
    Text,
    Recording,
    Pem,
    Der,
}

/// A PEM block that is being read.
struct Block {
    label: String,
    line: u64,
    base64: Vec<u8>,
    too_large: bool,
}

/// What a line of a PEM file does.
enum Step {
    Nothing,
    /// The block is in `item`.
    Certificate,
    Skip(Skip),
}

impl Bundle {
    /// Of a file, or of standard input where `path` is `-`. An item may have `limit` bytes.
    pub fn open(path: &Path, limit: usize) -> Result<Bundle, BundleError> {
        Ok(Bundle {
            path: path.to_owned(),
            lines: Lines::open(path, limit)?,
            limit,
            form: Form::Unknown,
            number: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            block: None,
            item: Vec::new(),
        })
    }

    /// Bytes of the file that were read, before decompression.
    pub fn consumed(&self) -> u64 {
        self.lines.consumed()
    }

    /// Bytes that the file has; `None` for a pipe.
    pub fn size(&self) -> Option<u64> {
        self.lines.size()
    }

    /// The next item; `None` at the end.
    #[allow(clippy::should_implement_trait)] // An iterator cannot lend.
    pub fn next(&mut self) -> Result<Option<Item<'_>>, BundleError> {
        if self.form == Form::Unknown {
            // Where nothing can be read, the lines say why.
            let head = self.lines.content().fill_buf().unwrap_or_default();
            // A certificate has more than 127 bytes: its length has a long form. No text has such a byte there.
            self.form = if matches!(head, [0x30, 0x80..=0x84, ..]) { Form::Der } else { Form::Text };
        }
        if self.form == Form::Der {
            return self.element();
        }
        while matches!(self.form, Form::Text | Form::Pem) {
            if self.form == Form::Pem && !self.held.is_empty() {
                break;
            }
            match self.lines.next()? {
                None if self.form == Form::Text => self.form = Form::Recording,
                None => {
                    let Some(block) = self.block.take() else { return Ok(None) };
                    return Ok(Some(Item::Skipped(self.broken(block.line, BlockError::NoEnd))));
                }
                Some(Line::TooLong { bytes, number }) => {
                    if let Some(block) = &mut self.block {
                        block.too_large = true;
                        continue;
                    }
                    let skip = Skip::Line { line: number, bytes, limit: self.limit };
                    return Ok(Some(Item::Skipped(skip)));
                }
                Some(Line::Message { bytes, number }) => {
                    let mut line = std::mem::take(&mut self.item);
                    line.clear();
                    line.extend_from_slice(bytes);
                    match self.line(line, number) {
                        Step::Nothing => {}
                        Step::Skip(skip) => return Ok(Some(Item::Skipped(skip))),
                        Step::Certificate => {
                            return Ok(Some(Item::Certificate { der: &self.item, number: self.number }));
                        }
                    }
                }
            }
        }
        if let Some((bytes, line)) = self.held.pop_front() {
            self.item = bytes;
            return Ok(Some(Item::Message { bytes: &self.item, line }));
        }
        Ok(self.lines.next()?.map(|line| match line {
            Line::Message { bytes, number } => Item::Message { bytes, line: number },
            Line::TooLong { bytes, number } => {
                Item::Skipped(Skip::Line { line: number, bytes, limit: self.limit })
            }
        }))
    }

    /// One line of what is PEM, or may be.
    fn line(&mut self, line: Vec<u8>, number: u64) -> Step {
        let text = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&line).trim_ascii();
        if let Some(label) = marker(text, "-----BEGIN ") {
            self.form = Form::Pem;
            self.held.clear();
            let begun = Block { label, line: number, base64: Vec::new(), too_large: false };
            return match self.block.replace(begun) {
                Some(before) => Step::Skip(self.broken(before.line, BlockError::NoEnd)),
                None => Step::Nothing,
            };
        }
        if text.first() == Some(&b'{') {
            // A message ends what had no end: no base64 begins so.
            let broken = self.block.take().map(|block| self.broken(block.line, BlockError::NoEnd));
            if self.form == Form::Text {
                self.form = Form::Recording;
            }
            self.held.push_back((line, number));
            return broken.map_or(Step::Nothing, Step::Skip);
        }
        let Some(block) = &mut self.block else {
            if self.form == Form::Text {
                self.held_bytes += line.len();
                if self.held_bytes > MAX_PREAMBLE {
                    self.form = Form::Recording;
                }
                self.held.push_back((line, number));
            }
            return Step::Nothing;
        };
        if let Some(label) = marker(text, "-----END ") {
            return match self.block.take() {
                Some(block) => self.ended(block, &label),
                None => Step::Nothing,
            };
        }
        // Four characters for three bytes.
        if block.base64.len() + text.len() > self.limit / 3 * 4 + 4 {
            block.too_large = true;
        } else {
            block.base64.extend_from_slice(text);
        }
        self.item = line;
        Step::Nothing
    }

    fn ended(&mut self, block: Block, label: &str) -> Step {
        if !CERTIFICATES.contains(&block.label.as_str()) {
            self.number += 1;
            return Step::Skip(Skip::Foreign { number: self.number, line: block.line, label: block.label });
        }
        let error = if block.label != label {
            BlockError::OtherEnd(label.to_owned())
        } else if block.too_large {
            BlockError::TooLarge(self.limit)
        } else if block.base64.is_empty() {
            BlockError::Empty
        } else {
            self.item.clear();
            match STANDARD.decode_vec(&block.base64, &mut self.item) {
                Ok(()) => {
                    self.number += 1;
                    return Step::Certificate;
                }
                Err(error) => BlockError::Base64(error),
            }
        };
        Step::Skip(self.broken(block.line, error))
    }

    fn broken(&mut self, line: u64, error: BlockError) -> Skip {
        self.number += 1;
        Skip::Block { number: self.number, line, error }
    }

    /// The next DER element of the file.
    fn element(&mut self) -> Result<Option<Item<'_>>, BundleError> {
        let (path, certificates) = (&self.path, self.number);
        let fail = |source| BundleError::Read { path: path.clone(), certificates, source };
        let content = self.lines.content();
        self.item.clear();
        // White space behind an element is what an editor or `echo` leaves.
        loop {
            let buffer = content.fill_buf().map_err(fail)?;
            let blank = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let done = blank < buffer.len() || buffer.is_empty();
            content.consume(blank);
            if done {
                break;
            }
        }
        content.take(2).read_to_end(&mut self.item).map_err(fail)?;
        let length = match self.item[..] {
            [] => return Ok(None),
            [0x30, short @ 0..=0x7f] => Some(u64::from(short)),
            [0x30, long @ 0x81..=0x84] => {
                content.take(u64::from(long & 0x7f)).read_to_end(&mut self.item).map_err(fail)?;
                Some(self.item[2..].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)))
            }
            _ => None,
        };
        self.number += 1;
        let number = self.number;
        // What does not begin as a certificate has no end that could be known: it is the rest.
        let wanted = length.unwrap_or(u64::MAX);
        if length.is_none_or(|length| length <= self.limit as u64) {
            let room = wanted.min(self.limit as u64);
            content.take(room).read_to_end(&mut self.item).map_err(fail)?;
        }
        if length.is_none_or(|length| length > self.limit as u64) {
            let skipped = io::copy(&mut content.take(wanted), &mut io::sink()).map_err(fail)?;
            if skipped > 0 {
                let bytes = self.item.len() as u64 + skipped;
                return Ok(Some(Item::Skipped(Skip::Element { number, bytes, limit: self.limit })));
            }
        }
        Ok(Some(Item::Certificate { der: &self.item, number }))
    }
}

/// The label of a line that begins or ends a block.
fn marker(line: &[u8], begin: &str) -> Option<String> {
    let label = line.strip_prefix(begin.as_bytes())?.strip_suffix(b"-----")?;
    Some(clean(&String::from_utf8_lossy(label.get(..SHOWN).unwrap_or(label))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `content` holds, one line an item.
    fn check(content: &[u8], want: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle");
        std::fs::write(&path, content).unwrap();
        let mut bundle = Bundle::open(&path, 300).unwrap();
        let mut got = Vec::new();
        while let Some(item) = bundle.next().unwrap() {
            got.push(match item {
                Item::Message { bytes, line } => format!("{line}:{}", String::from_utf8_lossy(bytes)),
                Item::Certificate { der, number } => format!("#{number} {} bytes", der.len()),
                Item::Skipped(skip) => skip.to_string(),
            });
        }
        assert_eq!(got, want, "{}", String::from_utf8_lossy(content));
    }

    fn der(body: usize) -> Vec<u8> {
        [&[0x30, 0x81, body as u8][..], &vec![7; body]].concat()
    }

    fn pem(label: &str, der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    }

    #[test]
    fn der_one_behind_the_other() {
        let one = der(200);
        check(&one, &["#1 203 bytes"]);
        check(&[one.clone(), der(130)].concat(), &["#1 203 bytes", "#2 133 bytes"]);
        check(&[&one[..], b"\r\n", &der(130)].concat(), &["#1 203 bytes", "#2 133 bytes"]);
        check(&one[..100], &["#1 100 bytes"]);
        check(&[&one[..], b"garbage"].concat(), &["#1 203 bytes", "#2 7 bytes"]);
        let large = [&[0x30, 0x82, 0x02, 0x00][..], &[7; 512], &one].concat();
        check(&large, &["certificate 1 has 516 bytes, more than 300", "#2 203 bytes"]);
        let endless = [&[0x30, 0x80][..], &[7; 600]].concat();
        check(&endless, &["certificate 1 has 602 bytes, more than 300"]);
        check(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 1], &["certificate 1 has 7 bytes, more than 300"]);
    }

    #[test]
    fn pem_and_what_is_around_it() {
        let one = pem("CERTIFICATE", &der(200));
        check(one.as_bytes(), &["#1 203 bytes"]);
        check(one.replace('\n', "\r\n").as_bytes(), &["#1 203 bytes"]);
        let text = format!("\u{feff}{one}subject=CN = x\n\n{}\n", pem("X509 CERTIFICATE", &der(130)));
        check(text.as_bytes(), &["#1 203 bytes", "#2 133 bytes"]);
        let text = format!("Certificate:\n    Data:\n{one}");
        check(text.as_bytes(), &["#1 203 bytes"]);
        let text = format!("{}{}{one}", pem("PRIVATE KEY", b"secret"), pem("PKCS7", b"x"));
        check(
            text.as_bytes(),
            &[
                "block 1, line 1: PRIVATE KEY is no certificate",
                "block 2, line 4: PKCS7 is no certificate (openssl pkcs7 -print_certs takes them out)",
                "#3 203 bytes",
            ],
        );
        let text = format!("{one}{{\"a\":1}}\n{one}");
        check(text.as_bytes(), &["#1 203 bytes", "8:{\"a\":1}", "#2 203 bytes"]);
    }

    #[test]
    fn a_broken_block_does_not_take_the_rest_with_it() {
        let one = pem("CERTIFICATE", &der(200));
        let begin = "-----BEGIN CERTIFICATE-----\n";
        for (broken, want) in [
            (
                format!("{begin}!!!!\n-----END CERTIFICATE-----\n"),
                "it is no base64: Invalid symbol 33, offset 0.",
            ),
            (format!("{begin}-----END CERTIFICATE-----\n"), "it is empty"),
            (format!("{begin}AAAA\n-----END X-----\n"), "it ends as X"),
            (format!("{begin}AAAA\n"), "it has no end"),
            (pem("CERTIFICATE", &[7; 310]), "it has more than 300 bytes"),
            (
                format!("{begin}{}\n-----END CERTIFICATE-----\n", "A".repeat(600)),
                "it has more than 300 bytes",
            ),
        ] {
            let broken_first = format!("block 1, line 1: {want}");
            check(format!("{broken}{one}").as_bytes(), &[&broken_first, "#2 203 bytes"]);
        }
        check(begin.as_bytes(), &["block 1, line 1: it has no end"]);
        let text = format!("{begin}AAAA\n{{}}\n{one}");
        check(text.as_bytes(), &["block 1, line 1: it has no end", "3:{}", "#2 203 bytes"]);
    }

    #[test]
    fn what_is_neither_is_a_recording() {
        check(b"{\"a\":1}\n{\"b\":2}\n", &["1:{\"a\":1}", "2:{\"b\":2}"]);
        check(b"\n garbage\n{\"b\":2}\n", &["2: garbage", "3:{\"b\":2}"]);
        check(b"garbage", &["1:garbage"]);
        check(b"", &[]);
        check(b"0", &["1:0"]);
        let long = format!("{{\n{}\nx\n", "y".repeat(400));
        check(long.as_bytes(), &["1:{", "line 2 has 400 bytes, more than 300", "3:x"]);
    }
}
