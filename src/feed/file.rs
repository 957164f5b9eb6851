//! Edge: a recording, JSON lines, as a feed; and its lines for whoever reads recordings.
//!
//! [`Lines`] lends the lines of a file or of standard input one after the other: plain, gzip (any number
//! of members) or zstd (any number of frames), told apart by their first bytes and not by the name. Line
//! ends may be LF or CRLF, the last may be missing, empty lines are skipped. A line over the limit is
//! skipped and told, and never held in memory. [`run`] hands the lines to an intake; it blocks, and
//! wants a thread of its own.
//!
//! Bounds: one line up to the limit, 256 KiB of buffer, and what the decompressor needs: 32 KiB for
//! gzip, up to 128 MiB for zstd (a window log of 27, what `zstd -19` and `--long` write). Cost: one
//! search for the line end; a line is copied only where it crosses the edge of the buffer.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use flate2::bufread::MultiGzDecoder;
use memchr::memchr;
use tracing::{info, warn};

use super::{FeedMeter, Intake, REST_AFTER, Refusal};
use crate::clock;
use crate::config::FileFeed;

/// Of decompressed bytes: some forty full messages.
const BUFFER: usize = 256 * 1024;

/// First bytes of a gzip member (RFC 1952), of a zstd frame and of a frame that zstd skips (RFC 8878):
/// the latter's first four bits are free.
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

/// Reads the recording to its end, or until `shutdown` is true (looked at with every line; a read of
/// standard input that waits is not woken by it).
pub fn run<I: Intake>(
    feed: FileFeed,
    mut intake: I,
    meter: Arc<FeedMeter>,
    shutdown: Arc<AtomicBool>,
) -> Result<(), FileError> {
    let read = read(&feed, &mut intake, &meter, &shutdown);
    intake.rest(clock::now());
    if let Err(FileError::Refused { reason, .. }) = &read {
        meter.set_refused(Some(reason.clone()));
    }
    meter.set_ended();
    read
}

fn read(
    feed: &FileFeed,
    intake: &mut impl Intake,
    meter: &FeedMeter,
    shutdown: &AtomicBool,
) -> Result<(), FileError> {
    let mut lines = Lines::open(&feed.path, feed.max_message_bytes)?;
    meter.set_connected(true);
    let mut since_rest = 0;
    while !shutdown.load(Relaxed) {
        // Before a pipe makes us wait, what was found goes on its way.
        if since_rest >= REST_AFTER || since_rest > 0 && lines.may_wait() {
            intake.rest(clock::now());
            since_rest = 0;
        }
        match lines.next()? {
            None => {
                info!(feed = feed.name, lines = lines.number(), skipped = meter.skipped(), "read to its end");
                return Ok(());
            }
            Some(Line::Message { bytes, number }) => {
                let at = clock::now();
                since_rest += 1;
                meter.count_messages(bytes.len() as u64, at);
                intake.take(bytes, at).map_err(|Refusal(reason)| FileError::Refused {
                    path: feed.path.clone(),
                    line: number,
                    reason,
                })?;
            }
            Some(Line::TooLong { bytes, number }) => {
                if meter.skipped() == 0 {
                    warn!(
                        feed = feed.name,
                        "line {number} has {bytes} bytes, max_message_bytes is {}: skipped, and so is every \
                         further one that long",
                        feed.max_message_bytes
                    );
                }
                meter.count_skipped();
            }
        }
    }
    Ok(())
}

/// The lines of a recording. See the module's words for what they are.
pub struct Lines {
    path: PathBuf,
    reader: BufReader<Box<dyn Read + Send>>,
    max_line: usize,
    /// Bytes at the buffer's front that were lent and are done with.
    lent: usize,
    /// A line that crosses the buffer's edge.
    spill: Vec<u8>,
    number: u64,
    text: u64,
    consumed: Arc<AtomicU64>,
    size: Option<u64>,
}

/// One line of a recording.
#[derive(PartialEq, Eq, Debug)]
pub enum Line<'a> {
    /// Without its line end. `number` counts from 1, empty lines too.
    Message { bytes: &'a [u8], number: u64 },
    /// Over the limit: `bytes` long, and not lent.
    TooLong { bytes: u64, number: u64 },
}

