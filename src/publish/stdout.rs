//! Edge: `--stdout`, one record a line, for scripts, and for a first look without Kafka.
//!
//! A line is `{"topic","key","headers","value"}`: headers as an object in the order of the record, the
//! value as JSON, not as a string of JSON. Each line is one write and is reported as delivered when the
//! system has taken it.
//!
//! Lines are written by a thread of their own, so that a reader who stalls holds up nobody: the publisher
//! says that it is full, and records wait in the outbox as they do for Kafka. A reader that has gone away
//! ends the publisher without a word ([`Ended::ReaderGone`]); any other failure is kept for the caller to
//! say. Bound: 1 MiB of lines, or a single longer one.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Ended, Full, Publisher, Reports};
use crate::clock;
use crate::record::{Outcome, Record, Report};

/// Lines that wait for the writer: a few hundred records, sixteen times what a pipe holds.
const WAITING_BYTES: usize = 1024 * 1024;

/// Writes records as JSON lines.
pub struct StdoutPublisher {
    topic_prefix: String,
    shared: Arc<Shared>,
}

/// What the publisher and its writer share.
struct Shared {
    lines: Mutex<Lines>,
    changed: Condvar,
    reports: Reports,
    ended: OnceLock<Ended>,
}

#[derive(Default)]
struct Lines {
    /// With the number of the record.
    waiting: VecDeque<(u64, Vec<u8>)>,
    /// Of `waiting`.
    bytes: usize,
    /// One has left `waiting` and is being written.
    writing: bool,
    /// The publisher is gone.
    closed: bool,
}

impl StdoutPublisher {
    /// Fails when the system has no thread for it.
    pub fn new(
        out: impl Write + Send + 'static,
        topic_prefix: impl Into<String>,
        reports: Reports,
    ) -> io::Result<StdoutPublisher> {
        let shared = Arc::new(Shared {
            lines: Mutex::default(),
            changed: Condvar::new(),
            reports,
            ended: OnceLock::new(),
        });
        let writer = shared.clone();
        // Nobody waits for its end: a reader that stalls for ever would be waited for as long.
        thread::Builder::new().name("stdout".into()).spawn(move || writer.write(out))?;
        Ok(StdoutPublisher { topic_prefix: topic_prefix.into(), shared })
    }
}

impl Publisher for StdoutPublisher {
    fn publish(&mut self, record: &Record) -> Result<(), Full> {
        if self.shared.ended.get().is_some() {
            return Err(Full);
        }
        let mut lines = self.shared.lines();
        if lines.bytes >= WAITING_BYTES {
            return Err(Full);
        }
        let mut line = Vec::with_capacity(record.value.len() + 1024);
        write_line(record, &self.topic_prefix, &mut line);
        if lines.bytes > 0 && lines.bytes + line.len() > WAITING_BYTES {
            return Err(Full);
        }
        lines.bytes += line.len();
        lines.waiting.push_back((record.sequence, line));
        drop(lines);
        self.shared.changed.notify_all();
        Ok(())
    }

    fn tend(&mut self) {}

