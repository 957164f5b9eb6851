//! Edge: `--stdout`, one record a line, for scripts, and for a first look without Kafka.
//!
//! A line is `{"topic","key","headers","value"}`: headers as an object in the order of the record, the
//! value as JSON, not as a string of JSON. Each line is one write and is reported as delivered when the
//! system has taken it. A slow reader holds up the thread that publishes, which is the account's and
//! never a feed's. A reader that has gone away ends the publisher without a word
//! ([`Ended::ReaderGone`]); any other failure is kept for the caller to say.

use std::io::{self, Write};
use std::time::Duration;

use super::{Ended, Full, Publisher, Reports};
use crate::clock;
use crate::record::{Outcome, Record, Report};

/// Writes records as JSON lines.
pub struct StdoutPublisher<W> {
    out: W,
    topic_prefix: String,
    reports: Reports,
    line: Vec<u8>,
    ended: Option<Ended>,
}

impl<W: Write + Send> StdoutPublisher<W> {
    pub fn new(out: W, topic_prefix: impl Into<String>, reports: Reports) -> StdoutPublisher<W> {
        StdoutPublisher { out, topic_prefix: topic_prefix.into(), reports, line: Vec::new(), ended: None }
    }
}

impl<W: Write + Send> Publisher for StdoutPublisher<W> {
    fn publish(&mut self, record: &Record) -> Result<(), Full> {
        if self.ended.is_some() {
            return Err(Full);
        }
        self.line.clear();
        write_line(record, &self.topic_prefix, &mut self.line);
        match self.out.write_all(&self.line).and_then(|()| self.out.flush()) {
            Ok(()) => {
                let at = clock::now();
                (self.reports)(Report { sequence: record.sequence, outcome: Outcome::Delivered, at });
                Ok(())
            }
            Err(error) => {
                self.ended = Some(match error.kind() {
                    io::ErrorKind::BrokenPipe => Ended::ReaderGone,
                    _ => Ended::Failed(format!("cannot write to standard output: {error}")),
                });
                Err(Full)
            }
        }
    }

    fn tend(&mut self) {}

    fn flush(&mut self, _deadline: Duration) -> bool {
        true
    }

    fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }
}

/// Appends the record and a line feed.
pub fn write_line(record: &Record, topic_prefix: &str, line: &mut Vec<u8>) {
    line.extend_from_slice(b"{\"topic\":");
    string(&record.topic.name(topic_prefix), line);
    line.extend_from_slice(b",\"key\":");
    string(&record.key, line);
    line.extend_from_slice(b",\"headers\":{");
    for (i, (name, value)) in record.headers.iter().enumerate() {
        if i > 0 {
            line.push(b',');
        }
        string(name, line);
        line.push(b':');
        string(value, line);
    }
    line.extend_from_slice(b"},\"value\":");
    // A line break in JSON stands only between tokens: as a space it keeps the record on its line.
    line.extend(record.value.iter().map(|&b| if matches!(b, b'\n' | b'\r') { b' ' } else { b }));
    line.extend_from_slice(b"}\n");
}

fn string(text: &str, line: &mut Vec<u8>) {
    // A string always has a JSON form, and a vector takes every write.
    let written = serde_json::to_writer(line, text);
    debug_assert!(written.is_ok());
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::entry::Timestamp;
    use crate::record::Topic;

    fn record(sequence: u64, value: &str) -> Record {
        Record {
            sequence,
            topic: Topic::Alert,
            key: "ab:\"01\"".into(),
            headers: vec![("ce_specversion", "1.0".into()), ("ce_id", "é".into()), ("a", "z".into())],
            value: value.as_bytes().to_vec(),
            at: Timestamp(0),
        }
    }

    struct Breaks {
        lines: usize,
        with: io::ErrorKind,
    }

    impl Write for Breaks {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.lines == 0 {
                return Err(self.with.into());
            }
            self.lines -= 1;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn heard() -> (Reports, Arc<Mutex<Vec<u64>>>) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        (Box::new(move |r| ear.lock().unwrap().push(r.sequence)), heard)
    }

    #[test]
    fn a_record_is_one_line_with_headers_in_order_and_the_value_as_json() {
        for (value, want) in [
            (r#"{"a":1}"#, r#"{"a":1}"#),
            ("{\n  \"a\": \"x\\ny\"\r\n}", "{   \"a\": \"x\\ny\"  }"),
            ("[]", "[]"),
        ] {
            let mut line = Vec::new();
            write_line(&record(7, value), "certsieve", &mut line);
            let line = String::from_utf8(line).unwrap();
            assert_eq!(
                line,
                format!(
                    "{{\"topic\":\"certsieve.alert.v1\",\"key\":\"ab:\\\"01\\\"\",\"headers\":\
                     {{\"ce_specversion\":\"1.0\",\"ce_id\":\"é\",\"a\":\"z\"}},\"value\":{want}}}\n"
                )
            );
            serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
    }

    #[test]
    fn a_line_is_reported_when_it_is_written_and_a_gone_reader_ends_it() {
        for (with, want) in [
            (io::ErrorKind::BrokenPipe, Ended::ReaderGone),
            (
                io::ErrorKind::StorageFull,
                Ended::Failed("cannot write to standard output: no storage space".into()),
            ),
        ] {
            let (reports, heard) = heard();
            let mut publisher = StdoutPublisher::new(Breaks { lines: 2, with }, "p", reports);
            let taken: Vec<_> = (1..=4).map(|n| publisher.publish(&record(n, "{}"))).collect();
            assert_eq!(taken, [Ok(()), Ok(()), Err(Full), Err(Full)]);
            assert_eq!(*heard.lock().unwrap(), [1, 2]);
            assert_eq!(publisher.ended(), Some(&want));
            assert!(publisher.flush(Duration::ZERO));
        }
    }
}