impl Lines {
    /// Of a file, or of standard input where `path` is `-`. A line may have `max_line` bytes.
    pub fn open(path: &Path, max_line: usize) -> Result<Lines, FileError> {
        if path == Path::new("-") {
            return Lines::over(path, Box::new(io::stdin()), None, max_line);
        }
        let fail = |source| FileError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(fail)?;
        let about = file.metadata().map_err(fail)?;
        // A pipe has no size that progress could be shown against.
        let size = about.is_file().then_some(about.len());
        Lines::over(path, Box::new(file), size, max_line)
    }

    fn over(
        path: &Path,
        source: Box<dyn Read + Send>,
        size: Option<u64>,
        max_line: usize,
    ) -> Result<Lines, FileError> {
        let consumed = Arc::new(AtomicU64::new(0));
        let counted = Counted { source, consumed: Arc::clone(&consumed) };
        let fail = |source| FileError::Open { path: path.to_owned(), source };
        let reader = BufReader::with_capacity(BUFFER, decompressed(counted).map_err(fail)?);
        let (lent, number, text) = (0, 0, 0);
        let (path, spill) = (path.to_owned(), Vec::new());
        Ok(Lines { path, reader, max_line, lent, spill, number, text, consumed, size })
    }

    /// The next line that is not empty; `None` at the end.
    #[allow(clippy::should_implement_trait)] // An iterator cannot lend.
    pub fn next(&mut self) -> Result<Option<Line<'_>>, FileError> {
        loop {
            self.reader.consume(std::mem::take(&mut self.lent));
            self.spill.clear();
            let Some(ended) = self.find_end()? else { return Ok(None) };
            self.number += 1;
            let number = self.number;
            match ended {
                End::TooLong(bytes) => return Ok(Some(Line::TooLong { bytes, number })),
                End::Empty => {}
                End::Spilled => {
                    let bytes = without_marks(&self.spill, number);
                    return Ok(Some(Line::Message { bytes, number }));
                }
                End::Buffered(length) => {
                    let bytes = without_marks(&self.reader.buffer()[..length], number);
                    return Ok(Some(Line::Message { bytes, number }));
                }
            }
        }
    }

    /// What it holds, decompressed, for who finds that it is no lines: before the first
    /// [`next`](Lines::next).
    pub fn content(&mut self) -> &mut (impl BufRead + use<>) {
        &mut self.reader
    }

    /// Lines that were read, empty ones and those over the limit included.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes of the file that were read, before decompression. A little ahead of the line.
    pub fn consumed(&self) -> u64 {
        self.consumed.load(Relaxed)
    }

    /// Bytes that the file had when it was opened; `None` for a pipe.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next line is not here yet, and what brings it may take its time.
    pub fn may_wait(&self) -> bool {
        self.size.is_none() && memchr(b'\n', &self.reader.buffer()[self.lent..]).is_none()
    }

    /// Finds the end of the line that begins at the buffer's front. `None` at the end of the file.
    fn find_end(&mut self) -> Result<Option<End>, FileError> {
        // Its bytes that have left the buffer, kept in `spill` up to the limit. A CR is no part of it.
        let mut before: u64 = 0;
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(self.read_error(source)),
            };
            let found = memchr(b'\n', chunk);
            let at_end = chunk.is_empty();
            if at_end && before == 0 {
                return Ok(None);
            }
            let part = &chunk[..found.unwrap_or(chunk.len())];
            let length = before + part.len() as u64;
            let done = found.is_some() || at_end;
            let fits = length <= self.max_line as u64 + 1;
            if found.is_some() && before == 0 && fits {
                let content = without_cr(part).len();
                let (part, taken) = (part.len(), part.len() + 1);
                self.text += taken as u64;
                self.lent = taken;
                return Ok(Some(match content {
                    0 => End::Empty,
                    _ if content > self.max_line => End::TooLong(content as u64),
                    _ => End::Buffered(part),
                }));
            }
            if fits {
                self.spill.extend_from_slice(part);
            } else {
                // It is too long already: only its length is of interest.
                self.spill.clear();
            }
            let taken = part.len() + usize::from(found.is_some());
            self.reader.consume(taken);
            self.text += taken as u64;
            before = length;
            if done {
                let content = without_cr(&self.spill).len();
                return Ok(Some(match content {
                    _ if !fits => End::TooLong(length),
                    0 => End::Empty,
                    _ if content > self.max_line => End::TooLong(length),
                    _ => End::Spilled,
                }));
            }
        }
    }

    fn read_error(&self, source: io::Error) -> FileError {
        let (path, lines, bytes) = (self.path.clone(), self.number, self.text);
        if source.kind() == io::ErrorKind::UnexpectedEof {
            return FileError::Truncated { path, lines, bytes };
        }
        FileError::Read { path, lines, bytes, source }
    }
}