    fn flush(&mut self, deadline: Duration) -> bool {
        let end = Instant::now() + deadline;
        let mut lines = self.shared.lines();
        loop {
            if lines.waiting.is_empty() && !lines.writing {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.shared.ended.get().is_some() {
                return false;
            }
            lines = self.shared.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn ended(&self) -> Option<&Ended> {
        self.shared.ended.get()
    }

    fn way(&self) -> &'static str {
        "standard output"
    }
}

impl Drop for StdoutPublisher {
    /// What no writer has begun with comes back; the line that is being written is still reported.
    fn drop(&mut self) {
        let mut lines = self.shared.lines();
        lines.closed = true;
        lines.bytes = 0;
        let waiting = std::mem::take(&mut lines.waiting);
        drop(lines);
        self.shared.changed.notify_all();
        for (sequence, _) in waiting {
            self.shared.report(sequence, Outcome::Returned);
        }
    }
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, sequence: u64, outcome: Outcome) {
        (self.reports)(Report { sequence, outcome, at: clock::now() });
    }

    /// The writer's thread: until the publisher is gone, or the system takes nothing any more.
    fn write(&self, mut out: impl Write) {
        while let Some((sequence, line)) = self.next() {
            let written = out.write_all(&line).and_then(|()| out.flush());
            match written {
                Ok(()) => self.report(sequence, Outcome::Delivered),
                Err(error) => {
                    // Once for all: nothing is written after it.
                    let _ = self.ended.set(match error.kind() {
                        io::ErrorKind::BrokenPipe => Ended::ReaderGone,
                        _ => Ended::Failed(format!("cannot write to standard output: {error}")),
                    });
                    self.report(sequence, Outcome::Returned);
                }
            }
            self.lines().writing = false;
            self.changed.notify_all();
            if self.ended.get().is_some() {
                return;
            }
        }
    }

    /// The next line, when there is one.
    fn next(&self) -> Option<(u64, Vec<u8>)> {
        let mut lines = self.lines();
        loop {
            if lines.closed {
                return None;
            }
            if let Some((sequence, line)) = lines.waiting.pop_front() {
                lines.bytes -= line.len();
                lines.writing = true;
                return Some((sequence, line));
            }
            lines = self.changed.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
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

    type Heard = Arc<Mutex<Vec<(u64, Outcome)>>>;

    fn heard() -> (Reports, Heard) {
        let heard = Heard::default();
        let ear = Arc::clone(&heard);
        (Box::new(move |r| ear.lock().unwrap().push((r.sequence, r.outcome))), heard)
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

    /// A ceiling for what takes microseconds.
    const SOON: Duration = Duration::from_secs(20);

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
            let mut publisher = StdoutPublisher::new(Breaks { lines: 2, with }, "p", reports).unwrap();
            for n in 1..=2 {
                assert_eq!(publisher.publish(&record(n, "{}")), Ok(()));
                assert!(publisher.flush(SOON));
            }
            assert_eq!(publisher.publish(&record(3, "{}")), Ok(()));
            publisher.flush(SOON);
            assert_eq!(publisher.ended(), Some(&want));
            assert_eq!(publisher.publish(&record(4, "{}")), Err(Full));
            let heard = heard.lock().unwrap();
            let (delivered, back) = (Outcome::Delivered, Outcome::Returned);
            assert_eq!(*heard, [(1, delivered.clone()), (2, delivered), (3, back)]);
        }
    }

    /// A reader that takes one line when it is let.
    struct Stalls(std::sync::mpsc::Receiver<()>);

    impl Write for Stalls {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_makes_it_full_and_holds_up_nobody() {
        let (reports, heard) = heard();
        let (read, stalls) = std::sync::mpsc::channel();
        let mut publisher = StdoutPublisher::new(Stalls(stalls), "p", reports).unwrap();
        let value = format!("\"{}\"", "x".repeat(100_000));
        let mut taken = 0;
        while publisher.publish(&record(taken + 1, &value)) == Ok(()) {
            taken += 1;
            assert!(taken <= 12, "no bound");
        }
        assert!(taken >= 10, "{taken} lines of a tenth of the bound");
        assert!(!publisher.flush(Duration::from_millis(20)));
        assert!(heard.lock().unwrap().is_empty() && publisher.ended().is_none());
        // One is read: there is room for another.
        read.send(()).unwrap();
        let start = Instant::now();
        while publisher.publish(&record(taken + 1, &value)) == Err(Full) {
            assert!(start.elapsed() < SOON);
            thread::yield_now();
        }
        // Replaced: all but the line that is being written come back, and that one is written.
        drop(publisher);
        read.send(()).unwrap();
        while heard.lock().unwrap().len() < taken as usize + 1 {
            assert!(start.elapsed() < SOON, "{:?}", heard.lock().unwrap());
            thread::yield_now();
        }
        let mut heard = heard.lock().unwrap();
        heard.sort_by_key(|(sequence, _)| *sequence);
        let delivered = heard.iter().filter(|(_, outcome)| *outcome == Outcome::Delivered).count();
        assert!(heard.iter().map(|(sequence, _)| *sequence).eq(1..=taken + 1), "each once: {heard:?}");
        assert_eq!(delivered, 2);
    }
}
