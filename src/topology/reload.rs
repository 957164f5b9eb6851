//! Notices that a configuration, a file that it names, a watch list or a bulk list has changed.
//!
//! Files are asked for time, size and inode: a ConfigMap swaps a link, an editor renames, and a watch by
//! inotify follows neither. SIGHUP skips the wait.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::entry::Timestamp;

/// How often files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What each file looked like; a missing one has no look.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Looks(BTreeMap<PathBuf, Option<Look>>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Look {
    modified: Option<SystemTime>,
    size: u64,
    inode: u64,
    /// Seconds and nanoseconds; a rename changes it, and not the time of modification.
    changed: (i64, i64),
}

impl Look {
    /// When it was last modified or renamed.
    fn touched(&self) -> Option<Timestamp> {
        let modified = self.modified?.duration_since(UNIX_EPOCH).ok()?.as_millis();
        let (seconds, nanoseconds) = self.changed;
        let changed = seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000);
        Some(Timestamp(changed.max(i64::try_from(modified).unwrap_or(i64::MAX))))
    }
}

impl Looks {
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Looks {
        Looks(paths.into_iter().map(|path| (path.to_owned(), look(path))).collect())
    }

    /// Without the looks of those that were touched at that time or later: nobody knows whether they were
    /// read before or after it, so that the next look at them is another one.
    pub fn untouched_since(mut self, time: Timestamp) -> Looks {
        let touched = |look: &Look| look.touched().is_none_or(|at| at >= time);
        self.0.values_mut().for_each(|look| *look = look.filter(|look| !touched(look)));
        self
    }

    /// The same files, as they look now.
    pub fn again(&self) -> Looks {
        Looks::of(self.0.keys().map(PathBuf::as_path))
    }
}

fn look(path: &Path) -> Option<Look> {
    let found = std::fs::metadata(path).ok()?;
    let (inode, changed) = beneath(&found);
    Some(Look { modified: found.modified().ok(), size: found.len(), inode, changed })
}

#[cfg(unix)]
fn beneath(found: &std::fs::Metadata) -> (u64, (i64, i64)) {
    use std::os::unix::fs::MetadataExt;
    (found.ino(), (found.ctime(), found.ctime_nsec()))
}

#[cfg(not(unix))]
fn beneath(_: &std::fs::Metadata) -> (u64, (i64, i64)) {
    (0, (0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swapped_link_a_rename_and_a_removal_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let other = dir.path().join("other");
        std::fs::write(&path, "a").unwrap();
        let first = Looks::of([path.as_path()]);
        assert_eq!(first.again(), first);
        std::fs::write(&other, "b").unwrap();
        std::fs::rename(&other, &path).unwrap();
        let second = first.again();
        assert_ne!(second, first, "same size, other inode");
        std::fs::remove_file(&path).unwrap();
        assert_ne!(second.again(), second);
    }

    /// What changes while it is read, or between that and the first look at it.
    #[test]
    fn a_change_during_the_start_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        std::fs::write(&path, "a").unwrap();
        let written = look(&path).and_then(|look| look.touched()).unwrap();
        let looks = Looks::of([path.as_path()]);
        let after = written.plus_millis(1);
        assert_eq!(looks.clone().untouched_since(after), looks, "read when it was as it is");
        let before = looks.clone().untouched_since(written);
        assert_ne!(before, before.again(), "read as it is, or as it was");
    }
}