/// How a line ended, and where it lies.
enum End {
    Empty,
    /// At the front of the buffer.
    Buffered(usize),
    Spilled,
    TooLong(u64),
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Without what is no part of the line: its CR, and before the first line a byte order mark.
fn without_marks(line: &[u8], number: u64) -> &[u8] {
    let line = without_cr(line);
    match line.strip_prefix("\u{feff}".as_bytes()) {
        Some(rest) if number == 1 => rest,
        _ => line,
    }
}

/// `source`, decompressed if its first bytes say so.
fn decompressed(source: Counted) -> io::Result<Box<dyn Read + Send>> {
    let mut source = BufReader::with_capacity(BUFFER, source);
    let mut head = Vec::with_capacity(ZSTD.len());
    source.by_ref().take(ZSTD.len() as u64).read_to_end(&mut head)?;
    let zstd = head.starts_with(ZSTD)
        || head.first().is_some_and(|first| first & 0xf0 == 0x50) && head[1..] == *ZSTD_SKIPPABLE;
    let gzip = head.starts_with(GZIP);
    let whole = io::Cursor::new(head).chain(source);
    Ok(if gzip {
        Box::new(MultiGzDecoder::new(whole))
    } else if zstd {
        Box::new(zstd::stream::read::Decoder::with_buffer(whole)?)
    } else {
        Box::new(whole)
    })
}

/// Counts what is read of the file itself.
struct Counted {
    source: Box<dyn Read + Send>,
    consumed: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.consumed.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

/// Why a recording was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path}: cannot be opened: {source}", path = path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error(
        "{path}: ends in the middle of its compressed stream: {lines} lines ({bytes} bytes of text) were read \
         and taken, the rest is missing",
        path = path.display()
    )]
    Truncated { path: PathBuf, lines: u64, bytes: u64 },
    #[error(
        "{path}: cannot be read on after {lines} lines ({bytes} bytes of text), which were taken: {source}",
        path = path.display()
    )]
    Read { path: PathBuf, lines: u64, bytes: u64, source: io::Error },
    #[error("{path}, line {line}: {reason}", path = path.display())]
    Refused { path: PathBuf, line: u64, reason: String },
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::entry::Timestamp;

    /// The lines of `bytes` as text, a line over the limit as `number:<length>`; an error ends them.
    fn lines(bytes: Vec<u8>, max_line: usize) -> Vec<String> {
        let source = Box::new(Trickle(io::Cursor::new(bytes), fastrand::Rng::with_seed(11)));
        let mut lines = Lines::over(Path::new("test"), source, Some(0), max_line).unwrap();
        let mut all = Vec::new();
        loop {
            match lines.next() {
                Ok(None) => return all,
                Ok(Some(Line::Message { bytes, number })) => {
                    all.push(format!("{number}:{}", String::from_utf8_lossy(bytes)));
                }
                Ok(Some(Line::TooLong { bytes, number })) => all.push(format!("{number}:<{bytes}>")),
                Err(error) => {
                    all.push(error.to_string());
                    return all;
                }
            }
        }
    }

    /// Gives a few bytes at a time, as a pipe may.
    struct Trickle(io::Cursor<Vec<u8>>, fastrand::Rng);

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(self.1.usize(1..9000));
            self.0.read(&mut buffer[..most])
        }
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(text, 1).unwrap()
    }

    #[test]
    fn lines_end_as_they_may() {
        for (text, want) in [
            ("", &[][..]),
            ("a", &["1:a"]),
            ("a\n", &["1:a"]),
            ("a\nb", &["1:a", "2:b"]),
            ("a\r\nb\r\n", &["1:a", "2:b"]),
            ("\u{feff}a\n\u{feff}b\n", &["1:a", "2:\u{feff}b"]),
            ("\n\r\n\na\n\n", &["4:a"]),
            ("a\rb\n", &["1:a\rb"]),
            ("a\r", &["1:a"]),
            ("\r", &[]),
            ("12345678\n", &["1:12345678"]),
            ("12345678\r\n", &["1:12345678"]),
            ("12345678", &["1:12345678"]),
            ("123456789\nb\n", &["1:<9>", "2:b"]),
            ("123456789", &["1:<9>"]),
            ("123456789\r\nb", &["1:<10>", "2:b"]),
            ("1234567890123456789\nb", &["1:<19>", "2:b"]),
        ] {
            assert_eq!(lines(text.into(), 8), want, "{text:?}");
        }
    }

    #[test]
    fn compression_is_seen_by_the_first_bytes() {
        let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(b"a\nb\n")].concat();
        for (what, bytes) in [
            ("plain", b"a\nb\n".to_vec()),
            ("gzip", gzip(b"a\nb\n")),
            ("zstd", zstd(b"a\nb\n")),
            ("gzip, two members, a line across", [gzip(b"a"), gzip(b"\nb")].concat()),
            ("zstd, two frames, a line across", [zstd(b"a"), zstd(b"\nb")].concat()),
            ("zstd, an empty frame between", [zstd(b"a\n"), zstd(b""), zstd(b"b")].concat()),
            ("zstd, a frame to skip first", skippable),
        ] {
            assert_eq!(lines(bytes, 8), ["1:a", "2:b"], "{what}");
        }
        assert!(lines(gzip(b""), 8).is_empty());
        assert_eq!(lines(vec![0x1f], 8), ["1:\u{1f}"]);
    }

    #[test]
    fn lines_of_every_length_survive_the_edges_of_the_buffer() {
        let mut random = fastrand::Rng::with_seed(3);
        let (mut text, mut want) = (Vec::new(), Vec::new());
        for number in 1..=40 {
            let length = match random.u8(0..4) {
                0 => random.usize(0..10),
                1 => random.usize(0..20_000),
                2 => random.usize(BUFFER - 2..BUFFER + 3),
                _ => random.usize(0..2 * BUFFER),
            };
            text.extend((0..length).map(|_| random.alphanumeric() as u8));
            let line = String::from_utf8_lossy(&text[text.len() - length..]).into_owned();
            text.extend_from_slice(if random.bool() { b"\n" } else { b"\r\n" });
            let crlf = usize::from(text.ends_with(b"\r\n"));
            match length {
                0 => {}
                _ if length <= BUFFER => want.push(format!("{number}:{line}")),
                _ => want.push(format!("{number}:<{}>", length + crlf)),
            }
        }
        for (what, bytes) in [("gzip", gzip(&text)), ("zstd", zstd(&text)), ("plain", text)] {
            assert!(lines(bytes, BUFFER) == want, "{what}");
        }
    }

    #[test]
    fn a_stream_that_is_cut_or_broken_is_an_error_after_its_lines() {
        let text: String = (0..20_000).map(|n| format!("line {n} {}\n", n * n % 7919)).collect();
        for (what, mut bytes) in [("gzip", gzip(text.as_bytes())), ("zstd", zstd(text.as_bytes()))] {
            let whole = bytes.len();
            bytes.truncate(whole / 2);
            let got = lines(bytes, 100);
            let (error, before) = got.split_last().unwrap();
            assert!(error.starts_with("test: ends in the middle"), "{what}: {error}");
            assert!(error.contains(&format!("{} lines", before.len())), "{what}: {error}");
        }
        let mut bytes = gzip(text.as_bytes());
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].fill(0xff);
        let got = lines(bytes, 100);
        assert!(got.last().unwrap().starts_with("test: cannot be read on"), "{:?}", got.last());
    }

    /// Remembers lines, rests and refuses one.
    #[derive(Default)]
    struct Notes {
        taken: Vec<Vec<u8>>,
        rests: usize,
        refuse: Option<Vec<u8>>,
    }

    impl Intake for &mut Notes {
        fn take(&mut self, message: &[u8], _: Timestamp) -> Result<(), Refusal> {
            if self.refuse.as_deref() == Some(message) {
                return Err(Refusal("no addresses".to_owned()));
            }
            self.taken.push(message.to_vec());
            Ok(())
        }

        fn rest(&mut self, _: Timestamp) {
            self.rests += 1;
        }
    }

    fn feed(folder: &tempfile::TempDir, bytes: &[u8]) -> FileFeed {
        let path = folder.path().join("feed.jsonl");
        std::fs::write(&path, bytes).unwrap();
        FileFeed { name: "tape".to_owned(), path, max_message_bytes: 8 }
    }

    #[test]
    fn a_recording_is_read_whole_and_said_to_have_ended() {
        let folder = tempfile::tempdir().unwrap();
        let text: String = (0..3000).map(|n| format!("{n}\n")).collect::<String>() + "123456789\nlast";
        let meter = Arc::new(FeedMeter::new("tape", None));
        let mut notes = Notes::default();
        run(feed(&folder, text.as_bytes()), &mut notes, Arc::clone(&meter), Arc::default()).unwrap();
        assert_eq!((notes.taken.len(), notes.taken[2999].as_slice()), (3001, &b"2999"[..]));
        assert_eq!(notes.taken[3000], b"last");
        assert_eq!(notes.rests, 3, "after 1,024, after 2,048, and at the end");
        assert_eq!((meter.skipped(), meter.ended(), meter.connected()), (1, true, false));
        let bytes: usize = notes.taken.iter().map(Vec::len).sum();
        assert_eq!(meter.bytes(), bytes as u64);
        assert!(meter.last_message().0 > 0);
    }

    #[test]
    fn a_refusal_or_a_shutdown_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        let meter = Arc::new(FeedMeter::new("tape", None));
        let mut notes = Notes { refuse: Some(b"b".to_vec()), ..Notes::default() };
        let error =
            run(feed(&folder, b"a\nb\nc\n"), &mut notes, Arc::clone(&meter), Arc::default()).unwrap_err();
        assert!(error.to_string().ends_with("feed.jsonl, line 2: no addresses"), "{error}");
        assert_eq!((notes.taken.len(), notes.rests), (1, 1));
        assert_eq!((meter.refused().as_deref(), meter.ended()), (Some("no addresses"), true));

        let meter = Arc::new(FeedMeter::new("tape", None));
        let mut notes = Notes::default();
        run(feed(&folder, b"a\n"), &mut notes, Arc::clone(&meter), Arc::new(AtomicBool::new(true))).unwrap();
        assert!(notes.taken.is_empty() && meter.ended());
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let error = Lines::open(&missing, 8).err().unwrap().to_string();
        assert!(error.contains("missing: cannot be opened"), "{error}");
        assert!(Lines::open(folder.path(), 8).is_err());
    }

    #[test]
    fn progress_is_told_in_bytes_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.gz");
        let bytes = gzip(&b"line\n".repeat(1000));
        std::fs::write(&path, &bytes).unwrap();
        let mut lines = Lines::open(&path, 8).unwrap();
        assert_eq!(lines.size(), Some(bytes.len() as u64));
        assert!(!lines.may_wait(), "a file does not");
        while lines.next().unwrap().is_some() {}
        assert_eq!((lines.consumed(), lines.number()), (bytes.len() as u64, 1000));
    }

    #[test]
    fn a_pipe_that_holds_no_whole_line_may_wait() {
        let source = Box::new(io::Cursor::new(b"a\nb\nc".to_vec()));
        let mut lines = Lines::over(Path::new("-"), source, None, 8).unwrap();
        assert!(lines.may_wait());
        for want in [false, true, true] {
            assert!(lines.next().unwrap().is_some());
            assert_eq!(lines.may_wait(), want);
        }
    }
}
