//! CCADB's reports as its site gives them: CSV (RFC 4180, with line feeds inside quotes) with a header.
//!
//! Three kinds are read. *All certificate records*, V5 in one file or V4a and V4b in two: every root and
//! intermediate that a root program knows of. *All included root certificates*: what each program trusts a
//! root for, of which the first kind has only the union of all programs. *Problem reporting mechanisms*: where
//! each owner wants to hear of a certificate that it should not have issued. Columns are found by their name
//! in the header, because their order has changed with every version; others are passed over.
//!
//! A file is taken whole or refused whole: one that was cut off in the middle would hide roots. Bounds:
//! [`MAX_BYTES`], [`MAX_RECORDS`], [`MAX_TEXT_BYTES`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use csv::ByteRecord;
use time::{Date, Month};

use super::{Authorities, Data, Key, Owner, Program, Programs, Record, Sha256};

/// One file. V5 had 9 MB in August 2026.
pub const MAX_BYTES: usize = 128 * 1024 * 1024;

/// Rows of all files. CCADB had 11,000 certificates in August 2026.
pub const MAX_RECORDS: usize = 200_000;

/// An owner, a name, an address for problem reports: what is longer is no such thing.
pub const MAX_TEXT_BYTES: usize = 4096;

/// Why a file is refused, whole.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CcadbError {
    #[error("it has no column `{0}`")]
    NoColumn(&'static str),
    #[error("the row has {found} fields and the header {expected}: it was cut off or edited")]
    Fields { line: u64, found: u64, expected: u64 },
    #[error("{column} has {found} bytes, the limit is {MAX_TEXT_BYTES}")]
    TooLong { line: u64, column: &'static str, found: usize },
    #[error("it goes beyond the limit of {MAX_RECORDS} rows in all files")]
    TooMany { line: u64 },
    #[error("it has no row")]
    Empty,
    #[error("{0}")]
    Csv(String),
}

impl CcadbError {
    /// From 1; a row begins there.
    pub fn line(&self) -> Option<u64> {
        match self {
            CcadbError::Fields { line, .. }
            | CcadbError::TooLong { line, .. }
            | CcadbError::TooMany { line } => Some(*line),
            _ => None,
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> &'static str {
        match self {
            CcadbError::NoColumn(_) => {
                "the reports are AllCertificateRecordsCSVFormatV5 (or V4a and V4b), AllIncludedRootCertsCSV and AllProblemReportingMechanismsCSV"
            }
            CcadbError::TooMany { .. } => "name either V5, or V4a and V4b",
            _ => "download it again",
        }
    }
}

/// The rows of a report behind its header, each with its line.
struct Rows<'a> {
    bytes: &'a [u8],
    reader: csv::Reader<&'a [u8]>,
    row: ByteRecord,
    any: bool,
}

impl<'a> Rows<'a> {
    fn new(bytes: &'a [u8]) -> Rows<'a> {
        Rows { bytes, reader: csv::Reader::from_reader(bytes), row: ByteRecord::new(), any: false }
    }

    fn header(&mut self) -> Result<&ByteRecord, CcadbError> {
        let bytes = self.bytes;
        self.reader.byte_headers().map_err(|error| refused(bytes, &error))
    }

    /// The next row. Without a single one the report is empty, which is an error.
    fn next(&mut self) -> Result<Option<Row<'_>>, CcadbError> {
        match self.reader.read_byte_record(&mut self.row) {
            Ok(true) => {
                self.any = true;
                Ok(Some(Row { row: &self.row, bytes: self.bytes }))
            }
            Ok(false) if self.any => Ok(None),
            Ok(false) => Err(CcadbError::Empty),
            Err(error) => Err(refused(self.bytes, &error)),
        }
    }
}

fn refused(bytes: &[u8], error: &csv::Error) -> CcadbError {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            CcadbError::Fields { line: line(bytes, pos.as_ref()), found: *len, expected: *expected_len }
        }
        _ => CcadbError::Csv(error.to_string()),
    }
}

/// The reader's own line is one too few behind a carriage return: it stands between that and the line feed.
fn line(bytes: &[u8], position: Option<&csv::Position>) -> u64 {
    let at = position.map_or(0, csv::Position::byte);
    let before = bytes.get(..usize::try_from(at).unwrap_or(usize::MAX)).unwrap_or(bytes);
    let feeds = memchr::memchr_iter(b'\n', before).count();
    1 + (feeds + usize::from(before.ends_with(b"\r"))) as u64
}

