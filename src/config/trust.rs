//! `[trust]`: which reports of CCADB say who issues, and which root programs include whom.
//!
//! Without the table, Mozilla's roots as they are built in. Reports are read whole, and each that is
//! refused is a problem of its own; what is in them means something to `ccadb` alone. They are found by
//! path and not fetched: who replaces one does so by a rename.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use time::{Date, OffsetDateTime};

use crate::ccadb::{self, Authorities, CcadbError, Reading};
use crate::document::Keys;
use crate::problem::{Problem, Problems, Report};

use super::{NOTHING_LATER, TrustConfig, beside, read_bounded};

/// Every key of the table, for those that stand elsewhere.
pub const KEYS: &[&str] = &["ccadb", "problem_reporting"];

/// V4a, V4b and V5 are three.
const MAX_REPORTS: usize = 16;

pub fn read(file: &Path, mut keys: Keys<'_, '_>, report: &mut Report<'_>) -> TrustConfig {
    let mut trust = TrustConfig::default();
    let given = keys.each_text(report, "ccadb", |report, text, place| {
        if text.is_empty() {
            report.add(place, "ccadb has an empty path", "name a file");
        } else if trust.ccadb.len() == MAX_REPORTS {
            report.add(place, format!("ccadb names more than {MAX_REPORTS} files"), "V5 is a single one");
        } else {
            trust.ccadb.push(beside(file, text));
        }
    });
    if given.unwrap_or(0) == 0 {
        let hint = "write ccadb = [\"AllCertificateRecordsCSVFormatV5\"], or remove the table";
        report.missing(keys.place_of("ccadb"), "[trust] without ccadb", hint);
    }
    if let Some(path) = keys.text(report, "problem_reporting") {
        match *path.get_ref() {
            "" => report.add(path.span(), "problem_reporting has an empty path", "name a file"),
            text => trust.problem_reporting = Some(beside(file, text)),
        }
    }
    keys.finish(report, NOTHING_LATER, &[]);
    trust
}

/// Reads the reports, or takes what is built in where none is named.
pub fn read_authorities(trust: &TrustConfig) -> Result<Arc<Authorities>, Problems> {
    if trust.ccadb.is_empty() {
        return Ok(Authorities::built_in());
    }
    let mut reading = Reading::default();
    let mut problems = Problems::default();
    for path in &trust.ccadb {
        let read = |bytes: &[u8]| reading.certificates(bytes, modified(path));
        one(path, "the CCADB report", read, &mut problems);
    }
    if let Some(path) = &trust.problem_reporting {
        one(path, "the problem-reporting report", |bytes| reading.problem_reporting(bytes), &mut problems);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let authorities = reading.finish();
    if authorities.counts().certificates == 0 {
        let file = trust.ccadb[0].display().to_string();
        let hint = "name AllCertificateRecordsCSVFormatV5, or V4a and V4b";
        return Err(Problem::of_file(file, "no CCADB report has a certificate", hint).into());
    }
    Ok(Arc::new(authorities))
}

fn one(path: &Path, what: &str, read: impl FnOnce(&[u8]) -> Result<(), CcadbError>, problems: &mut Problems) {
    let file = path.display().to_string();
    match read_bounded(path, ccadb::MAX_BYTES) {
        Err(reason) => {
            let message = format!("{what} cannot be read: {reason}");
            problems.push(Problem::of_file(file, message, "check [trust] in the configuration"));
        }
        Ok(bytes) => {
            let Err(error) = read(&bytes) else { return };
            let message = format!("{what} is refused: {error}");
            let mut problem = Problem::of_file(file, message, error.hint());
            problem.line = error.line().and_then(|line| usize::try_from(line).ok());
            problems.push(problem);
        }
    }
}

/// The day on which a file was written.
fn modified(path: &Path) -> Option<Date> {
    let modified = std::fs::metadata(path).ok()?.modified().ok()?;
    Some(OffsetDateTime::from(modified).date())
}

impl TrustConfig {
    /// Every file that it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.ccadb.iter().chain(&self.problem_reporting).map(PathBuf::as_path)
    }
}