/// Reads reports, in any order, into one [`Authorities`]. After an error it is of no use any more.
///
/// ```
/// use certsieve::ccadb::Reading;
///
/// let report = "CA Owner,Certificate Name,Certificate Record Type,SHA-256 Fingerprint,\
///     Parent SHA-256 Fingerprint,Subject Key Identifier,Trust Bits for Root Cert,\
///     Apple Status,Chrome Status,Microsoft Status,Mozilla Status\n\
///     Example Trust,Example Root,Root Certificate,\
///     5ab4fcdb180b5b6af0d262a2375a2c77d25602015d96648756611e2e78c53ad3,,AAEC,Server Authentication,\
///     Not Included,Not Included,Included,Not Included\n";
/// let mut reading = Reading::default();
/// reading.certificates(report.as_bytes(), None).unwrap();
/// assert_eq!(reading.finish().counts().certificates, 1);
/// ```
#[derive(Default)]
pub struct Reading {
    records: Vec<Record>,
    /// Reports overlap: V5 has what V4a and V4b have.
    seen: HashSet<(Sha256, bool)>,
    owners: Vec<Owner>,
    by_owner: HashMap<Arc<str>, u32>,
    report_to: HashMap<String, String>,
    /// Of roots: who includes them for TLS, program by program.
    settings: HashMap<Sha256, Programs>,
    as_of: Option<Date>,
    left_out: u64,
}

impl Reading {
    /// An all-certificate-records report, or an all-included-root-certificates report. `modified` is the day on which the file was written: it bounds the
    /// dates in it, and stands for them where there are none.
    pub fn certificates(&mut self, bytes: &[u8], modified: Option<Date>) -> Result<(), CcadbError> {
        let mut rows = Rows::new(bytes);
        if find(rows.header()?, MOZILLA_BITS).is_ok() {
            return self.included_roots(rows);
        }
        let columns = Columns::of(rows.header()?)?;
        let mut newest = None;
        while let Some(row) = rows.next()? {
            let dates = columns.dates.iter().filter_map(|column| date(row.field(*column)));
            newest = dates.filter(|day| modified.is_none_or(|modified| *day <= modified)).max().max(newest);
            self.certificate(row, &columns)?;
        }
        self.as_of = self.as_of.max(newest.or(modified));
        Ok(())
    }

    fn included_roots(&mut self, mut rows: Rows<'_>) -> Result<(), CcadbError> {
        let header = rows.header()?;
        let sha256 = find(header, SHA256)?;
        // What each program writes for TLS; Chrome's store is for nothing else.
        let programs = [
            (
                Program::Apple,
                find(header, "Apple Status")?,
                Some((find(header, "Apple Trust Bits")?, "serverAuth")),
            ),
            (Program::Chrome, find(header, "Google Chrome Status")?, None),
            (
                Program::Microsoft,
                find(header, "Microsoft Status")?,
                Some((find(header, "Microsoft EKUs")?, FOR_TLS)),
            ),
            (
                Program::Mozilla,
                find(header, "Mozilla Status")?,
                Some((find(header, MOZILLA_BITS)?, "Websites")),
            ),
        ];
        while let Some(row) = rows.next()? {
            let Some(sha256) = fingerprint(row.field(sha256)) else { continue };
            if self.settings.len() >= MAX_RECORDS {
                return Err(CcadbError::TooMany { line: row.line() });
            }
            let for_tls =
                |bits: Option<(usize, &str)>| bits.is_none_or(|(column, bit)| row.has_bit(column, bit));
            let included =
                programs.iter().filter(|(_, status, bits)| is_included(row.field(*status)) && for_tls(*bits));
            self.settings.insert(sha256, included.map(|(program, ..)| *program).collect());
        }
        Ok(())
    }

    /// A problem-reporting-mechanisms report.
    pub fn problem_reporting(&mut self, bytes: &[u8]) -> Result<(), CcadbError> {
        let mut rows = Rows::new(bytes);
        let header = rows.header()?;
        let owner = find(header, OWNER)?;
        let mechanism = find(header, MECHANISM)?;
        while let Some(row) = rows.next()? {
            let (owner, mechanism) = (row.text(owner, OWNER)?, row.text(mechanism, MECHANISM)?);
            if owner.is_empty() || mechanism.is_empty() {
                continue;
            }
            if self.report_to.len() >= MAX_RECORDS {
                return Err(CcadbError::TooMany { line: row.line() });
            }
            self.report_to.entry(owner).or_insert(mechanism);
        }
        Ok(())
    }

    pub fn finish(mut self) -> Authorities {
        for owner in &mut self.owners {
            owner.report_to = self.report_to.get(&*owner.name).map(|text| text.as_str().into());
        }
        for root in self.records.iter_mut().filter(|record| record.is_root) {
            if let Some(included) = self.settings.get(&root.sha256) {
                root.included = Some(*included);
            }
        }
        Authorities::new(Data::Ccadb, self.as_of, self.records, self.owners, self.left_out)
    }

    fn certificate(&mut self, row: Row<'_>, columns: &Columns) -> Result<(), CcadbError> {
        let Some(sha256) = fingerprint(row.field(columns.sha256)) else {
            self.left_out += 1;
            return Ok(());
        };
        let is_root = row.field(columns.kind) == b"Root Certificate";
        if !self.seen.insert((sha256, is_root)) {
            return Ok(());
        }
        if self.records.len() >= MAX_RECORDS {
            return Err(CcadbError::TooMany { line: row.line() });
        }
        let owner = self.owner(row.text(columns.owner, OWNER)?);
        let name = row.text(columns.name, NAME)?;
        let is_delegated = columns.subordinate.is_some_and(|column| !row.field(column).is_empty());
        let is_revoked = columns.revocation.is_some_and(|column| {
            // "Revoked" and "Parent Cert Revoked", but not "Not Revoked".
            let status = row.field(column);
            !status.starts_with(b"Not") && status.ends_with(b"Revoked")
        });
        self.records.push(Record {
            sha256,
            key: row.key(columns.key, KEY)?,
            parent: fingerprint(row.field(columns.parent)),
            authority_key: match columns.authority_key {
                Some(column) => row.key(column, AUTHORITY_KEY)?,
                None => None,
            },
            owner,
            name: name.into(),
            is_root,
            is_revoked,
            is_delegated,
            included: if is_root { Some(columns.of_root(row)) } else { columns.above(row) },
        });
        Ok(())
    }

    fn owner(&mut self, name: String) -> u32 {
        let name: Arc<str> = name.into();
        let next = self.owners.len() as u32;
        *self.by_owner.entry(name.clone()).or_insert_with(|| {
            self.owners.push(Owner { name, report_to: None });
            next
        })
    }
}

const OWNER: &str = "CA Owner";
const NAME: &str = "Certificate Name";
const KEY: &str = "Subject Key Identifier";
const AUTHORITY_KEY: &str = "Authority Key Identifier";
const SHA256: &str = "SHA-256 Fingerprint";
const MOZILLA_BITS: &str = "Mozilla Trust Bits";
const MECHANISM: &str = "Problem Reporting Mechanism";
/// A root program's EKUs, or trust bits, for TLS.
const FOR_TLS: &str = "Server Authentication";

/// Where the columns stand. What no version lacks is needed, the rest is used where it is.
struct Columns {
    owner: usize,
    subordinate: Option<usize>,
    name: usize,
    kind: usize,
    sha256: usize,
    parent: usize,
    key: usize,
    authority_key: Option<usize>,
    revocation: Option<usize>,
    /// Of a root, as [`Program::ALL`].
    statuses: [usize; Program::ALL.len()],
    /// Of a root: the union of what the programs trust it for.
    trust_bits: usize,
    /// Of the root above an intermediate, all programs in one text.
    root_status: Option<usize>,
    /// Of an intermediate.
    derived_bits: Option<usize>,
    /// Days on which something was certified or audited: the newest says how old the data is at most.
    dates: Vec<usize>,
}

impl Columns {
    fn of(header: &ByteRecord) -> Result<Columns, CcadbError> {
        let status = [
            find(header, "Apple Status")?,
            find(header, "Chrome Status")?,
            find(header, "Microsoft Status")?,
            find(header, "Mozilla Status")?,
        ];
        let dates = ["Valid From (GMT)", "Standard Audit Statement Date", "TLS BR Audit Statement Date"];
        Ok(Columns {
            owner: find(header, OWNER)?,
            subordinate: find(header, "Subordinate CA Owner").ok(),
            name: find(header, NAME)?,
            kind: find(header, "Certificate Record Type")?,
            sha256: find(header, SHA256)?,
            parent: find(header, "Parent SHA-256 Fingerprint")?,
            key: find(header, KEY)?,
            authority_key: find(header, AUTHORITY_KEY).ok(),
            revocation: find(header, "Revocation Status").ok(),
            statuses: status,
            trust_bits: find(header, "Trust Bits for Root Cert")?,
            root_status: find(header, "Status of Root Cert").ok(),
            derived_bits: find(header, "Derived Trust Bits").ok(),
            dates: dates.iter().filter_map(|name| find(header, name).ok()).collect(),
        })
    }

    /// Who includes this root for TLS.
    fn of_root(&self, row: Row<'_>) -> Programs {
        if !row.has_bit(self.trust_bits, FOR_TLS) {
            return Programs::NONE;
        }
        let statuses = Program::ALL.into_iter().zip(self.statuses);
        statuses.filter(|(_, column)| is_included(row.field(*column))).map(|(program, _)| program).collect()
    }

    /// Who includes the root above this intermediate, where that root has no row:
    /// `Apple: Included; Google Chrome: Included; Microsoft: Removed; Mozilla: Included`.
    fn above(&self, row: Row<'_>) -> Option<Programs> {
        let for_tls = self.derived_bits.is_some_and(|column| row.has_bit(column, FOR_TLS));
        let status = String::from_utf8_lossy(row.field(self.root_status.filter(|_| for_tls)?));
        let each = status.split(';').filter_map(|part| part.split_once(':'));
        let programs =
            each.filter(|(_, status)| is_included(status.trim().as_bytes())).filter_map(|(program, _)| {
                match program.trim() {
                    "Apple" => Some(Program::Apple),
                    "Google Chrome" => Some(Program::Chrome),
                    "Microsoft" => Some(Program::Microsoft),
                    "Mozilla" => Some(Program::Mozilla),
                    _ => None,
                }
            });
        (!status.is_empty()).then(|| programs.collect())
    }
}

/// Of a status: in the store. `Not Included`, `Removed`, `Disabled` and `Blocked` are not.
fn is_included(status: &[u8]) -> bool {
    status == b"Included"
}

/// One row, and the report around it.
#[derive(Clone, Copy)]
struct Row<'a> {
    row: &'a ByteRecord,
    bytes: &'a [u8],
}

impl<'a> Row<'a> {
    fn line(self) -> u64 {
        line(self.bytes, self.row.position())
    }

    fn field(self, column: usize) -> &'a [u8] {
        self.row.get(column).unwrap_or_default().trim_ascii()
    }

    fn bounded(self, column: usize, name: &'static str) -> Result<&'a [u8], CcadbError> {
        let field = self.field(column);
        match field.len() {
            found if found > MAX_TEXT_BYTES => {
                Err(CcadbError::TooLong { line: self.line(), column: name, found })
            }
            _ => Ok(field),
        }
    }

    /// In one line, single spaces between its words.
    fn text(self, column: usize, name: &'static str) -> Result<String, CcadbError> {
        let text = String::from_utf8_lossy(self.bounded(column, name)?);
        Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// A key identifier, which CCADB writes in base64. What is none is as good as missing.
    fn key(self, column: usize, name: &'static str) -> Result<Option<Key>, CcadbError> {
        let key = STANDARD.decode(self.bounded(column, name)?).ok();
        Ok(key.filter(|key| !key.is_empty()).map(Vec::into))
    }

    fn has_bit(self, column: usize, bit: &str) -> bool {
        let mut bits = self.field(column).split(|byte| *byte == b';');
        bits.any(|one| one.trim_ascii() == bit.as_bytes())
    }
}

fn find(header: &ByteRecord, name: &'static str) -> Result<usize, CcadbError> {
    header.iter().position(|column| column.trim_ascii() == name.as_bytes()).ok_or(CcadbError::NoColumn(name))
}

fn fingerprint(field: &[u8]) -> Option<Sha256> {
    let text = std::str::from_utf8(field).ok()?;
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    super::key_of_hex(&digits)?.as_ref().try_into().ok()
}

/// `2026-11-20`; earlier versions wrote `2026.11.20`.
fn date(field: &[u8]) -> Option<Date> {
    let text = std::str::from_utf8(field).ok()?;
    let mut parts = text.trim().split(['-', '.']).map(|part| part.parse::<u16>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?).ok()
}
